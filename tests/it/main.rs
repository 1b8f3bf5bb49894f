//! The integration tests: one binary, so that its tests share one private PostgreSQL and one object store.
//!
//! `harness` starts what they need; every other module names the behaviour that it proves. Run with `./test`.
//!
//! # Faults, and where they are proved
//!
//! S is SQLite, P is PostgreSQL, *both* runs on each; long runs are `--soak`.
//!
//! | fault | tests | store |
//! |---|---|---|
//! | `kill -9` of the service under load | `crash` (three rounds; forty in `--soak`) | both |
//! | `kill -9` while it cleans, while it calls back | `cleanup::service`, `callbacks::service` | both |
//! | a worker that dies between any two steps | `cleanup::workers::a_worker_that_dies_between_any_two_steps_is_taken_over`, `callbacks::worker::a_killed_worker_leaves_nothing_unsent` | both |
//! | the database crashes, loses a commit or its answer | `store_crash`, `callbacks::worker::a_database_that_crashes_and_returns_loses_no_callback` | P |
//! | an older copy, another history or another file in the database's place | `divergence` | both |
//! | rows of the database that were changed or damaged | `damaged_rows`, `damaged_work`, `audit_index`, `proofs::verify`, `proofs::verify_beside`, `reconcile` | both |
//! | a writer that panics | `writer_panics` | both |
//! | a session that is cancelled, refused, let wait; a database that takes no writes | `writer_heals` | both |
//! | a database or a network that goes silent, an instance that stands still | `availability` | P |
//! | a statement that arrives after its connection was given up | `store_crash::a_statement_that_arrives_after_its_connection_was_given_up_comes_to_nothing` | P |
//! | the database crashes under the relay | `relay::a_postgres_that_crashes_under_the_relay_leaves_no_gap_and_no_duplicate` | P |
//! | NATS killed, its stream or consumer deleted | `relay`, `bus` | both |
//! | the connection to NATS cut, strangers' messages on the stream, a cluster that loses servers | `relay` | S |
//! | a relay leader killed, paused past its lease, or one of two | `relay`; leases and cursors themselves in `coordination` | both |
//! | a leader that wakes to another stream than it knew | `relay::leaders::a_leader_that_sleeps_through_the_making_of_a_new_stream_is_refused_by_that_one` | both |
//! | duplicate messages | `cleanup::the_same_request_seen_again_makes_no_second_job`, `callbacks::deliveries` (each consumes the log again and again) | both |
//! | reordered messages | `callbacks::outcomes::a_failure_that_is_heard_of_late_is_superseded_at_once`, `bus::a_message_that_the_log_does_not_confirm_is_never_acted_upon` | both |
//! | poison messages | the bus contract's `a_poison_event_is_parked_and_holds_nothing_up`, on the log and on NATS (`bus`) | S; P |
//! | receivers that are down, to day 30 of simulated time | `callbacks::worker::a_receiver_that_never_recovers_is_tried_to_day_30_then_dead_then_replayed` | both |
//! | slow-loris and endless receivers | `callbacks::client::tests` (unit), `callbacks::worker::silent_receivers_do_not_delay_the_others` | –; both |
//! | DNS that changes between check and connect | `callbacks::resolve`, `callbacks::client::tests::dns_that_changes_between_the_check_and_the_connection_changes_nothing` (unit) | – |
//! | storage that throttles, fails, cuts, lies, refuses single objects | `cleanup_s3::faults`, `cleanup_clouds`; that it reaches the outcome: `cleanup` | –; both |
//! | storage roots that are not mounted, are replaced, or have other file systems in them | `storage_roots` (mounts: root only), `storage::roots::tests` (unit) | both |
//! | slow clients | `routes::slow` | both |
//! | subscribers that stop reading | `events::a_subscriber_that_stops_reading_is_cut_off_and_the_others_go_on` | S |
//! | settings, encodings, roles and schemas of the database that are not the usual ones | `environment` | P; schemas both |
//! | a pooler whose sessions others have used (needs PgBouncer) | `environment::pooler` | P |
//! | a standard error that is full, closed or read by nobody | `lost_logs` | both |
//! | a fork: what is lost, what names it, who sleeps through it | `proofs::forked`, `proofs::forked_losses` | both |
//! | a full disk | `disk_full` (root only) | both |
//! | descriptors, connections or a guard disk that run out; a NATS that stands still | `exhaustion` | both |
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where by panicking"
)]

mod audit_index;
mod availability;
mod bus;
mod callbacks;
mod cleanup;
mod cleanup_clouds;
mod cleanup_s3;
mod cli;
mod clients;
mod clock;
mod coordination;
mod crash;
mod damaged_rows;
mod damaged_work;
mod disk_full;
mod divergence;
mod environment;
mod events;
mod exhaustion;
mod foreign_files;
mod harness;
mod import;
mod keyring;
mod lost_logs;
mod metrics;
mod proofs;
mod rebuild;
mod reconcile;
mod relay;
mod routes;
mod sealing;
mod shared_setup;
mod stock;
mod storage_roots;
mod store_contract;
mod store_crash;
mod test_log;
mod used_key;
mod writer_heals;
mod writer_panics;

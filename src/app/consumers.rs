//! Starts what follows the log: the relay in clustered mode, the storage cleanup, and the callbacks.

use super::backend::Store;
use super::descriptors::Descriptors;
use super::start::Opened;
use super::start_error::{StartError, blame, store_option};
use super::tasks::Tasks;
use crate::bus::cloud_event::Source;
use crate::bus::health::BusHealth;
use crate::bus::local::{LogConsumer, Redrive};
use crate::bus::nats::NatsConsumer;
use crate::bus::{CommitSignal, Handler, LogAccess};
use crate::callbacks::admin::CallbackAdmin;
use crate::callbacks::client::{CallbackClient, ClientOptions};
use crate::callbacks::consumer::CallbackConsumer;
use crate::callbacks::proxy::ProxySettings;
use crate::callbacks::resolve::{Lookup, SystemLookup};
use crate::callbacks::schedule::Schedule;
use crate::callbacks::sign::SigningSecrets;
use crate::callbacks::worker::{CallbackWorker, WorkerOptions, WorkerParts};
use crate::claims;
use crate::config::Config;
use crate::purge::operator::Purges;
use crate::purge::{CleanupOptions, CleanupParts, StorageCleanup};
use crate::relay::{Relay, RelaySettings};
use crate::storage::azure::AzureOptions;
use crate::storage::blobs::{Blobs, CloudOptions};
use crate::storage::gcs::GcsOptions;
use crate::storage::roots::StorageRoots;
use crate::storage::s3::S3Options;
use crate::telemetry;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::Notify;

/// What an operator sees and does of the work behind the log.
#[derive(Debug)]
pub(super) struct Work {
    /// Purges that are owed.
    pub(super) purges: Purges,
    /// Callback deliveries.
    pub(super) callbacks: CallbackAdmin,
    /// Who delivers them.
    pub(super) client: Arc<CallbackClient>,
}

/// Starts the relay, the consumers and their workers.
pub(super) async fn start(
    tasks: &mut Tasks,
    opened: &Opened,
    bus: &BusHealth,
    config: &Config,
    descriptors: &Descriptors,
) -> Result<Work, StartError> {
    if let Store::Sqlite(store) = &opened.store {
        // Nobody else works on an embedded ledger, so what a killed process had leased need not wait for its leases.
        match store.release_work_leases().await {
            // They end by themselves: on a full disk reads are served all the same.
            Err(error) if error.is_transient() => {
                tracing::warn!(error = %telemetry::chain(&error), "leases of a process that is gone are waited for");
            }
            released => released.map_err(|source| blame(store_option(config), source))?,
        }
    }
    let cleanup = cleanup(opened, config).await?;
    let wake = Arc::new(Notify::new());
    let store = opened.store.callbacks();
    let callbacks = CallbackConsumer::new(Arc::clone(&store), Arc::clone(&opened.clock), Arc::clone(&wake));
    let client = Arc::new(client(opened, config)?);
    let deliveries = WorkerParts {
        store: Arc::clone(&store),
        client: Arc::clone(&client),
        keyring: Arc::clone(&opened.keyring),
        clock: Arc::clone(&opened.clock),
        schedule: schedule(config)?,
        wake: Arc::clone(&wake),
    };
    follow(tasks, opened, bus, Arc::new(cleanup.consumer()));
    follow(tasks, opened, bus, Arc::new(callbacks));
    relay(tasks, opened, bus, config);
    let (claimed, keyring) = (opened.store.claims(), Arc::clone(&opened.keyring));
    tasks.spawn("the claims on storage", move |stop| {
        claims::keep(Arc::clone(&claimed), Arc::clone(&keyring), stop)
    });
    let working = cleanup.clone();
    tasks.spawn("the storage cleanup", move |stop| {
        let worker = working.worker();
        async move {
            worker.run(stop).await;
            Ok::<_, Infallible>(())
        }
    });
    let bounds = WorkerOptions::default();
    let concurrency = bounds.concurrency.min(descriptors.callbacks / 2).max(1);
    let options = WorkerOptions {
        grace: config.http.shutdown_grace,
        concurrency,
        stalled: bounds.stalled.min(descriptors.callbacks - concurrency).max(1),
        ..bounds
    };
    tasks.spawn("the callback delivery", move |stop| {
        CallbackWorker::new(deliveries.clone(), options.clone()).run(stop)
    });
    let callbacks = CallbackAdmin::new(
        store,
        Arc::clone(&opened.keyring),
        Arc::clone(&opened.clock),
        wake,
    );
    Ok(Work {
        purges: cleanup.purges(),
        callbacks,
        client,
    })
}

fn log(opened: &Opened) -> LogAccess {
    LogAccess {
        reads: opened.store.reads(),
        coordination: opened.store.coordination(),
        clock: Arc::clone(&opened.clock),
        witness: Arc::clone(opened.store.witness()),
    }
}

/// Has a handler fed: from the log itself, or from JetStream and, some time behind, from the log as well.
fn follow(tasks: &mut Tasks, opened: &Opened, bus: &BusHealth, handler: Arc<dyn Handler>) {
    match bus {
        BusHealth::InProcess => {
            // Both handlers ask for nothing but events of purges.
            let signal = CommitSignal::new(opened.ledger.purges());
            let log = log(opened);
            let name = format!("the log's consumer {}", handler.name());
            tasks.spawn(name, move |stop| {
                LogConsumer::direct(Arc::clone(&handler), log.clone(), signal.clone()).run(stop)
            });
        }
        BusHealth::Nats { bus, .. } => {
            let (bus, consumed, reads) = ((**bus).clone(), Arc::clone(&handler), opened.store.reads());
            let name = format!("the bus's consumer {}", handler.name());
            tasks.spawn(name, move |stop| {
                NatsConsumer::new(bus.clone(), Arc::clone(&consumed), Arc::clone(&reads)).run(stop)
            });
            let log = log(opened);
            let name = format!("the redriver of {}", handler.name());
            tasks.spawn(name, move |stop| {
                LogConsumer::redriver(Arc::clone(&handler), log.clone(), Redrive::default()).run(stop)
            });
        }
    }
}

fn relay(tasks: &mut Tasks, opened: &Opened, bus: &BusHealth, config: &Config) {
    match bus {
        BusHealth::InProcess => {}
        BusHealth::Nats { bus, relay } => {
            let identity = &opened.started.identity;
            let source = Source::new(&config.service.id, identity.numbering());
            let marks = identity.marks().clone();
            let signal = CommitSignal::new(opened.ledger.committed());
            let (bus, log, state) = ((**bus).clone(), log(opened), relay.clone());
            tasks.spawn("the relay", move |stop| {
                Relay::new(
                    bus.clone(),
                    log.clone(),
                    signal.clone(),
                    source.clone(),
                    marks.clone(),
                    RelaySettings::default(),
                    state.clone(),
                )
                .run(stop)
            });
        }
    }
}

/// The storage under these roots, which is there and can be listed.
pub(super) async fn blobs(roots: StorageRoots, config: &Config) -> Result<Blobs, StartError> {
    let clouds = CloudOptions {
        s3: S3Options {
            endpoint: config.storage.s3_endpoint.as_ref().map(ToString::to_string),
            region: config.storage.s3_region.clone(),
            force_path_style: config.storage.s3_force_path_style,
            plain_buckets: config.storage.s3_plain_buckets.iter().cloned().collect(),
        },
        gcs: GcsOptions {
            endpoint: config.storage.gcs_endpoint.clone(),
        },
        azure: AzureOptions {
            account: config.storage.azure_account.clone(),
            endpoint: config.storage.azure_endpoint.clone(),
        },
    };
    let blobs = Blobs::connect(roots, clouds)
        .await
        .map_err(|error| StartError::option("--storage-root", error))?;
    blobs
        .probe()
        .await
        .map_err(|error| StartError::option("--storage-root", error))?;
    Ok(blobs)
}

async fn cleanup(opened: &Opened, config: &Config) -> Result<StorageCleanup, StartError> {
    let blobs = blobs((*opened.roots).clone(), config).await?;
    let parts = CleanupParts {
        ledger: Arc::clone(&opened.ledger),
        jobs: opened.store.cleanup_jobs(),
        blobs: Arc::new(blobs),
        holders: opened.store.storage_roots(),
        clock: Arc::clone(&opened.clock),
    };
    Ok(StorageCleanup::new(parts, CleanupOptions::default()))
}

fn client(opened: &Opened, config: &Config) -> Result<CallbackClient, StartError> {
    let secrets = SigningSecrets::load_or_create(&config.callbacks.secret_file)
        .map_err(|error| StartError::option("--callback-secret-file", error))?;
    let proxy = if config.callbacks.proxy_from_env {
        ProxySettings::from_variables(|name| std::env::var(name).ok())
            .map_err(|error| StartError::option("--callback-proxy-from-env", error))?
    } else {
        None
    };
    let options = ClientOptions {
        exchange_timeout: config.callbacks.timeout,
        proxy,
        ..ClientOptions::default()
    };
    let lookup: Arc<dyn Lookup> = Arc::new(SystemLookup::default());
    CallbackClient::new((*opened.callbacks).clone(), secrets, options, &lookup)
        .map_err(|error| StartError::option("--callback-allow", error))
}

fn schedule(config: &Config) -> Result<Schedule, StartError> {
    Schedule::new(&config.callbacks.schedule)
        .map(|schedule| schedule.stop_on_gone(config.callbacks.stop_on_gone))
        .map_err(|error| StartError::option("--callback-schedule", error))
}

use super::*;

const URL: &str = "http://a:80#1";
const OTHER: &str = "http://a:80#2";
const ENDPOINT: &str = "http://a:80";
const SILENT: Evidence = Evidence::Failed { reached: true };
const NO_NEWS: Evidence = Evidence::Failed { reached: false };

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

const fn answered(millis: u64) -> Evidence {
    Evidence::Answered(Duration::from_millis(millis))
}

fn new() -> Receivers {
    Receivers::new(ReceiverLimits::default())
}

fn of(slots: Vec<(String, u32)>, key: &str, default: u32) -> u32 {
    let mut slots = slots.into_iter();
    slots
        .find(|(one, _)| one == key)
        .map_or(default, |(_, room)| room)
}

/// More places than anybody needs.
const FREE: usize = 10_000;

fn named(receivers: &Receivers, standing: Standing, now: DateTime<Utc>) -> Vec<(String, u32)> {
    receivers.named_slots(standing, now, &BusyEndpoints::new(), (FREE, ""))
}

/// How many attempts a receiver may have now, of whichever kind.
fn room_of(receivers: &Receivers, url: &str, now: DateTime<Utc>) -> u32 {
    let busy = BusyEndpoints::new();
    let endpoint = of(
        receivers.endpoint_slots(now, Lane::First, &busy, FREE),
        endpoint_of(url),
        receivers.per_endpoint(Lane::First, FREE),
    );
    let other = of(receivers.other_slots(now, Lane::First, &busy), url, 1).min(endpoint);
    let named =
        [Standing::Prompt, Standing::Slow].map(|standing| of(named(receivers, standing, now), url, 0));
    other + named[0] + named[1]
}

fn room(receivers: &Receivers, now: DateTime<Utc>) -> u32 {
    room_of(receivers, URL, now)
}

fn attempt(receivers: &mut Receivers, url: &str, evidence: Evidence, now: DateTime<Utc>) -> Option<u64> {
    receivers.started(url, now);
    let opened = receivers.finished(url, evidence, now);
    opened.map(|opened| opened.pause.as_secs())
}

#[test]
fn a_receiver_gets_one_attempt_until_it_answers_and_eight_then() {
    let mut receivers = new();
    let others = |receivers: &Receivers| receivers.other_slots(at(0), Lane::First, &BusyEndpoints::new());
    assert_eq!(others(&receivers), []);
    receivers.started(URL, at(0));
    assert_eq!(room(&receivers, at(0)), 0);
    receivers.finished(URL, answered(3), at(0));
    assert_eq!(named(&receivers, Standing::Prompt, at(0)), [(URL.to_owned(), 8)]);
    assert_eq!(others(&receivers), [(URL.to_owned(), 0)]);
    receivers.started(URL, at(0));
    receivers.started(URL, at(0));
    assert_eq!(room(&receivers, at(0)), 6);
}

#[test]
fn a_slow_answer_makes_a_receiver_slow_but_not_silent() {
    let mut receivers = new();
    attempt(&mut receivers, URL, answered(9_000), at(0));
    assert_eq!(named(&receivers, Standing::Prompt, at(0)), []);
    assert_eq!(named(&receivers, Standing::Slow, at(0)), [(URL.to_owned(), 8)]);
}

#[test]
fn five_failures_open_the_circuit_and_one_probe_at_a_time_tries_it_later() {
    for evidence in [SILENT, NO_NEWS, Evidence::Unreachable] {
        let mut receivers = new();
        for _ in 0..4 {
            assert_eq!(attempt(&mut receivers, URL, evidence, at(0)), None);
            assert_eq!(room(&receivers, at(0)), 1);
        }
        let mut now = 0;
        for pause in [30, 60, 120, 240, 480, 600, 600] {
            assert_eq!(
                attempt(&mut receivers, URL, evidence, at(now)),
                Some(u64::try_from(pause).unwrap())
            );
            assert_eq!(room(&receivers, at(now + pause - 1)), 0);
            now += pause;
            assert_eq!(room(&receivers, at(now)), 1);
        }
        receivers.started(URL, at(now));
        receivers.finished(URL, answered(0), at(now));
        assert_eq!(room(&receivers, at(now)), 8);
        assert_eq!(receivers.open_circuits(), 0);
    }
}

#[test]
fn no_failure_of_one_url_shuts_off_another() {
    for evidence in [SILENT, NO_NEWS] {
        let mut receivers = new();
        for _ in 0..500 {
            attempt(&mut receivers, URL, evidence, at(0));
        }
        assert_eq!(room_of(&receivers, URL, at(0)), 0, "{evidence:?}");
        assert_eq!(room_of(&receivers, OTHER, at(0)), 1, "{evidence:?}");
        attempt(&mut receivers, OTHER, answered(1), at(0));
        for _ in 0..500 {
            attempt(&mut receivers, URL, evidence, at(0));
        }
        assert_eq!(room_of(&receivers, OTHER, at(0)), 8, "{evidence:?}");
    }
}

#[test]
fn an_endpoint_that_nobody_can_reach_is_probed_for_all_by_one_and_any_connection_closes_its_circuit() {
    for evidence in [answered(1), answered(9_000), SILENT] {
        let mut receivers = new();
        attempt(&mut receivers, OTHER, answered(1), at(0));
        for number in 0..5 {
            let url = format!("{ENDPOINT}#{number}");
            let opened = attempt(&mut receivers, &url, Evidence::Unreachable, at(0));
            assert_eq!(opened, (number == 4).then_some(30));
        }
        // One that was prompt waits with the others, and may be the probe.
        for url in [URL, OTHER, "http://a:80#7"] {
            assert_eq!(room_of(&receivers, url, at(29)), 0, "{url}");
            assert_eq!(room_of(&receivers, url, at(30)), 1, "{url}");
        }
        for elsewhere in ["https://a:80#1", "http://a:81#1", "http://b:80#1"] {
            assert_eq!(room_of(&receivers, elsewhere, at(0)), 1, "{elsewhere}");
        }
        receivers.started(URL, at(30));
        let busy = BusyEndpoints::from([(
            ENDPOINT,
            Busy {
                new: Held {
                    waiting: 1,
                    stalled: 0,
                },
                ..Busy::default()
            },
        )]);
        let slots = receivers.endpoint_slots(at(30), Lane::First, &busy, FREE);
        assert_eq!(of(slots, ENDPOINT, 16), 0, "the probe is under way");
        receivers.finished(URL, evidence, at(30));
        assert_eq!(room_of(&receivers, "http://a:80#7", at(30)), 1);
        assert_eq!(receivers.open_circuits(), 0, "{evidence:?}");
    }
}

#[test]
fn a_probe_without_news_leaves_the_endpoint_to_the_next_one() {
    let mut receivers = new();
    for _ in 0..5 {
        attempt(&mut receivers, URL, Evidence::Unreachable, at(0));
    }
    assert_eq!(attempt(&mut receivers, URL, NO_NEWS, at(30)), None);
    assert_eq!(room_of(&receivers, OTHER, at(30)), 1);
    assert_eq!(
        attempt(&mut receivers, OTHER, Evidence::Unreachable, at(30)),
        Some(60)
    );
}

#[test]
fn what_an_operator_sends_through_an_open_circuit_closes_it_or_changes_nothing() {
    let mut receivers = new();
    for _ in 0..5 {
        attempt(&mut receivers, URL, SILENT, at(0));
    }
    assert_eq!(attempt(&mut receivers, URL, SILENT, at(10)), None);
    assert_eq!((room(&receivers, at(29)), room(&receivers, at(30))), (0, 1));
    attempt(&mut receivers, URL, answered(1), at(11));
    assert_eq!(room(&receivers, at(11)), 8);
}

/// How many first attempts and how many retries an endpoint may begin that has these under way.
fn rooms_beside(held: Held, free: usize) -> (u32, u32) {
    let receivers = new();
    let busy = BusyEndpoints::from([(
        ENDPOINT,
        Busy {
            new: held,
            again: held,
            ..Busy::default()
        },
    )]);
    let room = |lane| of(receivers.endpoint_slots(at(0), lane, &busy, free), ENDPOINT, 99);
    (room(Lane::First), room(Lane::Retry))
}

#[test]
fn silence_at_an_endpoint_brings_its_new_urls_forward_and_holds_its_retries_back() {
    for (waiting, stalled, free, slots) in [
        (0, 0, FREE, (16, 8)),
        (10, 0, FREE, (6, 0)),
        (16, 0, FREE, (0, 0)),
        // Eight more for each that has been silent for a while, so that two thousand are tried within seconds.
        (0, 16, FREE, (128, 8)),
        (100, 16, FREE, (28, 0)),
        (0, 400, FREE, (3_200, 8)),
        // Of what is free, half; and of retries, as many at the most as are left to all others.
        (0, 400, 480, (240, 8)),
        (0, 80, 100, (50, 8)),
        (0, 95, 100, (50, 3)),
        (0, 100, 100, (50, 0)),
        (0, 400, 1, (1, 0)),
        (0, 0, 1, (1, 1)),
        (0, 0, 0, (0, 0)),
    ] {
        let held = Held { waiting, stalled };
        assert_eq!(rooms_beside(held, free), slots, "{held:?} of {free}");
    }
}

#[test]
fn in_a_crowd_those_that_failed_before_wait_for_the_new_ones_and_those_that_answered_wait_for_nobody() {
    let mut receivers = new();
    let slow = "http://a:80#3";
    attempt(&mut receivers, URL, SILENT, at(0));
    attempt(&mut receivers, slow, answered(2_000), at(0));
    for (stalled, failed_before) in [(0, 1), (63, 1), (64, 0), (400, 0)] {
        let held = Held { waiting: 0, stalled };
        let busy = BusyEndpoints::from([(
            ENDPOINT,
            Busy {
                new: held,
                again: held,
                ..Busy::default()
            },
        )]);
        let room = |lane, url| of(receivers.other_slots(at(0), lane, &busy), url, 1);
        assert_eq!(room(Lane::First, URL), failed_before, "{stalled}");
        assert_eq!(room(Lane::First, OTHER), 1, "{stalled}");
        assert_eq!(room(Lane::Retry, URL), 1, "{stalled}");
        let named = receivers.named_slots(Standing::Slow, at(0), &busy, (FREE, ""));
        assert_eq!(named, [(slow.to_owned(), 8)], "{stalled}");
    }
}

#[test]
fn an_endpoint_that_has_fallen_silent_is_prompt_no_more_and_its_urls_leave_places_to_others() {
    let mut receivers = new();
    let urls: Vec<String> = (10..60).map(|number| format!("{ENDPOINT}#{number}")).collect();
    for url in urls.iter().map(String::as_str).chain(["http://b:80#1"]) {
        attempt(&mut receivers, url, answered(1), at(0));
    }
    let of_standing = |standing, stalled, free| {
        let held = Held { waiting: 0, stalled };
        let busy = BusyEndpoints::from([(
            ENDPOINT,
            Busy {
                prompt: held,
                ..Busy::default()
            },
        )]);
        let slots = receivers.named_slots(standing, at(0), &busy, (free, ""));
        let (of_endpoint, others): (Vec<_>, Vec<_>) = slots
            .into_iter()
            .partition(|(url, _)| endpoint_of(url) == ENDPOINT);
        let sum = |slots: &[(String, u32)]| slots.iter().map(|(_, room)| room).sum::<u32>();
        (sum(&of_endpoint), sum(&others))
    };
    assert_eq!(of_standing(Standing::Prompt, 63, FREE), (400, 8));
    assert_eq!(of_standing(Standing::Slow, 63, FREE), (0, 0));
    assert_eq!(of_standing(Standing::Prompt, 64, FREE), (0, 8));
    assert_eq!(of_standing(Standing::Slow, 64, FREE), (400, 0));
    assert_eq!(of_standing(Standing::Slow, 64, 100), (50, 0));
}

#[test]
fn named_receivers_have_their_turns_one_after_the_other() {
    let mut receivers = new();
    for number in 1..=3 {
        attempt(
            &mut receivers,
            &format!("http://a:80#{number}"),
            answered(1),
            at(0),
        );
    }
    let first = |after: &str| {
        let slots = receivers.named_slots(Standing::Prompt, at(0), &BusyEndpoints::new(), (FREE, after));
        slots[0].0.clone()
    };
    for (after, next) in [
        ("", "#1"),
        ("http://a:80#1", "#2"),
        ("http://a:80#2", "#3"),
        ("http://a:80#3", "#1"),
    ] {
        assert!(first(after).ends_with(next), "{after}");
    }
}

#[test]
fn instances_share_what_they_know_of_circuits() {
    let (mut one, mut two) = (new(), new());
    for _ in 0..5 {
        attempt(&mut one, URL, SILENT, at(0));
        attempt(&mut one, "http://b:80#1", Evidence::Unreachable, at(0));
    }
    let opened: Vec<Circuit> = one
        .changes()
        .iter()
        .map(|change| match change {
            CircuitChange::Opened(circuit) => circuit.clone(),
            CircuitChange::Closed(key) => panic!("{key}"),
        })
        .collect();
    assert_eq!(opened.len(), 2);
    // Until the others were told, their not knowing closes nothing.
    one.adopt(&[]);
    assert_eq!(one.open_circuits(), 2);
    one.told();
    assert_eq!(one.changes(), []);
    two.adopt(&opened);
    for url in [URL, "http://b:80#2"] {
        assert_eq!(room_of(&two, url, at(29)), 0);
        assert_eq!(room_of(&two, url, at(30)), 1);
    }
    attempt(&mut two, URL, answered(1), at(30));
    assert_eq!(two.changes(), [CircuitChange::Closed(URL.to_owned())]);
    two.told();
    one.adopt(&opened[1..]);
    two.adopt(&opened[1..]);
    assert_eq!((one.open_circuits(), two.open_circuits()), (1, 1));
    assert_eq!(room_of(&one, URL, at(1)), 1);
}

#[test]
fn what_fails_together_opens_a_circuit_once() {
    let mut receivers = new();
    attempt(&mut receivers, URL, answered(1), at(0));
    for _ in 0..8 {
        receivers.started(URL, at(1));
    }
    let opened: Vec<_> = (0..8)
        .filter_map(|_| receivers.finished(URL, SILENT, at(1)))
        .collect();
    let pause = Duration::from_secs(30);
    let key = URL.to_owned();
    assert_eq!(opened, [OpenedCircuit { key, pause }]);
}

#[test]
fn an_answer_of_any_status_between_failures_keeps_the_circuit_closed_for_nineteen_attempts() {
    let mut receivers = new();
    for number in 0..19 {
        let evidence = if number % 5 == 4 { answered(1) } else { SILENT };
        assert_eq!(attempt(&mut receivers, URL, evidence, at(0)), None);
    }
    assert_eq!(attempt(&mut receivers, URL, SILENT, at(0)), Some(30));
    assert_eq!(room(&receivers, at(29)), 0);
    // The probe that answers forgets what opened the circuit.
    assert_eq!(attempt(&mut receivers, URL, answered(1), at(30)), None);
    for _ in 0..4 {
        assert_eq!(attempt(&mut receivers, URL, SILENT, at(30)), None);
    }
}

#[test]
fn half_of_twenty_attempts_in_a_minute_open_the_circuit() {
    let mut receivers = new();
    let alternating = |number: i64| if number % 2 == 0 { answered(1) } else { SILENT };
    for number in 0..19 {
        assert_eq!(
            attempt(&mut receivers, URL, alternating(number), at(number)),
            None
        );
    }
    assert_eq!(attempt(&mut receivers, URL, alternating(19), at(19)), Some(30));
}

#[test]
fn fewer_than_half_or_fewer_than_twenty_in_a_minute_do_not() {
    let mut receivers = new();
    for number in 0..500 {
        // Two of five are silent.
        let evidence = if number % 5 > 1 { answered(1) } else { SILENT };
        assert_eq!(attempt(&mut receivers, URL, evidence, at(0)), None);
    }
    let mut receivers = new();
    for number in 0..500 {
        // Every other one is, and nineteen come in a minute.
        let evidence = if number % 2 == 0 { answered(1) } else { SILENT };
        assert_eq!(attempt(&mut receivers, URL, evidence, at(number * 60 / 18)), None);
    }
}

#[test]
fn urls_that_fail_once_and_never_come_again_are_forgotten() {
    let mut receivers = new();
    for number in 0..30_000 {
        attempt(&mut receivers, &format!("http://a:80#{number}"), SILENT, at(0));
    }
    assert!(
        receivers.known.len() <= REMEMBERED + 1,
        "{}",
        receivers.known.len()
    );
}

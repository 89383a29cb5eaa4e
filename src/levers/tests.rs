//! What the levers promise, by examples and by laws.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::ids::{SpanId, TraceId};
use crate::model::merge::fold;
use crate::model::span::{End, Field, OtelStatus, Span, Status};
use crate::model::tenant::TenantId;

const NOW: UnixNanos = UnixNanos::new(1_767_607_200_000_000_000);
const SECOND: i64 = 1_000_000_000;
const MS: i64 = 1_000_000;

fn trace(number: u128) -> TraceId {
    TraceId::from_bytes((number + 1).to_be_bytes()).unwrap()
}

fn at(seconds: i64) -> UnixNanos {
    NOW.plus(seconds * SECOND)
}

/// A span of the service that ran for so long, begun a second after [`NOW`].
fn ran(number: u128, service: &str, operation: &str, took_ms: i64) -> Span {
    let mut span = started(number, service, operation);
    span.end = Some(End::At(at(1).plus(took_ms * MS)));
    span.status = Status::Completed;
    span
}

fn started(number: u128, service: &str, operation: &str) -> Span {
    let mut span = bare(number, Status::Running);
    span.started_at = Some(at(1));
    span.fields.set_text(Field::Service, service);
    span.fields.set_text(Field::Operation, operation);
    span.fields.set_text(Field::Region, "us-east");
    span
}

fn bare(number: u128, status: Status) -> Span {
    let mut span = Span::new(TenantId::default(), trace(number), SpanId::parse("1").unwrap(), at(1));
    span.status = status;
    span
}

fn completion(number: u128, status: Status) -> Span {
    let mut span = bare(number, status);
    span.end = Some(End::At(at(2)));
    span
}

/// Rules that hold from [`NOW`] on.
fn rules(list: serde_json::Value) -> Vec<Rule> {
    let made = NOW.plus(-HOLDS_AFTER_NS);
    wish(json!({"rules": list}).to_string().as_bytes(), made).unwrap().rules.unwrap()
}

fn judged(list: serde_json::Value, span: &Span) -> Verdict {
    Sieve::new(&rules(list)).judge(span)
}

#[test]
fn a_pattern_is_a_name_or_its_beginning() {
    for (pattern, name, matches) in [
        ("modal", Some("modal"), true),
        ("modal", Some("modal2"), false),
        ("modal", Some("Modal"), false),
        ("modal", None, false),
        ("modal*", Some("modal"), true),
        ("modal*", Some("modal.gpu"), true),
        ("modal*", Some("a modal"), false),
        ("modal*", None, false),
        ("*", Some("anything"), true),
        ("*", None, true),
        ("grüße*", Some("grüße an alle"), true),
    ] {
        let parsed = Pattern::parse(pattern).unwrap();
        assert_eq!(parsed.matches(name), matches, "{pattern} {name:?}");
        assert_eq!(parsed.to_string(), pattern);
    }
    for wrong in ["", "a*b", "**", "*a", &"x".repeat(MAX_TEXT + 1)] {
        assert!(Pattern::parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let list = json!([
        {"service": "router", "operation": "pay*", "action": "keep_fraction", "fraction": 1},
        {"service": "router", "action": "off"},
        {"region": "eu-*", "action": "off"},
    ]);
    assert_eq!(judged(list.clone(), &ran(1, "router", "payment", 5)), Verdict::Spared(0, Spared::Fraction));
    assert_eq!(judged(list.clone(), &ran(1, "router", "poll", 5)), Verdict::Dropped(1, Reason::Off));
    assert_eq!(judged(list.clone(), &ran(1, "modal", "poll", 5)), Verdict::Free);
    assert_eq!(judged(list, &bare(1, Status::Running)), Verdict::Free, "no name is meant by a pattern with one");
}

#[test]
fn what_failed_is_kept_whatever_says_so() {
    let off = json!([{"action": "off"}]);
    let short = json!([{"action": "minimum_duration", "duration_ms": 100}]);
    let none = json!([{"action": "keep_fraction", "fraction": 0}]);
    let mut failures = vec![ran(1, "s", "o", 1); 4];
    failures[0].status = Status::Failed;
    failures[1].fields.set_int(Field::OtelStatus, OtelStatus::Error as i64);
    failures[2].fields.set_text(Field::ErrorMessage, "loss is NaN");
    failures[3].fields.set_text(Field::ErrorType, "Diverged");
    for list in [off, short, none] {
        assert!(matches!(judged(list.clone(), &ran(1, "s", "o", 1)), Verdict::Dropped(..)), "{list}");
        for span in &failures {
            assert_eq!(judged(list.clone(), span), Verdict::Spared(0, Spared::Failed), "{list}");
        }
    }
}

#[test]
fn a_rule_concerns_spans_that_began_while_it_held() {
    let rule = json!([{"action": "off", "until": at(10).to_string()}]);
    for (begun, dropped) in [(-1, false), (0, true), (9, true), (10, false), (11, false)] {
        let mut span = ran(1, "s", "o", 1);
        span.started_at = Some(at(begun));
        assert_eq!(matches!(judged(rule.clone(), &span), Verdict::Dropped(..)), dropped, "{begun}");
    }
    let mut open = bare(1, Status::Pending);
    assert_eq!(judged(rule.clone(), &open), Verdict::Dropped(0, Reason::Off), "it begins when it comes");
    open.created_at = at(11);
    assert_eq!(judged(rule.clone(), &open), Verdict::Free);
    let bare_end = completion(1, Status::Completed);
    assert_eq!(judged(rule, &bare_end), Verdict::Spared(0, Spared::Unknown), "nobody knows when it began");
}

#[test]
fn a_rule_leaves_alone_what_replicas_may_store_before_they_hear_of_it() {
    let body = json!({"rules": [{"action": "off", "for_secs": 60}]});
    let rules = wish(body.to_string().as_bytes(), NOW).unwrap().rules.unwrap();
    let sieve = Sieve::new(&rules);
    let interval = i64::try_from(SPREADING_SECS).unwrap();
    let ahead = i64::try_from(CLOCK_MARGIN_SECS).unwrap();
    let holds_from = 2 * interval + ahead;
    let stored_elsewhere = [0, interval, interval + ahead, 2 * interval, holds_from - 1].map(|begun| (begun, false));
    let concerned = [(holds_from, true), (holds_from + 59, true), (holds_from + 60, false)];
    for (begun, dropped) in stored_elsewhere.into_iter().chain(concerned) {
        let mut completed = ran(1, "s", "o", 1);
        completed.started_at = Some(at(begun));
        assert_eq!(matches!(sieve.judge(&completed), Verdict::Dropped(..)), dropped, "begun after {begun} s");
    }
    let levers = Levers::default().amended(wish(body.to_string().as_bytes(), NOW).unwrap(), NOW, "ops", "a").unwrap();
    assert_eq!(levers.periods()[0].from, at(holds_from), "and nothing else is said to be left out");
}

#[test]
fn a_minimum_duration_leaves_open_what_is_not_known() {
    let rule = json!([{"service": "s", "action": "minimum_duration", "duration_ms": 20}]);
    for (took, verdict) in [
        (0, Verdict::Dropped(0, Reason::Short)),
        (19, Verdict::Dropped(0, Reason::Short)),
        (20, Verdict::Spared(0, Spared::Long)),
        (-5, Verdict::Dropped(0, Reason::Short)),
    ] {
        assert_eq!(judged(rule.clone(), &ran(1, "s", "o", took)), verdict, "{took} ms");
    }
    assert_eq!(judged(rule, &started(1, "s", "o")), Verdict::Spared(0, Spared::Unknown));
}

fn apply(sift: &mut Sift, sieve: &Sieve, spans: Vec<Span>) -> Vec<Span> {
    sift.apply(sieve, spans).0
}

#[test]
fn a_completion_that_fails_takes_its_start_along() {
    let sieve = Sieve::new(&rules(json!([{"service": "s", "action": "off"}])));
    let mut sift = Sift::new(NOW);
    assert_eq!(apply(&mut sift, &sieve, vec![started(1, "s", "o"), started(2, "s", "o")]), []);
    let failed = completion(1, Status::Failed);
    let kept = apply(&mut sift, &sieve, vec![failed.clone(), completion(2, Status::Completed)]);
    assert_eq!(
        kept,
        [started(1, "s", "o"), failed.clone()],
        "the other one is known by its start, and dropped with it"
    );
    let again = apply(&mut sift, &sieve, vec![failed.clone()]);
    assert_eq!(fold(again), fold(kept), "sent again it is the same");
    let later_word = bare(1, Status::Running);
    assert!(apply(&mut sift, &sieve, vec![later_word.clone()]).contains(&later_word));
    assert_eq!(apply(&mut sift, &sieve, vec![completion(2, Status::Completed)]), [], "and so is the other one");
    let elsewhere = apply(&mut Sift::new(NOW), &sieve, vec![failed.clone()]);
    assert_eq!(elsewhere, [failed], "a replica that has not seen the start keeps what it has");
}

#[test]
fn what_was_set_aside_counts_as_heard_of_with_its_first_word() {
    let sieve = Sieve::new(&rules(json!([{"service": "s", "action": "off"}])));
    let mut sift = Sift::new(NOW);
    let heard = |mut span: Span, seconds| {
        (span.created_at, span.seen_at) = (at(seconds), at(seconds));
        span
    };
    let told = vec![heard(started(1, "s", "o"), 1), heard(bare(1, Status::Running), 3)];
    assert_eq!(apply(&mut sift, &sieve, told), []);
    let failed = heard(completion(1, Status::Failed), 5);
    let kept = apply(&mut sift, &sieve, vec![failed.clone()]);
    assert_eq!((kept[0].seen_at, &kept[1]), (at(1), &failed), "a deletion in between takes all of it");
}

#[test]
fn a_start_that_was_dropped_comes_back_when_its_rule_is_gone() {
    let sieve = Sieve::new(&rules(json!([{"action": "off"}])));
    let mut sift = Sift::new(NOW);
    assert_eq!(apply(&mut sift, &sieve, vec![started(1, "s", "o")]), []);
    assert!(!sift.is_idle());
    let end = completion(1, Status::Completed);
    assert_eq!(apply(&mut sift, &Sieve::default(), vec![end.clone()]), [started(1, "s", "o"), end]);
    let mut later = ran(2, "s", "o", 1);
    later.seen_at = at(2 * 3_600);
    assert_eq!(apply(&mut sift, &Sieve::default(), vec![later.clone()]), [later]);
    assert!(sift.is_idle(), "after an hour it is forgotten");
}

#[test]
fn operations_in_parts_are_left_alone_by_a_minimum_duration() {
    let sieve = Sieve::new(&rules(json!([{"action": "minimum_duration", "duration_ms": 20}])));
    let mut sift = Sift::new(NOW);
    let kept = apply(&mut sift, &sieve, vec![ran(1, "s", "whole", 1), started(2, "s", "in parts")]);
    assert_eq!(kept, [started(2, "s", "in parts")]);
    let (kept, counts) = sift.apply(&sieve, vec![ran(3, "s", "in parts", 1), ran(4, "s", "whole", 1)]);
    assert_eq!(kept, [ran(3, "s", "in parts", 1)], "its start may be stored, also by another replica");
    let counted: Vec<Verdict> = counts.iter().map(|count| count.verdict).collect();
    assert_eq!(counted, [Verdict::Spared(0, Spared::InParts), Verdict::Dropped(0, Reason::Short)]);
    let mut young = Sift::new(at(5));
    let before_it_watched = ran(5, "s", "whole", 1);
    assert_eq!(apply(&mut young, &sieve, vec![before_it_watched.clone()]), [before_it_watched]);
}

#[test]
fn what_is_set_aside_is_bounded() {
    let sieve = Sieve::new(&rules(json!([{"action": "off"}])));
    let mut sift = Sift::new(NOW);
    let large = |number: u128| {
        let mut span = started(number, "s", "o");
        span.fields.set_text(Field::Inputs, "x".repeat(1 << 20));
        span
    };
    for number in 0..20 {
        assert_eq!(apply(&mut sift, &sieve, vec![large(number)]), []);
    }
    let with_start = |sift: &mut Sift, number| apply(sift, &sieve, vec![completion(number, Status::Failed)]).len() == 2;
    assert!(!with_start(&mut sift, 0), "the oldest is forgotten");
    assert!(with_start(&mut sift, 19));
}

#[test]
fn every_fault_is_found_and_says_where_it_is() {
    let body = json!({"enabled": "no", "until": "2026-01-05T10:00:00Z", "rule": [], "rules": [
        {"action": "off", "service": "a*b", "fraction": 1},
        {"action": "keep_fraction", "fraction": 1.5},
        {"action": "keep_fraction"},
        {"action": "minimum_duration", "duration_ms": "20", "operatoin": "x"},
        {"action": "on"}, {}, 7,
        {"action": "off", "name": "a b"},
        {"action": "off", "name": "twin"}, {"action": "off", "name": "twin"},
        {"action": "off", "until": "2020-01-01T00:00:00Z"}, {"action": "off", "for_secs": 0},
    ]});
    let faults = wish(body.to_string().as_bytes(), NOW).unwrap_err();
    let mut found: Vec<(Option<usize>, &str)> = faults.iter().map(|fault| (fault.rule, fault.field.as_str())).collect();
    found.sort();
    let mut expected = vec![
        (None, "enabled"),
        (None, "until"),
        (None, "rule"),
        (Some(0), "service"),
        (Some(0), "fraction"),
        (Some(1), "fraction"),
        (Some(2), "fraction"),
        (Some(3), "duration_ms"),
        (Some(3), "operatoin"),
        (Some(4), "action"),
        (Some(5), "action"),
        (Some(6), ""),
        (Some(7), "name"),
        (Some(9), "name"),
        (Some(10), "until"),
        (Some(11), "for_secs"),
    ];
    expected.sort();
    assert_eq!(found, expected, "{faults:#?}");
    for fault in &faults {
        assert!(
            fault.reason.contains("accepted") || fault.reason.contains("go") || fault.reason.contains(" is "),
            "{fault:?}"
        );
    }
    let rule = json!({"action": "off"});
    for (body, says) in [
        ("".to_owned(), "is not JSON"),
        ("[]".to_owned(), "is no object"),
        ("{}".to_owned(), "changes nothing"),
        (json!({"note": "why"}).to_string(), "changes nothing"),
        (json!({"rules": {}}).to_string(), "is no list"),
        (json!({"rules": vec![rule; MAX_RULES + 1]}).to_string(), "at most 32"),
    ] {
        let faults = wish(body.as_bytes(), NOW).unwrap_err();
        assert!(faults.len() == 1 && faults[0].reason.contains(says), "{body}: {faults:?}");
    }
}

/// The levers after some changes, one a minute.
fn after(bodies: &[serde_json::Value]) -> Levers {
    let mut levers = Levers::default();
    for (minute, body) in (1..).zip(bodies) {
        let now = at(60 * minute);
        let wish = wish(body.to_string().as_bytes(), now).unwrap();
        levers = levers.amended(wish, now, "ops", &format!("id-{minute}")).unwrap_or(levers);
    }
    levers
}

#[test]
fn what_is_left_out_stays_and_a_rule_that_stays_holds_since_it_did() {
    let poll = json!({"name": "poll", "operation": "poll*", "action": "off"});
    let half = |fraction: f64| json!({"service": "modal", "action": "keep_fraction", "fraction": fraction});
    let levers = after(&[
        json!({"rules": [poll]}),
        json!({"rules": [poll, half(0.5)]}),
        json!({"enabled": false, "for_secs": 90, "note": "incident 7"}),
        json!({"rules": [half(0.1), poll]}),
        json!({"rules": [half(0.1), poll]}),
    ]);
    let state = levers.state();
    assert_eq!(levers.changes().len(), 4, "one that changes nothing is none");
    assert!(state.is_off(at(240)) && !state.is_off(at(270)));
    let since: Vec<(&str, UnixNanos)> = state.rules.iter().map(|rule| (rule.name.as_str(), rule.since)).collect();
    assert_eq!(since, [("rule-1", at(255)), ("poll", at(75))]);
    let what: Vec<String> = levers.changes().iter().map(|change| change.what.join("; ")).collect();
    assert_eq!(
        what,
        [
            "rule rule-1: service=modal: keep 0.5 of the traces -> service=modal: keep 0.1 of the traces; order of \
             rules: poll, rule-1 -> rule-1, poll",
            "ingest: on -> off until 2026-01-05T10:04:30Z",
            "rule rule-1: added, service=modal: keep 0.5 of the traces",
            "rule poll: added, operation=poll*: off",
        ]
    );
    assert_eq!(levers.changes()[1].note.as_deref(), Some("incident 7"));
    let read: Levers = serde_json::from_str(&serde_json::to_string(&levers).unwrap()).unwrap();
    assert_eq!(read, levers);
}

#[test]
fn the_history_tells_when_what_was_not_kept() {
    let poll = json!({"name": "poll", "service": "s", "operation": "poll", "action": "keep_fraction", "fraction": 0.5});
    let levers = after(&[
        json!({"rules": [poll]}),
        json!({"enabled": false}),
        json!({"enabled": false, "note": "again", "for_secs": 3600}),
        json!({"enabled": true}),
        json!({"rules": []}),
    ]);
    let periods: Vec<(bool, UnixNanos, Option<UnixNanos>)> =
        levers.periods().into_iter().map(|period| (period.rule.is_some(), period.from, period.to)).collect();
    assert_eq!(periods, [(false, at(120), Some(at(240))), (true, at(75), Some(at(300)))]);

    let sampled_away = (0..).map(trace).find(|id| !is_kept(*id, 0.5)).unwrap();
    let sampled = (0..).map(trace).find(|id| is_kept(*id, 0.5)).unwrap();
    let left_out = |id, from, to| levers.left_out(id, at(from), at(to)).iter().map(|it| it.from).collect::<Vec<_>>();
    assert_eq!(left_out(sampled_away, 70, 90), [at(75)]);
    assert_eq!(left_out(sampled_away, 70, 74), []);
    assert_eq!(left_out(sampled, 70, 90), [], "it was kept");
    assert_eq!(left_out(sampled, 70, 130), [at(120)], "then everything was off");
    assert_eq!(left_out(sampled_away, 30, 59), []);
    assert_eq!(left_out(sampled_away, 300, 400), []);
    let told: Vec<String> = levers.periods().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "ingest was switched off from 2026-01-05T10:02:00Z to 2026-01-05T10:04:00Z: what came then is missing",
            "of service=s operation=poll spans may be missing that began from 2026-01-05T10:01:15Z to \
             2026-01-05T10:05:00Z: rule poll (keep 0.5 of the traces)",
        ]
    );
}

#[test]
fn no_more_changes_are_remembered_than_may_be() {
    let bodies: Vec<_> = (0..MAX_CHANGES + 5).map(|number| json!({"enabled": number % 2 == 1})).collect();
    let levers = after(&bodies);
    assert_eq!(levers.changes().len(), MAX_CHANGES);
    assert_eq!(levers.changes()[0].version, MAX_CHANGES as u64 + 5);
    assert_eq!(levers.forgotten_before(), Some(at(60 * 6)));
    assert_eq!(after(&[json!({"enabled": false})]).forgotten_before(), None);
}

#[test]
fn no_more_bytes_of_changes_are_remembered_than_may_be() {
    let text = "x".repeat(MAX_TEXT);
    let rule = |name: usize| json!({"name": name.to_string(), "service": text, "operation": text, "region": text, "action": "off"});
    let large = json!({"rules": (0..MAX_RULES).map(rule).collect::<Vec<_>>()});
    let mut bodies = vec![large];
    bodies.extend((0..MAX_CHANGES).map(|number| json!({"enabled": number % 2 == 1})));
    let levers = after(&bodies);
    let kept = serde_json::to_vec(&levers).unwrap().len();
    let one = serde_json::to_vec(&levers.changes()[0]).unwrap().len();
    assert!((MAX_HISTORY_BYTES..MAX_HISTORY_BYTES + one + 100).contains(&kept), "{kept} bytes, of {one} each");
    assert_eq!(levers.changes()[0].version, MAX_CHANGES as u64 + 1, "the latest are remembered");
    assert_eq!(levers.state().rules.len(), MAX_RULES);
    let oldest = levers.changes().last().unwrap();
    assert_eq!(levers.forgotten_before(), Some(oldest.at), "and that older ones are not is said");
    // One that is larger alone is in force, whatever its size.
    let huge = Change { what: vec!["x".repeat(2 * MAX_HISTORY_BYTES)], version: 1_000, ..oldest.clone() };
    assert_eq!(levers.joined(&Levers { changes: vec![huge.clone()] }).changes(), [huge]);
}

#[test]
fn a_fraction_is_that_of_random_and_of_counted_ids() {
    for fraction in [0.01, 0.1, 0.5, 0.9] {
        let counted = (0..20_000).filter(|number| is_kept(trace(*number), fraction)).count() as f64 / 20_000.0;
        let high = (0..20_000_u128).filter(|number| is_kept(trace(number << 64), fraction)).count() as f64 / 20_000.0;
        for found in [counted, high] {
            assert!((found - fraction).abs() < 0.015, "{fraction}: {found}");
        }
    }
    let example = TraceId::parse("7f3c0a1b2c3d4e5f60718293a4b5c6d7").unwrap();
    let least = (0..=1_000).map(|part| f64::from(part) / 1_000.0).find(|fraction| is_kept(example, *fraction));
    assert_eq!(least, Some(0.166), "replicas of all versions agree on it");
}

fn any_levers() -> impl Strategy<Value = Levers> {
    let change = (1_u64..5, 0_u8..4, 0_i64..5).prop_map(|(version, id, second)| Change {
        version,
        id: id.to_string(),
        at: at(second),
        by: "ops".into(),
        note: None,
        // Some so large that they do not all fit.
        what: vec![format!("{version} {id} {second}"), "x".repeat(30_000 * usize::from((id + second as u8) % 2))],
        state: State::default(),
    });
    prop::collection::vec(change, 0..6).prop_map(|changes| Levers::default().joined(&Levers { changes }))
}

proptest! {
    #[test]
    fn a_larger_part_holds_every_smaller_one(id in 1_u128.., a in 0.0_f64..=1.0, b in 0.0_f64..=1.0) {
        let id = TraceId::from_bytes(id.to_be_bytes()).unwrap();
        let (less, more) = (a.min(b), a.max(b));
        prop_assert!(!is_kept(id, less) || is_kept(id, more));
        prop_assert!(is_kept(id, 1.0) && !is_kept(id, 0.0));
    }

    #[test]
    fn the_matching_spans_of_a_trace_are_kept_all_or_none(
        number in 0_u128..1_000, fraction in 0.0_f64..=1.0, spans in prop::collection::vec((0_i64..100, any::<bool>()), 1..20)
    ) {
        let sieve = Sieve::new(&rules(json!([{"action": "keep_fraction", "fraction": fraction}])));
        let spans: Vec<Span> = (1_u32..).zip(spans).map(|(id, (took, open))| {
            let mut span = if open { started(number, "s", "o") } else { ran(number, "s", "p", took) };
            span.span_id = SpanId::parse(&format!("{id:x}")).unwrap();
            span
        }).collect();
        let kept = apply(&mut Sift::new(NOW), &sieve, spans.clone());
        prop_assert_eq!(kept, if is_kept(trace(number), fraction) { spans } else { vec![] });
    }

    #[test]
    fn joining_is_commutative_associative_and_idempotent(a in any_levers(), b in any_levers(), c in any_levers()) {
        prop_assert_eq!(a.joined(&b), b.joined(&a));
        prop_assert_eq!(a.joined(&b).joined(&c), a.joined(&b.joined(&c)));
        prop_assert_eq!(a.joined(&a), a);
    }

    #[test]
    fn any_body_is_read_or_refused_and_never_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(wish(&body, NOW).is_err());
    }

    #[test]
    fn what_was_read_may_be_sent_back(fraction in 0.0_f64..=1.0, service in "[a-z]{1,8}[*]?", secs in 1_u64..1_000) {
        let read = rules(json!([
            {"service": service, "action": "keep_fraction", "fraction": fraction, "for_secs": secs},
            {"action": "minimum_duration", "duration_ms": 0.5, "region": "eu-*"},
        ]));
        prop_assert_eq!(rules(json!(read)), read);
    }
}

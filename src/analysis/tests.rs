//! Waterfalls of sketches, laws on arbitrary traces, and traces of unusual size.

use proptest::prelude::*;

use crate::model::ids::{SpanId, TraceId};
use crate::model::sketch::{self, at_ms};
use crate::model::span::{End, Field, Span, Status};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::model::trace::Trace;

use super::critical_path;
use super::notes::NoteCode;
use super::self_time::self_times;
use super::skew::Skew;
use super::timeline::Timeline;
use super::tree::Tree;
use super::waterfall::{Flag, Options, Row, Waterfall, build};

fn waterfall(sketch: &str, now_ms: u64, options: &Options) -> Waterfall {
    build(&sketch::trace(sketch).unwrap_or_else(|error| panic!("{error}")), at_ms(now_ms), options)
}

/// A row as text, times in milliseconds: indented name, offset+length, self, critical, gap, concurrency, flags.
fn line(row: &Row) -> String {
    let ms = |ns: i64| ns as f64 / 1e6;
    let id = row.span_id.to_string();
    let name = row.operation.clone().unwrap_or_else(|| format!("?{}", id.trim_start_matches('0')));
    let gap = row.gap_ns.map_or("-".to_owned(), |ns| ms(ns).to_string());
    let flags: String = row.flags.iter().map(|flag| format!(" {flag:?}")).collect();
    format!(
        "{}{name} {}+{} self {} crit {} gap {gap} x{}{flags}",
        "  ".repeat(row.depth as usize),
        ms(row.offset_ns),
        ms(row.length_ns),
        ms(row.self_ns),
        ms(row.critical_ns),
        row.concurrency,
    )
}

fn check(sketch: &str, expected: &[&str]) {
    let found: Vec<String> = waterfall(sketch, 100, &Options::default()).rows.iter().map(line).collect();
    assert_eq!(found, expected, "{sketch}");
}

#[test]
fn a_parent_waits_for_the_child_that_ends_last() {
    check(
        "a[0..90](b[10..40] c[50..80])",
        &[
            "a 0+90 self 30 crit 30 gap - x1",
            "  b 10+30 self 30 crit 30 gap 10 x1",
            "  c 50+30 self 30 crit 30 gap 10 x1",
        ],
    );
    check(
        "a[0..90](b[10..40] c[30..80](d[35..60]) e[30..70])",
        &[
            "a 0+90 self 20 crit 20 gap - x1",
            "  b 10+30 self 30 crit 20 gap 10 x1",
            "  c 30+50 self 25 crit 25 gap 30 x3",
            "    d 35+25 self 25 crit 25 gap 5 x1",
            "  e 30+40 self 40 crit 0 gap 30 x3",
        ],
    );
}

#[test]
fn a_child_that_outlives_a_completed_parent_was_not_waited_for() {
    check(
        "a[0..50](b[10..200](c[20..30]))",
        &[
            "a 0+50 self 10 crit 50 gap - x1",
            "  b 10+190 self 180 crit 0 gap 10 x1 Late",
            "    c 20+10 self 10 crit 0 gap 10 x1",
        ],
    );
    // A parent that gave up was waiting: a timeout.
    check("a[0..50]!(b[10..200])", &["a 0+50 self 10 crit 10 gap - x1", "  b 10+190 self 190 crit 40 gap 10 x1 Late"]);
    // Rounding is not asynchrony; a consumer always is.
    check(
        "a[0..50](b[10..50.9] c[0..9]{kind=consumer})",
        &[
            "a 0+50 self 1 crit 10 gap - x1",
            "  c 0+9 self 9 crit 0 gap 0 x1",
            "  b 10+40.9 self 40.9 crit 40 gap 1 x1 Late",
        ],
    );
}

#[test]
fn open_spans_run_to_now_and_abandoned_ones_to_their_last_sign_of_life() {
    check(
        "a[0..](b[10..40] c[50..])",
        &[
            "a 0+100 self 20 crit 20 gap - x1 Open",
            "  b 10+30 self 30 crit 30 gap 10 x1",
            "  c 50+50 self 50 crit 50 gap 10 x1 Open",
        ],
    );
    let later = waterfall("a[0..]{heard=20}(b[10..]{heard=30})", 7_200_000, &Options::default());
    assert_eq!(
        later.rows.iter().map(line).collect::<Vec<_>>(),
        ["a 0+30 self 10 crit 10 gap - x1 Open Abandoned", "  b 10+20 self 20 crit 20 gap 10 x1 Open Abandoned",]
    );
    assert_eq!(later.notes[0].message, "2 spans never ended, and nothing was heard of them for more than 1h 00m");
    let row = &waterfall("a[0..]", 100, &Options::default()).rows[0];
    assert_eq!((row.duration_ns, row.elapsed_ns), (None, Some(100_000_000)));
}

#[test]
fn unknown_and_impossible_times_are_drawn_as_well_as_they_can_be() {
    check(
        "a[0..90](b[..40] c[50..45] d e{status=failed}(f[60..70]))",
        &[
            "a 0+90 self 20 crit 20 gap - x1",
            "  b 40+0 self 0 crit 0 gap 40 x1 UnknownStart",
            "  c 50+0 self 0 crit 0 gap 10 x1 Backwards",
            "  d 0+0 self 0 crit 0 gap 0 x1 Open UnknownStart",
            "  e 0+70 self 60 crit 60 gap 0 x1 UnknownStart UnknownEnd",
            "    f 60+10 self 10 crit 10 gap 60 x1",
        ],
    );
}

#[test]
fn orphans_hang_under_a_placeholder() {
    check(
        "a[0..90] b^f0[20..40] c^f0[30..60]",
        &[
            "a 0+90 self 90 crit 90 gap - x1",
            "?f0 20+40 self 0 crit 0 gap - x2 Placeholder",
            "  b 20+20 self 20 crit 0 gap 0 x1 Orphan",
            "  c 30+30 self 30 crit 0 gap 10 x2 Orphan",
        ],
    );
    // While the root has not come, the path runs over its placeholder.
    check(
        "b^f0[20..40] c^f0[50..60]",
        &[
            "?f0 0+40 self 0 crit 10 gap - x1 Placeholder",
            "  b 0+20 self 20 crit 20 gap 0 x1 Orphan",
            "  c 30+10 self 10 crit 10 gap 10 x1 Orphan",
        ],
    );
}

#[test]
fn odd_traces_are_explained_in_plain_sentences() {
    for (sketch, code, message) in [
        (
            "a[0..9] b^f0[1..2] c^f0[1..2]",
            NoteCode::MissingParent,
            "2 spans name parent 00000000000000f0, which has not arrived",
        ),
        ("a#5^5[0..9]", NoteCode::SelfParent, "a (0000000000000005) names itself as its parent; drawn as a root"),
        (
            "a#1^3[0..9] b#2^1[1..9] c#3^2[2..9]",
            NoteCode::Cycle,
            "3 spans are each other's ancestors; drawn as if a (0000000000000001) had no parent",
        ),
        ("a[0..9] b[1..2]", NoteCode::SeveralRoots, "2 spans have no parent; the trace is named after the first"),
        (
            "a[0..9](b[8..3])",
            NoteCode::EndsBeforeStart,
            "b (0000000000000002) ends 5 ms before it starts; drawn without length",
        ),
        ("a[0..9](b[..3])", NoteCode::UnknownStart, "b (0000000000000002) came without a start; drawn at the end"),
        (
            "a[0..9](b[1..2]{heard=-400000})",
            NoteCode::ClockSuspect,
            "b (0000000000000002) has times that cannot be right (before the year 2000, or later than the span was last heard of)",
        ),
        ("a[0..9](b[4..30])", NoteCode::OutlivesParent, "b (0000000000000002) ends 21 ms after its parent"),
        ("a[0..9](b[4..30] c[5..12])", NoteCode::OutlivesParent, "2 spans end up to 21 ms after their parents"),
        ("x:a[10..90](x:b[4..30])", NoteCode::StartsBeforeParent, "b (0000000000000002) starts 6 ms before its parent"),
        ("y:a[100..200](x:b[-40..40])", NoteCode::ClockSkew, "the clock of y seems 150 ms ahead of x"),
        ("x:a[100..200](y:b[-40..40])", NoteCode::ClockSkew, "the clock of y seems 150 ms behind x"),
    ] {
        let notes = waterfall(sketch, 100, &Options::default()).notes;
        assert_eq!(notes.len(), 1, "{sketch}: {notes:?}");
        assert_eq!((notes[0].code, notes[0].message.as_str()), (code, message), "{sketch}");
    }
}

#[test]
fn notes_stay_few_however_much_is_odd() {
    let sketch: String = (0..5_000).map(|n| format!("a^{:x}[0..1] ", 0x10000 + n)).collect();
    let notes = waterfall(&sketch, 10, &Options::default()).notes;
    assert_eq!(notes.len(), 11);
    assert_eq!(notes[10].message, "4990 spans name 4990 further parents, which have not arrived either");
    assert!(notes.iter().all(|note| note.span_ids.len() <= 10));
}

#[test]
fn skew_is_told_from_asynchrony_and_moved_only_on_request() {
    let skewed = |sketch: &str| {
        let rows = waterfall(sketch, 1_000, &Options::default()).rows;
        let names = rows.iter().filter(|row| row.flags.contains(&Flag::Skewed)).filter_map(|row| row.operation.clone());
        names.collect::<Vec<_>>().join(" ")
    };
    for (sketch, expected) in [
        // All three calls agree that y is 105 to 110 ms behind.
        ("x:a[0..900](x:p[100..200](y:b[-5..90]) x:q[300..400](y:c[193..293]) x:r[500..900](y:d[405..505]))", "b c d"),
        // One call fits only where the clocks agree: something else is the matter with the other.
        ("x:a[0..900](x:p[100..200](y:b[-5..90]) x:q[300..400](y:c[300..400]))", ""),
        // Late, but nothing says that it was waited for.
        ("x:a[0..100](y:b[50..120])", ""),
        ("x:a[0..100]{kind=client}(y:b[50..120]{kind=server})", "b"),
        // The client gave up before the server was done.
        ("x:a[0..100]!{kind=client}(y:b[50..120]{kind=server})", ""),
        ("x:a[0..100]{kind=producer}(y:b[-50..20]{kind=consumer})", ""),
        // Too long to fit in.
        ("x:a[0..100](y:b[-50..120])", ""),
        ("x:a[0..100](y:b[-0.9..20])", ""),
    ] {
        assert_eq!(skewed(sketch), expected, "{sketch}");
    }

    let sketch = "x:a[100..200](y:b[-40..40](y:c[-30..0]))";
    let moved = waterfall(sketch, 1_000, &Options { correct_skew: true, ..Options::default() });
    assert_eq!(
        moved.rows.iter().map(line).collect::<Vec<_>>(),
        [
            "a 0+100 self 20 crit 20 gap - x1",
            "  b 10+80 self 50 crit 50 gap 10 x1 Skewed",
            "    c 20+30 self 30 crit 30 gap 10 x1",
        ]
    );
    assert_eq!(moved.notes[0].message, "the clock of y seems 150 ms behind x; its spans were moved into their parents");
}

#[test]
fn a_completion_may_come_long_after_its_start_was_told() {
    let hours = 3_600_000 * 3;
    let waterfall = waterfall(&format!("a[0..](b[0..{hours}]{{heard=0}})"), hours, &Options::default());
    let flags: Vec<_> = waterfall.rows.iter().flat_map(|row| &row.flags).collect();
    assert_eq!(flags, [&Flag::Open], "no clock is wrong, and a parent lives as long as its children");
}

#[test]
fn times_at_the_ends_of_the_range_do_not_overflow_and_do_not_stretch_the_picture() {
    let mut trace = sketch::trace("a[0..90](b[10..40] c[50..80] d[60..70])").unwrap();
    trace.spans[1].started_at = Some(UnixNanos::new(0));
    trace.spans[2].end = Some(End::At(UnixNanos::MAX));
    trace.spans[3].started_at = Some(UnixNanos::MAX);
    trace.spans[3].end = Some(End::After(i64::MIN));
    let waterfall = build(&trace, at_ms(100), &Options::default());
    assert_eq!(waterfall.extent_ns, 90_000_000);
    assert_eq!(waterfall.rows.iter().filter(|row| row.flags.contains(&Flag::ClockSuspect)).count(), 3);
    for at in [UnixNanos::new(0), UnixNanos::MAX] {
        build(&trace, at, &Options::default());
    }
}

#[test]
fn the_answer_is_cut_but_errors_and_the_critical_path_stay() {
    let mut sketch = String::from("root[0..1000](");
    (0..50).for_each(|n| sketch.push_str(&format!("fast{n}[{n}..{}](below{n}[{n}..{}]) ", n + 1, n + 1)));
    sketch.push_str("slow[60..990](mid[70..980](leaf[80..900])) odd[5..6](deep[5..6](broken[5..6]!)))");
    let options = Options { max_rows: 12, ..Options::default() };
    let waterfall = waterfall(&sketch, 2_000, &options);
    let names: Vec<_> = waterfall.rows.iter().filter_map(|row| row.operation.as_deref()).collect();
    assert_eq!(waterfall.rows.len(), 12);
    for kept in ["root", "slow", "mid", "leaf", "odd", "deep", "broken"] {
        assert!(names.contains(&kept), "{kept} of {names:?}");
    }
    let truncated = waterfall.truncated.unwrap();
    assert_eq!((truncated.rows, truncated.errors), (107 - 12, 0));
    assert_eq!(truncated.what, "95 of 107 rows are not shown, 0 of them failed");
    assert_eq!(waterfall.rows.iter().map(|row| row.left_out).sum::<u32>(), 95);
    assert_eq!(waterfall.span_count, 107);

    let mut unread = sketch::trace("a[0..9](b[1..2])").unwrap();
    unread.truncated = true;
    let truncated = build(&unread, at_ms(9), &Options::default()).truncated.unwrap();
    assert_eq!((truncated.what.as_str(), truncated.rows), ("the trace has more than 2 spans", 0));
}

#[test]
fn the_contract_is_json_and_back() {
    let waterfall = waterfall(
        r#"runner:ask[0..90]{execution_id=12 kind=client}(modal:b[10..]!"boom"{cost_pico=4200 retry_count=1} c^f[5..6])"#,
        100,
        &Options { max_rows: 3, ..Options::default() },
    );
    let json = serde_json::to_string(&waterfall).unwrap();
    assert_eq!(serde_json::from_str::<Waterfall>(&json).unwrap(), waterfall);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["started_at"], "2026-01-05T10:00:00Z");
    assert_eq!(value["cost_usd"], "0.0000000042");
    assert_eq!(value["rows"][0]["kind"], "client");
    assert_eq!(value["rows"][1]["error"]["message"], "boom");
    assert_eq!(value["error"]["operation"], "b");
    assert_eq!(value["truncated"]["rows"], 1);
}

/// `count` spans of 1 ms each, the parent of each by its number; number 0 is the root and covers them all.
fn large(count: usize, parent: impl Fn(usize) -> usize) -> Trace {
    let trace_id = TraceId::from_bytes([1; 16]).unwrap();
    let id = |number: usize| SpanId::from_u128(number as u128 + 1).unwrap();
    let spans = (0..count).map(|number| {
        let (start, end) = if number == 0 { (0, count as u64) } else { (number as u64, number as u64 + 1) };
        let mut span = Span::new(TenantId::default(), trace_id, id(number), at_ms(end));
        span.parent_span_id = (number > 0).then(|| id(parent(number)));
        (span.started_at, span.end) = (Some(at_ms(start)), Some(End::At(at_ms(end))));
        span.status = Status::Completed;
        span
    });
    Trace::new(TenantId::default(), trace_id, spans.collect(), false)
}

#[test]
fn depth_and_breadth_cost_neither_stack_nor_quadratic_time() {
    let options = Options { max_rows: usize::MAX, ..Options::default() };
    for (count, parent) in [
        (10_000, (|number| number - 1) as fn(usize) -> usize),
        (5_001, |_| 0),
        (100_000, |number| number - 1),
        (100_000, |number| number / 3),
        (100_000, |_| 0),
        // One circle of all but the root.
        (50_000, |number| if number == 1 { 49_999 } else { number - 1 }),
    ] {
        let trace = large(count, parent);
        let waterfall = build(&trace, at_ms(count as u64), &options);
        assert_eq!(waterfall.rows.len(), count);
        let bounded = build(&trace, at_ms(count as u64), &Options::default());
        assert_eq!(bounded.rows.len(), count.min(10_000));
    }
}

const SECOND: i64 = 1_000_000_000;

/// Any spans at all: parents anywhere or nowhere, circles, times from one end of the range to the other.
fn arbitrary_trace() -> impl Strategy<Value = Trace> {
    let ids = || prop_oneof![(1..24_u128), (1..4_u128).prop_map(|n| (n << 64) | (n + 20))];
    let at = || {
        prop_oneof![
            8 => (0..200_u64).prop_map(|ms| Some(at_ms(ms))),
            1 => any::<u64>().prop_map(|ns| Some(UnixNanos::new(ns))),
            1 => Just(None),
        ]
    };
    let end = prop_oneof![
        at().prop_map(|at| at.map(End::At)),
        (-SECOND..SECOND).prop_map(|ns| Some(End::After(ns))),
        any::<i64>().prop_map(|ns| Some(End::After(ns))),
    ];
    let span = (
        (ids(), proptest::option::of(ids())),
        (at(), end, at()),
        proptest::sample::select(Status::ALL),
        (proptest::option::of("[xyz]"), 0..6_i64),
        proptest::option::of(any::<i64>()),
    );
    proptest::collection::vec(span, 0..40).prop_map(|spans| {
        let trace_id = TraceId::from_bytes([1; 16]).unwrap();
        let spans = spans.into_iter().map(|((id, parent), (start, end, seen), status, (service, kind), cost)| {
            let seen = seen.unwrap_or(at_ms(200));
            let mut span = Span::new(TenantId::default(), trace_id, SpanId::from_u128(id).unwrap(), seen);
            span.parent_span_id = parent.and_then(|id| SpanId::from_u128(id).ok());
            span.started_at = start;
            span.end = end.filter(|_| status.is_terminal());
            span.status = status;
            span.fields.set_int(Field::Kind, kind);
            service.into_iter().for_each(|service| span.fields.set_text(Field::Service, service));
            cost.into_iter().for_each(|cost| span.fields.set_int(Field::CostPico, cost));
            span
        });
        Trace::new(TenantId::default(), trace_id, spans.collect(), false)
    })
}

/// A tree whose children lie within their parents, as synchronous calls do: each span is a share of its parent.
fn synchronous_trace() -> impl Strategy<Value = Trace> {
    proptest::collection::vec((any::<prop::sample::Index>(), 0..100_u64, 0..100_u64), 0..40).prop_map(|shares| {
        let mut placed = vec![(None, 0, 1_000_000)];
        for (parent, from, length) in shares {
            let parent = parent.index(placed.len());
            let (_, start, end): (Option<usize>, u64, u64) = placed[parent];
            let start = start + (end - start) * from / 100;
            placed.push((Some(parent), start, start + (end - start) * length / 100));
        }
        let trace_id = TraceId::from_bytes([1; 16]).unwrap();
        let id = |number: usize| SpanId::from_u128(number as u128 + 1).unwrap();
        let spans = placed.into_iter().enumerate().map(|(number, (parent, start, end))| {
            let mut span = Span::new(TenantId::default(), trace_id, id(number), at_ms(0).plus(end as i64));
            span.parent_span_id = parent.map(id);
            span.started_at = Some(at_ms(0).plus(start as i64));
            span.end = Some(End::At(at_ms(0).plus(end as i64)));
            span.status = Status::Completed;
            span
        });
        Trace::new(TenantId::default(), trace_id, spans.collect(), false)
    })
}

proptest! {
    #[test]
    fn every_span_is_a_row_once(trace in arbitrary_trace(), now in any::<u64>(), correct_skew in any::<bool>()) {
        let options = Options { correct_skew, ..Options::default() };
        let waterfall = build(&trace, UnixNanos::new(now), &options);
        let is_span = |row: &&Row| !row.flags.contains(&Flag::Placeholder);
        let mut rows: Vec<SpanId> = waterfall.rows.iter().filter(is_span).map(|row| row.span_id).collect();
        let mut spans: Vec<SpanId> = trace.spans.iter().map(|span| span.span_id).collect();
        rows.sort();
        spans.sort();
        prop_assert_eq!(rows, spans);
        prop_assert_eq!(waterfall.truncated, None);
        let mut depths = waterfall.rows.iter().map(|row| row.depth);
        prop_assert_eq!(depths.next().unwrap_or(0), 0);
        prop_assert!(waterfall.rows.windows(2).all(|pair| pair[1].depth <= pair[0].depth + 1), "not in pre-order");
    }

    #[test]
    fn the_order_of_arrival_changes_nothing(trace in arbitrary_trace(), seed in any::<u64>()) {
        let mut shuffled = trace.clone();
        shuffled.spans.sort_by_key(|span| u64::from(span.span_id.as_bytes()[7]).wrapping_mul(seed | 1));
        let options = Options::default();
        prop_assert_eq!(build(&shuffled, at_ms(300), &options).rows, build(&trace, at_ms(300), &options).rows);
    }

    #[test]
    fn the_critical_path_is_as_long_as_the_root_and_never_in_two_places(
        trace in arbitrary_trace(), now in prop_oneof![Just(at_ms(300)), any::<u64>().prop_map(UnixNanos::new)],
    ) {
        let tree = Tree::new(&trace);
        let timeline = Timeline::new(&trace, &tree, now, 3_600 * SECOND);
        let path = critical_path::segments(&trace, &tree, &timeline, &Skew::find(&trace, &tree, &timeline));
        prop_assert!(path.windows(2).all(|pair| pair[0].end == pair[1].start), "stretches touch");
        if let Some(root) = tree.roots().first().map(|root| *timeline.slot(*root)) {
            let ends = path.first().map(|first| (first.start, path[path.len() - 1].end));
            prop_assert_eq!(ends, (root.start < root.end).then_some((root.start, root.end)));
        }
        for segment in &path {
            let slot = timeline.slot(segment.node);
            prop_assert!(slot.start <= segment.start && segment.end <= slot.end, "outside its span");
        }
    }

    #[test]
    fn on_a_synchronous_tree_critical_self_times_sum_to_the_root(trace in synchronous_trace()) {
        let waterfall = build(&trace, at_ms(0), &Options::default());
        let sum: i64 = waterfall.rows.iter().map(|row| row.critical_ns).sum();
        prop_assert_eq!(sum, waterfall.duration_ns);
        prop_assert!(waterfall.rows.iter().all(|row| row.critical_ns <= row.self_ns));
        prop_assert_eq!(waterfall.critical_path.iter().map(|stretch| stretch.duration_ns).sum::<i64>(), sum);
    }

    #[test]
    fn self_time_lies_within_the_length(trace in arbitrary_trace(), now in any::<u64>()) {
        let tree = Tree::new(&trace);
        let timeline = Timeline::new(&trace, &tree, UnixNanos::new(now), SECOND);
        for (node, ns) in self_times(&tree, &timeline).into_iter().enumerate() {
            prop_assert!((0..=timeline.slot(node).length_ns()).contains(&ns));
        }
        let rows = build(&trace, UnixNanos::new(now), &Options::default()).rows;
        prop_assert!(rows.iter().all(|row| row.concurrency >= 1 && row.gap_ns.unwrap_or(0) >= 0));
    }

    #[test]
    fn rows_that_are_kept_have_their_ancestors(trace in arbitrary_trace(), max_rows in 1..20_usize) {
        let waterfall = build(&trace, at_ms(300), &Options { max_rows, ..Options::default() });
        prop_assert!(waterfall.rows.len() <= max_rows);
        let mut above: Vec<SpanId> = Vec::new();
        for row in &waterfall.rows {
            prop_assert!(row.depth as usize <= above.len());
            above.truncate(row.depth as usize);
            if row.depth > 0 {
                prop_assert_eq!(row.parent_span_id, above.last().copied());
            }
            above.push(row.span_id);
        }
    }
}

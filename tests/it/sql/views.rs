//! The views tell what the analysis tells, of any trace, on both stores.

use serde_json::Value;
use tracefall::analysis::waterfall::{self, Flag, Options, Row, Waterfall};
use tracefall::clock::Clock;
use tracefall::model::ids::SpanId;
use tracefall::model::sketch;
use tracefall::model::span::{End, Field, Outcome, Span, Status};
use tracefall::model::trace::Trace;
use tracefall::settings::store::StoreSettings;
use tracefall::store::{self, Detail, Store};

use super::{ask_postgres, ask_sqlite};
use crate::store_suite::Home;
use crate::store_suite::records::{Dice, NOW, rows, span_id, tenant, trace_id, write};
use crate::support::postgres::Database;

/// Drawn traces, each with something of its own.
const SKETCHES: &[&str] = &[
    "a[0..90](b[10..40]! c[50..80](d[55..60] e[58..70]))",
    "a[0..90](b[10..40] c[10..30] d[20..200])",
    "a[0..]( b[10..40](c[20..]) d[50..60])",
    "a[0..9](later[..5] b[1..2] timeless)",
    "b^f0[5..40]! c^f0[10..60](d[20..30]) e^f1[1..2]",
    "a#1^2[0..10] b#2^3[1..9] c#3^1[2..5](d[3..4])",
    "a#1^1[0..10](b[1..2])",
    "r[0..50](x[1..2]) a#8^9[3..10] b#9^8[4..9](c[5..6])",
    "a[10..90](early[0..20] late[80..120])",
    "a[20..10](b[12..14])",
    "a[..90](b[10..20])",
    "a[0..90] b[5..6] c[1..2](d[..2])",
    "a[0..](b[0..10800000]{heard=0})",
    r#"r:a[0..9]!"failed: boom"(m:b[1..5]!"boom"{error_type=Boom input_tokens=3 cost_pico=250000000000})"#,
];

/// A trace as senders with bugs make it.
fn at_random(dice: &mut Dice, number: u64) -> Vec<Span> {
    let count = 1 + dice.below(12);
    let id = |dice: &mut Dice| {
        let number = u128::from(1 + dice.below(count + 2));
        // Ids of 128 bits among those of 64: their halves are other spans' parents.
        SpanId::from_u128(if dice.one_in(6) { number << 64 | (number + 5) } else { number }).unwrap()
    };
    let at = |ms: u64| NOW.plus(ms as i64 * 1_000_000 + ms as i64);
    // In every other trace spans are told more than once. There all agree on the parent and the service, and none tells its
    // end by its duration alone: which record a field came from is not in the columns that the views read.
    let told_once = number.is_multiple_of(2);
    let mut told: Vec<Span> = Vec::new();
    for index in 0..count {
        let span_id = if told_once { span_id(index + 1) } else { id(dice) };
        let mut span = Span::new(tenant(), trace_id(number), span_id, at(300));
        span.parent_span_id = (!dice.one_in(5)).then(|| id(dice));
        span.fields.set_text(Field::Service, format!("service {}", dice.below(3)));
        if let Some(known) = told.iter().find(|known| known.span_id == span.span_id) {
            span.parent_span_id = known.parent_span_id;
            span.fields = known.fields.clone();
        }
        span.started_at = (!dice.one_in(8)).then(|| at(dice.below(200)));
        if dice.one_in(30) {
            span.started_at = Some(tracefall::model::time::UnixNanos::new(dice.below(5)));
        }
        span.status = [Status::Completed, Status::Failed, Status::Running, Status::Completed][dice.below(4) as usize];
        if span.status != Status::Running {
            span.end = match dice.below(8) {
                0 => None,
                1 if told_once => Some(End::After(dice.below(90) as i64 * 1_000_003)),
                _ => Some(End::At(at(dice.below(300)))),
            };
        }
        told.push(span);
    }
    told
}

/// Writes all traces; what they are then is what is read back.
async fn fill(store: &Store) -> Vec<Trace> {
    let mut all: Vec<Vec<Span>> = Vec::new();
    for (number, text) in SKETCHES.iter().enumerate() {
        let mut spans = sketch::trace(text).unwrap_or_else(|error| panic!("{text}: {error}")).spans;
        spans.iter_mut().for_each(|span| span.trace_id = trace_id(number as u64 + 1));
        all.push(spans);
    }
    let mut dice = Dice(12);
    all.extend((0..80).map(|number| at_random(&mut dice, 1_000 + number)));
    let mut traces = Vec::new();
    for spans in all {
        let id = spans[0].trace_id;
        // What is told more than once comes one by one, and meets in the store.
        let mut ids: Vec<SpanId> = spans.iter().map(|span| span.span_id).collect();
        ids.sort();
        ids.dedup();
        if ids.len() == spans.len() {
            write(store, spans).await;
        } else {
            for span in spans {
                write(store, [span]).await;
            }
        }
        let read = store.traces.trace_rows(&tenant(), id, Detail::Outline, 1_000).await.unwrap();
        traces.push(Trace::new(tenant(), id, read.rows, false));
    }
    traces
}

fn ms(ns: i64) -> f64 {
    ns as f64 / 1e6
}

fn note(row: &Row) -> Option<String> {
    let words = [
        (Flag::Placeholder, "placeholder"),
        (Flag::Orphan, "orphan"),
        (Flag::Cycle, "cycle"),
        (Flag::Open, "open"),
        (Flag::ClockSuspect, "clock_suspect"),
    ];
    let set: Vec<&str> = words.iter().filter(|(flag, _)| row.flags.contains(flag)).map(|(_, word)| *word).collect();
    (!set.is_empty()).then(|| set.join(" "))
}

/// Each row of the view is the analysis' row at the same place.
fn compare(expected: &Waterfall, told: &[Value], what: &str) {
    let seen: Vec<&Value> = told.iter().map(|row| &row["span_id"]).collect();
    let ids: Vec<String> = expected.rows.iter().map(|row| row.span_id.to_string()).collect();
    assert_eq!(seen, ids.iter().collect::<Vec<_>>(), "{what}: pre-order\n{told:#?}\n{:#?}", expected.rows);
    for (row, told) in expected.rows.iter().zip(told) {
        let at = format!("{what}, {}\n{told:#}\n{row:#?}", row.span_id);
        assert_eq!(told["depth"], row.depth, "{at}");
        assert_eq!(told["parent_span_id"], Value::from(row.parent_span_id.map(|id| id.to_string())), "{at}");
        assert_eq!(told["status"], Value::from(row.status.map(Outcome::name)), "{at}");
        assert_eq!(told["service"], Value::from(row.service.clone()), "{at}");
        assert_eq!(told["note"], Value::from(note(row)), "{at}");
        assert_eq!(told["duration_ms"].is_null(), row.duration_ns.is_none(), "{at}");
        let near = |column: &str, ns: i64| {
            let told = told[column].as_f64().unwrap_or(f64::NAN);
            // Far from 1970 a fraction of a millisecond has few digits.
            assert!((told - ms(ns)).abs() <= ms(ns).abs() * 1e-12 + 1e-9, "{column}: {at}");
        };
        if let Some(duration_ns) = row.duration_ns {
            near("duration_ms", duration_ns);
        }
        near("offset_ms", row.offset_ns);
        near("self_ms", row.self_ns);
    }
}

const QUESTION: &str = "SELECT trace_id, span_id, parent_span_id, depth, status, service, note, duration_ms, offset_ms, \
     self_ms FROM trace_waterfall ORDER BY trace_id, path";

fn compare_all(traces: &[Trace], told: &[Value]) {
    let now = Clock::system().now();
    let of_traces = told.chunk_by(|a, b| a["trace_id"] == b["trace_id"]);
    let mut traces: Vec<&Trace> = traces.iter().collect();
    traces.sort_by_key(|trace| trace.trace_id);
    assert_eq!(of_traces.clone().count(), traces.len());
    for (trace, told) in traces.iter().zip(of_traces) {
        compare(&waterfall::build(trace, now, &Options::default()), told, &format!("trace {}", trace.trace_id));
    }
}

#[tokio::test]
async fn the_waterfall_is_the_analysis_on_postgresql() {
    let Some(database) = Database::new() else { return };
    let store = database.ready().await;
    let traces = fill(&store).await;
    compare_all(&traces, &ask_postgres(&database.url(), QUESTION));
}

#[tokio::test]
async fn the_waterfall_is_the_analysis_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let settings = StoreSettings { data_dir: folder.path().to_owned(), ..StoreSettings::default() };
    let store = store::open(&settings).await.unwrap();
    store.maintenance.migrate_up().await.unwrap();
    store.maintenance.prepare_days(NOW).await.unwrap();
    let traces = fill(&store).await;
    let connection = rusqlite::Connection::open(folder.path().join("tracefall.db")).unwrap();
    compare_all(&traces, &ask_sqlite(&connection, QUESTION));
}

/// Before a roll-up names the execution, and of each tenant its own.
#[tokio::test]
async fn an_unsettled_trace_is_found_by_its_execution() {
    let Some(database) = Database::new() else { return };
    let store = database.ready().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = StoreSettings { data_dir: folder.path().to_owned(), ..StoreSettings::default() };
    let embedded = store::open(&settings).await.unwrap();
    embedded.maintenance.migrate_up().await.unwrap();
    for store in [&store, &embedded] {
        let mut spans = sketch::trace("a[0..90](b[10..40] c[50..])").unwrap().spans;
        spans[1].fields.set_text(Field::ExecutionId, "77");
        let mut others = spans.clone();
        others.iter_mut().for_each(|span| span.tenant = tracefall::model::tenant::TenantId::new("other"));
        others[1].fields.set_text(Field::ExecutionId, "78");
        write(store, spans.into_iter().chain(others)).await;
    }
    let connection = rusqlite::Connection::open(folder.path().join("tracefall.db")).unwrap();
    for (execution, tenant) in [("77", "default"), ("78", "other")] {
        let question =
            format!("SELECT operation, tenant FROM trace_waterfall WHERE execution_id = '{execution}' ORDER BY path");
        let told = |operation: &str| serde_json::json!({"operation": operation, "tenant": tenant});
        for found in [ask_postgres(&database.url(), &question), ask_sqlite(&connection, &question)] {
            assert_eq!(found, ["a", "b", "c"].map(told));
        }
    }
}

/// 2 000 levels, each span in the one before: the first thousand are shown, and where they end.
#[tokio::test]
async fn a_chain_without_end_is_cut_and_said_so() {
    let Some(database) = Database::new() else { return };
    let store = database.ready().await;
    let chain = (1..=2_000).map(|number| {
        let mut span = crate::store_suite::records::whole(1, number, NOW.plus(number as i64));
        span.parent_span_id = (number > 1).then(|| span_id(number - 1));
        span
    });
    write(&store, chain).await;
    assert_eq!(rows(&store, 1).await.len(), 2_000);
    let found = ask_postgres(
        &database.url(),
        &format!(
            "SELECT count(*), max(depth) AS depth, min(note) AS note, count(note) AS notes FROM trace_waterfall \
            WHERE trace_id = '{}'",
            trace_id(1)
        ),
    );
    assert_eq!(found, [serde_json::json!({"count": 1_000, "depth": 999, "note": "truncated", "notes": 1})]);
}

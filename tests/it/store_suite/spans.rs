//! Promises of writing spans and reading their trace.

use std::sync::atomic::{AtomicBool, Ordering};

use tracefall::model::attributes::Attributes;
use tracefall::model::ids::{SpanId, TraceId};
use tracefall::model::span::{End, Field, Span, Status};
use tracefall::model::tenant::TenantId;
use tracefall::model::time::UnixNanos;
use tracefall::store::{Detail, Store};

use super::records::*;

pub async fn every_field_of_a_span_is_read_back(store: &Store) {
    let (first, bare) = (full(1, 1), whole(1, 2, NOW));
    write(store, [first.clone(), bare.clone()]).await;
    let read = rows(store, 1).await;
    assert_eq!(read.len(), 2);
    let same = |span: &Span| read.iter().find(|row| row.span_id == span.span_id).unwrap();
    assert_eq!(same(&first), &first);
    assert_eq!(same(&first).resource.as_ref().unwrap().content(), first.resource.as_ref().unwrap().content());
    assert_eq!(same(&bare), &bare);

    let mut open = full(2, 1);
    (open.status, open.end) = (Status::Pending, None);
    open.seen_at = NOW.plus(SECOND);
    write(store, [open.clone()]).await;
    assert_eq!(rows(store, 2).await, [open]);
}

pub async fn an_outline_leaves_out_what_is_heavy(store: &Store) {
    let span = full(1, 1);
    write(store, [span.clone()]).await;
    let outline = store.traces.trace_rows(&tenant(), trace_id(1), Detail::Outline, 10).await.unwrap().rows;
    let mut expected = span.clone();
    expected.attributes = Attributes::default();
    expected.resource = None;
    expected.set_events(Vec::new());
    expected.set_links(Vec::new());
    let mut fields = tracefall::model::span::Fields::default();
    for (field, value) in span.fields.iter().filter(|(field, _)| !matches!(field, Field::Inputs | Field::Outputs)) {
        fields.set(field, value.clone());
    }
    expected.fields = fields;
    assert_eq!(outline, [expected]);
}

pub async fn any_time_is_kept_to_the_nanosecond(store: &Store) {
    let (zero, last) = (UnixNanos::default(), UnixNanos::MAX);
    let signed = UnixNanos::new(i64::MAX as u64);
    let times = [
        (Some(zero), Some(End::At(zero))),
        (Some(zero), Some(End::At(last))),
        (Some(last), Some(End::At(last))),
        (Some(last), Some(End::At(zero))),
        (Some(signed), Some(End::At(signed.plus(1)))),
        (Some(signed.plus(1)), Some(End::After(-1))),
        (Some(NOW.plus(1)), Some(End::At(NOW))),
        (Some(NOW.plus(days(400))), Some(End::After(7))),
        (Some(NOW.plus(-days(4_000))), Some(End::After(i64::MAX))),
        (None, Some(End::At(last))),
        (None, Some(End::After(i64::MIN))),
    ];
    let spans = times.into_iter().zip(1..).map(|((started_at, end), number)| {
        let mut span = record(1, number);
        (span.started_at, span.end, span.status) = (started_at, end, Status::Completed);
        span
    });
    let open = [zero, NOW.plus(days(400)), last].into_iter().zip(100..).map(|(at, number)| started(1, number, at));
    let all: Vec<Span> = spans.chain(open).collect();
    write(store, all.clone()).await;
    assert_eq!(spans_by_id(rows(store, 1).await), spans_by_id(all.clone()));
    write(store, all.clone()).await;
    assert_eq!(spans_by_id(rows(store, 1).await), spans_by_id(all));
}

fn spans_by_id(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| span.span_id);
    spans
}

pub async fn ids_of_both_widths_are_kept(store: &Store) {
    let ids = ["1", "ffffffffffffffff", "7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6d7", "00000000000000010000000000000000"];
    let low_half = TraceId::parse("60718293a4b5c6d7").unwrap();
    let all: Vec<Span> = ids
        .iter()
        .map(|id| {
            let mut span = whole(1, 1, NOW);
            (span.trace_id, span.span_id) = (low_half, SpanId::parse(id).unwrap());
            span
        })
        .collect();
    write(store, all.clone()).await;
    let read = store.traces.trace_rows(&tenant(), low_half, Detail::Full, 10).await.unwrap().rows;
    assert_eq!(spans_by_id(read), spans_by_id(all));
}

pub async fn a_batch_written_again_changes_nothing(store: &Store) {
    let batch = [full(1, 1), whole(1, 2, NOW), started(1, 3, NOW), ended(1, 4, NOW), full(2, 5)];
    write(store, batch.clone()).await;
    let before = (rows(store, 1).await, rows(store, 2).await);
    write(store, batch.clone()).await;
    write(store, batch.into_iter().rev()).await;
    assert_eq!((rows(store, 1).await, rows(store, 2).await), before);
}

pub async fn a_completion_completes_its_start(store: &Store) {
    let (start, end) = (started(1, 1, NOW), ended(1, 1, NOW.plus(SECOND)));
    write(store, [start.clone()]).await;
    assert_eq!(spans(store, 1).await, expected([start.clone()]));
    let mut told = end;
    told.started_at = Some(NOW);
    write(store, [told.clone()]).await;
    let read = rows(store, 1).await;
    assert_eq!(read.len(), 1, "the open row is gone");
    assert_eq!(read[0].operation(), Some("modal.inference"));
    assert_eq!(spans(store, 1).await, expected([start, told]));
    assert_eq!(store.maintenance.size().await.unwrap().open_spans, 0);
}

pub async fn a_start_that_comes_after_its_completion_fills_it(store: &Store) {
    let (start, end) = (started(1, 1, NOW), whole(1, 1, NOW));
    write(store, [end.clone()]).await;
    write(store, [start.clone()]).await;
    assert_eq!(rows(store, 1).await.len(), 1, "the start made no row of its own");
    assert_eq!(spans(store, 1).await, expected([start.clone(), end]));
    let before = rows(store, 1).await;
    write(store, [start]).await;
    assert_eq!(rows(store, 1).await, before);
}

pub async fn a_completion_without_a_start_waits_for_it(store: &Store) {
    let (start, end) = (started(1, 1, NOW), ended(1, 1, NOW.plus(SECOND)));
    write(store, [end.clone()]).await;
    assert_eq!(spans(store, 1).await, expected([end.clone()]));
    assert_eq!(store.maintenance.size().await.unwrap().open_spans, 1);
    write(store, [start.clone()]).await;
    assert_eq!(rows(store, 1).await.len(), 1);
    assert_eq!(spans(store, 1).await, expected([start, end]));
    assert_eq!(spans(store, 1).await[0].duration_ns(), Some(SECOND));
    assert_eq!(store.maintenance.size().await.unwrap().open_spans, 0);
}

pub async fn a_completion_without_a_start_finds_the_ended_span(store: &Store) {
    let (span, again) = (whole(1, 1, MIDNIGHT.plus(-SECOND)), ended(1, 1, NOW));
    write(store, [span.clone()]).await;
    write(store, [again.clone()]).await;
    assert_eq!(rows(store, 1).await.len(), 1);
    assert_eq!(spans(store, 1).await, expected([span, again]));
    assert_eq!(spans(store, 1).await[0].ended_at(), Some(NOW));
}

pub async fn starts_told_twice_differently_are_one_span(store: &Store) {
    let tellings = [NOW, NOW.plus(-700), NOW.plus(900)].map(|at| whole(1, 1, at));
    for telling in tellings.clone() {
        write(store, [telling]).await;
    }
    assert_eq!(rows(store, 1).await.len(), 1);
    assert_eq!(spans(store, 1).await, expected(tellings));
    assert_eq!(spans(store, 1).await[0].started_at, Some(NOW.plus(-700)));
}

pub async fn starts_on_both_sides_of_midnight_are_one_span(store: &Store) {
    let (before, after) = (MIDNIGHT.plus(-1), MIDNIGHT.plus(1));
    // In each trace the same three records, in another order.
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (order, trace) in orders.into_iter().zip(1..) {
        let told = [started(trace, 1, before), whole(trace, 1, after), ended(trace, 1, NOW)];
        for index in order {
            write(store, [told[index].clone()]).await;
        }
        assert_eq!(spans(store, trace).await, expected(told), "in the order {order:?}");
    }
}

pub async fn pairs_of_one_batch_and_of_many_batches_read_alike(store: &Store) {
    let records = |trace: u64| {
        (1..40).flat_map(move |span| {
            let at = NOW.plus(span as i64 * 1_000);
            [started(trace, span, at), ended(trace, span, at.plus(500)), whole(trace, span, at.plus(1))]
        })
    };
    write(store, records(1)).await;
    for record in records(2) {
        write(store, [record]).await;
    }
    assert_eq!(spans(store, 1).await, expected(records(1)));
    assert_eq!(spans(store, 2).await, expected(records(2)));
}

pub async fn tenants_do_not_see_each_other(store: &Store) {
    let [red, blue] = ["red", "blue"].map(TenantId::new);
    let of = |tenant: &TenantId, text: &str, status| {
        let mut span = started(1, 1, NOW);
        span.tenant = tenant.clone();
        span.fields.set_text(Field::Service, text);
        span.fields.set_text(Field::ExecutionId, "123");
        if status == Status::Completed {
            (span.status, span.end) = (status, Some(End::After(1)));
        }
        span
    };
    write(store, [of(&red, "red", Status::Running), of(&blue, "blue", Status::Running)]).await;
    write(store, [of(&red, "red", Status::Completed)]).await;
    for (tenant, status) in [(&red, Status::Completed), (&blue, Status::Running)] {
        let rows = store.traces.trace_rows(tenant, trace_id(1), Detail::Full, 10).await.unwrap().rows;
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].service(), rows[0].status), (Some(tenant.as_str()), status));
        assert_eq!(store.traces.traces_of_execution(tenant, "123", 10).await.unwrap(), [trace_id(1)]);
        let page = store.traces.search_traces(tenant, &super::searching::everything()).await.unwrap();
        assert_eq!(page.items.len(), 1);
    }
    let nobody = TenantId::new("nobody");
    assert!(store.traces.trace_rows(&nobody, trace_id(1), Detail::Full, 10).await.unwrap().rows.is_empty());
    assert!(store.traces.traces_of_execution(&nobody, "123", 10).await.unwrap().is_empty());
    assert!(store.traces.search_traces(&nobody, &super::searching::everything()).await.unwrap().items.is_empty());
    assert!(store.rollups.rows_to_settle(&[(nobody, trace_id(1))], 10).await.unwrap().traces.is_empty());
}

pub async fn no_more_rows_are_read_than_the_limit_and_one(store: &Store) {
    let spans = (1..=20).map(|span| match span % 2 {
        0 => started(1, span, NOW),
        _ => whole(1, span, NOW.plus(days(span as i64 % 5))),
    });
    write(store, spans).await;
    for (limit, count) in [(0, 1), (5, 6), (19, 20), (20, 20), (usize::MAX, 20)] {
        let rows = store.traces.trace_rows(&tenant(), trace_id(1), Detail::Outline, limit).await.unwrap().rows;
        assert_eq!(rows.len(), count, "limit {limit}");
    }
}

pub async fn a_trace_over_many_days_is_read_whole(store: &Store) {
    // Far beyond the days that have tables, in both directions, and every day between.
    let offsets: Vec<i64> = [-20_000, -400, -100, 90, 4_000].into_iter().chain(-40..=5).collect();
    let told: Vec<Span> =
        offsets.iter().zip(1..).map(|(offset, number)| whole(1, number, NOW.plus(days(*offset)))).collect();
    for telling in &told {
        write(store, [telling.clone()]).await;
    }
    assert_eq!(spans(store, 1).await, expected(told.clone()));
    write(store, told.clone()).await;
    assert_eq!(rows(store, 1).await.len(), told.len());
}

pub async fn a_batch_is_stored_whole_or_not_at_all_to_a_reader(store: &Store) {
    let written = AtomicBool::new(false);
    let writing = async {
        for trace in 1..=40 {
            write(store, (1..=50).map(|span| started(trace, span, NOW.plus(span as i64)))).await;
            write(store, (1..=50).map(|span| ended(trace, span, NOW.plus(SECOND)))).await;
        }
        written.store(true, Ordering::Relaxed);
    };
    let reading = async {
        let mut trace = 1;
        while trace <= 40 {
            let finished = written.load(Ordering::Relaxed);
            let read = rows(store, trace).await;
            let ended = read.iter().filter(|span| span.is_ended()).count();
            assert!([(0, 0), (50, 0), (50, 50)].contains(&(read.len(), ended)), "{} rows, {ended} ended", read.len());
            if ended == 50 {
                trace += 1;
            }
            assert!(!finished || ended == 50, "what was written before the read is read");
        }
    };
    tokio::join!(writing, reading);
}

pub async fn batches_of_any_size_are_stored(store: &Store) {
    store.spans.write_spans(&[]).await.unwrap();
    for (size, trace) in [1, 7, 8, 9, 63, 64, 65, 200, 1_000].into_iter().zip(1..) {
        let told = (1..=size).map(|span| whole(trace, span, NOW.plus(span as i64)));
        write(store, told.clone()).await;
        // Half of these are there already.
        let later = (size / 2 + 1..=size + size / 2).map(|span| whole(trace, span, NOW.plus(span as i64)));
        write(store, later.clone()).await;
        assert_eq!(spans(store, trace).await, expected(told.chain(later)), "{size} spans");
    }
}

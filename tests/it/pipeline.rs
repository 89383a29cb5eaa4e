//! The write path when the store is away, slow, or refuses data: a real store behind a wrapper that fails on demand.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tempfile::TempDir;
use tracefall::clock::Clock;
use tracefall::journal::Journal;
use tracefall::model::ids::{SpanId, TraceId};
use tracefall::model::merge::fold;
use tracefall::model::search::TraceQuery;
use tracefall::model::span::{End, Field, Span, Status};
use tracefall::model::tenant::TenantId;
use tracefall::model::time::UnixNanos;
use tracefall::pipeline::{Busy, Pipeline, Stored, Tasks};
use tracefall::settings::pipeline::PipelineSettings;
use tracefall::store::error::Cause;
use tracefall::store::{self, DeadLetter, Detail, SpanWriter, Store, StoreError};

use crate::support;

/// What the store does instead of writing.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Unavailable,
    /// Refuses every batch that holds a span of this operation.
    Refuses(&'static str),
}

struct FailingWriter {
    inner: Arc<dyn SpanWriter>,
    fault: Mutex<Fault>,
    letters: Mutex<Vec<DeadLetter>>,
}

#[async_trait]
impl SpanWriter for FailingWriter {
    async fn write_spans(&self, batch: &[Span]) -> store::Result<()> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::Unavailable => {
                let cause = Cause::Unreachable;
                Err(StoreError::Unavailable { doing: "write spans", cause, source: "asleep".into() })
            }
            Fault::Refuses(operation) if batch.iter().any(|span| span.operation() == Some(operation)) => {
                Err(StoreError::Refused { doing: "write spans", source: "poison".into() })
            }
            _ => self.inner.write_spans(batch).await,
        }
    }

    async fn write_dead_letters(&self, letters: &[DeadLetter], heard_at: UnixNanos) -> store::Result<()> {
        self.letters.lock().unwrap().extend_from_slice(letters);
        self.inner.write_dead_letters(letters, heard_at).await
    }
}

struct Bench {
    pipeline: Pipeline,
    tasks: Tasks,
    store: Store,
    writer: Arc<FailingWriter>,
    _folder: TempDir,
}

impl Bench {
    async fn start(fault: Fault, change: impl FnOnce(&mut PipelineSettings)) -> Self {
        Self::start_with(fault, false, change).await
    }

    async fn start_with(fault: Fault, journal: bool, change: impl FnOnce(&mut PipelineSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = support::settings(&folder);
        settings.pipeline.retry_base_ms = 1;
        settings.pipeline.retry_max_ms = 5;
        change(&mut settings.pipeline);
        let mut store = store::open(&settings.store).await.unwrap();
        store.maintenance.migrate_up().await.unwrap();
        let writer =
            Arc::new(FailingWriter { inner: store.spans.clone(), fault: Mutex::new(fault), letters: Mutex::default() });
        store.spans = writer.clone();
        // More than this store makes use of, so that requests are split over several.
        store.writers = 2;
        let open = || Journal::open(&folder.path().join("journal"), &settings.journal, UnixNanos::default).unwrap().0;
        let (pipeline, tasks) = Pipeline::start(&store, journal.then(open), &settings.pipeline, Clock::system());
        Self { pipeline, tasks, store, writer, _folder: folder }
    }

    async fn stored_spans(&self, trace: u8) -> usize {
        let trace_id = TraceId::from_bytes([trace; 16]).unwrap();
        self.store.traces.trace_rows(&TenantId::default(), trace_id, Detail::Full, 10_000).await.unwrap().rows.len()
    }
}

fn spans(trace: u8, operations: &[&str]) -> Vec<Span> {
    let now = Clock::system().now();
    operations
        .iter()
        .enumerate()
        .map(|(index, operation)| {
            let trace_id = TraceId::from_bytes([trace; 16]).unwrap();
            let span_id = SpanId::from_u128(index as u128 + 1).unwrap();
            let mut span = Span::new(TenantId::default(), trace_id, span_id, now);
            span.status = Status::Completed;
            span.started_at = Some(now);
            span.end = Some(End::At(UnixNanos::new(now.as_u64() + 5)));
            span.fields.set_text(Field::Operation, *operation);
            span
        })
        .collect()
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_store_is_waited_out_and_nothing_is_lost() {
    let bench = Bench::start(Fault::Unavailable, |_| {}).await;
    let receipt = bench.pipeline.submit(spans(1, &["a", "b"]), true).unwrap();
    let other = bench.pipeline.submit(spans(2, &["c"]), true).unwrap();
    assert_eq!(other.stored(Duration::from_millis(100)).await, Ok(Stored::NotYet));
    let status = bench.pipeline.status();
    assert_eq!(status.store.state, "unavailable");
    assert_eq!(status.queued_spans, 3);
    *bench.writer.fault.lock().unwrap() = Fault::None;
    assert_eq!(receipt.stored(LONG).await, Ok(Stored::Yes { dead_letters: 0 }));
    assert_eq!(bench.pipeline.drain(bench.tasks, LONG).await, 0);
    assert_eq!(bench.pipeline.status().store.state, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_and_takes_again_when_it_has_room() {
    let bench = Bench::start(Fault::Unavailable, |settings| settings.queue_max_spans = 3).await;
    bench.pipeline.submit(spans(1, &["a", "b"]), true).unwrap();
    assert_eq!(bench.pipeline.submit(spans(2, &["c", "d"]), true).unwrap_err(), Busy::Full);
    let fits = bench.pipeline.submit(spans(3, &["e"]), true).unwrap();
    *bench.writer.fault.lock().unwrap() = Fault::None;
    assert_eq!(fits.stored(LONG).await, Ok(Stored::Yes { dead_letters: 0 }));
    let again = bench.pipeline.submit(spans(2, &["c", "d"]), true).unwrap();
    assert_eq!(again.stored(LONG).await, Ok(Stored::Yes { dead_letters: 0 }));
    assert_eq!((bench.stored_spans(1).await, bench.stored_spans(2).await, bench.stored_spans(3).await), (2, 2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_span_goes_to_the_dead_letters_and_costs_its_neighbours_nothing() {
    let bench = Bench::start(Fault::Refuses("poison"), |_| {}).await;
    let mut operations = vec!["good"; 99];
    operations.insert(37, "poison");
    let receipt = bench.pipeline.submit(spans(1, &operations), true).unwrap();
    assert_eq!(receipt.stored(LONG).await, Ok(Stored::Yes { dead_letters: 1 }));
    assert_eq!(bench.stored_spans(1).await, 99);
    let letters = bench.writer.letters.lock().unwrap().clone();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].span_id, format!("{:016x}", 38));
    assert!(letters[0].body.contains("poison") && letters[0].reason.contains("refuses"), "{letters:?}");
    assert_eq!(bench.store.maintenance.size().await.unwrap().dead_letters, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_writes_and_settles_everything_and_then_takes_nothing() {
    let bench = Bench::start(Fault::None, |settings| settings.linger_ms = 10_000).await;
    for trace in 1..=50 {
        bench.pipeline.submit(spans(trace, &["a", "b", "c"]), true).unwrap();
    }
    assert_eq!(bench.pipeline.drain(bench.tasks, LONG).await, 0);
    assert_eq!(bench.pipeline.submit(spans(99, &["late"]), true).unwrap_err(), Busy::Draining);
    let query = TraceQuery { limit: 100, ..TraceQuery::default() };
    let page = bench.store.traces.search_traces(&TenantId::default(), &query).await.unwrap();
    assert_eq!(page.items.len(), 50);
    assert!(page.items.iter().all(|rollup| rollup.span_count == 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_gives_up_in_time_and_says_what_it_lost() {
    let bench = Bench::start(Fault::Unavailable, |_| {}).await;
    bench.pipeline.submit(spans(1, &["a", "b"]), true).unwrap();
    assert_eq!(bench.pipeline.drain(bench.tasks, Duration::from_millis(50)).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_traces_an_earlier_process_left_unsettled_all_are_settled() {
    // More than are asked for at once.
    const TRACES: u32 = 10_050;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = support::settings(&folder);
    settings.pipeline.settle_quiet_ms = 1;
    let store = store::open(&settings.store).await.unwrap();
    store.maintenance.migrate_up().await.unwrap();
    let left = (1..=TRACES).map(|trace| {
        let mut span = spans(1, &["left"]).remove(0);
        span.trace_id = TraceId::parse(&format!("{trace:032x}")).unwrap();
        span
    });
    store.spans.write_spans(&fold(left.collect())).await.unwrap();
    let (pipeline, tasks) = Pipeline::start(&store, None, &settings.pipeline, Clock::system());
    let deadline = Instant::now() + LONG;
    while !store.rollups.unsettled(1).await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "some are never settled");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    pipeline.drain(tasks, LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_what_has_no_room_in_memory_is_told() {
    // Nearly everything waits on disk alone, and comes back while more is on its way there.
    let bench = Bench::start_with(Fault::None, true, |settings| {
        settings.queue_max_spans = 2;
        settings.linger_ms = 1;
    })
    .await;
    let sends = |trace: u8| {
        let pipeline = bench.pipeline.clone();
        std::thread::spawn(move || (0..40).map(|_| pipeline.submit(spans(trace, &["a", "b"]), true).unwrap()).collect())
    };
    let threads: Vec<std::thread::JoinHandle<Vec<_>>> = (1..=8).map(sends).collect();
    for receipt in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
        assert_eq!(receipt.stored(LONG).await, Ok(Stored::Yes { dead_letters: 0 }));
    }
    let journal = bench.pipeline.status().journal.unwrap();
    assert_eq!((journal.undone, journal.waiting, bench.stored_spans(8).await), (0, 0, 2));
    assert_eq!(bench.pipeline.drain(bench.tasks, LONG).await, 0);
}

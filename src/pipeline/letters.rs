//! Dead letters tried again: each goes the way that it went when it was refused, and leaves the dead letters once the store
//! has it.
//!
//! A letter is removed after its span is committed. A run that breaks off in between leaves the letter, and the next one
//! writes the span again, which changes nothing (`model::merge`).

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::settle::{TraceKey, settle};
use crate::clock::Clock;
use crate::model::limits::Limits;
use crate::model::merge::gather;
use crate::model::span::{Span, SpanKey};
use crate::store::{DeadLetter, From, KeptLetter, LetterFilter, Result, Store, StoreError};
use crate::wire::context::Carried;
use crate::wire::media::Framing;
use crate::wire::{DecodeContext, native};

/// Letters read and written at a time; each may be as large as a span may be.
const PAGE: usize = 64;
/// Failures that are told one by one; the others are counted.
const MOST_TOLD: usize = 1_000;
/// Times that a call which may pass is made.
const ATTEMPTS: u32 = 8;
/// The first pause between two of them; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of the letters of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Retried {
    /// Letters whose spans are stored now, and which are letters no more.
    pub stored: u64,
    /// Letters that stay what they are.
    pub failed: u64,
    /// The first of those, each with what is wrong with it now.
    pub failures: Vec<Failure>,
}

/// A letter that was refused once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub id: i64,
    pub trace_id: String,
    pub span_id: String,
    pub reason: String,
}

/// Tries the letters that were there at the beginning, the oldest first. `deadline_ns`: after how much silence an open span
/// reads as abandoned.
///
/// # Errors
/// What the store says beyond refusing a span. What is stored by then stays so, and the same call goes on.
pub async fn retry(store: &Store, filter: &LetterFilter, deadline_ns: i64, clock: &Clock) -> Result<Retried> {
    let newest = patiently(|| store.letters.dead_letters(filter, From::NewestBefore(i64::MAX), 1)).await?;
    let last = newest.first().map_or(0, |letter| letter.id);
    let mut report = Retried::default();
    let mut after = 0;
    while after < last {
        let mut page = patiently(|| store.letters.dead_letters(filter, From::OldestAfter(after), PAGE)).await?;
        page.retain(|letter| letter.id <= last);
        let Some(reached) = page.last().map(|letter| letter.id) else { break };
        retry_page(store, page, deadline_ns, clock, &mut report).await?;
        after = reached;
    }
    Ok(report)
}

async fn retry_page(
    store: &Store,
    page: Vec<KeptLetter>,
    deadline_ns: i64,
    clock: &Clock,
    report: &mut Retried,
) -> Result<()> {
    let mut spans = Vec::with_capacity(page.len());
    // Several letters may be about one span.
    let mut letters: HashMap<SpanKey, Vec<(i64, DeadLetter)>> = HashMap::new();
    for KeptLetter { id, letter } in page {
        match decode(&letter) {
            Ok(span) => {
                letters.entry(span.key()).or_default().push((id, letter));
                spans.push(span);
            }
            Err(reason) => report.failed(id, &letter, reason),
        }
    }
    let batch = gather(spans);
    for (key, error) in write(store, &batch).await? {
        for (id, letter) in letters.remove(&key).unwrap_or_default() {
            report.failed(id, &letter, error.reason());
        }
    }
    let ids: Vec<i64> = letters.values().flatten().map(|(id, _)| *id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let stored = LetterFilter { ids, ..LetterFilter::default() };
    patiently(|| store.letters.remove_dead_letters(&stored, stored.ids.len())).await?;
    report.stored += stored.ids.len() as u64;
    let mut traces: Vec<TraceKey> =
        batch.iter().map(|span| TraceKey { tenant: span.tenant.clone(), trace_id: span.trace_id }).collect();
    traces.dedup();
    patiently(|| settle(store.rollups.as_ref(), &traces, clock.now(), deadline_ns)).await
}

impl Retried {
    fn failed(&mut self, id: i64, letter: &DeadLetter, reason: String) {
        self.failed += 1;
        if self.failures.len() < MOST_TOLD {
            let (trace_id, span_id) = (letter.trace_id.clone(), letter.span_id.clone());
            self.failures.push(Failure { id, trace_id, span_id, reason });
        }
    }
}

/// The span that a letter is about, first heard of when it was refused. It was within the limits of its day.
fn decode(letter: &DeadLetter) -> std::result::Result<Span, String> {
    const ANY: usize = usize::MAX;
    let limits = Limits {
        max_wire_bytes: ANY,
        max_inflated_bytes: ANY,
        max_spans: 1,
        max_depth: 128,
        max_value_bytes: ANY,
        max_content_bytes: ANY,
        max_span_bytes: ANY,
        max_otlp_wire_bytes: ANY,
    };
    let context = DecodeContext { tenant: &letter.tenant, received_at: letter.refused_at, limits: &limits };
    let decoded = native::decode(letter.body.as_bytes(), Framing::Json, &context, &Carried::default());
    let decoded = decoded.map_err(|error| format!("the letter cannot be read: {error}"))?;
    let mut spans = decoded.spans.into_iter();
    let reason = || decoded.rejected.first().map_or_else(|| "it holds no span".to_owned(), |one| one.reason.clone());
    spans.next().ok_or_else(|| format!("the letter cannot be read: {}", reason()))
}

/// Writes all of `batch` that the store takes, and gives what it refuses, each with its error.
async fn write(store: &Store, batch: &[Span]) -> Result<Vec<(SpanKey, StoreError)>> {
    let mut refused = Vec::new();
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        match patiently(|| store.spans.write_spans(part)).await {
            Ok(()) => {}
            Err(error @ StoreError::Refused { .. }) => match part {
                [] => {}
                [span] => refused.push((span.key(), error)),
                _ => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            },
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

/// Makes a call again while its error may pass.
async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut attempt = 0;
    loop {
        match call().await {
            Err(error) if error.may_pass() && attempt + 1 < ATTEMPTS => {
                tokio::time::sleep(PAUSE * (1 << attempt)).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

//! Dead letters tried again: each goes the way that it went when it was refused, and leaves the dead letters once the store
//! has it.
//!
//! A letter is removed after its span is committed. A run that breaks off in between leaves the letter, and the next one
//! writes the span again, which changes nothing (`model::merge`).

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde::Serialize;

use super::settle::{TraceKey, settle};
use crate::clock::Clock;
use crate::model::limits::Limits;
use crate::model::merge::gather;
use crate::model::span::{Span, SpanKey};
use crate::redact::Redactor;
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

/// How letters are tried again.
pub struct Retry<'a> {
    pub store: &'a Store,
    /// The rules in force, which may be more than when a letter was refused: what is stored, and what is said, goes by these.
    pub redactor: Option<&'a Redactor>,
    /// After how much silence an open span reads as abandoned.
    pub deadline_ns: i64,
    pub clock: &'a Clock,
}

impl Retry<'_> {
    /// Tries the letters that were there at the beginning, the oldest first.
    ///
    /// # Errors
    /// What the store says if the same call may succeed later ([`StoreError::is_retryable`]), or of anything but writing
    /// spans. What is stored by then stays so, and the same call goes on.
    pub async fn run(&self, filter: &LetterFilter) -> Result<Retried> {
        let letters = &self.store.letters;
        let newest = patiently(|| letters.dead_letters(filter, From::NewestBefore(i64::MAX), 1)).await?;
        let last = newest.first().map_or(0, |letter| letter.id);
        let mut report = Retried::default();
        let mut after = 0;
        while after < last {
            let mut page = patiently(|| letters.dead_letters(filter, From::OldestAfter(after), PAGE)).await?;
            page.retain(|letter| letter.id <= last);
            let Some(reached) = page.last().map(|letter| letter.id) else { break };
            self.retry_page(page, &mut report).await?;
            after = reached;
        }
        Ok(report)
    }

    async fn retry_page(&self, page: Vec<KeptLetter>, report: &mut Retried) -> Result<()> {
        let mut left = Vec::with_capacity(page.len());
        for kept in page {
            match decode(&kept.letter) {
                Ok(span) => left.push((kept, span)),
                Err(reason) => self.failed(report, &kept, &reason),
            }
        }
        // Several letters may be about one span: one after the other, so that one that is refused costs no other.
        while !left.is_empty() {
            let mut keys = BTreeSet::new();
            let (first, later) = left.into_iter().partition(|(_, span)| keys.insert(span.key()));
            self.retry_some(first, report).await?;
            left = later;
        }
        Ok(())
    }

    /// Letters of which each is about another span.
    async fn retry_some(&self, letters: Vec<(KeptLetter, Span)>, report: &mut Retried) -> Result<()> {
        let (kept, mut spans): (Vec<KeptLetter>, Vec<Span>) = letters.into_iter().unzip();
        let mut letters: HashMap<SpanKey, KeptLetter> = spans.iter().map(Span::key).zip(kept).collect();
        if let Some(redactor) = self.redactor {
            redactor.spans(&mut spans);
        }
        let batch = gather(spans);
        for (key, error) in write(self.store, &batch).await? {
            if let Some(kept) = letters.remove(&key) {
                self.failed(report, &kept, &error.reason());
            }
        }
        let ids: Vec<i64> = letters.values().map(|kept| kept.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let stored = LetterFilter { ids, ..LetterFilter::default() };
        patiently(|| self.store.letters.remove_dead_letters(&stored, stored.ids.len())).await?;
        report.stored += stored.ids.len() as u64;
        let mut traces: Vec<TraceKey> =
            batch.iter().map(|span| TraceKey { tenant: span.tenant.clone(), trace_id: span.trace_id }).collect();
        traces.dedup();
        patiently(|| settle(self.store.rollups.as_ref(), &traces, self.clock.now(), self.deadline_ns)).await
    }

    fn failed(&self, report: &mut Retried, KeptLetter { id, letter }: &KeptLetter, reason: &str) {
        report.failed += 1;
        if report.failures.len() < MOST_TOLD {
            // The database's words may repeat what the span says.
            let reason = self.redactor.and_then(|redactor| redactor.text(reason)).unwrap_or_else(|| reason.to_owned());
            let (trace_id, span_id) = (letter.trace_id.clone(), letter.span_id.clone());
            report.failures.push(Failure { id: *id, trace_id, span_id, reason });
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
        max_items: ANY,
    };
    let context = DecodeContext { tenant: &letter.tenant, received_at: letter.refused_at, limits: &limits };
    let decoded = native::decode(letter.body.as_bytes(), Framing::Json, &context, &Carried::default());
    let decoded = decoded.map_err(|error| format!("the letter cannot be read: {error}"))?;
    let mut spans = decoded.spans.into_iter();
    let reason = || decoded.rejected.first().map_or_else(|| "it holds no span".to_owned(), |one| one.reason.clone());
    spans.next().ok_or_else(|| format!("the letter cannot be read: {}", reason()))
}

/// Writes all of `batch` that the store takes, and gives what it does not take, each with its error: refused, or failed in
/// a way that no later call heals. Only what may succeed later ends a run: else one letter would end every run.
async fn write(store: &Store, batch: &[Span]) -> Result<Vec<(SpanKey, StoreError)>> {
    let mut refused = Vec::new();
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        match patiently(|| store.spans.write_spans(part)).await {
            Ok(()) => {}
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => match part {
                [] => {}
                [span] => refused.push((span.key(), error)),
                _ => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            },
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;

    use super::*;
    use crate::model::ids::TraceId;
    use crate::model::tenant::TenantId;
    use crate::model::time::UnixNanos;
    use crate::settings::redaction::RedactionSettings;
    use crate::settings::store::StoreSettings;
    use crate::store::{self, Detail, SpanWriter, error::Cause};

    /// Put together here, so that nothing that looks like a secret stands in the source.
    fn secret() -> String {
        format!("{}-{}", "sk", "0123456789abcdefABCDEF0123456789")
    }

    /// A store in which some operations cannot be written: `other`, and `rights` for want of rights.
    struct Picky(Arc<dyn SpanWriter>);

    #[async_trait]
    impl SpanWriter for Picky {
        async fn write_spans(&self, batch: &[Span]) -> Result<()> {
            let doing = "write spans";
            let source = || format!("not with {}", secret()).into();
            match batch.iter().filter_map(Span::operation).find(|name| ["other", "rights"].contains(name)) {
                Some("other") => Err(StoreError::Other { doing, source: source() }),
                Some(_) => Err(StoreError::Unavailable { doing, cause: Cause::Rights, source: source() }),
                None => self.0.write_spans(batch).await,
            }
        }

        async fn write_dead_letters(&self, letters: &[DeadLetter], heard_at: UnixNanos) -> Result<()> {
            self.0.write_dead_letters(letters, heard_at).await
        }
    }

    /// With letters about these spans, each with its operation.
    async fn store_with(folder: &tempfile::TempDir, letters: &[(u8, &str)]) -> Store {
        let settings = StoreSettings { data_dir: folder.path().to_owned(), ..StoreSettings::default() };
        let mut store = store::open(&settings).await.unwrap();
        store.maintenance.migrate_up().await.unwrap();
        store.spans = Arc::new(Picky(store.spans));
        let letter = |(span, operation): &(u8, &str)| {
            let (trace_id, span_id) = (trace().to_string(), format!("{span:016x}"));
            let body = serde_json::json!({"trace_id": trace_id, "span_id": span_id, "operation": operation,
                "status": "failed", "started_at": "2026-01-05T10:00:00Z", "completed_at": "2026-01-05T10:00:01Z",
                "error_message": format!("Incorrect API key provided: {}", secret())});
            let (tenant, body, reason) = (TenantId::default(), body.to_string(), "a rule".to_owned());
            DeadLetter {
                tenant,
                trace_id,
                span_id,
                body,
                reason,
                refused_at: UnixNanos::new(1_767_607_200_000_000_000),
            }
        };
        let letters: Vec<DeadLetter> = letters.iter().map(letter).collect();
        store.spans.write_dead_letters(&letters, UnixNanos::new(1_767_607_200_000_000_000)).await.unwrap();
        store
    }

    fn trace() -> TraceId {
        TraceId::parse("7f3c0a1b2c3d4e5f60718293a4b5c6d7").unwrap()
    }

    async fn retried(store: &Store) -> Result<Retried> {
        let redactor = Redactor::new(&RedactionSettings::default()).unwrap();
        let retry = Retry { store, redactor: redactor.as_ref(), deadline_ns: 1, clock: &Clock::system() };
        retry.run(&LetterFilter::default()).await
    }

    async fn stored(store: &Store) -> Vec<Span> {
        store.traces.trace_rows(&TenantId::default(), trace(), Detail::Full, 100).await.unwrap().rows
    }

    #[tokio::test]
    async fn a_letter_that_fails_by_itself_costs_no_other_and_secrets_are_cut_out() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with(&folder, &[(1, "a"), (2, "other"), (3, "b"), (4, "c")]).await;
        let report = retried(&store).await.unwrap();
        assert_eq!((report.stored, report.failed), (3, 1));
        assert_eq!(report.failures[0].span_id, "0000000000000002");
        assert!(report.failures[0].reason.contains("[redacted]"), "{report:?}");
        let spans = stored(&store).await;
        assert_eq!(spans.len(), 3);
        for span in spans {
            assert_eq!(span.error_message(), Some("Incorrect API key provided: [redacted]"));
        }
        let again = retried(&store).await.unwrap();
        assert_eq!((again.stored, again.failed), (0, 1));
    }

    #[tokio::test]
    async fn of_two_letters_about_one_span_the_good_one_is_stored() {
        for letters in [[(1, "other"), (1, "a")], [(1, "a"), (1, "other")]] {
            let folder = tempfile::tempdir().unwrap();
            let store = store_with(&folder, &letters).await;
            let report = retried(&store).await.unwrap();
            assert_eq!((report.stored, report.failed), (1, 1), "{letters:?}");
            assert_eq!(stored(&store).await[0].operation(), Some("a"));
        }
    }

    #[tokio::test]
    async fn what_may_succeed_later_ends_the_run_and_leaves_the_letters() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with(&folder, &[(1, "a"), (2, "rights")]).await;
        assert!(retried(&store).await.unwrap_err().is_retryable());
        assert_eq!(store.letters.count_dead_letters(&LetterFilter::default()).await.unwrap(), 2);
    }
}

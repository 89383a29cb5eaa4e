//! Spans out of a table that somebody else's program filled, through the same decoder and the same write path as a
//! request's.
//!
//! A span is a function of its row alone, and the store folds what it is told twice; so an import may be repeated, cut
//! off anywhere, or run while the same spans arrive over HTTP. After each page is committed its last row's place is noted
//! in the store; the next run goes on behind it. Once the end is reached the next run begins anew, since rows may have
//! come in anywhere, or have changed.

mod report;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use report::{Refusal, Report};

use super::{Busy, Care, Pipeline, Receipt, Stored};
use crate::clock::Clock;
use crate::model::limits::Limits;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::redact::Redactor;
use crate::settings::pipeline::PipelineSettings;
use crate::store::foreign::{Column, Facts, ForeignTable, Page, Position};
use crate::store::{Store, StoreError};
use crate::wire::native::canonical_name;

/// Why an import stopped. What was committed by then stays, and is not read again by the next run.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{table} has no column with {what} ({names}); its rows are no spans")]
    NoSpans { table: String, what: &'static str, names: &'static str },
    #[error(
        "the role {role} sees no row of {table}: its row level security hides them; import as the owner, or as a role \
         with BYPASSRLS"
    )]
    Hidden { table: String, role: String },
    #[error("none of the {rows} rows is a span; the first: {first}")]
    AllRefused { rows: u64, first: String },
    #[error("the write path takes nothing: {0}")]
    Busy(#[from] Busy),
}

impl ImportError {
    /// Whether the next run, with nothing else changed, may come further.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Busy(_))
    }
}

/// How to import.
#[derive(Debug, Clone)]
pub struct Plan {
    pub tenant: TenantId,
    pub limits: Limits,
    pub pipeline: PipelineSettings,
    /// Rows of a page.
    pub batch_rows: usize,
    /// Cuts secrets out of what is copied.
    pub redaction: Option<Arc<Redactor>>,
    /// From the first row on, wherever an earlier run has come.
    pub restart: bool,
    /// How often a page is asked for again while the database that it comes from is away.
    pub attempts: u32,
    /// Completed spans that became known before this are past their keep-by date.
    pub keep_from: UnixNanos,
}

/// What an import has done so far.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'r> {
    pub report: &'r Report,
    /// The store takes nothing at the moment; the import waits for it.
    pub store_is_away: bool,
    /// Every row is read and committed; roll-ups are being computed.
    pub settling: bool,
}

/// Where told spans go.
pub type Tell<'t> = &'t mut (dyn FnMut(Progress<'_>) + Send);

/// How often something is told while nothing happens.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Longer than anybody waits.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The canonical name of what a column says of a span; `None` for an attribute.
pub fn member_of(column: &Column) -> Option<&'static str> {
    canonical_name(&column.name)
}

/// Copies every row into the store, or, without one, only reads them and finds out what would become of them. Returns
/// once all is committed and the roll-ups of the traces are computed.
///
/// # Errors
/// [`ImportError`]. Rows that are no spans are none: [`Report`] counts them, unless there is no other row.
pub async fn run(
    table: &ForeignTable,
    store: Option<&Store>,
    plan: &Plan,
    clock: &Clock,
    tell: Tell<'_>,
) -> Result<Report, ImportError> {
    check(table.facts())?;
    let name = format!("import {} {}", table.facts().place, table.facts().name);
    let mut report = Report { estimated_rows: table.facts().estimated_rows, ..Report::default() };
    let mut after = None;
    if let Some(store) = store.filter(|_| !plan.restart)
        && let Some(noted) = store.checkpoints.checkpoint(&name).await?
        && let Some((position, rows)) = Bookmark::unfinished(&noted, &table.facts().identity)
    {
        report.rows_before = rows;
        after = Some(position);
    }
    // Whoever waits for a page has nothing else to send: its spans need not wait for company.
    let settings = PipelineSettings { linger_ms: 0, ..plan.pipeline.clone() };
    let care = Care { redaction: plan.redaction.clone(), ..Care::default() };
    let running = store.map(|store| (store, Pipeline::start_caring(store, None, &settings, &care, clock.clone())));
    let (writing, tasks) = match running {
        Some((store, (pipeline, tasks))) => (Some(Writing { store, pipeline, name }), Some(tasks)),
        None => (None, None),
    };
    let copied = copy(table, after, writing.as_ref(), plan, clock, &mut report, tell).await;
    if let (Some(writing), Some(tasks)) = (&writing, tasks) {
        tell(Progress { report: &report, store_is_away: false, settling: true });
        writing.pipeline.drain(tasks, FOREVER).await;
    }
    copied?;
    judge(table.facts(), report)
}

fn check(facts: &Facts) -> Result<(), ImportError> {
    const NEEDED: [(&str, &str, &str); 2] = [
        ("trace_id", "the id of a trace", "trace_id, traceId, traceID"),
        ("span_id", "the id of a span", "span_id, spanId, spanID"),
    ];
    for (member, what, names) in NEEDED {
        if !facts.columns.iter().any(|column| member_of(column) == Some(member)) {
            return Err(ImportError::NoSpans { table: facts.name.clone(), what, names });
        }
    }
    Ok(())
}

fn judge(facts: &Facts, report: Report) -> Result<Report, ImportError> {
    let rows = report.rows;
    if rows == 0 && report.rows_before == 0 && facts.row_security && !facts.is_empty {
        return Err(ImportError::Hidden { table: facts.name.clone(), role: facts.role.clone() });
    }
    match report.refusals.first() {
        Some(first) if report.refused == rows && report.rows_before == 0 => {
            Err(ImportError::AllRefused { rows, first: first.to_string() })
        }
        _ => Ok(report),
    }
}

/// The write path, and where to note how far it has come.
struct Writing<'s> {
    store: &'s Store,
    pipeline: Pipeline,
    name: String,
}

async fn copy(
    table: &ForeignTable,
    after: Option<Position>,
    writing: Option<&Writing<'_>>,
    plan: &Plan,
    clock: &Clock,
    report: &mut Report,
    tell: Tell<'_>,
) -> Result<(), ImportError> {
    let mut page = read(table, after, plan).await?;
    loop {
        let Page { rows, next } = page;
        let count = rows.len() as u64;
        let decoded = rows::spans(rows, plan, clock.now());
        let spans = decoded.spans.len() as u64;
        let old = decoded.spans.iter().filter(|span| span.created_at < plan.keep_from).count() as u64;
        // The next page is read while this one is written.
        let reading = async {
            match &next {
                Some(position) => read(table, Some(position.clone()), plan).await.map(Some),
                None => Ok(None),
            }
        };
        let (stored, following) = match writing {
            None => (0, reading.await),
            Some(writing) => {
                let receipt = writing.pipeline.submit(decoded.spans, true)?;
                tokio::join!(committed(&writing.pipeline, receipt, report, tell), reading)
            }
        };
        report.add(count, spans, stored as u64, decoded.refused);
        report.past_keeping += old;
        if let Some(writing) = writing {
            let rows = report.rows_before + report.rows;
            let bookmark = Bookmark { table: table.facts().identity.clone(), after: next, rows };
            note(writing, &bookmark, plan).await?;
        }
        tell(Progress { report, store_is_away: false, settling: false });
        match following? {
            Some(following) => page = following,
            None => return Ok(()),
        }
    }
}

/// Waits, for as long as it takes, until the store has a page's spans; gives the number of those that it refused.
async fn committed(
    pipeline: &Pipeline,
    receipt: Receipt,
    report: &Report,
    tell: &mut (dyn FnMut(Progress<'_>) + Send),
) -> usize {
    let mut stored = std::pin::pin!(receipt.stored(FOREVER));
    let mut tick = tokio::time::interval(TELL_EVERY);
    loop {
        tokio::select! {
            stored = &mut stored => return match stored {
                Ok(Stored::Yes { dead_letters }) => dead_letters,
                Ok(Stored::NotYet) | Err(_) => 0,
            },
            _ = tick.tick() => {
                let store_is_away = pipeline.status().store.trouble.is_some();
                tell(Progress { report, store_is_away, settling: false });
            }
        }
    }
}

/// A page, asked for again while the database is away.
async fn read(table: &ForeignTable, after: Option<Position>, plan: &Plan) -> Result<Page, ImportError> {
    let page = || table.page(after.as_ref(), plan.batch_rows);
    patiently(plan, page).await
}

async fn note(writing: &Writing<'_>, bookmark: &Bookmark, plan: &Plan) -> Result<(), ImportError> {
    // Plain texts and numbers always serialise.
    let text = serde_json::to_string(bookmark).unwrap_or_default();
    patiently(plan, || writing.store.checkpoints.set_checkpoint(&writing.name, &text)).await
}

async fn patiently<T, F>(plan: &Plan, call: impl Fn() -> F) -> Result<T, ImportError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut attempt = 1;
    loop {
        match call().await {
            Err(error) if error.may_pass() && attempt < plan.attempts => {
                let wait = plan.pipeline.retry_base_ms.saturating_mul(1 << attempt.min(16));
                tokio::time::sleep(Duration::from_millis(wait.min(plan.pipeline.retry_max_ms))).await;
                attempt += 1;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// How far an import has come, as the store keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct Bookmark {
    /// [`Facts::identity`].
    table: String,
    /// `None` once the end was reached.
    after: Option<Position>,
    /// Rows read so far.
    rows: u64,
}

impl Bookmark {
    /// Where to go on in the table of this identity, and how many rows lie before that. A note that cannot be understood
    /// counts as none: beginning anew is always right.
    fn unfinished(noted: &str, identity: &str) -> Option<(Position, u64)> {
        let bookmark: Bookmark = serde_json::from_str(noted).ok()?;
        let after = bookmark.after.filter(|_| bookmark.table == identity)?;
        Some((after, bookmark.rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unfinished_run_over_the_same_table_is_gone_on_with() {
        let noted = r#"{"table":"16384","after":["17"],"rows":400}"#;
        let (_, rows) = Bookmark::unfinished(noted, "16384").unwrap();
        assert_eq!(rows, 400);
        assert!(Bookmark::unfinished(noted, "16385").is_none(), "another table of that name");
        assert!(Bookmark::unfinished(r#"{"table":"16384","after":null,"rows":400}"#, "16384").is_none());
        assert!(Bookmark::unfinished("2026-01-05", "16384").is_none());
    }
}

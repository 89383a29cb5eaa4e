//! `tracefall dead-letters`: spans that the store refused: which they are and why, another try once the cause is repaired,
//! and the end of those that nobody wants. It opens the store itself, while the service runs or not.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use super::CliError;
use super::terminal::print;
use crate::clock::Clock;
use crate::model::time::{DAY_NS, UnixNanos};
use crate::pipeline::letters::{Retried, Retry};
use crate::redact::Redactor;
use crate::settings::Settings;
use crate::store::{self, From, KeptLetter, LetterFilter, Store};

#[derive(Debug, Clone, Subcommand)]
pub enum DeadLetters {
    /// List them, the newest first: what was refused, when and why.
    List {
        #[command(flatten)]
        which: Which,
        /// How many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        #[arg(long)]
        json: bool,
    },
    /// Show one whole: the span as it is kept, and the database's words.
    Show {
        /// As `list` shows it.
        id: i64,
        #[arg(long)]
        json: bool,
    },
    /// Write them again, once the cause is repaired. What is stored is a dead letter no more; the others say why not.
    Retry {
        /// These; without any and without --since and --reason, --all is needed.
        ids: Vec<i64>,
        #[command(flatten)]
        which: Which,
        /// Every one of them.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        #[arg(long)]
        json: bool,
    },
    /// Throw them away. Without --yes it says how many that would be.
    Purge {
        /// These; without any and without --older-than-days and --reason, --all is needed.
        ids: Vec<i64>,
        /// Refused more than so many days ago.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=36_500))]
        older_than_days: Option<u32>,
        /// Those whose reason holds this text, such as a SQLSTATE.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Every one of them.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Yes, they are not needed any more.
        #[arg(long)]
        yes: bool,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Refused at or after this RFC 3339 time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<UnixNanos>,
    /// Those whose reason holds this text, such as a SQLSTATE.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// A letter in a list.
#[derive(Serialize)]
struct Line {
    id: i64,
    refused_at: UnixNanos,
    trace_id: String,
    span_id: String,
    service: Option<String>,
    operation: Option<String>,
    bytes: usize,
    reason: String,
}

/// A letter as a whole.
#[derive(Serialize)]
struct Whole {
    id: i64,
    refused_at: UnixNanos,
    tenant: String,
    reason: String,
    /// As it is kept; a text where it is no JSON any more.
    span: Value,
}

#[derive(Serialize)]
struct Purged {
    dead_letters: u64,
    dry_run: bool,
}

/// Letters read at a time.
const PAGE: usize = 64;
/// Letters removed at a time.
const BATCH: usize = 1_000;

fn time(text: &str) -> Result<UnixNanos, String> {
    UnixNanos::parse_rfc3339(text).map_err(|error| error.to_string())
}

impl DeadLetters {
    /// Nothing is done to a schema that is not up to date.
    pub async fn run(&self, settings: &Settings) -> Result<(), CliError> {
        let store = store::open(&settings.store).await?;
        if store.maintenance.migrations().await?.iter().any(|migration| !migration.applied) {
            return Err(CliError::NotMigrated);
        }
        let told = self.with(&store, settings).await;
        store.maintenance.close().await;
        Ok(print(&told?)?)
    }

    async fn with(&self, store: &Store, settings: &Settings) -> Result<String, CliError> {
        let redactor = Redactor::new(&settings.redaction)?;
        let redactor = redactor.as_ref();
        match self {
            Self::List { which, limit, json } => {
                let lines = list(store, &which.filter(Vec::new()), *limit as usize, redactor).await?;
                if *json { as_json(&lines) } else { Ok(table(&lines)) }
            }
            Self::Show { id, json } => {
                let filter = LetterFilter { ids: vec![*id], ..LetterFilter::default() };
                let found = read(store, &filter, From::OldestAfter(0), 1, redactor).await?;
                show(found.into_iter().next().ok_or(CliError::NoLetter(*id))?, *json)
            }
            Self::Retry { ids, which, all, json } => {
                let filter = which.filter(ids.clone());
                some(&filter, *all)?;
                let deadline_ns = settings.pipeline.abandoned_after_ns();
                let retry = Retry { store, redactor, deadline_ns, clock: &Clock::system() };
                let report = retry.run(&filter).await?;
                if *json { as_json(&report) } else { Ok(retried(&report)) }
            }
            Self::Purge { ids, older_than_days, reason, all, yes, json } => {
                let age = |days: &u32| {
                    let ns = u64::from(*days).saturating_mul(DAY_NS);
                    Clock::system().now().plus(-i64::try_from(ns).unwrap_or(i64::MAX))
                };
                let before = older_than_days.as_ref().map(age);
                let filter = LetterFilter { ids: ids.clone(), since: None, before, reason: reason.clone() };
                some(&filter, *all)?;
                let dead_letters = match yes {
                    true => purge(store, &filter).await?,
                    false => store.letters.count_dead_letters(&filter).await?,
                };
                let purged = Purged { dead_letters, dry_run: !yes };
                match (json, yes) {
                    (true, _) => as_json(&purged),
                    (false, true) => Ok(format!("{dead_letters} dead letters removed")),
                    (false, false) => Ok(format!(
                        "{dead_letters} dead letters would be removed for good; nothing was changed (--yes does it)"
                    )),
                }
            }
        }
    }
}

impl Which {
    fn filter(&self, ids: Vec<i64>) -> LetterFilter {
        LetterFilter { ids, since: self.since, before: None, reason: self.reason.clone() }
    }
}

/// That all are meant is to be said.
fn some(filter: &LetterFilter, all: bool) -> Result<(), CliError> {
    if all || *filter != LetterFilter::default() { Ok(()) } else { Err(CliError::WhichLetters) }
}

/// Bodies are read a page at a time, since each may be large, and only what is listed stays.
async fn list(
    store: &Store,
    filter: &LetterFilter,
    limit: usize,
    redactor: Option<&Redactor>,
) -> Result<Vec<Line>, CliError> {
    let mut lines = Vec::new();
    let mut before = i64::MAX;
    while lines.len() < limit {
        let wanted = PAGE.min(limit - lines.len());
        let page = read(store, filter, From::NewestBefore(before), wanted, redactor).await?;
        let Some(last) = page.last() else { break };
        before = last.id;
        lines.extend(page.into_iter().map(line));
    }
    Ok(lines)
}

fn line(KeptLetter { id, letter }: KeptLetter) -> Line {
    let body: Value = serde_json::from_str(&letter.body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    Line {
        id,
        refused_at: letter.refused_at,
        service: text("service"),
        operation: text("operation"),
        bytes: letter.body.len(),
        trace_id: letter.trace_id,
        span_id: letter.span_id,
        reason: letter.reason,
    }
}

fn table(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "no dead letters".to_owned();
    }
    let mut text = String::new();
    for Line { id, refused_at, trace_id, span_id, service, operation, bytes, reason } in lines {
        let name = [service, operation].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(": ");
        text.push_str(&format!("{id:>6}  {refused_at}  {trace_id}/{span_id}  {bytes} bytes  {}\n", plain(&name)));
        text.push_str(&format!("        {}\n", plain(reason)));
    }
    text
}

/// What others wrote must not steer the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Letters as they may be shown: rules may have been added since they were refused, and the database's words may repeat
/// what a span says.
async fn read(
    store: &Store,
    filter: &LetterFilter,
    from: From,
    limit: usize,
    redactor: Option<&Redactor>,
) -> Result<Vec<KeptLetter>, CliError> {
    let mut page = store.letters.dead_letters(filter, from, limit).await?;
    if let Some(redactor) = redactor {
        for KeptLetter { letter, .. } in &mut page {
            letter.body = redactor.json(&letter.body).unwrap_or_else(|| std::mem::take(&mut letter.body));
            letter.reason = redactor.text(&letter.reason).unwrap_or_else(|| std::mem::take(&mut letter.reason));
        }
    }
    Ok(page)
}

fn show(KeptLetter { id, letter }: KeptLetter, json: bool) -> Result<String, CliError> {
    let span = serde_json::from_str(&letter.body).unwrap_or(Value::String(letter.body));
    let tenant = letter.tenant.as_str().to_owned();
    let whole = Whole { id, refused_at: letter.refused_at, tenant, reason: letter.reason, span };
    if json {
        return as_json(&whole);
    }
    let span = serde_json::to_string_pretty(&whole.span).map_err(std::io::Error::other)?;
    Ok(format!("{} refused at {}: {}\n{span}", whole.id, whole.refused_at, plain(&whole.reason)))
}

fn retried(report: &Retried) -> String {
    let mut text = format!("{} stored, {} refused again", report.stored, report.failed);
    for failure in &report.failures {
        let (id, trace_id, span_id) = (failure.id, &failure.trace_id, &failure.span_id);
        text.push_str(&format!("\n{id:>6}  {trace_id}/{span_id}  {}", plain(&failure.reason)));
    }
    if report.failed > report.failures.len() as u64 {
        text.push_str("\n        and more");
    }
    text
}

async fn purge(store: &Store, filter: &LetterFilter) -> Result<u64, CliError> {
    let mut removed = 0;
    loop {
        match store.letters.remove_dead_letters(filter, BATCH).await? {
            0 => return Ok(removed),
            some => removed += some,
        }
    }
}

fn as_json(answer: &impl Serialize) -> Result<String, CliError> {
    Ok(serde_json::to_string_pretty(answer).map_err(std::io::Error::other)?)
}

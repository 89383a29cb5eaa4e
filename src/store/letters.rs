//! Dead letters as they are looked at, tried again and thrown away: which of them, and the statements that find them.

use async_trait::async_trait;

use super::filter::{Bind, Dialect, Statement};
use super::rows::{Cells, Reader};
use super::{DeadLetter, Result};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

/// A dead letter as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptLetter {
    /// Counted up; never that of another letter.
    pub id: i64,
    pub letter: DeadLetter,
}

/// Some of the dead letters: those of which all that is said here is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// One of these; empty for any.
    pub ids: Vec<i64>,
    /// Refused at this time or later.
    pub since: Option<UnixNanos>,
    /// Refused before this time.
    pub before: Option<UnixNanos>,
    /// The reason holds this text.
    pub reason: Option<String>,
}

/// In which direction letters are read, and from where on: from the one of this id, which is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    OldestAfter(i64),
    NewestBefore(i64),
}

/// Spans that the store refused.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Some of the letters, in the order that `from` says, at most `limit`.
    async fn dead_letters(&self, filter: &LetterFilter, from: From, limit: usize) -> Result<Vec<KeptLetter>>;

    /// How many there are.
    async fn count_dead_letters(&self, filter: &LetterFilter) -> Result<u64>;

    /// Removes some of the letters, the oldest first, at most `limit`, and answers how many: none when none is left.
    async fn remove_dead_letters(&self, filter: &LetterFilter, limit: usize) -> Result<u64>;
}

const COLUMNS: [&str; 7] = ["id", "tenant", "trace_id", "span_id", "body", "reason", "refused_at"];

pub(super) fn select(filter: &LetterFilter, from: From, limit: usize, dialect: &Dialect<'_>) -> Statement {
    let mut statement = Statement::default();
    let (beyond, order) = match from {
        From::OldestAfter(id) => (format!("id > {}", statement.bind(Bind::Count(id))), "ASC"),
        From::NewestBefore(id) => (format!("id < {}", statement.bind(Bind::Count(id))), "DESC"),
    };
    let conditions = conditions(&mut statement, filter, dialect);
    let limit = statement.bind(Bind::Count(i64::try_from(limit).unwrap_or(i64::MAX)));
    statement.sql = format!(
        "SELECT id, tenant, trace_id, span_id, body, reason, {} FROM {}dead_letters \
         WHERE {beyond}{conditions} ORDER BY id {order} LIMIT {limit}",
        dialect.refused_at, dialect.schema
    );
    statement
}

pub(super) fn count(filter: &LetterFilter, dialect: &Dialect<'_>) -> Statement {
    let mut statement = Statement::default();
    let conditions = conditions(&mut statement, filter, dialect);
    statement.sql = format!("SELECT count(*) FROM {}dead_letters WHERE id IS NOT NULL{conditions}", dialect.schema);
    statement
}

pub(super) fn delete(filter: &LetterFilter, limit: usize, dialect: &Dialect<'_>) -> Statement {
    let mut statement = Statement::default();
    let conditions = conditions(&mut statement, filter, dialect);
    let limit = statement.bind(Bind::Count(i64::try_from(limit).unwrap_or(i64::MAX)));
    statement.sql = format!(
        "DELETE FROM {schema}dead_letters WHERE id IN (SELECT id FROM {schema}dead_letters \
         WHERE id IS NOT NULL{conditions} ORDER BY id LIMIT {limit})",
        schema = dialect.schema
    );
    statement
}

/// Each begins with AND.
fn conditions(statement: &mut Statement, filter: &LetterFilter, dialect: &Dialect<'_>) -> String {
    let mut conditions = String::new();
    if !filter.ids.is_empty() {
        let ids: Vec<String> = filter.ids.iter().map(|id| statement.bind(Bind::Count(*id))).collect();
        conditions.push_str(&format!(" AND id IN ({})", ids.join(",")));
    }
    if let Some(since) = filter.since {
        conditions.push_str(&format!(" AND refused_at >= {}", statement.bind(Bind::Instant(since))));
    }
    if let Some(before) = filter.before {
        conditions.push_str(&format!(" AND refused_at < {}", statement.bind(Bind::Instant(before))));
    }
    if let Some(reason) = &filter.reason {
        let reason = statement.bind(Bind::Text(reason.clone()));
        conditions.push_str(&format!(" AND {}(reason, {reason}) > 0", dialect.position));
    }
    conditions
}

/// A row of [`select`].
pub(super) fn letter<R: Cells>(row: &R, doing: &'static str) -> Result<KeptLetter> {
    let mut cells = Reader::new(row, &COLUMNS, doing);
    let id = cells.required_int()?;
    let tenant = TenantId::new(cells.required_text()?);
    let mut text = || cells.required_text().map(str::to_owned);
    let (trace_id, span_id, body, reason) = (text()?, text()?, text()?, text()?);
    let refused_at = cells.required_instant()?;
    Ok(KeptLetter { id, letter: DeadLetter { tenant, trace_id, span_id, body, reason, refused_at } })
}

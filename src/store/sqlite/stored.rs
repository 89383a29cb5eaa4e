//! Rows read back by their identity, to be merged with what came: out of `open_spans` or out of a day's table.

use std::collections::HashMap;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use super::encode::{chunks, keys, placeholders};
use super::resources::Resources;
use super::{days::Place, failed};
use crate::model::span::{Span, SpanKey};
use crate::store::columns::{self, OPEN};
use crate::store::{Detail, Result, rows};

/// Identities in one statement.
const KEYS: usize = 64;

/// What a SELECT lists of an open span's row, or, with NULL for what it lacks, of an ended one's.
pub(super) fn select_list(detail: Detail, open: bool) -> String {
    let names = columns::selected(detail).iter().map(|name| match *name {
        lacking if !open && OPEN.contains(&lacking) => "NULL".to_owned(),
        name => format!("s.{name}"),
    });
    names.collect::<Vec<_>>().join(",")
}

/// The open rows of these identities.
pub(super) async fn read_open(
    connection: &mut SqliteConnection,
    resources: &Resources,
    wanted: &[SpanKey],
) -> Result<HashMap<SpanKey, Span>> {
    read(connection, resources, "open_spans", true, wanted).await
}

/// The ended rows of these identities in one table.
pub(super) async fn read_ended(
    connection: &mut SqliteConnection,
    resources: &Resources,
    place: Place,
    wanted: &[SpanKey],
) -> Result<HashMap<SpanKey, Span>> {
    read(connection, resources, &place.to_string(), false, wanted).await
}

async fn read(
    connection: &mut SqliteConnection,
    resources: &Resources,
    table: &str,
    open: bool,
    mut wanted: &[SpanKey],
) -> Result<HashMap<SpanKey, Span>> {
    const DOING: &str = "read spans to merge";
    let mut found = Vec::new();
    for size in chunks(wanted.len(), KEYS) {
        let (chunk, after) = wanted.split_at(size);
        wanted = after;
        // Safe: names of our own tables and columns, and placeholders.
        let sql = AssertSqlSafe(select_by_key(table, open, size));
        let query = sqlx::query_with(sql, keys(chunk).map_err(failed(DOING))?);
        for row in query.fetch_all(&mut *connection).await.map_err(failed(DOING))? {
            found.push(rows::span(&row, Detail::Full, DOING)?);
        }
    }
    let spans = resources.attach(connection, found).await?;
    Ok(spans.into_iter().map(|span| (span.key(), span)).collect())
}

/// Takes the rows of these identities out of a table.
pub(super) async fn remove(connection: &mut SqliteConnection, table: &str, mut gone: &[SpanKey]) -> Result<()> {
    const DOING: &str = "remove merged spans";
    for size in chunks(gone.len(), KEYS) {
        let (chunk, after) = gone.split_at(size);
        gone = after;
        // Safe: a name of our own table, and placeholders.
        let sql = AssertSqlSafe(delete_by_key(table, size));
        let query = sqlx::query_with(sql, keys(chunk).map_err(failed(DOING))?);
        query.execute(&mut *connection).await.map_err(failed(DOING))?;
    }
    Ok(())
}

/// The join is a CROSS one so that it begins at the keys.
pub(super) fn select_by_key(table: &str, open: bool, count: usize) -> String {
    format!(
        "WITH k (trace_id, span_id, tenant) AS (VALUES {}) SELECT {} FROM k CROSS JOIN {table} AS s \
         ON s.trace_id = k.trace_id AND s.span_id = k.span_id AND s.tenant = k.tenant",
        placeholders(3, count),
        select_list(Detail::Full, open),
    )
}

pub(super) fn delete_by_key(table: &str, count: usize) -> String {
    format!("DELETE FROM {table} WHERE (trace_id, span_id, tenant) IN (VALUES {})", placeholders(3, count))
}

//! Rows read back, or taken out, by their identity, to be merged with what came.

use std::collections::HashMap;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use super::encode::{chunks, keys, placeholders};
use super::tables::Table;
use super::{failed, resources};
use crate::model::merge::merge;
use crate::model::span::{Span, SpanKey};
use crate::store::columns::{Filled, Instants, OPEN};
use crate::store::resources::Resources;
use crate::store::rows::Selection;
use crate::store::{Detail, Result};

/// Identities in one statement.
const KEYS: usize = 64;

/// What a SELECT lists of a table's rows: NULL for the columns that only open spans have.
pub(super) fn select_list(selection: &Selection, table: Table) -> String {
    selection.list(Instants::Whole, |name| table != Table::Open && OPEN.contains(&name))
}

/// The rows of these identities in a table whose rows fill these columns.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    resources: &Resources,
    (table, filled): (Table, Filled),
    wanted: &[SpanKey],
) -> Result<HashMap<SpanKey, Span>> {
    fetch(connection, resources, filled, wanted, |selection, count| select_by_key(table, selection, count)).await
}

/// Like [`read`], and takes the rows out.
pub(super) async fn take(
    connection: &mut SqliteConnection,
    resources: &Resources,
    (table, filled): (Table, Filled),
    wanted: &[SpanKey],
) -> Result<HashMap<SpanKey, Span>> {
    let sql = |selection: &Selection, count| {
        format!("{} RETURNING {}", delete_by_key(table, count), select_list(selection, table))
    };
    fetch(connection, resources, filled, wanted, sql).await
}

async fn fetch(
    connection: &mut SqliteConnection,
    memory: &Resources,
    filled: Filled,
    mut wanted: &[SpanKey],
    sql: impl Fn(&Selection, usize) -> String,
) -> Result<HashMap<SpanKey, Span>> {
    const DOING: &str = "read spans to merge";
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let selection = Selection::new(filled, Detail::Full);
    let mut found = Vec::new();
    for size in chunks(wanted.len(), KEYS) {
        let (chunk, after) = wanted.split_at(size);
        wanted = after;
        // Safe: names of our own tables and columns, and placeholders.
        let query = sqlx::query_with(AssertSqlSafe(sql(&selection, size)), keys(chunk).map_err(failed(DOING))?);
        for row in query.fetch_all(&mut *connection).await.map_err(failed(DOING))? {
            found.push(selection.span(&row, DOING)?);
        }
    }
    let mut spans: HashMap<SpanKey, Span> = HashMap::with_capacity(found.len());
    for span in resources::attach(memory, connection, found).await? {
        // Among the kept ones there may be twins in one table.
        let span = match spans.remove(&span.key()) {
            Some(twin) => merge(twin, span),
            None => span,
        };
        spans.insert(span.key(), span);
    }
    Ok(spans)
}

/// Removes the rows of these identities from a table.
pub(super) async fn remove(connection: &mut SqliteConnection, table: Table, mut gone: &[SpanKey]) -> Result<()> {
    const DOING: &str = "remove merged spans";
    for size in chunks(gone.len(), KEYS) {
        let (chunk, after) = gone.split_at(size);
        gone = after;
        // Safe: a name of our own table, and placeholders.
        let query = sqlx::query_with(AssertSqlSafe(delete_by_key(table, size)), keys(chunk).map_err(failed(DOING))?);
        query.execute(&mut *connection).await.map_err(failed(DOING))?;
    }
    Ok(())
}

/// The join is a CROSS one so that it begins at the keys.
pub(super) fn select_by_key(table: Table, selection: &Selection, count: usize) -> String {
    format!(
        "WITH k (k_trace_id, k_span_id, k_tenant) AS (VALUES {}) SELECT {} FROM k CROSS JOIN {table} \
         ON trace_id = k_trace_id AND span_id = k_span_id AND tenant = k_tenant",
        placeholders(3, count),
        select_list(selection, table),
    )
}

/// The rows of these traces; as many as a last placeholder says.
pub(super) fn select_by_trace(table: Table, selection: &Selection, count: usize) -> String {
    format!(
        "WITH k (k_trace_id, k_tenant) AS (VALUES {}) SELECT {} FROM k CROSS JOIN {table} \
         ON trace_id = k_trace_id AND tenant = k_tenant LIMIT ?",
        placeholders(2, count),
        select_list(selection, table),
    )
}

pub(super) fn delete_by_key(table: Table, count: usize) -> String {
    format!("DELETE FROM {table} WHERE (trace_id, span_id, tenant) IN (VALUES {})", placeholders(3, count))
}

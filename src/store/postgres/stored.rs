//! Rows read back, or taken out, by their identity, to be merged with what came.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::session::Session;
use super::types::{Instant, uuid};
use super::{Rows, Schema, failed, resources};
use crate::model::span::{Span, SpanKey};
use crate::model::time::UnixNanos;
use crate::store::columns::{Filled, Instants, OPEN};
use crate::store::resources::Resources;
use crate::store::rows::Selection;
use crate::store::{Detail, Result};

const DOING: &str = "read spans to merge";

/// What a SELECT lists of `open_spans`.
pub(super) fn list_open(selection: &Selection) -> String {
    selection.list(Instants::Split, |_| false)
}

/// What a SELECT lists of ended spans: NULL for the columns that only open spans have.
pub(super) fn list_ended(selection: &Selection) -> String {
    selection.list(Instants::Split, |name| OPEN.contains(&name))
}

/// All columns: an empty one costs little to read.
pub(super) fn everything(detail: Detail) -> Selection {
    Selection::new(Filled::all(), detail)
}

/// Identities as three arrays.
struct Keys {
    trace_ids: Vec<Uuid>,
    span_ids: Vec<Vec<u8>>,
    tenants: Vec<String>,
}

impl Keys {
    fn new<'k>(keys: impl Iterator<Item = &'k SpanKey> + Clone) -> Self {
        Self {
            trace_ids: keys.clone().map(|key| uuid(key.trace_id.as_bytes())).collect(),
            span_ids: keys.clone().map(|key| key.span_id.as_bytes().to_vec()).collect(),
            tenants: keys.map(|key| key.tenant.as_str().to_owned()).collect(),
        }
    }
}

const UNNEST: &str = "unnest($1::uuid[], $2::bytea[], $3::text[]) AS k (k_trace_id, k_span_id, k_tenant)";
const IS_KEY: &str = "trace_id = k_trace_id AND span_id = k_span_id AND tenant = k_tenant";

/// The open rows of these identities.
pub(super) async fn read_open(
    connection: &mut Session,
    memory: &Resources,
    schema: &Schema,
    wanted: &[SpanKey],
) -> Result<HashMap<SpanKey, Span>> {
    let list = list_open(&everything(Detail::Full));
    open_rows(connection, memory, schema, wanted, select_open(schema, &list)).await
}

/// Like [`read_open`], and takes the rows out.
pub(super) async fn take_open(
    connection: &mut Session,
    memory: &Resources,
    schema: &Schema,
    wanted: &[SpanKey],
) -> Result<HashMap<SpanKey, Span>> {
    let list = list_open(&everything(Detail::Full));
    open_rows(connection, memory, schema, wanted, format!("{} RETURNING {list}", delete_open(schema))).await
}

pub(super) fn select_open(schema: &Schema, list: &str) -> String {
    format!("SELECT {list} FROM {UNNEST} JOIN {schema}open_spans ON {IS_KEY}")
}

pub(super) fn delete_open(schema: &Schema) -> String {
    format!("DELETE FROM {schema}open_spans USING {UNNEST} WHERE {IS_KEY}")
}

async fn open_rows(
    connection: &mut Session,
    memory: &Resources,
    schema: &Schema,
    wanted: &[SpanKey],
    sql: String,
) -> Result<HashMap<SpanKey, Span>> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let keys = Keys::new(wanted.iter());
    // Safe: names of our own tables and columns, and placeholders.
    let query = sqlx::query(AssertSqlSafe(sql)).bind(keys.trace_ids).bind(keys.span_ids).bind(keys.tenants);
    let rows = query.fetch_all(&mut *connection).await.map_err(failed(DOING))?;
    let spans = to_spans(connection, memory, schema, &rows).await?;
    Ok(spans.into_iter().map(|span| (span.key(), span)).collect())
}

/// The ended rows of these identities, each sought in the days of its trace.
pub(super) async fn read_ended(
    connection: &mut Session,
    memory: &Resources,
    schema: &Schema,
    wanted: &[(SpanKey, &RangeInclusive<u32>)],
) -> Result<HashMap<SpanKey, Vec<Span>>> {
    let Some(whole) = bounds(wanted.iter().map(|(_, days)| *days)) else {
        return Ok(HashMap::new());
    };
    let list = list_ended(&everything(Detail::Full));
    let keys = Keys::new(wanted.iter().map(|(key, _)| key));
    let from: Vec<Instant> = wanted.iter().map(|(_, days)| Instant::of_day(*days.start())).collect();
    let until: Vec<Instant> = wanted.iter().map(|(_, days)| Instant::of_day(days.end() + 1)).collect();
    // Safe: names of our own tables and columns, and placeholders.
    let sql = AssertSqlSafe(select_ended(schema, &list));
    let query = sqlx::query(sql).bind(keys.trace_ids).bind(keys.span_ids).bind(keys.tenants);
    let query =
        query.bind(from).bind(until).bind(Instant::of_day(*whole.start())).bind(Instant::of_day(whole.end() + 1));
    let rows = query.fetch_all(&mut *connection).await.map_err(failed(DOING))?;
    let mut found: HashMap<SpanKey, Vec<Span>> = HashMap::new();
    for span in to_spans(connection, memory, schema, &rows).await? {
        found.entry(span.key()).or_default().push(span);
    }
    Ok(found)
}

/// The outer bounds spare a statement's start all other days, and the key's own its run. Each key is looked up by itself,
/// as in `select_traces`.
pub(super) fn select_ended(schema: &Schema, list: &str) -> String {
    format!(
        "SELECT found.* FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::timestamptz[], $5::timestamptz[]) \
         AS k (k_trace_id, k_span_id, k_tenant, k_from, k_until) CROSS JOIN LATERAL (SELECT {list} FROM {schema}spans \
         WHERE {IS_KEY} AND started_at >= k_from AND started_at < k_until AND started_at >= $6 AND started_at < $7 \
         OFFSET 0) AS found"
    )
}

/// The first and the last of many days.
pub(super) fn bounds<'d>(mut days: impl Iterator<Item = &'d RangeInclusive<u32>>) -> Option<RangeInclusive<u32>> {
    let first = days.next()?.clone();
    Some(days.fold(first, |all, days| *all.start().min(days.start())..=*all.end().max(days.end())))
}

async fn to_spans(connection: &mut Session, memory: &Resources, schema: &Schema, rows: &Rows) -> Result<Vec<Span>> {
    let selection = everything(Detail::Full);
    let found = rows.iter().map(|row| selection.span(row, DOING)).collect::<Result<_>>()?;
    resources::attach(memory, connection, schema, found).await
}

/// Removes open rows.
pub(super) async fn remove_open(connection: &mut Session, schema: &Schema, gone: &[SpanKey]) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let keys = Keys::new(gone.iter());
    // Safe: a name of our own table, and placeholders.
    let sql = AssertSqlSafe(delete_open(schema));
    let query = sqlx::query(sql).bind(keys.trace_ids).bind(keys.span_ids).bind(keys.tenants);
    query.execute(connection).await.map_err(failed("remove merged spans"))?;
    Ok(())
}

/// Removes ended rows, each known by its start too.
pub(super) async fn remove_ended(
    connection: &mut Session,
    schema: &Schema,
    gone: &[(SpanKey, UnixNanos)],
) -> Result<()> {
    let starts = gone.iter().map(|(_, started_at)| *started_at);
    let (Some(first), Some(last)) = (starts.clone().min(), starts.clone().max()) else { return Ok(()) };
    let keys = Keys::new(gone.iter().map(|(key, _)| key));
    // Safe: a name of our own table, and placeholders.
    let sql = AssertSqlSafe(delete_ended(schema));
    // Planned each time: a plan kept from an empty day reads the whole day for each key once it has filled.
    let query = sqlx::query(sql).persistent(false);
    let query = query.bind(keys.trace_ids).bind(keys.span_ids).bind(keys.tenants);
    let query =
        query.bind(starts.map(Instant::of).collect::<Vec<_>>()).bind(Instant::of(first)).bind(Instant::of(last));
    query.execute(connection).await.map_err(failed("remove merged spans"))?;
    Ok(())
}

pub(super) fn delete_ended(schema: &Schema) -> String {
    format!(
        "DELETE FROM {schema}spans USING unnest($1::uuid[], $2::bytea[], $3::text[], $4::timestamptz[]) \
         AS k (k_trace_id, k_span_id, k_tenant, k_started_at) WHERE {IS_KEY} AND started_at = k_started_at \
         AND started_at BETWEEN $5 AND $6"
    )
}

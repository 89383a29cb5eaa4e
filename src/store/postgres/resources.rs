//! Resources: written once, and joined back in by readers out of memory.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::AssertSqlSafe;

use super::session::Session;
use super::types::uuid;
use super::{Schema, failed};
use crate::model::span::{Resource, ResourceId, Span};
use crate::store::Result;
use crate::store::resources::{Resources, Unattached, stored};
use crate::store::rows::Reader;

/// Writes those resources of the batch that are not known to be stored, or were last seen on an earlier day than `today`.
/// They are known only after [`Resources::remember`].
pub(super) async fn write(
    resources: &Resources,
    connection: &mut Session,
    schema: &Schema,
    batch: &[Span],
    today: u32,
) -> Result<Vec<Arc<Resource>>> {
    let unknown = resources.unknown(batch, today);
    if unknown.is_empty() {
        return Ok(unknown);
    }
    // Safe: a name of our own table, and placeholders.
    let sql = AssertSqlSafe(format!(
        "INSERT INTO {schema}resources AS r (id, content, last_seen_day) \
         SELECT id, content, date '1970-01-01' + $3::int FROM unnest($1::uuid[], $2::text[]) AS n (id, content) \
         ON CONFLICT (id) DO UPDATE SET last_seen_day = excluded.last_seen_day \
         WHERE excluded.last_seen_day > r.last_seen_day"
    ));
    let query = sqlx::query(sql)
        .bind(unknown.iter().map(|resource| uuid(&resource.id().0)).collect::<Vec<_>>())
        .bind(unknown.iter().map(|resource| resource.content().to_owned()).collect::<Vec<_>>())
        .bind(today.cast_signed());
    query.execute(connection).await.map_err(failed("write resources"))?;
    Ok(unknown)
}

/// Gives rows their resources, reading those that are not in memory.
pub(super) async fn attach(
    resources: &Resources,
    connection: &mut Session,
    schema: &Schema,
    rows: Unattached,
) -> Result<Vec<Span>> {
    let (found, missing) = resources.recall(&rows);
    let read = read(connection, schema, &missing).await?;
    Ok(resources.attach(rows, found, read))
}

async fn read(connection: &mut Session, schema: &Schema, ids: &[ResourceId]) -> Result<Vec<Arc<Resource>>> {
    const DOING: &str = "read resources";
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // Safe: a name of our own table, and placeholders.
    let sql = AssertSqlSafe(format!("SELECT id, content FROM {schema}resources WHERE id = ANY($1)"));
    let query = sqlx::query(sql).bind(ids.iter().map(|id| uuid(&id.0)).collect::<Vec<_>>());
    let rows = query.fetch_all(connection).await.map_err(failed(DOING))?;
    let mut contents = HashMap::new();
    for row in &rows {
        let mut cells = Reader::new(row, &["id", "content"], DOING);
        contents.insert(cells.required_bytes()?, cells.required_text()?);
    }
    ids.iter().map(|id| stored(*id, contents.get(&id.0[..]).copied(), DOING)).collect()
}

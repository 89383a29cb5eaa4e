//! Resources: written once, and joined back in by readers out of memory.

use std::sync::Arc;

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

use super::encode::{chunks, placeholders};
use super::failed;
use crate::model::span::{Resource, ResourceId, Span};
use crate::store::Result;
use crate::store::resources::{Resources, Unattached, stored};
use crate::store::rows::Reader;

/// Writes those resources of the batch that are not known to be stored, or were last seen on an earlier day than `today`.
/// They are known only after [`Resources::remember`].
pub(super) async fn write(
    resources: &Resources,
    connection: &mut SqliteConnection,
    batch: &[Span],
    today: u32,
) -> Result<Vec<Arc<Resource>>> {
    let unknown = resources.unknown(batch, today);
    let mut rest = unknown.as_slice();
    for size in chunks(unknown.len(), 64) {
        let (chunk, after) = rest.split_at(size);
        rest = after;
        let mut arguments = SqliteArguments::default();
        for resource in chunk {
            let added = arguments
                .add(&resource.id().0[..])
                .and_then(|()| arguments.add(resource.content()))
                .and_then(|()| arguments.add(today));
            added.map_err(sqlx::Error::Encode).map_err(failed("write resources"))?;
        }
        // Safe: nothing but placeholders is put into the text.
        let sql = AssertSqlSafe(format!(
            "INSERT INTO resources (id, content, last_seen_day) VALUES {} ON CONFLICT (id) DO UPDATE \
             SET last_seen_day = excluded.last_seen_day WHERE excluded.last_seen_day > resources.last_seen_day",
            placeholders(3, size),
        ));
        let query = sqlx::query_with(sql, arguments);
        query.execute(&mut *connection).await.map_err(failed("write resources"))?;
    }
    Ok(unknown)
}

/// Gives rows their resources, reading those that are not in memory.
pub(super) async fn attach(
    resources: &Resources,
    connection: &mut SqliteConnection,
    rows: Unattached,
) -> Result<Vec<Span>> {
    let (found, missing) = resources.recall(&rows);
    let mut read = Vec::new();
    for id in missing {
        read.push(read_one(connection, id).await?);
    }
    Ok(resources.attach(rows, found, read))
}

async fn read_one(connection: &mut SqliteConnection, id: ResourceId) -> Result<Arc<Resource>> {
    const DOING: &str = "read resources";
    let query = sqlx::query("SELECT content FROM resources WHERE id = ?").bind(&id.0[..]);
    let row = query.fetch_optional(connection).await.map_err(failed(DOING))?;
    let content = row.as_ref().map(|row| Reader::new(row, &["content"], DOING).required_text()).transpose()?;
    stored(id, content, DOING)
}

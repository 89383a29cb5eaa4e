//! Resources: written once, and joined back in by readers out of memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

use super::encode::{chunks, placeholders};
use super::failed;
use crate::model::span::{Resource, ResourceId, Span};
use crate::store::rows::Reader;
use crate::store::{Result, StoreError};

/// Entries beyond which the memory starts over, and their bytes of content.
const MAX_ENTRIES: usize = 4_096;
const MAX_BYTES: usize = 8 << 20;

/// The resources known to be stored, with the last day on which that was written down.
///
/// Whoever removes rows of `resources` must [`Resources::forget`] them.
#[derive(Default)]
pub(super) struct Resources(Mutex<Known>);

#[derive(Default)]
struct Known {
    entries: HashMap<ResourceId, (Arc<Resource>, u32)>,
    bytes: usize,
}

impl Resources {
    /// Writes those resources of the batch that are not known to be stored, or were last seen on an earlier day than
    /// `today`, in the order of their ids. They are known only after [`Resources::remember`], which belongs behind the
    /// commit.
    pub(super) async fn write(
        &self,
        connection: &mut SqliteConnection,
        batch: &[Span],
        today: u32,
    ) -> Result<Vec<Arc<Resource>>> {
        let unknown = self.unknown(batch, today);
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

    fn unknown(&self, batch: &[Span], today: u32) -> Vec<Arc<Resource>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unknown = BTreeMap::new();
        let mut last: Option<&Arc<Resource>> = None;
        for resource in batch.iter().filter_map(|span| span.resource.as_ref()) {
            // Spans of one request share the very same resource.
            if last.is_some_and(|last| Arc::ptr_eq(last, resource)) {
                continue;
            }
            last = Some(resource);
            if known.entries.get(&resource.id()).is_none_or(|(_, day)| *day < today) {
                unknown.insert(resource.id(), resource.clone());
            }
        }
        unknown.into_values().collect()
    }

    /// Notes that these are stored and were seen on this day.
    pub(super) fn remember(&self, resources: Vec<Arc<Resource>>, day: u32) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in resources {
            if known.entries.len() >= MAX_ENTRIES || known.bytes >= MAX_BYTES {
                *known = Known::default();
            }
            let day = known.entries.get(&resource.id()).map_or(day, |(_, before)| day.max(*before));
            let bytes = resource.content().len();
            if known.entries.insert(resource.id(), (resource, day)).is_none() {
                known.bytes += bytes;
            }
        }
    }

    /// Forgets all of them.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Known::default();
    }

    /// Gives rows their resources, reading those that are not in memory.
    pub(super) async fn attach(
        &self,
        connection: &mut SqliteConnection,
        rows: Vec<(Span, Option<ResourceId>)>,
    ) -> Result<Vec<Span>> {
        let mut found: HashMap<ResourceId, Arc<Resource>> = HashMap::new();
        let wanted: HashSet<ResourceId> = rows.iter().filter_map(|(_, id)| *id).collect();
        {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            found.extend(wanted.iter().filter_map(|id| Some((*id, known.entries.get(id)?.0.clone()))));
        }
        let mut missing = Vec::new();
        for id in wanted.iter().filter(|id| !found.contains_key(*id)) {
            missing.push(read(connection, *id).await?);
        }
        found.extend(missing.iter().map(|resource| (resource.id(), resource.clone())));
        // Day 0: the next span of it writes down when it was last seen.
        self.remember(missing, 0);
        let attached = rows.into_iter().map(|(mut span, id)| {
            span.resource = id.and_then(|id| found.get(&id).cloned());
            span
        });
        Ok(attached.collect())
    }
}

async fn read(connection: &mut SqliteConnection, id: ResourceId) -> Result<Arc<Resource>> {
    const DOING: &str = "read resources";
    let query = sqlx::query("SELECT content FROM resources WHERE id = ?").bind(&id.0[..]);
    let row = query.fetch_optional(connection).await.map_err(failed(DOING))?;
    let corrupt = |reason: &str| StoreError::Corrupt {
        doing: DOING,
        column: "resource_id".to_owned(),
        reason: reason.to_owned(),
    };
    let row = row.ok_or_else(|| corrupt("no such resource"))?;
    let resource = Resource::new(Reader::new(&row, &["content"], DOING).required_text()?);
    if resource.id() != id {
        return Err(corrupt("the resource's content is another"));
    }
    Ok(Arc::new(resource))
}

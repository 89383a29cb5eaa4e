//! Resources in memory: those known to be stored, so that each is written once and read seldom. Each dialect writes and
//! reads the others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Result, StoreError};
use crate::model::span::{Resource, ResourceId, Span};

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

/// Rows as they were read, each with the id of its resource.
pub(super) type Unattached = Vec<(Span, Option<ResourceId>)>;

/// Resources by their ids.
pub(super) type Found = HashMap<ResourceId, Arc<Resource>>;

impl Resources {
    /// Those of the batch that are not known to be stored, or were last seen on an earlier day than `today`, in the
    /// order of their ids.
    pub(super) fn unknown(&self, batch: &[Span], today: u32) -> Vec<Arc<Resource>> {
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

    /// Notes that these are stored and were seen on this day. Belongs behind the commit.
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

    /// Of the resources of these rows, those in memory, and the ids of those that must be read.
    pub(super) fn recall(&self, rows: &Unattached) -> (Found, Vec<ResourceId>) {
        let wanted: HashSet<ResourceId> = rows.iter().filter_map(|(_, id)| *id).collect();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = wanted.iter().filter_map(|id| Some((*id, known.entries.get(id)?.0.clone())));
        let found: Found = found.collect();
        let missing = wanted.into_iter().filter(|id| !found.contains_key(id)).collect();
        (found, missing)
    }

    /// Gives rows their resources: those recalled, and those that were read.
    pub(super) fn attach(&self, rows: Unattached, mut found: Found, read: Vec<Arc<Resource>>) -> Vec<Span> {
        found.extend(read.iter().map(|resource| (resource.id(), resource.clone())));
        // Day 0: the next span of it writes down when it was last seen.
        self.remember(read, 0);
        let attached = rows.into_iter().map(|(mut span, id)| {
            span.resource = id.and_then(|id| found.get(&id).cloned());
            span
        });
        attached.collect()
    }
}

/// The stored content as the resource of this id.
///
/// # Errors
/// [`StoreError::Corrupt`] if there is none, or it is another's.
pub(super) fn stored(id: ResourceId, content: Option<&str>, doing: &'static str) -> Result<Arc<Resource>> {
    let corrupt =
        |reason: &str| StoreError::Corrupt { doing, column: "resource_id".to_owned(), reason: reason.to_owned() };
    let resource = Resource::new(content.ok_or_else(|| corrupt("no such resource"))?);
    if resource.id() != id {
        return Err(corrupt("the resource's content is another"));
    }
    Ok(Arc::new(resource))
}

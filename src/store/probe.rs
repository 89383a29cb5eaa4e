//! Looking at a store from outside: what `tracefall doctor` needs to know of it. Nothing is made, changed or kept.

use std::sync::Arc;

use async_trait::async_trait;

use super::error::{StoreError, innermost};
use super::{Result, location, postgres, sqlite};
use crate::checkup::facts::{Bench, Contents, StoreFacts, Trouble};
use crate::model::span::Span;
use crate::model::time::UnixNanos;
use crate::settings::store::{StoreLocation, StoreSettings};

/// How somebody looks.
pub struct Look<'a> {
    /// Tells the time.
    pub now: &'a (dyn Fn() -> UnixNanos + Send + Sync),
    /// Told what is being done, for those who wait.
    pub tell: &'a (dyn Fn(&str) + Send + Sync),
    /// Also what reads the whole store: minutes on a large one.
    pub deep: bool,
}

/// Looks at a store, whatever state it is in.
#[async_trait]
pub trait Probe: Send + Sync {
    /// What there is to know; each fact that cannot be had says why. Every question has its time limit, so that this ends
    /// within a minute, however the store behaves, unless it is `deep`. Opens connections of its own, at most two at a
    /// time to a server.
    async fn examine(&self, look: &Look<'_>) -> StoreFacts;

    /// What is stored and how much room it takes, exactly where that is to be had: reads much of an embedded store.
    ///
    /// # Errors
    /// As the store's.
    async fn measure(&self) -> Result<Contents>;

    /// Writes `one`, and then `many`, so many times each, in transactions that are rolled back. Both must be folded, in
    /// order, and of traces that are not stored. PostgreSQL also commits, so many times, a logical message: nothing less
    /// tells how long a commit waits for the disk and for standbys. No table holds it; the server's log does, where logical
    /// decoding that asks for messages sees it.
    ///
    /// # Errors
    /// As [`super::SpanWriter::write_spans`].
    async fn bench(&self, one: &[Span], many: &[Span], rounds: usize) -> Result<Bench>;
}

/// For the store that the settings name. Nothing is opened yet.
///
/// # Errors
/// [`StoreError::Other`] if the settings name none.
pub fn probe(settings: &StoreSettings) -> Result<Arc<dyn Probe>> {
    match location(settings)? {
        StoreLocation::Sqlite(path) => Ok(Arc::new(sqlite::probe::SqliteProbe::new(path, settings.sqlite.clone()))),
        StoreLocation::Postgres(to) => Ok(Arc::new(postgres::probe::PostgresProbe::new(to, settings)?)),
    }
}

/// An error as a fact: what the database says, on one line.
pub(super) fn told(error: &StoreError) -> String {
    let text = match error {
        StoreError::Unavailable { source, .. }
        | StoreError::Conflict { source, .. }
        | StoreError::Refused { source, .. }
        | StoreError::Other { source, .. } => innermost(source.as_ref()),
        other => other.to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn trouble(error: &StoreError) -> Trouble {
    Trouble { cause: error.cause().name(), reason: told(error) }
}

//! Durable state, and the only room that says SQL.
//!
//! Callers hold the small traits they use, never a dialect. Each method's promise is a test in `tests/it/store_suite`,
//! run against every store. The tenant is the first argument everywhere.

mod columns;
mod erasure;
pub mod error;
mod filter;
pub mod foreign;
mod grants;
mod letters;
mod postgres;
mod probe;
mod published;
mod resources;
mod retention;
mod rows;
mod sqlite;
mod touched;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

pub use erasure::{Erased, Erasure, Owner};
pub use error::StoreError;
pub use grants::grants;
pub use letters::{DeadLetters, From, KeptLetter, LetterFilter};
pub use postgres::nagle::send_at_once;
pub use probe::{Look, Probe, probe};
pub use published::{Publication, Published};
pub use retention::{Cleared, Due, KeepBy, Pin, Pins, Place, Retention};

use crate::model::ids::TraceId;
use crate::model::rollup::{Keeping, TraceRollup};
use crate::model::search::{Page, TraceQuery};
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::settings::store::{StoreLocation, StoreSettings};

pub type Result<T> = std::result::Result<T, StoreError>;

/// A store, as the jobs it does. All of them are the same database.
#[derive(Clone)]
pub struct Store {
    pub spans: Arc<dyn SpanWriter>,
    pub traces: Arc<dyn TraceReader>,
    pub rollups: Arc<dyn RollupStore>,
    pub checkpoints: Arc<dyn Checkpoints>,
    pub maintenance: Arc<dyn Maintenance>,
    pub retention: Arc<dyn Retention>,
    pub pins: Arc<dyn Pins>,
    pub letters: Arc<dyn DeadLetters>,
    pub erasure: Arc<dyn Erasure>,
    /// Batches that it writes at a time; those written together must share no trace.
    pub writers: usize,
    /// Whether it reads elsewhere than it writes (a replica): one may be away without the other.
    pub reads_apart: bool,
}

/// The store that the settings name. Nothing is opened or asked yet: what is missing is made by
/// [`Maintenance::migrate_up`].
///
/// # Errors
/// [`StoreError::Other`] if the settings name none, which no waiting heals.
pub fn at(settings: &StoreSettings) -> Result<Store> {
    match location(settings)? {
        StoreLocation::Sqlite(path) => Ok(sqlite::at(&path, &settings.sqlite)),
        StoreLocation::Postgres(location) => postgres::at(&location, &settings.postgres),
    }
}

/// As [`at`], and makes the SQLite file if it is missing. Applies no migration.
///
/// # Errors
/// As [`at`], and [`StoreError::Unavailable`] if the file cannot be made or opened.
pub async fn open(settings: &StoreSettings) -> Result<Store> {
    let store = at(settings)?;
    store.maintenance.make().await?;
    Ok(store)
}

/// How far a copy has come, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    pub written: u64,
    /// About what it will be.
    pub expected: u64,
}

/// Copies the SQLite file that the settings name while others use it: one state of it, checked, under its name only when it
/// is whole. Answers with the bytes of the copy.
///
/// # Errors
/// [`StoreError::Other`] if the store is another, or `to` is there already.
pub async fn backup(settings: &StoreSettings, to: &Path, tell: impl FnMut(CopyProgress)) -> Result<u64> {
    match location(settings)? {
        StoreLocation::Sqlite(path) => sqlite::backup(&path, &settings.sqlite, to, tell).await,
        StoreLocation::Postgres(to) => {
            let source = format!("this is for the embedded store; pg_dump --schema={} copies this one", to.schema);
            Err(StoreError::Other { doing: "back up the store", source: source.into() })
        }
    }
}

/// Where the store is, in words for a log or a command's answer; never with a password.
pub fn place(settings: &StoreSettings) -> String {
    match settings.location() {
        Ok(StoreLocation::Sqlite(path)) => format!("SQLite file {}", path.display()),
        Ok(StoreLocation::Postgres(to)) => format!("PostgreSQL {}, schema {}", to.write_url, to.schema),
        Err(reason) => reason,
    }
}

fn location(settings: &StoreSettings) -> Result<StoreLocation> {
    settings.location().map_err(|reason| StoreError::Other { doing: "find the store", source: reason.into() })
}

/// Takes spans in.
#[async_trait]
pub trait SpanWriter: Send + Sync {
    /// Commits a batch whole or not at all, merging each record with what is stored under its identity
    /// (see [`crate::model::merge`]). Writing the same batch again changes nothing.
    ///
    /// `batch` must be in the order of [`crate::model::merge::gather`], or of `fold` beside it. Records that were heard of
    /// before their trace was deleted (see [`Erasure::bar`]) are left out, each by itself. Within the same transaction every trace
    /// of the batch gets a row among the roll-ups, or has its row's time bounds widened, and is marked unsettled.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a span of the batch cannot be stored: nothing of the batch is. Retryable ones as
    /// their class says.
    async fn write_spans(&self, batch: &[Span]) -> Result<()>;

    /// Puts spans that the store refused where an operator can see them, with the reason; but those whose trace was deleted
    /// since they were heard of, at `heard_at`.
    async fn write_dead_letters(&self, letters: &[DeadLetter], heard_at: UnixNanos) -> Result<()>;
}

/// A span that the store refused, by itself, in the form that `POST /v1/spans` takes.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    pub tenant: TenantId,
    /// As text, since what is wrong may be the id.
    pub trace_id: String,
    pub span_id: String,
    /// The span as a JSON object.
    pub body: String,
    pub reason: String,
    pub refused_at: UnixNanos,
}

/// How much of each span is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Everything but `inputs`, `outputs`, attributes, events, links and the resource: what a waterfall draws.
    Outline,
    /// An outline, and of spans without a parent also `inputs` and attributes: what a roll-up is computed from.
    Rollup,
    Full,
}

/// What is there of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceRows {
    pub rows: Vec<Span>,
    pub keeping: Keeping,
}

/// Answers questions about traces.
#[async_trait]
pub trait TraceReader: Send + Sync {
    /// The rows of a trace, open and ended, not folded, at most `limit + 1` of them: more than `limit` means that there
    /// are more. No rows mean that no such trace is known, or that all its spans were removed for their age, as
    /// [`TraceRows::keeping`] then says. Reads everything committed before the call.
    async fn trace_rows(&self, tenant: &TenantId, trace_id: TraceId, detail: Detail, limit: usize)
    -> Result<TraceRows>;

    /// The traces that hold a span of this execution, newest first. Reads everything committed before the call.
    async fn traces_of_execution(&self, tenant: &TenantId, execution_id: &str, limit: usize) -> Result<Vec<TraceId>>;

    /// The services of the newest `traces` traces, in the order of their names, each once, as their roll-ups know them.
    async fn services(&self, tenant: &TenantId, traces: usize) -> Result<Vec<String>>;

    /// Roll-ups, newest start first. A trace appears with its first span, as running, and its roll-up follows when it
    /// is settled.
    async fn search_traces(&self, tenant: &TenantId, query: &TraceQuery) -> Result<Page<TraceRollup>>;
}

/// A trace's state when its rows were read: a roll-up of an older one does not settle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// How often it had been written to.
    pub times: i64,
    /// When it was first heard of, in whole microseconds, which every store keeps: one that was deleted and began anew is
    /// another one.
    pub since: UnixNanos,
}

impl Touch {
    pub fn new(times: i64, created_at: UnixNanos) -> Self {
        Self { times, since: UnixNanos::new(created_at.as_u64() / 1_000 * 1_000) }
    }
}

/// What roll-ups are computed from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToSettle {
    /// The known ones of the traces that were asked for, each with the touch that its rows belong to.
    pub traces: Vec<(TenantId, TraceId, Touch)>,
    /// Of all those traces, in any order; more than the limit means that there are more.
    pub rows: Vec<Span>,
}

/// Keeps the roll-ups.
#[async_trait]
pub trait RollupStore: Send + Sync {
    /// Traces that were written to after their roll-up was computed, at most `limit`: what a crash left unsettled.
    async fn unsettled(&self, limit: usize) -> Result<Vec<(TenantId, TraceId)>>;

    /// The rows of these traces, open and ended, not folded, at [`Detail::Rollup`], of one state. Traces that are not
    /// known are left out, and those of which spans were removed for their age: their roll-up is final.
    async fn rows_to_settle(&self, traces: &[(TenantId, TraceId)], limit: usize) -> Result<ToSettle>;

    /// Stores roll-ups. A trace written to since its touch stays unsettled; a final roll-up stays as it is.
    async fn write_rollups(&self, rollups: &[(TenantId, Touch, TraceRollup)]) -> Result<()>;
}

/// Remembers how far long jobs have come.
#[async_trait]
pub trait Checkpoints: Send + Sync {
    /// What was last noted under a name; `None` before the first time. Reads everything committed before the call.
    async fn checkpoint(&self, name: &str) -> Result<Option<String>>;

    /// Notes how far a job has come, in its own words, in the place of what was noted before.
    async fn set_checkpoint(&self, name: &str, reached: &str) -> Result<()>;

    /// The same, if what is noted is still `before` (or nothing is noted at all); else `false`, and nothing is changed. So
    /// several who read, change and note lose nothing of each other's.
    async fn swap_checkpoint(&self, name: &str, before: Option<&str>, reached: &str) -> Result<bool>;
}

/// Keeps the store itself in order.
#[async_trait]
pub trait Maintenance: Send + Sync {
    /// Makes what migrations are applied to, where that is ours to make: the SQLite file and its folder.
    async fn make(&self) -> Result<()> {
        Ok(())
    }

    /// Applies every migration not yet applied, to a store that [`Maintenance::make`] has made.
    async fn migrate_up(&self) -> Result<()>;

    /// Publishes the views for people under their own names where others keep theirs too: in PostgreSQL's schema
    /// `public`. Never over what has such a name already. Every migration must be applied.
    /// A store without views publishes none.
    async fn publish_views(&self) -> Result<Vec<Published>> {
        Ok(Vec::new())
    }

    /// Reverts everything down to nothing: all our tables, with all data, and the views that were published.
    async fn migrate_down(&self) -> Result<()>;

    /// Every known migration, oldest first, with whether it is applied.
    async fn migrations(&self) -> Result<Vec<MigrationState>>;

    /// Makes the day tables (partitions) of `now`'s day and the two after it, so that spans find theirs. Those of past
    /// days are made when a row of theirs comes. Cheap when they exist.
    async fn prepare_days(&self, now: UnixNanos) -> Result<()>;

    /// What works with less than it might, in words, with what to do about it. Asks nothing.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Bytes and rows of the store, by its own statistics.
    async fn size(&self) -> Result<StoreSize>;

    /// Flushes what can be flushed and closes every connection.
    async fn close(&self);
}

/// One migration of the schema.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MigrationState {
    pub version: i64,
    pub name: String,
    pub applied: bool,
}

/// How large the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StoreSize {
    pub bytes: u64,
    pub open_spans: u64,
    pub dead_letters: u64,
}

//! The store in one SQLite file: one connection that writes, several that read beside it (WAL).
//!
//! Owns the file, the connections, and what SQLite's error codes mean. Every write is one `BEGIN IMMEDIATE` transaction;
//! every read that takes more than one statement is one transaction too, so that it sees one state.
//!
//! Ended spans live in one table a day (see [`tables`]), open ones in `open_spans`, and `traces` says in which days a
//! trace has rows.

mod backup;
mod checkpoint;
mod encode;
mod erasure;
mod jobs;
mod letters;
mod maintenance;
mod pins;
#[cfg(test)]
mod plans;
pub(super) mod probe;
mod resources;
mod retention;
mod rollups;
mod spans;
mod stored;
mod tables;
mod traces;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{Arguments, AssertSqlSafe, Row};

pub(super) use self::backup::backup;
use self::checkpoint::Checkpoints;
use super::columns::Instants;
use super::error::Cause;
use super::filter::{Bind, Dialect, Statement};
use super::resources::Resources;
use super::rows::Cells;
use super::{Store, StoreError};
use crate::model::time::UnixNanos;
use crate::settings::store::{SqliteSettings, Synchronous};

/// Bytes of page cache of each connection that reads.
const READER_CACHE_BYTES: u64 = 8 << 20;
/// Rows of one INSERT. From 64 on it makes little difference.
const ROWS_PER_STATEMENT: usize = 256;
/// How long to wait for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// The five jobs of a store, over one file.
struct Sqlite {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    checkpointer: SqlitePool,
    checkpoints: Checkpoints,
    resources: Resources,
    busy_timeout_ms: u64,
}

/// The store in this file: nothing is opened before the first call, and [`super::Maintenance::make`] must have made the
/// file before anything else is asked of it.
pub(super) fn at(path: &Path, settings: &SqliteSettings) -> Store {
    let store = store(path, settings);
    Store {
        spans: store.clone(),
        traces: store.clone(),
        rollups: store.clone(),
        checkpoints: store.clone(),
        maintenance: store.clone(),
        retention: store.clone(),
        letters: store.clone(),
        erasure: store.clone(),
        pins: store,
        writers: 1,
        reads_apart: false,
    }
}

fn store(path: &Path, settings: &SqliteSettings) -> Arc<Sqlite> {
    let pool = |connections: u32| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .max_lifetime(None)
    };
    let writer = pool(1).idle_timeout(None).connect_lazy_with(writing(path, settings));
    let readers = pool(settings.reader_connections.max(1))
        .idle_timeout(Duration::from_secs(60))
        .connect_lazy_with(reading(path, settings));
    let checkpointer = pool(1)
        .idle_timeout(Duration::from_secs(60))
        .connect_lazy_with(durable(connecting(path, settings, 0), settings));
    let checkpoints = Checkpoints::start(checkpointer.clone());
    let resources = Resources::default();
    let busy_timeout_ms = settings.busy_timeout_ms;
    let path = path.to_owned();
    Arc::new(Sqlite { path, writer, readers, checkpointer, checkpoints, resources, busy_timeout_ms })
}

fn connecting(path: &Path, settings: &SqliteSettings, cache_bytes: u64) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_millis(settings.busy_timeout_ms))
        .foreign_keys(false)
        // Rows in flight between the connection's thread and the caller: a full channel makes both wait for each other.
        .row_buffer_size(1_024)
        .pragma("temp_store", "MEMORY")
        // Negative: in KiB.
        .pragma("cache_size", format!("-{}", cache_bytes / 1024))
}

fn writing(path: &Path, settings: &SqliteSettings) -> SqliteConnectOptions {
    durable(connecting(path, settings, settings.cache_bytes), settings)
        .create_if_missing(true)
        // A statement of 256 rows holds up to a megabyte once it is prepared.
        .statement_cache_capacity(40)
        // These two take effect at the file's creation and never again.
        .page_size(4096)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("wal_autocheckpoint", checkpoint::LOG_PAGES.to_string())
        .pragma("journal_size_limit", "268435456")
}

fn durable(options: SqliteConnectOptions, settings: &SqliteSettings) -> SqliteConnectOptions {
    options.synchronous(match settings.synchronous {
        Synchronous::Normal => SqliteSynchronous::Normal,
        Synchronous::Full => SqliteSynchronous::Full,
    })
}

fn reading(path: &Path, settings: &SqliteSettings) -> SqliteConnectOptions {
    connecting(path, settings, READER_CACHE_BYTES).read_only(true)
}

impl Sqlite {
    /// Brings what was committed into the file, as far as nobody is in the way for long.
    async fn checkpoint_now(&self, mode: &str) -> sqlx::Result<()> {
        let mut connection = self.checkpointer.acquire().await?;
        // Safe: our own words.
        let sql = format!("PRAGMA busy_timeout = 100; PRAGMA wal_checkpoint({mode})");
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
        let timeout = format!("PRAGMA busy_timeout = {}", self.busy_timeout_ms);
        sqlx::raw_sql(AssertSqlSafe(timeout)).execute(&mut *connection).await?;
        done.map(|_| ())
    }
}

const DIALECT: Dialect<'_> = Dialect {
    schema: "",
    ended: &["spans"],
    instants: Instants::Whole,
    list: str::to_owned,
    list_holds: |column, value| format!("EXISTS (SELECT 1 FROM json_each(traces.{column}) WHERE value = {value})"),
    position: "instr",
    refused_at: "refused_at",
    list_rows: |column| format!("json_each({column})"),
};

/// An instant as its column holds it: up to 2262-04-11, later ones held there. What that cuts, a span's provenance
/// keeps.
fn nanos(at: UnixNanos) -> i64 {
    i64::try_from(at.as_u64()).unwrap_or(i64::MAX)
}

/// What a statement of [`super::filter`] binds, as SQLite takes it.
fn arguments(statement: &Statement) -> sqlx::Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for bind in &statement.binds {
        match bind {
            Bind::Text(text) => arguments.add(text.as_str()),
            Bind::TraceId(id) => arguments.add(&id.as_bytes()[..]),
            Bind::Instant(at) => arguments.add(nanos(*at)),
            Bind::BelowMicrosecond(at) => arguments.add((at.as_u64() % 1_000).cast_signed()),
            Bind::Count(count) => arguments.add(*count),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

impl Cells for SqliteRow {
    fn text(&self, at: usize) -> sqlx::Result<Option<&str>> {
        self.try_get(at)
    }

    fn int(&self, at: usize) -> sqlx::Result<Option<i64>> {
        self.try_get(at)
    }

    fn bytes(&self, at: usize) -> sqlx::Result<Option<&[u8]>> {
        self.try_get(at)
    }

    const INSTANTS: Instants = Instants::Whole;

    fn instant(&self, at: usize) -> sqlx::Result<Option<UnixNanos>> {
        let nanos: Option<i64> = self.try_get(at)?;
        let nanos = nanos.map(u64::try_from).transpose();
        nanos.map(|ns| ns.map(UnixNanos::new)).map_err(|_| sqlx::Error::Decode("before 1970".into()))
    }
}

/// Sorts an error into the class that its operation's caller decides by.
fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError + Copy {
    move |error| match &error {
        sqlx::Error::PoolTimedOut => unavailable(doing, Cause::Busy, error),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => {
            unavailable(doing, Cause::Resources, error)
        }
        sqlx::Error::Encode(_) => StoreError::Refused { doing, source: Box::new(error) },
        sqlx::Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse::<i32>().ok());
            match class_of(code.unwrap_or_default()) {
                Class::Unavailable(cause) => unavailable(doing, cause, error),
                Class::Refused => StoreError::Refused { doing, source: Box::new(error) },
                Class::Other => StoreError::Other { doing, source: Box::new(error) },
            }
        }
        _ => StoreError::Other { doing, source: Box::new(error) },
    }
}

fn unavailable(doing: &'static str, cause: Cause, error: sqlx::Error) -> StoreError {
    StoreError::Unavailable { doing, cause, source: Box::new(error) }
}

/// As [`StoreError`] has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Unavailable(Cause),
    Refused,
    Other,
}

/// By SQLite's result codes, whose low byte says the kind: <https://www.sqlite.org/rescode.html>.
fn class_of(code: i32) -> Class {
    const ABORT: i32 = 4;
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const NOMEM: i32 = 7;
    const READONLY: i32 = 8;
    const INTERRUPT: i32 = 9;
    const IOERR: i32 = 10;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const PROTOCOL: i32 = 15;
    const TOOBIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    match code & 0xff {
        ABORT | BUSY | LOCKED | INTERRUPT | PROTOCOL => Class::Unavailable(Cause::Busy),
        READONLY => Class::Unavailable(Cause::ReadOnly),
        NOMEM | IOERR | FULL => Class::Unavailable(Cause::Resources),
        CANTOPEN => Class::Unavailable(Cause::File),
        TOOBIG | CONSTRAINT | MISMATCH => Class::Refused,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_codes_say_whether_to_try_again() {
        // BUSY, BUSY_SNAPSHOT, FULL, IOERR_WRITE, CANTOPEN.
        for code in [5, 517, 13, 778, 14] {
            assert!(matches!(class_of(code), Class::Unavailable(_)), "{code}");
        }
        // CONSTRAINT_UNIQUE, CONSTRAINT_NOTNULL, TOOBIG, MISMATCH.
        for code in [2067, 1299, 18, 20] {
            assert_eq!(class_of(code), Class::Refused, "{code}");
        }
        // ERROR (a missing table), CORRUPT, NOTADB.
        for code in [1, 11, 26] {
            assert_eq!(class_of(code), Class::Other, "{code}");
        }
    }
}

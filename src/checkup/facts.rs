//! What is known of a store, a journal and a disk at one moment, as plain values: gathered by the rooms that own these
//! things, judged by this one. What could not be found out says why.

use std::path::PathBuf;

use serde::Deserialize;

use crate::model::time::UnixNanos;

/// A fact, or why it is not known.
pub type Known<T> = Result<T, String>;

/// Why a way leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// As `/readyz` names causes: `unreachable`, `login`, …
    pub cause: &'static str,
    /// In the store's words.
    pub reason: String,
}

/// Everything that is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Where the store is, without a password.
    pub place: String,
    pub now: UnixNanos,
    pub store: StoreFacts,
    /// Absent where the settings have none.
    pub journal: Option<JournalFacts>,
    /// Absent where nobody asked for it.
    pub bench: Option<Known<Bench>>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StoreFacts {
    Postgres(PostgresFacts),
    Sqlite(SqliteFacts),
}

/// A PostgreSQL store.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresFacts {
    pub schema: String,
    /// Writing first; URLs that are equal are one way.
    pub ways: Vec<Way>,
    pub history: Known<History>,
    pub connections: Known<Connections>,
    pub statements: Known<Statements>,
    pub contents: Known<Contents>,
    pub tables: Known<Vec<TableSize>>,
    /// Those that no migration of ours made.
    pub foreign_indexes: Known<Vec<ForeignIndex>>,
}

/// What a URL is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Write,
    Read,
    Admin,
}

impl Use {
    pub fn name(self) -> &'static str {
        match self {
            Use::Write => "writing",
            Use::Read => "reading",
            Use::Admin => "administration",
        }
    }
}

/// A URL, and where it leads.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    pub uses: Vec<Use>,
    /// The setting that holds it.
    pub key: &'static str,
    pub host: String,
    pub port: u16,
    pub user: String,
    pub database: String,
    pub reached: Result<Reached, Trouble>,
}

impl Way {
    pub fn is_for(&self, what: Use) -> bool {
        self.uses.contains(&what)
    }
}

/// What stands at the end of a way.
#[derive(Debug, Clone, PartialEq)]
pub struct Reached {
    pub connect_ms: f64,
    pub round_trips_ms: Vec<f64>,
    /// Whether a client has its session for itself: `false` behind a pooler in transaction mode.
    pub own_session: Known<bool>,
    /// As the server tells; 0 where it does not listen on one.
    pub server_port: u16,
    pub version: String,
    pub version_number: u32,
    pub in_recovery: bool,
    pub read_only: bool,
    /// How far the server's clock is ahead of this machine's, and the error that this may have.
    pub clock_ahead_ms: f64,
    pub clock_error_ms: f64,
    /// The role that owns the schema; `None` without a schema.
    pub owner: Known<Option<String>>,
    /// What this role's uses need and it may not, in words such as `INSERT on spans`.
    pub missing_rights: Known<Vec<String>>,
}

/// How a missing right begins that only the owner of the tables has.
pub const OWNERSHIP: &str = "ownership of";

/// The schema's migrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub known: Vec<(i64, String)>,
    pub applied: Vec<i64>,
    /// Applied, and reading differently then.
    pub altered: Vec<i64>,
    /// Tables that ought to be there.
    pub missing_tables: Vec<String>,
}

/// Connections of clients, those that look not counted, against the limit that is nearest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Connections {
    pub scope: Scope,
    /// Of the database or the role whose limit it is.
    pub name: String,
    pub used: u64,
    /// Of all, those of services like this.
    pub ours: u64,
    pub limit: u64,
}

/// Whose limit a limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The server's `max_connections`, less those that only superusers may have.
    Server,
    Database,
    Role,
}

/// What pg_stat_statements tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Statements {
    /// The extension is not made in this database.
    Absent,
    /// It is, and the server does not load its library.
    NotLoaded,
    Counted {
        /// Ours that take longer than [`super::SLOW_STATEMENT_MS`] on average, the costliest first.
        slow: Vec<SlowStatement>,
        /// Milliseconds of COPY a span; absent where none was copied.
        copy_ms_per_span: Option<f64>,
    },
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SlowStatement {
    pub text: String,
    pub calls: u64,
    pub mean_ms: f64,
}

/// What is stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Contents {
    /// Of all that is ours.
    pub bytes: u64,
    pub spans: u64,
    pub span_bytes: Option<u64>,
    pub traces: Option<u64>,
    pub trace_bytes: Option<u64>,
    /// Ended spans of days that have a table of their own, oldest first.
    pub days: Vec<DaySpans>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaySpans {
    /// Since 1970-01-01.
    pub day: u32,
    pub spans: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TableSize {
    pub name: String,
    /// By the server's statistics.
    pub rows: u64,
    pub table_bytes: u64,
    pub index_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ForeignIndex {
    pub name: String,
    pub table: String,
    pub bytes: u64,
    /// Since it was made, or the statistics were reset.
    pub scans: u64,
    pub valid: bool,
    /// Of a partitioned table: it cannot be dropped concurrently.
    pub partitioned: bool,
}

/// A SQLite store.
#[derive(Debug, Clone, PartialEq)]
pub struct SqliteFacts {
    pub path: PathBuf,
    pub opened: Result<SqliteFile, Trouble>,
    /// Of the folder's disk.
    pub space: Known<Space>,
    /// Whether this user may write to file and folder; the reason if not.
    pub writable: Known<()>,
    pub history: Known<History>,
    pub contents: Known<Contents>,
    /// What is damaged; absent where nobody asked.
    pub damage: Option<Known<Vec<String>>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SqliteFile {
    pub version: String,
    pub open_ms: f64,
    pub reads_ms: Vec<f64>,
    pub file_bytes: u64,
    pub free_bytes: u64,
    pub log_bytes: u64,
    pub journal_mode: String,
}

/// A disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// A journal's directory, looked at from outside: it may be in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalFacts {
    pub directory: PathBuf,
    pub exists: bool,
    /// Whether this user may write there; the reason if not.
    pub writable: Known<()>,
    pub segments: u64,
    pub bytes: u64,
    /// Of the segments before the last: something in the oldest of them still waits for the store.
    pub waiting_bytes: u64,
    /// Of the segments that the store has, and forward targets have not.
    pub kept_bytes: u64,
    pub damaged_segments: u64,
    /// By its settings; 0 for 8 GiB or half of the free disk.
    pub max_bytes: u64,
    pub space: Known<Space>,
}

/// What writing takes, tried in a transaction that was rolled back.
#[derive(Debug, Clone, PartialEq)]
pub struct Bench {
    /// Milliseconds of transactions that wrote a span each.
    pub single_ms: Vec<f64>,
    /// Milliseconds of transactions that wrote [`Bench::batch_spans`] each.
    pub batch_ms: Vec<f64>,
    pub batch_spans: usize,
    /// Milliseconds that the commit of a message in the log took, which no table holds; empty where that cannot be.
    pub commit_ms: Vec<f64>,
}

/// The one in the middle; `None` of none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

//! The store in a PostgreSQL database, 14 or newer, without any extension: a schema of our own among what else lives
//! there.
//!
//! Owns the connections, and what PostgreSQL's error codes mean. Every write is one transaction; whoever writes to a
//! trace first takes the lock on its row in `traces`, so no two writers, of this process or another, are in one trace at
//! a time. Nothing relies on a session's state, so that a pooler in transaction mode may stand between.
//!
//! Ended spans live in `spans`, a partition a day (see [`days`]), open ones in `open_spans`, and `traces` says in which
//! days a trace has rows. `spans_kept` has ended spans whose day is gone.

mod copy;
mod days;
pub(super) mod foreign;
mod jobs;
mod maintenance;
#[cfg(test)]
mod plans;
mod resources;
mod rollups;
mod spans;
mod stored;
mod traces;
mod types;
mod work;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{Arguments, Connection};

use self::days::Days;
use self::spans::Conflicts;
use self::types::{Instant, uuid};
use self::work::Limits;
use super::columns::Instants;
use super::filter::{Bind, Dialect, Statement};
use super::resources::Resources;
use super::{Result, Store, StoreError};
use crate::settings::store::{PostgresLocation, PostgresSettings};

/// A connection idle for longer is asked whether it still lives before it is used.
const ASK_AFTER: Duration = Duration::from_secs(2);

/// The five jobs of a store, over one database.
struct Postgres {
    writer: PgPool,
    readers: PgPool,
    /// Changes tables.
    admin: PgPool,
    limits: Limits,
    schema: Schema,
    resources: Resources,
    days: Days,
    conflicts: Conflicts,
}

/// Opens the database lazily: nothing is asked of the server before the first call. Applies no migration.
///
/// # Errors
/// [`StoreError::Other`] if a URL or the schema's name cannot be.
pub(super) async fn open(location: &PostgresLocation, settings: &PostgresSettings) -> Result<Store> {
    let store = Arc::new(Postgres {
        writer: pool(location.write_url.expose(), settings, settings.writer_connections)?,
        readers: pool(location.read_url.expose(), settings, settings.reader_connections)?,
        admin: pool(location.admin_url.expose(), settings, 1)?,
        limits: Limits::new(settings.statement_timeout_secs, settings.prepared_statements),
        schema: Schema::new(&location.schema)?,
        resources: Resources::default(),
        days: Days::default(),
        conflicts: Conflicts::default(),
    });
    let writers = settings.writer_connections.max(1) as usize;
    Ok(Store {
        spans: store.clone(),
        traces: store.clone(),
        rollups: store.clone(),
        checkpoints: store.clone(),
        maintenance: store,
        writers,
    })
}

fn pool(url: &str, settings: &PostgresSettings, connections: u32) -> Result<PgPool> {
    let options = PgConnectOptions::from_str(url).map_err(failed("open the store"))?;
    let options = options
        .application_name("tracefall")
        // Poolers refuse what they do not know, and no column of ours is a float.
        .extra_float_digits(None)
        .statement_cache_capacity(if settings.prepared_statements { 100 } else { 0 });
    let pool = PgPoolOptions::new()
        .max_connections(connections.max(1))
        .min_connections(0)
        .acquire_timeout(Duration::from_secs(settings.acquire_timeout_secs))
        .idle_timeout(Duration::from_secs(settings.idle_timeout_secs))
        .max_lifetime(Duration::from_secs(settings.max_lifetime_secs))
        // One that was in use just now was asked when it came back. Asking each time would cost each call a round trip.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > ASK_AFTER {
                    connection.ping().await?;
                }
                Ok(true)
            })
        });
    Ok(pool.connect_lazy_with(options))
}

/// A schema's name, as statements say it: quoted, with its dot.
struct Schema {
    name: String,
    prefix: String,
}

impl Schema {
    fn new(name: &str) -> Result<Self> {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let mut bytes = name.bytes();
        let valid = bytes.next().is_some_and(is_word)
            && bytes.all(|byte| is_word(byte) || byte.is_ascii_digit())
            && name.len() <= 63
            && !name.starts_with("pg_");
        if !valid {
            let source = format!("{name:?} is no schema's name; accepted are lower-case letters, digits and _").into();
            return Err(StoreError::Other { doing: "open the store", source });
        }
        Ok(Self { name: name.to_owned(), prefix: format!("\"{name}\".") })
    }
}

impl std::fmt::Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.prefix)
    }
}

impl Schema {
    fn dialect(&self) -> Dialect<'_> {
        Dialect {
            schema: &self.prefix,
            ended: &["spans", "spans_kept"],
            instants: Instants::Split,
            list: |column| format!("array_to_json({column})"),
            list_holds: |column, value| format!("{value} = ANY({column})"),
        }
    }
}

/// What a statement of [`super::filter`] binds, as PostgreSQL takes it.
fn arguments(statement: &Statement) -> sqlx::Result<PgArguments> {
    let mut arguments = PgArguments::default();
    for bind in &statement.binds {
        match bind {
            Bind::Text(text) => arguments.add(text.as_str()),
            Bind::TraceId(id) => arguments.add(uuid(id.as_bytes())),
            Bind::Instant(at) => arguments.add(Instant::of(*at)),
            Bind::BelowMicrosecond(at) => arguments.add(types::below_microsecond(*at)),
            Bind::Count(count) => arguments.add(*count),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Rows of a SELECT in the binary format.
type Rows = Vec<PgRow>;

/// Sorts an error into the class that its operation's caller decides by.
fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError + Copy {
    move |error| match &error {
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_) => StoreError::Unavailable { doing, source: Box::new(error) },
        sqlx::Error::Encode(_) => StoreError::Refused { doing, source: Box::new(error) },
        sqlx::Error::Database(database) => {
            let class = database.code().map_or(class_of(""), |code| class_of(&code));
            class(doing, Box::new(error))
        }
        _ => StoreError::Other { doing, source: Box::new(error) },
    }
}

type Class = fn(&'static str, Box<dyn std::error::Error + Send + Sync>) -> StoreError;

/// By PostgreSQL's codes, whose first two characters say the kind:
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn class_of(code: &str) -> Class {
    const SERIALIZATION_FAILURE: &str = "40001";
    const DEADLOCK: &str = "40P01";
    const UNIQUE: &str = "23505";
    const READ_ONLY: &str = "25006";
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    const QUERY_CANCELED: &str = "57014";
    const SHUTDOWNS: [&str; 3] = ["57P01", "57P02", "57P03"];
    match (code, code.get(..2).unwrap_or_default()) {
        (SERIALIZATION_FAILURE | DEADLOCK | UNIQUE, _) => |doing, source| StoreError::Conflict { doing, source },
        (READ_ONLY | LOCK_NOT_AVAILABLE | QUERY_CANCELED, _) | (_, "08" | "53" | "58") => {
            |doing, source| StoreError::Unavailable { doing, source }
        }
        (code, _) if SHUTDOWNS.contains(&code) => |doing, source| StoreError::Unavailable { doing, source },
        // Data, constraints, and limits such as the width of an index's entry.
        (_, "22" | "23" | "54") => |doing, source| StoreError::Refused { doing, source },
        _ => |doing, source| StoreError::Other { doing, source },
    }
}

/// The code of a database's error.
fn code_of(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_whether_to_try_again() {
        let error = |code: &str| class_of(code)("test", "reason".into());
        for code in ["40P01", "40001", "23505"] {
            assert!(matches!(error(code), StoreError::Conflict { .. }), "{code}");
        }
        for code in ["08006", "53300", "53100", "57P01", "57P03", "57014", "55P03", "25006"] {
            assert!(matches!(error(code), StoreError::Unavailable { .. }), "{code}");
        }
        for code in ["22021", "22003", "23502", "23514", "54000"] {
            assert!(matches!(error(code), StoreError::Refused { .. }), "{code}");
        }
        for code in ["42P01", "3F000", "42501", "28P01", "3D000", ""] {
            assert!(matches!(error(code), StoreError::Other { .. }), "{code}");
        }
    }

    #[test]
    fn a_schema_is_a_plain_word() {
        for name in ["tracefall", "_t1", "a"] {
            assert_eq!(Schema::new(name).unwrap().to_string(), format!("\"{name}\"."));
        }
        for name in ["", "1a", "a-b", "a\"; DROP", "Grüße", "Tracefall", "pg_x", &"a".repeat(64)] {
            assert!(Schema::new(name).is_err(), "{name}");
        }
    }
}

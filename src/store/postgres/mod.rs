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
mod erasure;
pub(super) mod foreign;
mod jobs;
mod letters;
mod maintenance;
pub(super) mod nagle;
mod pins;
#[cfg(test)]
mod plans;
mod pool;
pub(super) mod probe;
mod published;
mod resources;
mod retention;
mod rollups;
mod session;
mod spans;
mod stored;
mod traces;
mod types;
mod work;

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Arguments;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgDatabaseError, PgRow};

use self::days::Days;
use self::pool::Pool;
use self::spans::Conflicts;
use self::types::{Instant, uuid};
use self::work::Limits;
use super::columns::Instants;
use super::error::{Cause, innermost};
use super::filter::{Bind, Dialect, Statement};
use super::resources::Resources;
use super::{Result, Store, StoreError};
use crate::settings::store::{PostgresLocation, PostgresSettings};

/// The five jobs of a store, over one database.
struct Postgres {
    writer: Pool,
    readers: Pool,
    /// Changes tables, over the writer's connections or in their places.
    admin: Pool,
    limits: Limits,
    schema: Schema,
    resources: Resources,
    days: Days,
    conflicts: Conflicts,
    /// Which tables it is that the above are true of.
    epoch: Epoch,
}

/// The store in this database: nothing is asked of the server before the first call.
///
/// # Errors
/// [`StoreError::Other`] if a URL or the schema's name cannot be.
pub(super) fn at(location: &PostgresLocation, settings: &PostgresSettings) -> Result<Store> {
    let store = store(location, settings)?;
    let writers = settings.writer_connections.max(1) as usize;
    let reads_apart = location.read_url != location.write_url;
    Ok(Store {
        spans: store.clone(),
        traces: store.clone(),
        rollups: store.clone(),
        checkpoints: store.clone(),
        maintenance: store.clone(),
        retention: store.clone(),
        letters: store.clone(),
        erasure: store.clone(),
        pins: store,
        writers,
        reads_apart,
    })
}

fn store(location: &PostgresLocation, settings: &PostgresSettings) -> Result<Arc<Postgres>> {
    let writer = Pool::new(options(location.write_url.expose())?, settings, settings.writer_connections);
    let admin = match location.admin_url == location.write_url {
        true => writer.clone(),
        false => Pool::beside(&writer, options(location.admin_url.expose())?, settings),
    };
    Ok(Arc::new(Postgres {
        readers: Pool::new(options(location.read_url.expose())?, settings, settings.reader_connections),
        writer,
        admin,
        limits: Limits::new(settings.statement_timeout_secs),
        schema: Schema::new(&location.schema)?,
        resources: Resources::default(),
        days: Days::default(),
        conflicts: Conflicts::default(),
        epoch: Epoch::default(),
    }))
}

fn options(url: &str) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url).map_err(failed("open the store"))?;
    // Poolers refuse what they do not know, and no column of ours is a float.
    Ok(options.application_name("tracefall").extra_float_digits(None))
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
            position: "strpos",
            refused_at: "refused_at, 0::smallint AS refused_ns",
            list_rows: |column| format!("LATERAL unnest({column}) AS element (value)"),
        }
    }
}

/// Which tables ours are. Others may drop, empty or restore them while this process runs, and what it remembers of them
/// is then not true any more.
#[derive(Default)]
struct Epoch(Mutex<Option<String>>);

impl Epoch {
    /// For who writes: holds off who bars traces, then a SELECT of a text that is another one once our tables are; behind a
    /// slash it says when a trace was deleted last.
    fn question(schema: &Schema) -> String {
        format!(
            "{}; SELECT concat_ws(' ', pg_catalog.pg_relation_filenode(pg_catalog.to_regclass('{schema}resources')), \
             pg_catalog.to_regclass('{schema}spans')::oid) || '/' || coalesce({}::text, '')",
            erasure::hold_off(schema),
            erasure::last_deletion(schema)
        )
    }

    /// Whether it is another one than was seen last.
    fn has_changed(&self, seen: &str) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = last.as_deref().is_some_and(|last| last != seen);
        *last = Some(seen.to_owned());
        changed
    }

    fn is_still(&self, seen: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_deref() == Some(seen)
    }
}

impl Postgres {
    /// Forgets what it believes to be stored.
    fn forget(&self) {
        self.resources.forget();
        self.days.forget();
        self.conflicts.forget();
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
        sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        // Half of a message, or an answer to something else: the connection is no longer what it was.
        | sqlx::Error::Protocol(_) => unavailable(doing, Cause::Unreachable, error),
        sqlx::Error::PoolTimedOut => unavailable(doing, Cause::Busy, error),
        sqlx::Error::Encode(_) => StoreError::Refused { doing, source: Box::new(error) },
        sqlx::Error::Database(database) => {
            let class = match database.try_downcast_ref::<PgDatabaseError>() {
                // Not a rule that the data breaks: the default partition is gone.
                Some(postgres) if postgres.routine() == Some("ExecFindPartition") => Class::Unavailable(Cause::Schema),
                // Another row of a rule that is not ours stands in the way, and will stand there tomorrow.
                Some(postgres) if postgres.code() == UNIQUE_VIOLATION && !is_ours(postgres.constraint()) => Class::Refused,
                _ => class_of(&database.code().unwrap_or_default()),
            };
            let source = Box::new(error);
            match class {
                Class::Unavailable(cause) => StoreError::Unavailable { doing, cause, source },
                Class::Conflict => StoreError::Conflict { doing, source },
                Class::Refused => StoreError::Refused { doing, source },
                Class::Other => StoreError::Other { doing, source },
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
    Conflict,
    Refused,
    Other,
}

/// A row with this key is there already.
const UNIQUE_VIOLATION: &str = "23505";

/// Whether a unique index is one that our migrations made, or a partition's part of it. What the server does not name is
/// taken for ours: to repeat a call costs nothing, and to refuse data costs spans.
fn is_ours(constraint: Option<&str>) -> bool {
    const KEYS: [&str; 8] =
        ["open_spans", "traces", "pins", "resources", "dead_letters", "leases", "checkpoints", "deletions"];
    let Some(name) = constraint else { return true };
    let is_key = name.strip_suffix("_pkey").is_some_and(|table| KEYS.contains(&table));
    is_key
        || name == "spans_identity"
        || (name.starts_with("spans_") && name.contains("_trace_id_span_id_started_at_tenant_idx"))
}

/// By PostgreSQL's codes, whose first two characters say the kind:
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>. Only what is certain to be the data's fault is
/// refused: that costs spans.
fn class_of(code: &str) -> Class {
    use Class::{Conflict, Other, Refused, Unavailable};
    match (code, code.get(..2).unwrap_or_default()) {
        // Serialization failure, deadlock, a key that is there already.
        ("40001" | "40P01" | "23505", _) => Conflict,
        // A plan or a statement of which the connection remembers what is no more, or that another one prepared.
        ("0A000" | "26000" | "42P05", _) => Conflict,
        // Lock not available, statement time-out.
        ("55P03" | "57014", _) => Unavailable(Cause::Busy),
        ("25006", _) => Unavailable(Cause::ReadOnly),
        // Administrator's shutdown, crash, not yet; the database is dropped or sleeps.
        ("57P01" | "57P02" | "57P03" | "57P05", _) => Unavailable(Cause::Restarting),
        ("57P04" | "3D000", _) => Unavailable(Cause::Database),
        ("53300", _) => Unavailable(Cause::Connections),
        ("42P01" | "3F000", _) => Unavailable(Cause::Schema),
        ("42501", _) => Unavailable(Cause::Rights),
        (_, "08") => Unavailable(Cause::Unreachable),
        (_, "28") => Unavailable(Cause::Login),
        (_, "53" | "58") => Unavailable(Cause::Resources),
        // Data, constraints, and limits such as the width of an index's entry.
        (_, "22" | "23" | "54") => Refused,
        _ => Other,
    }
}

/// What the database says, without what was being done.
fn message_of(error: &StoreError) -> String {
    match error {
        StoreError::Unavailable { source, .. }
        | StoreError::Conflict { source, .. }
        | StoreError::Refused { source, .. }
        | StoreError::Other { source, .. } => innermost(source.as_ref()),
        StoreError::Away { reason, .. } | StoreError::Corrupt { reason, .. } => reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_whether_to_try_again() {
        for code in ["40P01", "40001", "23505", "0A000", "26000"] {
            assert_eq!(class_of(code), Class::Conflict, "{code}");
        }
        for (code, cause) in [
            ("08006", Cause::Unreachable),
            ("53300", Cause::Connections),
            ("53100", Cause::Resources),
            ("58030", Cause::Resources),
            ("57P01", Cause::Restarting),
            ("57P03", Cause::Restarting),
            ("57014", Cause::Busy),
            ("55P03", Cause::Busy),
            ("25006", Cause::ReadOnly),
            ("28P01", Cause::Login),
            ("28000", Cause::Login),
            ("3D000", Cause::Database),
            ("42P01", Cause::Schema),
            ("3F000", Cause::Schema),
            ("42501", Cause::Rights),
        ] {
            assert_eq!(class_of(code), Class::Unavailable(cause), "{code}");
        }
        for code in ["22021", "22003", "23502", "23514", "54000"] {
            assert_eq!(class_of(code), Class::Refused, "{code}");
        }
        for code in ["XX000", "42703", "P0001", "25P02", ""] {
            assert_eq!(class_of(code), Class::Other, "{code}");
        }
    }

    #[test]
    fn our_own_unique_indexes_are_known_by_name_and_those_of_others_are_not() {
        for name in ["open_spans_pkey", "spans_identity", "spans_20260105_trace_id_span_id_started_at_tenant_idx"] {
            assert!(is_ours(Some(name)), "{name}");
        }
        assert!(is_ours(None));
        for name in ["one_job", "spans_pkey", "spans_20260105_job_id_started_at_idx", "others_pkey"] {
            assert!(!is_ours(Some(name)), "{name}");
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

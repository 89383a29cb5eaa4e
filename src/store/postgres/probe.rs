//! Looking at a PostgreSQL store: connections of its own, one question a round trip, each with its time limit. Everything
//! is asked of the catalogue by name, which wants no right to anything of ours, and in transactions that only read.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Row};
use tokio::time::timeout;

use super::maintenance::{MIGRATIONS, digest};
use super::{Schema, failed, nagle, options, store};
use crate::checkup::SLOW_STATEMENT_MS;
use crate::checkup::facts::{
    Bench, Connections, Contents, DaySpans, ForeignIndex, History, Known, OWNERSHIP, PostgresFacts, Reached,
    SlowStatement, Statements, StoreFacts, TableSize, Use, Way,
};
use crate::model::span::Span;
use crate::model::time::UnixNanos;
use crate::settings::DatabaseUrl;
use crate::settings::store::{PostgresLocation, PostgresSettings, StoreSettings};
use crate::store::error::Cause;
use crate::store::grants::{EMPTIED, WRITTEN};
use crate::store::probe::{Look, Probe, told, trouble};
use crate::store::{Maintenance, Result, StoreError};

const DOING: &str = "look at the store";
/// A statement's time limit on the server, and an answer's here, which is later.
const STATEMENT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(8);
/// Round trips to take the median of.
const ROUND_TRIPS: usize = 7;
/// How often two connections are compared.
const COMPARISONS: usize = 4;
/// Statements that are told of.
const SLOW_STATEMENTS: usize = 5;
/// Tables that are there beside those that the writer writes to.
const ALSO_THERE: [&str; 4] = ["spans_kept", "spans_default", "deletions", "tracefall_migrations"];

pub(in crate::store) struct PostgresProbe {
    location: PostgresLocation,
    settings: PostgresSettings,
    /// Each with the setting that holds it.
    ways: Vec<(Vec<Use>, &'static str, DatabaseUrl)>,
    schema: Schema,
}

impl PostgresProbe {
    pub(in crate::store) fn new(location: PostgresLocation, settings: &StoreSettings) -> Result<Self> {
        let write_key = if settings.write_url.is_some() { "store.write_url" } else { "store.url" };
        let read_key = if settings.read_url.is_some() { "store.read_url" } else { "store.url" };
        let admin_key = if settings.admin_url.is_some() { "store.admin_url" } else { write_key };
        let mut ways: Vec<(Vec<Use>, &'static str, DatabaseUrl)> = Vec::new();
        for (what, key, url) in [
            (Use::Write, write_key, &location.write_url),
            (Use::Read, read_key, &location.read_url),
            (Use::Admin, admin_key, &location.admin_url),
        ] {
            match ways.iter_mut().find(|(_, _, known)| known == url) {
                Some((uses, ..)) => uses.push(what),
                None => ways.push((vec![what], key, url.clone())),
            }
        }
        let schema = Schema::new(&location.schema)?;
        Ok(Self { location, settings: settings.postgres.clone(), ways, schema })
    }

    /// Where a way leads.
    async fn walk(
        &self,
        (uses, key, _): &(Vec<Use>, &'static str, DatabaseUrl),
        options: &PgConnectOptions,
        look: &Look<'_>,
    ) -> Way {
        let mut way = Way {
            uses: uses.clone(),
            key,
            host: options.get_host().to_owned(),
            port: options.get_port(),
            user: options.get_username().to_owned(),
            database: options.get_database().unwrap_or(options.get_username()).to_owned(),
            reached: Err(trouble(&silent("nobody has tried yet"))),
        };
        let begun = Instant::now();
        way.reached = match self.connect(options).await {
            Err(error) => Err(trouble(&error)),
            Ok(mut line) => {
                let reached = self.arrive(&mut line, options, begun.elapsed(), uses, look).await;
                line.close().await;
                reached.map_err(|error| trouble(&error))
            }
        };
        way
    }

    async fn connect(&self, options: &PgConnectOptions) -> Result<Line> {
        let patience = Duration::from_secs(self.settings.acquire_timeout_secs);
        match timeout(patience, PgConnection::connect_with(options)).await {
            Ok(Ok(connection)) => {
                nagle::send_at_once(options.get_port());
                Ok(Line(Some(connection)))
            }
            Ok(Err(error)) => Err(failed(DOING)(error)),
            Err(_) => Err(silent(&format!("the server has not let us in within {} s", patience.as_secs()))),
        }
    }

    async fn arrive(
        &self,
        line: &mut Line,
        options: &PgConnectOptions,
        took: Duration,
        uses: &[Use],
        look: &Look<'_>,
    ) -> Result<Reached> {
        let mut round_trips_ms = Vec::new();
        for _ in 0..ROUND_TRIPS {
            let begun = Instant::now();
            line.session_id().await?;
            round_trips_ms.push(ms(begun.elapsed()));
        }
        let (clock_ahead_ms, clock_error_ms) = line.clock(look).await?;
        let server: Server = line
            .one(
                "SELECT current_setting('server_version') AS version, \
                 current_setting('server_version_num')::bigint AS version_number, \
                 pg_catalog.pg_is_in_recovery() AS in_recovery, \
                 current_setting('default_transaction_read_only') = 'on' AS read_only, \
                 coalesce(inet_server_port(), 0) AS port",
            )
            .await?;
        Ok(Reached {
            connect_ms: ms(took),
            round_trips_ms,
            own_session: self.has_own_session(line, options).await,
            server_port: server.port,
            version: server.version,
            version_number: server.version_number,
            in_recovery: server.in_recovery,
            read_only: server.read_only,
            clock_ahead_ms,
            clock_error_ms,
            owner: self.owner(line).await.map_err(|error| told(&error)),
            missing_rights: self.missing_rights(line, uses).await.map_err(|error| told(&error)),
        })
    }

    /// Two connections that stand at the same time are in two sessions, unless a pooler hands sessions around. It gives
    /// out the one that was used last, or any: so they are compared more than once.
    async fn has_own_session(&self, line: &mut Line, options: &PgConnectOptions) -> Known<bool> {
        let compare = async {
            let mut other = self.connect(options).await?;
            let mut sessions = [HashSet::new(), HashSet::new()];
            for _ in 0..COMPARISONS {
                sessions[0].insert(line.session_id().await?);
                sessions[1].insert(other.session_id().await?);
            }
            other.close().await;
            Ok(sessions.iter().all(|seen| seen.len() == 1) && sessions[0].is_disjoint(&sessions[1]))
        };
        compare.await.map_err(|error: StoreError| told(&error))
    }

    async fn owner(&self, line: &mut Line) -> Result<Option<String>> {
        let sql = format!(
            "SELECT pg_catalog.pg_get_userbyid(nspowner)::text AS name FROM pg_catalog.pg_namespace WHERE nspname = '{}'",
            self.schema.name
        );
        let rows: Vec<Name> = line.ask(&sql).await?;
        Ok(rows.into_iter().next().map(|row| row.name))
    }

    /// Of the rights that these uses need.
    async fn missing_rights(&self, line: &mut Line, uses: &[Use]) -> Result<Vec<String>> {
        let mut wanted: Vec<(&str, &str)> = Vec::new();
        let there = || WRITTEN.iter().chain(&ALSO_THERE).copied();
        if uses.contains(&Use::Write) || uses.contains(&Use::Read) {
            wanted.extend(there().filter(|table| *table != "spans_default").map(|table| (table, "SELECT")));
        }
        if uses.contains(&Use::Write) {
            wanted.extend(WRITTEN.iter().flat_map(|table| [(*table, "INSERT"), (*table, "UPDATE")]));
            wanted.extend(EMPTIED.iter().map(|table| (*table, "DELETE")));
        }
        let values: Vec<String> = wanted.iter().map(|(table, right)| format!("('{table}', '{right}')")).collect();
        let (schema, is_admin) = (&self.schema.name, uses.contains(&Use::Admin));
        let values = if values.is_empty() { "('', 'SELECT')".to_owned() } else { values.join(", ") };
        let mut missing: Vec<Name> = line
            .ask(&format!(
                "SELECT 'USAGE on the schema' AS name FROM pg_catalog.pg_namespace \
                 WHERE nspname = '{schema}' AND NOT has_schema_privilege(oid, 'USAGE') \
                 UNION ALL SELECT wanted.right || ' on ' || relname FROM (VALUES {values}) AS wanted (tab, \"right\") \
                 JOIN pg_catalog.pg_class AS c ON relname = wanted.tab \
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace AND nspname = '{schema}' \
                 WHERE NOT has_table_privilege(c.oid, wanted.right)"
            ))
            .await?;
        if is_admin {
            let more: Vec<Name> = line
                .ask(&format!(
                    "SELECT '{OWNERSHIP} ' || relname AS name FROM pg_catalog.pg_class AS c \
                     JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace AND nspname = '{schema}' \
                     WHERE relname = 'spans' AND NOT pg_has_role(relowner, 'USAGE') \
                     UNION ALL SELECT '{OWNERSHIP} the schema' FROM pg_catalog.pg_namespace \
                     WHERE nspname = '{schema}' AND NOT has_schema_privilege(oid, 'CREATE')"
                ))
                .await?;
            missing.extend(more);
        }
        Ok(missing.into_iter().map(|right| right.name).collect())
    }

    async fn history(&self, line: &mut Line) -> Result<History> {
        let tables: Vec<Name> = line
            .ask(&format!(
                "SELECT relname::text AS name FROM pg_catalog.pg_class AS c \
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace \
                 WHERE nspname = '{}' AND relkind IN ('r', 'p')",
                self.schema.name
            ))
            .await?;
        let tables: HashSet<String> = tables.into_iter().map(|table| table.name).collect();
        let known = MIGRATIONS.iter().map(|(version, name, ..)| (*version, (*name).to_owned())).collect();
        let mut history = History { known, applied: Vec::new(), altered: Vec::new(), missing_tables: Vec::new() };
        if !tables.contains("tracefall_migrations") {
            return Ok(history);
        }
        let sql = format!("SELECT version, encode(checksum, 'hex') AS checksum FROM {}", self.schema.history());
        for Applied { version, checksum } in line.ask(&sql).await? {
            history.applied.push(version);
            if digest(&self.schema, version).is_some_and(|ours| ours != checksum) {
                history.altered.push(version);
            }
        }
        let expected = WRITTEN.iter().chain(&ALSO_THERE).filter(|table| !tables.contains(**table));
        history.missing_tables = expected.map(|table| (*table).to_owned()).collect();
        Ok(history)
    }

    /// Every table of ours with its rows by the statistics, days included.
    async fn tables(&self, line: &mut Line) -> Result<Vec<TableSize>> {
        line.ask(&format!(
            "SELECT relname::text AS name, \
             greatest(reltuples, pg_catalog.pg_stat_get_live_tuples(c.oid), 0)::bigint AS rows, \
             coalesce(pg_catalog.pg_table_size(c.oid), 0) AS table_bytes, \
             coalesce(pg_catalog.pg_indexes_size(c.oid), 0) AS index_bytes \
             FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace \
             WHERE nspname = '{}' AND relkind = 'r' ORDER BY relname",
            self.schema.name
        ))
        .await
    }

    async fn connections(&self, line: &mut Line) -> Result<Connections> {
        // Of others' sessions a role without privileges sees little; that they are there it does see.
        line.one(&format!(
            "WITH held AS (SELECT usename, datname, application_name FROM pg_catalog.pg_stat_activity \
             WHERE datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend' \
             AND application_name IS DISTINCT FROM '{NAME}'), \
             limits (scope, name, used, \"limit\") AS ( \
             SELECT 'server', '', (SELECT count(*) FROM held), \
             current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint \
             UNION ALL SELECT 'database', datname::text, (SELECT count(*) FROM held AS h WHERE h.datname = d.datname), \
             datconnlimit FROM pg_catalog.pg_database AS d WHERE datname = current_database() \
             UNION ALL SELECT 'role', rolname::text, (SELECT count(*) FROM held WHERE usename = rolname), \
             rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user) \
             SELECT *, (SELECT count(*) FROM held WHERE application_name = 'tracefall') AS ours \
             FROM limits WHERE \"limit\" > 0 ORDER BY used::float8 / \"limit\" DESC, scope DESC LIMIT 1"
        ))
        .await
    }

    async fn statements(&self, line: &mut Line) -> Result<Statements> {
        let extension: Vec<Name> = line
            .ask(
                "SELECT quote_ident(nspname) AS name FROM pg_catalog.pg_extension \
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = extnamespace WHERE extname = 'pg_stat_statements'",
            )
            .await?;
        let Some(Name { name: place }) = extension.first() else { return Ok(Statements::Absent) };
        let schema = &self.schema;
        // A batch moves thousands of rows by one statement: what counts is what a row takes.
        let slow = line
            .ask::<SlowStatement>(&format!(
                "SELECT left(regexp_replace(query, '\\s+', ' ', 'g'), 120) AS text, calls, mean_exec_time AS mean_ms \
                 FROM {place}.pg_stat_statements \
                 WHERE dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) \
                 AND query LIKE '%{schema}%' AND query !~* '(?n)^\\s*(create|alter|drop|vacuum|analyze|reindex)\\M' \
                 AND query NOT ILIKE '%pg_stat_statements%' \
                 AND mean_exec_time > {SLOW_STATEMENT_MS} \
                 AND mean_exec_time / greatest(rows::float8 / greatest(calls, 1), 1) > {SLOW_STATEMENT_MS} / 10 \
                 ORDER BY total_exec_time DESC LIMIT {SLOW_STATEMENTS}"
            ))
            .await;
        let slow = match slow {
            Ok(slow) => slow,
            // object_not_in_prerequisite_state
            Err(error) if error.code().as_deref() == Some("55000") => return Ok(Statements::NotLoaded),
            Err(error) => return Err(error),
        };
        let copied: Vec<Copied> = line
            .ask(&format!(
                "SELECT sum(rows)::bigint AS rows, sum(total_exec_time) AS total_ms FROM {place}.pg_stat_statements \
                 WHERE query LIKE 'COPY {schema}spans %' HAVING sum(rows) > 0"
            ))
            .await?;
        let copy_ms_per_span = copied.first().map(|copied| copied.total_ms / copied.rows.max(1) as f64);
        Ok(Statements::Counted { slow, copy_ms_per_span })
    }

    async fn foreign_indexes(&self, line: &mut Line) -> Result<Vec<ForeignIndex>> {
        let sql = format!(
            "SELECT c.relname::text AS name, t.relname::text AS table, indisvalid AS valid, \
             c.relkind = 'I' AS partitioned, \
             coalesce((SELECT sum(pg_catalog.pg_relation_size(relid)) FROM pg_catalog.pg_partition_tree(c.oid)), \
             pg_catalog.pg_relation_size(c.oid), 0)::bigint AS bytes, \
             coalesce((SELECT sum(pg_catalog.pg_stat_get_numscans(relid)) FROM pg_catalog.pg_partition_tree(c.oid)), \
             pg_catalog.pg_stat_get_numscans(c.oid), 0)::bigint AS scans \
             FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = indexrelid \
             JOIN pg_catalog.pg_class AS t ON t.oid = indrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace \
             WHERE nspname = '{}' AND NOT c.relispartition AND NOT (indisunique AND indisvalid) ORDER BY c.relname",
            self.schema.name
        );
        let indexes: Vec<ForeignIndex> = line.ask(&sql).await?;
        let ours: HashSet<&str> = MIGRATIONS.iter().flat_map(|(_, _, up, _)| index_names(up)).collect();
        Ok(indexes.into_iter().filter(|index| !index.valid || !ours.contains(index.name.as_str())).collect())
    }
}

#[async_trait]
impl Probe for PostgresProbe {
    async fn examine(&self, look: &Look<'_>) -> StoreFacts {
        let mut facts = PostgresFacts {
            schema: self.schema.name.clone(),
            ways: Vec::new(),
            history: away(),
            connections: away(),
            statements: away(),
            contents: away(),
            tables: away(),
            foreign_indexes: away(),
        };
        let mut reached = None;
        for way in &self.ways {
            (look.tell)(&format!("looking at {}", way.1));
            match named(&way.2) {
                Ok(options) => {
                    facts.ways.push(self.walk(way, &options, look).await);
                    let leads = facts.ways.last().is_some_and(|way| way.reached.is_ok());
                    reached = reached.or(leads.then_some(options));
                }
                Err(error) => facts.history = Err(told(&error)),
            }
        }
        let Some(options) = reached else { return StoreFacts::Postgres(facts) };
        let mut line = match self.connect(&options).await {
            Ok(line) => line,
            Err(error) => {
                facts.history = Err(told(&error));
                return StoreFacts::Postgres(facts);
            }
        };
        (look.tell)("asking the catalogue");
        facts.history = self.history(&mut line).await.map_err(|error| told(&error));
        facts.connections = self.connections(&mut line).await.map_err(|error| told(&error));
        facts.tables = self.tables(&mut line).await.map_err(|error| told(&error));
        facts.contents = facts.tables.as_deref().map(contents).map_err(Clone::clone);
        facts.foreign_indexes = self.foreign_indexes(&mut line).await.map_err(|error| told(&error));
        (look.tell)("asking for slow statements");
        facts.statements = self.statements(&mut line).await.map_err(|error| told(&error));
        line.close().await;
        StoreFacts::Postgres(facts)
    }

    async fn measure(&self) -> Result<Contents> {
        let mut line = self.connect(&named(&self.location.read_url)?).await?;
        let tables = self.tables(&mut line).await?;
        line.close().await;
        Ok(contents(&tables))
    }

    async fn bench(&self, one: &[Span], many: &[Span], rounds: usize) -> Result<Bench> {
        let store = store(&self.location, &self.settings)?;
        let mut bench =
            Bench { single_ms: Vec::new(), batch_ms: Vec::new(), batch_spans: many.len(), commit_ms: Vec::new() };
        // The first connects.
        store.rehearse(one).await?;
        for _ in 0..rounds {
            bench.single_ms.push(ms(store.rehearse(one).await?));
            bench.batch_ms.push(ms(store.rehearse(many).await?));
        }
        // A standby, or a role that may not: then the commit is left out.
        bench.commit_ms = store.commit_messages(rounds).await.unwrap_or_default().into_iter().map(ms).collect();
        store.close().await;
        Ok(bench)
    }
}

/// What a doctor's connections call themselves, so that they are not counted.
const NAME: &str = "tracefall doctor";

/// A connection to ask by. One that did not answer in time is given up: what it says later is not to be mixed up.
struct Line(Option<PgConnection>);

impl Line {
    /// The rows of a SELECT of our own, as JSON objects. Sees nothing but what is committed, and changes nothing.
    async fn ask<T: DeserializeOwned>(&mut self, select: &str) -> Result<Vec<T>> {
        let limit = STATEMENT_LIMIT.as_millis();
        let text = self
            .text(format!(
                "BEGIN READ ONLY; SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = 1000; \
                 SELECT coalesce(json_agg(found), '[]')::text FROM ({select}) AS found; COMMIT"
            ))
            .await;
        let text = match text {
            Err(error) => {
                // The transaction is over, whatever became of it.
                let _ = self.text("ROLLBACK".to_owned()).await;
                return Err(error);
            }
            Ok(text) => text,
        };
        serde_json::from_str(&text).map_err(|error| StoreError::Other { doing: DOING, source: error.into() })
    }

    async fn one<T: DeserializeOwned>(&mut self, select: &str) -> Result<T> {
        let none = || StoreError::Other { doing: DOING, source: "no row came".into() };
        self.ask(select).await?.into_iter().next().ok_or_else(none)
    }

    /// Of the server's process. Costs a round trip, and nothing else.
    async fn session_id(&mut self) -> Result<String> {
        self.text("SELECT pg_catalog.pg_backend_pid()::text".to_owned()).await
    }

    /// How far its clock is ahead of ours, and how far off that may be.
    async fn clock(&mut self, look: &Look<'_>) -> Result<(f64, f64)> {
        let (before, begun) = ((look.now)(), Instant::now());
        let text = self.text("SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint::text".to_owned()).await?;
        let half = begun.elapsed() / 2;
        let micros: i128 =
            text.parse().map_err(|_| StoreError::Other { doing: DOING, source: "no time came".into() })?;
        let ours = i128::from(before.as_u64()) / 1_000 + half.as_micros().cast_signed();
        Ok(((micros - ours) as f64 / 1_000.0, ms(half)))
    }

    /// The last text that the statements answer with; empty without one.
    async fn text(&mut self, statements: String) -> Result<String> {
        let Some(connection) = &mut self.0 else { return Err(silent("it had not answered before")) };
        // Safe: our own text, and a schema's name that is a plain word.
        let run = sqlx::raw_sql(AssertSqlSafe(statements)).fetch_all(connection);
        match timeout(ANSWER_LIMIT, run).await {
            Ok(Ok(rows)) => {
                let text = rows.last().map(|row| row.try_get::<Option<String>, _>(0)).transpose();
                Ok(text.map_err(failed(DOING))?.flatten().unwrap_or_default())
            }
            Ok(Err(error)) => Err(failed(DOING)(error)),
            Err(_) => {
                self.0 = None;
                Err(silent(&format!("no answer within {} s", ANSWER_LIMIT.as_secs())))
            }
        }
    }

    async fn close(mut self) {
        if let Some(connection) = self.0.take() {
            // It is closed in any case.
            let _ = timeout(ANSWER_LIMIT, connection.close()).await;
        }
    }
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct Applied {
    version: i64,
    checksum: String,
}

#[derive(Deserialize)]
struct Server {
    version: String,
    version_number: u32,
    in_recovery: bool,
    read_only: bool,
    port: u16,
}

#[derive(Deserialize)]
struct Copied {
    rows: u64,
    total_ms: f64,
}

/// What the tables come to.
fn contents(tables: &[TableSize]) -> Contents {
    let mut contents = Contents { span_bytes: Some(0), ..Contents::default() };
    for table in tables {
        let bytes = table.table_bytes + table.index_bytes;
        contents.bytes += bytes;
        if table.name == "traces" {
            (contents.traces, contents.trace_bytes) = (Some(table.rows), Some(bytes));
        }
        let day = table.name.strip_prefix("spans_").and_then(day);
        if day.is_some() || ["spans_default", "spans_kept"].contains(&table.name.as_str()) {
            contents.spans += table.rows;
            contents.span_bytes = contents.span_bytes.map(|sum| sum + bytes);
        }
        contents.days.extend(day.map(|day| DaySpans { day, spans: table.rows }));
    }
    contents.days.sort_by_key(|day| day.day);
    contents
}

/// `20260105` as days since 1970.
fn day(digits: &str) -> Option<u32> {
    let date = (digits.len() == 8).then(|| Some((digits.get(..4)?, digits.get(4..6)?, digits.get(6..)?)))??;
    let text = format!("{}-{}-{}T00:00:00Z", date.0, date.1, date.2);
    Some(UnixNanos::parse_rfc3339(&text).ok()?.day())
}

fn named(url: &DatabaseUrl) -> Result<PgConnectOptions> {
    Ok(options(url.expose())?.application_name(NAME))
}

fn away<T>() -> Known<T> {
    Err("the database is not reached".to_owned())
}

/// The names of the indexes that a migration makes.
fn index_names(migration: &str) -> impl Iterator<Item = &str> {
    migration.lines().filter_map(|line| {
        let rest = line.strip_prefix("CREATE UNIQUE INDEX ").or_else(|| line.strip_prefix("CREATE INDEX "))?;
        rest.split_whitespace().next()
    })
}

fn silent(reason: &str) -> StoreError {
    StoreError::Unavailable { doing: DOING, cause: Cause::Silent, source: reason.into() }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_indexes_of_the_migrations_are_known_by_name() {
        let names: Vec<&str> = MIGRATIONS.iter().flat_map(|(_, _, up, _)| index_names(up)).collect();
        assert!(names.contains(&"spans_identity") && names.contains(&"traces_started_at"), "{names:?}");
    }

    #[test]
    fn tables_are_days_by_their_names() {
        let table = |name: &str, rows| TableSize { name: name.into(), rows, table_bytes: 100, index_bytes: 50 };
        let tables =
            [table("spans_default", 1), table("spans_kept", 2), table("spans_20260105", 4), table("traces", 8)];
        let contents = contents(&tables);
        assert_eq!((contents.bytes, contents.spans, contents.span_bytes), (600, 7, Some(450)));
        assert_eq!((contents.traces, contents.trace_bytes), (Some(8), Some(150)));
        assert_eq!(contents.days, [DaySpans { day: 20_458, spans: 4 }]);
        assert_eq!([day("2026010"), day("20261305"), day("default1")], [None; 3]);
    }
}

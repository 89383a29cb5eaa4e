//! The schema's migrations, the days ahead, the size, and the end.

use std::collections::BTreeMap;
use std::time::Instant;

use async_trait::async_trait;
use sha2::{Digest, Sha384};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgArguments;

use super::days;
use super::published;
use super::work::{Mode, Work};
use super::{Postgres, Schema, failed};
use crate::model::time::UnixNanos;
use crate::store::rows::Reader;
use crate::store::{Maintenance, MigrationState, Published, Result, StoreError, StoreSize};

/// Version, name, up, down; oldest first. One that was released is never edited.
pub(super) const MIGRATIONS: &[(i64, &str, &str, &str)] = &[
    (
        1,
        "spans",
        include_str!("../../../migrations/postgres/0001_spans.up.sql"),
        include_str!("../../../migrations/postgres/0001_spans.down.sql"),
    ),
    (
        2,
        "deletions",
        include_str!("../../../migrations/postgres/0002_deletions.up.sql"),
        include_str!("../../../migrations/postgres/0002_deletions.down.sql"),
    ),
];

/// The schema that the migrations' text names.
const WRITTEN_FOR: &str = "tracefall.";

impl Schema {
    /// Where the applied migrations are noted.
    pub(super) fn history(&self) -> String {
        format!("{self}tracefall_migrations")
    }

    /// A migration's statements, for this schema.
    fn statements(&self, text: &str) -> String {
        // Our own text, and a plain word in quotes.
        text.replace(WRITTEN_FOR, &self.prefix)
    }
}

/// Waits until no other process changes our tables, for as long as the transaction lasts.
pub(super) fn one_at_a_time(schema: &Schema) -> String {
    // Safe: the schema's name is a plain word.
    format!("SELECT pg_advisory_xact_lock(hashtextextended('tracefall {}', 0))", schema.name)
}

#[async_trait]
impl Maintenance for Postgres {
    async fn migrate_up(&self) -> Result<()> {
        // A role without the right to change tables may run on those that are as they should be.
        if self.migrations().await?.iter().all(|state| state.applied) {
            return Ok(());
        }
        self.limits.long().hold("migrate up", self.up()).await
    }

    async fn publish_views(&self) -> Result<Vec<Published>> {
        self.limits.long().hold("publish the views", self.publish()).await
    }

    async fn migrate_down(&self) -> Result<()> {
        self.forget();
        self.limits.long().hold("migrate down", self.down()).await
    }

    async fn migrations(&self) -> Result<Vec<MigrationState>> {
        const DOING: &str = "read the migrations";
        let history = self.schema.history();
        let read = async {
            let mut work = Work::begin(&self.readers, Mode::Read, self.limits, DOING).await?;
            let read = async {
                match has(&mut work, "SELECT to_regclass($1)::text", &history, DOING).await? {
                    true => applied(&mut work, &history, DOING).await,
                    false => Ok(BTreeMap::new()),
                }
            }
            .await;
            work.end(read).await
        };
        let applied = self.limits.hold(DOING, read).await?;
        let state = |(version, name, _, _): &(i64, &str, &str, &str)| MigrationState {
            version: *version,
            name: (*name).to_owned(),
            applied: applied.contains_key(version),
        };
        Ok(MIGRATIONS.iter().map(state).collect())
    }

    async fn prepare_days(&self, now: UnixNanos) -> Result<()> {
        const DOING: &str = "prepare days";
        self.limits.hold(DOING, self.make_days_anew(days::ahead(now), DOING)).await
    }

    fn notes(&self) -> Vec<String> {
        self.days.note().into_iter().collect()
    }

    async fn size(&self) -> Result<StoreSize> {
        const DOING: &str = "measure the store";
        let schema = &self.schema;
        let tables = [
            "spans_kept",
            "open_spans",
            "resources",
            "traces",
            "pins",
            "dead_letters",
            "leases",
            "checkpoints",
            "deletions",
        ];
        let tables = tables.map(|table| format!("'{schema}{table}'::regclass")).join(", ");
        // Safe: names of our own tables.
        let sql = AssertSqlSafe(format!(
            "SELECT (SELECT sum(pg_total_relation_size(relid))::bigint FROM \
             (SELECT relid FROM pg_partition_tree('{schema}spans') UNION ALL SELECT unnest(ARRAY[{tables}])) AS ours), \
             (SELECT count(*) FROM {schema}open_spans), (SELECT count(*) FROM {schema}dead_letters)"
        ));
        let rows = self.fetch(sql, PgArguments::default(), DOING).await?;
        let missing = || StoreError::Other { doing: DOING, source: "no row came".into() };
        let mut cells = Reader::new(rows.first().ok_or_else(missing)?, &["bytes", "open_spans", "dead_letters"], DOING);
        let mut count = || {
            let count = cells.required_int()?;
            u64::try_from(count).map_err(|error| cells.corrupt(error))
        };
        Ok(StoreSize { bytes: count()?, open_spans: count()?, dead_letters: count()? })
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        self.admin.close().await;
    }
}

impl Postgres {
    async fn up(&self) -> Result<()> {
        const DOING: &str = "migrate up";
        let mut work = self.alone(DOING).await?;
        let applied = self.apply(&mut work, DOING).await;
        work.end(applied).await
    }

    async fn apply(&self, work: &mut Work, doing: &'static str) -> Result<()> {
        let (schema, history) = (&self.schema, self.schema.history());
        // Not IF NOT EXISTS: that wants the right to make one even where there is one.
        if !has(work, "SELECT to_regnamespace($1)::text", &quoted(schema), doing).await? {
            work.execute(format!("CREATE SCHEMA {}", quoted(schema))).await?;
        }
        // The columns are those of the driver's migrator, which kept it before.
        work.execute(format!(
            "CREATE TABLE IF NOT EXISTS {history} (version bigint PRIMARY KEY, description text NOT NULL, \
             installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL, \
             execution_time bigint NOT NULL)"
        ))
        .await?;
        let applied = applied(work, &history, doing).await?;
        check(&applied, schema, doing)?;
        for (version, name, up, _) in MIGRATIONS.iter().filter(|(version, ..)| !applied.contains_key(version)) {
            let statements = schema.statements(up);
            let checksum = Sha384::digest(&statements).to_vec();
            let begun = Instant::now();
            work.execute(statements).await?;
            // Safe: the schema's name is a plain word.
            let sql = AssertSqlSafe(format!(
                "INSERT INTO {history} (version, description, success, checksum, execution_time) \
                 VALUES ($1, $2, TRUE, $3, $4)"
            ));
            let nanos = i64::try_from(begun.elapsed().as_nanos()).unwrap_or(i64::MAX);
            let note = sqlx::query(sql).bind(version).bind(name).bind(checksum).bind(nanos);
            note.execute(&mut **work).await.map_err(failed(doing))?;
        }
        Ok(())
    }

    async fn publish(&self) -> Result<Vec<Published>> {
        const DOING: &str = "publish the views";
        let mut work = self.alone(DOING).await?;
        let published = published::publish(&mut work, &self.schema, DOING).await;
        work.end(published).await
    }

    async fn down(&self) -> Result<()> {
        const DOING: &str = "migrate down";
        let mut work = self.alone(DOING).await?;
        let reverted = self.revert(&mut work, DOING).await;
        work.end(reverted).await
    }

    async fn revert(&self, work: &mut Work, doing: &'static str) -> Result<()> {
        let (schema, history) = (&self.schema, self.schema.history());
        if !has(work, "SELECT to_regclass($1)::text", &history, doing).await? {
            return Ok(());
        }
        published::withdraw(work, schema, doing).await?;
        let applied = applied(work, &history, doing).await?;
        for (_, _, _, down) in MIGRATIONS.iter().rev().filter(|(version, ..)| applied.contains_key(version)) {
            work.execute(schema.statements(down)).await?;
        }
        work.execute(format!("DROP TABLE {history}")).await?;
        drop_schema_if_empty(work, schema).await
    }

    /// A transaction that changes the schema, alone among the processes that do.
    async fn alone(&self, doing: &'static str) -> Result<Work> {
        let mut work = Work::begin(&self.admin, Mode::Define, self.limits.long(), doing).await?;
        // Others may be at the same for a while, but nobody is to wait behind us for long.
        let alone = one_at_a_time(&self.schema);
        work.execute(format!("SET LOCAL lock_timeout = 10000; {alone}; SET LOCAL lock_timeout = 2000")).await?;
        Ok(work)
    }
}

/// The applied migrations' versions, with what was noted of their text.
async fn applied(work: &mut Work, history: &str, doing: &'static str) -> Result<BTreeMap<i64, Vec<u8>>> {
    const CELLS: [&str; 2] = ["version", "checksum"];
    // Safe: the schema's name is a plain word.
    let sql = AssertSqlSafe(format!("SELECT version, checksum FROM {history}"));
    let rows = sqlx::query(sql).fetch_all(&mut **work).await.map_err(failed(doing))?;
    let applied = rows.iter().map(|row| {
        let mut cells = Reader::new(row, &CELLS, doing);
        Ok((cells.required_int()?, cells.required_bytes()?.to_vec()))
    });
    applied.collect()
}

/// Whether what is applied is known here, as it was: a newer version's schema is not to be touched by an older one.
fn check(applied: &BTreeMap<i64, Vec<u8>>, schema: &Schema, doing: &'static str) -> Result<()> {
    for (version, checksum) in applied {
        let known = MIGRATIONS.iter().find(|(known, ..)| known == version);
        let source = match known {
            None => format!("migration {version:04} was applied, and this version does not know it"),
            Some((.., up, _)) if Sha384::digest(schema.statements(up)).as_slice() != checksum => {
                format!("migration {version:04} was applied, and reads differently now")
            }
            Some(_) => continue,
        };
        return Err(StoreError::Other { doing, source: source.into() });
    }
    Ok(())
}

/// The hash, in hex, of what a migration that is known here does to this schema.
pub(super) fn digest(schema: &Schema, version: i64) -> Option<String> {
    let (.., up, _) = MIGRATIONS.iter().find(|(known, ..)| *known == version)?;
    let digest = Sha384::digest(schema.statements(up));
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn quoted(schema: &Schema) -> String {
    format!("\"{}\"", schema.name)
}

/// Whether a look-up by name finds something.
async fn has(work: &mut Work, sql: &'static str, name: &str, doing: &'static str) -> Result<bool> {
    let row = sqlx::query(sql).bind(name).fetch_one(&mut **work).await.map_err(failed(doing))?;
    Ok(Reader::new(&row, &["name"], doing).text()?.is_some())
}

/// What others keep in our schema stays, and the schema with it.
async fn drop_schema_if_empty(work: &mut Work, schema: &Schema) -> Result<()> {
    const DEPENDENT_OBJECTS: &str = "2BP01";
    // Without CASCADE a schema that is not empty refuses; the savepoint keeps the rest.
    match work.execute(format!("SAVEPOINT before; DROP SCHEMA {}", quoted(schema))).await {
        Err(error) if error.code().is_some_and(|code| code == DEPENDENT_OBJECTS) => {
            work.execute("ROLLBACK TO SAVEPOINT before".to_owned()).await
        }
        dropped => dropped,
    }
}

//! The schema's migrations, the days ahead, the size, and the end.

use std::collections::HashSet;

use async_trait::async_trait;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, SqlSafeStr, Transaction};

use super::days;
use super::pool::Held;
use super::published;
use super::work::{Mode, Work};
use super::{Postgres, Schema, failed};
use crate::model::time::UnixNanos;
use crate::store::rows::Reader;
use crate::store::{Maintenance, MigrationState, Published, Result, StoreError, StoreSize};

/// Version, name, up, down; oldest first. One that was released is never edited.
const MIGRATIONS: &[(i64, &str, &str, &str)] = &[(
    1,
    "spans",
    include_str!("../../../migrations/postgres/0001_spans.up.sql"),
    include_str!("../../../migrations/postgres/0001_spans.down.sql"),
)];

/// The schema that the migrations' text names.
const WRITTEN_FOR: &str = "tracefall.";

impl Schema {
    /// Where the applied migrations are noted.
    fn history(&self) -> String {
        format!("{self}tracefall_migrations")
    }

    fn migrator(&self) -> Migrator {
        let both = MIGRATIONS.iter().flat_map(|(version, name, up, down)| {
            [(MigrationType::ReversibleUp, *up), (MigrationType::ReversibleDown, *down)].map(|(direction, sql)| {
                // Safe: our own text, and a plain word in quotes.
                let sql = AssertSqlSafe(sql.replace(WRITTEN_FOR, &self.prefix)).into_sql_str();
                Migration::new(*version, (*name).into(), direction, sql, false)
            })
        });
        let mut migrator = Migrator::with_migrations(both.collect());
        // Set once, before any table exists.
        migrator.dangerous_set_table_name(self.history());
        // That lock is a session's, which breaks behind poolers. The transaction around has one of its own.
        migrator.set_locking(false);
        migrator
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
        self.limits.hold_long("migrate up", self.up()).await
    }

    async fn publish_views(&self) -> Result<Vec<Published>> {
        self.limits.hold_long("publish the views", self.publish()).await
    }

    async fn migrate_down(&self) -> Result<()> {
        self.forget();
        self.limits.hold_long("migrate down", self.down()).await
    }

    async fn migrations(&self) -> Result<Vec<MigrationState>> {
        const DOING: &str = "read the migrations";
        let history = self.schema.history();
        let read = async {
            let mut work = Work::begin(&self.readers, Mode::Read, self.limits, DOING).await?;
            let read = async {
                match has(&mut work, "SELECT to_regclass($1)::text", &history, DOING).await? {
                    true => applied(&mut work, &history, DOING).await,
                    false => Ok(HashSet::new()),
                }
            }
            .await;
            work.end(read).await
        };
        let applied = self.limits.hold(DOING, read).await?;
        let state = |(version, name, _, _): &(i64, &str, &str, &str)| MigrationState {
            version: *version,
            name: (*name).to_owned(),
            applied: applied.contains(version),
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
        let tables =
            ["spans_kept", "open_spans", "resources", "traces", "pins", "dead_letters", "leases", "checkpoints"];
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
        let mut connection = self.admin.acquire(DOING).await?;
        let mut transaction = self.alone(&mut connection, DOING).await?;
        // Not IF NOT EXISTS: that wants the right to make one even where there is one.
        if !has(&mut transaction, "SELECT to_regnamespace($1)::text", &quoted(&self.schema), DOING).await? {
            let sql = AssertSqlSafe(format!("CREATE SCHEMA {}", quoted(&self.schema)));
            transaction.execute(sql).await.map_err(failed(DOING))?;
        }
        let migrator = self.schema.migrator();
        let run = migrator.run_direct(None, &mut *transaction, false).await;
        run.map_err(|error| migration_failed(DOING, error))?;
        transaction.commit().await.map_err(failed(DOING))?;
        connection.give_back();
        Ok(())
    }

    async fn publish(&self) -> Result<Vec<Published>> {
        const DOING: &str = "publish the views";
        let mut connection = self.admin.acquire(DOING).await?;
        let mut transaction = self.alone(&mut connection, DOING).await?;
        let published = published::publish(&mut transaction, &self.schema, DOING).await?;
        transaction.commit().await.map_err(failed(DOING))?;
        connection.give_back();
        Ok(published)
    }

    async fn down(&self) -> Result<()> {
        const DOING: &str = "migrate down";
        let history = self.schema.history();
        let mut connection = self.admin.acquire(DOING).await?;
        let mut transaction = self.alone(&mut connection, DOING).await?;
        if !has(&mut transaction, "SELECT to_regclass($1)::text", &history, DOING).await? {
            return Ok(());
        }
        published::withdraw(&mut transaction, &self.schema, DOING).await?;
        let applied = applied(&mut transaction, &history, DOING).await?;
        let migrator = self.schema.migrator();
        let down = migrator.iter().rev().filter(|migration| migration.migration_type.is_down_migration());
        for migration in down.filter(|migration| applied.contains(&migration.version)) {
            let reverted = transaction.revert(&history, migration).await;
            reverted.map_err(|error| migration_failed(DOING, error))?;
        }
        let sql = AssertSqlSafe(format!("DROP TABLE {history}"));
        transaction.execute(sql).await.map_err(failed(DOING))?;
        drop_schema_if_empty(&mut transaction, &self.schema).await.map_err(failed(DOING))?;
        transaction.commit().await.map_err(failed(DOING))?;
        connection.give_back();
        Ok(())
    }

    /// A transaction that changes the schema, alone among the processes that do.
    async fn alone<'c>(
        &self,
        connection: &'c mut Held,
        doing: &'static str,
    ) -> Result<Transaction<'c, sqlx::Postgres>> {
        let mut transaction = connection.begin().await.map_err(failed(doing))?;
        // Others may be at the same for a while, but nobody is to wait behind us for long.
        let alone = one_at_a_time(&self.schema);
        let sql = AssertSqlSafe(format!("SET LOCAL lock_timeout = 10000; {alone}; SET LOCAL lock_timeout = 2000"));
        sqlx::raw_sql(sql).execute(&mut *transaction).await.map_err(failed(doing))?;
        Ok(transaction)
    }
}

/// The versions of the migrations that are applied.
async fn applied(connection: &mut PgConnection, history: &str, doing: &'static str) -> Result<HashSet<i64>> {
    let listed = connection.list_applied_migrations(history).await;
    let listed = listed.map_err(|error| migration_failed(doing, error))?;
    Ok(listed.into_iter().map(|migration| migration.version).collect())
}

fn quoted(schema: &Schema) -> String {
    format!("\"{}\"", schema.name)
}

/// Whether a look-up by name finds something.
async fn has(connection: &mut PgConnection, sql: &'static str, name: &str, doing: &'static str) -> Result<bool> {
    let row = sqlx::query(sql).bind(name).fetch_one(connection).await.map_err(failed(doing))?;
    Ok(Reader::new(&row, &["name"], doing).text()?.is_some())
}

/// What others keep in our schema stays, and the schema with it.
async fn drop_schema_if_empty(connection: &mut PgConnection, schema: &Schema) -> sqlx::Result<()> {
    const DEPENDENT_OBJECTS: &str = "2BP01";
    // Without CASCADE a schema that is not empty refuses; the savepoint keeps the rest.
    let mut savepoint = connection.begin().await?;
    let sql = AssertSqlSafe(format!("DROP SCHEMA {}", quoted(schema)));
    match savepoint.execute(sql).await {
        Ok(_) => savepoint.commit().await,
        Err(error) if super::code_of(&error).is_some_and(|code| code == DEPENDENT_OBJECTS) => {
            savepoint.rollback().await
        }
        Err(error) => Err(error),
    }
}

fn migration_failed(doing: &'static str, error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failed(doing)(error),
        error => StoreError::Other { doing, source: Box::new(error) },
    }
}

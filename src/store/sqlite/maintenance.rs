//! The schema's migrations, the days ahead, the size, and the end.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path;

use async_trait::async_trait;
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::tables::{self, Tables};
use super::{Sqlite, failed};
use crate::model::time::UnixNanos;
use crate::store::error::Cause;
use crate::store::published::{Publication, VIEWS};
use crate::store::rows::Reader;
use crate::store::{Maintenance, MigrationState, Published, Result, StoreError, StoreSize};

/// Where the applied migrations are noted.
const HISTORY: &str = "tracefall_migrations";

/// Version, name, up, down; oldest first. One that was released is never edited.
pub(super) const MIGRATIONS: &[(i64, &str, &str, &str)] = &[
    (
        1,
        "spans",
        include_str!("../../../migrations/sqlite/0001_spans.up.sql"),
        include_str!("../../../migrations/sqlite/0001_spans.down.sql"),
    ),
    (
        2,
        "deletions",
        include_str!("../../../migrations/sqlite/0002_deletions.up.sql"),
        include_str!("../../../migrations/sqlite/0002_deletions.down.sql"),
    ),
];

fn migrator() -> Migrator {
    let both = MIGRATIONS.iter().flat_map(|(version, name, up, down)| {
        [(MigrationType::ReversibleUp, *up), (MigrationType::ReversibleDown, *down)]
            .map(|(direction, sql)| Migration::new(*version, (*name).into(), direction, sql.into_sql_str(), false))
    });
    let mut migrator = Migrator::with_migrations(both.collect());
    // Set once, before any file exists.
    migrator.dangerous_set_table_name(HISTORY);
    migrator
}

#[async_trait]
impl Maintenance for Sqlite {
    async fn make(&self) -> Result<()> {
        const DOING: &str = "make the store";
        if let Some(directory) = self.path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(directory).await.map_err(|error| cannot_make(DOING, directory, &error))?;
        }
        // The connection that writes makes the file.
        let connection = self.writer.acquire().await.map_err(failed(DOING))?;
        drop(connection);
        Ok(())
    }

    async fn migrate_up(&self) -> Result<()> {
        migrator().run(&self.writer).await.map_err(|error| migration_failed("migrate up", error))
    }

    async fn publish_views(&self) -> Result<Vec<Published>> {
        Ok(VIEWS.map(|name| Published { name, outcome: Publication::Native }).to_vec())
    }

    async fn migrate_down(&self) -> Result<()> {
        const DOING: &str = "migrate down";
        let failed = failed(DOING);
        self.resources.forget();
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        if has_table(&mut transaction, "span_tables").await.map_err(failed)? {
            Tables::drop_days(&mut transaction, DOING).await?;
        }
        transaction.commit().await.map_err(failed)?;
        migrator().undo(&self.writer, 0).await.map_err(|error| migration_failed(DOING, error))?;
        sqlx::query("DROP TABLE IF EXISTS tracefall_migrations").execute(&self.writer).await.map_err(failed)?;
        Ok(())
    }

    async fn migrations(&self) -> Result<Vec<MigrationState>> {
        const DOING: &str = "read the migrations";
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let mut applied = HashSet::new();
        if has_table(&mut connection, HISTORY).await.map_err(failed(DOING))? {
            let listed = connection.list_applied_migrations(HISTORY).await;
            let listed = listed.map_err(|error| migration_failed(DOING, error))?;
            applied.extend(listed.into_iter().map(|migration| migration.version));
        }
        let state = |(version, name, _, _): &(i64, &str, &str, &str)| MigrationState {
            version: *version,
            name: (*name).to_owned(),
            applied: applied.contains(version),
        };
        Ok(MIGRATIONS.iter().map(state).collect())
    }

    async fn prepare_days(&self, now: UnixNanos) -> Result<()> {
        const DOING: &str = "prepare days";
        let failed = failed(DOING);
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        let mut tables = Tables::load(&mut transaction, DOING).await?;
        tables.make(&mut transaction, tables::ahead(now)).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn size(&self) -> Result<StoreSize> {
        let pages = count(&self.readers, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size");
        let bytes = pages.await?;
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        let wal = std::fs::metadata(wal).map_or(0, |file| file.len());
        Ok(StoreSize {
            bytes: bytes + wal,
            open_spans: count(&self.readers, "SELECT count(*) FROM open_spans").await?,
            dead_letters: count(&self.readers, "SELECT count(*) FROM dead_letters").await?,
        })
    }

    async fn close(&self) {
        self.readers.close().await;
        self.checkpointer.close().await;
        // Last: SQLite folds the write-ahead log into the file when the last connection goes.
        self.writer.close().await;
    }
}

fn cannot_make(doing: &'static str, folder: &Path, error: &std::io::Error) -> StoreError {
    let cause = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => Cause::ReadOnly,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Cause::Resources,
        _ => Cause::File,
    };
    StoreError::Unavailable {
        doing,
        cause,
        source: format!("cannot make the folder {}: {error}", folder.display()).into(),
    }
}

async fn count(pool: &SqlitePool, sql: &'static str) -> Result<u64> {
    const DOING: &str = "measure the store";
    let row = sqlx::query(sql).fetch_one(pool).await.map_err(failed(DOING))?;
    let mut cells = Reader::new(&row, &["count"], DOING);
    let count = cells.required_int()?;
    u64::try_from(count).map_err(|error| cells.corrupt(error))
}

async fn has_table(connection: &mut SqliteConnection, name: &str) -> sqlx::Result<bool> {
    let query = sqlx::query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").bind(name);
    Ok(query.fetch_optional(connection).await?.is_some())
}

fn migration_failed(doing: &'static str, error: sqlx::migrate::MigrateError) -> StoreError {
    match error {
        sqlx::migrate::MigrateError::Execute(error) | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => {
            failed(doing)(error)
        }
        error => StoreError::Other { doing, source: Box::new(error) },
    }
}

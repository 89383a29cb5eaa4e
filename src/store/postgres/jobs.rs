//! How far long jobs have come.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;

use super::work::{Mode, Work};
use super::{Postgres, failed};
use crate::store::rows::Reader;
use crate::store::{Checkpoints, Result};

#[async_trait]
impl Checkpoints for Postgres {
    async fn checkpoint(&self, name: &str) -> Result<Option<String>> {
        const DOING: &str = "read a checkpoint";
        // The writer's connections, not the readers': a replica may be behind. Safe: a name of our own table.
        let sql = AssertSqlSafe(format!("SELECT reached FROM {}checkpoints WHERE name = $1", self.schema));
        let read = async {
            let mut work = Work::begin(&self.writer, Mode::Read, self.limits, DOING).await?;
            let row = sqlx::query(sql).bind(name).fetch_optional(&mut *work).await.map_err(failed(DOING));
            work.end(row).await
        };
        let row = self.limits.hold(DOING, read).await?;
        row.map(|row| Ok(Reader::new(&row, &["reached"], DOING).required_text()?.to_owned())).transpose()
    }

    async fn set_checkpoint(&self, name: &str, reached: &str) -> Result<()> {
        const DOING: &str = "set a checkpoint";
        // Safe: a name of our own table.
        let sql = AssertSqlSafe(format!(
            "INSERT INTO {}checkpoints (name, reached) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET reached = excluded.reached",
            self.schema
        ));
        let write = async {
            let mut work = Work::begin(&self.writer, Mode::Write, self.limits, DOING).await?;
            let written = sqlx::query(sql).bind(name).bind(reached).execute(&mut *work).await.map_err(failed(DOING));
            work.end(written).await.map(|_| ())
        };
        self.limits.hold(DOING, write).await
    }

    async fn swap_checkpoint(&self, name: &str, before: Option<&str>, reached: &str) -> Result<bool> {
        const DOING: &str = "swap a checkpoint";
        // Safe: a name of our own table.
        let sql = AssertSqlSafe(format!(
            "INSERT INTO {}checkpoints AS c (name, reached) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET reached = excluded.reached WHERE c.reached = $3",
            self.schema
        ));
        let write = async {
            let mut work = Work::begin(&self.writer, Mode::Write, self.limits, DOING).await?;
            let query = sqlx::query(sql).bind(name).bind(reached).bind(before);
            let done = query.execute(&mut *work).await.map_err(failed(DOING));
            work.end(done).await.map(|done| done.rows_affected() > 0)
        };
        self.limits.hold(DOING, write).await
    }
}

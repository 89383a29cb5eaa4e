//! How far long jobs have come. (Checkpoints of the write-ahead log are another thing: [`super::checkpoint`].)

use async_trait::async_trait;

use super::{Sqlite, failed};
use crate::store::rows::Reader;
use crate::store::{Checkpoints, Result};

#[async_trait]
impl Checkpoints for Sqlite {
    async fn checkpoint(&self, name: &str) -> Result<Option<String>> {
        const DOING: &str = "read a checkpoint";
        let query = sqlx::query("SELECT reached FROM checkpoints WHERE name = ?").bind(name);
        let row = query.fetch_optional(&self.readers).await.map_err(failed(DOING))?;
        row.map(|row| Ok(Reader::new(&row, &["reached"], DOING).required_text()?.to_owned())).transpose()
    }

    async fn set_checkpoint(&self, name: &str, reached: &str) -> Result<()> {
        let sql = "INSERT INTO checkpoints (name, reached) VALUES (?, ?) \
             ON CONFLICT (name) DO UPDATE SET reached = excluded.reached";
        let query = sqlx::query(sql).bind(name).bind(reached);
        query.execute(&self.writer).await.map_err(failed("set a checkpoint"))?;
        Ok(())
    }

    async fn swap_checkpoint(&self, name: &str, before: Option<&str>, reached: &str) -> Result<bool> {
        let sql = "INSERT INTO checkpoints AS c (name, reached) VALUES (?, ?) \
             ON CONFLICT (name) DO UPDATE SET reached = excluded.reached WHERE c.reached = ?";
        let query = sqlx::query(sql).bind(name).bind(reached).bind(before);
        let done = query.execute(&self.writer).await.map_err(failed("swap a checkpoint"))?;
        Ok(done.rows_affected() > 0)
    }
}

//! Dead letters: looked at by readers, removed by the role that looks after the store.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;

use super::work::{Mode, Work};
use super::{Postgres, arguments, failed};
use crate::store::letters::{self, DeadLetters, From, KeptLetter, LetterFilter};
use crate::store::rows::Reader;
use crate::store::{Result, StoreError};

#[async_trait]
impl DeadLetters for Postgres {
    async fn dead_letters(&self, filter: &LetterFilter, from: From, limit: usize) -> Result<Vec<KeptLetter>> {
        const DOING: &str = "read dead letters";
        let rows = self.ask(letters::select(filter, from, limit, &self.schema.dialect()), DOING).await?;
        rows.iter().map(|row| letters::letter(row, DOING)).collect()
    }

    async fn count_dead_letters(&self, filter: &LetterFilter) -> Result<u64> {
        const DOING: &str = "count dead letters";
        let rows = self.ask(letters::count(filter, &self.schema.dialect()), DOING).await?;
        let missing = || StoreError::Other { doing: DOING, source: "no row came".into() };
        let count = Reader::new(rows.first().ok_or_else(missing)?, &["count"], DOING).required_int()?;
        Ok(count.unsigned_abs())
    }

    async fn remove_dead_letters(&self, filter: &LetterFilter, limit: usize) -> Result<u64> {
        const DOING: &str = "remove dead letters";
        let statement = letters::delete(filter, limit, &self.schema.dialect());
        let bound = arguments(&statement).map_err(failed(DOING))?;
        let remove = async {
            let mut work = Work::begin(&self.admin, Mode::Write, self.limits, DOING).await?;
            // Safe: names of our own, and placeholders.
            let query = sqlx::query_with(AssertSqlSafe(statement.sql), bound);
            let done = query.execute(&mut *work).await.map_err(failed(DOING));
            work.end(done).await
        };
        Ok(self.limits.hold(DOING, remove).await?.rows_affected())
    }
}

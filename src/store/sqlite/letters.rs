//! Dead letters: looked at beside the writer, removed on its connection.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row};

use super::{DIALECT, Sqlite, arguments, failed};
use crate::store::Result;
use crate::store::letters::{self, DeadLetters, From, KeptLetter, LetterFilter};

#[async_trait]
impl DeadLetters for Sqlite {
    async fn dead_letters(&self, filter: &LetterFilter, from: From, limit: usize) -> Result<Vec<KeptLetter>> {
        const DOING: &str = "read dead letters";
        let statement = letters::select(filter, from, limit, &DIALECT);
        let bound = arguments(&statement).map_err(failed(DOING))?;
        // Safe: names of our own, and placeholders.
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), bound);
        let rows = query.fetch_all(&self.readers).await.map_err(failed(DOING))?;
        rows.iter().map(|row| letters::letter(row, DOING)).collect()
    }

    async fn count_dead_letters(&self, filter: &LetterFilter) -> Result<u64> {
        const DOING: &str = "count dead letters";
        let statement = letters::count(filter, &DIALECT);
        let bound = arguments(&statement).map_err(failed(DOING))?;
        // Safe: names of our own, and placeholders.
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), bound);
        let row = query.fetch_one(&self.readers).await.map_err(failed(DOING))?;
        Ok(row.try_get::<i64, _>(0).map_err(failed(DOING))?.unsigned_abs())
    }

    async fn remove_dead_letters(&self, filter: &LetterFilter, limit: usize) -> Result<u64> {
        const DOING: &str = "remove dead letters";
        let statement = letters::delete(filter, limit, &DIALECT);
        let bound = arguments(&statement).map_err(failed(DOING))?;
        // Safe: names of our own, and placeholders.
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), bound);
        Ok(query.execute(&self.writer).await.map_err(failed(DOING))?.rows_affected())
    }
}

//! Somebody else's table, as its own database tells of it and hands out its rows.
//!
//! Each look is one READ ONLY transaction, bounded in time, that takes no stronger lock than any SELECT (ACCESS SHARE)
//! and sets nothing beyond itself, so that a pooler may stand between. Names come quoted from the server's catalogue,
//! which looks the caller's text up as a value; no text of the caller's is part of a statement.

mod catalogue;
mod pages;

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use self::pages::Statements;
use super::failed;
use super::pool::Pool;
use super::work::Limits;
use crate::settings::DatabaseUrl;
use crate::settings::store::{PostgresSettings, PreparedStatements};
use crate::store::Result;
use crate::store::foreign::{Facts, Page, Position};

const DOING: &str = "read the table";

/// A table to read, over one connection.
pub struct ForeignTable {
    pool: Pool,
    limits: Limits,
    facts: Facts,
    statements: Statements,
}

impl ForeignTable {
    /// Finds a table by its name as SQL writes it: `public.trace_spans`, `"My Schema"."Spans"`.
    ///
    /// # Errors
    /// [`crate::store::StoreError::Other`] if there is none, the role may not read all of it, or it is nothing whose rows
    /// can be told apart (a view); [`crate::store::StoreError::Unavailable`] if the database does not answer.
    pub async fn open(url: &DatabaseUrl, name: &str, settings: &PostgresSettings) -> Result<Self> {
        // Nothing of ours is known of a pooler in front of somebody else's database.
        let settings = PostgresSettings { prepared_statements: PreparedStatements::Never, ..settings.clone() };
        let pool = Pool::new(super::options(url.expose())?, &settings, 1);
        let limits = Limits::new(settings.statement_timeout_secs);
        let options = PgConnectOptions::from_str(url.expose()).map_err(failed(DOING))?;
        let host = format!("{}:{}", options.get_host(), options.get_port());
        let found = limits.hold(DOING, catalogue::look_up(&pool, limits, &host, name)).await?;
        let statements = Statements::new(&found);
        Ok(Self { pool, limits, facts: found.facts, statements })
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// About `rows` rows behind a position, in order, fewer where they are large; each page sees one state of the table.
    ///
    /// # Errors
    /// As their class says; a position that is none of this table's is [`crate::store::StoreError::Other`].
    pub async fn page(&self, after: Option<&Position>, rows: usize) -> Result<Page> {
        self.limits.hold(DOING, self.statements.read(&self.pool, self.limits, after, rows)).await
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

//! A transaction on a connection of a pool, with its time limits, which leaves no connection in doubt.
//!
//! Limits are set inside the transaction, so nothing outlives it and a pooler in transaction mode may stand between. A
//! piece of work that is dropped before its end (a caller that gave up, a reply that never came, a COPY cut in two) takes
//! its connection with it: closing the socket is what makes the server roll back, whatever state it was in.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Postgres};

use super::failed;
use crate::store::{Result, StoreError};

/// How long a piece of work may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// On the server, for each statement.
    statement_ms: u64,
    /// Here, for all of it: later than the server, which has the better message.
    whole: Duration,
    /// Whether statements stay prepared, so that one plan for all values is made but once.
    prepared: bool,
}

impl Limits {
    pub(super) fn new(statement_secs: u64, prepared: bool) -> Self {
        let whole = Duration::from_secs(statement_secs.saturating_mul(3).saturating_add(20));
        Self { statement_ms: statement_secs.saturating_mul(1_000), whole, prepared }
    }

    /// Gives up on work that takes too long. The future must own its [`Work`], which closes the connection.
    pub(super) async fn hold<T>(self, doing: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let late = || StoreError::Unavailable { doing, source: "the database does not answer".into() };
        tokio::time::timeout(self.whole, work).await.unwrap_or_else(|_| Err(late()))
    }
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each statement sees what is committed by then.
    Write,
    /// All statements see one state.
    Read,
    /// As [`Mode::Read`], of tables that are not ours, whose values are to read the same whatever the database's settings.
    Foreign,
    /// Changes tables: waits but shortly for others, since others wait behind it.
    Define,
}

impl Mode {
    /// Plans must go by the indexes: a table that was never analysed, or whose statistics are of an emptier day, would
    /// otherwise be read from end to end.
    const BY_INDEX: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
         SET LOCAL enable_mergejoin = off; SET LOCAL jit = off";

    /// Instants in UTC, numbers in full; and pages in the order of an index are never sorted instead.
    const IN_ORDER: &str = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; \
         SET LOCAL IntervalStyle = 'postgres'; SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; \
         SET LOCAL lock_timeout = 2000; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
         SET LOCAL enable_sort = off; SET LOCAL jit = off";

    pub(super) fn begin(self, limits: Limits) -> String {
        let (begin, more) = match self {
            Mode::Write => ("BEGIN", Self::BY_INDEX),
            Mode::Read => ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", Self::BY_INDEX),
            Mode::Foreign => ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", Self::IN_ORDER),
            Mode::Define => ("BEGIN", "SET LOCAL lock_timeout = 2000"),
        };
        // Planning for each value anew costs ten times what running takes: every partition is looked at. Which of them a
        // statement needs is found as it starts.
        let plan = if limits.prepared { "; SET LOCAL plan_cache_mode = force_generic_plan" } else { "" };
        format!("{begin}; SET LOCAL statement_timeout = {}; {more}{plan}", limits.statement_ms)
    }
}

/// A transaction under way.
pub(super) struct Work {
    connection: Option<PoolConnection<Postgres>>,
    /// Whether a COPY is under way: then the connection takes no statement.
    copying: bool,
    doing: &'static str,
}

impl Work {
    /// Costs a round trip.
    pub(super) async fn begin(pool: &PgPool, mode: Mode, limits: Limits, doing: &'static str) -> Result<Self> {
        let connection = pool.acquire().await.map_err(failed(doing))?;
        let mut work = Self { connection: Some(connection), copying: false, doing };
        work.execute(mode.begin(limits)).await?;
        Ok(work)
    }

    /// Runs statements without binds, in one round trip. They must be our own text.
    pub(super) async fn execute(&mut self, statements: String) -> Result<()> {
        let doing = self.doing;
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut **self).await.map_err(failed(doing))?;
        Ok(())
    }

    pub(super) async fn commit(mut self) -> Result<()> {
        self.execute("COMMIT".to_owned()).await?;
        // Gives the connection back.
        self.connection.take();
        Ok(())
    }

    /// Ends the transaction without a trace. Costs a round trip, or the connection where it cannot be known to be in
    /// order.
    pub(super) async fn rollback(mut self) {
        if !self.copying && self.execute("ROLLBACK".to_owned()).await.is_ok() {
            self.connection.take();
        }
    }

    /// Commits what went well and rolls back what did not.
    pub(super) async fn end<T>(self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => self.commit().await.map(|()| value),
            Err(error) => {
                self.rollback().await;
                Err(error)
            }
        }
    }

    /// To be told before a COPY begins, and after its end was heard.
    pub(super) fn copying(&mut self, copying: bool) {
        self.copying = copying;
    }
}

impl Deref for Work {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("it is taken only by what consumes the work")
    }
}

impl DerefMut for Work {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is taken only by what consumes the work")
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

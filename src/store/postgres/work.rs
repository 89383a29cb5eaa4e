//! A transaction on a connection of a pool, with its time limits, which leaves no connection in doubt.
//!
//! Limits are set inside the transaction, so nothing outlives it and a pooler in transaction mode may stand between. A
//! piece of work that is dropped before its end (a caller that gave up, a reply that never came, a COPY cut in two) takes
//! its connection with it: closing the socket is what makes the server roll back, whatever state it was in.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};
use tokio::time::timeout;

use super::pool::{Held, Pool};
use super::{code_of_store, failed};
use crate::store::error::{Cause, Reach};
use crate::store::{Result, StoreError};

/// How long a piece of work may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// On the server, for each statement.
    statement: Duration,
    /// Here, for all of it: later than the server, which has the better message.
    whole: Duration,
    /// Whether statements stay prepared, so that one plan for all values is made but once.
    prepared: bool,
}

impl Limits {
    /// What an answer may need to come here after its statement's time on the server is over.
    const ON_THE_WAY: Duration = Duration::from_secs(5);

    pub(super) fn new(statement_secs: u64, prepared: bool) -> Self {
        let statement = Duration::from_secs(statement_secs);
        Self { statement, whole: statement.saturating_mul(2).saturating_add(Self::ON_THE_WAY), prepared }
    }

    /// Gives up on work that takes too long. The future must own its [`Work`], which closes the connection.
    pub(super) async fn hold<T>(self, doing: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(self.whole, work).await.unwrap_or_else(|_| Err(silent(doing, self.whole)))
    }

    /// As [`Limits::hold`], for what may take long on a large store.
    pub(super) async fn hold_long<T>(self, doing: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let long = self.whole.saturating_mul(10);
        timeout(long, work).await.unwrap_or_else(|_| Err(silent(doing, long)))
    }
}

fn silent(doing: &'static str, after: Duration) -> StoreError {
    let source = format!("no answer within {} s", after.as_secs()).into();
    StoreError::Unavailable { doing, cause: Cause::Silent, source }
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
        format!("{begin}; SET LOCAL statement_timeout = {}; {more}{plan}", limits.statement.as_millis())
    }
}

/// A transaction under way. Dropped, it closes its connection.
pub(super) struct Work {
    connection: Held,
    /// Whether a COPY is under way: then the connection takes no statement.
    copying: bool,
    limits: Limits,
    doing: &'static str,
}

impl Work {
    /// Costs a round trip.
    pub(super) async fn begin(pool: &Pool, mode: Mode, limits: Limits, doing: &'static str) -> Result<Self> {
        Ok(Self::begin_asking(pool, mode, limits, "", doing).await?.0)
    }

    /// Begins, and asks a question in the same round trip: `question` is a SELECT of our own of one text. Without an
    /// answer it is empty.
    pub(super) async fn begin_asking(
        pool: &Pool,
        mode: Mode,
        limits: Limits,
        question: &str,
        doing: &'static str,
    ) -> Result<(Self, String)> {
        let statements = format!("{}; {question}", mode.begin(limits));
        loop {
            let connection = pool.acquire(doing).await?;
            let is_fresh = connection.is_fresh();
            let patience = connection.patience().min(limits.statement + Limits::ON_THE_WAY);
            let mut work = Self { connection, copying: false, limits, doing };
            let error = match work.run(statements.clone(), patience).await {
                Ok(rows) => {
                    let answer = rows.last().and_then(|row| row.try_get::<Option<&str>, _>(0).ok().flatten());
                    let answer = answer.unwrap_or_default().to_owned();
                    return Ok((work, answer));
                }
                Err(error) => work.left_by(error),
            };
            // The server ended it while it idled, which says nothing of a new one.
            if is_fresh || !is_of_connection(&error) || error.cause() == Cause::Silent {
                return Err(error);
            }
        }
    }

    /// Runs statements without binds, in one round trip. They must be our own text.
    pub(super) async fn execute(&mut self, statements: String) -> Result<()> {
        let patience = self.limits.statement + Limits::ON_THE_WAY;
        self.run(statements, patience).await.map(|_| ())
    }

    async fn run(&mut self, statements: String, patience: Duration) -> Result<Vec<PgRow>> {
        let doing = self.doing;
        let run = sqlx::raw_sql(AssertSqlSafe(statements)).fetch_all(&mut *self.connection);
        match timeout(patience, run).await {
            Ok(result) => result.map_err(failed(doing)),
            Err(_) => Err(silent(doing, patience)),
        }
    }

    pub(super) async fn commit(mut self) -> Result<()> {
        match self.execute("COMMIT".to_owned()).await {
            Ok(()) => {
                self.connection.give_back();
                Ok(())
            }
            Err(error) => Err(self.left_by(error)),
        }
    }

    /// Ends the transaction without a trace. Costs a round trip, or the connection where it cannot be known to be in
    /// order.
    pub(super) async fn rollback(mut self) {
        if !self.copying && self.execute("ROLLBACK".to_owned()).await.is_ok() {
            self.connection.give_back();
        }
    }

    /// Commits what went well and rolls back what did not.
    pub(super) async fn end<T>(self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => self.commit().await.map(|()| value),
            Err(error) if is_of_connection(&error) => Err(self.left_by(error)),
            Err(error) => {
                self.rollback().await;
                Err(error)
            }
        }
    }

    /// Closes the connection, and those that idle beside it if they are as broken or as mistaken.
    fn left_by(self, error: StoreError) -> StoreError {
        if is_of_connection(&error) {
            self.connection.pool().forget_idle();
        }
        error
    }

    /// To be told before a COPY begins, and after its end was heard.
    pub(super) fn copying(&mut self, copying: bool) {
        self.copying = copying;
    }
}

/// Whether an error says that connections cannot be used on: they broke, or remember statements or tables that are no
/// more what they were.
fn is_of_connection(error: &StoreError) -> bool {
    const STALE: [&str; 3] = ["0A000", "26000", "42P05"];
    match error {
        StoreError::Unavailable { cause, .. } => cause.reach() == Reach::Everything || *cause == Cause::ReadOnly,
        error => code_of_store(error).is_some_and(|code| STALE.contains(&code.as_str())),
    }
}

impl Deref for Work {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Work {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

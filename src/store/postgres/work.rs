//! A transaction on a connection of a pool, with its time limits, which leaves no connection in doubt.
//!
//! Limits are set inside the transaction, so nothing outlives it and a pooler in transaction mode may stand between. A
//! piece of work that is dropped before its end (a caller that gave up, a reply that never came, a COPY cut in two) takes
//! its connection with it: closing the socket is what makes the server roll back, whatever state it was in.

use std::cell::Cell;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};
use tokio::time::{Instant, timeout, timeout_at};

use super::failed;
use super::pool::{Held, Pool};
use super::session::{Seen, Session};
use crate::store::error::{Cause, Reach};
use crate::store::{Result, StoreError};

tokio::task_local! {
    /// When the statement that is under way was sent, in a piece of work with limits.
    static SENT: Cell<Option<Instant>>;
}

/// To be told before a statement is sent.
pub(super) fn begins() {
    // Elsewhere than in a piece of work nobody asks.
    let _ = SENT.try_with(|sent| sent.set(Some(Instant::now())));
}

/// How long a piece of work may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// On the server, for each statement.
    statement: Duration,
    /// Here, for each statement: later than the server, which has the better message.
    answer: Duration,
    /// Here, for all of it.
    whole: Duration,
}

impl Limits {
    /// What an answer may need to come here after its statement's time on the server is over.
    const ON_THE_WAY: Duration = Duration::from_secs(5);

    pub(super) fn new(statement_secs: u64) -> Self {
        let statement = Duration::from_secs(statement_secs);
        let answer = statement.saturating_add(Self::ON_THE_WAY);
        Self { statement, answer, whole: statement.saturating_add(answer) }
    }

    /// For what may take long on a large store.
    pub(super) fn long(self) -> Self {
        let ten_times = |limit: Duration| limit.saturating_mul(10);
        let statement = ten_times(self.statement);
        Self { statement, answer: statement.saturating_add(Self::ON_THE_WAY), whole: ten_times(self.whole) }
    }

    /// Gives up on work that takes too long, or of which a statement does. The future must own its [`Work`], which
    /// closes the connection.
    pub(super) async fn hold<T>(self, doing: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let held = async {
            let mut work = pin!(work);
            let end = Instant::now() + self.whole;
            loop {
                // A statement may be sent while this waits: looked for once in the time that one may take.
                let look = || SENT.with(Cell::get).unwrap_or_else(Instant::now) + self.answer;
                if let Ok(result) = timeout_at(look().min(end), &mut work).await {
                    return result;
                }
                if look().min(end) <= Instant::now() {
                    return Err(silent(doing, self.answer));
                }
            }
        };
        SENT.scope(Cell::new(None), held).await
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
    /// otherwise be read from end to end. And they must be made for all values, not for those at hand: where statements
    /// stay prepared, planning anew costs ten times what running takes, since every partition is looked at; where they do
    /// not, values that are known to the planner make it join thousands of keys with thousands of rows one by one. Which
    /// partitions a statement needs is found as it starts.
    const BY_INDEX: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
         SET LOCAL enable_mergejoin = off; SET LOCAL jit = off; SET LOCAL plan_cache_mode = force_generic_plan";

    /// Instants in UTC, numbers in full; and pages in the order of an index are never sorted instead.
    const IN_ORDER: &str = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; \
         SET LOCAL IntervalStyle = 'postgres'; SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; \
         SET LOCAL lock_timeout = 2000; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
         SET LOCAL enable_sort = off; SET LOCAL jit = off";

    pub(super) fn begin(self, limits: Limits) -> String {
        let (begin, more) = match self {
            Mode::Write => ("BEGIN ISOLATION LEVEL READ COMMITTED", Self::BY_INDEX),
            Mode::Read => ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", Self::BY_INDEX),
            Mode::Foreign => ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", Self::IN_ORDER),
            Mode::Define => ("BEGIN ISOLATION LEVEL READ COMMITTED", "SET LOCAL lock_timeout = 2000"),
        };
        format!("{begin}; SET LOCAL statement_timeout = {}; {more}", limits.statement.as_millis())
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

    /// Begins, and asks a question in the same round trip: `question` is a SELECT of our own of one text, or several of which
    /// the last one is. Without an answer it is empty.
    pub(super) async fn begin_asking(
        pool: &Pool,
        mode: Mode,
        limits: Limits,
        question: &str,
        doing: &'static str,
    ) -> Result<(Self, String)> {
        loop {
            let connection = pool.acquire(doing).await?;
            let is_fresh = connection.is_fresh();
            let patience = connection.patience().min(limits.answer);
            let mut work = Self { connection, copying: false, limits, doing };
            let watched = work.connection.is_named() && pool.names().are_watched();
            let session = if watched { work.connection.question() } else { "" };
            let statements = format!("{}; {session}; {question}", mode.begin(limits));
            let error = match work.run(statements, patience).await {
                Ok(rows) => {
                    let answer = |row: Option<&PgRow>| {
                        row.and_then(|row| row.try_get::<Option<&str>, _>(0).ok().flatten())
                            .unwrap_or_default()
                            .to_owned()
                    };
                    if watched && !work.keeps_names(&answer(rows.first())).await {
                        work.rollback().await;
                        continue;
                    }
                    return Ok((work, answer(rows.last())));
                }
                Err(error) => work.left_by(error),
            };
            // The server ended it while it idled, which says nothing of a new one.
            if is_fresh || !is_of_connection(&error) || error.cause() == Cause::Silent {
                return Err(error);
            }
        }
    }

    /// Whether the connection may go on using names, by what the server says of its session.
    async fn keeps_names(&mut self, session: &str) -> bool {
        let pool = self.connection.pool();
        match self.connection.judge(session).await {
            Seen::Own => true,
            Seen::Followed => {
                pool.names().trust();
                true
            }
            Seen::Shared => {
                pool.names().give_up();
                pool.forget_idle();
                false
            }
        }
    }

    /// Runs statements without binds, in one round trip. They must be our own text.
    pub(super) async fn execute(&mut self, statements: String) -> Result<()> {
        self.run(statements, self.limits.answer).await.map(|_| ())
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
            let pool = self.connection.pool();
            if error.code().is_some_and(|code| MISNAMED.contains(&code.as_str())) {
                pool.names().give_up();
            }
            pool.forget_idle();
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
    const STALE: &str = "0A000";
    match error {
        StoreError::Unavailable { cause, .. } => cause.reach() == Reach::Everything || *cause == Cause::ReadOnly,
        error => error.code().is_some_and(|code| code == STALE || MISNAMED.contains(&code.as_str())),
    }
}

/// A statement's name is not known, or is taken.
const MISNAMED: [&str; 2] = ["26000", "42P05"];

impl Deref for Work {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.connection
    }
}

impl DerefMut for Work {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        statement: Duration::from_millis(100),
        answer: Duration::from_millis(200),
        whole: Duration::from_secs(60),
    };

    #[tokio::test]
    async fn a_statement_that_hangs_is_given_up_long_before_the_whole() {
        let hangs = async {
            begins();
            std::future::pending().await
        };
        let begun = Instant::now();
        let error = LIMITS.hold::<()>("test", hangs).await.unwrap_err();
        assert_eq!(error.cause(), Cause::Silent);
        assert!(begun.elapsed() < LIMITS.whole / 2);
    }

    #[tokio::test]
    async fn many_statements_may_take_longer_than_one() {
        let goes_on = async {
            for _ in 0..8 {
                begins();
                tokio::time::sleep(LIMITS.statement / 2).await;
            }
            Ok(())
        };
        LIMITS.hold("test", goes_on).await.unwrap();
    }
}

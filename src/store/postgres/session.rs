//! A connection as statements use it, and whether it may keep them prepared by name.
//!
//! A prepared statement's name lives in a session of the server. A pooler in transaction mode hands sessions from client
//! to client, so that a name is unknown in the next one, is taken there, or, worst, means another statement. Some poolers
//! follow names from session to session (PgBouncer from 1.21 with `max_prepared_statements`), most do not. Which it is
//! need not be told: sessions have ids, which a transaction asks for as it begins, before anything relies on a name.

use std::sync::atomic::{AtomicU8, Ordering};

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgArguments, PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Either, Execute, Executor, Postgres, SqlStr};

use super::work;
use crate::settings::store::PreparedStatements;

/// A connection that names no statement where names mean nothing.
#[derive(Debug)]
pub(super) struct Session {
    connection: PgConnection,
    /// Whether it keeps statements by name.
    named: bool,
    /// The server's process, as the last transaction found it.
    backend: Option<String>,
}

impl Session {
    pub(super) fn new(connection: PgConnection, names: &Names) -> Self {
        Self { connection, named: names.are_used(), backend: None }
    }

    /// The connection itself, for what has no statement: COPY.
    pub(super) fn raw(&mut self) -> &mut PgConnection {
        work::begins();
        &mut self.connection
    }

    pub(super) fn into_connection(self) -> PgConnection {
        self.connection
    }

    pub(super) fn is_named(&self) -> bool {
        self.named
    }

    /// A SELECT of one text by which [`Session::judge`] knows the session again, in a transaction.
    pub(super) fn question(&self) -> &'static str {
        match self.backend {
            // Nobody has named anything in a new session.
            None => {
                "SELECT pg_catalog.pg_backend_pid() || ' ' || (SELECT CASE WHEN count(*) = 0 THEN '' \
                 WHEN bool_or(name LIKE 'PGBOUNCER\\_%') THEN 'followed' ELSE 'shared' END \
                 FROM pg_catalog.pg_prepared_statements)"
            }
            Some(_) => "SELECT pg_catalog.pg_backend_pid() || ' '",
        }
    }

    /// What the answer to [`Session::question`] says of names. May ask once more.
    pub(super) async fn judge(&mut self, answer: &str) -> Seen {
        let (backend, names) = answer.split_once(' ').unwrap_or((answer, ""));
        let last = self.backend.replace(backend.to_owned());
        match (names, last) {
            ("followed", _) => Seen::Followed,
            ("shared", _) => Seen::Shared,
            (_, Some(last)) if last != backend => match self.is_followed().await {
                Ok(true) => Seen::Followed,
                // The name may be taken: that says the same.
                Ok(false) | Err(_) => Seen::Shared,
            },
            _ => Seen::Own,
        }
    }

    /// Whether what is named here has another name there, by which a pooler follows it.
    async fn is_followed(&mut self) -> sqlx::Result<bool> {
        sqlx::query("SELECT 1 AS followed").execute(&mut *self).await?;
        let sql = "SELECT name FROM pg_catalog.pg_prepared_statements WHERE name LIKE 'PGBOUNCER\\_%' LIMIT 1";
        Ok(sqlx::raw_sql(sql).fetch_optional(&mut *self).await?.is_some())
    }
}

/// What a transaction found out about the session that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It may be this connection's alone.
    Own,
    /// It is not, and the pooler follows names.
    Followed,
    /// It is not, and names mean nothing.
    Shared,
}

/// Whether the connections of a pool keep statements by name.
pub(super) struct Names(AtomicU8);

impl Names {
    const WATCHED: u8 = 0;
    const USED: u8 = 1;
    const UNUSED: u8 = 2;

    pub(super) fn new(setting: PreparedStatements) -> Self {
        Self(AtomicU8::new(match setting {
            PreparedStatements::Auto => Self::WATCHED,
            PreparedStatements::Always => Self::USED,
            PreparedStatements::Never => Self::UNUSED,
        }))
    }

    pub(super) fn are_used(&self) -> bool {
        self.0.load(Ordering::Relaxed) != Self::UNUSED
    }

    /// Whether it is yet to be found out.
    pub(super) fn are_watched(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::WATCHED
    }

    /// Uses them without further questions.
    pub(super) fn trust(&self) {
        if self.leave(Self::USED) {
            tracing::info!("a pooler stands before PostgreSQL and follows prepared statements");
        }
    }

    /// Does without them from here on.
    pub(super) fn give_up(&self) {
        if self.leave(Self::UNUSED) {
            tracing::warn!(
                "a pooler stands before PostgreSQL and does not follow prepared statements: they are not used from here on, \
                 which costs time. Let store.write_url name the direct host; store.postgres.prepared_statements = \"never\" \
                 says from the start what was found out just now"
            );
        }
    }

    /// True for who found out.
    fn leave(&self, to: u8) -> bool {
        self.0.compare_exchange(Self::WATCHED, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl<'c> Executor<'c> for &'c mut Session {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let named = self.named;
        self.raw().fetch_many(Unnamed { query, named })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let named = self.named;
        self.raw().fetch_optional(Unnamed { query, named })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        self.raw().prepare_with(sql, parameters)
    }
}

/// A query that is named only where names are used. Without a cache of statements the driver would name it all the same.
struct Unnamed<E> {
    query: E,
    named: bool,
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Unnamed<E> {
    fn sql(self) -> SqlStr {
        self.query.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.query.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, sqlx::error::BoxDynError> {
        self.query.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.named && self.query.persistent()
    }
}

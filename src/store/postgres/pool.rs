//! Connections to keep and to share: few, opened when they are needed, closed when they have idled.
//!
//! sqlx has a pool. This one differs in what matters when the server does not behave: why no connection came about is
//! told at once and in the server's words; every step has its time limit; a connection in doubt is closed by closing its
//! socket, which waits for nobody and makes the server roll back; and one that broke takes those that idle with it,
//! since what ended it has ended them.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::failed;
use crate::settings::store::PostgresSettings;
use crate::store::error::Cause;
use crate::store::{Result, StoreError};

/// A connection idle for longer is asked whether it still lives before it is used.
const ASK_AFTER: Duration = Duration::from_secs(2);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Some connections to one server as one role. Cloning shares them.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    options: PgConnectOptions,
    /// One permit for each connection that may be in use.
    places: Arc<Semaphore>,
    idle: Mutex<Idles>,
    /// For a place, and then for a connection.
    patience: Duration,
    idle_timeout: Duration,
    max_lifetime: Duration,
}

#[derive(Default)]
struct Idles {
    connections: Vec<Idle>,
    /// Whether a task looks after them.
    watched: bool,
}

struct Idle {
    connection: PgConnection,
    born: Instant,
    since: Instant,
}

/// A connection in use. Dropped, its socket is closed: only [`Held::give_back`] keeps it.
pub(super) struct Held {
    connection: PgConnection,
    born: Instant,
    /// Whether it was connected just now.
    fresh: bool,
    pool: Arc<Shared>,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    /// Opens nothing yet.
    pub(super) fn new(options: PgConnectOptions, settings: &PostgresSettings, connections: u32) -> Self {
        Self(Arc::new(Shared {
            options,
            places: Arc::new(Semaphore::new(connections.max(1) as usize)),
            idle: Mutex::default(),
            patience: Duration::from_secs(settings.acquire_timeout_secs),
            idle_timeout: Duration::from_secs(settings.idle_timeout_secs),
            max_lifetime: Duration::from_secs(settings.max_lifetime_secs),
        }))
    }

    /// A connection that lives. Costs nothing where one idles; a round trip where it has idled for a while; else what
    /// connecting costs.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: as [`Cause::Busy`] when all are in use for too long, else as connecting fails.
    pub(super) async fn acquire(&self, doing: &'static str) -> Result<Held> {
        let unavailable = |cause, source: &str| StoreError::Unavailable { doing, cause, source: source.into() };
        let shared = &self.0;
        let place = match timeout(shared.patience, shared.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(unavailable(Cause::Busy, "the store is being closed")),
            Err(_) => return Err(unavailable(Cause::Busy, "all connections of ours have been in use for too long")),
        };
        let held = |connection, born, fresh| Held { connection, born, fresh, pool: shared.clone(), _place: place };
        while let Some(Idle { mut connection, born, since }) = shared.take() {
            if born.elapsed() > shared.max_lifetime {
                farewell(connection);
                continue;
            }
            if since.elapsed() <= ASK_AFTER {
                return Ok(held(connection, born, false));
            }
            match timeout(shared.patience, connection.ping()).await {
                Ok(Ok(())) => return Ok(held(connection, born, false)),
                // The others have idled as long.
                Ok(Err(_)) => self.forget_idle(),
                Err(_) => {
                    self.forget_idle();
                    return Err(unavailable(Cause::Silent, "an open connection does not answer"));
                }
            }
        }
        match timeout(shared.patience, PgConnection::connect_with(&shared.options)).await {
            Ok(Ok(connection)) => Ok(held(connection, Instant::now(), true)),
            Ok(Err(error)) => Err(failed(doing)(error)),
            Err(_) => {
                let secs = shared.patience.as_secs();
                Err(unavailable(Cause::Silent, &format!("the server has not let us in within {secs} s")))
            }
        }
    }

    /// Closes those that are not in use.
    pub(super) fn forget_idle(&self) {
        // Closing sockets is not to happen under the lock.
        let idle = std::mem::take(&mut self.0.lock().connections);
        drop(idle);
    }

    /// Lets go of all connections, those in use once they are given back; no further one is opened.
    pub(super) async fn close(&self) {
        self.0.places.close();
        let idle = std::mem::take(&mut self.0.lock().connections);
        let farewells = idle.into_iter().map(|idle| timeout(FAREWELL, idle.connection.close()));
        futures_util::future::join_all(farewells).await;
    }
}

impl Held {
    /// Keeps the connection for others. It must be in order: outside of a transaction, with nothing under way.
    pub(super) fn give_back(self) {
        let Self { connection, born, pool, .. } = self;
        if pool.places.is_closed() {
            return farewell(connection);
        }
        let was_watched = {
            let mut idle = pool.lock();
            idle.connections.push(Idle { connection, born, since: Instant::now() });
            std::mem::replace(&mut idle.watched, true)
        };
        if !was_watched {
            tokio::spawn(close_idle(Arc::downgrade(&pool), pool.idle_timeout));
        }
    }

    /// Whether it was connected just now, not used before.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// How long a step may take that costs the server nothing.
    pub(super) fn patience(&self) -> Duration {
        self.pool.patience
    }

    /// The pool that it is of.
    pub(super) fn pool(&self) -> Pool {
        Pool(self.pool.clone())
    }
}

impl Deref for Held {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Shared {
    /// The one that was used last, so that those that are not needed grow old.
    fn take(&self) -> Option<Idle> {
        self.lock().connections.pop()
    }

    fn lock(&self) -> MutexGuard<'_, Idles> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what idles for too long, for as long as anything idles.
async fn close_idle(pool: Weak<Shared>, idle_timeout: Duration) {
    loop {
        tokio::time::sleep(idle_timeout / 4).await;
        let Some(pool) = pool.upgrade() else { return };
        let (old, watched) = {
            let mut idle = pool.lock();
            let is_old = |idle: &mut Idle| idle.since.elapsed() >= idle_timeout;
            let old: Vec<Idle> = idle.connections.extract_if(.., is_old).collect();
            idle.watched = !idle.connections.is_empty();
            (old, idle.watched)
        };
        old.into_iter().for_each(|idle| farewell(idle.connection));
        if !watched {
            return;
        }
    }
}

/// Tells the server that the connection ends, aside; it is closed in any case.
fn farewell(connection: PgConnection) {
    tokio::spawn(timeout(FAREWELL, connection.close()));
}

//! Connections to keep and to share: few, opened when they are needed, closed when they have idled.
//!
//! sqlx has a pool. This one differs in what matters when the server does not behave: why no connection came about is
//! told at once and in the server's words; every step has its time limit; a connection in doubt is closed by closing its
//! socket, which waits for nobody and makes the server roll back; and one that broke takes those that idle with it,
//! since what ended it has ended them. (docs/adr/0008-connection-pool.md)
//!
//! No more connections stand at a time than the pool has places, those that idle included.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::failed;
use super::nagle;
use super::session::{Names, Session};
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
    names: Names,
    /// The pool whose places these are, where it has none of its own.
    lender: Option<Pool>,
}

#[derive(Default)]
struct Idles {
    connections: Vec<Idle>,
    /// Whether a task looks after them.
    watched: bool,
}

struct Idle {
    session: Session,
    born: Instant,
    since: Instant,
}

/// A connection in use. Dropped, its socket is closed: only [`Held::give_back`] keeps it.
pub(super) struct Held {
    session: Session,
    born: Instant,
    /// Whether it was connected just now.
    fresh: bool,
    /// Whether it is to be closed in any case.
    apart: bool,
    pool: Arc<Shared>,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    /// Opens nothing yet.
    pub(super) fn new(options: PgConnectOptions, settings: &PostgresSettings, connections: u32) -> Self {
        let places = Arc::new(Semaphore::new(connections.max(1) as usize));
        Self::with(options, settings, places, None)
    }

    /// Connections by other options in the places of another pool, each closed after its use: for what is seldom done.
    pub(super) fn beside(lender: &Pool, options: PgConnectOptions, settings: &PostgresSettings) -> Self {
        Self::with(options, settings, lender.0.places.clone(), Some(lender.clone()))
    }

    fn with(
        options: PgConnectOptions,
        settings: &PostgresSettings,
        places: Arc<Semaphore>,
        lender: Option<Pool>,
    ) -> Self {
        Self(Arc::new(Shared {
            options,
            places,
            idle: Mutex::default(),
            patience: Duration::from_secs(settings.acquire_timeout_secs),
            idle_timeout: Duration::from_secs(settings.idle_timeout_secs),
            max_lifetime: Duration::from_secs(settings.max_lifetime_secs),
            names: Names::new(settings.prepared_statements),
            lender,
        }))
    }

    /// A connection that lives. Costs nothing where one idles; a round trip where it has idled for a while; else what
    /// connecting costs.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: as [`Cause::Busy`] when all are in use for too long, else as connecting fails.
    pub(super) async fn acquire(&self, doing: &'static str) -> Result<Held> {
        let shared = &self.0;
        if let Some(lender) = &shared.lender {
            let place = lender.place(doing).await?;
            lender.make_room().await;
            return shared.connect(place, true, doing).await;
        }
        let place = self.place(doing).await?;
        while let Some(Idle { mut session, born, since }) = shared.take() {
            if born.elapsed() > shared.max_lifetime || session.is_named() && !shared.names.are_used() {
                farewell(session).await;
                continue;
            }
            let answered = match since.elapsed() <= ASK_AFTER {
                true => Ok(Ok(())),
                false => timeout(shared.patience, session.raw().ping()).await,
            };
            match answered {
                Ok(Ok(())) => {
                    let pool = shared.clone();
                    return Ok(Held { session, born, fresh: false, apart: false, pool, _place: place });
                }
                // The others have idled as long.
                Ok(Err(_)) => self.forget_idle(),
                Err(_) => {
                    self.forget_idle();
                    return Err(unavailable(doing, Cause::Silent, "an open connection does not answer"));
                }
            }
        }
        shared.connect(place, false, doing).await
    }

    /// Whether connections keep statements by name.
    pub(super) fn names(&self) -> &Names {
        &self.0.names
    }

    async fn place(&self, doing: &'static str) -> Result<OwnedSemaphorePermit> {
        match timeout(self.0.patience, self.0.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(unavailable(doing, Cause::Busy, "the store is being closed")),
            Err(_) => Err(unavailable(doing, Cause::Busy, "all connections of ours have been in use for too long")),
        }
    }

    /// Closes one that idles, if any does, for one that is not of this pool.
    async fn make_room(&self) {
        if let Some(idle) = self.0.take() {
            farewell(idle.session).await;
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
        let farewells = idle.into_iter().map(|idle| farewell(idle.session));
        futures_util::future::join_all(farewells).await;
    }
}

impl Held {
    /// Keeps the connection for others. It must be in order: outside of a transaction, with nothing under way.
    pub(super) fn give_back(self) {
        let Self { session, born, apart, pool, _place: place, .. } = self;
        if apart || pool.places.is_closed() || session.is_named() && !pool.names.are_used() {
            // Its place is another's once it is gone.
            tokio::spawn(async move {
                farewell(session).await;
                drop(place);
            });
            return;
        }
        let was_watched = {
            let mut idle = pool.lock();
            idle.connections.push(Idle { session, born, since: Instant::now() });
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
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl Shared {
    async fn connect(self: &Arc<Self>, place: OwnedSemaphorePermit, apart: bool, doing: &'static str) -> Result<Held> {
        match timeout(self.patience, PgConnection::connect_with(&self.options)).await {
            Ok(Ok(connection)) => {
                nagle::send_at_once(self.options.get_port());
                let session = Session::new(connection, &self.names);
                Ok(Held { session, born: Instant::now(), fresh: true, apart, pool: self.clone(), _place: place })
            }
            Ok(Err(error)) => Err(failed(doing)(error)),
            Err(_) => {
                let secs = self.patience.as_secs();
                Err(unavailable(doing, Cause::Silent, &format!("the server has not let us in within {secs} s")))
            }
        }
    }

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
        for idle in old {
            tokio::spawn(farewell(idle.session));
        }
        if !watched {
            return;
        }
    }
}

/// Tells the server that the connection ends; it is closed in any case.
async fn farewell(session: Session) {
    // Whatever came of it.
    let _ = timeout(FAREWELL, session.into_connection().close()).await;
}

fn unavailable(doing: &'static str, cause: Cause, source: &str) -> StoreError {
    StoreError::Unavailable { doing, cause, source: source.into() }
}

//! Nothing accepted is lost: the real binary under load, ended and hindered in every way that was thought of, and then
//! what is in the store compared, row by row, with what was acknowledged and with what was sent.
//!
//! docs/reliability.md names these tests beside what they show.

mod disk;
mod kills;
mod ledger;
mod load;
mod outage;
mod replicas;
mod server;
mod stop;
mod stored;
mod versions;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::binary::Server;
use crate::support::psql::Database;
use crate::support::{client, json};

/// How long anything may take until it holds. Generous, since tests share a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a service of a test keeps everything: a data folder, and a database.
struct Site {
    folder: TempDir,
    store: Place,
}

/// The store behind it.
enum Place {
    /// A file in the data folder.
    Sqlite,
    Postgres {
        url: String,
        /// Gone with the site, if it is one of the shared server's.
        _database: Option<Database>,
    },
}

impl Site {
    fn sqlite() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), store: Place::Sqlite }
    }

    /// `None` without a server for the tests.
    fn postgres(test: &str) -> Option<Self> {
        let database = Database::new(test)?;
        let store = Place::Postgres { url: database.url(), _database: Some(database) };
        Some(Self { folder: tempfile::tempdir().unwrap(), store })
    }

    /// Another service before the same database, with a data folder of its own.
    fn beside(&self) -> Self {
        let Place::Postgres { url, .. } = &self.store else { panic!("a SQLite file has one service") };
        Self::at(url.clone())
    }

    /// A service before a database that somebody else looks after.
    fn at(url: String) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), store: Place::Postgres { url, _database: None } }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn journal(&self) -> PathBuf {
        self.path().join("tracefall-data/journal")
    }

    fn start(&self) -> Server {
        self.start_with(|_| {})
    }

    fn start_with(&self, change: impl FnOnce(&mut Command)) -> Server {
        Server::start(self.path(), |command| {
            self.set(command);
            change(command);
        })
    }

    /// Points a command at the site's store.
    fn set(&self, command: &mut Command) {
        if let Place::Postgres { url, .. } = &self.store {
            command.env("DATABASE_URL", url);
        }
        command
            .env("TRACEFALL__PIPELINE__RETRY_BASE_MS", "20")
            .env("TRACEFALL__PIPELINE__RETRY_MAX_MS", "200")
            .env("TRACEFALL__PIPELINE__SETTLE_QUIET_MS", "50")
            // Many small files, so that they are begun, compressed and removed all the time.
            .env("TRACEFALL__JOURNAL__SEGMENT_BYTES", (1 << 20).to_string())
            .env("TRACEFALL__JOURNAL__COMPRESS_AFTER_SEGMENTS", "1");
    }
}

/// The answer of /readyz, whatever its status.
async fn readyz(server: &Server) -> Value {
    json(client().get(server.url("/readyz"))).await.1
}

/// Waits until the state holds.
async fn until(server: &Server, holds: impl Fn(&Value) -> bool) -> Value {
    let (client, deadline) = (client(), Instant::now() + PATIENCE);
    loop {
        let ready = json(client.get(server.url("/readyz"))).await.1;
        if holds(&ready) {
            return ready;
        }
        assert!(Instant::now() < deadline, "{ready:#}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until everything that was accepted is in the store.
async fn until_stored(server: &Server) -> Value {
    until(server, |ready| ready["status"] == "ready" && ready["journal"]["unstored_records"] == 0).await
}

/// Whether the long form of the suite is wanted.
fn is_long() -> bool {
    std::env::var_os("TRACEFALL_TEST_LONG").is_some_and(|value| value == "1")
}

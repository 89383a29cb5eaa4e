//! What those who run the service do with what is stored: dead letters, deleting, and secrets cut out. On both stores, with the service
//! running and the commands beside it.

mod dead_letters;
mod delete;
mod redaction;

use rusqlite::Connection;
use serde_json::{Value, json};
use tracefall::settings::{DatabaseUrl, Settings};

use crate::support::TestServer;
use crate::support::binary::{run, tracefall};
use crate::support::psql::Database;

/// A running service, and its store as others see it.
struct Site {
    server: TestServer,
    database: Option<Database>,
}

impl Site {
    /// One for each store that there is on this machine.
    async fn each(test: &str) -> Vec<Self> {
        let mut sites = vec![Self { server: TestServer::with(quick).await, database: None }];
        if let Some(database) = Database::new(test) {
            let url = database.url();
            let server = TestServer::with(|settings| {
                settings.store.url = Some(DatabaseUrl::new(url));
                quick(settings);
            });
            sites.push(Self { server: server.await, database: Some(database) });
        }
        for site in &sites {
            site.server.read_until("/readyz", |ready| ready["store"] == "ok").await;
        }
        sites
    }

    /// Runs SQL past the service: the first for SQLite, the second for PostgreSQL.
    fn sql(&self, sqlite: &str, postgres: &str) {
        match &self.database {
            Some(database) => drop(database.sql(postgres)),
            None => self.file().execute_batch(sqlite).unwrap(),
        }
    }

    /// A number, asked for in words that both understand; `@` stands before the names of our tables.
    fn count(&self, sql: &str) -> i64 {
        match &self.database {
            Some(database) => database.sql(&sql.replace('@', "tracefall.")).trim().parse().unwrap(),
            None => self.file().query_row(&sql.replace('@', ""), [], |row| row.get(0)).unwrap(),
        }
    }

    fn file(&self) -> Connection {
        let connection = Connection::open(self.server.folder.path().join("data/tracefall.db")).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        connection
    }

    /// Runs a command of ours beside the service: whether it went well, and what it said.
    async fn command(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = tracefall();
        command.args(arguments).env("TRACEFALL_URL", self.server.url("")).current_dir(self.server.folder.path());
        match &self.database {
            Some(database) => command.env("DATABASE_URL", database.url()),
            None => command.env("TRACEFALL__STORE__DATA_DIR", self.server.folder.path().join("data")),
        };
        let output = tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    /// The answer of a command that gives JSON.
    async fn answer(&self, arguments: &[&str]) -> Value {
        let (ok, told) = self.command(arguments).await;
        assert!(ok, "{arguments:?}: {told}");
        serde_json::from_str(&told).unwrap()
    }
}

fn quick(settings: &mut Settings) {
    settings.pipeline.retry_base_ms = 10;
    settings.pipeline.retry_max_ms = 100;
    settings.pipeline.settle_quiet_ms = 50;
}

/// A span of a second on a day of its own.
fn span(trace: u32, span: u32, operation: &str) -> Value {
    json!({"trace_id": format!("{trace:032x}"), "span_id": format!("{span:x}"), "service": "runner",
           "operation": operation, "started_at": "2026-01-05T10:00:00Z", "duration_ms": 1000})
}

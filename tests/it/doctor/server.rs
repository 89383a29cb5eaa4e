//! Faults of a whole server, on one of the test's own: its connections, and what it counts of statements.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tracefall::checkup::State;
use tracefall::settings::DatabaseUrl;
use tracefall::store;

use super::{Patient, is, statement};
use crate::support::psql::psql;

/// Ends with its test.
struct Own {
    script: Child,
    url: String,
    _folder: TempDir,
}

impl Own {
    /// `None` where PostgreSQL's programs are missing, which is said.
    fn start(settings: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        // The server is another user's.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let conf = folder.path().join("conf");
        fs::write(&conf, format!("fsync = off\n{settings}\n")).unwrap();
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres"))
            .arg("hold")
            .env("TMPDIR", folder.path())
            .env("TRACEFALL_POSTGRES_CONF", &conf)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let own = Self { script, url: url.trim().to_owned(), _folder: folder };
        if own.url.is_empty() {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is missing: scripts/postgres install");
            eprintln!("skipped: a PostgreSQL of the doctor's own; its programs are missing: scripts/postgres install");
            return None;
        }
        Some(own)
    }

    async fn patient(&self) -> Patient {
        let mut patient = Patient::new();
        patient.settings.store.url = Some(DatabaseUrl::new(&self.url));
        let store = store::open(&patient.settings.store).await.unwrap();
        store.maintenance.migrate_up().await.unwrap();
        store.maintenance.close().await;
        patient
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

#[tokio::test]
async fn a_server_that_is_nearly_full_is_told_and_so_is_a_full_one() {
    let Some(own) = Own::start("max_connections = 13\nsuperuser_reserved_connections = 3") else { return };
    let patient = own.patient().await;
    patient.is_well("connections").await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(PgConnection::connect(&own.url).await.unwrap());
    }
    let finding = patient.finding("connections").await;
    is(&finding, State::Warn, "8 of 10 in use (80 %), the limit of the server's max_connections");
    psql(&own.url, statement(&finding));
    assert_eq!(psql(&own.url, "SELECT count(*) FROM pg_file_settings WHERE setting = '20'").trim(), "1");
    for _ in 0..5 {
        held.push(PgConnection::connect(&own.url).await.unwrap());
    }
    is(&patient.finding("reachability").await, State::Fail, "(connections)");
    for connection in held {
        connection.close().await.unwrap();
    }
    patient.is_well("connections").await;
}

#[tokio::test]
async fn slow_statements_are_told_once_they_are_counted() {
    let Some(own) = Own::start("shared_preload_libraries = 'pg_stat_statements'") else { return };
    let patient = own.patient().await;
    let finding = patient.finding("statements").await;
    is(&finding, State::Unknown, "pg_stat_statements is not in this database");
    psql(&own.url, statement(&finding));
    patient.is_well("statements").await;
    psql(
        &own.url,
        "SELECT count(*) FROM \"tracefall\".traces, pg_sleep(0.03); SELECT pg_sleep(0.03), count(*) FROM \"tracefall\".traces",
    );
    let finding = patient.finding("statements").await;
    is(&finding, State::Warn, "pg_sleep");
    psql(&own.url, statement(&finding));
    patient.is_well("statements").await;
    // Nothing of ours is asked for when others are slow.
    psql(&own.url, "SELECT pg_sleep(0.03)");
    patient.is_well("statements").await;
}

#[tokio::test]
async fn a_library_that_is_not_loaded_is_told() {
    let Some(own) = Own::start("") else { return };
    let patient = own.patient().await;
    psql(&own.url, "CREATE EXTENSION pg_stat_statements");
    let finding = patient.finding("statements").await;
    is(&finding, State::Unknown, "does not load it");
    psql(&own.url, statement(&finding));
}

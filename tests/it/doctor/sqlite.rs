//! Faults of the embedded store, its disk and its journal.

use std::fs;
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use tracefall::checkup::State;
use tracefall::clock::Clock;
use tracefall::query::Thoroughly;
use tracefall::store;

use super::{Patient, is, worst};
use crate::store_suite::records::{full, write};

impl Patient {
    fn file(&self) -> std::path::PathBuf {
        self.settings.store.data_dir.join("tracefall.db")
    }

    /// With the schema and some spans, closed.
    async fn stored() -> Self {
        let patient = Self::new();
        let store = store::open(&patient.settings.store).await.unwrap();
        store.maintenance.migrate_up().await.unwrap();
        store.maintenance.prepare_days(Clock::system().now()).await.unwrap();
        write(&store, (1..200).map(|id| full(id / 8, id)).collect::<Vec<_>>()).await;
        store.maintenance.close().await;
        patient
    }

    fn data(&self) -> String {
        self.settings.store.data_dir.display().to_string()
    }

    /// Runs a command that opens the store as the settings name it.
    fn heals(&self, fix: Option<&tracefall::checkup::Fix>) {
        self.runs(fix, &[("TRACEFALL__STORE__DATA_DIR", &self.data())]);
    }
}

/// Every file below, with its content.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push((entry.path().display().to_string(), fs::read(entry.path()).unwrap())),
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_file_that_is_well_has_no_finding_against_it_and_is_left_as_it_is() {
    let patient = Patient::stored().await;
    let before = files(patient.folder.path());
    let report = patient.examined_with(Thoroughly { bench: false, deep: true }).await;
    let unwell: Vec<_> = report
        .findings
        .iter()
        // The disk is the machine's.
        .filter(|finding| !finding.check.ends_with("disk") && matches!(finding.state, State::Warn | State::Fail))
        .collect();
    assert!(unwell.is_empty(), "{unwell:#?}");
    for check in ["reachability", "latency", "journal_mode", "log_size", "read_only", "integrity", "schema", "journal"]
    {
        assert_eq!(worst(&report, check).state, State::Ok, "{check}");
    }
    assert!(files(patient.folder.path()) == before, "nothing is made and nothing is changed");
}

#[tokio::test]
async fn writing_is_tried_and_rolled_back() {
    let patient = Patient::stored().await;
    let count = |table: &str| -> i64 {
        let connection = Connection::open(patient.file()).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    let counts = || ["spans", "open_spans", "traces", "resources", "span_tables"].map(count);
    let before = counts();
    let report = patient.examined_with(Thoroughly { bench: true, deep: false }).await;
    let finding = worst(&report, "commit_latency");
    assert!(
        finding.value.contains("a commit of one span") && finding.value.contains("in batches of 1000"),
        "{finding:?}"
    );
    assert_eq!(counts(), before);
}

#[tokio::test]
async fn a_file_that_is_missing_is_made_by_the_command() {
    let patient = Patient::new();
    let report = patient.examined().await;
    is(worst(&report, "reachability"), State::Fail, "No such file");
    for check in ["schema", "growth", "capacity"] {
        assert_eq!(worst(&report, check).state, State::Unknown);
    }
    assert!(!patient.settings.store.data_dir.exists(), "the doctor makes nothing");
    patient.heals(worst(&report, "reachability").fix.as_ref());
    patient.is_well("reachability").await;
    patient.is_well("schema").await;
}

#[tokio::test]
async fn a_schema_that_is_missing_is_made_by_the_command() {
    let patient = Patient::new();
    fs::create_dir_all(&patient.settings.store.data_dir).unwrap();
    Connection::open(patient.file()).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    let finding = patient.finding("schema").await;
    is(&finding, State::Fail, "no migration is applied");
    patient.heals(finding.fix.as_ref());
    patient.is_well("schema").await;
}

#[tokio::test]
async fn a_table_that_is_gone_is_told() {
    let patient = Patient::stored().await;
    Connection::open(patient.file()).unwrap().execute_batch("DROP TABLE deletions").unwrap();
    is(&patient.finding("schema").await, State::Fail, "tables are missing: deletions");
}

#[tokio::test]
async fn what_is_no_database_is_told() {
    let patient = Patient::new();
    fs::create_dir_all(&patient.settings.store.data_dir).unwrap();
    fs::write(patient.file(), "a letter to a friend, longer than the header of a database would be. ".repeat(20))
        .unwrap();
    is(&patient.finding("reachability").await, State::Fail, "not a database");
}

#[tokio::test]
async fn a_journal_mode_that_makes_readers_wait_is_set_right_by_the_command() {
    let patient = Patient::stored().await;
    Connection::open(patient.file()).unwrap().pragma_update(None, "journal_mode", "delete").unwrap();
    let finding = patient.finding("journal_mode").await;
    is(&finding, State::Warn, "delete");
    patient.heals(finding.fix.as_ref());
    patient.is_well("journal_mode").await;
}

#[tokio::test]
async fn damage_is_found_by_reading_everything() {
    let patient = Patient::stored().await;
    let page: i64 = Connection::open(patient.file())
        .unwrap()
        .query_row("SELECT max(pageno) FROM dbstat WHERE name LIKE 'spans_2026%' AND pagetype = 'leaf'", [], |row| {
            row.get(0)
        })
        .unwrap();
    let mut bytes = fs::read(patient.file()).unwrap();
    bytes[usize::try_from(page - 1).unwrap() * 4_096..][..64].fill(0xff);
    fs::write(patient.file(), bytes).unwrap();
    let deep = patient.examined_with(Thoroughly { bench: false, deep: true }).await;
    assert_eq!(worst(&deep, "integrity").state, State::Fail, "{deep:#?}");
    let shallow = patient.examined().await;
    assert!(shallow.findings.iter().all(|finding| finding.check != "integrity"));
}

#[tokio::test]
async fn a_disk_that_is_full_and_one_that_is_read_only_are_told() {
    let mut patient = Patient::stored().await;
    let disk = tempfile::tempdir().unwrap();
    let mount = |options: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(disk.path()).stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    };
    if !mount("size=4m") {
        eprintln!("skipped: a disk that is full; only root may mount one");
        return;
    }
    let data = disk.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::copy(patient.file(), data.join("tracefall.db")).unwrap();
    patient.settings.store.data_dir = data;
    let ballast = disk.path().join("ballast");
    let free = |patient: &Patient| tracefall::journal::space(&patient.settings.store.data_dir).unwrap().free_bytes;
    fs::write(&ballast, vec![0; usize::try_from(free(&patient)).unwrap() - 300_000]).unwrap();
    is(&patient.finding("disk").await, State::Warn, "free (");
    is(&patient.finding("journal_disk").await, State::Warn, "free (");
    fs::write(disk.path().join("more"), vec![0; 250_000]).unwrap();
    is(&patient.finding("disk").await, State::Fail, "free (");
    fs::remove_file(&ballast).unwrap();
    patient.is_well("disk").await;

    patient.is_well("read_only").await;
    assert!(mount("remount,ro"));
    let report = patient.examined().await;
    is(worst(&report, "read_only"), State::Fail, "cannot be written: Read-only file system");
    is(worst(&report, "journal"), State::Fail, "cannot be written: Read-only file system");
    assert_eq!(worst(&report, "reachability").state, State::Ok, "it can be read all the same");
    assert!(Command::new("umount").arg(disk.path()).status().unwrap().success());
}

#[tokio::test]
async fn a_journal_whose_place_is_taken_is_told_and_one_that_waits_is_counted() {
    let mut patient = Patient::stored().await;
    let journal = patient.settings.store.data_dir.join("journal");
    fs::write(&journal, "").unwrap();
    is(&patient.finding("journal").await, State::Fail, "is no directory");
    fs::remove_file(&journal).unwrap();
    patient.is_well("journal").await;
    fs::create_dir(&journal).unwrap();
    patient.settings.journal.max_bytes = 8 << 20;
    patient.settings.journal.segment_bytes = 1 << 20;
    for number in 1..=7 {
        fs::write(journal.join(format!("{number:012}.seg")), vec![0; 1 << 20]).unwrap();
    }
    is(&patient.finding("journal_backlog").await, State::Warn, "75 % of the budget");
    for number in 8..=9 {
        fs::write(journal.join(format!("{number:012}.seg")), vec![0; 1 << 20]).unwrap();
    }
    is(&patient.finding("journal_backlog").await, State::Fail, "100 % of the budget");
    fs::write(journal.join("000000000003.damaged"), "").unwrap();
    let finding = patient.finding("journal_damage").await;
    is(&finding, State::Warn, "1 segments are set aside");
    patient.settings.journal.enabled = false;
    is(&patient.finding("journal").await, State::Warn, "switched off");
}

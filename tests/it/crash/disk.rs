//! The disk under the journal: full, taken away, damaged, and wanted by two.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Response;
use rusqlite::Connection;
use tempfile::TempDir;

use super::ledger::{BOTH, Key, Ledger, Record, trace_id};
use super::{PATIENCE, Site, until, until_stored};
use crate::support::binary::{Server, run, tracefall};
use crate::support::{client, problem};

/// Spans of a request: more bytes than the last block of a file may have left.
const SPANS: u64 = 50;

/// Posts a trace, and notes whether it was acknowledged.
async fn post(server: &Server, ledger: &Ledger, trace: u64) -> Response {
    let records: Vec<Record> = (1..=SPANS).map(|span| Record { key: (trace, span), says: BOTH }).collect();
    ledger.sent(&records);
    let request = client().post(server.url("/v1/spans")).header("content-type", "application/json");
    let response = request.body(ledger.body(&records)).send().await.unwrap();
    if response.status() == 202 {
        ledger.acknowledged(&records);
    }
    response
}

async fn post_well(server: &Server, ledger: &Ledger, traces: std::ops::Range<u64>) {
    for trace in traces {
        let response = post(server, ledger, trace).await;
        assert_eq!(response.status(), 202, "{}", response.text().await.unwrap());
    }
}

/// Another program has the database's file to itself: the store takes nothing until this is dropped.
struct Away(Connection);

impl Away {
    fn begin(site: &Site) -> Self {
        let connection = Connection::open(site.path().join("tracefall-data/tracefall.db")).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    fn end(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

fn hurried(command: &mut Command) {
    command
        .env("TRACEFALL__STORE__SQLITE__BUSY_TIMEOUT_MS", "50")
        .env("TRACEFALL__PIPELINE__WAIT_STORED_MAX_SECS", "1");
}

/// A file system of 4 MiB.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where this user may not mount, which is said.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(folder.path()).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        let skipped = "skipped: a disk that is full. It takes a small file system, and only root may mount one\n";
        // Not captured, unlike what eprintln! writes.
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        None
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }

    fn fill(&self) {
        let mut ballast = fs::File::create(self.ballast()).unwrap();
        while ballast.write_all(&[0; 4_096]).is_ok() {}
    }

    fn relieve(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It stays until the machine stops, if this fails.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_answered_after_the_commit_or_refused_at_once_and_heals() {
    let Some(disk) = SmallDisk::mount() else { return };
    let (site, ledger) = (Site::sqlite(), Ledger::new());
    let server = site.start_with(|command| {
        hurried(command);
        command
            .env("TRACEFALL__JOURNAL__DIR", disk.0.path())
            .env("TRACEFALL__JOURNAL__MAX_BYTES", (64 << 20).to_string());
    });
    post_well(&server, &ledger, 1..5).await;
    until_stored(&server).await;

    // The journal cannot keep them: what is acknowledged is committed.
    disk.fill();
    for trace in 10..15 {
        post_well(&server, &ledger, trace..trace + 1).await;
        assert_eq!(rows(&site, trace), SPANS, "acknowledged before it was committed");
    }
    let ready = until(&server, |ready| ready["journal"]["state"] == "failing").await;
    assert_eq!(ready["status"], "degraded", "{ready}");
    assert!(ready["journal"]["reason"].as_str().unwrap().contains("the disk is full"), "{ready}");

    // The store cannot either: told, and soon.
    let away = Away::begin(&site);
    let refusal = loop {
        let begun = Instant::now();
        let response = post(&server, &ledger, 20).await;
        if begun.elapsed() < Duration::from_millis(500) {
            break response;
        }
    };
    assert!(refusal.headers().contains_key("retry-after"));
    problem(refusal, 503).await;
    until(&server, |ready| ready["store"] == "held_up").await;

    // Room again while the store is still away: it is noticed without anybody's request.
    disk.relieve();
    until(&server, |ready| ready["journal"]["state"] == "ok").await;
    post_well(&server, &ledger, 30..35).await;
    server.kill();
    away.end();
    let server = site.start_with(|command| {
        command.env("TRACEFALL__JOURNAL__DIR", disk.0.path());
    });
    until_stored(&server).await;
    site.until_settled().await;
    site.check(&ledger);
}

fn rows(site: &Site, trace: u64) -> u64 {
    let sql = "SELECT TRACE, count(*) FROM PLACE.spans GROUP BY trace_id";
    let row = site.ask(sql).into_iter().find(|row| row[0] == trace_id(trace));
    row.map_or(0, |row| row[1].parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_refuses_and_goes_on_when_the_store_is_back() {
    let (site, ledger) = (Site::sqlite(), Ledger::new());
    let server = site.start_with(|command| {
        hurried(command);
        command
            .env("TRACEFALL__JOURNAL__MAX_BYTES", (4 << 20).to_string())
            .env("TRACEFALL__JOURNAL__COMPRESS_AFTER_SEGMENTS", "0");
    });
    post_well(&server, &ledger, 1..3).await;
    until_stored(&server).await;
    let away = Away::begin(&site);
    let mut trace = 10;
    let refused = loop {
        let response = post(&server, &ledger, trace).await;
        if response.status() != 202 {
            break response;
        }
        trace += 1;
        assert!(trace < 2_000, "no budget ends this");
    };
    assert!(refused.headers().contains_key("retry-after"));
    problem(refused, 429).await;
    let ready = until(&server, |ready| ready["status"] == "full").await;
    assert_eq!(ready["journal"]["state"], "full", "{ready}");
    away.end();
    until_stored(&server).await;
    post_well(&server, &ledger, 5_000..5_010).await;
    until_stored(&server).await;
    site.until_settled().await;
    site.check(&ledger);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_removed_while_it_is_used_is_made_again() {
    let (site, ledger) = (Site::sqlite(), Ledger::new());
    let server = site.start_with(hurried);
    post_well(&server, &ledger, 1..5).await;
    until_stored(&server).await;
    fs::remove_dir_all(site.journal()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut trace = 10;
    while segments(&site.journal()).is_empty() {
        post_well(&server, &ledger, trace..trace + 1).await;
        trace += 1;
        assert!(Instant::now() < deadline, "it is not made again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until_stored(&server).await;
    // It is a journal again: what comes now survives a killed process.
    let away = Away::begin(&site);
    post_well(&server, &ledger, 1_000..1_010).await;
    let second = second(&site);
    assert!(second.contains("is in use by"), "the directory is locked again: {second}");
    server.kill();
    away.end();
    let server = site.start();
    until_stored(&server).await;
    site.until_settled().await;
    site.check(&ledger);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_says_who_has_it_and_stops() {
    let (site, ledger) = (Site::sqlite(), Ledger::new());
    let server = site.start();
    let told = second(&site);
    assert!(told.contains(&format!("is in use by process {}", server.process_id())), "{told}");
    assert!(told.contains("journal.dir takes another directory"), "{told}");
    post_well(&server, &ledger, 1..5).await;
    until_stored(&server).await;
    site.until_settled().await;
    site.check(&ledger);
}

/// Starts a second process on the same data; it must stop by itself. What it says.
fn second(site: &Site) -> String {
    let output = run(tracefall().current_dir(site.path()).args(["--port", "0"]));
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_costs_the_record_that_it_hits_and_no_other() {
    let (site, ledger) = (Site::sqlite(), Ledger::new());
    killed_with_records_on_disk(&site, &ledger).await;
    let file = segments(&site.journal()).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let victim: Key = (15, 1);
    let id: Vec<u8> = [0x7ace_u64, victim.0].into_iter().flat_map(u64::to_be_bytes).collect();
    let place = bytes.windows(16).position(|window| window == id).expect("the record is there");
    bytes[place + 3] ^= 0x10;
    fs::write(&file, bytes).unwrap();

    let server = site.start_with(|command| {
        command.env("TRACEFALL__JOURNAL__COMPRESS_AFTER_SEGMENTS", "0");
    });
    let ready = until_stored(&server).await;
    assert_eq!(ready["journal"]["lost_records"], 1, "{ready}");
    let metrics = client().get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("tracefall_journal_lost_records 1"), "{metrics}");
    site.until_settled().await;
    ledger.forgive(victim.0);
    let spans = site.check(&ledger);
    assert_eq!(spans as u64, 39 * SPANS, "one request is lost, no other");
    let aside = PathBuf::from(format!("{}.damaged", file.display()));
    let deadline = Instant::now() + PATIENCE;
    while !aside.exists() {
        assert!(Instant::now() < deadline, "the file is not kept aside");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_costs_nothing_that_was_acknowledged() {
    let (site, ledger) = (Site::sqlite(), Ledger::new());
    killed_with_records_on_disk(&site, &ledger).await;
    let file = segments(&site.journal()).pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    // Half of a record, as a process that dies within a write leaves it.
    fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(&bytes[64..1_000]).unwrap();
    let server = site.start();
    let ready = until_stored(&server).await;
    assert_eq!(ready["journal"]["lost_records"], 0, "{ready}");
    site.until_settled().await;
    assert_eq!(site.check(&ledger) as u64, 40 * SPANS);
}

/// A service that took forty requests, could store none of them, and was killed.
async fn killed_with_records_on_disk(site: &Site, ledger: &Ledger) {
    let server = site.start_with(hurried);
    until(&server, |ready| ready["status"] == "ready").await;
    let away = Away::begin(site);
    post_well(&server, ledger, 1..41).await;
    server.kill();
    away.end();
}

/// The journal's files, the newest last.
fn segments(journal: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(journal) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    files.sort();
    files
}

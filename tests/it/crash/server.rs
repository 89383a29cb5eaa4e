//! The database server itself crashes under load.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::load::{Load, Random};
use super::{Site, is_long, until_stored};

/// A PostgreSQL of the test's own. It keeps its word: what it has committed survives its own crash.
struct Own {
    script: Child,
    folder: PathBuf,
    url: String,
    temporary: TempDir,
}

impl Own {
    /// `None` where PostgreSQL's programs are missing, which is said.
    fn start() -> Option<Self> {
        let temporary = tempfile::tempdir().unwrap();
        // The server is another user's.
        fs::set_permissions(temporary.path(), Permissions::from_mode(0o777)).unwrap();
        let settings = temporary.path().join("conf");
        // The operating system does not crash here, so that its disk need not be waited for.
        fs::write(&settings, "shared_buffers = '32MB'\nfsync = off\nsynchronous_commit = on\n").unwrap();
        let script = script()
            .arg("hold")
            .env("TMPDIR", temporary.path())
            .env("TRACEFALL_POSTGRES_CONF", &settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut own = Self { script, folder: PathBuf::new(), url: String::new(), temporary };
        BufReader::new(own.script.stdout.take().unwrap()).read_line(&mut own.url).unwrap();
        own.url = own.url.trim().to_owned();
        if own.url.is_empty() {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is missing: scripts/postgres install");
            eprintln!("skipped: a PostgreSQL that crashes; its programs are missing: scripts/postgres install");
            return None;
        }
        let is_ours = |entry: &fs::DirEntry| entry.path().join("data").is_dir();
        own.folder = fs::read_dir(own.temporary.path()).unwrap().map(Result::unwrap).find(is_ours).unwrap().path();
        Some(own)
    }

    /// Ends every process of it as a crash would, and starts it again.
    fn crash(&self) {
        let output = script().arg("crash").arg(&self.folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

fn script() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_crashes_under_load_loses_and_doubles_nothing() {
    let Some(own) = Own::start() else { return };
    let site = Site::at(own.url.clone());
    let seed = Random::seed();
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let load = Load::start(6, false, seed);
    let server = site.start();
    load.to(vec![server.address]);
    let rounds = if is_long() { 50 } else { 5 };
    for _ in 0..rounds {
        load.further(20 + random.below(60)).await;
        tokio::task::block_in_place(|| own.crash());
    }
    load.further(20).await;
    let ledger = load.stop().await;
    until_stored(&server).await;
    site.until_settled().await;
    let spans = site.check(&ledger);
    eprintln!("{rounds} crashes of PostgreSQL, {spans} spans stored, 0 lost, 0 doubled");
}

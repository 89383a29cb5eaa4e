//! The emergency part of docs/runbook.md, played under load on the real binary over PostgreSQL, beside somebody else's
//! tables. How many seconds each step takes is printed; docs/runbook.md keeps the figures.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::RwLock;

use crate::support::binary::{Server, run, tracefall};
use crate::support::psql::Database;
use crate::support::{client, json};

const CALLERS: u64 = 4;
const SPANS: u64 = 20;
/// No step takes so long, on any machine.
const AT_MOST: Duration = Duration::from_secs(60);

/// What the callers were told, over all of them.
#[derive(Default)]
struct Told {
    /// Requests answered 202 and kept.
    kept: AtomicU64,
    /// Requests answered 202 while tracing was switched off.
    disabled: AtomicU64,
    /// The longest that one caller waited from a refused connection to the next 202, in milliseconds.
    longest_gap_ms: AtomicU64,
    stop: AtomicBool,
    /// Read while a request is under way and its answer is counted: who holds it alone sees counts that nothing is missing from.
    under_way: RwLock<()>,
}

/// Posts one trace after the other, each until it is answered 202, as the clients of docs/clients do.
async fn call(caller: u64, url: String, told: Arc<Told>) {
    let client = client();
    for number in 0_u64.. {
        let trace = format!("{:032x}", ((caller + 1) << 32) + number);
        let spans: Vec<Value> = (1..=SPANS)
            .map(|span| {
                json!({"trace_id": trace, "span_id": format!("{span:x}"), "service": "s", "operation": "o",
                    "started_at": "2026-01-05T10:00:00Z", "duration_ms": 1})
            })
            .collect();
        let body = json!(spans).to_string();
        let mut refused_since: Option<Instant> = None;
        loop {
            if told.stop.load(Relaxed) {
                return;
            }
            let under_way = told.under_way.read().await;
            let answer = client.post(&url).header("content-type", "application/json").body(body.clone()).send().await;
            match answer {
                Ok(answer) if answer.status() == StatusCode::ACCEPTED => {
                    let answer: Value = answer.json().await.unwrap();
                    let counter = if answer["disabled"] == true { &told.disabled } else { &told.kept };
                    counter.fetch_add(1, Relaxed);
                    break;
                }
                Ok(answer) => assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "while it stops"),
                // Between two processes nobody listens.
                Err(_) => {}
            }
            drop(under_way);
            refused_since.get_or_insert_with(Instant::now);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if let Some(since) = refused_since {
            let gap = u64::try_from(since.elapsed().as_millis()).unwrap();
            told.longest_gap_ms.fetch_max(gap, Relaxed);
        }
    }
}

/// A database with somebody else's tables, a data folder, and a port that stays the same.
struct Scene {
    database: Database,
    folder: TempDir,
    port: u16,
    told: Arc<Told>,
}

impl Scene {
    fn start(&self, change: impl FnOnce(&mut Command)) -> Server {
        Server::start_on(self.port, self.folder.path(), |command| {
            command.env("DATABASE_URL", self.database.url());
            change(command);
        })
    }

    /// SIGTERM, the end, and a new process in its place.
    fn restart(&self, mut server: Server, change: impl FnOnce(&mut Command)) -> Server {
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
        drop(server);
        self.start(change)
    }

    fn tracefall(&self, arguments: &str) -> String {
        let shown = format!("tracefall {arguments}");
        let runbook = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbook.md")).unwrap();
        assert!(runbook.contains(&shown), "the runbook does not say {shown}");
        let mut command = tracefall();
        command.current_dir(self.folder.path()).args(arguments.split(' ')).env("DATABASE_URL", self.database.url());
        command.env("TRACEFALL_URL", format!("http://127.0.0.1:{}", self.port));
        let output = run(&mut command);
        assert!(output.status.success(), "{shown}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until the count is past what it was, which the callers do by themselves.
    async fn goes_on(&self, counter: impl Fn(&Told) -> &AtomicU64, by: u64) {
        let reached = counter(&self.told).load(Relaxed) + by;
        let deadline = Instant::now() + AT_MOST;
        while counter(&self.told).load(Relaxed) < reached {
            assert!(Instant::now() < deadline, "the callers are stuck");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The requests that were kept, those under way included.
    async fn kept(&self) -> u64 {
        let _alone = self.told.under_way.write().await;
        self.told.kept.load(Relaxed)
    }

    /// Waits until as many spans are stored.
    async fn stored(&self, spans: u64) {
        let deadline = Instant::now() + AT_MOST;
        loop {
            let rows = self.database.sql("SELECT count(*) FROM tracefall.trace_spans");
            let rows: u64 = rows.trim().parse().unwrap();
            assert!(rows <= spans, "{rows} rows of {spans} spans");
            if rows == spans {
                return;
            }
            assert!(Instant::now() < deadline, "{rows} of {spans} spans are stored");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn neighbours(&self) -> String {
        self.database.sql("SELECT count(*), sum(id) FROM public.trace_spans")
            + &self.database.dump(&["--schema=public"])
    }

    /// Prints how long a step took, and the longest that a caller could not connect meanwhile.
    fn print(&self, step: &str, begun: Instant) {
        let gap = Duration::from_millis(self.told.longest_gap_ms.swap(0, Relaxed));
        println!(
            "{step}: {:.2} s, callers refused for at most {:.2} s",
            begun.elapsed().as_secs_f64(),
            gap.as_secs_f64()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_emergency_steps_of_the_runbook_work_under_load() {
    let Some(database) = Database::new("runbook") else { return };
    database.sql("CREATE TABLE public.trace_spans AS SELECT generate_series(1, 1000) AS id");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let scene = Scene { database, folder: tempfile::tempdir().unwrap(), port, told: Arc::default() };
    let neighbours = scene.neighbours();
    let server = scene.start(|_| {});
    let url = server.url("/v1/spans");
    let callers: Vec<_> =
        (0..CALLERS).map(|caller| tokio::spawn(call(caller, url.clone(), scene.told.clone()))).collect();
    scene.goes_on(|told| &told.kept, 200).await;

    // Off and on again by the command, nobody refused and nothing restarted.
    let begun = Instant::now();
    scene.tracefall("ingest off");
    scene.goes_on(|told| &told.disabled, CALLERS).await;
    assert_eq!(scene.told.longest_gap_ms.load(Relaxed), 0, "no caller is refused");
    scene.print("switched off by tracefall ingest off", begun);
    let kept = scene.kept().await;
    scene.goes_on(|told| &told.disabled, 200).await;
    assert_eq!(scene.told.kept.load(Relaxed), kept, "nothing is kept any more");
    let begun = Instant::now();
    scene.tracefall("ingest on");
    scene.goes_on(|told| &told.kept, CALLERS).await;
    scene.print("switched on by tracefall ingest on", begun);
    scene.goes_on(|told| &told.kept, 200).await;

    // Off: a restart with the switch in its environment. What was accepted before is stored all the same.
    let begun = Instant::now();
    let server = scene.restart(server, |command| {
        command.env("ENABLE_DB_TRACING", "false");
    });
    scene.goes_on(|told| &told.disabled, CALLERS).await;
    scene.print("switched off by a restart", begun);
    let kept = scene.kept().await;
    scene.goes_on(|told| &told.disabled, 200).await;
    assert_eq!(scene.told.kept.load(Relaxed), kept, "nothing is kept any more");
    assert_eq!(json(client().get(server.url("/readyz"))).await.1["ingest"], "disabled");
    scene.stored(kept * SPANS).await;

    // Away with our schema, while the service runs and its callers go on.
    let begun = Instant::now();
    scene.tracefall("migrate down --delete-all-spans");
    scene.print("dropped our schema", begun);
    assert_eq!(scene.database.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'tracefall'").trim(), "0");
    assert_eq!(scene.neighbours(), neighbours);
    scene.goes_on(|told| &told.disabled, 100).await;
    assert_eq!(scene.told.kept.load(Relaxed), kept);

    // On again: the start makes the schema anew.
    let begun = Instant::now();
    let server = scene.restart(server, |_| {});
    scene.goes_on(|told| &told.kept, CALLERS).await;
    scene.print("switched on again by a restart", begun);

    // The previous image: another process on the same volume, under load.
    scene.goes_on(|told| &told.kept, 200).await;
    let begun = Instant::now();
    let server = scene.restart(server, |_| {});
    scene.goes_on(|told| &told.kept, CALLERS).await;
    scene.print("another binary on the same data", begun);

    // Nothing that was accepted since the schema is new is missing.
    scene.told.stop.store(true, Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let begun = Instant::now();
    scene.stored((scene.told.kept.load(Relaxed) - kept) * SPANS).await;
    scene.print("everything accepted since is stored", begun);
    assert_eq!(scene.neighbours(), neighbours);
    drop(server);
}

//! A store that is away, hangs, refuses or was taken apart, tried on the real PostgreSQL with the whole service before
//! it. In each case spans go on being taken, quickly; the state says what is wrong; and afterwards everything that was
//! accepted is in the store, once.

mod away;
mod data;
mod idle;
mod pooler;
mod rights;
mod schema;
mod start;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tracefall::settings::{DatabaseUrl, Settings};

use crate::support::proxy::{Proxy, Way};
use crate::support::psql::Database;
use crate::support::{TestServer, json as answer, problem};

/// No request takes longer, whatever the store does. Generous, since tests share a machine.
const QUICK: Duration = Duration::from_secs(2);
/// How long healing may take.
const HEALED: Duration = Duration::from_secs(20);

/// The service before a database of its own, with a way between that can be made to fail.
struct Scene {
    server: TestServer,
    database: Database,
    proxy: Proxy,
    role: String,
    /// Trace ids that were accepted: each request is a trace.
    accepted: BTreeSet<String>,
    sent: usize,
}

/// Spans of a request.
const SPANS: usize = 5;

impl Scene {
    /// None without a server for the tests. The role owns nothing yet and may make schemas.
    async fn begin(test: &str, way: Way, change: impl FnOnce(&mut Settings)) -> Option<Self> {
        let mut database = Database::new(test)?;
        let role = database.role("r");
        database.sql(&format!("GRANT CREATE ON DATABASE {} TO {role}", database.name()));
        let proxy = Proxy::start(address(&database), way).await;
        let url = through(&proxy, &role, database.name());
        let server = TestServer::with(|settings| {
            settings.store.url = Some(DatabaseUrl::new(url));
            quick(settings);
            change(settings);
        })
        .await;
        Some(Self { server, database, proxy, role, accepted: BTreeSet::new(), sent: 0 })
    }

    /// As [`Scene::begin`] with all well, and some spans stored.
    async fn well(test: &str) -> Option<Self> {
        let mut scene = Self::begin(test, Way::Open, |_| {}).await?;
        scene.post().await;
        scene.all_there().await;
        scene.is_ready().await;
        Some(scene)
    }

    /// Posts a request and gives its answer's status, which must come quickly.
    async fn try_post(&mut self) -> (StatusCode, Value) {
        self.sent += 1;
        let trace = format!("{:032x}", self.sent);
        let spans: Vec<Value> = (1..=SPANS).map(|span| self::span(&trace, span, "work")).collect();
        let body = json!({"resource": {"host": "a"}, "spans": spans}).to_string();
        let begun = Instant::now();
        let (status, answer) = answer(self.server.post("/v1/spans", body)).await;
        assert!(begun.elapsed() < QUICK, "took {:?}", begun.elapsed());
        if status == StatusCode::ACCEPTED {
            self.accepted.insert(trace);
        }
        (status, answer)
    }

    /// Posts a request that must be accepted.
    async fn post(&mut self) {
        let (status, answer) = self.try_post().await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    }

    /// Posts requests, one every few milliseconds, until the state holds.
    async fn post_until(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + HEALED;
        loop {
            self.post().await;
            let ready = self.readyz().await;
            if holds(&ready) {
                return ready;
            }
            assert!(Instant::now() < deadline, "{ready:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The state, which is 200 as long as spans are taken.
    async fn readyz(&self) -> Value {
        let begun = Instant::now();
        let ready = self.server.read("/readyz").await;
        assert!(begun.elapsed() < QUICK);
        assert!(!ready.to_string().contains(&format!(":{}@", self.role)), "no secrets: {ready}");
        ready
    }

    /// Posts until the state names this cause, and gives its words.
    async fn comes_to(&mut self, cause: &str) -> String {
        let ready = self.post_until(|ready| ready["trouble"]["cause"] == cause).await;
        assert_eq!(ready["status"], "degraded");
        ready["trouble"]["reason"].as_str().unwrap().to_owned()
    }

    /// A read is refused at once, with the reason.
    async fn reads_are_refused(&self) {
        let begun = Instant::now();
        let response = self.server.get("/v1/traces").send().await.unwrap();
        assert!(begun.elapsed() < QUICK);
        assert!(response.headers().contains_key("retry-after"));
        let problem = problem(response, 503).await;
        assert!(problem["detail"].as_str().unwrap().contains("the store cannot answer"), "{problem}");
    }

    async fn is_ready(&self) {
        let ready = self.server.read_until("/readyz", |ready| ready["status"] == "ready").await;
        assert_eq!((&ready["store"], &ready["circuit"]), (&json!("ok"), &json!("closed")));
        assert!(ready.get("trouble").is_none());
    }

    /// Waits until nothing is queued, then compares what is stored with what was accepted.
    async fn all_there(&self) {
        let deadline = Instant::now() + HEALED;
        loop {
            let (_, ready) = answer(self.server.get("/readyz")).await;
            if ready["queued_spans"] == 0 && ready["journal"]["unstored_records"].as_u64().unwrap_or(0) == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{ready:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let stored = self.stored();
        let wanted: Vec<String> = self
            .accepted
            .iter()
            .flat_map(|trace| (1..=SPANS).map(move |span| format!("{trace} {span:016x}")))
            .collect();
        assert_eq!(stored.len(), wanted.len());
        assert_eq!(stored, wanted);
    }

    /// Trace and span id of every row.
    fn stored(&self) -> Vec<String> {
        let sql =
            "SELECT replace(trace_id::text, '-', '') || ' ' || encode(span_id, 'hex') FROM tracefall.spans ORDER BY 1";
        self.database.sql(sql).lines().map(str::to_owned).collect()
    }

    /// Ends every connection of the role, as an administrator would.
    fn terminate(&self) {
        self.database
            .sql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'", self.role));
    }
}

fn span(trace: &str, span: usize, operation: &str) -> Value {
    let now = tracefall::clock::Clock::system().now().to_string();
    json!({"trace_id": trace, "span_id": format!("{span:x}"), "service": "s", "operation": operation,
           "started_at": now, "duration_ms": 1})
}

/// Short time limits and distances.
fn quick(settings: &mut Settings) {
    settings.pipeline.retry_base_ms = 20;
    settings.pipeline.retry_max_ms = 200;
    settings.store.postgres.acquire_timeout_secs = 1;
    settings.store.postgres.statement_timeout_secs = 1;
}

/// Where the server of a database listens.
pub fn address(database: &Database) -> SocketAddr {
    let url = database.url();
    let place = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let place = place.rsplit('@').next().unwrap();
    let place = if place.contains(':') { place.to_owned() } else { format!("{place}:5432") };
    std::net::ToSocketAddrs::to_socket_addrs(&place).unwrap().find(SocketAddr::is_ipv4).unwrap()
}

fn through(proxy: &Proxy, role: &str, database: &str) -> String {
    format!("postgres://{role}:{role}@{}/{database}", proxy.address)
}

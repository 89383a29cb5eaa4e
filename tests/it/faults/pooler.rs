//! The service before a real PgBouncer in transaction mode, whose connections our connections share.

use super::*;
use crate::support::pgbouncer::{Pgbouncer, Pooled};

/// A scene with a pooler before the proxy: what the proxy fails, fails behind the pooler.
struct Behind {
    scene: Scene,
    pooler: Pgbouncer,
}

impl Behind {
    async fn begin(test: &str, pool_size: u32, way: Way, change: impl FnOnce(&mut Settings)) -> Option<Self> {
        let mut database = Database::new(test)?;
        let role = database.role("r");
        database.sql(&format!("GRANT CREATE ON DATABASE {} TO {role}", database.name()));
        let proxy = Proxy::start(address(&database), way).await;
        let pooled = Pooled { pool_size, follows_statements: false };
        let pooler = Pgbouncer::start(proxy.address, &role, &role, pooled)?;
        let url = pooler.url(database.name());
        let server = TestServer::with(|settings| {
            settings.store.url = Some(DatabaseUrl::new(url));
            quick(settings);
            // Those who share a connection wait for each other.
            settings.store.postgres.acquire_timeout_secs = 2;
            change(settings);
        })
        .await;
        let scene = Scene { server, database, proxy, role, accepted: BTreeSet::new(), sent: 0 };
        Some(Self { scene, pooler })
    }

    async fn well(test: &str, pool_size: u32) -> Option<Self> {
        let mut behind = Self::begin(test, pool_size, Way::Open, |_| {}).await?;
        behind.scene.post().await;
        behind.scene.all_there().await;
        behind.scene.is_ready().await;
        Some(behind)
    }
}

impl Scene {
    /// Reads every trace that was accepted, each with its roll-up.
    async fn all_settled(&self) {
        for trace in &self.accepted {
            self.server
                .read_until(&format!("/v1/traces/{trace}"), |trace| {
                    trace["spans"].as_array().is_some_and(|spans| spans.len() == SPANS)
                })
                .await;
        }
        let settled = |answer: &Value| {
            let traces = answer["traces"].as_array().unwrap();
            traces.iter().filter(|trace| trace["span_count"] == SPANS).count() == self.accepted.len()
        };
        self.server.read_until("/v1/traces?limit=200", settled).await;
    }

    /// Posts requests of a trace each, word for word, and again the next time.
    async fn post_bodies(&mut self, bodies: &[(String, String)]) {
        for (trace, body) in bodies {
            let (status, answer) = answer(self.server.post("/v1/spans", body.clone())).await;
            assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
            self.accepted.insert(trace.clone());
        }
    }
}

fn bodies() -> Vec<(String, String)> {
    let body = |request: usize| {
        let trace = format!("{:032x}", 0x7000 + request);
        let spans: Vec<Value> = (1..=SPANS).map(|id| span(&trace, id, "work")).collect();
        (trace, json!(spans).to_string())
    };
    (0..40).map(body).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_over_one_shared_connection_and_over_two() {
    for (test, pool_size) in [("pooler_one", 1), ("pooler_two", 2)] {
        let Some(Behind { mut scene, pooler: _pooler }) = Behind::well(test, pool_size).await else { return };
        let bodies = bodies();
        scene.post_bodies(&bodies).await;
        scene.all_there().await;
        scene.all_settled().await;
        assert!(scene.proxy.accepted() > 0 && scene.proxy.standing() <= pool_size as usize);
        // Whoever starts anew knows of no row: its COPY meets them.
        scene.server = scene.server.restart().await;
        scene.post_bodies(&bodies).await;
        scene.all_there().await;
        scene.all_settled().await;
        scene.is_ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_goes_to_the_direct_host_and_reading_through_the_pooler() {
    let Some(Behind { mut scene, pooler }) = Behind::well("pooler_split", 1).await else { return };
    let direct = DatabaseUrl::new(scene.database.url_of(&scene.role));
    let pooled = DatabaseUrl::new(pooler.url(scene.database.name()));
    scene.server = TestServer::with(|settings| {
        settings.store.url = Some(direct.clone());
        settings.store.write_url = Some(direct);
        settings.store.read_url = Some(pooled);
        quick(settings);
    })
    .await;
    for _ in 0..20 {
        scene.post().await;
    }
    scene.all_there().await;
    scene.all_settled().await;
    // The pooler is away: writing goes on, and settling, which reads, heals.
    scene.proxy.set(Way::Refused);
    scene.post().await;
    scene.all_there().await;
    scene.proxy.set(Way::Open);
    // The pooler tries its server again after a second.
    let deadline = Instant::now() + HEALED;
    while !scene.server.get("/v1/traces").send().await.unwrap().status().is_success() {
        assert!(Instant::now() < deadline);
    }
    scene.all_settled().await;
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_end_behind_the_pooler_double_nothing() {
    let Some(Behind { mut scene, pooler: _pooler }) = Behind::well("pooler_ended", 2).await else { return };
    for _ in 0..25 {
        scene.post().await;
        scene.terminate();
    }
    scene.all_there().await;
    scene.is_ready().await;
    for bytes in [300, 3_000, 12_000] {
        scene.proxy.set(Way::Cut(bytes));
        for _ in 0..12 {
            scene.post().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    scene.proxy.set(Way::Open);
    scene.all_there().await;
    scene.all_settled().await;
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_is_killed_and_started_again_costs_nothing() {
    let Some(Behind { mut scene, mut pooler }) = Behind::well("pooler_killed", 2).await else { return };
    for round in 0..5 {
        for _ in 0..4 * round {
            scene.post().await;
        }
        pooler.kill();
        let reason = scene.comes_to("unreachable").await;
        assert!(!reason.is_empty());
        scene.reads_are_refused().await;
        pooler.restart();
        scene.all_there().await;
        scene.is_ready().await;
    }
    scene.all_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_sleeps_behind_the_pooler_is_waited_for() {
    let begun = Behind::begin("pooler_asleep", 2, Way::Refused, |_| {}).await;
    let Some(Behind { mut scene, pooler: _pooler }) = begun else { return };
    for way in [Way::Refused, Way::Swallowed] {
        scene.proxy.set(way);
        let asleep = Instant::now();
        scene.post_until(|ready| ready["status"] == "degraded").await;
        while asleep.elapsed() < Duration::from_secs(2) {
            scene.post().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        scene.proxy.set(Way::Open);
        scene.all_there().await;
        scene.is_ready().await;
        scene.all_settled().await;
    }
}

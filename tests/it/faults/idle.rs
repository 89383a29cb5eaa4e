//! What the database has to bear: few connections while there is work, none and not a statement while there is none.

use std::cell::Cell;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::*;

/// All that ever stand, by default: the writers' and the readers'.
const DECLARED: i64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_service_asks_its_database_nothing() {
    let soon = |settings: &mut Settings| settings.store.postgres.idle_timeout_secs = 1;
    let Some(mut scene) = Scene::begin("idle_nothing", Way::Open, soon).await else { return };
    for _ in 0..10 {
        scene.post().await;
    }
    scene.all_there().await;
    scene.server.read("/v1/traces").await;
    let deadline = Instant::now() + HEALED;
    while scene.proxy.standing() > 0 {
        assert!(Instant::now() < deadline, "{} connections", scene.proxy.standing());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A client's session is counted as it begins, whatever it asks.
    let sessions = || {
        let sql = format!(
            "SELECT sessions || ' ' || (SELECT count(*) FROM pg_stat_activity WHERE usename = '{}') \
             FROM pg_stat_database WHERE datname = '{}'",
            scene.role,
            scene.database.name()
        );
        crate::support::psql::psql(&server_of(&scene.database), &sql)
    };
    let (accepted, before) = (scene.proxy.accepted(), sessions());
    // Longer than the longest pause of whatever runs now and then.
    let watched = match std::env::var_os("TRACEFALL_TEST_LONG") {
        Some(_) => Duration::from_secs(200),
        None => Duration::from_secs(8),
    };
    let begun = Instant::now();
    while begun.elapsed() < watched {
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert!(scene.server.get(path).send().await.unwrap().status().is_success());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(scene.proxy.accepted(), accepted, "no connection came");
    assert_eq!(sessions(), before);
    assert!(before.trim().ends_with(" 0"), "{before}");
    scene.post().await;
    scene.all_there().await;
    assert!(scene.proxy.accepted() > accepted, "until there is work");
}

/// The database in which the tests' own questions are not counted.
fn server_of(database: &Database) -> String {
    let url = database.url();
    url.replace(&format!("/{}", database.name()), "/postgres")
}

/// The most connections of roles like this that stood at a moment while `work` went on.
async fn most(database: &Database, roles: &str, work: impl Future<Output = ()>) -> i64 {
    let mut outside = PgConnection::connect(&server_of(database)).await.unwrap();
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE '{roles}%' AND backend_type = 'client backend'"
    );
    let most = Cell::new(0);
    let count = async {
        let mut last = [0; 4];
        for look in 0.. {
            // Safe: the test's own words.
            let now: i64 = sqlx::query_scalar(AssertSqlSafe(sql.clone())).fetch_one(&mut outside).await.unwrap();
            // One that was told farewell is listed until its process has ended, which takes the time it takes on a busy
            // machine: what counts is what is seen four times in a row. One too many would stay for longer.
            last[look % 4] = now;
            most.set(most.get().max(last.into_iter().min().unwrap_or_default()));
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    tokio::select! {
        () = count => {}
        () = work => {}
    }
    most.get()
}

/// Writes, reads, settling, new partitions and restarts, all at once.
async fn busy(server: &TestServer, round: u64) {
    let posts = (0..40_u64).map(|request| async move {
        let trace = format!("{:032x}", 0x9000 + round * 1_000 + request);
        let spans: Vec<Value> = (1..=SPANS).map(|id| span(&trace, id, "work")).collect();
        let mut old = span(&trace, 99, "work");
        // Days of the past get their partitions when the first span comes.
        let day =
            tracefall::clock::Clock::system().now().plus(-((round * 10 + request % 10) as i64) * 86_400_000_000_000);
        old["started_at"] = json!(day.to_string());
        let body = json!([spans, vec![old]].concat()).to_string();
        assert!(server.post("/v1/spans?wait=stored", body).send().await.unwrap().status().is_success());
    });
    let reads = (0..40).map(|_| async { drop(server.read("/v1/traces").await) });
    tokio::join!(futures_util::future::join_all(posts), futures_util::future::join_all(reads));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_stay_within_their_declared_number() {
    let Some(scene) = Scene::begin("idle_count", Way::Open, default_limits).await else { return };
    let most = most(&scene.database, &scene.role, async {
        for round in 0..3 {
            busy(&scene.server, round).await;
        }
    })
    .await;
    assert!((2..=DECLARED).contains(&most), "{most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_for_maintenance_takes_the_place_of_a_writer() {
    let Some(mut scene) = Scene::begin("idle_admin", Way::Open, default_limits).await else { return };
    scene.is_ready().await;
    let writer = scene.database.role("r_writer");
    let url = |role: &str| Some(DatabaseUrl::new(through(&scene.proxy, role, scene.database.name())));
    let (write_url, admin_url) = (url(&writer), url(&scene.role));
    scene.database.sql(&format!(
        "GRANT USAGE ON SCHEMA tracefall TO {writer}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tracefall TO {writer}"
    ));
    let server = TestServer::with(|settings| {
        (settings.store.url, settings.store.admin_url) = (write_url, admin_url);
        default_limits(settings);
    })
    .await;
    scene.server.stop().await;
    let most = most(&scene.database, &scene.role, async {
        for round in 0..3 {
            busy(&server, round).await;
        }
    })
    .await;
    assert!((2..=DECLARED).contains(&most), "{most}");
    let made = scene.database.sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'tracefall.spans'::regclass");
    assert!(made.trim().parse::<u32>().unwrap() > 30, "the administrator made partitions: {made}");
}

/// Time limits as they come; the test machine may be slow.
fn default_limits(settings: &mut Settings) {
    let defaults = Settings::default().store.postgres;
    settings.store.postgres.acquire_timeout_secs = defaults.acquire_timeout_secs;
    settings.store.postgres.statement_timeout_secs = defaults.statement_timeout_secs;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_amid_a_statement_is_noticed_and_its_batch_is_written_once() {
    let Some(mut scene) = Scene::well("idle_amid").await else { return };
    let mut outside = PgConnection::connect(&scene.database.url()).await.unwrap();
    let lock = "BEGIN; LOCK TABLE tracefall.traces IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut outside).await.unwrap();
    scene.post().await;
    let waits =
        format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}' AND wait_event_type = 'Lock'", scene.role);
    let deadline = Instant::now() + HEALED;
    while scene.database.sql(&waits).trim() == "0" {
        assert!(Instant::now() < deadline);
    }
    // Its statement is under way, and no word of the server's comes through any more.
    scene.proxy.set(Way::Swallowed);
    sqlx::raw_sql("ROLLBACK").execute(&mut outside).await.unwrap();
    scene.comes_to("silent").await;
    scene.proxy.set(Way::Open);
    scene.all_there().await;
    scene.is_ready().await;
}

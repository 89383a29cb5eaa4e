//! A store that goes away and comes back.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_for_two_seconds_and_then_accepts_loses_nothing() {
    let Some(mut scene) = Scene::well("away_refused").await else { return };
    scene.proxy.set(Way::Refused);
    let refused = Instant::now();
    let reason = scene.comes_to("unreachable").await;
    assert!(!reason.is_empty());
    while refused.elapsed() < Duration::from_secs(2) {
        scene.post().await;
        scene.reads_are_refused().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ready = scene.readyz().await;
    assert!(ready["trouble"]["failures"].as_u64().unwrap() > 1, "{ready}");
    let metrics = scene.server.draw("/metrics").await;
    for name in
        ["tracefall_store_circuit{state=", "tracefall_store_cause{cause=", "tracefall_store_consecutive_failures"]
    {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
    scene.proxy.set(Way::Open);
    scene.all_there().await;
    scene.is_ready().await;
    scene.server.read("/v1/traces").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_answering_fills_the_queue_to_its_bound_and_piles_up_nothing() {
    let with_a_small_queue = |settings: &mut Settings| {
        settings.pipeline.queue_max_spans = 40 * SPANS;
        settings.journal.enabled = false;
    };
    let Some(mut scene) = Scene::begin("away_swallowed", Way::Open, with_a_small_queue).await else { return };
    scene.post().await;
    scene.all_there().await;
    scene.proxy.set(Way::Swallowed);
    let mut refused = 0;
    for _ in 0..60 {
        let (status, answer) = scene.try_post().await;
        if status != StatusCode::ACCEPTED {
            assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{answer}");
            refused += 1;
        }
    }
    assert!(refused >= 19, "{refused} of 60 refused, 40 have room");
    let response = scene.server.post("/v1/spans", json!([span(&format!("{:032x}", 9999), 1, "o")]).to_string()).send();
    let response = response.await.unwrap();
    assert!(response.headers().contains_key("retry-after"));
    problem(response, 429).await;
    let (status, ready) = answer(scene.server.get("/readyz")).await;
    assert_eq!((status.as_u16(), &ready["status"]), (503, &json!("full")));
    let deadline = Instant::now() + HEALED;
    while answer(scene.server.get("/readyz")).await.1["trouble"]["cause"] != "silent" {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..50 {
        scene.reads_are_refused().await;
    }
    let most = 2 + 4 + 1;
    assert!(scene.proxy.standing() <= most, "{} connections", scene.proxy.standing());
    scene.proxy.set(Way::Open);
    scene.all_there().await;
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_room_in_memory_waits_in_the_journal() {
    let with_a_small_queue = |settings: &mut Settings| {
        settings.pipeline.queue_max_spans = 10 * SPANS;
        settings.server.shutdown_timeout_secs = 1;
    };
    let Some(mut scene) = Scene::begin("away_journal", Way::Open, with_a_small_queue).await else { return };
    scene.proxy.set(Way::Refused);
    for _ in 0..200 {
        scene.post().await;
    }
    let ready = scene.readyz().await;
    assert_eq!((&ready["status"], &ready["journal"]["state"]), (&json!("degraded"), &json!("ok")), "{ready}");
    assert!(ready["journal"]["waiting_records"].as_u64().unwrap() >= 150, "{ready}");
    assert!(ready["queued_spans"].as_u64().unwrap() <= 10 * SPANS as u64, "{ready}");
    // Another process takes over what this one could not store.
    scene.server = scene.server.restart().await;
    for _ in 0..50 {
        scene.post().await;
    }
    scene.proxy.set(Way::Open);
    for _ in 0..50 {
        scene.post().await;
    }
    scene.all_there().await;
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_slows_no_request() {
    let Some(mut scene) = Scene::well("away_slow").await else { return };
    scene.proxy.set(Way::Slow(Duration::from_millis(200)));
    for _ in 0..30 {
        scene.post().await;
    }
    scene.all_there().await;
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_amid_a_batch_double_nothing() {
    let Some(mut scene) = Scene::well("away_cut").await else { return };
    for bytes in [300, 1_500, 3_000, 6_000, 12_000, 50_000] {
        scene.proxy.set(Way::Cut(bytes));
        for _ in 0..12 {
            scene.post().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    scene.proxy.set(Way::Open);
    scene.all_there().await;
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_an_administrator_ends_double_nothing() {
    let Some(mut scene) = Scene::well("away_ended").await else { return };
    for _ in 0..25 {
        scene.post().await;
        scene.terminate();
    }
    scene.all_there().await;
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_log_in_or_gets_no_connection_is_named() {
    let Some(mut scene) = Scene::well("away_login").await else { return };
    let role = scene.role.clone();
    for (fault, healing, cause, words) in [
        ("NOLOGIN", "LOGIN", "login", "is not permitted to log in"),
        ("CONNECTION LIMIT 0", "CONNECTION LIMIT -1", "connections", "too many connections for role"),
    ] {
        scene.database.sql(&format!("ALTER ROLE {role} {fault}"));
        scene.terminate();
        let reason = scene.comes_to(cause).await;
        assert!(reason.contains(words), "{reason}");
        scene.reads_are_refused().await;
        scene.database.sql(&format!("ALTER ROLE {role} {healing}"));
        scene.all_there().await;
        scene.is_ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_is_named_and_works_again_when_it_is_set_back() {
    let Some(mut scene) = Scene::well("away_password").await else { return };
    let role = scene.role.clone();
    // The server of scripts/postgres asks those of this role for their passwords, and nobody else.
    let asks = "SELECT count(*) FROM pg_hba_file_rules WHERE user_name = '{+tracefall_password}'";
    if scene.database.sql(asks).trim() == "0" {
        eprintln!("skipped: a changed password; this server asks for none");
        return;
    }
    scene.database.sql(
        "DO $$ BEGIN CREATE ROLE tracefall_password; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$",
    );
    scene.database.sql(&format!("GRANT tracefall_password TO {role}; ALTER ROLE {role} PASSWORD 'another'"));
    scene.terminate();
    let reason = scene.comes_to("login").await;
    assert!(reason.contains("password authentication failed") && !reason.contains("another"), "{reason}");
    scene.database.sql(&format!("ALTER ROLE {role} PASSWORD '{role}'"));
    scene.all_there().await;
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_is_read_on() {
    let Some(mut scene) = Scene::well("away_read_only").await else { return };
    let name = scene.database.name().to_owned();
    scene.database.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    scene.terminate();
    let reason = scene.comes_to("read_only").await;
    assert!(reason.contains("read-only transaction") && reason.contains("store.write_url"), "{reason}");
    assert_eq!(scene.server.read("/v1/traces").await["traces"].as_array().unwrap().len(), 1);
    scene.database.sql(&format!(
        "SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only"
    ));
    scene.all_there().await;
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_read_while_the_primary_is_away_and_the_other_way_round() {
    let Some(mut scene) = Scene::well("away_replica").await else { return };
    let replica = Proxy::start(address(&scene.database), Way::Open).await;
    let url = |proxy: &Proxy| Some(DatabaseUrl::new(through(proxy, &scene.role, scene.database.name())));
    let (url, read_url) = (url(&scene.proxy), url(&replica));
    scene.server = TestServer::with(|settings| {
        (settings.store.url, settings.store.read_url) = (url, read_url);
        quick(settings);
    })
    .await;
    scene.is_ready().await;
    scene.proxy.set(Way::Refused);
    scene.comes_to("unreachable").await;
    scene.server.read("/v1/traces").await;
    scene.proxy.set(Way::Open);
    scene.all_there().await;
    scene.is_ready().await;
    replica.set(Way::Refused);
    problem(scene.server.get("/v1/traces").send().await.unwrap(), 503).await;
    let trace = format!("{:032x}", 0x5000);
    scene.server.store(&json!([span(&trace, 1, "work")])).await;
    assert_eq!(scene.readyz().await["circuit"], "closed", "one says nothing of the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_service_closes_its_connections() {
    let soon = |settings: &mut Settings| settings.store.postgres.idle_timeout_secs = 1;
    let Some(mut scene) = Scene::begin("away_idle", Way::Open, soon).await else { return };
    for _ in 0..2 {
        scene.post().await;
        scene.all_there().await;
        scene.server.read("/v1/traces").await;
        assert!(scene.proxy.standing() > 0);
        let deadline = Instant::now() + HEALED;
        while scene.proxy.standing() > 0 {
            assert!(Instant::now() < deadline, "{} connections", scene.proxy.standing());
            scene.is_ready().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

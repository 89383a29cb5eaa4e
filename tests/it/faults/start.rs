//! Starting without a store.

use serde_json::json;
use tracefall::app;
use tracefall::clock::Clock;
use tracefall::settings::DatabaseUrl;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_at_the_start_gets_what_was_accepted_once_it_listens() {
    let Some(mut scene) = Scene::begin("start_refused", Way::Refused, |_| {}).await else { return };
    let reason = scene.comes_to("unreachable").await;
    assert!(reason.contains("refused") && reason.contains("store.url"), "{reason}");
    assert_eq!(scene.readyz().await["store"], "opening");
    scene.reads_are_refused().await;
    scene.post().await;
    scene.proxy.set(Way::Open);
    scene.all_there().await;
    scene.is_ready().await;
    scene.server.read("/v1/traces").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_holds_one_connection_and_no_request() {
    let Some(mut scene) = Scene::begin("start_swallowed", Way::Swallowed, |_| {}).await else { return };
    let reason = scene.comes_to("silent").await;
    assert!(reason.contains("within 1 s"), "{reason}");
    for _ in 0..20 {
        scene.post().await;
        scene.reads_are_refused().await;
        assert!(scene.proxy.standing() <= 1, "one try at a time");
    }
    scene.proxy.set(Way::Open);
    scene.all_there().await;
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_missing_is_named_and_waited_for() {
    let Some(mut scene) = Scene::well("start_missing").await else { return };
    let name = format!("{}_later", scene.database.name());
    let url = DatabaseUrl::new(through(&scene.proxy, &scene.role, &name));
    scene.server = TestServer::with(|settings| {
        settings.store.url = Some(url);
        quick(settings);
    })
    .await;
    let reason = scene.comes_to("database").await;
    assert!(reason.contains(&format!("database \"{name}\" does not exist: create it")), "{reason}");
    scene.database.sql(&format!("CREATE DATABASE {name} OWNER {}", scene.role));
    scene.is_ready().await;
    let ready = scene.server.read_until("/readyz", |ready| ready["queued_spans"] == 0).await;
    assert_eq!(ready["status"], "ready");
    assert!(!scene.server.read("/v1/traces").await["traces"].as_array().unwrap().is_empty());
    let Scene { server, database, .. } = scene;
    server.stop().await;
    database.sql(&format!("DROP DATABASE {name} WITH (FORCE)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_the_right_to_make_a_schema_says_who_is_to_run_what() {
    let Some(mut scene) = Scene::begin("start_rights", Way::Refused, |_| {}).await else { return };
    let grant =
        |word: &str, to: &str| format!("{word} CREATE ON DATABASE {} {to} {}", scene.database.name(), scene.role);
    scene.database.sql(&grant("REVOKE", "FROM"));
    let give = grant("GRANT", "TO");
    scene.proxy.set(Way::Open);
    let reason = scene.comes_to("rights").await;
    for word in ["permission denied for database", "tracefall migrate up", "store.admin_url"] {
        assert!(reason.contains(word), "{reason}");
    }
    scene.database.sql(&give);
    scene.all_there().await;
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_made_is_named_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("data");
    std::fs::write(&in_the_way, "a file where the folder should be").unwrap();
    let server = TestServer::with(|settings| {
        settings.store.data_dir = in_the_way.join("deeper");
        settings.journal.dir = Some(folder.path().join("journal"));
        quick(settings);
    })
    .await;
    let degraded = |ready: &Value| ready["trouble"]["cause"] == "file";
    let ready = server.read_until("/readyz", degraded).await;
    assert_eq!(ready["status"], "degraded");
    assert!(ready["trouble"]["reason"].as_str().unwrap().contains("store.data_dir"), "{ready}");
    let spans = json!([span(&format!("{:032x}", 1), 1, "work")]).to_string();
    let (status, _) = answer(server.post("/v1/spans", spans)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    problem(server.get("/v1/traces").send().await.unwrap(), 503).await;
    std::fs::remove_file(&in_the_way).unwrap();
    server.read_until("/readyz", |ready| ready["status"] == "ready" && ready["queued_spans"] == 0).await;
    server.read_until("/v1/traces", |answer| answer["traces"][0]["span_count"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_opened_is_named_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("tracefall.db");
    std::fs::create_dir(&in_the_way).unwrap();
    let server = TestServer::with(|settings| {
        settings.store.data_dir = folder.path().to_owned();
        quick(settings);
    })
    .await;
    server.read_until("/readyz", |ready| ready["trouble"]["cause"] == "file").await;
    std::fs::remove_dir(&in_the_way).unwrap();
    server.read_until("/readyz", |ready| ready["status"] == "ready").await;
}

#[tokio::test]
async fn what_no_waiting_heals_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = crate::support::settings(&folder);
    settings.store.url = Some(DatabaseUrl::new("mysql://me:hunter2@db/app"));
    let Err(error) = app::start(&settings, Clock::system()).await else { panic!("it started") };
    assert!(error.to_string().contains("accepted is postgres://") && !error.to_string().contains("hunter2"), "{error}");
    settings.store.url = Some(DatabaseUrl::new("postgres://me:hunter2@127.0.0.1:1/app"));
    settings.store.schema = "Not plain".into();
    let Err(error) = app::start(&settings, Clock::system()).await else { panic!("it started") };
    assert!(error.to_string().contains("schema's name") && !error.to_string().contains("hunter2"), "{error}");
}

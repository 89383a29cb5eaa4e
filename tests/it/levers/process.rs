//! The levers over the lives of processes: killed, restarted, without a database, and several on one.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATH, span};
use crate::support::binary::{Server, run, tracefall};
use crate::support::psql::Database;
use crate::support::{client, json};

async fn pull(server: &Server, wish: &Value) -> Value {
    let (status, view) = json(client().put(server.url(PATH)).body(wish.to_string())).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    view
}

async fn post(server: &Server, trace: u32) -> Value {
    json(client().post(server.url("/v1/spans")).body(json!([span(trace, "s", "o", 1)]).to_string())).await.1
}

async fn view(server: &Server) -> Value {
    json(client().get(server.url(PATH))).await.1
}

/// Looks at the levers, with requests between, until they are as they should be.
async fn until(server: &Server, enough: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        post(server, 9).await;
        let view = view(server).await;
        if enough(&view) {
            return view;
        }
        assert!(Instant::now() < deadline, "{view:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn off_survives_a_kill(store: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let start = |folder: &TempDir| {
        Server::start(folder.path(), |command| {
            command.envs(store.map(|url| ("DATABASE_URL", url)));
        })
    };
    let server = start(&folder);
    let rule = json!({"name": "half", "service": "s", "action": "keep_fraction", "fraction": 0.5});
    pull(&server, &json!({"enabled": false, "rules": [rule], "note": "incident 7"})).await;
    let before = view(&server).await;
    assert_eq!(post(&server, 1).await["disabled"], true);
    server.kill();

    let server = start(&folder);
    assert_eq!(post(&server, 1).await["disabled"], true, "with the first request");
    let after = view(&server).await;
    for member in ["ingest", "etag", "rules", "periods", "changes"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    pull(&server, &json!({"enabled": true, "rules": []})).await;
    server.kill();

    let server = start(&folder);
    assert_eq!(post(&server, 2).await["accepted"], 1);
    let changes = view(&server).await["changes"].as_array().unwrap().len();
    assert_eq!(changes, 2, "the history is kept too");
}

#[tokio::test(flavor = "multi_thread")]
async fn off_survives_a_kill_on_sqlite() {
    off_survives_a_kill(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn off_survives_a_kill_on_postgresql() {
    let Some(database) = Database::new("levers") else { return };
    off_survives_a_kill(Some(&database.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn levers_work_and_are_kept_with_the_database_away() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        Server::start(folder.path(), |command| {
            command.env("DATABASE_URL", "postgres://nobody@127.0.0.1:9/nowhere");
        })
    };
    let server = start();
    let begun = Instant::now();
    let answer = pull(&server, &json!({"enabled": false})).await;
    assert_eq!(post(&server, 1).await["disabled"], true);
    println!("switched off within {:.3} s, without a database", begun.elapsed().as_secs_f64());
    assert_eq!(answer["keeping"], json!({"file": "ok", "store": "pending"}));
    server.kill();
    assert_eq!(post(&start(), 1).await["disabled"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_learn_of_a_change_through_the_store() {
    let Some(database) = Database::new("replicas") else { return };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |folder: &TempDir| {
        Server::start(folder.path(), |command| {
            command.env("DATABASE_URL", database.url());
        })
    };
    let (one, two) = (start(&folders[0]), start(&folders[1]));
    until(&one, |view| view["keeping"]["store"] == "ok").await;
    let off = pull(&one, &json!({"enabled": false})).await;
    let learnt = until(&two, |view| view["ingest"] == "off").await;
    assert_eq!((&learnt["etag"], &learnt["changes"]), (&off["etag"], &off["changes"]));
    let fresh = start(&folders[2]);
    until(&fresh, |view| view["ingest"] == "off").await;

    // Each has something to say: both are remembered, and one holds everywhere.
    let rule = |name: &str| json!({"enabled": true, "rules": [{"name": name, "service": name, "action": "off"}]});
    let (from_two, from_one) = (rule("two"), rule("one"));
    tokio::join!(pull(&two, &from_two), pull(&one, &from_one));
    let is_all = |view: &Value| view["changes"].as_array().unwrap().len() >= 3 && view["keeping"]["store"] == "ok";
    let mut tags = Vec::new();
    for server in [&one, &two, &fresh] {
        let view = until(server, is_all).await;
        assert_eq!(view["ingest"], "on");
        tags.push(view["etag"].clone());
    }
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_makes_no_sense_is_put_aside_and_the_store_knows_better() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    pull(&server, &json!({"enabled": false})).await;
    until(&server, |view| view["keeping"] == json!({"file": "ok", "store": "ok"})).await;
    server.kill();
    let file = folder.path().join("tracefall-data/ingest.json");
    std::fs::write(&file, "{\"chan").unwrap();
    let server = Server::start(folder.path(), |_| {});
    until(&server, |view| view["ingest"] == "off" && view["keeping"] == json!({"file": "ok", "store": "ok"})).await;
    assert!(file.exists() && file.with_file_name("ingest.json.damaged").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_the_log_with_who_and_what_and_without_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = folder.path().join("log");
    let secret = "tf_the-key-of-the-one-on-call";
    let mut child = tracefall()
        .current_dir(folder.path())
        .args(["--port", &port.to_string()])
        .env("TRACEFALL__TELEMETRY__FORMAT", "json")
        .env("TRACEFALL__ACCESS__ADMIN_KEY", secret)
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{port}{PATH}");
    let body = json!({"enabled": false, "note": "incident 7"}).to_string();
    let deadline = Instant::now() + Duration::from_secs(30);
    while client().put(&url).bearer_auth(secret).body(body.clone()).send().await.is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    let line = log.lines().find(|line| line.contains("levers of ingest were changed")).unwrap();
    for part in ["\"by\":\"admin_key\"", "ingest: on -> off", "incident 7", "\"version\":1"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!log.contains(secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_are_not_concerned() {
    let Some(database) = Database::new("levers_import") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |command| {
        command.env("DATABASE_URL", database.url());
    });
    pull(&server, &json!({"enabled": false, "rules": [{"action": "off"}]})).await;
    until(&server, |view| view["keeping"]["store"] == "ok").await;
    database.sql(
        "CREATE TABLE public.history AS SELECT gen_random_uuid() AS trace_id, gen_random_uuid() AS span_id, \
         'o' AS operation, now() AS started_at, now() AS completed_at FROM generate_series(1, 20)",
    );
    let mut command = tracefall();
    command.current_dir(folder.path()).args(["import", "--from-table", "public.history"]);
    command.env("DATABASE_URL", database.url()).env("TRACEFALL_FROM_URL", database.url());
    let output = run(&mut command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(database.sql("SELECT count(*) FROM tracefall.trace_spans").trim(), "20");
}

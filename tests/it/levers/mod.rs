//! The levers of ingest: switched by anybody who may, in force at once, kept whatever happens, seen afterwards.

mod command;
mod process;
mod rules;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tracefall::clock::Clock;
use tracefall::levers::HOLDS_AFTER_NS;
use tracefall::model::time::UnixNanos;
use tracefall::settings::access::KeySettings;

use crate::support::{TestServer, json, problem};

const PATH: &str = "/v1/admin/ingest";

/// A time at which rules made until now hold.
fn held() -> UnixNanos {
    Clock::system().now().plus(HOLDS_AFTER_NS)
}

/// A whole span that begins once rules made until now hold, and runs for so long.
fn span(trace: u32, service: &str, operation: &str, duration_ms: u32) -> Value {
    json!({"trace_id": format!("{trace:032x}"), "span_id": "1", "service": service, "operation": operation,
        "started_at": held().to_string(), "duration_ms": duration_ms})
}

/// Pulls a lever; it must move.
async fn pull(server: &TestServer, wish: Value) -> Value {
    let (status, view) = json(server.client.put(server.url(PATH)).body(wish.to_string())).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    view
}

/// Posts and waits until what is kept is stored; gives the answer.
async fn post(server: &TestServer, spans: &Value) -> Value {
    let (status, answer) = json(server.post("/v1/spans?wait=stored", spans.to_string())).await;
    assert!(status.is_success(), "{answer}");
    answer
}

/// Whether anything is known of a trace.
async fn is_known(server: &TestServer, trace: u32) -> bool {
    server.get(&format!("/v1/traces/{trace:032x}")).send().await.unwrap().status() == StatusCode::OK
}

#[tokio::test]
async fn off_and_on_take_effect_with_the_next_request() {
    let server = TestServer::start().await;
    let one = json!([span(1, "s", "o", 1)]);
    let view = pull(&server, json!({"enabled": false, "note": "incident 7"})).await;
    assert_eq!((&view["ingest"], &view["enabled"]), (&json!("off"), &json!(false)));
    for body in [one.to_string(), "not even json".to_owned()] {
        let (status, answer) = json(server.post("/v1/spans", body)).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        assert_eq!(answer, json!({"accepted": 0, "rejected": [], "disabled": true}));
    }
    assert_eq!(server.read("/readyz").await["ingest"], "disabled");
    assert_eq!(server.read("/v1/traces").await["traces"], json!([]), "reads go on");
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("tracefall_requests_disabled_total"), "{metrics}");

    let view = pull(&server, json!({"enabled": true})).await;
    assert_eq!((&view["ingest"], &view["disabled_requests"]), (&json!("on"), &json!(2)));
    assert_eq!(post(&server, &one).await["accepted"], 1);
    let periods = view["periods"].as_array().unwrap();
    assert!(periods.len() == 1 && periods[0]["to"].is_string() && periods[0].get("rule").is_none(), "{view:#}");
    assert_eq!(view["changes"][1]["note"], "incident 7");
}

#[tokio::test]
async fn off_for_a_while_ends_by_itself() {
    let now = UnixNanos::parse_rfc3339("2026-01-05T10:00:00Z").unwrap();
    let clock = Clock::manual(now);
    let server = TestServer::at(clock.clone(), |_| {}).await;
    let view = pull(&server, json!({"enabled": false, "for_secs": 60})).await;
    assert_eq!(view["until"], "2026-01-05T10:01:00Z");
    clock.advance(59_999_999_999);
    assert_eq!(post(&server, &json!([])).await["disabled"], true);
    clock.advance(1);
    assert_eq!(post(&server, &json!([span(1, "s", "o", 1)])).await["accepted"], 1);
    let view = server.read(PATH).await;
    assert_eq!((&view["ingest"], &view["enabled"], view.get("until")), (&json!("on"), &json!(true), None));
    assert_eq!(view["periods"][0]["to"], "2026-01-05T10:01:00Z");
}

#[tokio::test]
async fn what_the_configuration_switches_off_stays_off() {
    let server = TestServer::with(|settings| settings.ingest.enabled = false).await;
    let view = pull(&server, json!({"enabled": true, "rules": [{"service": "s", "action": "off"}]})).await;
    assert_eq!(
        (&view["ingest"], &view["enabled"], &view["configuration"]),
        (&json!("off"), &json!(true), &json!("off"))
    );
    assert!(view["because"].as_str().unwrap().contains("ENABLE_DB_TRACING"), "{view:#}");
    assert_eq!(post(&server, &json!([span(1, "s", "o", 1)])).await["disabled"], true);
}

fn key(name: &str, scope: &str) -> KeySettings {
    serde_json::from_value(json!({"name": name, "key": secret(name), "scopes": [scope]})).unwrap()
}

fn secret(name: &str) -> String {
    format!("tf_the-{name}-key-of-the-tests")
}

#[tokio::test]
async fn only_admins_look_and_pull_and_their_name_is_kept() {
    let server = TestServer::with(|settings| {
        settings.access.keys = vec![key("runner", "ingest"), key("grafana", "read"), key("on-call", "admin")];
    })
    .await;
    let off = json!({"enabled": false}).to_string();
    let put = || server.client.put(server.url(PATH)).body(off.clone());
    problem(server.get(PATH).send().await.unwrap(), 401).await;
    problem(put().send().await.unwrap(), 401).await;
    for name in ["runner", "grafana"] {
        problem(server.get(PATH).bearer_auth(secret(name)).send().await.unwrap(), 403).await;
        problem(put().bearer_auth(secret(name)).send().await.unwrap(), 403).await;
    }
    let spans = json!([span(1, "s", "o", 1)]).to_string();
    let answer = json(server.post("/v1/spans", spans).bearer_auth(secret("runner"))).await.1;
    assert_eq!(answer["accepted"], 1, "nothing was switched off");
    let (status, view) = json(put().bearer_auth(secret("on-call"))).await;
    assert_eq!(status, StatusCode::OK);
    let change = &view["changes"][0];
    assert_eq!((&change["by"], &change["version"]), (&json!("on-call"), &json!(1)));
    assert_eq!(change["what"], json!(["ingest: on -> off"]));
    assert!(!view.to_string().contains(&secret("on-call")));
}

#[tokio::test]
async fn a_wrong_wish_changes_nothing_and_says_what_is_wrong() {
    let server = TestServer::start().await;
    let body = json!({"enabled": false, "rules": [{"action": "off"}, {"action": "keep_fraction", "fraction": 2}]});
    let put = |body: &Value| server.client.put(server.url(PATH)).body(body.to_string());
    let refused = problem(put(&body).send().await.unwrap(), 400).await;
    let error = &refused["errors"][0];
    assert_eq!((&error["rule"], &error["field"]), (&json!(1), &json!("fraction")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("rules[1].fraction is 2; accepted"), "{refused}");
    assert_eq!(server.read(PATH).await["ingest"], "on");
    let long = "x".repeat(70_000);
    problem(put(&json!({"note": long})).send().await.unwrap(), 413).await;
}

#[tokio::test]
async fn who_was_quicker_is_not_overwritten_unawares() {
    let server = TestServer::start().await;
    let before = server.get(PATH).send().await.unwrap();
    let tag = before.headers()["etag"].to_str().unwrap().to_owned();
    let rule = json!({"rules": [{"service": "s", "action": "off"}]});
    let put = || server.client.put(server.url(PATH)).header("if-match", &tag).body(rule.to_string());
    let (status, view) = json(put()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        problem(put().send().await.unwrap(), 412).await["detail"]
            .as_str()
            .unwrap()
            .contains(view["etag"].as_str().unwrap())
    );
    let again = pull(&server, rule.clone()).await;
    assert_eq!(again["etag"], view["etag"], "what changes nothing is no change");
    let sent_back = pull(&server, json!({"rules": again["rules"]})).await;
    assert_eq!(sent_back["etag"], view["etag"]);
    let kept = server.read_until(PATH, |view| view["keeping"]["store"] == "ok").await;
    assert_eq!(kept["keeping"]["file"], "ok");
}

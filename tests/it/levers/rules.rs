//! Each rule over the wire: what is kept, what the answer says, what is counted.

use serde_json::{Value, json};
use tracefall::levers::is_kept;
use tracefall::model::ids::TraceId;

use super::{PATH, held, is_known, post, pull, span};
use crate::support::TestServer;

fn id(trace: u32) -> TraceId {
    TraceId::parse(&format!("{trace:032x}")).unwrap()
}

/// The count of a rule's word, as the resource has it.
fn counted(view: &Value, rule: &str, sampled: bool, reason: &str) -> u64 {
    let counts = view["counts"].as_array().unwrap().iter();
    let mut of = counts.filter(|it| it["rule"] == rule && it["sampled"] == sampled && it["reason"] == reason);
    of.next().map_or(0, |it| it["spans"].as_u64().unwrap())
}

#[tokio::test]
async fn off_by_names_keeps_the_others_and_what_failed() {
    let server = TestServer::start().await;
    let rule = json!({"name": "polls", "service": "router", "operation": "poll*", "region": "us-*", "action": "off"});
    pull(&server, json!({"rules": [rule]})).await;
    assert_eq!(server.read("/readyz").await["ingest_rules"], 1);
    let mut spans: Vec<Value> = [
        (1, "router", "poll jobs"),
        (2, "router", "pay"),
        (3, "runner", "poll jobs"),
        (4, "router", "poll jobs"),
        (5, "router", "poll jobs"),
    ]
    .map(|(trace, service, operation)| span(trace, service, operation, 5))
    .into();
    for span in &mut spans {
        span["region"] = json!("us-east");
    }
    spans[3]["error"] = json!({"type": "Timeout", "message": "gone"});
    spans[4]["region"] = json!("eu-west");
    let answer = post(&server, &json!(spans)).await;
    assert_eq!((&answer["accepted"], &answer["sampled"]), (&json!(4), &json!(1)), "{answer}");
    let mut known = Vec::new();
    for trace in 1..=5 {
        known.push(is_known(&server, trace).await);
    }
    assert_eq!(known, [false, true, true, true, true]);
    let view = server.read(PATH).await;
    assert_eq!((counted(&view, "polls", true, "off"), counted(&view, "polls", false, "failed")), (1, 1), "{view:#}");
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains(r#"tracefall_spans_sampled_total{rule="polls",reason="off"} 1"#), "{metrics}");

    let waterfall = server.read(&format!("/v1/traces/{:032x}/waterfall", 2)).await;
    let note = waterfall["notes"].as_array().unwrap().iter().find(|note| note["code"] == "left_out").unwrap();
    let told = note["message"].as_str().unwrap();
    assert!(told.starts_with("of service=router operation=poll* region=us-* spans may be missing"), "{told}");

    assert_eq!(view["periods"][0]["rule"]["name"], "polls");
    let view = pull(&server, json!({"rules": []})).await;
    assert_eq!(post(&server, &json!([span(6, "router", "poll jobs", 5)])).await["accepted"], 1);
    assert_eq!(view["periods"], json!([]), "it was over before it held");
}

#[tokio::test]
async fn a_fraction_keeps_whole_traces_and_a_larger_one_keeps_them_too() {
    let server = TestServer::start().await;
    let fraction =
        |fraction: f64| json!({"rules": [{"name": "some", "action": "keep_fraction", "fraction": fraction}]});
    let post_all = async |from: u32| {
        for part in ["a", "b"] {
            let spans: Vec<Value> = (from..from + 200)
                .map(|trace| {
                    let mut span = span(trace, "s", "o", 5);
                    span["span_id"] = json!(part);
                    span
                })
                .collect();
            post(&server, &json!(spans)).await;
        }
    };
    for (wanted, from) in [(0.25, 1_000), (0.5, 2_000), (0.0, 3_000), (1.0, 4_000)] {
        pull(&server, fraction(wanted)).await;
        post_all(from).await;
        for trace in from..from + 200 {
            let known = is_known(&server, trace).await;
            assert_eq!(known, is_kept(id(trace), wanted), "{trace} of {wanted}");
            if known {
                let spans = server.read(&format!("/v1/traces/{trace:032x}")).await["spans"].as_array().unwrap().len();
                assert_eq!(spans, 2, "a trace is kept whole");
            }
        }
    }
}

#[tokio::test]
async fn a_minimum_duration_keeps_long_open_and_paired_spans() {
    let server = TestServer::start().await;
    let rule = json!({"name": "short", "service": "s", "action": "minimum_duration", "duration_ms": 20});
    pull(&server, json!({"rules": [rule]})).await;
    let mut open = span(3, "s", "paired", 1);
    open.as_object_mut().unwrap().remove("duration_ms");
    let answer = post(&server, &json!([span(1, "s", "o", 19), span(2, "s", "o", 20), open])).await;
    assert_eq!((&answer["accepted"], &answer["sampled"]), (&json!(2), &json!(1)), "{answer}");
    open["duration_ms"] = json!(3);
    assert_eq!(post(&server, &json!([open])).await["accepted"], 1);
    assert!(!is_known(&server, 1).await && is_known(&server, 2).await);
    let trace = server.read(&format!("/v1/traces/{:032x}", 3)).await;
    assert_eq!(trace["spans"][0]["status"], "completed", "what was begun is not left open: {trace}");
    let view = server.read(PATH).await;
    let counts = [(true, "short"), (false, "long"), (false, "unknown"), (false, "in_parts")];
    assert_eq!(counts.map(|(sampled, reason)| counted(&view, "short", sampled, reason)), [1, 1, 1, 1], "{view:#}");
}

#[tokio::test]
async fn a_start_is_kept_with_the_completion_that_fails_and_dropped_with_the_one_that_does_not() {
    let server = TestServer::start().await;
    pull(&server, json!({"rules": [{"service": "s", "action": "off"}]})).await;
    let start = |trace: u32| {
        let mut start = span(trace, "s", "train", 1);
        start.as_object_mut().unwrap().remove("duration_ms");
        start["execution_id"] = json!("run-9");
        start
    };
    let end = |trace: u32, status: &str| {
        json!({"trace_id": format!("{trace:032x}"), "span_id": "1", "status": status,
            "completed_at": held().to_string()})
    };
    assert_eq!(post(&server, &json!([start(1), start(2)])).await["sampled"], 2);
    let answer = post(&server, &json!([end(1, "completed"), end(2, "failed")])).await;
    assert_eq!((&answer["accepted"], &answer["sampled"]), (&json!(1), &json!(1)), "{answer}");
    assert!(!is_known(&server, 1).await);
    let trace = server.read(&format!("/v1/traces/{:032x}", 2)).await;
    let span = &trace["spans"][0];
    assert_eq!(
        (&span["status"], &span["operation"], &span["execution_id"]),
        (&json!("failed"), &json!("train"), &json!("run-9"))
    );
}

#[tokio::test]
async fn what_was_under_way_when_a_rule_came_is_completed() {
    let server = TestServer::start().await;
    let mut running = span(1, "s", "o", 1);
    running.as_object_mut().unwrap().remove("duration_ms");
    running["started_at"] = json!(tracefall::clock::Clock::system().now().to_string());
    post(&server, &json!([running])).await;
    pull(&server, json!({"rules": [{"action": "off"}]})).await;
    running["duration_ms"] = json!(7);
    assert_eq!(post(&server, &json!([running, span(2, "s", "o", 1)])).await["accepted"], 1);
    let trace = server.read(&format!("/v1/traces/{:032x}", 1)).await;
    assert_eq!(trace["spans"][0]["status"], "completed");
    assert!(!is_known(&server, 2).await);
}

//! What arrives, and how.

use std::collections::BTreeSet;
use std::process::Stdio;

use super::*;
use crate::support::binary::{run, tracefall};

/// Two resources, two scopes, two traces in one request: everything that OTLP can say of a span.
fn everything() -> String {
    let span = |trace: &str, id: &str, more: Value| {
        let mut span = json!({
            "traceId": trace, "spanId": id, "name": "o", "kind": 3, "traceState": "a=b", "flags": 257,
            "startTimeUnixNano": "1767607200000000001", "endTimeUnixNano": "1767607201000000002",
            "attributes": [
                {"key": "text", "value": {"stringValue": "ü \" \n"}},
                {"key": "int", "value": {"intValue": "-9223372036854775808"}},
                {"key": "double", "value": {"doubleValue": 0.1}},
                {"key": "nan", "value": {"doubleValue": "NaN"}},
                {"key": "bytes", "value": {"bytesValue": "AAEC/w=="}},
                {"key": "list", "value": {"arrayValue": {"values": [{"boolValue": true}, {"stringValue": ""}]}}},
                {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "0"}}]}}}
            ],
            "droppedAttributesCount": 1, "droppedEventsCount": 200, "droppedLinksCount": 3,
            "status": {"code": 2, "message": "failed"},
        });
        span.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        span
    };
    let (one, two) = ("0af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319d");
    let event = json!({"timeUnixNano": "1767607200500000000", "name": "exception", "droppedAttributesCount": 4,
        "attributes": [{"key": "exception.type", "value": {"stringValue": "Timeout"}}]});
    let link = json!({"traceId": two, "spanId": "00000000000000ff", "traceState": "c=d", "flags": 1,
        "attributes": [{"key": "k", "value": {"stringValue": "v"}}]});
    let resource = |name: &str, spans: Value| {
        json!({
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": name}}], "droppedAttributesCount": 2},
            "schemaUrl": "https://opentelemetry.io/schemas/1.30.0",
            "scopeSpans": [{"scope": {"name": "lib", "version": "1", "attributes": [{"key": "s", "value": {"boolValue": false}}]},
                "spans": spans}],
        })
    };
    let first = json!([
        span(one, "00000000000000a1", json!({"events": [event], "links": [link]})),
        span(two, "00000000000000b1", json!({})),
    ]);
    let second = json!([span(one, "00000000000000a2", json!({"parentSpanId": "00000000000000a1", "status": {}}))]);
    json!({"resourceSpans": [resource("gateway", first), resource("worker", second)]}).to_string()
}

/// Attributes in the order of their keys, at any depth.
fn by_key(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => {
            items.iter_mut().for_each(|item| *item = by_key(item.take()));
            items.sort_by_key(|item| item["key"].as_str().map(str::to_owned));
        }
        Value::Object(members) => members.values_mut().for_each(|member| *member = by_key(member.take())),
        _ => {}
    }
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_service_reads_the_same_field_by_field() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let receiver = Server::start(to.path(), |_| {});
    let sender = Server::start(from.path(), |command| target(command, "OTHER", &receiver.url("")));
    let otlp = client().post(sender.url("/v1/traces")).header("content-type", "application/json").body(everything());
    assert_eq!(json(otlp).await, (StatusCode::OK, json!({})));
    // What OTLP has no words for goes along as well: an id of 128 bits, a status, money, a prompt, a span that runs.
    let native = json!([
        {"trace_id": "7f3c0a1b2c3d4e5f60718293a4b5c6d7", "span_id": "7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6d7", "service": "runner",
         "operation": "execute", "started_at": "2026-01-05T10:00:00.123456789Z", "duration_ms": 5, "status": "cancelled",
         "execution_id": 123, "model": "m", "tokens": {"input": 5, "output": 7}, "cost": "0.000123", "inputs": {"q": "why"}},
        {"trace_id": "7f3c0a1b2c3d4e5f60718293a4b5c6d7", "span_id": "2", "parent_span_id": "7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6d7",
         "service": "runner", "operation": "wait", "started_at": "2026-01-05T10:00:01Z", "status": "running"},
    ]);
    let native =
        client().post(sender.url("/v1/spans")).header("content-type", "application/json").body(native.to_string());
    assert_eq!(json(native).await.0, StatusCode::ACCEPTED);
    until_forwarded(&sender).await;
    assert_eq!(metric(&sender, "tracefall_forward_spans_sent_total{target=\"other\"}").await, 5.0);

    for trace in
        ["0af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319d", "7f3c0a1b2c3d4e5f60718293a4b5c6d7"]
    {
        let path = format!("/v1/traces/{trace}?format=otlp");
        let deadline = Instant::now() + PATIENCE;
        let here = by_key(json(client().get(sender.url(&path))).await.1);
        loop {
            let (status, there) = json(client().get(receiver.url(&path))).await;
            let there = by_key(there);
            if status == StatusCode::OK && there == here {
                break;
            }
            assert!(Instant::now() < deadline, "{status}\n{here}\n{there}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_the_headers_that_were_wanted() {
    let fake = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = format!(
        "[[forward]]\nname = 'one'\nurl = '{0}'\nheaders = {{ x-api-key = 'env:KEY', authorization = 'Bearer env:KEY' }}\n\
         [[forward]]\nname = 'two'\nurl = '{0}/otlp/traces?dataset=d'\ncompression = 'none'\n",
        fake.url()
    );
    std::fs::write(folder.path().join("tracefall.toml"), file).unwrap();
    let server = Server::start(folder.path(), |command| {
        command.env("KEY", "hunter2-hunter2");
    });
    let trace = post(&server, 7).await;
    until_forwarded(&server).await;
    let got = fake.got();
    let of = |path: &str| got.iter().find(|got| got.uri == path).unwrap_or_else(|| panic!("{path}"));
    let (one, two) = (of("/v1/traces"), of("/otlp/traces?dataset=d"));
    for got in [one, two] {
        assert_eq!(got.headers["content-type"], "application/x-protobuf");
        assert_eq!(got.headers["x-tracefall-forwarded"].len(), 16, "an instance id");
        assert_eq!(got.spans().map(|span| hex(&span.trace_id)).collect::<Vec<_>>(), [trace.clone(), trace.clone()]);
    }
    assert_eq!(one.headers["x-api-key"], "hunter2-hunter2");
    assert_eq!(one.headers["authorization"], "Bearer hunter2-hunter2");
    assert_eq!(one.headers["content-encoding"], "gzip");
    assert!(!two.headers.contains_key("content-encoding") && !two.headers.contains_key("x-api-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_target_gets_what_comes_and_not_what_was() {
    let fake = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut before = Server::start(folder.path(), |_| {});
    post(&before, 1).await;
    before.signal("TERM");
    before.wait();
    let server = Server::start(folder.path(), |command| target(command, "NEW", &fake.url()));
    let trace = post(&server, 2).await;
    until_forwarded(&server).await;
    assert_eq!(fake.taken().0, BTreeSet::from([trace]));
}

/// A key is in the environment and on the wire, and nowhere else, though the target repeats it.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_nowhere() {
    const KEY: &str = "hunter2-hunter2-hunter2";
    let fake = Fake::start().await;
    // A google.rpc.Status with a message.
    let mut body = vec![0x08, 16, 0x12, KEY.len() as u8 + 5];
    body.extend_from_slice(format!("bad: {KEY}").as_bytes());
    fake.will_answer([Answer { status: 401, retry_after: None, body }]);
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{}/v1/traces?key={KEY}", fake.url());
    let environment = |command: &mut Command| {
        target(command, "OTHER", &url);
        command.env("TRACEFALL__FORWARD__OTHER__HEADERS__X_API_KEY", KEY).env("TRACEFALL__TELEMETRY__FILTER", "debug");
        command.current_dir(folder.path());
    };
    let mut check = tracefall();
    environment(&mut check);
    let output = run(check.args(["config", "check"]));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && shown.contains("[[forward]]") && shown.contains("name = \"other\""), "{shown}");
    assert!(!shown.contains(KEY), "{shown}");

    let log = folder.path().join("log");
    let mut command = tracefall();
    environment(&mut command);
    command.args(["--port", "0"]).env("TRACEFALL__SERVER__GRPC_PORT", "0").env("TRACEFALL__TELEMETRY__FORMAT", "json");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let address = loop {
        let text = std::fs::read_to_string(&log).unwrap();
        if let Some((_, rest)) = text.split_once("listens on http://") {
            break rest.split('"').next().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let body = r#"{"trace_id":"1","span_id":"1","operation":"o","started_at":"2026-01-05T10:00:00Z"}"#;
    let body = body.replace("\"1\",\"span", &format!("\"{:032x}\",\"span", 1));
    let posted = client().post(format!("http://{address}/v1/spans")).header("content-type", "application/json");
    assert_eq!(json(posted.body(body)).await.0, StatusCode::ACCEPTED);
    let ready = loop {
        let (status, ready) = json(client().get(format!("http://{address}/readyz"))).await;
        if ready["forward"][0]["state"] == "refusing" {
            assert_eq!((status, &ready["status"]), (StatusCode::OK, &json!("degraded")));
            break ready;
        }
        assert!(Instant::now() < deadline, "{ready:#}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(ready["forward"][0]["reason"], "401 Unauthorized: bad: ***");
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("a forward target refuses spans") && !text.contains(KEY), "{text}");
}

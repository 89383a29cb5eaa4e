//! The programs of tests/clients-otel: OpenTelemetry's and Zipkin's own clients, as they come from PyPI and npm, set up by
//! their own environment variables. What they sent is read back and compared field by field.
//!
//! scripts/otel-clients installs them and prints a folder, which `TRACEFALL_TEST_OTEL_CLIENTS` names.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use serde_json::{Value, json};
use tracefall::model::time::UnixNanos;
use tracefall::settings::Secret;

use crate::clients::{Ended, first_line, run};
use crate::docs::blocks;
use crate::support::TestServer;

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients-otel");
const KEY: &str = "tf_a-key-for-opentelemetry";

/// The folder of the installed clients; None without one, which is said once and is a failure in CI.
fn installed() -> Option<PathBuf> {
    static TOLD: Once = Once::new();
    let folder = std::env::var_os("TRACEFALL_TEST_OTEL_CLIENTS").filter(|folder| !folder.is_empty());
    if folder.is_none() {
        assert!(std::env::var("CI").is_err(), "TRACEFALL_TEST_OTEL_CLIENTS is not set: in CI no test is skipped");
        TOLD.call_once(|| {
            eprintln!(
                "skipped: OpenTelemetry's own clients. scripts/test installs them; or set TRACEFALL_TEST_OTEL_CLIENTS to \
                 what scripts/otel-clients prints"
            );
        });
    }
    folder.map(PathBuf::from)
}

/// A program in an environment that names its service, and nothing of the developer's.
fn python(installed: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg("-B").arg(format!("{PROGRAMS}/python/{}", arguments[0])).args(&arguments[1..]);
    named(&mut command).env("PYTHONPATH", installed.join("python"));
    command
}

/// The same for Node, which looks for packages beside the program: in a folder of the test's own.
fn node(installed: &Path, folder: &Path, program: &str) -> Command {
    let copy = folder.join(program);
    std::fs::copy(format!("{PROGRAMS}/node/{program}"), &copy).unwrap();
    let modules = folder.join("node_modules");
    if !modules.exists() {
        std::os::unix::fs::symlink(installed.join("node/node_modules"), modules).unwrap();
    }
    let mut command = Command::new("node");
    command.arg(copy);
    named(&mut command);
    command
}

fn named(command: &mut Command) -> &mut Command {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("OTEL_SERVICE_NAME", "shop")
}

/// The variables that name the server, and the key that it wants to be shown.
fn configured<'c>(command: &'c mut Command, server: &TestServer, protocol: &str) -> &'c mut Command {
    let endpoint = match protocol {
        "grpc" => format!("http://{}", server.grpc_address()),
        _ => server.url(""),
    };
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
    command.env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20{KEY}"));
    // What Node's SDK would send beside its spans.
    command.envs([("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")])
}

async fn guarded() -> TestServer {
    TestServer::with(|settings| settings.access.admin_key = Some(Secret::new(KEY))).await
}

/// The spans of a trace, the parent first, once there are so many.
async fn spans(server: &TestServer, trace: &Value, count: usize) -> Vec<Value> {
    let path = format!("/v1/traces/{}", trace.as_str().unwrap());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let answer: Value = server.get(&path).bearer_auth(KEY).send().await.unwrap().json().await.unwrap();
        if answer["spans"].as_array().is_some_and(|spans| spans.len() >= count) {
            let spans = answer["spans"].as_array().unwrap().clone();
            assert_eq!(spans.len(), count, "{answer:#}");
            return spans;
        }
        assert!(std::time::Instant::now() < deadline, "{path}: {answer:#}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// What is particular to a language's SDK.
struct Sdk {
    language: &'static str,
    error_type: &'static str,
    flags: u64,
    /// Of the link to a span elsewhere.
    link_flags: u64,
    /// Python does not send it.
    link_state: Option<&'static str>,
    attributes: Value,
    escaped: Option<&'static str>,
}

fn python_sdk() -> Sdk {
    Sdk {
        language: "python",
        error_type: "ValueError",
        flags: 256,
        link_flags: 768,
        link_state: None,
        attributes: json!({
            "whole": i64::MAX, "negative": i64::MIN, "part": 1.0, "parts": [0.5, 2.0],
            "bytes": {"bytesValue": "AP8="}, "map": {"inner": {"list": [1, "two", null]}}, "mixed": ["a", 1, true],
            "none": null, "not_a_number": {"doubleValue": "NaN"}, "infinite": {"doubleValue": "-Infinity"},
        }),
        escaped: Some("False"),
    }
}

fn node_sdk() -> Sdk {
    Sdk {
        language: "nodejs",
        error_type: "TypeError",
        flags: 257,
        link_flags: 769,
        link_state: Some("vendor=x"),
        attributes: json!({"whole": 9_007_199_254_740_991_i64, "negative": -5, "part": 1.5, "parts": [0.5, 2.5]}),
        escaped: None,
    }
}

fn merged(base: Value, more: &Value) -> Value {
    let mut base = base;
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

/// What a program of that SDK sent by OTLP, as it is read back.
fn expected(sdk: &Sdk, told: &Value) -> [Value; 2] {
    let at = |nanos: u64| UnixNanos::new(told["base"].as_u64().unwrap() + nanos).to_string();
    let resource = json!({
        "attributes": {"service.name": "shop", "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.language": sdk.language},
        "scope": {"name": "the-library", "version": "1.2.3", "attributes": {}},
    });
    let common = json!({
        "text": "a \"quoted\" text\u{7} é 🦀", "empty": "", "yes": true, "no": false, "small": 5e-324,
        "texts": ["a", "b"], "wholes": [1, 2], "truths": [true, false], "nothing_in_it": [],
        "http.request.method": "GET", "session.id": "s-1", "user.id": "u-1",
    });
    let mut exception = json!({"exception.type": sdk.error_type, "exception.message": "no value"});
    let mut link = json!({"trace_id": format!("{:032x}", 10), "span_id": format!("{:016x}", 11),
        "attributes": {"why": "it", "count": 2}, "flags": sdk.link_flags});
    if let Some(escaped) = sdk.escaped {
        exception["exception.escaped"] = escaped.into();
    }
    if let Some(state) = sdk.link_state {
        link["trace_state"] = state.into();
    }
    let parent = json!({
        "trace_id": told["trace_id"], "span_id": told["parent"], "service": "shop", "operation": "parent",
        "span_type": "http", "kind": "server", "status": "failed", "started_at": at(1), "completed_at": at(1_000_003),
        "duration_ms": 1.000_002, "otel_status": "error", "status_message": "it failed", "error_type": sdk.error_type,
        "error_message": "no value", "session_id": "s-1", "user_id": "u-1", "flags": sdk.flags,
        "attributes": merged(common, &sdk.attributes),
        "events": [
            {"timestamp": at(600_000), "name": "cache miss", "attributes": {"key": "k", "tries": 3, "sizes": [1, 2]}},
            {"timestamp": at(700_000), "name": "exception", "attributes": exception},
        ],
        "links": [link],
        "resource": resource,
    });
    let child = json!({
        "trace_id": told["trace_id"], "span_id": told["child"], "parent_span_id": told["parent"], "service": "shop",
        "operation": "child", "kind": "client", "status": "completed", "started_at": at(2_000),
        "completed_at": at(502_000), "duration_ms": 0.5, "flags": sdk.flags, "resource": resource,
    });
    [parent, child]
}

/// Takes out what only the sender knows: its stack, its process, its version.
fn comparable(mut span: Value) -> Value {
    if let Some(stack) = span.as_object_mut().unwrap().remove("error_stack") {
        let attributes = &mut span["events"][1]["attributes"];
        assert_eq!(attributes.as_object_mut().unwrap().remove("exception.stacktrace"), Some(stack.clone()));
        assert!(stack.as_str().unwrap().contains("Error: no value"), "{stack}");
    }
    let resource = span["resource"]["attributes"].as_object_mut().unwrap();
    resource.retain(|key, _| ["service.name", "telemetry.sdk.name", "telemetry.sdk.language"].contains(&&**key));
    span
}

async fn check(server: &TestServer, sdk: &Sdk, mut command: Command) {
    let (told, _) = run(&mut command);
    let read = spans(server, &told["trace_id"], 2).await;
    for (read, expected) in read.into_iter().zip(expected(sdk, &told)) {
        let read = comparable(read);
        let (read_fields, expected_fields) = (read.as_object().unwrap(), expected.as_object().unwrap());
        for (field, value) in expected_fields {
            assert_eq!(read_fields.get(field), Some(value), "{command:?}: {field}");
        }
        let more: Vec<_> = read_fields.keys().filter(|field| !expected_fields.contains_key(*field)).collect();
        assert_eq!(more, [""; 0], "{command:?}: more than was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_sdk_is_read_back_field_by_field_over_http_and_grpc() {
    let Some(installed) = installed() else { return };
    let server = guarded().await;
    for (exporter, protocol) in [("http", "http/protobuf"), ("grpc", "grpc")] {
        let mut command = python(&installed, &["trace.py", exporter]);
        configured(&mut command, &server, protocol);
        check(&server, &python_sdk(), command).await;
    }
    for compression in ["gzip", "deflate"] {
        let mut command = python(&installed, &["trace.py", "http"]);
        configured(&mut command, &server, "http/protobuf").env("OTEL_EXPORTER_OTLP_COMPRESSION", compression);
        check(&server, &python_sdk(), command).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_sdk_is_read_back_field_by_field_as_json_protobuf_and_grpc() {
    let Some(installed) = installed() else { return };
    let server = guarded().await;
    for protocol in ["http/json", "http/protobuf", "grpc"] {
        let mut command = node(&installed, server.folder.path(), "trace.mjs");
        configured(&mut command, &server, protocol).env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
        check(&server, &node_sdk(), command).await;
    }
    server.stop().await;
}

/// What the documents promise of a first minute. The ports are those that everybody knows, and may be taken.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_service_name_and_nothing_else_the_spans_arrive() {
    let Some(installed) = installed() else { return };
    if let Some(taken) =
        [4317, 4318].into_iter().find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_err())
    {
        return eprintln!("skipped: clients without any configuration. Port {taken} is taken");
    }
    let server = TestServer::with(|settings| (settings.server.port, settings.server.grpc_port) = (4318, 4317)).await;
    check(&server, &python_sdk(), python(&installed, &["trace.py", "http"])).await;
    check(&server, &python_sdk(), python(&installed, &["trace.py", "grpc"])).await;
    check(&server, &node_sdk(), node(&installed, server.folder.path(), "trace.mjs")).await;
    let waterfall = server.draw("/v1/traces?service=shop").await;
    assert!(waterfall.contains("parent"), "{waterfall}");
    server.stop().await;
}

/// Zipkin's format has texts for attributes, microseconds for times, and no place for links and for the attributes of
/// events: the exporters of OpenTelemetry say there what they can.
#[tokio::test(flavor = "multi_thread")]
async fn opentelemetrys_zipkin_exporters_arrive_with_what_zipkin_can_say() {
    let Some(installed) = installed() else { return };
    let server = TestServer::start().await;
    let mut node = node(&installed, server.folder.path(), "trace.mjs");
    node.env("OTEL_TRACES_EXPORTER", "zipkin");
    for mut command in [python(&installed, &["trace.py", "zipkin"]), node] {
        command.env("OTEL_EXPORTER_ZIPKIN_ENDPOINT", server.url("/api/v2/spans"));
        let (told, _) = run(&mut command);
        let at = |nanos: u64| UnixNanos::new(told["base"].as_u64().unwrap() + nanos).to_string();
        let read = spans(&server, &told["trace_id"], 2).await;
        for (field, value) in [
            ("span_id", told["parent"].clone()),
            ("service", "shop".into()),
            ("operation", "parent".into()),
            ("span_type", "http".into()),
            ("kind", "server".into()),
            ("status", "failed".into()),
            ("otel_status", "error".into()),
            ("error_message", "it failed".into()),
            ("session_id", "s-1".into()),
            ("user_id", "u-1".into()),
            ("started_at", at(0).into()),
            ("duration_ms", 1.into()),
        ] {
            assert_eq!(read[0][field], value, "{command:?}: {field}");
        }
        for (field, value) in [
            ("span_id", told["child"].clone()),
            ("parent_span_id", told["parent"].clone()),
            ("kind", "client".into()),
            ("status", "completed".into()),
            ("started_at", at(2_000).into()),
            ("completed_at", at(502_000).into()),
        ] {
            assert_eq!(read[1][field], value, "{command:?}: {field}");
        }
        let attributes = &read[0]["attributes"];
        for (key, value) in [
            ("text", "a \"quoted\" text\u{7} é 🦀"),
            ("yes", "true"),
            ("no", "false"),
            ("http.request.method", "GET"),
            ("otel.status_code", "ERROR"),
        ] {
            assert_eq!(attributes[key], value, "{command:?}: {key}");
        }
        let events = read[0]["events"].as_array().unwrap();
        for (event, (nanos, name)) in events.iter().zip([(600_000, "cache miss"), (700_000, "exception")]) {
            assert_eq!(event["timestamp"], at(nanos), "{command:?}");
            assert!(event["name"].as_str().unwrap().contains(name), "{event}");
        }
        assert_eq!(events.len(), 2);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_that_share_a_span_by_zipkin_are_one_tree() {
    let Some(installed) = installed() else { return };
    let server = TestServer::start().await;
    let mut command = python(&installed, &["two_services.py"]);
    let (told, _) = run(command.env("ZIPKIN_URL", server.url("/api/v2/spans")));
    let read = spans(&server, &told["trace_id"], 3).await;
    let of = |operation: &str| read.iter().find(|span| span["operation"] == operation).unwrap();
    let (page, fetch, get) = (of("page"), of("fetch"), of("get /item"));
    assert_eq!((&page["span_id"], &fetch["span_id"]), (&told["parent"], &told["child"]));
    assert_eq!((&fetch["parent_span_id"], &fetch["kind"]), (&told["parent"], &json!("client")));
    assert_eq!((&get["service"], &get["kind"]), (&json!("api"), &json!("server")));
    assert_eq!(fetch["events"], json!([{"timestamp": "2026-01-05T10:00:00.500Z", "name": "cache miss"}]));
    for (key, value) in [
        ("http.method", json!("GET")),
        ("peer.service", json!("api")),
        ("network.peer.address", json!("10.0.0.7")),
        ("network.peer.port", json!(80)),
    ] {
        assert_eq!(fetch["attributes"][key], value, "{key}");
    }
    let path = format!("/v1/traces/{}/waterfall", told["trace_id"].as_str().unwrap());
    let waterfall = server.read(&path).await;
    let tree: Vec<(&Value, &Value)> =
        waterfall["rows"].as_array().unwrap().iter().map(|row| (&row["depth"], &row["operation"])).collect();
    let (zero, one, two) = (json!(0), json!(1), json!(2));
    assert_eq!(tree, [(&zero, &json!("page")), (&one, &json!("fetch")), (&two, &json!("get /item"))]);
    server.stop().await;
}

/// The fake OpenAI, and where it is.
fn openai(installed: &Path) -> (Ended, String) {
    let mut command = python(installed, &["fake_openai.py"]);
    let mut child = Ended(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let url = format!("http://127.0.0.1:{}/v1", first_line(&mut child.0));
    (child, url)
}

/// What the fake says that an answer took.
fn assert_usage(span: &Value) {
    for (field, value) in [
        ("span_type", json!("llm")),
        ("status", json!("completed")),
        ("provider", json!("openai")),
        ("model", json!("gpt-4o-mini-2024-07-18")),
        ("request_model", json!("gpt-4o-mini")),
        ("input_tokens", json!(812)),
        ("output_tokens", json!(97)),
        ("cache_read_tokens", json!(512)),
        ("reasoning_tokens", json!(40)),
        ("usage_basis", json!("inclusive")),
        ("cost_role", json!("own")),
        ("session_id", json!("session-1")),
        ("user_id", json!("user-1")),
    ] {
        assert_eq!(span[field], value, "{field} of {span:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_by_openinference_tells_model_tokens_session_user_and_failure() {
    let Some(installed) = installed() else { return };
    let (_openai, url) = openai(&installed);
    let server = guarded().await;
    let mut command = python(&installed, &["llm.py"]);
    let (told, _) = run(configured(&mut command, &server, "http/protobuf").env("OPENAI_BASE_URL", url));
    let read = spans(&server, &told["trace_id"], 4).await;
    let (question, asked) = read.split_first().unwrap();
    assert_eq!((&question["operation"], &question["span_type"]), (&json!("question"), &Value::Null));
    assert!(asked.iter().all(|span| span["parent_span_id"] == question["span_id"]));
    for answered in &asked[..2] {
        assert_usage(answered);
        let attributes = &answered["attributes"];
        assert_eq!(attributes["llm.input_messages.1.message.content"], "Hello?");
        assert_eq!(attributes["llm.output_messages.0.message.content"], "Hello there");
        assert_eq!((&attributes["tag.tags"], &attributes["llm.finish_reason"]), (&json!(["a", "b"]), &json!("stop")));
    }
    for (field, value) in [
        ("span_type", "llm"),
        ("status", "failed"),
        ("provider", "openai"),
        ("model", "broken"),
        ("request_model", "broken"),
        ("error_type", "openai.BadRequestError"),
        ("session_id", "session-1"),
    ] {
        assert_eq!(asked[2][field], value, "{field}");
    }
    assert!(asked[2]["error_message"].as_str().unwrap().contains("there is no such model"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ai_sdk_tells_model_tokens_session_and_user_and_counts_once() {
    let Some(installed) = installed() else { return };
    let (_openai, url) = openai(&installed);
    let server = guarded().await;
    let mut command = node(&installed, server.folder.path(), "ai_sdk.mjs");
    let (told, _) = run(configured(&mut command, &server, "http/protobuf").env("OPENAI_BASE_URL", url));
    let read = spans(&server, &told["trace_id"], 5).await;
    let of = |operation: &str| read.iter().find(|span| span["operation"] == operation).unwrap();
    for (outer, inner) in
        [("ai.generateText", "ai.generateText.doGenerate"), ("ai.streamText", "ai.streamText.doStream")]
    {
        let (outer, inner) = (of(outer), of(inner));
        assert_usage(inner);
        assert_eq!(inner["parent_span_id"], outer["span_id"]);
        assert_eq!(inner["attributes"]["ai.response.text"], "Hello there");
        // It repeats what the inner one used.
        assert_eq!((&outer["cost_role"], &outer["provider"]), (&json!("aggregate"), &json!("openai")));
    }
    server.stop().await;
}

/// Each block of docs/clients/otel.md in a language that is here is a program that reports as it stands.
#[tokio::test(flavor = "multi_thread")]
async fn the_recipes_of_the_documents_report_as_they_stand() {
    let Some(installed) = installed() else { return };
    let (_openai, url) = openai(&installed);
    let server = guarded().await;
    let document = include_str!("../../../docs/clients/otel.md");
    let folder = server.folder.path();
    let program = |language: &str, file: &str, text: &str| {
        std::fs::write(folder.join(file), text).unwrap();
        let mut command = Command::new(language);
        command.arg(folder.join(file));
        named(&mut command);
        command
    };
    std::os::unix::fs::symlink(installed.join("node/node_modules"), folder.join("node_modules")).unwrap();
    let mut count = 0;
    for (language, fence, end) in [("python3", "python", "py"), ("node", "javascript", "mjs")] {
        for text in blocks(document, fence) {
            count += 1;
            let service = format!("recipe-{count}");
            let mut command = program(language, &format!("{service}.{end}"), &text);
            configured(&mut command, &server, "http/protobuf").envs([
                ("PYTHONPATH", &*installed.join("python").display().to_string()),
                ("OTEL_SERVICE_NAME", &service),
                ("OPENAI_BASE_URL", &url),
                ("OPENAI_API_KEY", "none"),
            ]);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
            let path = format!("/v1/traces?service={service}");
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            loop {
                let list: Value = server.get(&path).bearer_auth(KEY).send().await.unwrap().json().await.unwrap();
                if list["traces"][0]["span_count"].as_u64().is_some_and(|spans| spans > 0) {
                    break;
                }
                assert!(std::time::Instant::now() < deadline, "nothing was reported by\n{text}");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
    assert_eq!(count, 4);
    server.stop().await;
}

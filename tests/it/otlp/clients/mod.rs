//! The programs of tests/clients-otel: OpenTelemetry's and Zipkin's own clients, as they come from PyPI and npm, set up by
//! their own environment variables. What they sent is read back and compared field by field.
//!
//! scripts/otel-clients installs them and prints a folder, which `TRACEFALL_TEST_OTEL_CLIENTS` names.

mod llm;
mod sdks;
mod zipkin;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use serde_json::Value;
use tracefall::settings::Secret;

use crate::docs::blocks;
use crate::recipes::{Ended, first_line};
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

/// The fake OpenAI, and where it is.
fn openai(installed: &Path) -> (Ended, String) {
    let mut command = python(installed, &["fake_openai.py"]);
    let mut child = Ended(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let url = format!("http://127.0.0.1:{}/v1", first_line(&mut child.0));
    (child, url)
}

/// Each block of docs/clients/otel.md in a language that is here is a program that reports as it stands.
#[tokio::test(flavor = "multi_thread")]
async fn the_recipes_of_the_documents_report_as_they_stand() {
    let Some(installed) = installed() else { return };
    let (_openai, url) = openai(&installed);
    let server = guarded().await;
    let document = include_str!("../../../../docs/clients/otel.md");
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

//! `tracefall demo` against the real service: everything is taken, and what the truth says is there to be read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::binary::{Server, run, tracefall};
use crate::support::{client, json};

fn demo(url: &str, arguments: &[&str]) -> Command {
    let mut command = tracefall();
    command.arg("demo").args(arguments).env("TRACEFALL_URL", url);
    command
}

/// Runs to its end; what it printed.
fn succeeds(mut command: Command) -> String {
    let output = run(&mut command);
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(err, "", "no progress into a pipe");
    out
}

async fn read(server: &Server, path: &str) -> Value {
    let (status, answer) = json(client().get(server.url(path))).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// The lines of a truth file: those about traces, those about times.
fn truth(path: &std::path::Path) -> (Vec<Value>, Vec<Value>) {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).partition(|line| line["role"] != "incident")
}

fn ids(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_is_taken_as_it_is_and_can_be_read_as_its_truth_says() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let file = folder.path().join("truth.jsonl");
    let arguments = ["--traces", "40", "--seed", "3", "--truth", file.to_str().unwrap()];
    // It fails if a span is rejected.
    let out = succeeds(demo(&server.url(""), &arguments));
    let (traces, incidents) = truth(&file);
    assert!(out.starts_with(&format!("posted {} traces, ", traces.len())), "{out}");
    assert_eq!(incidents.len(), 26);
    let mut drawn = BTreeMap::new();
    for line in &traces {
        let [id, scenario] = ["trace_id", "scenario"].map(|name| line[name].as_str().unwrap());
        let trace = read(&server, &format!("/v1/traces/{id}")).await;
        let spans: BTreeSet<String> = trace["spans"]
            .as_array()
            .unwrap()
            .iter()
            .map(|span| span["span_id"].as_str().unwrap().to_owned())
            .collect();
        assert!(ids(&line["culprit"]["span_ids"]).is_subset(&spans), "{line}");
        assert!(ids(&line["missing_span_ids"]).is_disjoint(&spans), "{line}");
        if line["role"] == "fault" && !drawn.contains_key(scenario) {
            let waterfall = read(&server, &format!("/v1/traces/{id}/waterfall")).await;
            drawn.insert(scenario, (spans.len(), waterfall));
        }
    }
    assert_eq!(drawn.len(), 26);
    let rows = |scenario: &str| drawn[scenario].1["rows"].as_array().unwrap();
    let flagged = |scenario: &str, flag: &str| rows(scenario).iter().any(|row| ids(&row["flags"]).contains(flag));
    // One of each family, for what is special about it.
    let operations: Vec<&str> = rows("cold-start").iter().map(|row| row["operation"].as_str().unwrap()).collect();
    let chain = [
        "execute_question",
        "db.write_span",
        "hybrid_router_call",
        "router.inference_request",
        "router.modal_call",
        "modal.inference",
    ];
    assert_eq!(operations, chain);
    assert_eq!(
        rows("cold-start").iter().map(|row| row["depth"].as_u64().unwrap()).collect::<Vec<_>>(),
        [0, 1, 1, 2, 3, 4]
    );
    assert!(flagged("clock-skew", "skewed"), "{:#}", drawn["clock-skew"].1);
    assert!(flagged("stuck-call", "open") && flagged("deployment-stalled", "open"));
    assert!(rows("tool-error").iter().any(|row| row["operation"] == "llm"));
    assert!(
        rows("deployment-rejected")
            .iter()
            .any(|row| row["operation"] == "release decision" && row["status"] == "failed")
    );

    // What it says to try works.
    let commands: Vec<&str> = out.lines().filter_map(|line| line.trim().strip_prefix("tracefall ")).collect();
    assert!(commands.len() > 28, "{out}");
    for line in commands.iter().filter(|line| !line.starts_with("demo")).take(6) {
        let arguments = line.split('#').next().unwrap().split_whitespace();
        let output = run(tracefall().args(arguments).env("TRACEFALL_URL", server.url("")));
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn posting_the_same_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let arguments = ["--scenario", "timeout", "--traces", "5", "--at", "2026-01-05T12:00:00Z"];
    let first = succeeds(demo(&server.url(""), &arguments));
    let id = first.lines().find_map(|line| line.trim().strip_prefix("tracefall waterfall ")).unwrap();
    let path = format!("/v1/executions/{}/waterfall", id.split_whitespace().next().unwrap());
    let before = read(&server, &path).await;
    succeeds(demo(&server.url(""), &arguments));
    assert_eq!(read(&server, &path).await, before);
}

#[test]
fn the_readme_shows_what_its_commands_print() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let line = readme.lines().find_map(|line| line.strip_prefix("tracefall demo --scenario")).unwrap();
    let arguments: Vec<&str> = ["--scenario"].into_iter().chain(line.split_whitespace()).collect();
    let out = succeeds(demo(&server.url(""), &arguments));
    let (id, _) = out.split_once("  # gpu-oom").unwrap();
    let command = id.rsplit("  ").find(|text| text.starts_with("tracefall waterfall")).unwrap().trim();
    assert!(readme.contains(&format!("\n{command}\n")), "{command}");
    let arguments = command.split_whitespace().skip(1);
    let drawn = run(tracefall().args(arguments).env("TRACEFALL_URL", server.url(""))).stdout;
    let drawn = String::from_utf8(drawn).unwrap();
    assert!(!drawn.is_empty() && readme.contains(drawn.trim_end()), "{drawn}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_what_a_live_demo_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let arguments = ["--live", "--scenario", "healthy", "--traces", "30", "--duration", "60s"];
    let mut child = demo(&server.url(""), &arguments).stdout(Stdio::piped()).spawn().unwrap();
    loop {
        let list = read(&server, "/v1/traces?status=running").await;
        if list["traces"][0]["open_count"].as_u64() >= Some(1) {
            break;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ends by itself");
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(out.starts_with("interrupted: posted "), "{out}");
    while read(&server, "/v1/traces?status=running").await["traces"] != json!([]) {}
    let cancelled = read(&server, "/v1/traces?status=cancelled").await;
    assert!(cancelled["traces"][0]["open_count"] == 0, "{cancelled}");
}

/// A server that answers each request with the next of `answers`, and gives the bodies back.
fn scripted(answers: Vec<&'static str>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let bodies = std::thread::spawn(move || {
        let mut bodies = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            bodies.push(String::from_utf8(body).unwrap());
            let mut stream = reader.into_inner();
            stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).unwrap();
        }
        bodies
    });
    (url, bodies)
}

#[test]
fn a_server_without_room_gets_the_same_again() {
    let later = "503 Busy\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let full = "429 Full\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let taken = "202 Accepted\r\nConnection: close\r\nContent-Length: 29\r\n\r\n{\"accepted\":2,\"rejected\":[]} ";
    let (url, bodies) = scripted(vec![later, full, taken]);
    let out = succeeds(demo(&url, &["--scenario", "healthy", "--traces", "2"]));
    let bodies = bodies.join().unwrap();
    assert!(bodies[0].lines().count() > 5 && bodies.iter().all(|body| *body == bodies[0]));
    assert!(out.contains("in 2 records"), "{out}");
}

#[test]
fn a_server_that_keeps_nothing_or_is_not_there_is_explained() {
    let off = "202 Accepted\r\nConnection: close\r\nContent-Length: 30\r\n\r\n{\"accepted\":0,\"disabled\":true}";
    let (url, _) = scripted(vec![off]);
    for (url, words) in [(url.as_str(), "ENABLE_DB_TRACING"), ("http://127.0.0.1:9", "Start the service")] {
        let output = run(&mut demo(url, &["--scenario", "healthy", "--traces", "2"]));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(words) && error.contains(url), "{error}");
    }
}

#[test]
fn scenarios_are_listed_here_and_in_the_document() {
    let list = succeeds(demo("http://127.0.0.1:9", &["--scenario", "list"]));
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/demo.md")).unwrap();
    for scenario in tracefall::demo::SCENARIOS {
        assert!(list.contains(&format!("{}\n  shows      {}\n", scenario.name, scenario.shows)), "{list}");
        let row =
            format!("| `{}` | `{}` | {} | {} |", scenario.name, scenario.rule, scenario.shows, scenario.look_alike);
        assert!(document.contains(&row), "docs/demo.md lacks or differs in:\n{row}");
    }
    let output = run(&mut demo("http://127.0.0.1:9", &["--scenario", "coldstart"]));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cold-start"), "known names are listed");
}

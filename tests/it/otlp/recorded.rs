//! Recorded traces over HTTP into either store: whichever the encoding, the rows are the same, and a second time changes
//! none. The excerpt of tests/fixtures always, all of the recordings from the folder that `TRACEFALL_EVAL_DATA` names.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::{Value, json};

use super::PROTOBUF;
use crate::support::TestServer;
use crate::support::postgres::Database;

/// Bodies of requests in JSON.
fn recordings() -> Vec<String> {
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    let Some(folder) = std::env::var_os("TRACEFALL_EVAL_DATA") else {
        println!("TRACEFALL_EVAL_DATA names no folder: only the excerpt is sent");
        return lines(include_str!("../../fixtures/otlp/excerpt.otlp.jsonl"));
    };
    let files = std::fs::read_dir(std::path::Path::new(&folder).join("otlp")).unwrap();
    let files =
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "jsonl"));
    files.flat_map(|file| lines(&std::fs::read_to_string(file).unwrap())).collect()
}

async fn send(server: &TestServer, bodies: &[String], as_json: bool) {
    for body in bodies {
        let request = match as_json {
            true => server.post("/v1/traces", body.clone()),
            false => {
                let request: ExportTraceServiceRequest = serde_json::from_str(body).unwrap();
                let request = request.encode_to_vec();
                server.client.post(server.url("/v1/traces")).header("content-type", PROTOBUF).body(request)
            }
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let all = if as_json { &b"{}"[..] } else { b"" };
        assert_eq!(answer.bytes().await.unwrap(), all, "every span is taken");
    }
}

/// Everything that can be read of these traces, by what is asked.
async fn all(server: &TestServer, traces: &BTreeSet<String>) -> BTreeMap<String, Value> {
    let mut answers = BTreeMap::new();
    let mut listed = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let list = server.read(&format!("/v1/traces?limit=100{cursor}")).await;
        for trace in list["traces"].as_array().unwrap() {
            let id = trace["trace_id"].as_str().unwrap();
            assert!(listed.insert(id.to_owned()), "{id} is listed twice");
            answers.insert(format!("summary of {id}"), trace.clone());
        }
        match list["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let differing: Vec<_> = listed.symmetric_difference(traces).collect();
    assert_eq!(differing, [""; 0], "listed and not sent, or sent and not listed");
    for id in traces {
        let trace = server.read(&format!("/v1/traces/{id}")).await;
        assert_eq!(trace["truncated"], json!(false), "{id}");
        answers.insert(format!("spans of {id}"), trace);
    }
    answers
}

/// The ids of the traces, and how many spans they have: equal pairs of ids count once.
fn known(bodies: &[String]) -> (BTreeSet<String>, usize) {
    let mut spans = BTreeSet::new();
    for body in bodies {
        let request: ExportTraceServiceRequest = serde_json::from_str(body).unwrap();
        let of = request.resource_spans.into_iter().flat_map(|of| of.scope_spans).flat_map(|of| of.spans);
        spans.extend(of.map(|span| (span.trace_id, span.span_id)));
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (spans.iter().map(|(trace, _)| hex(trace)).collect(), spans.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn either_encoding_gives_the_same_rows_on_either_store_and_a_second_time_changes_none() {
    let bodies = recordings();
    let (traces, count) = known(&bodies);
    let mut first: Option<BTreeMap<String, Value>> = None;
    for as_json in [true, false] {
        let database = Database::new();
        if let Some(database) = &database {
            database.empty().await;
        }
        for url in std::iter::once(None).chain(database.iter().map(|database| Some(database.settings().url))) {
            let mut server = TestServer::with(|settings| {
                // They are old.
                settings.retention.completed_days = 36_500;
                settings.retention.failed_days = 36_500;
                settings.retention.rollup_days = 36_500;
                if let Some(url) = url {
                    settings.store.url = url;
                }
            })
            .await;
            for time in ["first", "second"] {
                send(&server, &bodies, as_json).await;
                // A service that stops has stored what it took.
                server = server.restart().await;
                let read = all(&server, &traces).await;
                let spans = read.values().filter_map(|answer| answer["spans"].as_array()).map(Vec::len).sum::<usize>();
                assert_eq!(spans, count);
                let first = first.get_or_insert_with(|| read.clone());
                for (asked, answer) in &read {
                    assert_eq!(Some(answer), first.get(asked), "{asked}, JSON: {as_json}, the {time} time");
                }
            }
            server.stop().await;
        }
    }
}

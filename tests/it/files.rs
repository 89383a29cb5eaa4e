//! `tracefall import FILE…` and `tracefall export`: what is in files comes in, goes out, and is the same.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prost::Message;

use crate::support::binary::{Server, tracefall};

const EXCERPT: &str = include_str!("../fixtures/otlp/excerpt.otlp.jsonl");

fn run(server: &Server, arguments: &[&str]) -> Output {
    let mut command: Command = tracefall();
    command.env("TRACEFALL_URL", server.url("")).args(arguments).output().unwrap()
}

/// What it printed, when all went well.
fn told(server: &Server, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn file(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// The lines of an export, in order.
fn exported(server: &Server, folder: &Path) -> Vec<String> {
    let path = folder.join("out.jsonl.gz");
    told(server, &["export", "--output", path.to_str().unwrap()]);
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn what_goes_out_comes_in_again_and_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&two).unwrap();
    let first = Server::start(&one, |_| {});
    let excerpt = file(folder.path(), "excerpt.jsonl", EXCERPT.as_bytes());
    let summary = told(&first, &["import", excerpt.to_str().unwrap()]);
    let spans = told(&first, &["import", excerpt.to_str().unwrap(), "--json"]);
    let spans: serde_json::Value = serde_json::from_str(&spans).unwrap();
    assert_eq!((&spans["spans"], &spans["rejected"]), (&spans["posted"], &0.into()), "{summary}");
    assert!(spans["spans"].as_u64().unwrap() > 20);
    let lines = exported(&first, folder.path());
    assert_eq!(lines.len(), EXCERPT.lines().count(), "a trace a line");

    let second = Server::start(&two, |_| {});
    told(&second, &["import", folder.path().join("out.jsonl.gz").to_str().unwrap()]);
    assert_eq!(exported(&second, folder.path()), lines);
}

#[test]
fn every_format_is_known_by_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let protobuf = crate::otlp::request(&["a", "b"]).encode_to_vec();
    let pretty = serde_json::to_string_pretty(&crate::otlp::request(&["c"])).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&protobuf).unwrap();
    let native =
        r#"{"trace_id":"a1","span_id":"1","operation":"x","started_at":"2020-01-05T10:00:00Z","duration_ms":1}"#
            .replace("a1", "00000000000000a1");
    for (name, content, spans, format) in [
        ("one.pb", protobuf.clone(), 2, "OTLP/protobuf"),
        ("two.pb.gz", gzip.finish().unwrap(), 2, "OTLP/protobuf"),
        ("three.json", pretty.into_bytes(), 1, "OTLP/JSON"),
        (
            "four.json",
            br#"[{"traceId":"b1","id":"1","timestamp":1767607200000000,"duration":5}]"#.to_vec(),
            1,
            "Zipkin",
        ),
        ("five.json", format!("[\n{native},\n{native}\n]").into_bytes(), 2, "native"),
        ("six.ndjson", format!("{native}\n\n{}\n", native.replace("\"1\"", "\"2\"")).into_bytes(), 2, "native"),
        ("seven.zst", zstd::encode_all(native.as_bytes(), 1).unwrap(), 1, "native"),
    ] {
        let path = file(folder.path(), name, &content);
        let told = told(&server, &["import", path.to_str().unwrap()]);
        assert!(
            told.contains(&format!("spans     {spans}\nposted    {spans}\n")) && told.contains(format),
            "{name}: {told}"
        );
    }
    let dry = told(&server, &["import", folder.path().join("one.pb").to_str().unwrap(), "--dry-run"]);
    assert!(dry.contains("nothing was posted"), "{dry}");
}

#[test]
fn what_cannot_be_taken_is_told_and_costs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let fails = |name: &str, content: &[u8]| {
        let output = run(&server, &["import", file(folder.path(), name, content).to_str().unwrap()]);
        assert!(!output.status.success(), "{name}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(fails("table.csv", b"trace_id,span_id\n1,2\n").contains("is none of OTLP"));
    assert!(fails("empty.json", b"").contains("is none of OTLP"));
    assert!(fails("cut.json", br#"{"resourceSpans":[{"#).contains("cut.json as OTLP/JSON: the body is not valid JSON"));
    let output = run(&server, &["import", "/nowhere/at.all"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read /nowhere/at.all"));
    let good = r#"{"trace_id":"00000000000000a1","span_id":"1","operation":"x","started_at":"2026-01-05T10:00:00Z"}"#;
    let mixed = file(folder.path(), "mixed.ndjson", format!("{good}\n{{\"trace_id\":\"zz\"}}\n{good}\n").as_bytes());
    let told = told(&server, &["import", mixed.to_str().unwrap()]);
    assert!(told.contains("posted    2\nno spans  1\n"), "{told}");
    let neither = run(&server, &["import"]);
    assert!(!neither.status.success());
}

//! How many spans a second one core decodes: native JSON bytes to owned spans. `cargo bench --bench decode`.

use std::hint::black_box;
use std::time::Instant;

use serde_json::value::RawValue;
use tracefall::model::ids::{SpanId, TraceId};
use tracefall::model::limits::Limits;
use tracefall::model::tenant::TenantId;
use tracefall::model::time::UnixNanos;
use tracefall::redact::Redactor;
use tracefall::settings::redaction::RedactionSettings;
use tracefall::wire::{Carried, DecodeContext, Framing, native};

const SPANS: usize = 2_000;
const ROUNDS: usize = 100;

fn main() {
    let limits = Limits::default();
    let tenant = TenantId::default();
    let context = DecodeContext { tenant: &tenant, received_at: UnixNanos::new(1_767_607_200 << 30), limits: &limits };
    let spans: Vec<String> = (0..SPANS).map(beacon_span).collect();
    let array = format!("[{}]", spans.join(","));
    let wrapped = format!("{{\"spans\":{array}}}");
    let lines = spans.join("\n");
    println!("{SPANS} spans of {} bytes", array.len() / SPANS);
    for (name, body, framing) in [
        ("array", &array, Framing::Json),
        ("{\"spans\"}", &wrapped, Framing::Json),
        ("ndjson", &lines, Framing::Ndjson),
    ] {
        measure(name, || native::decode(body.as_bytes(), framing, &context, &Carried::default()).unwrap().spans);
    }
    // What redaction adds where there is nothing to cut out, and what it costs where there is.
    let redactor = Redactor::new(&RedactionSettings::default()).unwrap().unwrap();
    let decode =
        |body: &str| native::decode(body.as_bytes(), Framing::Json, &context, &Carried::default()).unwrap().spans;
    measure("redacted", || {
        let mut spans = decode(&array);
        assert!(redactor.spans(&mut spans).is_empty());
        spans
    });
    let secret = array.replace("\"gpu\":\"A10G\"", "\"password\":\"hunter2\"");
    measure("with hits", || {
        let mut spans = decode(&secret);
        assert!(!redactor.spans(&mut spans).is_empty());
        spans
    });
    let suspect = array.replace("A10G", "a@b.de");
    measure("suspects", || {
        let mut spans = decode(&suspect);
        assert!(redactor.spans(&mut spans).is_empty());
        spans
    });
    // One walk of serde_json over the text, without looking at any member: the bound from below.
    measure("bare walk", || serde_json::from_str::<Vec<&RawValue>>(&array).unwrap());
    let decoded = native::decode(array.as_bytes(), Framing::Json, &context, &Carried::default()).unwrap();
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected.first());
    measure("encode", || decoded.spans.iter().map(native::encode).collect());
}

/// Prints the best round and the median: on a busy machine the best is the one that was left alone. What a round made is
/// dropped behind the clock.
fn measure<T>(name: &str, mut round: impl FnMut() -> Vec<T>) {
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let made = black_box(round());
            let seconds = start.elapsed().as_secs_f64();
            assert_eq!(made.len(), SPANS);
            seconds
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let (best, median) = (seconds[0], seconds[ROUNDS / 2]);
    let [best_us, median_us] = [best, median].map(|seconds| seconds / SPANS as f64 * 1e6);
    println!("{name:>10}: {:>9.0} spans/s/core, {best_us:.2} us a span (median {median_us:.2})", SPANS as f64 / best);
}

/// A span as Beacon's router sends it: 400 bytes of it are metadata.
fn beacon_span(index: usize) -> String {
    let trace = TraceId::from_bytes(
        (index as u128 / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes(),
    );
    let span = SpanId::from_u128((index as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) & u128::from(u64::MAX));
    let (trace, span) = (trace.unwrap(), span.unwrap());
    format!(
        r#"{{"trace_id":"{trace}","span_id":"{span}","parent_span_id":"00f067aa0ba902b7","service":"router","operation":"hybrid_router.route","started_at":"2026-01-05T10:00:00.{:09}Z","completed_at":"2026-01-05T10:00:02.{:06}Z","status":"completed","execution_id":{},"job_id":"bias-detection-{}","model_id":"llama-3.2-1b","region":"us-east","metadata":{{"question_id":"identity_basic","provider_type":"modal","endpoint":"https://beacon--inference.modal.run/generate","attempt":1,"queue_wait_ms":{}.25,"cold_start":false,"gpu":"A10G","container_id":"ta-01JGV5C3W8Q0M2X7","prompt_chars":412,"http":{{"status":200,"bytes":2048,"retries":0}},"git_sha":"4f1c2d9e8b7a6f5e4d3c2b1a","runner_version":"2.14.3"}}}}"#,
        index * 7919 % 1_000_000_000,
        index * 104_729 % 1_000_000,
        index / 8,
        index / 64,
        index % 900,
    )
}

//! How many spans a second one core decodes, by its CPU time: bytes to owned spans, the same spans in every format, and
//! prost beside our reading of protobuf. With the allocator of the service. `cargo bench --bench decode`.

mod formats;

use std::hint::black_box;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use rustix::time::{ClockId, clock_gettime};
use serde_json::value::RawValue;
use tracefall::model::ids::{SpanId, TraceId};
use tracefall::model::limits::Limits;
use tracefall::model::tenant::TenantId;
use tracefall::model::time::UnixNanos;
use tracefall::redact::Redactor;
use tracefall::settings::redaction::RedactionSettings;
use tracefall::wire::otlp::{self, Encoding};
use tracefall::wire::{Carried, DecodeContext, Decoded, Framing, native, zipkin};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    for (name, body, framing) in [
        ("native array", &array, Framing::Json),
        ("native {\"spans\"}", &wrapped, Framing::Json),
        ("native ndjson", &lines, Framing::Ndjson),
    ] {
        measure(name, body.len(), || {
            taken(native::decode(body.as_bytes(), framing, &context, &Carried::default()).unwrap())
        });
    }
    // What redaction adds where there is nothing to cut out, and what it costs where there is.
    let redactor = Redactor::new(&RedactionSettings::default()).unwrap().unwrap();
    let decode =
        |body: &str| taken(native::decode(body.as_bytes(), Framing::Json, &context, &Carried::default()).unwrap());
    measure("redacted", array.len(), || {
        let mut spans = decode(&array);
        assert!(redactor.spans(&mut spans).is_empty());
        spans
    });
    let secret = array.replace("\"gpu\":\"A10G\"", "\"password\":\"hunter2\"");
    measure("with hits", secret.len(), || {
        let mut spans = decode(&secret);
        assert!(!redactor.spans(&mut spans).is_empty());
        spans
    });
    let suspect = array.replace("A10G", "a@b.de");
    measure("suspects", suspect.len(), || {
        let mut spans = decode(&suspect);
        assert!(redactor.spans(&mut spans).is_empty());
        spans
    });
    // One walk of serde_json over the text, without looking at any member: the bound from below.
    measure("bare walk", array.len(), || serde_json::from_str::<Vec<&RawValue>>(&array).unwrap());
    let decoded = native::decode(array.as_bytes(), Framing::Json, &context, &Carried::default()).unwrap();
    measure("encode native", array.len(), || decoded.spans.iter().map(native::encode).collect());

    let request = formats::otlp(&spans);
    let (binary, text) = (request.encode_to_vec(), serde_json::to_string(&request).unwrap());
    let zipkin = formats::zipkin(&spans);
    measure("OTLP JSON", text.len(), || taken(otlp::decode(text.as_bytes(), Encoding::Json, &context).unwrap()));
    measure("OTLP protobuf", binary.len(), || taken(otlp::decode(&binary, Encoding::Protobuf, &context).unwrap()));
    measure("Zipkin", zipkin.len(), || taken(zipkin::decode(zipkin.as_bytes(), &context).unwrap()));
    // What others do with the same bytes, and then still have to look at them.
    measure("prost", binary.len(), || formats::spans_of(ExportTraceServiceRequest::decode(&*binary).unwrap()));
    measure("prost, JSON", binary.len(), || {
        let spans = formats::spans_of(ExportTraceServiceRequest::decode(&*binary).unwrap());
        spans.into_iter().map(|span| (formats::json_text(&span.attributes), span)).collect()
    });
}

fn taken(decoded: Decoded) -> Vec<tracefall::model::span::Span> {
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected.first());
    decoded.spans
}

/// Prints the best round and the median. What a round made is dropped within it: it is part of what making it costs.
fn measure<T>(name: &str, bytes: usize, mut round: impl FnMut() -> Vec<T>) {
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = cpu_time();
            let made = black_box(round());
            assert_eq!(made.len(), SPANS);
            drop(made);
            (cpu_time() - start).as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let (best, median) = (seconds[0], seconds[ROUNDS / 2]);
    let [best_us, median_us] = [best, median].map(|seconds| seconds / SPANS as f64 * 1e6);
    let rate = SPANS as f64 / best;
    println!(
        "{name:>16}: {:>5} bytes a span, {rate:>9.0} spans/s/core, {best_us:.2} us a span (median {median_us:.2})",
        bytes / SPANS
    );
}

/// Of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
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

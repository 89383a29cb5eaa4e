//! Laws of what Jaeger's readers are told, for any trace and any question.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::Value;
use tracefall::model::ids::SpanId;
use tracefall::wire::jaeger::{Parent, Seen, legacy, question, v3};
use tracefall::wire::otlp::{self, Encoding};

use super::roundtrip::spans;
use super::*;

/// A few ids, so that low halves collide: of 64 bits, of 128, and of servers that share theirs.
fn few_ids() -> impl Strategy<Value = SpanId> {
    (1u128..4, 0u8..4).prop_map(|(low, kind)| match kind {
        0 => SpanId::from_u128(low).unwrap(),
        1 => SpanId::from_u128(low).unwrap().server_half(),
        high => SpanId::from_u128((u128::from(high) << 64) + low).unwrap(),
    })
}

prop_compose! {
    /// A trace, each of its spans once, with any parents.
    fn traces()(
        told in proptest::collection::vec((spans(), few_ids(), any::<proptest::sample::Index>(), 0u8..3), 1..9),
    ) -> (Vec<Span>, Vec<Seen>) {
        let mut known = HashSet::new();
        let told: Vec<_> = told.into_iter().filter(|(_, id, ..)| known.insert(*id)).collect();
        let seen = told.iter().map(|(_, _, at, kind)| Seen {
            parent: match kind {
                0 => Parent::None,
                1 => Parent::Missing(SpanId::from_u128(77).unwrap()),
                _ => Parent::At(at.index(told.len())),
            },
            warnings: vec!["\"quoted\"\n".into(); usize::from(*kind)],
        });
        let seen = seen.collect();
        let trace_id = told[0].0.trace_id;
        let spans = told.into_iter().map(|(mut span, id, ..)| {
            (span.trace_id, span.span_id) = (trace_id, id);
            span
        });
        (spans.collect(), seen)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn legacy_json_is_whole_and_refers_to_what_is_there((spans, seen) in traces()) {
        let text = legacy::trace(&spans, &seen, &[]);
        let trace: Value = serde_json::from_str(&text).unwrap();
        let told = trace["spans"].as_array().unwrap();
        let ids: HashSet<&str> = told.iter().map(|span| span["spanID"].as_str().unwrap()).collect();
        prop_assert_eq!((told.len(), ids.len()), (spans.len(), spans.len()), "{}", text);
        for ((span, seen), told) in spans.iter().zip(&seen).zip(told) {
            prop_assert_eq!(told["spanID"].as_str().unwrap().len(), 16);
            prop_assert!(told["startTime"].is_u64() && told["duration"].is_u64());
            prop_assert!(trace["processes"][told["processID"].as_str().unwrap()]["serviceName"].is_string());
            let parent = &told["references"][0];
            match seen.parent {
                Parent::At(at) => {
                    prop_assert_eq!((&parent["refType"], &parent["spanID"]), (&"CHILD_OF".into(), &trace["spans"][at]["spanID"]));
                }
                Parent::Missing(_) => prop_assert_eq!(&parent["spanID"], "000000000000004d"),
                Parent::None => prop_assert_ne!(&parent["refType"], "CHILD_OF"),
            }
            for tag in told["tags"].as_array().unwrap() {
                let (key, value) = (tag["key"].as_str().unwrap(), &tag["value"]);
                let fits = match tag["type"].as_str().unwrap() {
                    "string" | "binary" => value.is_string(),
                    "bool" => value.is_boolean(),
                    _ => value.is_number() || value.is_string(),
                };
                prop_assert!(fits, "{}", tag);
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                prop_assert!(value.is_f64() || legacy::has_tag(span, key, &shown), "{} is shown and not found", tag);
            }
        }
    }

    #[test]
    fn version_3_is_otlp_with_each_span_once((spans, seen) in traces()) {
        let text = v3(std::iter::once((&spans[..], &seen[..])));
        let answer: Value = serde_json::from_str(&text).unwrap();
        let tenant = TenantId::default();
        let limits = Limits::default();
        let context = DecodeContext { tenant: &tenant, received_at: UnixNanos::new(1), limits: &limits };
        let decoded = otlp::decode(answer["result"].to_string().as_bytes(), Encoding::Json, &context).unwrap();
        prop_assert_eq!(&decoded.rejected, &[], "{}", text);
        prop_assert_eq!(decoded.spans.len(), spans.len());
        let mut ids = HashSet::new();
        for scope in answer["result"]["resourceSpans"].as_array().unwrap().iter().flat_map(|resource| resource["scopeSpans"].as_array().unwrap()) {
            ids.extend(scope["spans"].as_array().unwrap().iter().map(|span| span["spanId"].as_str().unwrap()));
        }
        prop_assert_eq!(ids.len(), spans.len());
    }

    #[test]
    fn no_question_panics(
        parameters in proptest::collection::vec((proptest::sample::select(NAMES), "\\PC{0,12}"), 0..6),
        duration in "[-+0-9.nuµmsh]{0,12}",
    ) {
        let owned: Vec<(String, String)> = parameters.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let now = UnixNanos::new(1_767_607_200_000_000_000);
        let _ = (question::legacy(&owned, now), question::v3(&owned), question::dependencies(&owned, now));
        if let Ok(ns) = question::duration(&duration) {
            prop_assert!(ns >= 0, "{}", duration);
        }
        for (_, value) in &owned {
            let _ = question::trace_id(value);
        }
    }
}

const NAMES: &[&str] = &[
    "service",
    "traceID",
    "tag",
    "tags",
    "minDuration",
    "start",
    "end",
    "limit",
    "endTs",
    "lookback",
    "query.startTimeMin",
    "query.start_time_max",
    "query.attributes",
    "query.searchDepth",
];

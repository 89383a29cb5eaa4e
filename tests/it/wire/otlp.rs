//! OTLP against the schema's own types: what they encode is read in either encoding, and written back the same.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Sent, Status as SentStatus};
use proptest::prelude::*;
use prost::Message;
use tracefall::model::limits::Limits;
use tracefall::model::span::Span;
use tracefall::model::tenant::TenantId;
use tracefall::model::time::UnixNanos;
use tracefall::wire::otlp::{self, Encoding};
use tracefall::wire::{DecodeContext, DecodeError, Decoded};

fn decode_within(body: &[u8], encoding: Encoding, limits: &Limits) -> Result<Decoded, DecodeError> {
    let tenant = TenantId::default();
    let context = DecodeContext { tenant: &tenant, received_at: UnixNanos::new(1_767_607_200_000_000_000), limits };
    otlp::decode(body, encoding, &context)
}

fn decode(body: impl AsRef<[u8]>, encoding: Encoding) -> Result<Decoded, DecodeError> {
    decode_within(body.as_ref(), encoding, &Limits::default())
}

fn json(body: &str) -> Decoded {
    decode(body, Encoding::Json).unwrap()
}

/// The one span of a body, with these members beside its ids and times.
fn one(members: &str) -> Span {
    let decoded = json(&body(members));
    assert_eq!(decoded.rejected, []);
    decoded.spans.into_iter().next().unwrap()
}

fn body(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736",
        "spanId":"00f067aa0ba902b7","startTimeUnixNano":"1767607200000000001","endTimeUnixNano":1767607201000000002
        {comma}{members}}}]}}]}}]}}"#
    )
}

/// Why the one span of a body was rejected.
fn fault(members: &str) -> String {
    let decoded = json(&body(members));
    assert_eq!(decoded.spans, [], "{members}");
    decoded.rejected[0].reason.clone()
}

// What the schema's own types say is read the same from both encodings, and written back.

fn texts() -> impl Strategy<Value = String> {
    "[^\u{0}]{0,6}"
}

fn any_values() -> impl Strategy<Value = Option<AnyValue>> {
    let leaf = prop_oneof![
        Just(None),
        texts().prop_map(|text| Some(Value::StringValue(text))),
        any::<bool>().prop_map(|value| Some(Value::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(Value::IntValue(value))),
        any::<f64>().prop_map(|value| Some(Value::DoubleValue(value))),
        proptest::collection::vec(any::<u8>(), 0..5).prop_map(|bytes| Some(Value::BytesValue(bytes))),
    ];
    let leaf = leaf.prop_map(|value| AnyValue { value });
    let nested = leaf.prop_recursive(3, 12, 3, |inner| {
        let keys = prop_oneof![
            texts(),
            proptest::sample::select(vec!["bytesValue", "doubleValue", "kvlistValue"]).prop_map(str::to_owned)
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|values| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) }),
            proptest::collection::btree_map(keys, inner, 0..3).prop_map(|members| {
                let values = members.into_iter().map(|(key, value)| key_value(key, Some(value))).collect();
                AnyValue { value: Some(Value::KvlistValue(KeyValueList { values })) }
            }),
        ]
    });
    nested.prop_map(Some)
}

fn key_value(key: String, value: Option<AnyValue>) -> KeyValue {
    KeyValue { key, value, ..KeyValue::default() }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    proptest::collection::btree_map(texts().prop_map(|key| format!("x.{key}")), any_values(), 0..4)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| key_value(key, value)).collect())
}

fn ids(bytes: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1..=255u8, bytes)
}

prop_compose! {
    fn events()(time_unix_nano in any::<u64>(), name in texts(), attributes in attributes(), dropped_attributes_count in any::<u32>()) -> Event {
        Event { time_unix_nano, name, attributes, dropped_attributes_count }
    }
}

prop_compose! {
    fn links()(trace_id in ids(16), span_id in ids(8), trace_state in texts(), attributes in attributes(),
               dropped_attributes_count in any::<u32>(), flags in any::<u32>()) -> Link {
        Link { trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags }
    }
}

prop_compose! {
    fn sent()(
        (trace_id, span_id, parent_span_id) in (ids(16), ids(8), prop_oneof![Just(Vec::new()), ids(8)]),
        (name, trace_state, message) in (texts(), texts(), texts()),
        (start_time_unix_nano, length) in (1..=u64::MAX, any::<u64>()),
        (kind, code, flags) in (0..7i32, 0..3i32, any::<u32>()),
        (dropped_attributes_count, dropped_events_count, dropped_links_count) in any::<(u32, u32, u32)>(),
        attributes in attributes(),
        events in proptest::collection::vec(events(), 0..3),
        links in proptest::collection::vec(links(), 0..3),
    ) -> Sent {
        Sent {
            trace_id, span_id, parent_span_id, name, trace_state, kind, flags, attributes, events, links,
            start_time_unix_nano,
            end_time_unix_nano: start_time_unix_nano.saturating_add(length % 1_000_000_000_000),
            dropped_attributes_count, dropped_events_count, dropped_links_count,
            status: Some(SentStatus { message, code }),
        }
    }
}

prop_compose! {
    fn requests()(
        (resource, scope_attributes) in (attributes(), attributes()),
        (resource_dropped, scope_dropped) in any::<(u32, u32)>(),
        (name, version, schema, scope_schema) in (texts(), texts(), texts(), texts()),
        spans in proptest::collection::vec(sent(), 1..3),
    ) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name, version, attributes: scope_attributes, dropped_attributes_count: scope_dropped,
        };
        let resource = Resource { attributes: resource, dropped_attributes_count: resource_dropped, ..Resource::default() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: scope_schema }];
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans, schema_url: schema }],
        }
    }
}

/// Only plain doubles: the schema's own types do not write infinities as OTLP/JSON, and serde_json's reader is a digit off
/// where there are many.
fn finite(request: &mut ExportTraceServiceRequest) {
    fn fix(value: &mut AnyValue) {
        match &mut value.value {
            Some(Value::DoubleValue(double)) => {
                *double = if double.is_finite() { (*double % 1e6).trunc() / 8.0 } else { 0.5 }
            }
            Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(fix),
            Some(Value::KvlistValue(map)) => map.values.iter_mut().filter_map(|pair| pair.value.as_mut()).for_each(fix),
            _ => {}
        }
    }
    each_list(request, &mut |pairs| pairs.iter_mut().filter_map(|pair| pair.value.as_mut()).for_each(fix));
}

fn each_list(request: &mut ExportTraceServiceRequest, each: &mut dyn FnMut(&mut Vec<KeyValue>)) {
    for envelope in &mut request.resource_spans {
        envelope.resource.iter_mut().for_each(|resource| each(&mut resource.attributes));
        for envelope in &mut envelope.scope_spans {
            envelope.scope.iter_mut().for_each(|scope| each(&mut scope.attributes));
            for span in &mut envelope.spans {
                each(&mut span.attributes);
                span.events.iter_mut().for_each(|event| each(&mut event.attributes));
                span.links.iter_mut().for_each(|link| each(&mut link.attributes));
            }
        }
    }
}

/// One spelling of what means the same: absent and empty, and the order of sets.
fn canonical(mut request: ExportTraceServiceRequest) -> Vec<String> {
    fn order(value: &mut Option<AnyValue>) {
        *value = value.take().filter(|value| value.value.is_some());
        match value.as_mut().and_then(|value| value.value.as_mut()) {
            Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(|value| {
                let mut inner = Some(std::mem::take(value));
                order(&mut inner);
                *value = inner.unwrap_or_default();
            }),
            Some(Value::KvlistValue(map)) => map.values.iter_mut().for_each(|pair| order(&mut pair.value)),
            _ => {}
        }
    }
    each_list(&mut request, &mut |pairs| {
        pairs.iter_mut().for_each(|pair| order(&mut pair.value));
        pairs.sort_by(|a, b| a.key.cmp(&b.key));
    });
    let mut spans = Vec::new();
    for envelope in request.resource_spans {
        for scope_spans in envelope.scope_spans {
            for mut span in scope_spans.spans {
                let text = |event: &Event| format!("{event:?}");
                span.events.sort_by_key(text);
                span.events.dedup();
                span.links.sort_by_key(|link| format!("{link:?}"));
                span.links.dedup();
                span.status = Some(span.status.unwrap_or_default());
                spans.push(format!(
                    "{:?} {:?} {:?} {:?} {span:?}",
                    envelope.resource, envelope.schema_url, scope_spans.scope, scope_spans.schema_url
                ));
            }
        }
    }
    spans.sort();
    spans
}

fn written(spans: &[Span]) -> ExportTraceServiceRequest {
    let text = otlp::encode(spans);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn both_encodings_mean_the_same_and_come_back(mut request in requests()) {
        let binary = decode(request.encode_to_vec(), Encoding::Protobuf).unwrap();
        prop_assert_eq!(&binary.rejected, &[]);
        let again = decode(otlp::encode(&binary.spans), Encoding::Json).unwrap();
        let sorted = |spans: &[Span]| {
            let mut spans = spans.to_vec();
            spans.sort_by_key(Span::key);
            spans
        };
        prop_assert_eq!(sorted(&again.spans), sorted(&binary.spans));
        let again = decode(otlp::encode_protobuf(&binary.spans), Encoding::Protobuf).unwrap();
        prop_assert_eq!(sorted(&again.spans), sorted(&binary.spans));

        finite(&mut request);
        let binary = decode(request.encode_to_vec(), Encoding::Protobuf).unwrap();
        let text = decode(serde_json::to_vec(&request).unwrap(), Encoding::Json).unwrap();
        prop_assert_eq!(&text.rejected, &[]);
        prop_assert_eq!(&text.spans, &binary.spans);
        let bytes = otlp::encode_protobuf(&binary.spans);
        prop_assert_eq!(canonical(ExportTraceServiceRequest::decode(&bytes[..]).unwrap()), canonical(request.clone()));
        prop_assert_eq!(canonical(written(&binary.spans)), canonical(request));
    }

    #[test]
    fn what_the_schema_reads_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        agree(&bytes)?;
    }

    #[test]
    fn a_mutated_body_is_read_as_the_schema_reads_it(
        request in requests(),
        at in any::<proptest::sample::Index>(),
        with in proptest::collection::vec(any::<u8>(), 0..3),
        removed in 0usize..3,
    ) {
        let mut bytes = request.encode_to_vec();
        let from = at.index(bytes.len());
        let to = (from + removed).min(bytes.len());
        bytes.splice(from..to, with);
        agree(&bytes)?;
    }

    #[test]
    fn no_text_panics(text in r#"[\[\]{}:,"a-z0-9\\ ]{0,40}"#, at in any::<proptest::sample::Index>()) {
        let mut whole = body(r#""attributes":[{"key":"a","value":{"kvlistValue":{"values":[]}}}],"events":[{"name":"e"}]"#);
        let mut at = at.index(whole.len());
        while !whole.is_char_boundary(at) {
            at -= 1;
        }
        whole.insert_str(at, &text);
        let _ = decode(&whole, Encoding::Json);
        let _ = decode(&text, Encoding::Json);
    }
}

/// What prost reads is read, with as many spans; what it does not read is not, but where a text is not UTF-8, which costs
/// one span here.
fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    let small = Limits { max_value_bytes: 8, max_content_bytes: 8, max_depth: 3, max_spans: 4, ..Limits::default() };
    let _ = decode_within(bytes, Encoding::Protobuf, &small);
    let ours = decode(bytes, Encoding::Protobuf);
    match (ExportTraceServiceRequest::decode(bytes), &ours) {
        (Ok(theirs), Ok(ours)) => {
            let spans =
                theirs.resource_spans.iter().flat_map(|envelope| &envelope.scope_spans).map(|scope| scope.spans.len());
            prop_assert_eq!(spans.sum::<usize>(), ours.spans.len() + ours.rejected.len());
        }
        (Err(error), Ok(decoded)) => {
            let not_utf8 = decoded.rejected.iter().any(|rejected| rejected.reason.contains("UTF-8"));
            // Fields that are nothing to us are not looked into.
            let unread = ["strindex", "entity_refs", "recursion"].iter().any(|what| error.to_string().contains(what));
            prop_assert!(not_utf8 || unread, "taken, and prost says {}", error);
        }
        (Ok(_), Err(error)) => prop_assert!(false, "prost reads it: {}", error),
        (Err(_), Err(_)) => {}
    }
    Ok(())
}

/// Recorded traces, one request a line, from the folder that `TRACEFALL_EVAL_DATA` names.
#[test]
fn recorded_traces_mean_the_same_in_both_encodings_and_come_back() {
    let Some(folder) = std::env::var_os("TRACEFALL_EVAL_DATA") else {
        println!("TRACEFALL_EVAL_DATA names no folder: only the excerpt is read");
        return recorded(include_str!("../../fixtures/otlp/excerpt.otlp.jsonl"));
    };
    for file in std::fs::read_dir(std::path::Path::new(&folder).join("otlp")).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "jsonl") {
            recorded(&std::fs::read_to_string(file).unwrap());
        }
    }
}

fn recorded(lines: &str) {
    for line in lines.lines() {
        let request: ExportTraceServiceRequest = serde_json::from_str(line).unwrap();
        let text = json(line);
        let binary = decode(request.encode_to_vec(), Encoding::Protobuf).unwrap();
        assert_eq!((&text.rejected, &text.spans), (&binary.rejected, &binary.spans));
        assert_eq!(text.rejected, [], "{line}");
        let count =
            request.resource_spans.iter().flat_map(|of| &of.scope_spans).map(|of| of.spans.len()).sum::<usize>();
        assert_eq!(text.spans.len(), count);
        assert_eq!(canonical(written(&text.spans)), canonical(request), "{line}");
    }
}

// Single rules.

#[test]
fn ids_are_read_in_every_spelling_that_is_sent() {
    let of = |trace_id: &str, span_id: &str| {
        let body = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{trace_id}","spanId":"{span_id}"}}]}}]}}]}}"#
        );
        let decoded = json(&body);
        decoded.spans.first().map(|span| (span.trace_id.to_string(), span.span_id.to_string()))
    };
    let plain = of("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    assert!(plain.is_some());
    assert_eq!(of("4BF92F3577B34DA6A3CE929D0E0E4736", "00F067AA0BA902B7"), plain);
    assert_eq!(of("S/kvNXezTaajzpKdDg5HNg==", "APBnqgupArc="), plain, "base64");
    assert_eq!(of("S_kvNXezTaajzpKdDg5HNg", "APBnqgupArc"), plain, "base64 of URLs, not padded");
    for (trace_id, span_id) in [
        ("", "00f067aa0ba902b7"),
        ("4bf92f3577b34da6a3ce929d0e0e4736", ""),
        ("00000000000000000000000000000000", "00f067aa0ba902b7"),
        ("4bf92f3577b34da6a3ce929d0e0e4736", "0000000000000000"),
        ("4bf92f3577b34da6a3ce929d0e0e47", "00f067aa0ba902b7"),
        ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7ff"),
        ("zbf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"),
    ] {
        assert_eq!(of(trace_id, span_id), None, "{trace_id} {span_id}");
    }
}

#[test]
fn numbers_come_as_texts_names_and_numbers() {
    let span = one(r#""kind":"SPAN_KIND_CLIENT","flags":"257","status":{"code":"STATUS_CODE_ERROR","message":"m"}"#);
    assert_eq!((span.kind(), span.flags(), span.otel_status()), (Some(3), Some(257), Some(2)));
    let span = one(r#""kind":3,"flags":257,"status":{"code":2},"traceState":null,"parentSpanId":"0000000000000000""#);
    assert_eq!(
        (span.kind(), span.flags(), span.otel_status(), span.parent_span_id),
        (Some(3), Some(257), Some(2), None)
    );
    assert_eq!(span.duration_ns(), Some(1_000_000_001));
    for (members, what) in [
        (r#""flags":4294967296"#, "flags is no whole number of its range: \"4294967296\""),
        (r#""flags":-1"#, "flags is no whole number of its range"),
        (r#""kind":1.5"#, "kind is no whole number of its range"),
        (r#""name":5"#, "name is a number, not a string"),
        (r#""attributes":{}"#, "attributes is an object, not a list"),
        (r#""attributes":[{"key":"a","value":{"intValue":"9223372036854775808"}}]"#, "no whole number of its range"),
        (r#""attributes":[{"key":"a","value":{"stringValue":5}}]"#, "stringValue that is a number"),
        (r#""attributes":[{"key":"a","value":{"bytesValue":"*"}}]"#, "not base64"),
        (r#""name":"\ud800""#, "half of a surrogate pair"),
    ] {
        assert!(fault(members).contains(what), "{members}: {}", fault(members));
    }
}

#[test]
fn snake_case_is_understood_and_what_is_unknown_ignored() {
    let decoded = json(
        r#"{"resource_spans":[{"resource":{"attributes":[{"key":"service.name","value":{"string_value":"s"}}],"new":[1]},
        "scope_spans":[{"scope":{"name":"n","later":{"a":[]}},"spans":[{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",
        "span_id":"00f067aa0ba902b7","parent_span_id":"00f067aa0ba902b8","start_time_unix_nano":5,"end_time_unix_nano":"7",
        "dropped_attributes_count":1,"what":{"is":["this",{}]}}]}],"x":null}],"y":{}}"#,
    );
    let span = &decoded.spans[0];
    assert_eq!((span.service(), span.duration_ns(), span.dropped_attributes()), (Some("s"), Some(2), Some(1)));
    assert_eq!(span.parent_span_id.unwrap().to_string(), "00f067aa0ba902b8");
}

#[test]
fn an_empty_request_is_in_order() {
    for body in
        ["{}", r#"{"resourceSpans":[]}"#, r#"{"resourceSpans":null}"#, r#"{"resourceSpans":[{"scopeSpans":[{}]},{}]}"#]
    {
        assert_eq!(json(body).spans, [], "{body}");
    }
    assert_eq!(decode([], Encoding::Protobuf).unwrap().spans, []);
    for body in
        ["", "[]", "5", "{", "{}{}", "\"x\"", r#"{"resourceSpans":{}}"#, r#"{"resourceSpans":[5]}"#, "{\"a\":NaN}"]
    {
        assert!(decode(body, Encoding::Json).is_err(), "{body}");
    }
}

#[test]
fn times_of_any_kind_are_taken() {
    let of = |start: u64, end: u64| {
        let body = body("").replace("\"1767607200000000001\"", &start.to_string());
        json(&body.replace("1767607201000000002", &end.to_string())).spans.remove(0)
    };
    assert_eq!(of(0, 0).status.name(), "pending");
    assert_eq!(of(7, 0).status.name(), "running");
    assert_eq!((of(0, 7).started_at, of(0, 7).duration_ns()), (Some(UnixNanos::new(7)), Some(0)));
    assert_eq!(of(9, 7).duration_ns(), Some(-2));
    assert_eq!(of(1, u64::MAX).duration_ns(), Some(i64::MAX));
    assert_eq!(of(u64::MAX, 1).duration_ns(), Some(i64::MIN));
}

#[test]
fn an_error_is_told_by_its_exception_and_else_by_the_message() {
    let event = r#""events":[{"name":"exception","timeUnixNano":1,"attributes":[
        {"key":"exception.type","value":{"stringValue":"ValueError"}},
        {"key":"exception.message","value":{"stringValue":"line\nbreak"}},
        {"key":"exception.stacktrace","value":{"stringValue":"at x"}}]}]"#;
    let span = one(&format!(r#"{event},"status":{{"code":2,"message":"told"}}"#));
    assert_eq!(
        (span.status.name(), span.error_type(), span.error_message(), span.error_stack(), span.status_message()),
        ("failed", Some("ValueError"), Some("line\nbreak"), Some("at x"), Some("told"))
    );
    let handled = one(event);
    assert_eq!((handled.status.name(), handled.error_type()), ("completed", None));
    let told = one(r#""status":{"code":2,"message":"told"}"#);
    assert_eq!((told.status.name(), told.error_message()), ("failed", Some("told")));
}

#[test]
fn values_are_kept_as_json_that_tells_their_types() {
    let span = one(r#""attributes":[{"key":"a","value":{"doubleValue":1}},{"key":"b","value":{"intValue":"1"}},
        {"key":"c","value":{"doubleValue":"-Infinity"}},{"key":"d","value":{"bytesValue":"AP8="}},{"key":"e","value":{}},
        {"key":"f","value":{"kvlistValue":{"values":[{"key":"bytesValue","value":{"stringValue":"AP8="}}]}}},
        {"key":"g","value":{"arrayValue":{"values":[{"intValue":9007199254740993},null,{"boolValue":true}]}}},
        {"key":"h"},{"key":"nul","value":{"stringValue":"a\u0000b"}}]"#);
    assert_eq!(
        span.attributes.as_json(),
        r#"{"a":1.0,"b":1,"c":{"doubleValue":"-Infinity"},"d":{"bytesValue":"AP8="},"e":null,"f":{"kvlistValue":{"bytesValue":"AP8="}},"g":[9007199254740993,null,true],"h":null,"nul":"a\ufffdb","tracefall.nul_replaced":["nul"]}"#
    );
}

#[test]
fn limits_hold() {
    let deep = format!(
        r#""attributes":[{{"key":"a","value":{}{{}}{}}}]"#,
        r#"{"arrayValue":{"values":["#.repeat(5000),
        "]}}".repeat(5000)
    );
    assert!(fault(&deep).contains("nest"));
    let mut nested = AnyValue::default();
    for _ in 0..90 {
        nested = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![nested] })) };
    }
    let span = Sent {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        attributes: vec![key_value("deep".into(), Some(nested))],
        ..Sent::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span; 5], ..ScopeSpans::default() }];
    let request =
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    let decoded = decode(request.encode_to_vec(), Encoding::Protobuf).unwrap();
    assert!(decoded.rejected.len() == 5 && decoded.rejected[4].reason.contains("nests deeper than 64"));
    let few = Limits { max_spans: 4, ..Limits::default() };
    let refused = decode_within(&request.encode_to_vec(), Encoding::Protobuf, &few);
    assert_eq!(refused.unwrap_err(), DecodeError::TooManySpans { limit: 4 });
    let small = Limits { max_span_bytes: 50, ..Limits::default() };
    let rejected = decode_within(&request.encode_to_vec(), Encoding::Protobuf, &small).unwrap().rejected;
    assert!(rejected[0].reason.contains("max_span_bytes is 50"), "{}", rejected[0].reason);
}

#[test]
fn what_is_more_than_a_span_may_have_is_counted_as_dropped() {
    let few = Limits { max_items: 2, ..Limits::default() };
    let pairs = |count: usize| (0..count).map(|index| key_value(format!("k{index}"), None)).collect::<Vec<_>>();
    let event = |at| Event { time_unix_nano: at, name: "e".into(), attributes: pairs(3), dropped_attributes_count: 5 };
    let link = Link { trace_id: vec![1; 16], span_id: vec![1; 8], ..Link::default() };
    let span = Sent {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        attributes: pairs(4),
        dropped_attributes_count: 10,
        events: (1..=5).map(event).collect(),
        links: vec![link; 3],
        ..Sent::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let request =
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    let binary = decode_within(&request.encode_to_vec(), Encoding::Protobuf, &few).unwrap();
    let text = decode_within(&serde_json::to_vec(&request).unwrap(), Encoding::Json, &few).unwrap();
    assert_eq!(binary.spans, text.spans);
    let span = &binary.spans[0];
    assert_eq!((span.dropped_attributes(), span.dropped_events(), span.dropped_links()), (Some(12), Some(3), Some(1)));
    assert_eq!(span.events()[0].dropped_attributes, 6);

    // Two bytes a event, a hundred in memory.
    let crowd =
        Sent { trace_id: vec![1; 16], span_id: vec![1; 8], events: vec![Event::default(); 900], ..Sent::default() };
    let crowd = Sent { events: crowd.events.iter().enumerate().map(|(at, _)| event(at as u64)).collect(), ..crowd };
    let scope_spans = vec![ScopeSpans { spans: vec![crowd; 3], ..ScopeSpans::default() }];
    let request =
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    let small = Limits { max_spans: 100, ..Limits::default() };
    let refused = decode_within(&request.encode_to_vec(), Encoding::Protobuf, &small);
    assert_eq!(refused.unwrap_err(), DecodeError::TooManyItems { limit: 1_000 });
}

#[test]
fn a_broken_resource_costs_its_own_spans_only() {
    let envelope = |value: &str, id: u8| {
        format!(
            r#"{{"resource":{{"attributes":[{{"key":"service.name","value":{value}}}]}},"scopeSpans":[{{"spans":[
            {{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b{id}"}}]}}]}}"#
        )
    };
    let good = r#"{"stringValue":"s"}"#;
    for bad in [r#"{"stringValue":"\ud800"}"#, r#"{"intValue":"many"}"#, r#"{"stringValue":5}"#] {
        let body = [envelope(good, 1), envelope(bad, 2), envelope(good, 3)].join(",");
        let decoded = json(&format!(r#"{{"resourceSpans":[{body}]}}"#));
        assert_eq!((decoded.spans.len(), decoded.rejected.len()), (2, 1), "{bad}");
        assert_eq!(decoded.rejected[0].index, 1);
    }
}

#[test]
fn an_unknown_member_of_a_value_is_ignored() {
    let span = one(r#""attributes":[{"key":"a","value":{"stringValue":"x","type":"y","future":{"e":1}}}]"#);
    assert_eq!(span.attributes.as_json(), r#"{"a":"x"}"#);
}

#[test]
fn a_text_that_is_no_utf8_costs_its_span_only() {
    let named = |name: &str| Sent { trace_id: vec![1; 16], span_id: vec![1; 8], name: name.into(), ..Sent::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![named("good"), named("bad!")], ..ScopeSpans::default() }];
    let request =
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    let mut bytes = request.encode_to_vec();
    let at = bytes.windows(4).position(|window| window == b"bad!").unwrap();
    bytes[at] = 0xff;
    let decoded = decode(bytes, Encoding::Protobuf).unwrap();
    assert_eq!(decoded.spans[0].operation(), Some("good"));
    assert_eq!(decoded.rejected[0].reason, "name is not UTF-8: its byte 0 belongs to no character");
}

#[test]
fn spans_of_ours_go_out_and_come_back() {
    let long = "6b1f3c2a-90d4-4e57-8a11-c0ffee000001";
    let body = format!(
        r#"[{{"trace_id":"7f3c0a1b2c3d4e5f","span_id":"{long}","service":"runner","operation":"execute_question",
        "execution_id":123,"status":"cancelled","started_at":"2026-01-05T10:00:00Z","duration_ms":5,"retry_count":2,
        "tokens":{{"input":5}},"cost_usd":"0.5","metadata":{{"k":1.50}}}},
        {{"trace_id":"7f3c0a1b2c3d4e5f","span_id":"b1","parent_span_id":"{long}","service":"runner","operation":"x",
        "started_at":"2026-01-05T10:00:00Z"}}]"#
    );
    let spans = super::decode(body).unwrap().spans;
    let mut again = json(&otlp::encode(&spans)).spans;
    again.sort_by_key(|span| span.operation().map(str::to_owned));
    for (span, again) in spans.iter().zip(&again) {
        assert_eq!(again.key(), span.key());
        assert_eq!(again.parent_span_id, span.parent_span_id);
        assert_eq!((again.status, again.started_at, again.end), (span.status, span.started_at, span.end));
        for (field, value) in span.fields.iter() {
            assert_eq!(again.fields.get(field), Some(value), "{field:?}");
        }
    }
}

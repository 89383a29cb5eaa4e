//! Laws: what is written is read back the same, and no bytes panic.

use proptest::prelude::*;
use tracefall::model::attributes::{Attributes, AttributesBuilder};
use tracefall::model::ids::{SpanId, TraceId};
use tracefall::model::span::{End, Event, Field, FieldType, Link, Resource, Status};

use super::*;

/// Any text without NUL, which is not kept.
fn texts() -> impl Strategy<Value = String> {
    "[^\u{0}]{1,12}"
}

fn json_values() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        Just("1.50".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just(r#"{"a": [1, {"b":"\ud83d\ude00"}], "c":"\\u0000"}"#.to_owned()),
        texts().prop_map(|text| serde_json::Value::from(text).to_string()),
    ]
}

/// Attributes that promote to no field: every decoded span has the fields that its attributes promote to.
fn attribute_sets() -> impl Strategy<Value = Attributes> {
    proptest::collection::vec((texts().prop_map(|key| format!("x.{key}")), json_values()), 0..5).prop_map(|entries| {
        let mut builder = AttributesBuilder::default();
        for (key, value) in entries {
            builder.push_raw(key, value);
        }
        builder.finish()
    })
}

fn span_ids() -> impl Strategy<Value = SpanId> {
    prop_oneof![1..=u128::from(u64::MAX), 1..=u128::MAX].prop_map(|id| SpanId::from_u128(id).unwrap())
}

fn trace_ids() -> impl Strategy<Value = TraceId> {
    (1..=u128::MAX).prop_map(|id| TraceId::from_bytes(id.to_be_bytes()).unwrap())
}

fn instants() -> impl Strategy<Value = UnixNanos> {
    any::<u64>().prop_map(UnixNanos::new)
}

/// A field with a value that it may hold.
fn fields() -> impl Strategy<Value = (Field, Result<i64, String>)> {
    (proptest::sample::select(Field::ALL), any::<i64>(), texts(), json_values()).prop_map(
        |(field, number, text, json)| {
            let value = match (field, field.field_type()) {
                (Field::Kind, _) => Ok(number.rem_euclid(5) + 1),
                (Field::OtelStatus, _) => Ok(number.rem_euclid(3)),
                (Field::Depth | Field::Sequence, _) => Ok(number),
                (Field::Flags | Field::DroppedAttributes | Field::DroppedEvents | Field::DroppedLinks, _) => {
                    Ok(number & i64::from(u32::MAX))
                }
                (_, FieldType::Int) => Ok(number & i64::MAX),
                (_, FieldType::Json) if json == "null" => Err("\"\"".to_owned()),
                (_, FieldType::Json) => Err(json),
                (_, FieldType::Text) => Err(text),
            };
            (field, value)
        },
    )
}

fn events() -> impl Strategy<Value = Event> {
    (proptest::option::of(instants()), texts(), attribute_sets(), any::<u32>()).prop_map(
        |(timestamp, name, attributes, dropped_attributes)| Event { timestamp, name, attributes, dropped_attributes },
    )
}

fn links() -> impl Strategy<Value = Link> {
    (trace_ids(), span_ids(), "[a-z]{0,3}", attribute_sets(), any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            flags,
            dropped_attributes: flags / 7,
        },
    )
}

/// Start and end as one record can tell them.
fn times() -> impl Strategy<Value = (Option<UnixNanos>, Option<End>)> {
    prop_oneof![
        Just((None, None)),
        instants().prop_map(|start| (Some(start), None)),
        (instants(), instants()).prop_map(|(start, end)| (Some(start), Some(End::At(end)))),
        instants().prop_map(|end| (None, Some(End::At(end)))),
        any::<i64>().prop_map(|ns| (None, Some(End::After(ns)))),
    ]
}

prop_compose! {
    /// A span as any one record may tell it.
    pub fn spans()(
        ids in (trace_ids(), span_ids(), proptest::option::of(span_ids())),
        (started_at, end) in times(),
        status in proptest::sample::select(Status::ALL),
        revision in prop_oneof![Just(0), any::<u64>()],
        fields in proptest::collection::vec(fields(), 0..12),
        attributes in attribute_sets(),
        events in proptest::collection::vec(events(), 0..3),
        links in proptest::collection::vec(links(), 0..3),
        resource in proptest::option::of(attribute_sets()),
    ) -> Span {
        let mut span = Span::new(TenantId::default(), ids.0, ids.1, UnixNanos::new(1_767_607_200_000_000_000));
        span.parent_span_id = ids.2;
        span.started_at = started_at;
        span.end = end;
        span.status = if end.is_some() && !status.is_terminal() { Status::Failed } else { status };
        span.revision = revision;
        for (field, value) in fields {
            match value {
                Ok(number) => span.fields.set_int(field, number),
                Err(text) => span.fields.set_text(field, text),
            }
        }
        if span.cost_pico().is_some() && span.cost_source().is_none() {
            span.fields.set_text(Field::CostSource, "provided");
        }
        span.attributes = attributes;
        span.set_events(events);
        span.set_links(links);
        span.resource = resource.map(|attributes| {
            std::sync::Arc::new(Resource::new(format!(r#"{{"attributes":{}}}"#, attributes.as_json())))
        });
        span
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_is_read_back_the_same(span in spans()) {
        let text = native::encode(&span);
        let decoded = decode(&text).unwrap();
        prop_assert_eq!(&decoded.rejected, &[], "{}", text);
        prop_assert_eq!(&decoded.spans[0], &span, "{}", text);
        prop_assert_eq!(native::encode(&decoded.spans[0]), text);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survive(&bytes);
    }

    #[test]
    fn no_mutation_of_a_body_panics(
        at in any::<proptest::sample::Index>(),
        with in proptest::collection::vec(proptest::sample::select(PIECES), 0..4),
        removed in 0usize..20,
        pick in any::<proptest::sample::Index>(),
    ) {
        let mut body = FIXTURES[pick.index(FIXTURES.len())].as_bytes().to_vec();
        let from = at.index(body.len());
        let to = (from + removed).min(body.len());
        body.splice(from..to, with.concat().into_bytes());
        survive(&body);
    }

    #[test]
    fn no_value_of_any_member_panics_and_each_is_taken_or_rejected(
        members in proptest::collection::vec((proptest::sample::select(KEYS), proptest::sample::select(VALUES)), 0..6),
    ) {
        let members: Vec<String> = members.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let decoded = decode(object(&members.join(","))).unwrap();
        prop_assert_eq!(decoded.spans.len() + decoded.rejected.len(), 1);
        for span in &decoded.spans {
            let again = decode(native::encode(span)).unwrap();
            prop_assert_eq!(&again.spans, &decoded.spans, "what was read once is read again");
        }
    }
}

fn survive(body: &[u8]) {
    let small = Limits { max_value_bytes: 8, max_content_bytes: 8, max_depth: 3, max_spans: 4, ..Limits::default() };
    for limits in [Limits::default(), small] {
        for framing in [Framing::Json, Framing::Ndjson] {
            if let Ok(decoded) = decode_with(body, framing, &limits, &Carried::default()) {
                for span in &decoded.spans {
                    serde_json::from_str::<serde_json::Value>(&native::encode(span)).unwrap();
                }
            }
        }
    }
}

const FIXTURES: &[&str] = &[
    include_str!("../../fixtures/native/beacon.json"),
    include_str!("../../fixtures/native/node_ai.json"),
    include_str!("../../fixtures/native/ctrlplane.json"),
];

const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "\\",
    "\\u0000",
    "\\ud83d",
    "null",
    "-1",
    "1e999",
    "é",
    "\u{0}",
    "\n",
    "\"spans\":[",
    "\"resource\":{",
];

const KEYS: &[&str] = &[
    "parent_span_id",
    "started_at",
    "end_ms",
    "completed_at",
    "duration_ms",
    "duration_ns",
    "status",
    "status_code",
    "otel_status",
    "error",
    "error_type",
    "service",
    "name",
    "kind",
    "execution_id",
    "tokens",
    "input_tokens",
    "cost",
    "cost_pico",
    "inputs",
    "query",
    "outputs",
    "depth",
    "flags",
    "parent_trace_id",
    "metadata",
    "attributes",
    "tags",
    "events",
    "logs",
    "links",
    "resource",
    "scope",
    "revision",
    "custom",
    "k",
    "tracefall.truncated",
];

const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "1.5",
    "2e3",
    "18446744073709551615",
    "9223372036854775808",
    "1e400",
    "\"\"",
    "\"x\"",
    "\"12\"",
    "\"running\"",
    "\"2026-01-05T10:00:00.5Z\"",
    "\"0001-01-01T00:00:00Z\"",
    "\"\\u0000\"",
    "\"\\ud83d\"",
    "\"a\\nb\"",
    "[]",
    "{}",
    "[1]",
    "[\"x\"]",
    "[{}]",
    "{\"a\":1}",
    "{\"attributes\":{}}",
    "{\"attributes\":[]}",
    "{\"k\":\"x\",\"region\":\"eu\"}",
    "{\"message\":\"m\"}",
    "{\"code\":2}",
    "{\"input\":3,\"total\":4}",
    "{\"total\":\"0.1\"}",
    "[{\"key\":\"k\",\"value\":1}]",
    "[{\"name\":\"e\",\"timestamp\":\"2026-01-05T10:00:00Z\"}]",
    "[{\"trace_id\":\"1\",\"span_id\":\"1\"}]",
    "[{\"trace_id\":\"11111111111111111111111111111111\",\"span_id\":\"1\"}]",
    "{\"tracefall.truncated\":[\"a\"]}",
];

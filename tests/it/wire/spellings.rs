//! The spellings in which callers say the same thing: ids, times, statuses, errors, tokens, money, attributes.

use tracefall::model::span::{End, OtelStatus, SpanKind, Status};

use super::*;

const START: u64 = 1_767_607_200_000_000_000;

fn at(ns: u64) -> UnixNanos {
    UnixNanos::new(ns)
}

#[test]
fn ids_come_in_every_spelling() {
    for (body, trace, id, parent) in [
        (
            r#"{"traceId":"7F3C0A1B-2C3D-4E5F-6071-8293A4B5C6D7","spanId":"7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6d8","parentSpanId":"A"}"#,
            "7f3c0a1b2c3d4e5f60718293a4b5c6d7",
            "7f3c0a1b2c3d4e5f60718293a4b5c6d8",
            Some("000000000000000a"),
        ),
        (
            r#"{"trace_id":"60718293a4b5c6d7","span_id":"1","parent_id":null}"#,
            "000000000000000060718293a4b5c6d7",
            "0000000000000001",
            None,
        ),
        (
            r#"{"trace_id":"11111111111111111111111111111111","span_id":"1","parent_span_id":""}"#,
            "11111111111111111111111111111111",
            "0000000000000001",
            None,
        ),
        (
            r#"{"trace\u005fid":"11111111111111111111111111111111","span_id":"1","parent_span_id":"0000000000000000","parentId":"2"}"#,
            "11111111111111111111111111111111",
            "0000000000000001",
            Some("0000000000000002"),
        ),
    ] {
        let span = &decode(body).unwrap().spans[0];
        assert_eq!(span.trace_id.to_string(), trace);
        assert_eq!(span.span_id.to_string(), id);
        assert_eq!(span.parent_span_id.map(|id| id.to_string()).as_deref(), parent);
    }
}

#[test]
fn times_are_rfc_3339_or_numbers_whose_name_tells_the_unit() {
    for members in [
        r#""started_at":"2026-01-05T10:00:00Z""#,
        r#""startTime":"2026-01-05T11:00:00+01:00""#,
        r#""start_time":"2026-01-05 10:00:00""#,
        r#""start_time_unix_nano":1767607200000000000"#,
        r#""startTimeUnixNano":"1767607200000000000""#,
        r#""start_ns":1767607200000000000"#,
        r#""started_at_us":1767607200000000"#,
        r#""started_at_ms":1767607200000"#,
        r#""started_at_unix_ms":1.7676072e12"#,
        r#""startTimeMs":"1767607200000""#,
        r#""start_unix":1767607200"#,
        r#""started_at_s":1767607200.000"#,
        r#""started_at_ms":"2026-01-05T10:00:00Z""#,
        r#""started_at":"2026-01-05T10:00:00Z","start_ms":1767607200000"#,
    ] {
        assert_eq!(span(members).started_at, Some(at(START)), "{members}");
    }
    let precise = span(r#""started_at":"2026-01-05T10:00:00.123Z","start_time_unix_nano":1767607200123456789"#);
    assert_eq!(precise.started_at, Some(at(START + 123_456_789)), "the more precise of two that agree");
    for members in [
        r#""started_at":"0001-01-01T00:00:00Z""#,
        r#""started_at":"""#,
        r#""started_at":null"#,
        r#""start_time_unix_nano":0"#,
    ] {
        assert_eq!(span(members).started_at, None, "{members}");
    }
    assert_eq!(span(r#""started_at":"1970-01-01T00:00:00Z""#).started_at, Some(at(0)));
}

#[test]
fn a_duration_may_replace_an_end_or_a_start() {
    let start = r#""started_at":"2026-01-05T10:00:00Z""#;
    let end = r#""completed_at":"2026-01-05T10:00:02Z""#;
    let two = 2_000_000_000;
    for (members, started_at, expected) in [
        (format!("{start},{end}"), Some(START), Some(End::At(at(START + two)))),
        (format!(r#"{start},"duration_ms":2000"#), Some(START), Some(End::At(at(START + two)))),
        (format!(r#"{start},"duration_ns":"2000000000""#), Some(START), Some(End::At(at(START + two)))),
        (format!(r#"{start},"duration_us":2e6"#), Some(START), Some(End::At(at(START + two)))),
        (format!(r#"{start},"duration_s":1.9999999996"#), Some(START), Some(End::At(at(START + two)))),
        (format!(r#"{start},"duration_ms":-1.5"#), Some(START), Some(End::At(at(START - 1_500_000)))),
        (format!(r#"{end},"duration_ms":2000,"operation":"o""#), Some(START), Some(End::At(at(START + two)))),
        (format!(r#"{end},"duration_ms":2000"#), None, Some(End::At(at(START + two)))),
        (r#""duration_ms":0.000001"#.to_owned(), None, Some(End::After(1))),
        (end.to_owned(), None, Some(End::At(at(START + two)))),
        (r#""status":"running","duration_ms":0"#.to_owned(), None, None),
        (r#""duration_ms":0"#.to_owned(), None, Some(End::After(0))),
        (r#""duration_ms":null,"duration_ns":"""#.to_owned(), None, None),
    ] {
        let span = span(&members);
        assert_eq!((span.started_at, span.end), (started_at.map(at), expected), "{members}");
    }
    let completion = span(&format!(r#"{end},"duration_ms":2000"#));
    assert_eq!(
        attributes(&completion),
        r#"{"duration_ms":2000}"#,
        "the start is left to the record that began the span"
    );
}

#[test]
fn a_duration_that_disagrees_with_start_and_end_is_kept_as_an_attribute() {
    let times = r#""started_at":"2026-01-05T10:00:00Z","completed_at":"2026-01-05T10:00:02Z""#;
    assert_eq!(attributes(&span(&format!(r#"{times},"duration_ms":2000.4"#))), "{}");
    let odd = span(&format!(r#"{times},"duration_ms":1500"#));
    assert_eq!(odd.duration_ns(), Some(2_000_000_000));
    assert_eq!(attributes(&odd), r#"{"duration_ms":1500}"#);
}

#[test]
fn an_end_before_the_start_is_kept() {
    let span = span(r#""started_at":"2026-01-05T10:00:02Z","completed_at":"2026-01-05T10:00:00Z""#);
    assert_eq!(span.duration_ns(), Some(-2_000_000_000));
    assert_eq!(span.status, Status::Completed);
}

#[test]
fn a_status_is_said_or_follows_from_the_rest() {
    let start = r#""started_at":"2026-01-05T10:00:00Z""#;
    let end = r#""completed_at":"2026-01-05T10:00:02Z""#;
    for (members, status) in [
        (String::new(), Status::Pending),
        (start.to_owned(), Status::Running),
        (end.to_owned(), Status::Completed),
        (format!(r#"{end},"error":"boom""#), Status::Failed),
        (format!(r#"{end},"error":true"#), Status::Failed),
        (format!(r#"{end},"error":false"#), Status::Completed),
        (format!(r#"{end},"error":"","error_message":null"#), Status::Completed),
        (format!(r#"{end},"error":{{}}"#), Status::Completed),
        (format!(r#"{end},"error":{{"code":7}}"#), Status::Failed),
        (format!(r#"{end},"metadata":{{"error_message":"boom"}}"#), Status::Failed),
        (format!(r#"{end},"otel_status":"STATUS_CODE_ERROR""#), Status::Failed),
        (format!(r#"{end},"status_code":2"#), Status::Failed),
        (format!(r#"{end},"status_code":"OK""#), Status::Completed),
        (format!(r#"{end},"status":"UNSET""#), Status::Completed),
        (format!(r#"{end},"status":{{"code":2,"message":"no"}}"#), Status::Failed),
        (format!(r#"{end},"status":{{"code":"STATUS_CODE_OK"}}"#), Status::Completed),
        (format!(r#"{end},"status":"running""#), Status::Completed),
        (format!(r#"{end},"status":"pending","error":"boom""#), Status::Failed),
        (format!(r#"{end},"status":"cancelled","error":"boom""#), Status::Cancelled),
        (format!(r#"{start},"status":"pending""#), Status::Pending),
        (r#""status":"Success""#.to_owned(), Status::Completed),
        (r#""status":"timeout""#.to_owned(), Status::Failed),
        (r#""status":"started""#.to_owned(), Status::Running),
        (r#""status":"skipped""#.to_owned(), Status::Skipped),
        (r#""status":"""#.to_owned(), Status::Pending),
    ] {
        assert_eq!(span(&members).status, status, "{members}");
    }
    let otel = span(&format!(r#"{end},"status":{{"code":2,"message":"no"}}"#));
    assert_eq!((otel.otel_status(), otel.status_message()), (Some(OtelStatus::Error as i64), Some("no")));
    assert_eq!(attributes(&span(r#""status_code":404"#)), r#"{"status_code":404}"#, "HTTP's, not OpenTelemetry's");
}

#[test]
fn an_error_is_a_text_or_an_object() {
    let object = span(r#""error":{"message":"CUDA out of memory","type":"OOM","stack":["a","b"]}"#);
    assert_eq!(object.error_message(), Some("CUDA out of memory"));
    assert_eq!((object.error_type(), object.error_stack()), (Some("OOM"), Some(r#"["a","b"]"#)));
    assert_eq!(attributes(&object), "{}");
    let more = span(r#""error":{"message":"m","code":7}"#);
    assert_eq!(more.error_message(), Some("m"));
    assert_eq!(attributes(&more), r#"{"error":{"message":"m","code":7}}"#, "nothing is dropped");
    assert_eq!(span(r#""error":"line\nbreak \"x\" \u00e9""#).error_message(), Some("line\nbreak \"x\" é"));
    assert_eq!(span(r#""error":"m","error_message":"m","stacktrace":"s""#).error_stack(), Some("s"));
}

#[test]
fn texts_take_numbers_and_booleans_as_they_are_written() {
    let span =
        span(r#""executionId":123,"job_id":true,"question_id":"","model_id":1e3,"user_id":18446744073709551616"#);
    assert_eq!((span.execution_id(), span.job_id(), span.question_id()), (Some("123"), Some("true"), None));
    assert_eq!((span.model(), span.user_id()), (Some("1e3"), Some("18446744073709551616")));
}

#[test]
fn kinds_are_names_or_numbers() {
    for (value, kind) in [
        ("\"SERVER\"", Some(SpanKind::Server)),
        ("\"SPAN_KIND_CLIENT\"", Some(SpanKind::Client)),
        ("4", Some(SpanKind::Producer)),
        ("\"5\"", Some(SpanKind::Consumer)),
        ("0", None),
        ("\"\"", None),
    ] {
        let span = span(&format!(r#""kind":{value}"#));
        assert_eq!(span.span_kind(), kind, "{value}");
        assert!(span.attributes.is_empty());
    }
    for value in ["\"llm\"", "99", "true"] {
        let span = span(&format!(r#""kind":{value}"#));
        assert_eq!((span.kind(), attributes(&span)), (None, format!(r#"{{"kind":{value}}}"#).as_str()), "kept aside");
    }
}

#[test]
fn tokens_are_an_object_or_flat() {
    for members in [
        r#""tokens":{"input":10,"output":5,"cache_read":3,"cache_write":2,"reasoning":1,"total":15}"#,
        r#""usage":{"prompt":10.0,"completion":"5","cache_read_tokens":3,"cache_creation_input_tokens":2,"reasoning":1,"total":15}"#,
        r#""prompt_tokens":10,"completionTokens":5,"cache_read_tokens":3,"cache_write_tokens":2,"reasoning_tokens":"1","total_tokens":15"#,
        r#""metadata":{"input_tokens":10,"output_tokens":5,"cache_read_tokens":3,"cache_write_tokens":2,"reasoning_tokens":1,"total_tokens":15}"#,
    ] {
        let span = span(members);
        let counts = [
            span.input_tokens(),
            span.output_tokens(),
            span.cache_read_tokens(),
            span.cache_write_tokens(),
            span.reasoning_tokens(),
        ];
        assert_eq!(counts, [10, 5, 3, 2, 1].map(Some), "{members}");
        assert_eq!(span.attributes.get("total_tokens"), Some("15"));
    }
    assert_eq!(attributes(&span(r#""tokens":1234"#)), r#"{"total_tokens":1234}"#);
    assert_eq!(attributes(&span(r#""tokens":{"input":1,"image":2,"audio":null}"#)), r#"{"tokens.image":2}"#);
}

#[test]
fn money_is_exact() {
    for (members, pico) in [
        (r#""cost":0.0042"#, 4_200_000_000),
        (r#""cost":"0.000000000001""#, 1),
        (r#""total_cost":1.5e-7"#, 150_000),
        (r#""cost_usd":0.1,"cost":"0.10""#, 100_000_000_000),
        (r#""cost":9007199.254740993"#, 9_007_199_254_740_993_000),
        (r#""cost":0"#, 0),
        (r#""cost_pico":7"#, 7),
    ] {
        let span = span(members);
        assert_eq!(span.cost_pico(), Some(pico), "{members}");
        assert_eq!(span.cost_source(), Some("provided"));
    }
    let parts = span(r#""cost":{"total":0.5,"input":0.2}"#);
    assert_eq!(
        (parts.cost_pico(), attributes(&parts)),
        (Some(500_000_000_000), r#"{"cost":{"total":0.5,"input":0.2}}"#)
    );
    assert_eq!(span(r#""cost":1,"cost_source":"computed""#).cost_source(), Some("computed"));
    assert_eq!(span(r#""cost":null"#).cost_source(), None);
}

#[test]
fn values_of_a_pretty_printed_body_become_one_line() {
    let pretty = span("\"inputs\":{\n  \"q\": \"a b\"\n},\"metadata\":{\n\"http\":{\n\"status\": 500 }},\"x\":[\n1 ]");
    assert_eq!(pretty.inputs(), Some(r#"{"q":"a b"}"#));
    assert_eq!(attributes(&pretty), r#"{"http":{"status":500},"x":[1]}"#);
    assert!(!native::encode(&pretty).contains('\n'));
}

#[test]
fn inputs_and_outputs_are_any_json() {
    let span = span(r#""query":"why \"x\"?","output":{"b": [1, 2.50],"a":null}"#);
    assert_eq!(span.inputs(), Some(r#""why \"x\"?""#));
    assert_eq!(span.outputs(), Some(r#"{"b": [1, 2.50],"a":null}"#));
}

#[test]
fn attributes_come_from_every_place_and_none_is_lost() {
    let all = span(
        r#""custom":1,"none":null,"attributes":{"k":"a","n":null},"metadata":{"k":"m","big":12345678901234567890123},"tags":{"k":"a","t":true},"k":"s""#,
    );
    assert_eq!(
        attributes(&all),
        r#"{"big":12345678901234567890123,"custom":1,"k":"a","k.from_metadata":"m","k.from_span":"s","n":null,"t":true}"#
    );
    let taken = span(r#""k":"s","metadata":{"k":"m","k.from_span":"x"}"#);
    assert_eq!(attributes(&taken), r#"{"k":"m","k.from_span":"x","k.from_span_":"s"}"#);
    assert_eq!(attributes(&span(r#""metadata":{"k":1,"k":2}"#)), r#"{"k":2}"#, "as in PostgreSQL's jsonb");
    let pairs = r#"[{"key":"a","type":"string","value":"x"},{"key":"b","value":{"stringValue":"y"}},{"key":"c","value":{"intValue":"7"}},{"key":"d","value":{"doubleValue":0.5}}]"#;
    assert_eq!(attributes(&span(&format!(r#""tags":{pairs}"#))), r#"{"a":"x","b":"y","c":7,"d":0.5}"#);
    assert_eq!(attributes(&span(r#""tags":["a","b"]"#)), r#"{"tags":["a","b"]}"#);
    assert_eq!(attributes(&span(r#""metadata":"text","tags":[],"attributes":{}"#)), r#"{"metadata":"text"}"#);
    assert_eq!(attributes(&span(r#""tenant":"other","id":17"#)), r#"{"id":17,"tenant":"other"}"#, "never the owner");
}

#[test]
fn attributes_with_known_names_fill_empty_fields_and_stay() {
    let span = span(
        r#""region":"us-east","metadata":{"execution_id":123,"job_id":"j","model_id":"m","region":"eu","question_id":{"x":1},"retry_count":"2","ctrlplane.phase":"planning","ctrlplane.parent_trace_id":"4BF92F35-77B3-4DA6-A3CE-929D0E0E4736"}"#,
    );
    assert_eq!((span.execution_id(), span.job_id(), span.model()), (Some("123"), Some("j"), Some("m")));
    assert_eq!((span.region(), span.question_id()), (Some("us-east"), None));
    assert_eq!((span.retry_count(), span.phase(), span.parent_trace_id()), (Some(2), Some("planning"), Some(TRACE)));
    assert_eq!(span.attributes.get("execution_id"), Some("123"));
    assert_eq!(span.attributes.get("region"), Some("\"eu\""));
}

#[test]
fn events_and_links_are_read_in_their_spellings() {
    let span = span(&format!(
        r#""events":[{{"name":"first_token","timestamp":"2026-01-05T10:00:00Z","attributes":{{"n":1}}}},
                     {{"event":"retry","time_unix_nano":"1767607200000000001","why":"429","fields":[{{"key":"a","value":2}}]}},
                     {{"message":"m","name":"n"}}, "bare", {{"timestamp_ms":1767607200000}}],
           "links":[{{"traceId":"{TRACE}","spanId":"1","attributes":{{"k":true}},"note":"x","traceState":"a=1"}}]"#
    ));
    let events: Vec<_> = span
        .events()
        .iter()
        .map(|event| (event.name.as_str(), event.timestamp.map(UnixNanos::as_u64), event.attributes.as_json()))
        .collect();
    assert_eq!(
        events,
        [
            ("bare", None, "{}"),
            ("n", None, r#"{"message":"m"}"#),
            ("event", Some(START), "{}"),
            ("first_token", Some(START), r#"{"n":1}"#),
            ("retry", Some(START + 1), r#"{"a":2,"why":"429"}"#),
        ]
    );
    let link = &span.links()[0];
    assert_eq!((link.trace_id.to_string().as_str(), link.trace_state.as_str()), (TRACE, "a=1"));
    assert_eq!(link.attributes.as_json(), r#"{"k":true,"note":"x"}"#);
}

#[test]
fn resources_are_wrapped_and_name_the_service() {
    let plain = span(r#""resource":{"service.name":"runner","a":1},"scope":{"version":"1","name":"lib"}"#);
    let whole = span(
        r#""resource":{"scope":{"name":"lib","version":"1"},"attributes":[{"key":"service.name","value":{"stringValue":"runner"}},{"key":"a","value":1}]}"#,
    );
    let expected = r#"{"attributes":{"a":1,"service.name":"runner"},"scope":{"name":"lib","version":"1"}}"#;
    for span in [&plain, &whole] {
        assert_eq!(span.resource.as_ref().unwrap().content(), expected);
        assert_eq!(span.service(), Some("runner"));
    }
    assert_eq!(span(r#""resource":{"service.name":"runner"},"service":"own""#).service(), Some("own"));
}

#[test]
fn null_is_absent_everywhere() {
    let names = [
        "parent_span_id",
        "service",
        "operation",
        "kind",
        "status",
        "otel_status",
        "status_code",
        "started_at",
        "end_ms",
        "duration_ms",
        "error",
        "execution_id",
        "tokens",
        "input_tokens",
        "cost",
        "inputs",
        "metadata",
        "tags",
        "events",
        "links",
        "resource",
        "scope",
        "revision",
        "flags",
        "depth",
        "unknown",
    ];
    let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":null")).collect();
    let nulls = span(&members.join(","));
    assert_eq!(nulls, span(""));
    let inner = span(
        r#""tokens":{"input":null},"error":{"message":null},"status":{"code":null},"events":[{"name":null,"timestamp":null,"attributes":null}]"#,
    );
    assert_eq!((inner.input_tokens(), inner.error_message()), (None, None));
}

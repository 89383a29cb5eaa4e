//! Input that is wrong: what it costs, and what the caller is told.

use super::*;

fn malformed(body: impl AsRef<[u8]>) -> String {
    decode(body).unwrap_err().to_string()
}

#[test]
fn a_wrong_span_is_rejected_with_the_member_and_the_reason() {
    for (members, field, reason) in [
        (
            r#""parent_span_id":"xyz""#,
            "parent_span_id",
            "parent_span_id has 'x' at position 0, which is not a hex digit: \"xyz\"",
        ),
        (r#""parentSpanId":"12345678901234567""#, "parentSpanId", "parentSpanId has 17 characters"),
        (r#""parent_id":7"#, "parent_id", "parent_id is a number; ids are strings of hex digits"),
        (
            r#""started_at":1767607200"#,
            "started_at",
            "started_at is a bare number; send RFC 3339, or name the unit: started_at_ms",
        ),
        (r#""started_at":"1767607200123""#, "started_at", "started_at is a bare number"),
        (r#""started_at":"yesterday""#, "started_at", "started_at is not an RFC 3339 time such as"),
        (r#""started_at":true"#, "started_at", "started_at is a boolean, not a time"),
        (r#""started_at":{}"#, "started_at", "started_at is an object, not a time"),
        (r#""started_at":"0001-01-01T00:00:01Z""#, "started_at", "started_at is outside the range that is kept"),
        (r#""started_at":"9999-12-31T23:59:59Z""#, "started_at", "started_at is outside the range that is kept"),
        (r#""start_ms":-1"#, "start_ms", "start_ms is outside the range that is kept"),
        (
            r#""start_time_unix_nano":18446744073709551616"#,
            "start_time_unix_nano",
            "start_time_unix_nano is outside the range",
        ),
        (r#""duration_ms":"soon""#, "duration_ms", "duration_ms is not a number: \"soon\""),
        (r#""duration_s":1e30"#, "duration_s", "duration_s is longer than 292 years"),
        (r#""duration_ms":[]"#, "duration_ms", "duration_ms is an array, not a number"),
        (
            r#""status":"finished?""#,
            "status",
            "status is unknown: \"finished?\"; accepted are pending (queued), running",
        ),
        (r#""status":7"#, "status", "status is unknown: \"7\""),
        (r#""status":{"code":9}"#, "status", "status has an unknown code: \"9\""),
        (r#""otel_status":5"#, "otel_status", "otel_status is \"5\"; accepted are unset, ok, error and 0 to 2"),
        (r#""execution_id":{"a":1}"#, "execution_id", "execution_id is an object, not a text"),
        (r#""service":["a"]"#, "service", "service is an array, not a text"),
        (r#""input_tokens":1.5"#, "input_tokens", "input_tokens is not a whole number: \"1.5\""),
        (r#""input_tokens":"1.5""#, "input_tokens", "input_tokens is not a whole number"),
        (r#""input_tokens":9223372036854775808"#, "input_tokens", "input_tokens does not fit into 64 bits"),
        (r#""input_tokens":-1"#, "input_tokens", "input_tokens is negative"),
        (r#""input_tokens":"many""#, "input_tokens", "input_tokens is not a number: \"many\""),
        (r#""input_tokens":true"#, "input_tokens", "input_tokens is a boolean, not a whole number"),
        (r#""flags":4294967296"#, "flags", "flags does not fit into 32 bits"),
        (r#""tokens":{"input":"x"}"#, "tokens.input", "tokens.input is not a number"),
        (r#""tokens":[1]"#, "tokens", "tokens is an array, not a whole number"),
        (r#""cost":-0.1"#, "cost", "cost is negative: \"-0.1\""),
        (r#""cost":"$1""#, "cost", "cost is not a number: \"$1\""),
        (r#""cost":1e9"#, "cost", "cost is more than 9223372 USD"),
        (r#""cost":true"#, "cost", "cost is a boolean, not an amount of US dollars"),
        (r#""resource":"host""#, "resource", "resource is a string, not an object"),
        (r#""resource":{"attributes":["x"]}"#, "resource", "resource has attributes that are no list of key and value"),
        (r#""events":{}"#, "events", "events is an object, not a list"),
        (r#""events":["a",7]"#, "events[1]", "events[1] is a number, not an object"),
        (
            r#""logs":["a",{"name":"b"},{"timestamp":"x"}]"#,
            "logs[2].timestamp",
            "logs[2].timestamp is not an RFC 3339 time",
        ),
        (r#""events":[{"timestamp":1767607200}]"#, "events[0].timestamp", "events[0].timestamp is a bare number"),
        (r#""links":[{"span_id":"1"}]"#, "links[0].trace_id", "links[0].trace_id is missing"),
        (r#""links":[{"trace_id":"x","span_id":"1"}]"#, "links[0].trace_id", "links[0].trace_id has 1 characters"),
        (r#""links":[null]"#, "links[0]", "links[0] is null, not an object"),
    ] {
        let rejected = rejected(members);
        assert_eq!(rejected.field.as_deref(), Some(field), "{members}: {}", rejected.reason);
        assert!(rejected.reason.starts_with(reason), "{members}: {}", rejected.reason);
        assert_eq!(rejected.span_id.as_deref(), Some(SPAN));
    }
}

#[test]
fn ids_say_what_is_wrong_with_them() {
    let with = |trace: &str, span: &str| refused(&format!(r#"{{"trace_id":{trace},"span_id":{span}}}"#));
    let zeros = format!("\"{}\"", "0".repeat(32));
    for (trace, span, field, reason) in [
        (zeros.as_str(), "\"1\"", "trace_id", "trace_id is all zero"),
        (
            "\"abc\"",
            "\"1\"",
            "trace_id",
            "trace_id has 3 characters; accepted are 32 hex digits, a UUID, or 16 hex digits",
        ),
        ("\"4bf92f3577b34da6a3ce929d0e0e473g\"", "\"1\"", "trace_id", "trace_id has 'g' at position 31"),
        ("123", "\"1\"", "trace_id", "trace_id is a number; ids are strings of hex digits"),
        (
            "\"\"",
            "\"1\"",
            "trace_id",
            "trace_id is missing: give it in the span or in a traceparent / X-Trace-ID header",
        ),
        ("\"4bf92f3577b34da6a3ce929d0e0e4736\"", "\"0\"", "span_id", "span_id is all zero"),
        ("\"4bf92f3577b34da6a3ce929d0e0e4736\"", "null", "span_id", "span_id is missing"),
        ("\"4bf92f3577b34da6a3ce929d0e0e4736\"", "{}", "span_id", "span_id is an object"),
    ] {
        let rejected = with(trace, span);
        assert_eq!(rejected.field.as_deref(), Some(field), "{}", rejected.reason);
        assert!(rejected.reason.starts_with(reason), "{}", rejected.reason);
    }
    for length in (0..40).filter(|length| !matches!(length, 0 | 16 | 32)) {
        let reason = with(&format!("\"{}\"", "a".repeat(length)), "\"1\"").reason;
        assert!(reason.contains(&format!("has {length} characters")), "{reason}");
    }
}

#[test]
fn a_member_given_twice_is_rejected_and_both_names_are_told() {
    for (members, field, reason) in [
        (r#""service":"a","service":"b""#, "service", "service is given twice"),
        (r#""service":"a","service":"a""#, "service", "service is given twice"),
        (r#""metadata":{},"metadata":{}"#, "metadata", "metadata is given twice"),
        (r#""custom":1,"custom":2"#, "custom", "custom is given twice"),
        (r#""custom":1,"custom":1,"metadata":{"custom":1}"#, "custom", "custom is given twice"),
        (
            r#""operation":"a","name":"b""#,
            "name",
            "name and operation are two names for one field, but their values differ",
        ),
        (r#""started_at":"2026-01-05T10:00:00Z","start_ms":1"#, "start_ms", "start_ms and started_at are two names"),
        (r#""prompt_tokens":1,"tokens":{"input":2}"#, "tokens", "tokens and prompt_tokens are two names"),
        (r#""duration_ms":1,"duration_ns":5000000"#, "duration_ns", "duration_ns and duration_ms are two names"),
        (r#""traceId":"11111111111111111111111111111111""#, "traceId", "traceId and trace_id are two names"),
        (r#""inputs":1,"query":2"#, "query", "query and inputs are two names"),
        (r#""cost":1,"cost_pico":5"#, "cost_pico", "cost_pico and cost are two names"),
        (r#""scope":{},"resource":{"attributes":{},"scope":{}}"#, "scope", "scope stands in resource as well"),
    ] {
        let rejected = rejected(members);
        assert_eq!(rejected.field.as_deref(), Some(field), "{members}: {}", rejected.reason);
        assert!(rejected.reason.starts_with(reason), "{members}: {}", rejected.reason);
    }
    assert_eq!(
        span(r#""operation":"a","name":"a","name":null"#.replace(r#","name":null"#, "").as_str()).operation(),
        Some("a")
    );
}

#[test]
fn lone_surrogates_cost_the_span_and_not_the_body() {
    for (members, field) in [
        (r#""service":"\ud83d""#, "service"),
        (r#""error":{"message":"\ude00"}"#, "error"),
        (r#""metadata":{"deep":{"list":["\ud83dx"]}}"#, "deep"),
        (r#""metadata":{"\ud83d":1}"#, "\\ud83d"),
        (r#""inputs":["\ud83d"]"#, "inputs"),
        (r#""events":[{"name":"\udead"}]"#, "events[0].name"),
        (r#""\udead":1"#, "\\udead"),
        (r#""trace_state":"\udead""#, "trace_state"),
    ] {
        let body = format!("[{},{}]", object(members), object(""));
        let decoded = decode(body).unwrap();
        assert_eq!(decoded.spans.len(), 1, "{members}");
        let rejected = &decoded.rejected[0];
        assert_eq!(rejected.field.as_deref(), Some(field));
        assert!(rejected.reason.contains("holds half of a surrogate pair"), "{}", rejected.reason);
    }
    assert_eq!(span(r#""service":"\ud83d\ude00""#).service(), Some("😀"));
}

#[test]
fn nul_becomes_the_replacement_character_and_is_noted() {
    let span = span(
        r#""error":"a\u0000b","inputs":{"x":"\u0000"},"metadata":{"k\u0000":"v","list":["\\u0000","\u0000"]},"events":[{"name":"e\u0000","a":"\u0000"}]"#,
    );
    assert_eq!(span.error_message(), Some("a\u{fffd}b"));
    assert_eq!(span.inputs(), Some(r#"{"x":"\ufffd"}"#));
    assert_eq!(span.attributes.get("k\u{fffd}"), Some("\"v\""));
    assert_eq!(span.attributes.get("list"), Some(r#"["\\u0000","\ufffd"]"#));
    assert_eq!(span.events()[0].name, "e\u{fffd}");
    let noted = span.attributes.get("tracefall.nul_replaced").unwrap();
    assert_eq!(noted, "[\"error_message\",\"events[0].a\",\"events[0].name\",\"inputs\",\"k\u{fffd}\",\"list\"]");
    assert!(!native::encode(&span).contains("\\u0000") || native::encode(&span).contains("\\\\u0000"));
}

#[test]
fn a_body_of_which_nothing_can_be_taken_says_why() {
    for (body, reason) in [
        ("", "the body is empty; send a JSON array of spans"),
        (" \n\t", "the body is empty"),
        ("\u{feff}", "the body is empty"),
        ("trace_id=1&span_id=2", "the body begins with \"trace_id=1&span_\"; expected a JSON array of spans"),
        ("<xml/>", "the body begins with \"<xml/>\""),
        ("\"text\"", "the body begins with"),
        ("null", "the body begins with \"null\""),
        ("[{\"a\":1}", "the body is not valid JSON: EOF while parsing a list at line 1 column 8; it ends too early"),
        ("{\"a\":", "the body is not valid JSON: EOF while parsing"),
        ("[{\"a\":1},]", "the body is not valid JSON: "),
        (
            "{\"a\":1}\n{\"a\":1}",
            "the body is not valid JSON: trailing characters at line 2 column 1; several documents in one body are NDJSON",
        ),
        ("[]\n[]", "the body is not valid JSON: trailing characters at line 2 column 1; several documents"),
        (
            "[{\"x\":NaN}]",
            "the body is not valid JSON: expected value at line 1 column 7; JSON has no NaN and no Infinity",
        ),
        ("[\n{\"x\":Infinity}]", "the body is not valid JSON: expected value at line 2 column 6; JSON has no NaN"),
        ("[{\"x\":-Infinity}]", "the body is not valid JSON: invalid number at line 1 column 8; JSON has no NaN"),
        (
            "{'a':1}",
            "the body is not valid JSON: key must be a string at line 1 column 2; JSON strings have double quotes",
        ),
        ("[{\"x\":01}]", "the body is not valid JSON: invalid number"),
        ("[{\"x\":\"a\tb\"}]", "the body is not valid JSON: control character"),
        ("[{\"x\":\"\\q\"}]", "the body is not valid JSON: invalid escape"),
    ] {
        let error = malformed(body);
        assert!(error.starts_with(reason), "{body}: {error}");
    }
    assert_eq!(malformed(b"[{\"a\":\"\xff\"}]"), "the body is not UTF-8: byte 7 belongs to no character");
    assert_eq!(malformed(b"\xff\xfe[\0]\0"), "the body is not UTF-8: byte 0 belongs to no character");
    assert!(malformed("x".repeat(1 << 20)).len() < 300);
}

#[test]
fn depth_costs_the_span_and_neither_the_stack_nor_much_time() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(span(&format!(r#""metadata":{{"a":{}}}"#, nested(62))).attributes.get("a").is_some());
    for members in [
        format!(r#""metadata":{{"a":{}}}"#, nested(63)),
        format!(r#""metadata":{{"a":{}}}"#, nested(10_000)),
        format!(r#""a":{}"#, nested(64)),
        format!(r#""inputs":{}"#, nested(1_000_000)),
        format!(r#""tags":{}"#, nested(10_000)),
        format!(r#""error":{}"#, nested(10_000)),
        format!(r#""error":{{"stack":{}}}"#, nested(10_000)),
        format!(r#""events":[{{"x":{}}}]"#, nested(10_000)),
        format!(r#""events":[{{"attributes":{{"x":{}}}}}]"#, nested(10_000)),
        format!(r#""resource":{{"x":{}}}"#, nested(10_000)),
        format!(r#""a":{}1{}"#, "{\"x\":".repeat(10_000), "}".repeat(10_000)),
    ] {
        let rejected = rejected(&members);
        assert!(rejected.reason.ends_with("nests deeper than 64 levels (limit max_depth)"), "{}", rejected.reason);
    }
    assert_eq!(decode(nested(10_000)).unwrap().rejected[0].reason, "is an array, not a span object");
    assert!(malformed("[".repeat(1_000_000)).contains("ends too early"));
    assert!(malformed("{\"a\":".repeat(100_000)).contains("ends too early"));
}

fn with_limits(body: &str, limits: &Limits) -> Result<Decoded, DecodeError> {
    decode_with(body.as_bytes(), Framing::Json, limits, &Carried::default())
}

#[test]
fn too_many_spans_are_noticed_while_they_are_read() {
    let limits = Limits { max_spans: 3, ..Limits::default() };
    let error = DecodeError::TooManySpans { limit: 3 };
    let four = [object(""), "{}".to_owned(), "7".to_owned(), object("")];
    let (array, spans) = (format!("[{}]", four.join(",")), format!(r#"{{"spans":[{}]}}"#, four.join(",")));
    assert_eq!(with_limits(&array, &limits).unwrap_err(), error);
    assert_eq!(with_limits(&spans, &limits).unwrap_err(), error);
    let lines = decode_with(four.join("\n\n").as_bytes(), Framing::Ndjson, &limits, &Carried::default());
    assert_eq!(lines.unwrap_err(), error);
    assert!(with_limits(&format!("[{}]", four[..3].join(",")), &limits).is_ok());
    assert_eq!(error.to_string(), "the request holds more than 3 spans (limit max_spans); send it in parts");
    let millions = format!("[{}{{}}]", "{},".repeat(2_000_000));
    assert_eq!(decode(millions).unwrap_err(), DecodeError::TooManySpans { limit: 50_000 });
    let lines = decode_with("{\n".repeat(60_000).as_bytes(), Framing::Ndjson, &Limits::default(), &Carried::default());
    assert_eq!(lines.unwrap_err(), DecodeError::TooManySpans { limit: 50_000 });
}

#[test]
fn long_values_are_cut_and_named() {
    let limits = Limits { max_value_bytes: 16, max_content_bytes: 24, ..Limits::default() };
    let long = "é".repeat(20);
    let body = object(&format!(
        r#""operation":"{long}","metadata":{{"s":"{long}","list":["{long}"],"n":1{},"prompt":"{long}","ok":"short"}},"inputs":"{long}","outputs":["{long}"],"events":[{{"name":"{long}","x":"{long}"}}],"resource":{{"r":"{long}"}}"#,
        "0".repeat(30)
    ));
    let span = with_limits(&body, &limits).unwrap().spans.remove(0);
    assert_eq!(span.operation(), Some("é".repeat(8).as_str()));
    assert_eq!(span.attributes.get("s"), Some(format!("\"{}\"", "é".repeat(7)).as_str()));
    assert_eq!(span.attributes.get("list"), Some(r#""[\"ééééé""#));
    assert_eq!(span.attributes.get("n"), Some("\"10000000000000\""));
    assert_eq!(span.attributes.get("prompt"), Some(format!("\"{}\"", "é".repeat(11)).as_str()));
    assert_eq!(span.attributes.get("ok"), Some("\"short\""));
    assert_eq!(span.inputs(), Some(format!("\"{}\"", "é".repeat(11)).as_str()));
    assert_eq!(span.outputs(), Some(format!("\"[\\\"{}\"", "é".repeat(9)).as_str()));
    assert_eq!(span.events()[0].name, "é".repeat(8));
    assert_eq!(
        span.attributes.get("tracefall.truncated"),
        Some(r#"["events[0].name","events[0].x","inputs","list","n","operation","outputs","prompt","s"]"#)
    );
    let content = span.resource.as_ref().unwrap().content();
    assert_eq!(content, format!(r#"{{"attributes":{{"r":"{}","tracefall.truncated":["r"]}}}}"#, "é".repeat(7)));
    for (_, raw) in span.attributes.entries() {
        serde_json::from_str::<serde_json::Value>(raw).unwrap();
    }
}

#[test]
fn a_megabyte_of_text_is_cut_to_its_limit() {
    let megabyte = "x".repeat(1 << 20);
    let span = span(&format!(r#""error":"{megabyte}","metadata":{{"a":"{megabyte}"}},"output":"{megabyte}""#));
    assert_eq!(span.error_message().unwrap().len(), 64 << 10);
    assert_eq!(span.attributes.get("a").unwrap().len(), 64 << 10);
    assert_eq!(span.outputs().unwrap().len(), 1 << 20);
    assert_eq!(span.attributes.get("tracefall.truncated"), Some(r#"["a","error_message","outputs"]"#));
}

#[test]
fn an_id_that_others_gave_is_cut_to_what_an_index_can_hold() {
    let long = "é".repeat(2_000);
    let span = span(&format!(r#""execution_id":"{long}","metadata":{{"job_id":"{long}","note":"{long}"}}"#));
    for field in [Field::ExecutionId, Field::JobId] {
        assert_eq!(span.fields.text(field), Some("é".repeat(512).as_str()), "{}", field.name());
    }
    assert_eq!(span.attributes.get("job_id"), Some(format!("\"{long}\"").as_str()), "the attribute stays whole");
    assert_eq!(span.attributes.get("tracefall.truncated"), Some(r#"["execution_id","job_id"]"#));
}

#[test]
fn a_span_or_a_name_that_is_too_long_is_rejected() {
    let limits = Limits { max_span_bytes: 200, max_value_bytes: 20, ..Limits::default() };
    let large = with_limits(&object(&format!(r#""a":"{}""#, "x".repeat(200))), &limits).unwrap();
    assert!(large.rejected[0].reason.ends_with("bytes; the limit max_span_bytes is 200"), "{:?}", large.rejected);
    let name = "k".repeat(100);
    let long = with_limits(&object(&format!(r#""metadata":{{"{name}":1}}"#)), &limits).unwrap();
    assert!(long.rejected[0].reason.ends_with("is a name of 100 bytes; the limit max_value_bytes is 20"));
    assert_eq!(long.rejected[0].field.as_ref().unwrap().len(), 64, "messages repeat input only at its beginning");
}

#[test]
fn messages_repeat_at_most_64_characters_of_their_input() {
    let long = "ü".repeat(10_000);
    for members in [
        format!(r#""status":"{long}""#),
        format!(r#""started_at":"{long}""#),
        format!(r#""input_tokens":"{long}""#),
        format!(r#""cost":"{long}""#),
        format!(r#""parent_span_id":"{long}""#),
        format!(r#""input_tokens":1{}"#, "0".repeat(10_000)),
    ] {
        let rejected = rejected(&members);
        assert!(rejected.reason.chars().count() < 400, "{}", rejected.reason);
    }
    let rejected = refused(&format!(r#"{{"span_id":"{long}"}}"#));
    assert_eq!(rejected.span_id.unwrap().chars().count(), 64);
    let log = refused(&object(r#""status":"a\nb\u001b""#));
    assert!(!log.reason.contains(['\n', '\u{1b}']), "{}", log.reason);
}

#[test]
fn a_self_parent_is_the_readers_business() {
    let span = span(&format!(r#""parent_span_id":"{SPAN}""#));
    assert_eq!(span.parent_span_id, Some(span.span_id));
}

#[test]
fn a_span_of_very_many_members_is_read_in_linear_time() {
    let many: Vec<String> = (0..100_000).map(|index| format!("\"k{index}\":{index}")).collect();
    let body = object(&format!(
        r#"{},"metadata":{{{}}},"tags":{{"k1":"x","k2":"y"}}"#,
        many[..50_000].join(","),
        many.join(",")
    ));
    let all = Limits { max_items: 1_000_000, ..Limits::default() };
    let decoded = decode_with(body.as_bytes(), Framing::Json, &all, &Carried::default()).unwrap();
    assert_eq!(decoded.spans[0].attributes.entries().len(), 100_002);
    // By default so many are refused.
    let rejected = decode(&body).unwrap().rejected;
    assert!(
        rejected[0].reason.ends_with("is one more attribute than 10000 (limit max_items)"),
        "{}",
        rejected[0].reason
    );
}

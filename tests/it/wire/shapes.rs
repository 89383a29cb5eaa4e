//! The shapes of a body, what stands beside the spans, and what the headers add.

use super::*;

fn ids(decoded: &Decoded) -> Vec<String> {
    decoded.spans.iter().map(|span| span.span_id.to_string()).collect()
}

fn numbered(number: u32) -> String {
    format!(r#"{{"trace_id":"{TRACE}","span_id":"{number:016x}"}}"#)
}

#[test]
fn every_shape_of_a_body_gives_the_same_spans() {
    let (a, b) = (numbered(1), numbered(2));
    let expected = ["0000000000000001", "0000000000000002"];
    for body in [
        format!("[{a},{b}]"),
        format!(" \n[ {a} ,\n {b} ]\n "),
        format!(r#"{{"spans":[{a},{b}]}}"#),
        format!(r#"{{ "spans" : [ {a} , {b} ] , "other" : null }}"#),
        format!("\u{feff}[{a},{b}]"),
    ] {
        assert_eq!(ids(&decode(&body).unwrap()), expected, "{body}");
    }
    for body in [format!("{a}\n{b}\n"), format!("{a}\n{b}"), format!("\u{feff}\r\n{a}\r\n\r\n   \n{b}\r\n")] {
        assert_eq!(ids(&decode_lines(&body)), expected, "{body}");
    }
    assert_eq!(ids(&decode(&a).unwrap()), expected[..1]);
    assert_eq!(ids(&decode(format!(" {a}\n")).unwrap()), expected[..1]);
}

#[test]
fn no_spans_are_no_error() {
    for body in ["[]", " [ ] ", r#"{"spans":[]}"#] {
        let decoded = decode(body).unwrap();
        assert!(decoded.spans.is_empty() && decoded.rejected.is_empty(), "{body}");
    }
}

#[test]
fn what_spans_have_in_common_may_stand_beside_them_and_gives_way_to_their_own() {
    let decoded = decode(format!(
        r#"{{"trace_id":"{TRACE}","execution_id":7,"service":"runner","resource":{{"host.name":"h1"}},"sdk":"py/1.2",
            "metadata":{{"region":"us-east","team":"a"}},
            "spans":[{{"span_id":"1"}},
                     {{"span_id":"2","trace_id":"{}","service":"router","executionId":"8","sdk":"go","tags":{{"team":"b"}}}}]}}"#,
        "1".repeat(32)
    ))
    .unwrap();
    assert_eq!(decoded.rejected, []);
    let [first, second] = decoded.spans.as_slice() else { panic!("two spans") };
    assert_eq!(first.trace_id.to_string(), TRACE);
    assert_eq!((first.service(), first.execution_id(), first.region()), (Some("runner"), Some("7"), Some("us-east")));
    assert_eq!(attributes(first), r#"{"region":"us-east","sdk":"py/1.2","team":"a"}"#);
    assert_eq!(second.trace_id.to_string(), "1".repeat(32));
    assert_eq!((second.service(), second.execution_id()), (Some("router"), Some("8")));
    assert_eq!(attributes(second), r#"{"region":"us-east","sdk":"go","team":"b"}"#);
    assert_eq!(first.resource, second.resource);
    assert_eq!(first.resource.as_ref().unwrap().content(), r#"{"attributes":{"host.name":"h1"}}"#);
}

#[test]
fn escapes_beside_spans_are_read_as_those_within() {
    let decoded = decode(format!(
        r#"{{"trace_id":"{TRACE}","region":"a\u0000\n","k\u0041":"x\u0000","spans":[{{"span_id":"1"}}]}}"#
    ));
    let span = decoded.unwrap().spans.remove(0);
    assert_eq!(span.region(), Some("a\u{fffd}\n"));
    assert_eq!(span.attributes.get("kA"), Some(r#""x\ufffd""#));
    let lone = decode(format!(r#"{{"trace_id":"{TRACE}","metadata":{{"k":"\ud83d"}},"spans":[{{"span_id":"1"}}]}}"#));
    assert!(lone.unwrap().rejected[0].reason.starts_with("k holds half of a surrogate pair"));
}

#[test]
fn what_is_one_spans_own_may_not_stand_beside_spans() {
    for (member, name) in [
        (r#""total_cost":0.5"#, "total_cost"),
        (r#""status":"completed""#, "status"),
        (r#""started_at":"2026-01-05T10:00:00Z""#, "started_at"),
        (r#""span_id":"1""#, "span_id"),
        (r#""query":"why?""#, "query"),
    ] {
        let error = decode(format!(r#"{{{member},"spans":[]}}"#)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("\"{name}\" stands beside \"spans\"")), "{error}");
    }
    assert!(decode(r#"{"spans":[],"spans":[]}"#).unwrap_err().to_string().contains("given twice"));
    assert!(decode(r#"{"a":1,"a":2,"spans":[]}"#).unwrap_err().to_string().contains("given twice"));
    assert!(decode(r#"{"spans":{}}"#).unwrap_err().to_string().contains("is an object, not an array"));
}

#[test]
fn a_bad_span_never_costs_its_neighbours() {
    let good = numbered(1);
    let decoded = decode(format!(r#"[{good},7,null,"x",[{good}],{{"span_id":"5"}},{good}]"#)).unwrap();
    assert_eq!(decoded.spans.len(), 2);
    let reasons: Vec<_> = decoded.rejected.iter().map(|rejected| (rejected.index, rejected.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (1, "is a number, not a span object"),
            (2, "is null, not a span object"),
            (3, "is a string, not a span object"),
            (4, "is an array, not a span object"),
            (5, "trace_id is missing: give it in the span or in a traceparent / X-Trace-ID header"),
        ]
    );
    let last = &decoded.rejected[4];
    assert_eq!((last.span_id.as_deref(), last.field.as_deref()), (Some("5"), Some("trace_id")));
    assert_eq!(decoded.rejected[0].span_id, None);
}

#[test]
fn a_bad_line_costs_that_line_only() {
    let good = numbered(1);
    let mut body = format!("{good}\n\n{{\"trace_id\":}}\n{good} {good}\n7\n[{good}]\n").into_bytes();
    body.extend_from_slice(b"{\"a\":\"\xff\"}\n");
    body.extend_from_slice(good.as_bytes());
    let decoded = decode_lines(&body);
    assert_eq!(decoded.spans.len(), 2);
    let found: Vec<_> = decoded.rejected.iter().map(|rejected| (rejected.index, rejected.reason.as_str())).collect();
    assert_eq!(found[0], (2, "the line is not JSON: expected value at line 1 column 13"));
    assert_eq!(found[1].0, 3);
    assert!(found[1].1.contains("trailing characters"), "{}", found[1].1);
    assert_eq!(found[2], (4, "is a number, not a span object"));
    assert_eq!(found[3], (5, "is an array, not a span object"));
    assert_eq!(found[4], (6, "the line is not UTF-8: its byte 6 belongs to no character"));
}

#[test]
fn two_spans_of_one_key_are_two_records() {
    let decoded = decode(format!("[{0},{0}]", numbered(1))).unwrap();
    assert_eq!(decoded.spans.len(), 2);
}

fn carried(headers: &[(&str, &'static str)]) -> Carried {
    Carried::from_headers(|name| headers.iter().filter(|header| header.0 == name).map(|header| header.1).collect())
}

const TRACEPARENT: (&str, &str) = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");

#[test]
fn headers_fill_only_what_is_absent() {
    let headers = carried(&[TRACEPARENT, ("tracestate", "a=1"), ("x-request-id", "r\"1")]);
    let body = format!(
        r#"[{{"span_id":"1"}},{{"span_id":"2","parent_span_id":"1"}},{{"span_id":"3","trace_id":"{TRACE}"}},
            {{"span_id":"b7ad6b7169203331"}},{{"span_id":"5","metadata":{{"request_id":"own"}},"flags":0}}]"#
    );
    let decoded = decode_with(body.as_bytes(), Framing::Json, &Limits::default(), &headers).unwrap();
    let parents: Vec<_> = decoded.spans.iter().map(|span| span.parent_span_id.map(|id| id.to_string())).collect();
    let expected = [Some("b7ad6b7169203331"), Some("0000000000000001"), None, None, Some("b7ad6b7169203331")]
        .map(|id| id.map(str::to_owned));
    assert_eq!(
        parents, expected,
        "a parent only where the trace id came from the header too, and never the span itself"
    );
    let traces: Vec<_> = decoded.spans.iter().map(|span| span.trace_id.to_string()).collect();
    assert_eq!(traces[0], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(traces[2], TRACE);
    assert_eq!((decoded.spans[0].flags(), decoded.spans[0].trace_state()), (Some(1), Some("a=1")));
    assert_eq!((decoded.spans[2].flags(), decoded.spans[2].trace_state()), (None, None));
    assert_eq!(decoded.spans[4].flags(), Some(0));
    assert_eq!(attributes(&decoded.spans[0]), r#"{"request_id":"r\"1"}"#);
    assert_eq!(attributes(&decoded.spans[4]), r#"{"request_id":"own"}"#);
}

#[test]
fn a_malformed_header_is_no_error() {
    let headers = carried(&[("traceparent", "00-xyz"), ("x-trace-id", "?"), ("b3", "1")]);
    let decoded = decode_with(br#"[{"span_id":"1"}]"#, Framing::Json, &Limits::default(), &headers).unwrap();
    assert!(decoded.rejected[0].reason.starts_with("trace_id is missing"));
}

//! Trace context in the headers of an ingest request: `traceparent`, B3, `X-Trace-ID`, `X-Request-ID`.
//!
//! It fills only what a body leaves out, since an instrumented HTTP client adds such headers by itself. A malformed
//! header is never an error: it counts as absent.

use crate::model::ids::{SpanId, TraceId};

/// What the headers of a request carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// For spans that name no trace: of `traceparent`, `b3`, `X-B3-*` and `X-Trace-ID` the first that is well-formed.
    pub trace_id: Option<TraceId>,
    /// For spans that take [`Carried::trace_id`] and name no parent.
    pub parent_span_id: Option<SpanId>,
    /// The W3C trace flags that came with the trace id, if any did.
    pub flags: Option<u8>,
    /// The `tracestate` that came with a valid `traceparent`.
    pub trace_state: Option<String>,
    /// `X-Request-ID`: an attribute of the spans, never an id. At most 128 printable ASCII characters.
    pub request_id: Option<String>,
}

/// Characters of a request id that are kept.
const REQUEST_ID_LENGTH: usize = 128;

impl Carried {
    /// Reads what `get` finds: all values of a header, whose name is given in lower case.
    pub fn from_headers<'h>(get: impl Fn(&str) -> Vec<&'h str>) -> Self {
        let only = |name: &str| match get(name).as_slice() {
            [value] => Some(value.trim_matches([' ', '\t'])),
            _ => None,
        };
        let mut carried = only("traceparent").and_then(traceparent).unwrap_or_default();
        if carried.trace_id.is_some() {
            carried.trace_state = trace_state(&get("tracestate").join(","));
        } else if let Some(single) = only("b3").and_then(b3_single) {
            carried = single;
        } else {
            carried = b3_multi(&only).unwrap_or_default();
        }
        if carried.trace_id.is_none() {
            carried = Self::default();
            carried.trace_id = only("x-trace-id").and_then(|text| TraceId::parse(text).ok());
        }
        carried.request_id = only("x-request-id").and_then(request_id);
        carried
    }
}

/// `vv-32hex-16hex-ff`, lower case. Of later versions than 00 the first four parts are read.
/// Source: <https://www.w3.org/TR/trace-context/#traceparent-header>.
fn traceparent(text: &str) -> Option<Carried> {
    let is_lower_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let parts = (text.get(..2)?, text.get(3..35)?, text.get(36..52)?, text.get(53..55)?);
    let (version, trace_id, span_id, flags) = parts;
    let dashes = [2, 35, 52].iter().all(|&at| text.as_bytes().get(at) == Some(&b'-'));
    let rest = text.get(55..)?;
    let rest_is_right = rest.is_empty() || version != "00" && rest.starts_with('-');
    if !dashes
        || !rest_is_right
        || version == "ff"
        || ![version, trace_id, span_id, flags].into_iter().all(is_lower_hex)
    {
        return None;
    }
    Some(Carried {
        trace_id: Some(TraceId::parse(trace_id).ok()?),
        parent_span_id: Some(SpanId::parse(span_id).ok()?),
        flags: Some(u8::from_str_radix(flags, 16).ok()?),
        ..Carried::default()
    })
}

/// The whole list as it came, if each member is well-formed and there are at most 32.
/// Source: <https://www.w3.org/TR/trace-context/#tracestate-header>.
fn trace_state(text: &str) -> Option<String> {
    let members: Vec<&str> =
        text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()).collect();
    let is_member = |member: &&str| {
        member.split_once('=').is_some_and(|(key, value)| is_trace_state_key(key) && is_trace_state_value(value))
    };
    (!members.is_empty() && members.len() <= 32 && members.iter().all(is_member)).then(|| members.join(","))
}

fn is_trace_state_key(key: &str) -> bool {
    let starts = key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    let is_inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    starts && key.len() <= 256 && key.bytes().all(is_inner)
}

fn is_trace_state_value(value: &str) -> bool {
    let is_inner = |byte: u8| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    !value.is_empty() && value.len() <= 256 && value.bytes().all(is_inner)
}

/// `trace-span`, then optionally a sampling state and a parent; or a sampling state alone, which carries no id but still
/// speaks for the whole. The span of B3 is the caller's, hence the parent here.
/// Source: <https://github.com/openzipkin/b3-propagation#single-header>.
fn b3_single(text: &str) -> Option<Carried> {
    let mut parts = text.split('-');
    let first = parts.next()?;
    let Some(span_id) = parts.next() else {
        return b3_flags(first).map(|_| Carried::default());
    };
    let flags = match parts.next() {
        None => None,
        Some(state) => Some(b3_flags(state)?),
    };
    if let Some(parent) = parts.next() {
        b3_span_id(parent)?;
    }
    if parts.next().is_some() {
        return None;
    }
    Some(Carried {
        trace_id: Some(b3_trace_id(first)?),
        parent_span_id: Some(b3_span_id(span_id)?),
        flags,
        ..Carried::default()
    })
}

/// `X-B3-TraceId` and `X-B3-SpanId`, both or nothing.
/// Source: <https://github.com/openzipkin/b3-propagation#multiple-headers>.
fn b3_multi<'h>(only: &impl Fn(&str) -> Option<&'h str>) -> Option<Carried> {
    let is_debug = only("x-b3-flags") == Some("1");
    let flags = if is_debug { Some(1) } else { only("x-b3-sampled").and_then(b3_flags) };
    Some(Carried {
        trace_id: Some(b3_trace_id(only("x-b3-traceid")?)?),
        parent_span_id: Some(b3_span_id(only("x-b3-spanid")?)?),
        flags,
        ..Carried::default()
    })
}

fn b3_trace_id(text: &str) -> Option<TraceId> {
    matches!(text.len(), 16 | 32).then(|| TraceId::parse(text).ok())?
}

fn b3_span_id(text: &str) -> Option<SpanId> {
    (text.len() == 16).then(|| SpanId::parse(text).ok())?
}

fn b3_flags(text: &str) -> Option<u8> {
    match text {
        "1" | "d" | "true" => Some(1),
        "0" | "false" => Some(0),
        _ => None,
    }
}

fn request_id(text: &str) -> Option<String> {
    let is_printable = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    is_printable.then(|| text.chars().take(REQUEST_ID_LENGTH).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn carried(headers: &[(&str, &str)]) -> Carried {
        Carried::from_headers(|name| headers.iter().filter(|header| header.0 == name).map(|header| header.1).collect())
    }

    fn ids(headers: &[(&str, &str)]) -> (Option<String>, Option<String>) {
        let carried = carried(headers);
        (carried.trace_id.map(|id| id.to_string()), carried.parent_span_id.map(|id| id.to_string()))
    }

    fn both() -> (Option<String>, Option<String>) {
        (Some(TRACE.to_owned()), Some(SPAN.to_owned()))
    }

    #[test]
    fn a_traceparent_gives_trace_parent_and_flags() {
        let value = format!(" 00-{TRACE}-{SPAN}-03\t");
        assert_eq!(ids(&[("traceparent", &value)]), both());
        assert_eq!(carried(&[("traceparent", &value)]).flags, Some(3));
        assert_eq!(
            ids(&[("traceparent", &format!("01-{TRACE}-{SPAN}-01-more"))]),
            both(),
            "a later version may say more"
        );
        assert_eq!(ids(&[("traceparent", &format!("cc-{TRACE}-{SPAN}-01"))]), both());
    }

    #[test]
    fn a_malformed_traceparent_counts_as_absent() {
        let zero_trace = "0".repeat(32);
        for value in [
            String::new(),
            "x".repeat(10_000),
            "é".repeat(40),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{zero_trace}-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("01-{TRACE}-{SPAN}-01more"),
            format!("00-{TRACE}{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(carried(&[("traceparent", &value)]), Carried::default(), "{value}");
        }
        let value = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(ids(&[("traceparent", &value), ("traceparent", &value)]), (None, None), "two headers");
    }

    #[test]
    fn a_tracestate_needs_its_traceparent_and_never_spoils_it() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let state = |values: &[&str]| {
            let mut headers = vec![("traceparent", parent.as_str())];
            headers.extend(values.iter().map(|value| ("tracestate", *value)));
            let carried = carried(&headers);
            assert!(carried.trace_id.is_some());
            carried.trace_state
        };
        assert_eq!(state(&["a=1 , ,b=2", "t@v=x y"]).as_deref(), Some("a=1,b=2,t@v=x y"));
        let long_value = format!("a={}", "x".repeat(257));
        let many: Vec<String> = (0..33).map(|index| format!("k{index}=v")).collect();
        for broken in ["A=1", "_a=1", "a", "a=", "a=b=c", "é=1", "a=é", &long_value, &many.join(",")] {
            assert_eq!(state(&[broken]), None, "{broken}");
        }
        assert_eq!(carried(&[("tracestate", "a=1")]), Carried::default());
    }

    #[test]
    fn b3_in_one_header_or_in_several() {
        for value in [format!("{TRACE}-{SPAN}"), format!("{TRACE}-{SPAN}-1"), format!("{TRACE}-{SPAN}-d-{SPAN}")] {
            assert_eq!(ids(&[("b3", &value)]), both(), "{value}");
        }
        assert_eq!(ids(&[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "true")]), both());
        assert_eq!(carried(&[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-flags", "1")]).flags, Some(1));
        let short = ids(&[("b3", &format!("{}-{SPAN}-0", &TRACE[16..]))]);
        assert_eq!(short.0.unwrap(), format!("{}{}", "0".repeat(16), &TRACE[16..]), "64-bit ids are extended by zeros");
        for value in [
            "",
            "0",
            "1-2",
            "x",
            &format!("{TRACE}-{SPAN}-7"),
            &format!("{TRACE}-{SPAN}-1-{SPAN}-x"),
            &format!("{TRACE}-1"),
        ] {
            assert_eq!(ids(&[("b3", value)]), (None, None), "{value}");
        }
        assert_eq!(ids(&[("x-b3-traceid", TRACE)]), (None, None), "both are needed");
        assert_eq!(ids(&[("x-b3-spanid", SPAN)]), (None, None), "both are needed");
    }

    #[test]
    fn the_better_known_header_wins_and_a_broken_one_gives_way() {
        let other = "11111111111111111111111111111111";
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let b3 = format!("{TRACE}-{SPAN}-1");
        let wrong = format!("{other}-{SPAN}-1");
        assert_eq!(ids(&[("traceparent", &parent), ("b3", &wrong), ("x-trace-id", other)]), both());
        assert_eq!(
            ids(&[("traceparent", "nonsense"), ("b3", &b3), ("x-b3-traceid", other), ("x-b3-spanid", SPAN)]),
            both()
        );
        assert_eq!(ids(&[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-trace-id", other)]), both());
        assert_eq!(
            ids(&[("b3", "0"), ("x-b3-traceid", other), ("x-b3-spanid", SPAN)]),
            (None, None),
            "b3 speaks for all"
        );
        assert_eq!(ids(&[("b3", "0"), ("x-trace-id", TRACE)]).0.as_deref(), Some(TRACE));
    }

    #[test]
    fn an_x_trace_id_gives_no_parent_and_may_be_a_uuid() {
        assert_eq!(ids(&[("x-trace-id", TRACE)]), (Some(TRACE.to_owned()), None));
        assert_eq!(ids(&[("x-trace-id", "4BF92F35-77B3-4DA6-A3CE-929D0E0E4736")]), (Some(TRACE.to_owned()), None));
        for value in ["", "abc", "00000000000000000000000000000000", "4bf92f3577b34da6a3ce929d0e0e473g"] {
            assert_eq!(ids(&[("x-trace-id", value)]), (None, None), "{value}");
        }
    }

    #[test]
    fn a_request_id_is_bounded_printable_and_no_trace_id() {
        let carried_id = |value: &str| carried(&[("x-request-id", value)]).request_id;
        assert_eq!(carried_id(TRACE).as_deref(), Some(TRACE));
        assert_eq!(carried(&[("x-request-id", TRACE)]).trace_id, None);
        assert_eq!(carried_id(&"r".repeat(500)).map(|id| id.len()), Some(128));
        for value in ["", "a\nb", "é", "\u{7f}"] {
            assert_eq!(carried_id(value), None, "{value:?}");
        }
    }
}

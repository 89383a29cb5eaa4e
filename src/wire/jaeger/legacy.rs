//! Traces as `GET /api/traces` tells them: spans with tags, logs and references, and the processes they ran in.
//!
//! Tags are the span's attributes, what it says beside them (as OTLP carries it, so that both interfaces tell the same),
//! and those that OpenTelemetry's own converter to Jaeger makes of kind, scope, status and trace state.
//! Source: <https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/jaeger/>.

use std::borrow::Cow;
use std::fmt::Write;

use super::{Ids, Seen, is_error, kind, low_half, service, trace_id};
use crate::model::span::{Event, OtelStatus, Span};
use crate::model::time::UnixNanos;
use crate::wire::{json, otlp};

/// The largest integer that JavaScript reads as itself.
const MAX_SAFE: i64 = (1 << 53) - 1;

/// Writes one trace. `seen` has an entry for each span. Costs an OTLP encoding and decoding of each span.
pub fn trace(spans: &[Span], seen: &[Seen], warnings: &[String]) -> String {
    let ids = Ids::new(spans);
    let mut processes: Vec<(&str, &str)> = Vec::new();
    let mut text = String::with_capacity(256 + 1_024 * spans.len());
    let id = spans.first().map(|span| trace_id(span.trace_id)).unwrap_or_default();
    display(&mut text, format_args!("{{\"traceID\":\"{id}\",\"spans\":["));
    for (place, (span, seen)) in spans.iter().zip(seen).enumerate() {
        let process = (service(span), Origin::of(span).attributes);
        let process = processes.iter().position(|known| *known == process).unwrap_or_else(|| {
            processes.push(process);
            processes.len() - 1
        });
        comma(&mut text, place);
        write_span(&mut text, span, (place, &ids), seen, process + 1);
    }
    text.push_str("],\"processes\":{");
    for (index, (service, attributes)) in processes.iter().enumerate() {
        comma(&mut text, index);
        display(&mut text, format_args!("\"p{}\":{{\"serviceName\":{},\"tags\":", index + 1, json::quoted(service)));
        let others = json::Members::of(attributes).filter(|(key, _)| json::inside(key) != "service.name");
        list(&mut text, others.map(|(key, raw)| Tag::of(key, raw)));
        text.push('}');
    }
    text.push_str("},\"warnings\":");
    sentences(&mut text, warnings);
    text.push('}');
    text
}

/// Whether a span, or what produced it, carries this tag with this value, both as text: as a reader sees it in
/// [`trace`].
pub fn has_tag(span: &Span, key: &str, value: &str) -> bool {
    let is = |tag: &Tag<'_>| tag.is(key, value);
    let origin = Origin::of(span);
    let raw = |attributes| json::Members::of(attributes).map(|(key, raw)| Tag::of(key, raw));
    raw(span.attributes.as_json()).any(|tag| is(&tag))
        || raw(origin.attributes).any(|tag| is(&tag))
        || derived(span, &origin).iter().any(is)
        || otlp::beside(span).iter().any(|(key, raw)| is(&Tag::of(key, raw)))
}

/// A key with a value. Both are JSON: the key a string.
struct Tag<'s> {
    key: Cow<'s, str>,
    kind: &'static str,
    value: Cow<'s, str>,
}

impl<'s> Tag<'s> {
    /// Of a value as attributes keep it: see [`otlp`] for those that JSON has no word for.
    fn of(key: &'s str, raw: &'s str) -> Self {
        let (kind, value) = match raw.as_bytes().first() {
            Some(b'"') => ("string", Cow::Borrowed(raw)),
            Some(b't' | b'f') => ("bool", Cow::Borrowed(raw)),
            Some(b'-' | b'0'..=b'9') => number(raw),
            Some(b'{') => object(raw),
            Some(b'n') | None => ("string", Cow::Borrowed("\"\"")),
            Some(_) => ("string", Cow::Owned(json::quoted(raw))),
        };
        Self { key: Cow::Borrowed(key), kind, value }
    }

    fn new(key: &str, kind: &'static str, value: impl Into<Cow<'s, str>>) -> Self {
        Self { key: Cow::Owned(json::quoted(key)), kind, value: value.into() }
    }

    fn text(key: &str, value: &str) -> Self {
        Self::new(key, "string", json::quoted(value))
    }

    fn is(&self, key: &str, value: &str) -> bool {
        let same = |raw: &str, text: &str| match raw.starts_with('"') {
            true => json::string(raw).is_ok_and(|characters| characters == text),
            false => raw == text,
        };
        same(&self.key, key) && same(&self.value, value)
    }
}

fn number(raw: &str) -> (&'static str, Cow<'_, str>) {
    if raw.contains(['.', 'e', 'E']) {
        return match raw.parse::<f64>() {
            Ok(value) if value.is_finite() => ("float64", Cow::Borrowed(raw)),
            _ => ("string", Cow::Owned(json::quoted(raw))),
        };
    }
    match raw.parse::<i64>() {
        Ok(value) if (-MAX_SAFE..=MAX_SAFE).contains(&value) => ("int64", Cow::Borrowed(raw)),
        Ok(_) => ("int64", Cow::Owned(json::quoted(raw))),
        // Beyond 64 bits its digits are kept.
        Err(_) => ("string", Cow::Owned(json::quoted(raw))),
    }
}

/// Bytes, a double that is no number, or any other map as its JSON text.
fn object(raw: &str) -> (&'static str, Cow<'_, str>) {
    let mut members = json::Members::of(raw);
    if let (Some((key, value)), None) = (members.next(), members.next()) {
        match (json::inside(key), value.as_bytes().first()) {
            ("bytesValue", Some(b'"')) => return ("binary", Cow::Borrowed(value)),
            ("doubleValue", Some(b'"')) => return ("float64", Cow::Borrowed(value)),
            ("kvlistValue", Some(b'{')) => return ("string", Cow::Owned(json::quoted(value))),
            _ => {}
        }
    }
    ("string", Cow::Owned(json::quoted(raw)))
}

/// What produced a span: the attributes of its resource, name and version of its scope, all JSON.
struct Origin<'s> {
    attributes: &'s str,
    scope_name: &'s str,
    scope_version: &'s str,
}

impl<'s> Origin<'s> {
    fn of(span: &'s Span) -> Self {
        let mut origin = Origin { attributes: "{}", scope_name: "\"\"", scope_version: "\"\"" };
        let Some(resource) = &span.resource else { return origin };
        for (key, raw) in json::Members::of(resource.content()) {
            match json::inside(key) {
                "attributes" => origin.attributes = raw,
                "scope" => {
                    for (key, raw) in json::Members::of(raw).filter(|(_, raw)| raw.starts_with('"')) {
                        match json::inside(key) {
                            "name" => origin.scope_name = raw,
                            "version" => origin.scope_version = raw,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        origin
    }
}

/// The tags that stand for what OTLP has members for.
fn derived<'s>(span: &'s Span, origin: &Origin<'s>) -> Vec<Tag<'s>> {
    let mut tags = Vec::with_capacity(4);
    for (key, raw) in [("otel.scope.name", origin.scope_name), ("otel.scope.version", origin.scope_version)] {
        if raw != "\"\"" {
            tags.push(Tag::new(key, "string", raw));
        }
    }
    if span.span_kind().is_some() {
        tags.push(Tag::text("span.kind", kind(span)));
    }
    if is_error(span) {
        tags.push(Tag::text("otel.status_code", "ERROR"));
        tags.push(Tag::new("error", "bool", "true"));
    } else if span.otel_status() == Some(OtelStatus::Ok as i64) {
        tags.push(Tag::text("otel.status_code", "OK"));
    }
    for (key, text) in [("otel.status_description", span.status_message()), ("w3c.tracestate", span.trace_state())] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            tags.push(Tag::text(key, text));
        }
    }
    tags
}

fn write_span(text: &mut String, span: &Span, (place, ids): (usize, &Ids), seen: &Seen, process: usize) {
    let trace = trace_id(span.trace_id);
    display(text, format_args!("{{\"traceID\":\"{trace}\",\"spanID\":\"{}\"", ids.at(place)));
    let flags = span.flags().unwrap_or(0) & 0xff;
    if flags != 0 {
        display(text, format_args!(",\"flags\":{flags}"));
    }
    let operation = json::quoted(span.operation().unwrap_or_default());
    display(text, format_args!(",\"operationName\":{operation},\"references\":["));
    let parent = ids.of_parent(seen.parent).map(|id| ("CHILD_OF", trace, id));
    let links = span.links().iter().map(|link| {
        let id = if link.trace_id == span.trace_id { ids.of(link.span_id) } else { low_half(link.span_id) };
        ("FOLLOWS_FROM", trace_id(link.trace_id), id)
    });
    for (index, (kind, trace, id)) in parent.into_iter().chain(links).enumerate() {
        comma(text, index);
        display(text, format_args!("{{\"refType\":\"{kind}\",\"traceID\":\"{trace}\",\"spanID\":\"{id}\"}}"));
    }
    let started_at = span.started_at.or(span.ended_at()).unwrap_or(span.created_at);
    let duration = span.duration_ns().unwrap_or(0).max(0) / 1_000;
    display(text, format_args!("],\"startTime\":{},\"duration\":{duration},\"tags\":", micros(started_at)));
    let own = span.attributes.as_json();
    let beside = otlp::beside(span);
    let added = beside.iter().map(|(key, raw)| (key.as_str(), raw.as_str()));
    let added = added.filter(|(key, _)| !json::Members::of(own).any(|(known, _)| known == *key));
    let tags = json::Members::of(own).chain(added).map(|(key, raw)| Tag::of(key, raw));
    list(text, tags.chain(derived(span, &Origin::of(span))));
    text.push_str(",\"logs\":[");
    for (index, event) in span.events().iter().enumerate() {
        comma(text, index);
        log(text, event, started_at);
    }
    display(text, format_args!("],\"processID\":\"p{process}\",\"warnings\":"));
    sentences(text, &seen.warnings);
    text.push('}');
}

/// An event; of one whose time is not known the span's start is its time.
fn log(text: &mut String, event: &Event, started_at: UnixNanos) {
    let at = micros(event.timestamp.unwrap_or(started_at));
    display(text, format_args!("{{\"timestamp\":{at},\"fields\":"));
    let own = event.attributes.as_json();
    let is_named = !event.name.is_empty() && !json::Members::of(own).any(|(key, _)| json::inside(key) == "event");
    let name = is_named.then(|| Tag::text("event", &event.name));
    list(text, name.into_iter().chain(json::Members::of(own).map(|(key, raw)| Tag::of(key, raw))));
    text.push('}');
}

fn list<'s>(text: &mut String, tags: impl Iterator<Item = Tag<'s>>) {
    text.push('[');
    for (index, Tag { key, kind, value }) in tags.enumerate() {
        comma(text, index);
        display(text, format_args!("{{\"key\":{key},\"type\":\"{kind}\",\"value\":{value}}}"));
    }
    text.push(']');
}

/// A list of sentences; without any, `null`.
fn sentences(text: &mut String, sentences: &[String]) {
    if sentences.is_empty() {
        return text.push_str("null");
    }
    text.push('[');
    for (index, sentence) in sentences.iter().enumerate() {
        comma(text, index);
        text.push_str(&json::quoted(sentence));
    }
    text.push(']');
}

fn comma(text: &mut String, index: usize) {
    if index > 0 {
        text.push(',');
    }
}

fn micros(at: UnixNanos) -> u64 {
    at.as_u64() / 1_000
}

fn display(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(raw: &str) -> String {
        let mut text = String::new();
        list(&mut text, std::iter::once(Tag::of("\"k\"", raw)));
        text
    }

    #[test]
    fn values_keep_their_type_and_are_safe_for_javascript() {
        for (raw, kind, value) in [
            (r#""grüße""#, "string", r#""grüße""#),
            ("true", "bool", "true"),
            ("null", "string", r#""""#),
            ("-1", "int64", "-1"),
            ("9007199254740991", "int64", "9007199254740991"),
            ("9007199254740992", "int64", r#""9007199254740992""#),
            ("-9223372036854775808", "int64", r#""-9223372036854775808""#),
            ("18446744073709551616", "string", r#""18446744073709551616""#),
            ("1.5", "float64", "1.5"),
            ("1e999", "string", r#""1e999""#),
            (r#"{"doubleValue":"NaN"}"#, "float64", r#""NaN""#),
            (r#"{"bytesValue":"AAE="}"#, "binary", r#""AAE=""#),
            (r#"{"kvlistValue":{"bytesValue":"x"}}"#, "string", r#""{\"bytesValue\":\"x\"}""#),
            (r#"{"a":1,"b":[2]}"#, "string", r#""{\"a\":1,\"b\":[2]}""#),
            (r#"["a",1]"#, "string", r#""[\"a\",1]""#),
        ] {
            assert_eq!(written(raw), format!(r#"[{{"key":"k","type":"{kind}","value":{value}}}]"#));
        }
    }

    #[test]
    fn tags_are_compared_by_the_text_that_a_reader_sees() {
        for (raw, text) in [
            (r#""a\"b""#, "a\"b"),
            ("200", "200"),
            ("true", "true"),
            ("9007199254740992", "9007199254740992"),
            (r#"["a"]"#, r#"["a"]"#),
            (r#"{"bytesValue":"AAE="}"#, "AAE="),
        ] {
            let tag = Tag::of(r#""k\u0065y""#, raw);
            assert!(tag.is("key", text), "{raw}");
            assert!(!tag.is("key", "other") && !tag.is("k", text));
        }
    }
}

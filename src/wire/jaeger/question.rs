//! What readers of Jaeger ask, out of the parameters of their requests: durations as Go writes them, times in the unit of
//! each interface, tags, and trace ids in every spelling. Parameters that are unknown or empty say nothing.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::model::ids::{IdError, TraceId};
use crate::model::search::SpanQuery;
use crate::model::time::UnixNanos;
use crate::wire::json;

/// Traces of a search that asks for no number of them.
pub const DEFAULT_LIMIT: usize = 100;
/// The most that a search is given.
pub const MAX_LIMIT: usize = 1_500;
/// How far a search looks back that says not from when, in nanoseconds: two days.
const DEFAULT_LOOKBACK_NS: i64 = 2 * 86_400 * 1_000_000_000;

/// Parameters in their order, decoded.
pub type Parameters = [(String, String)];

/// What `GET /api/traces` is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Legacy {
    /// These traces.
    Traces(Vec<TraceId>),
    Search(SpanQuery),
}

/// Reads the parameters of `GET /api/traces`: times in microseconds, `tag=key:value` and `tags={"key":"value"}`.
///
/// # Errors
/// What is wrong, in Jaeger's words where its readers know them.
pub fn legacy(parameters: &Parameters, now: UnixNanos) -> Result<Legacy, String> {
    let ids = given(parameters, "traceID").map(|text| trace_id(text).map_err(|error| format!("traceID: {error}")));
    let ids: Vec<TraceId> = ids.collect::<Result<_, _>>()?;
    if !ids.is_empty() {
        return Ok(Legacy::Traces(ids));
    }
    let service = one(parameters, "service").ok_or("parameter 'service' is required")?;
    let micros = |name: &str| match one(parameters, name) {
        Some(text) => number(name, text).map(|micros| Some(after_1970(micros, 1_000))),
        None => Ok(None),
    };
    let (from, to) = (micros("start")?, micros("end")?);
    let query = SpanQuery {
        service: Some(service.to_owned()),
        operation: one(parameters, "operation").map(str::to_owned),
        tags: legacy_tags(parameters)?,
        min_duration_ns: duration_of(parameters, "minDuration")?,
        max_duration_ns: duration_of(parameters, "maxDuration")?,
        from: from.unwrap_or_else(|| now.plus(-DEFAULT_LOOKBACK_NS)),
        // What starts within the last microsecond is asked for, too.
        to: to.unwrap_or(now).plus(1_000),
        limit: limit("limit", one(parameters, "limit"))?,
    };
    checked(query).map(Legacy::Search)
}

/// Reads the parameters of `GET /api/v3/traces` and `/api/v3/trace-summaries`: each in camelCase or snake_case, with
/// `query.` before it or without.
///
/// # Errors
/// What is wrong.
pub fn v3(parameters: &Parameters) -> Result<SpanQuery, String> {
    let named: Vec<(String, String)> = parameters.iter().map(|(key, value)| (plain(key), value.clone())).collect();
    let instant = |name: &str, told: &str| {
        let text = one(&named, name).ok_or_else(|| format!("query.{told} is required"))?;
        // A `+` that was not escaped came as a space.
        let text = if text.contains('T') { text.replace(' ', "+") } else { text.to_owned() };
        UnixNanos::parse_rfc3339(&text).map_err(|error| format!("query.{told}: {} {error}", json::excerpt(&text)))
    };
    let tags = one(&named, "attributes").map(|text| tag_map("query.attributes", text)).transpose()?.unwrap_or_default();
    checked(SpanQuery {
        service: one(&named, "servicename").map(str::to_owned),
        operation: one(&named, "operationname").map(str::to_owned),
        tags: tags.into_iter().collect(),
        min_duration_ns: duration_of(&named, "durationmin")?,
        max_duration_ns: duration_of(&named, "durationmax")?,
        from: instant("starttimemin", "startTimeMin")?,
        to: instant("starttimemax", "startTimeMax")?,
        limit: limit("query.searchDepth", one(&named, "searchdepth").or(one(&named, "numtraces")))?,
    })
}

/// From when and until when `GET /api/dependencies` is asked: `endTs` and `lookback` in milliseconds.
///
/// # Errors
/// What is no number.
pub fn dependencies(parameters: &Parameters, now: UnixNanos) -> Result<(UnixNanos, UnixNanos), String> {
    const DAY_MS: i64 = 86_400_000;
    let millis = |name: &str| one(parameters, name).map(|text| number(name, text)).transpose();
    let to = millis("endTs")?.map_or(now, |millis| after_1970(millis, 1_000_000));
    let back = millis("lookback")?.unwrap_or(DAY_MS).max(0);
    Ok((to.plus(back.saturating_mul(-1_000_000)), to))
}

/// The first value of a parameter that has one.
pub fn one<'p>(parameters: &'p Parameters, name: &str) -> Option<&'p str> {
    given(parameters, name).next()
}

/// A trace id as Jaeger takes it: what [`TraceId::parse`] reads, up to 32 hex digits, or the base64 of 16 or 8 bytes.
///
/// # Errors
/// What [`TraceId::parse`] says.
pub fn trace_id(text: &str) -> Result<TraceId, IdError> {
    let parsed = TraceId::parse(text);
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match parsed {
        Err(IdError::Length { .. }) if is_hex && text.len() < 32 => TraceId::parse(&format!("{text:0>32}")),
        Err(error @ (IdError::Length { .. } | IdError::Alphabet { .. })) => from_base64(text).ok_or(error),
        parsed => parsed,
    }
}

fn from_base64(text: &str) -> Option<TraceId> {
    if text.len() > 24 {
        return None;
    }
    // A `+` that was not escaped came as a space.
    let text = text.replace(' ', "+");
    let bytes =
        [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|base| base.decode(&text).ok())?;
    let mut wide = [0u8; 16];
    match bytes.len() {
        16 => wide.copy_from_slice(&bytes),
        8 => wide[8..].copy_from_slice(&bytes),
        _ => return None,
    }
    TraceId::from_bytes(wide).ok()
}

/// A duration as Go writes it, `1m30s` or `1.5ms`, in nanoseconds; not negative.
///
/// # Errors
/// That it is none.
/// Source: <https://pkg.go.dev/time#ParseDuration>.
pub fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", json::excerpt(text));
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    let mut total = 0f64;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(|| missing_unit(text))?;
        let (value, after) = rest.split_at(digits);
        let value: f64 = value.parse().map_err(|_| invalid())?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let unit = match unit {
            "ns" => 1e0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3_600e9,
            _ => return Err(invalid()),
        };
        total += value * unit;
        rest = next;
        parts += 1;
    }
    // The largest that 64 bits hold: 292 years.
    if parts == 0 || total >= 9.2e18 {
        return Err(invalid());
    }
    Ok(total.round() as i64)
}

fn missing_unit(text: &str) -> String {
    format!("time: missing unit in duration {}", json::excerpt(text))
}

fn given<'p>(parameters: &'p Parameters, name: &str) -> impl Iterator<Item = &'p str> {
    let of = move |(key, value): &'p (String, String)| (key == name && !value.is_empty()).then_some(value.as_str());
    parameters.iter().filter_map(of)
}

/// A name in v3, whichever way it is spelt.
fn plain(key: &str) -> String {
    key.strip_prefix("query.").unwrap_or(key).chars().filter(|c| *c != '_').collect::<String>().to_ascii_lowercase()
}

fn number(name: &str, text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("unable to parse param '{name}': {} is no integer", json::excerpt(text)))
}

/// A number of units since 1970; before is 1970.
fn after_1970(count: i64, unit_ns: u64) -> UnixNanos {
    UnixNanos::new(u64::try_from(count).unwrap_or(0).saturating_mul(unit_ns))
}

fn duration_of(parameters: &Parameters, name: &str) -> Result<Option<i64>, String> {
    let read = |text| duration(text).map_err(|reason| format!("unable to parse param '{name}': {reason}"));
    one(parameters, name).map(read).transpose()
}

fn limit(name: &str, text: Option<&str>) -> Result<usize, String> {
    match text.map(|text| number(name, text)).transpose()? {
        None | Some(0) => Ok(DEFAULT_LIMIT),
        Some(limit) => match usize::try_from(limit) {
            Ok(limit) if limit <= MAX_LIMIT => Ok(limit),
            Ok(_) => Err(format!("unable to parse param '{name}': at most {MAX_LIMIT} traces are found at a time")),
            Err(_) => Err(format!("unable to parse param '{name}': {limit} is negative")),
        },
    }
}

fn legacy_tags(parameters: &Parameters) -> Result<Vec<(String, String)>, String> {
    let mut tags = BTreeMap::new();
    for text in given(parameters, "tag") {
        let (key, value) = text.split_once(':').ok_or_else(|| {
            format!("malformed 'tag' parameter, expecting key:value, received: {}", json::excerpt(text))
        })?;
        tags.insert(key.to_owned(), value.to_owned());
    }
    for text in given(parameters, "tags") {
        tags.extend(tag_map("tags", text)?);
    }
    Ok(tags.into_iter().collect())
}

fn tag_map(name: &str, text: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text).map_err(|error| format!("malformed '{name}' parameter, cannot unmarshal JSON: {error}"))
}

fn checked(query: SpanQuery) -> Result<SpanQuery, String> {
    match (query.min_duration_ns, query.max_duration_ns) {
        (Some(min), Some(max)) if max < min => Err("'maxDuration' should be greater than 'minDuration'".to_owned()),
        _ => Ok(query),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = UnixNanos::new(1_767_607_200_000_000_000);

    fn pairs(text: &str) -> Vec<(String, String)> {
        let pair = |part: &str| part.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        text.split('&').filter_map(pair).collect()
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, ns) in [
            ("0", 0),
            ("1.5s", 1_500_000_000),
            ("100us", 100_000),
            ("100µs", 100_000),
            ("1m30s", 90_000_000_000),
            ("2h45m", 9_900_000_000_000),
            (".5ms", 500_000),
            ("1ns", 1),
        ] {
            assert_eq!(duration(text), Ok(ns), "{text}");
        }
        for text in ["", "1", "1.5", "s", "1x", "-1s", "1s2", "1..5s", "one", "999999999h", "1 s", "NaNs", "infs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn trace_ids_are_taken_in_every_spelling_of_jaegers_readers() {
        let id = TraceId::parse("0000000000000abc60718293a4b5c6d7").unwrap();
        for text in ["abc60718293a4b5c6d7", "ABC60718293a4b5c6d7", "0000000000000abc60718293A4B5C6D7"] {
            assert_eq!(trace_id(text), Ok(id), "{text}");
        }
        for text in [STANDARD.encode(id.as_bytes()), URL_SAFE_NO_PAD.encode(id.as_bytes())] {
            assert_eq!(trace_id(&text), Ok(id), "{text}");
        }
        assert_eq!(trace_id("1").unwrap().to_string(), "0".repeat(31) + "1");
        for text in ["", "0", "xyz", "../../etc", &"a".repeat(33), "AAAG", "grüße"] {
            assert!(trace_id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_legacy_search_reads_every_parameter_and_empty_ones_say_nothing() {
        let text = "service=shop&operation=&tag=a:b:c&tag=error:true&tags={\"x\":\"1\"}&minDuration=1ms&maxDuration=&limit=20\
                    &start=1767607100000000&end=1767607200000000&lookback=1h";
        let Ok(Legacy::Search(query)) = legacy(&pairs(text), NOW) else { panic!("{text}") };
        let tags = [("a", "b:c"), ("error", "true"), ("x", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let expected = SpanQuery {
            service: Some("shop".into()),
            operation: None,
            tags: tags.into(),
            min_duration_ns: Some(1_000_000),
            max_duration_ns: None,
            from: NOW.plus(-100_000_000_000),
            to: NOW.plus(1_000),
            limit: 20,
        };
        assert_eq!(query, expected);
        let Ok(Legacy::Search(query)) = legacy(&pairs("service=shop&limit=0"), NOW) else { panic!() };
        assert_eq!((query.from, query.limit), (NOW.plus(-DEFAULT_LOOKBACK_NS), DEFAULT_LIMIT));
        assert!(matches!(legacy(&pairs("traceID=1&traceID=2"), NOW), Ok(Legacy::Traces(ids)) if ids.len() == 2));
    }

    #[test]
    fn what_is_wrong_with_a_search_is_said() {
        for (text, reason) in [
            ("operation=x", "'service' is required"),
            ("service=", "'service' is required"),
            ("service=a&start=yesterday", "'start'"),
            ("service=a&limit=many", "'limit'"),
            ("service=a&limit=-1", "negative"),
            ("service=a&limit=1501", "at most 1500"),
            ("service=a&minDuration=5", "missing unit"),
            ("service=a&minDuration=2s&maxDuration=1s", "greater than"),
            ("service=a&tag=b", "key:value"),
            ("service=a&tags={\"a\":1}", "JSON"),
            ("traceID=zz", "traceID"),
        ] {
            let error = legacy(&pairs(text), NOW).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        for (text, reason) in [
            ("query.serviceName=a", "query.startTimeMin is required"),
            ("query.startTimeMin=2026-01-05T10:00:00Z", "query.startTimeMax is required"),
            ("query.startTimeMin=x&query.startTimeMax=y", "RFC 3339"),
        ] {
            let error = v3(&pairs(text)).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn v3_is_read_in_both_spellings() {
        let camel = "query.serviceName=a/b&query.operationName=o&query.startTimeMin=2026-01-05T09:00:00Z&query.startTimeMax=\
                     2026-01-05T10:00:00.000000001Z&query.durationMin=1s&query.durationMax=2s&query.searchDepth=7\
                     &query.attributes={\"k\":\"v\"}";
        let snake = "query.service_name=a/b&query.operation_name=o&query.start_time_min=2026-01-05T10:00:00 01:00&\
                     query.start_time_max=2026-01-05T10:00:00.000000001Z&query.duration_min=1s&query.duration_max=2s\
                     &query.num_traces=7&query.attributes={\"k\":\"v\"}";
        let query = v3(&pairs(camel)).unwrap();
        assert_eq!(query, v3(&pairs(snake)).unwrap());
        assert_eq!((query.from, query.to, query.limit), (NOW.plus(-3_600_000_000_000), NOW.plus(1), 7));
        assert_eq!((query.min_duration_ns, query.service.as_deref()), (Some(1_000_000_000), Some("a/b")));
    }

    #[test]
    fn dependencies_count_in_milliseconds() {
        let text = "endTs=1767607200000&lookback=1000";
        assert_eq!(dependencies(&pairs(text), NOW), Ok((NOW.plus(-1_000_000_000), NOW)));
        assert_eq!(dependencies(&pairs(""), NOW), Ok((NOW.plus(-86_400_000_000_000), NOW)));
        assert!(dependencies(&pairs("endTs=now"), NOW).is_err());
    }
}

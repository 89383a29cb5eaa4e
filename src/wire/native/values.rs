//! What single members mean: times, statuses, errors, tokens, money and plain fields, each in the forms that callers use.

use std::borrow::Cow;

use super::keys;
use crate::model::span::{Field, FieldType, FieldValue, OtelStatus, SpanKind, Status};
use crate::model::time::{TimeError, UnixNanos};
use crate::wire::json;
use crate::wire::normalize::{Draft, Fault, Given, Origin, canonical_trace, int_of};
use crate::wire::number::{self, Unit};

/// Two instants that differ by less are one, told twice with different precision.
const SAME_INSTANT_NS: u64 = 1_000_000;

/// An instant: RFC 3339, or a number where the name says its unit. Not set are an empty text, Go's zero time, and the
/// number 0. Of two names that agree to the millisecond the more precise one counts.
pub(super) fn time<'a>(
    place: &mut Option<Given<'a, UnixNanos>>,
    name: &'a str,
    raw: &str,
    unit: Option<Unit>,
) -> Result<(), Fault> {
    let Some(at) = instant(name, raw, unit)? else { return Ok(()) };
    match place {
        Some(given) if given.value.since(at).unsigned_abs() < SAME_INSTANT_NS => {
            if given.value.as_u64().is_multiple_of(SAME_INSTANT_NS) {
                *given = Given { value: at, name };
            }
            Ok(())
        }
        _ => Given::put(place, name, at),
    }
}

/// The instant that a member tells; `None` if it says that there is none.
pub(super) fn instant(name: &str, raw: &str, unit: Option<Unit>) -> Result<Option<UnixNanos>, Fault> {
    let wrong = |text: &str, what: &str| Fault::of(name, format_args!("{what}: {}", json::excerpt(text)));
    let text = match raw.as_bytes().first() {
        Some(b'"') => json::string(raw).map_err(|lone| Fault::lone_surrogate(name, &lone))?,
        Some(b'-' | b'0'..=b'9') => Cow::Borrowed(raw),
        Some(b'n') => return Ok(None),
        _ => return Err(Fault::of(name, format_args!("is {}, not a time", json::kind(raw)))),
    };
    if text.is_empty() || UnixNanos::is_go_zero(&text) {
        return Ok(None);
    }
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    match unit {
        Some(unit) if is_number => {
            let at = number::instant(&text, unit).map_err(|what| wrong(&text, what))?;
            Ok(Some(at).filter(|at| at.as_u64() != 0))
        }
        None if is_number && number::Decimal::parse(&text).is_some() => Err(wrong(
            &text,
            &format!("is a bare number; send RFC 3339, or name the unit: {name}_ms, {name}_unix_nano"),
        )),
        _ => match UnixNanos::parse_rfc3339(&text) {
            Ok(at) => Ok(Some(at)),
            Err(TimeError::Spelling) if is_far_year(&text) => Err(wrong(&text, &TimeError::Range.to_string())),
            Err(error) => Err(wrong(&text, &error.to_string())),
        },
    }
}

/// Whether a text looks like an RFC 3339 time that is out of range only: calendars stop at the year 9999.
fn is_far_year(text: &str) -> bool {
    text.starts_with("9999-12-3") && text.as_bytes().get(10).is_some_and(|byte| matches!(byte, b'T' | b't' | b' '))
}

/// How long the span took, from which the end is found where it is not told.
pub(super) fn duration<'a>(draft: &mut Draft<'a, '_>, name: &'a str, raw: &'a str, unit: Unit) -> Result<(), Fault> {
    let text = match raw.as_bytes().first() {
        Some(b'"') => json::inside(raw),
        Some(b'-' | b'0'..=b'9') => raw,
        _ => return Err(Fault::of(name, format_args!("is {}, not a number", json::kind(raw)))),
    };
    if text.is_empty() {
        return Ok(());
    }
    let value = number::duration_ns(text, unit)
        .map_err(|what| Fault::of(name, format_args!("{what}: {}", json::excerpt(text))))?;
    match &mut draft.duration_ns {
        Some(given) if given.value.abs_diff(value) < SAME_INSTANT_NS => {
            if given.value.unsigned_abs().is_multiple_of(SAME_INSTANT_NS) {
                *given = Given { value, name };
                draft.duration_raw = raw;
            }
            Ok(())
        }
        place => {
            draft.duration_raw = raw;
            Given::put(place, name, value)
        }
    }
}

const STATUSES: &str = "pending (queued), running (started, in_progress), completed (ok, success, succeeded), \
    failed (error, timeout, failure), cancelled (canceled), skipped";

/// A status in our words, in OpenTelemetry's, or as OpenTelemetry's object `{code, message}`.
pub(super) fn status<'a>(draft: &mut Draft<'a, '_>, name: &'a str, raw: &'a str) -> Result<(), Fault> {
    if raw.starts_with('{') {
        return status_object(draft, name, raw);
    }
    let text = match raw.starts_with('"') {
        true => json::string(raw).map_err(|lone| Fault::lone_surrogate(name, &lone))?,
        false => Cow::Borrowed(raw),
    };
    if text.is_empty() {
        return Ok(());
    }
    match (Status::parse(&text), OtelStatus::parse(&text)) {
        (Some(status), _) => Given::put(&mut draft.status, name, status),
        (None, Some(code)) => draft.fields.put(Field::OtelStatus, name, FieldValue::Int(code as i64)),
        (None, None) => {
            Err(Fault::of(name, format_args!("is unknown: {}; accepted are {STATUSES}", json::excerpt(&text))))
        }
    }
}

fn status_object<'a>(draft: &mut Draft<'a, '_>, name: &'a str, raw: &'a str) -> Result<(), Fault> {
    let mut other = false;
    json::for_each_member(raw, |key, value| match json::inside(key) {
        _ if json::is_null(value) => Ok(()),
        "code" => match otel_code(value) {
            Some(code) => draft.fields.put(Field::OtelStatus, name, FieldValue::Int(code as i64)),
            None if value.starts_with('"') => status(draft, name, value),
            None => Err(Fault::of(name, format_args!("has an unknown code: {}", json::excerpt(value)))),
        },
        "message" | "description" => field(draft, Field::StatusMessage, name, value),
        _ => {
            other = true;
            Ok(())
        }
    })?;
    if other { keep_as_attribute(draft, name, raw) } else { Ok(()) }
}

/// `status_code` is OpenTelemetry's where it is one of its codes, and else most likely HTTP's: an attribute.
pub(super) fn status_code<'a>(draft: &mut Draft<'a, '_>, name: &'a str, raw: &'a str) -> Result<(), Fault> {
    match otel_code(raw) {
        Some(code) => draft.fields.put(Field::OtelStatus, name, FieldValue::Int(code as i64)),
        None => keep_as_attribute(draft, name, raw),
    }
}

fn otel_code(raw: &str) -> Option<OtelStatus> {
    match number::integer(raw.trim_matches('"')) {
        Ok(code) => OtelStatus::from_number(code),
        Err(_) => OtelStatus::parse(json::inside(raw)),
    }
}

/// An error: a text, `true`, or an object with message, type and stack. What it holds beside those stays an attribute.
pub(super) fn error<'a>(draft: &mut Draft<'a, '_>, name: &'a str, raw: &'a str) -> Result<(), Fault> {
    match raw.as_bytes().first() {
        Some(b'f') => keep_as_attribute(draft, name, raw),
        Some(b't' | b'[') => {
            draft.failed = true;
            keep_as_attribute(draft, name, raw)
        }
        Some(b'{') => {
            let mut other = false;
            json::for_each_member(raw, |key, value| {
                draft.failed = true;
                let target = match json::inside(key) {
                    "message" | "msg" => Field::ErrorMessage,
                    "type" | "name" | "class" => Field::ErrorType,
                    "stack" | "stacktrace" | "stack_trace" | "stackTrace" | "traceback" => Field::ErrorStack,
                    _ => {
                        other |= !json::is_null(value);
                        return Ok(());
                    }
                };
                if json::is_null(value) { Ok(()) } else { field(draft, target, name, value) }
            })?;
            if other { keep_as_attribute(draft, name, raw) } else { Ok(()) }
        }
        _ => field(draft, Field::ErrorMessage, name, raw),
    }
}

/// Token counts by their short names; a total, which no field holds, and unknown counts become attributes.
pub(super) fn tokens<'a>(draft: &mut Draft<'a, '_>, name: &'a str, raw: &'a str) -> Result<(), Fault> {
    if !raw.starts_with('{') {
        if int(Field::InputTokens, name, raw)?.is_none() {
            return Ok(());
        }
        let Draft { attributes, bounds, .. } = draft;
        return attributes.push(bounds, Cow::Borrowed("total_tokens"), raw, 1, Origin::Span);
    }
    json::for_each_member(raw, |key, value| {
        let key = draft.bounds.key(key)?;
        if json::is_null(value) {
            return Ok(());
        }
        if let Some(field) = keys::token_field(&key) {
            let full_name = format!("{name}.{key}");
            return match int(field, &full_name, value)? {
                Some(count) => draft.fields.put(field, name, FieldValue::Int(count)),
                None => Ok(()),
            };
        }
        let Draft { attributes, bounds, .. } = draft;
        let key = match &*key {
            "total" | "total_tokens" | "totalTokens" => Cow::Borrowed("total_tokens"),
            _ => Cow::Owned(format!("{name}.{key}")),
        };
        attributes.push(bounds, key, value, 2, Origin::Span)
    })
}

/// Money in US dollars: a number, its text, or an object with a total, whose other parts stay an attribute.
pub(super) fn cost<'a>(draft: &mut Draft<'a, '_>, name: &'a str, raw: &'a str) -> Result<(), Fault> {
    let text = match raw.as_bytes().first() {
        Some(b'{') => {
            keep_as_attribute(draft, name, raw)?;
            return json::for_each_member(raw, |key, value| match json::inside(key) {
                "total" | "total_cost" | "usd" if !json::is_null(value) && !json::is_container(value) => {
                    cost(draft, name, value)
                }
                _ => Ok(()),
            });
        }
        Some(b'"') => json::inside(raw),
        Some(b'-' | b'0'..=b'9') => raw,
        _ => return Err(Fault::of(name, format_args!("is {}, not an amount of US dollars", json::kind(raw)))),
    };
    if text.is_empty() {
        return Ok(());
    }
    let pico =
        number::pico_dollars(text).map_err(|what| Fault::of(name, format_args!("{what}: {}", json::excerpt(text))))?;
    draft.fields.put(Field::CostPico, name, FieldValue::Int(pico))
}

pub(super) fn revision<'a>(draft: &mut Draft<'a, '_>, name: &'a str, raw: &str) -> Result<(), Fault> {
    let text = raw.trim_matches('"');
    let revision = match text.parse::<u64>() {
        Ok(revision) => revision,
        Err(_) => match int(Field::RetryCount, name, raw)? {
            Some(revision) => revision.unsigned_abs(),
            None => return Ok(()),
        },
    };
    Given::put(&mut draft.revision, name, revision)
}

/// A plain field.
pub(super) fn field<'a>(draft: &mut Draft<'a, '_>, field: Field, name: &'a str, raw: &'a str) -> Result<(), Fault> {
    match (field, field.field_type()) {
        (Field::Kind, _) => kind(draft, name, raw),
        (Field::OtelStatus, _) => match otel_code(raw) {
            Some(code) => draft.fields.put(field, name, FieldValue::Int(code as i64)),
            None if raw == "\"\"" => Ok(()),
            None => Err(Fault::of(
                name,
                format_args!("is {}; accepted are unset, ok, error and 0 to 2", json::excerpt(raw)),
            )),
        },
        (_, FieldType::Int) => match int(field, name, raw)? {
            Some(value) => draft.fields.put(field, name, FieldValue::Int(value)),
            None => Ok(()),
        },
        (_, FieldType::Json) => {
            let limit = draft.bounds.limits.max_content_bytes;
            let text = draft.bounds.json((name, field.name()), raw, 1, limit)?;
            draft.fields.put(field, name, FieldValue::Text(text.into()))
        }
        (_, FieldType::Text) => match text(draft, field, name, raw)? {
            Some(text) => draft.fields.put(field, name, FieldValue::Text(text.into())),
            None => Ok(()),
        },
    }
}

/// A role in a call. What is none of OpenTelemetry's stays an attribute: other systems call other things so.
fn kind<'a>(draft: &mut Draft<'a, '_>, name: &'a str, raw: &'a str) -> Result<(), Fault> {
    let kind = match number::integer(raw.trim_matches('"')) {
        Ok(0) => return Ok(()),
        Ok(number) => SpanKind::from_number(number),
        Err(_) => SpanKind::parse(json::inside(raw)),
    };
    match kind {
        Some(kind) => draft.fields.put(Field::Kind, name, FieldValue::Int(kind as i64)),
        None if raw == "\"\"" || raw.eq_ignore_ascii_case("\"span_kind_unspecified\"") => Ok(()),
        None => keep_as_attribute(draft, name, raw),
    }
}

fn int(field: Field, name: &str, raw: &str) -> Result<Option<i64>, Fault> {
    int_of(field, raw).map_err(|what| Fault::of(name, what))
}

/// A text: a string, or a number or boolean as it was written. `None` for an empty one. Objects and arrays are accepted
/// where prose is expected, as their JSON text.
fn text<'a>(draft: &mut Draft<'_, '_>, field: Field, name: &str, raw: &'a str) -> Result<Option<Cow<'a, str>>, Fault> {
    let text = match raw.as_bytes().first() {
        Some(b'"') => json::string(raw).map_err(|lone| Fault::lone_surrogate(name, &lone))?,
        Some(b'{' | b'[') => {
            let takes_structure = matches!(
                field,
                Field::ErrorMessage | Field::ErrorStack | Field::StatusMessage | Field::Decision | Field::Result
            );
            if !takes_structure {
                return Err(Fault::of(name, format_args!("is {}, not a text", json::kind(raw))));
            }
            // As JSON it is checked for depth and surrogates; as a text it is cut below.
            draft.bounds.json((name, field.name()), raw, 1, usize::MAX)?
        }
        _ => Cow::Borrowed(raw),
    };
    let text = draft.bounds.field(field, text);
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(if field == Field::ParentTraceId { canonical_trace(text) } else { text }))
}

fn keep_as_attribute<'a>(draft: &mut Draft<'a, '_>, name: &'a str, raw: &'a str) -> Result<(), Fault> {
    let Draft { attributes, bounds, .. } = draft;
    attributes.push(bounds, Cow::Borrowed(name), raw, 1, Origin::Span)
}

//! A tiny language for traces, so that tests and examples show the trace they speak of.
//!
//! `a[0..90](b[10..40]! c[50..80])` is a span `a` of 90 ms with two children, of which `b` failed.
//!
//! | written | means |
//! |---|---|
//! | `name` | an operation; `service:name` also names its service; `"any text"` where the name needs it |
//! | `[10..40]` | start and end in milliseconds after [`START`]; decimals and negative numbers are fine |
//! | `[10..]`, `[..40]` | still running; a completion whose start never came |
//! | `!`, `!"message"` | failed |
//! | `{field=value …}` | any [`Field`] by its column's name, and `kind=client`, `status=cancelled`, `revision=2` |
//! | `{skew=120}` | this span and all below it were timed by a clock that is 120 ms ahead |
//! | `{heard=900}` | when the service last heard of it; otherwise its last known time |
//! | `#7` | its span id; otherwise spans are numbered from 1 as they are written |
//! | `^9` | the parent id it gives, in place of the span it is written in: orphans, cycles |
//! | `( … )` | its children |

use std::iter::Peekable;
use std::str::CharIndices;

use super::ids::{SpanId, TraceId};
use super::span::{End, Field, FieldType, Span, SpanKind, Status};
use super::tenant::TenantId;
use super::time::UnixNanos;
use super::trace::Trace;

/// The instant that a sketch's times count from: 2026-01-05T10:00:00Z.
pub const START: UnixNanos = UnixNanos::new(1_767_607_200_000_000_000);

/// The instant `ms` milliseconds after [`START`].
pub const fn at_ms(ms: u64) -> UnixNanos {
    UnixNanos::new(START.as_u64() + ms * 1_000_000)
}

/// Why a text is no sketch, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at} of the sketch: {reason}")]
pub struct SketchError {
    pub at: usize,
    pub reason: String,
}

/// Reads a sketch as a trace of the default tenant whose id is `7f3c0a1b2c3d4e5f60718293a4b5c6d7`. Depth is bounded by
/// memory only.
///
/// # Errors
/// [`SketchError`] with the place that could not be read.
pub fn trace(text: &str) -> Result<Trace, SketchError> {
    let trace_id = TraceId::from_bytes([
        0x7f, 0x3c, 0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f, 0x60, 0x71, 0x82, 0x93, 0xa4, 0xb5, 0xc6, 0xd7,
    ])
    .map_err(|error| SketchError { at: 0, reason: error.to_string() })?;
    let spans = Reader { text, chars: text.char_indices().peekable(), trace_id }.spans()?;
    Ok(Trace::new(TenantId::default(), trace_id, spans, false))
}

struct Reader<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
    trace_id: TraceId,
}

/// What the children of a span inherit.
#[derive(Clone, Copy)]
struct Scope {
    parent: Option<SpanId>,
    skew_ns: i64,
}

impl<'a> Reader<'a> {
    fn spans(mut self) -> Result<Vec<Span>, SketchError> {
        let mut spans: Vec<Span> = Vec::new();
        let mut scopes = Vec::new();
        let mut scope = Scope { parent: None, skew_ns: 0 };
        let mut inner = scope;
        loop {
            self.skip_spaces();
            match self.peek() {
                None if scopes.is_empty() => return Ok(spans),
                None => return Err(self.error("a parenthesis is not closed")),
                Some('(') if !spans.is_empty() => {
                    self.chars.next();
                    scopes.push(scope);
                    scope = inner;
                }
                Some(')') => {
                    self.chars.next();
                    scope = scopes.pop().ok_or_else(|| self.error("a parenthesis closes that was not opened"))?;
                }
                Some(_) => {
                    let (span, skew_ns) = self.span(spans.len() as u128 + 1, scope)?;
                    inner = Scope { parent: Some(span.span_id), skew_ns };
                    spans.push(span);
                }
            }
        }
    }

    /// One span without its children, and the skew of its clock.
    fn span(&mut self, number: u128, scope: Scope) -> Result<(Span, i64), SketchError> {
        let id = SpanId::from_u128(number).map_err(|error| self.error(&error.to_string()))?;
        let mut span = Span::new(TenantId::default(), self.trace_id, id, START);
        span.parent_span_id = scope.parent;
        let name = if self.peek() == Some('"') { self.quoted()? } else { self.word()? };
        match name.split_once(':') {
            Some((service, operation)) => {
                span.fields.set_text(Field::Service, service);
                span.fields.set_text(Field::Operation, operation);
            }
            None => span.fields.set_text(Field::Operation, name),
        }

        let (mut times, mut extra) = ((None, None), Extra { skew_ns: scope.skew_ns, ..Extra::default() });
        let mut failed = false;
        while let Some(mark) = self.peek() {
            match mark {
                '[' => times = self.times()?,
                '!' => {
                    self.chars.next();
                    failed = true;
                    if self.peek() == Some('"') {
                        let message = self.quoted()?;
                        span.fields.set_text(Field::ErrorMessage, message);
                    }
                }
                '#' => span.span_id = self.id()?,
                '^' => span.parent_span_id = Some(self.id()?),
                '{' => self.braces(&mut span, &mut extra)?,
                _ => break,
            }
        }

        let instant = |ns: i64| START.plus(ns.saturating_add(extra.skew_ns));
        span.started_at = times.0.map(instant);
        span.end = times.1.map(|ns| End::At(instant(ns)));
        span.status = match extra.status {
            Some(status) => status,
            None if failed => Status::Failed,
            None if span.end.is_some() => Status::Completed,
            None => Status::Running,
        };
        span.created_at = span.started_at.or(span.ended_at()).unwrap_or(START);
        span.seen_at =
            extra.heard_at.unwrap_or_else(|| span.ended_at().unwrap_or(span.created_at).max(span.created_at));
        if span.is_ended() {
            // Sent as a whole.
            span.created_at = span.seen_at;
        }
        Ok((span, extra.skew_ns))
    }

    fn times(&mut self) -> Result<(Option<i64>, Option<i64>), SketchError> {
        let text = self.enclosed(']')?;
        let (start, end) = text.split_once("..").ok_or_else(|| self.error("times are written [start..end]"))?;
        let side = |text: &str| match text.trim() {
            "" => Ok(None),
            ms => nanos(ms).map(Some).ok_or_else(|| self.error("a time is a number of milliseconds")),
        };
        Ok((side(start)?, side(end)?))
    }

    fn braces(&mut self, span: &mut Span, extra: &mut Extra) -> Result<(), SketchError> {
        self.chars.next();
        loop {
            self.skip_spaces();
            if self.peek() == Some('}') {
                self.chars.next();
                return Ok(());
            }
            let key = self.word()?;
            if self.peek() != Some('=') {
                return Err(self.error("a field is written name=value"));
            }
            self.chars.next();
            let value = if self.peek() == Some('"') { self.quoted()? } else { self.word()? };
            set(span, extra, key, value).ok_or_else(|| self.error(&format!("{key:?} cannot be {value:?}")))?;
        }
    }

    fn id(&mut self) -> Result<SpanId, SketchError> {
        self.chars.next();
        let word = self.word()?;
        SpanId::parse(word).map_err(|error| self.error(&format!("the id {word:?} {error}")))
    }

    fn word(&mut self) -> Result<&'a str, SketchError> {
        let from = self.at();
        while self.chars.next_if(|(_, c)| !c.is_whitespace() && !"()[]{}!#^=\"".contains(*c)).is_some() {}
        let word = &self.text[from..self.at()];
        if word.is_empty() { Err(self.error("a name or value is missing")) } else { Ok(word) }
    }

    fn quoted(&mut self) -> Result<&'a str, SketchError> {
        self.enclosed('"')
    }

    /// The text after this character up to `close`, which is passed.
    fn enclosed(&mut self, close: char) -> Result<&'a str, SketchError> {
        self.chars.next();
        let from = self.at();
        while self.chars.next_if(|(_, c)| *c != close).is_some() {}
        let text = &self.text[from..self.at()];
        match self.chars.next() {
            Some(_) => Ok(text),
            None => Err(self.error(&format!("{close:?} is missing"))),
        }
    }

    fn skip_spaces(&mut self) {
        while self.chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    fn error(&self, reason: &str) -> SketchError {
        let at = self.chars.clone().peek().map_or(self.text.len(), |(at, _)| *at);
        SketchError { at, reason: reason.to_owned() }
    }
}

/// What braces may say of a span that is not one of its fields.
#[derive(Default)]
struct Extra {
    skew_ns: i64,
    status: Option<Status>,
    heard_at: Option<UnixNanos>,
}

/// `None` if the key is unknown or the value does not suit it.
fn set(span: &mut Span, extra: &mut Extra, key: &str, value: &str) -> Option<()> {
    match key {
        "skew" => extra.skew_ns = extra.skew_ns.saturating_add(nanos(value)?),
        "heard" => extra.heard_at = Some(START.plus(nanos(value)?)),
        "status" => extra.status = Some(Status::parse(value)?),
        "revision" => span.revision = value.parse().ok()?,
        "kind" => span.fields.set_int(Field::Kind, SpanKind::parse(value)? as i64),
        _ => {
            let field = Field::parse(key)?;
            match field.field_type() {
                FieldType::Int => span.fields.set_int(field, value.parse().ok()?),
                FieldType::Text | FieldType::Json => span.fields.set_text(field, value),
            }
        }
    }
    Some(())
}

/// Milliseconds, with up to six decimals, as nanoseconds.
fn nanos(ms: &str) -> Option<i64> {
    let (negative, digits) = ms.strip_prefix('-').map_or((false, ms), |digits| (true, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 6 || !numeric(whole) || !numeric(decimals) {
        return None;
    }
    let fraction: i64 = format!("{decimals:0<6}").parse().ok()?;
    let ns = whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)?;
    Some(if negative { -ns } else { ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sketch_is_the_trace_it_shows() {
        let trace = trace(
            r#"runner:ask[0..90]{execution_id=12 kind=client}(b[10..40.5]!"out of memory" "c d"[50..]{skew=5}(e)) f^f0[..7]"#,
        )
        .unwrap();
        let find = |operation: &str| trace.spans.iter().find(|span| span.operation() == Some(operation)).unwrap();
        let ask = find("ask");
        assert_eq!((ask.service(), ask.execution_id(), ask.kind()), (Some("runner"), Some("12"), Some(3)));
        assert_eq!((ask.status, ask.duration_ns(), ask.parent_span_id), (Status::Completed, Some(90_000_000), None));
        let b = find("b");
        assert_eq!((b.status, b.error_message()), (Status::Failed, Some("out of memory")));
        assert_eq!((b.duration_ns(), b.parent_span_id), (Some(30_500_000), Some(ask.span_id)));
        let c = find("c d");
        assert_eq!((c.status, c.started_at, c.end), (Status::Running, Some(at_ms(55)), None));
        assert_eq!((find("e").parent_span_id, find("e").started_at), (Some(c.span_id), None));
        let f = find("f");
        assert_eq!((f.parent_span_id, f.started_at), (SpanId::parse("f0").ok(), None));
        assert_eq!(f.ended_at(), Some(at_ms(7)));
    }

    #[test]
    fn what_is_no_sketch_says_where() {
        for (text, at, reason) in [
            ("a(b", 3, "not closed"),
            ("a)", 2, "not opened"),
            ("a[1-2]", 6, "[start..end]"),
            ("a[x..2]", 7, "milliseconds"),
            ("a{colour=red}", 12, "\"colour\" cannot be"),
            ("a#xyz", 5, "not a hex digit"),
            ("(a)", 0, "missing"),
        ] {
            let error = trace(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
    }
}

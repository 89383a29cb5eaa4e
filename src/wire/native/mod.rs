//! The native format: `POST /v1/spans`. This file knows the shapes of a body; `keys` the spellings of a span's members,
//! `values` and `lists` what they mean, `encode` the way back.
//!
//! Shapes: an array of spans, `{"spans": […]}`, one span object, and NDJSON. What stands beside `spans` holds for each
//! span that does not say otherwise; only what spans of one run have in common may stand there (`trace_id`, the ids of
//! the run, `service`, `region`, `model`, `resource`, `scope`, `attributes`; unknown names are attributes of each), and
//! anything else is an error, so that nothing is dropped or spread unawares. A leading byte order mark is skipped.

mod encode;
mod keys;
mod lists;
mod span;
mod values;

pub use encode::{encode, encode_into};
pub use keys::canonical_name;

use std::borrow::Cow;

use self::span::SpanReader;
use super::context::Carried;
use super::media::Framing;
use super::normalize::Fault;
use super::{DecodeContext, DecodeError, Decoded, Rejected, json};

/// Reads the spans of a body. One that cannot be taken never costs its neighbours; in NDJSON that goes for lines that
/// are no JSON, too. Costs about 2 µs for a span of 800 bytes.
///
/// [`Rejected::index`] counts elements, or lines with the empty ones, from 0.
///
/// # Errors
/// [`DecodeError`] if the body is empty, not UTF-8, not JSON, or holds too many spans.
pub fn decode(
    body: &[u8],
    framing: Framing,
    context: &DecodeContext<'_>,
    carried: &Carried,
) -> Result<Decoded, DecodeError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.trim_ascii().is_empty() {
        return Err(malformed("the body is empty; send a JSON array of spans, {\"spans\": […]}, one span, or NDJSON"));
    }
    let request_id = carried.request_id.as_deref().map(json::quoted);
    let mut decoder = Decoder {
        reader: SpanReader::new(*context, carried, request_id.as_deref()),
        decoded: Decoded::default(),
        count: 0,
        items: 0,
        max_spans: context.limits.max_spans,
        max_items: context.limits.max_items_of_request(),
    };
    match framing {
        Framing::Json => decoder.document(body)?,
        Framing::Ndjson => decoder.lines(body)?,
    }
    Ok(decoder.decoded)
}

struct Decoder<'a> {
    reader: SpanReader<'a>,
    decoded: Decoded,
    /// Spans seen, good and bad.
    count: usize,
    /// Events and links of the good ones.
    items: usize,
    max_spans: usize,
    max_items: usize,
}

impl<'a> Decoder<'a> {
    fn document(&mut self, body: &'a [u8]) -> Result<(), DecodeError> {
        let text = std::str::from_utf8(body).map_err(|error| {
            malformed(format!("the body is not UTF-8: byte {} belongs to no character", error.valid_up_to()))
        })?;
        match text.trim_ascii_start().as_bytes().first() {
            Some(b'[') => self.array(text, text),
            Some(b'{') => self.object(text),
            _ => Err(malformed(format!(
                "the body begins with {}; expected a JSON array of spans, {{\"spans\": […]}}, or one span \
                 (for one span a line: Content-Type: application/x-ndjson)",
                json::excerpt(&text.trim_ascii_start().chars().take(16).collect::<String>())
            ))),
        }
    }

    /// `array` is `whole` or a part of it.
    fn array(&mut self, array: &'a str, whole: &str) -> Result<(), DecodeError> {
        self.decoded.spans.reserve((array.len() / 512).min(self.max_spans));
        let mut too_many = false;
        let outcome = json::elements(array, |raw| {
            too_many = self.count >= self.max_spans;
            if !too_many {
                self.span(self.count, raw);
            }
            !too_many && self.items <= self.max_items
        });
        self.check_items()?;
        if too_many {
            return Err(DecodeError::TooManySpans { limit: self.max_spans });
        }
        outcome.map_err(|error| not_json(whole, &error))
    }

    fn object(&mut self, text: &'a str) -> Result<(), DecodeError> {
        let mut members = Vec::new();
        json::check(text).map_err(|error| not_json(text, &error))?;
        let text = text.trim_ascii();
        json::members(text, &mut members);
        let mut lists = members.iter().filter(|member| member.0 == "\"spans\"");
        let Some((_, list)) = lists.next() else {
            self.span(0, text);
            return Ok(());
        };
        if lists.next().is_some() {
            return Err(malformed("\"spans\" is given twice"));
        }
        if !list.starts_with('[') {
            return Err(malformed(format!("\"spans\" is {}, not an array", json::kind(list))));
        }
        for (name, raw) in members.iter().filter(|member| member.0 != "\"spans\"") {
            self.reader.share(name, raw)?;
        }
        self.array(list, text)
    }

    fn lines(&mut self, body: &'a [u8]) -> Result<(), DecodeError> {
        for (index, line) in body.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            if self.count >= self.max_spans {
                return Err(DecodeError::TooManySpans { limit: self.max_spans });
            }
            let checked = match std::str::from_utf8(line) {
                Ok(line) => json::check(line).map(|()| line).map_err(|error| format!("the line is not JSON: {error}")),
                Err(error) => {
                    Err(format!("the line is not UTF-8: its byte {} belongs to no character", error.valid_up_to()))
                }
            };
            match checked {
                Ok(line) => {
                    self.span(index, line);
                    self.check_items()?;
                }
                Err(reason) => {
                    self.count += 1;
                    self.reject(index, None, Fault { field: None, reason });
                }
            }
        }
        Ok(())
    }

    fn span(&mut self, index: usize, raw: &'a str) {
        self.count += 1;
        match self.reader.read(raw) {
            Ok(span) => {
                self.items += span.events().len() + span.links().len();
                self.decoded.spans.push(span);
            }
            Err(fault) => {
                let span_id = self.reader.span_id_as_sent();
                self.reject(index, span_id, fault);
            }
        }
    }

    fn check_items(&self) -> Result<(), DecodeError> {
        let limit = self.max_items;
        if self.items > limit { Err(DecodeError::TooManyItems { limit }) } else { Ok(()) }
    }

    fn reject(&mut self, index: usize, span_id: Option<String>, fault: Fault) {
        let Fault { field, reason } = fault;
        self.decoded.rejected.push(Rejected { index, span_id, field, reason });
    }
}

fn malformed(text: impl Into<String>) -> DecodeError {
    DecodeError::Malformed(text.into())
}

/// What is wrong with a document, and what to do where that can be guessed.
fn not_json(text: &str, error: &serde_json::Error) -> DecodeError {
    let rest = at_fault(text, error).trim_ascii_start();
    let word = rest.trim_start_matches(['-', '+']);
    let hint: Cow<'_, str> = if error.is_eof() {
        "; it ends too early".into()
    } else if error.to_string().starts_with("trailing characters") && rest.starts_with(['{', '[']) {
        "; several documents in one body are NDJSON (Content-Type: application/x-ndjson), or one array".into()
    } else if ["NaN", "Inf"].iter().any(|name| word.starts_with(name)) {
        "; JSON has no NaN and no Infinity: send null or a string".into()
    } else if rest.starts_with('\'') {
        "; JSON strings have double quotes".into()
    } else {
        "".into()
    };
    malformed(format!("the body is not valid JSON: {error}{hint}"))
}

/// The text from the character that an error points to.
fn at_fault<'t>(text: &'t str, error: &serde_json::Error) -> &'t str {
    let line_start = match error.line() {
        0 | 1 => 0,
        line => text.match_indices('\n').nth(line - 2).map_or(0, |(at, _)| at + 1),
    };
    text.get(line_start + error.column().saturating_sub(1)..).unwrap_or_default()
}

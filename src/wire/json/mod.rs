//! JSON text, taken apart without building a tree.
//!
//! Every value stays the slice of the body it came as, and is understood by its first byte. serde_json checks the text
//! once: without recursion, so that depth costs nothing, and by every rule of RFC 8259 but one: whether `\u` escapes pair
//! up is looked at here, where a value is used, so that a lone surrogate costs one span and not the body. What has been
//! checked is then taken apart by looking for quotes and brackets only.

mod text;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub(super) use text::{cut, excerpt, on_one_line, quoted, without_nul};

/// A member of an object: its key with the quotes, and its value, both as they were written.
pub(super) type Member<'a> = (&'a str, &'a str);

/// A string holds half of a surrogate pair, which is no character and which no database keeps.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LoneSurrogate;

/// Whether a text is exactly one JSON value; before this nothing else here may be asked of it.
///
/// # Errors
/// Where it is not.
pub(super) fn check(text: &str) -> serde_json::Result<()> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| ())
}

/// Hands each member of an object to `each`, until that fails. See [`Members`].
pub(super) fn for_each_member<'a, E>(
    object: &'a str,
    mut each: impl FnMut(&'a str, &'a str) -> Result<(), E>,
) -> Result<(), E> {
    Members::of(object).try_for_each(|(key, value)| each(key, value))
}

/// The members of an object that is known to be well-formed, which makes this a look for quotes and brackets, twice as
/// fast as a parser; of what is not well-formed only the beginning is seen.
pub(super) struct Members<'a> {
    object: &'a str,
    at: usize,
}

impl<'a> Members<'a> {
    pub(super) fn of(object: &'a str) -> Self {
        Self { object, at: 1 }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let (key, value, next) = member_at(self.object, self.at)?;
        self.at = next;
        Some((key, value))
    }
}

/// The elements of an array that is known to be well-formed, as [`Members`].
pub(super) struct Elements<'a> {
    array: &'a str,
    at: usize,
}

impl<'a> Elements<'a> {
    pub(super) fn of(array: &'a str) -> Self {
        Self { array, at: 1 }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.array.as_bytes();
        let start = skip(bytes, self.at, |byte| is_space(byte) || byte == b',');
        if !self.array.starts_with('[') || bytes.get(start).is_none_or(|byte| matches!(byte, b']' | b'}')) {
            return None;
        }
        self.at = value_end(bytes, start)?;
        self.array.get(start..self.at)
    }
}

/// The member that begins at or after `at`, and where it ends.
fn member_at(object: &str, at: usize) -> Option<(&str, &str, usize)> {
    let bytes = object.as_bytes();
    let key_start = skip(bytes, at, |byte| is_space(byte) || byte == b',');
    if bytes.get(key_start) != Some(&b'"') {
        return None;
    }
    let key_end = string_end(bytes, key_start)?;
    let value_start = skip(bytes, key_end, |byte| is_space(byte) || byte == b':');
    let value_end = value_end(bytes, value_start)?;
    Some((object.get(key_start..key_end)?, object.get(value_start..value_end)?, value_end))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

fn skip(bytes: &[u8], from: usize, what: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    while bytes.get(at).is_some_and(|&byte| what(byte)) {
        at += 1;
    }
    at
}

/// Behind the closing quote of the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at = quote_or_backslash(bytes, at);
        match *bytes.get(at)? {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// The next quote or backslash at or after `at`, or the end; eight bytes at a step.
fn quote_or_backslash(bytes: &[u8], from: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The lowest set bit is that of the first zero byte: https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let found = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    skip(bytes, at, |byte| !matches!(byte, b'"' | b'\\'))
}

fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    match *bytes.get(start)? {
        b'"' => string_end(bytes, start),
        b'{' | b'[' => {
            let (mut at, mut depth) = (start, 0usize);
            loop {
                match *bytes.get(at)? {
                    b'"' => at = string_end(bytes, at)?,
                    b'{' | b'[' => (at, depth) = (at + 1, depth + 1),
                    b'}' | b']' if depth == 1 => return Some(at + 1),
                    b'}' | b']' => (at, depth) = (at + 1, depth - 1),
                    _ => at += 1,
                }
            }
        }
        _ => Some(skip(bytes, start, |byte| !is_space(byte) && !matches!(byte, b',' | b'}' | b']'))),
    }
}

/// Collects the members of an object. See [`Members`].
pub(super) fn members<'a>(object: &'a str, into: &mut Vec<Member<'a>>) {
    into.extend(Members::of(object));
}

/// Hands each element of an array to `each`, as it is read, until that answers `false`.
///
/// # Errors
/// If `array` is not exactly one JSON array; elements before the fault have been handed out.
pub(super) fn elements<'a>(array: &'a str, each: impl FnMut(&'a str) -> bool) -> serde_json::Result<()> {
    struct Each<'s, F> {
        each: F,
        stopped: &'s mut bool,
    }

    impl<'a, F: FnMut(&'a str) -> bool> Visitor<'a> for Each<'_, F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'a>>(mut self, mut elements: A) -> Result<(), A::Error> {
            while let Some(element) = elements.next_element::<&'a RawValue>()? {
                if !(self.each)(element.get()) {
                    *self.stopped = true;
                    return Err(A::Error::custom("stopped"));
                }
            }
            Ok(())
        }
    }

    let mut stopped = false;
    let mut deserializer = serde_json::Deserializer::from_str(array);
    let outcome = serde::Deserializer::deserialize_seq(&mut deserializer, Each { each, stopped: &mut stopped });
    if stopped {
        return Ok(());
    }
    outcome?;
    deserializer.end()
}

/// The characters of a JSON string, which borrows unless it holds an escape.
pub(super) fn string(raw: &str) -> Result<Cow<'_, str>, LoneSurrogate> {
    let inner = inside(raw);
    if !inner.as_bytes().contains(&b'\\') {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).map(Cow::Owned).map_err(|_| LoneSurrogate)
}

/// What stands between the quotes of a JSON string.
pub(super) fn inside(raw: &str) -> &str {
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
}

/// What kind of value a text holds, with its article, for messages.
pub(super) fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

pub(super) fn is_null(raw: &str) -> bool {
    raw.starts_with('n')
}

/// Whether the value is an object or an array.
pub(super) fn is_container(raw: &str) -> bool {
    raw.starts_with(['{', '['])
}

/// Whether the value nests objects and arrays deeper than `levels`, itself being the first. Costs a walk over the text,
/// but only where the text is long enough to hold that many brackets.
pub(super) fn deeper_than(raw: &str, levels: usize) -> bool {
    if !is_container(raw) || raw.len() / 2 <= levels {
        return false;
    }
    let mut depth = 0usize;
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > levels {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    false
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_falls_into_its_members_as_written() {
        let mut found = Vec::new();
        members(r#"{"a" : [1, {"b":2}, "]"], "\u0063":"x\"y" , "n":-1.5e3,"t":true,"z": null }"#, &mut found);
        let names = ["a", "\\u0063", "n", "t", "z"];
        let values = ["[1, {\"b\":2}, \"]\"]", "\"x\\\"y\"", "-1.5e3", "true", "null"];
        assert_eq!(found.iter().map(|(key, _)| inside(key)).collect::<Vec<_>>(), names);
        assert_eq!(found.iter().map(|(_, value)| *value).collect::<Vec<_>>(), values);
    }

    #[test]
    fn what_is_not_well_formed_is_seen_up_to_the_fault() {
        for text in [
            "",
            "{",
            "}",
            "{\"",
            "{\"a",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":\"",
            "{\"a\":[",
            "{\"a\":\"\\",
            "{\"é",
            "[1]",
            "{1:2}",
        ] {
            let mut found = Vec::new();
            members(text, &mut found);
            assert!(found.len() <= 1, "{text}");
        }
    }

    #[test]
    fn a_deep_text_is_found_without_recursion() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(deeper_than(&deep, 64));
        assert!(!deeper_than(&deep, 1_000_000));
        assert!(!deeper_than(&format!("[\"{}\"]", "[{".repeat(500)), 1), "brackets in strings do not count");
        assert!(!deeper_than(&format!("[{}]", ["[]"; 500].join(",")), 2));
    }
}

//! JSON texts changed without being parsed: cut, put on one line, freed of NUL.

use std::borrow::Cow;

use super::{LoneSurrogate, inside, is_space, skip, string_end};

/// The same JSON text with every `\u0000` replaced by `\ufffd`, since PostgreSQL keeps no NUL. Borrows if there is none.
pub(in crate::wire) fn without_nul(raw: &str) -> Result<Cow<'_, str>, LoneSurrogate> {
    let bytes = raw.as_bytes();
    let mut clean: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(step) = bytes[at..].iter().position(|&byte| byte == b'\\') {
        at += step;
        if bytes.get(at + 1) != Some(&b'u') {
            at += 2;
            continue;
        }
        match code_unit(bytes, at) {
            Some(0) => {
                clean.get_or_insert_with(|| bytes.to_vec())[at + 2..at + 6].copy_from_slice(b"fffd");
                at += 6;
            }
            Some(0xd800..=0xdbff) => match code_unit(bytes, at + 6) {
                Some(0xdc00..=0xdfff) => at += 12,
                _ => return Err(LoneSurrogate),
            },
            Some(0xdc00..=0xdfff) | None => return Err(LoneSurrogate),
            Some(_) => at += 6,
        }
    }
    match clean {
        None => Ok(Cow::Borrowed(raw)),
        Some(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| LoneSurrogate),
    }
}

/// The same value without line breaks, which JSON has between tokens only; spaces and tabs there go as well. Borrows if
/// there are none, so that most values stay as they came.
pub(in crate::wire) fn on_one_line(raw: &str) -> Cow<'_, str> {
    if !raw.contains(['\n', '\r']) {
        return Cow::Borrowed(raw);
    }
    let bytes = raw.as_bytes();
    let mut text = String::with_capacity(raw.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'"' => string_end(bytes, at).unwrap_or(bytes.len()),
            byte if is_space(byte) => {
                at += 1;
                continue;
            }
            _ => skip(bytes, at, |byte| !is_space(byte) && byte != b'"'),
        };
        text.push_str(raw.get(at..end).unwrap_or_default());
        at = end;
    }
    Cow::Owned(text)
}

/// The number of the `\uXXXX` escape that begins at `at`.
fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    if !escape.starts_with(b"\\u") {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
}

/// A JSON string, quotes included, of at most `limit` bytes that begins as `raw` does: a longer string is cut between
/// two characters and closed; of any other value the JSON text itself is cut and becomes the string.
pub(in crate::wire) fn cut(raw: &str, limit: usize) -> String {
    let mut text = String::with_capacity(limit.min(raw.len()) + 2);
    text.push('"');
    let room = limit.saturating_sub(1);
    if raw.starts_with('"') {
        let inner = inside(raw);
        text.push_str(&inner[..whole_characters(inner, room.saturating_sub(1))]);
    } else {
        for character in raw.chars() {
            let escape = match character {
                '"' | '\\' => Some(character),
                '\n' => Some('n'),
                '\r' => Some('r'),
                '\t' => Some('t'),
                _ => None,
            };
            let width = escape.map_or(character.len_utf8(), |_| 2);
            if text.len() + width > room {
                break;
            }
            text.extend(escape.map(|_| '\\'));
            text.push(escape.unwrap_or(character));
        }
    }
    text.push('"');
    text
}

/// How many of the first `limit` bytes of a string's inside end between two characters: no escape, no surrogate pair and
/// no UTF-8 sequence is torn.
fn whole_characters(inner: &str, limit: usize) -> usize {
    let bytes = inner.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let width = match (bytes[at], bytes.get(at + 1)) {
            (b'\\', Some(b'u')) if matches!(code_unit(bytes, at), Some(0xd800..=0xdbff)) => 12,
            (b'\\', Some(b'u')) => 6,
            (b'\\', _) => 2,
            (byte, _) if byte < 0x80 => 1,
            _ => inner[at..].chars().next().map_or(1, char::len_utf8),
        };
        if at + width > limit {
            break;
        }
        at += width;
    }
    at
}

/// Writes a string as JSON.
pub(in crate::wire) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a message may repeat of its input: at most 64 characters, escaped so that it cannot break a log line.
pub(in crate::wire) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(64) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::string;
    use super::*;

    #[test]
    fn nul_is_replaced_and_an_escaped_backslash_is_not_mistaken_for_it() {
        assert_eq!(without_nul(r#""a\u0000b""#).unwrap(), r#""a\ufffdb""#);
        assert_eq!(without_nul(r#""a\\u0000b""#).unwrap(), r#""a\\u0000b""#);
        assert_eq!(without_nul(r#"{"a\n":"\ud83d\ude00"}"#).unwrap(), r#"{"a\n":"\ud83d\ude00"}"#);
        for lone in [r#""\ud83d""#, r#""\ud83dx""#, r#""\ude00\ud83d""#, r#""\ud83d\n""#] {
            assert_eq!(without_nul(lone), Err(LoneSurrogate), "{lone}");
            assert_eq!(string(lone), Err(LoneSurrogate), "{lone}");
        }
    }

    #[test]
    fn line_breaks_go_and_strings_stay() {
        assert_eq!(on_one_line("{\n  \"a b\\n\" : [1,\r\n 2.50,\ttrue]\n}"), "{\"a b\\n\":[1,2.50,true]}");
        assert!(matches!(on_one_line("{\"a\": 1}"), Cow::Borrowed("{\"a\": 1}")));
    }

    #[test]
    fn a_cut_text_is_a_json_string_within_its_limit() {
        let texts = [
            r#""plain text""#,
            r#""éééééé""#,
            r#""\ud83d\ude00\ud83d\ude00""#,
            r#""\n\"\\\u0041""#,
            "{\"a\": [1,\n2]}",
            "[\"é\\n\"]",
        ];
        for text in texts {
            for limit in 2..text.len() {
                let cut = cut(text, limit);
                assert!(cut.len() <= limit, "{text} at {limit} is {cut}");
                let value: String = serde_json::from_str(&cut).unwrap();
                let whole = if text.starts_with('"') { serde_json::from_str(text).unwrap() } else { text.to_owned() };
                assert!(whole.starts_with(&value), "{text} at {limit} is {cut}");
            }
        }
    }
}

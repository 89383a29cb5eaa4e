//! A JSON text member by member, without its secrets. The text is known to be valid; every byte that is no secret's stays.

use std::borrow::Cow;

use super::keys::Keys;
use super::patterns::Patterns;
use super::{Hits, QUOTED};

/// The text without what the rules take; `None` where that is nothing.
pub(super) fn redact(text: &str, keys: &Keys, patterns: &Patterns, hits: &mut Hits) -> Option<String> {
    let mut clean = Clean { text, out: String::new(), copied: 0 };
    let bytes = text.as_bytes();
    // What is open: objects as true.
    let mut open: Vec<bool> = Vec::new();
    let mut is_key = false;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                is_key = *byte == b'{';
                open.push(is_key);
            }
            b'}' | b']' => {
                open.pop();
                is_key = false;
            }
            b',' => is_key = open.last() == Some(&true),
            b'"' => {
                let end = end_of_string(bytes, at);
                let raw = &text[at..end];
                if is_key {
                    is_key = false;
                    let start = start_of_value(bytes, end);
                    let value = start..end_of_value(bytes, start);
                    if let Some(rule) = keys.rule(&content(raw), &text[value.clone()]) {
                        hits.add(rule);
                        clean.replace(value.start, value.end, QUOTED);
                        at = value.end;
                        continue;
                    }
                } else if let Some(without) = patterns.apply(&content(raw), keys.len(), hits) {
                    clean.replace(at, end, &serde_json::Value::from(without).to_string());
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    clean.finish()
}

/// A text that is copied as it changes.
struct Clean<'t> {
    text: &'t str,
    out: String,
    copied: usize,
}

impl Clean<'_> {
    fn replace(&mut self, from: usize, to: usize, by: &str) {
        self.out.push_str(&self.text[self.copied..from]);
        self.out.push_str(by);
        self.copied = to;
    }

    fn finish(mut self) -> Option<String> {
        if self.copied == 0 {
            return None;
        }
        self.out.push_str(&self.text[self.copied..]);
        Some(self.out)
    }
}

/// What a string says. One that cannot be read (half of a surrogate pair) is taken as it is written.
fn content(raw: &str) -> Cow<'_, str> {
    let inside = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    serde_json::from_str::<String>(raw).map_or(Cow::Borrowed(inside), Cow::Owned)
}

/// Behind the closing quote.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn start_of_value(bytes: &[u8], from: usize) -> usize {
    let between = bytes[from..].iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b':').count();
    from + between
}

fn end_of_value(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' if depth == 0 => return at,
            byte if depth == 0 && byte.is_ascii_whitespace() => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

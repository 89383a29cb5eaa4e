//! Values of attributes as JSON text, and the few that JSON has no word for.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The members by which a value that JSON cannot say is known; see the documentation of the module above.
pub(super) const BYTES: &str = "bytesValue";
pub(super) const DOUBLE: &str = "doubleValue";
pub(super) const MAP: &str = "kvlistValue";

/// Whether a map of this one key would be taken for something else.
pub(super) fn is_reserved(key: &str) -> bool {
    [BYTES, DOUBLE, MAP].contains(&key)
}

/// Writes a string with its quotes.
pub(super) fn string(into: &mut String, text: &str) {
    into.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        into.push_str(&text[from..at]);
        from = at + 1;
        if escape.is_empty() {
            display(into, format_args!("\\u{byte:04x}"));
        }
        into.push_str(escape);
    }
    into.push_str(&text[from..]);
    into.push('"');
}

pub(super) fn boolean(into: &mut String, value: bool) {
    into.push_str(if value { "true" } else { "false" });
}

pub(super) fn integer(into: &mut String, value: i64) {
    display(into, format_args!("{value}"));
}

/// Writes a double so that it reads back to the same one, and not as an integer.
pub(super) fn double(into: &mut String, value: f64) {
    match value {
        value if value.is_nan() => display(into, format_args!("{{\"{DOUBLE}\":\"NaN\"}}")),
        f64::INFINITY => display(into, format_args!("{{\"{DOUBLE}\":\"Infinity\"}}")),
        f64::NEG_INFINITY => display(into, format_args!("{{\"{DOUBLE}\":\"-Infinity\"}}")),
        value => display(into, format_args!("{value:?}")),
    }
}

/// Writes bytes as an object that says what they are.
pub(super) fn bytes(into: &mut String, value: &[u8]) {
    display(into, format_args!("{{\"{BYTES}\":\""));
    STANDARD.encode_string(value, into);
    into.push_str("\"}");
}

pub(super) fn display(into: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    let _ = into.write_fmt(text);
}

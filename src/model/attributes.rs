//! Attributes travel as JSON text: a caller's values are kept byte for byte and parsed only by who needs them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The text of one JSON object with unique keys in byte order, or nothing at all when there are none.
///
/// The order makes equal sets equal texts, on either store and after any merge.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Attributes(Box<str>);

/// Collects attributes in any order; of a key given twice the later value stays, as in PostgreSQL's `jsonb`.
#[derive(Debug, Default)]
pub struct AttributesBuilder<'a> {
    entries: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl Attributes {
    /// Takes a text that [`Attributes::as_json`] once gave. Anything else is read and put in order first.
    ///
    /// # Errors
    /// If the text is not a JSON object.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Takes a text that [`Attributes::as_json`] once gave, unread: from where a checksum guards it.
    pub fn from_kept(text: &str) -> Self {
        Self(if text == "{}" { Box::default() } else { text.into() })
    }

    /// Writes the text. The keys, plain text, must be unique and in byte order; the values are JSON text.
    pub fn from_sorted<'e>(entries: impl Iterator<Item = (&'e str, &'e str)> + Clone) -> Self {
        debug_assert!(entries.clone().is_sorted_by(|a, b| a.0 < b.0), "unique keys in byte order");
        let bytes: usize = entries.clone().map(|(key, raw)| key.len() + raw.len() + 4).sum();
        if bytes == 0 {
            return Self::default();
        }
        let mut text = String::with_capacity(bytes + 1);
        for (key, raw) in entries {
            text.push(if text.is_empty() { '{' } else { ',' });
            write_key(&mut text, key);
            text.push(':');
            text.push_str(raw);
        }
        text.push('}');
        Self(text.into_boxed_str())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The JSON object, `{}` when there are none.
    pub fn as_json(&self) -> &str {
        if self.0.is_empty() { "{}" } else { &self.0 }
    }

    /// Bytes of JSON text; 0 when there are none.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Keys with the JSON text of their values, in byte order of the keys. Costs one pass over the text.
    pub fn entries(&self) -> Vec<(Cow<'_, str>, &str)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        serde_json::from_str::<Entries<'_>>(&self.0).map(|entries| entries.0).unwrap_or_default()
    }

    /// The JSON text of one value. Costs one pass over the text.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries().into_iter().find(|(name, _)| name == key).map(|(_, raw)| raw)
    }
}

impl<'a> AttributesBuilder<'a> {
    /// Adds a value that is JSON text already.
    pub fn push_raw(&mut self, key: impl Into<Cow<'a, str>>, json: impl Into<Cow<'a, str>>) {
        self.entries.push((key.into(), json.into()));
    }

    /// Adds a value that is a plain string.
    pub fn push_str(&mut self, key: impl Into<Cow<'a, str>>, value: &str) {
        self.push_raw(key, serde_json::Value::from(value).to_string());
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether `key` has a value already. Costs a look at each entry.
    pub fn contains(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name == key)
    }

    /// Puts the entries in order, drops all but the last of equal keys, and writes the text.
    pub fn finish(mut self) -> Attributes {
        self.entries.sort_by(|a, b| a.0.cmp(&b.0));
        let last_of_equal = |&(index, entry): &(usize, &(Cow<'a, str>, Cow<'a, str>))| {
            self.entries.get(index + 1).is_none_or(|next| next.0 != entry.0)
        };
        let unique = self.entries.iter().enumerate().filter(last_of_equal);
        Attributes::from_sorted(unique.map(|(_, (key, raw))| (&**key, &**raw)))
    }
}

fn write_key(text: &mut String, key: &str) {
    if key.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        text.push('"');
        text.push_str(key);
        text.push('"');
    } else {
        text.push_str(&serde_json::Value::from(key).to_string());
    }
}

/// The members of any JSON object, values as text.
struct Entries<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Cow<'de, str>, &'de str)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(8);
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    entries.push((key, value.get()));
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Members).map(Entries)
    }
}

/// A key, borrowed unless it holds an escape (serde's own `Cow` never borrows inside containers).
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.as_json()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let entries: Entries<'_> = serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
        let mut builder = AttributesBuilder::default();
        for (key, value) in entries.0 {
            builder.push_raw(key, value);
        }
        Ok(builder.finish())
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_ordered_unique_and_keeps_values_byte_for_byte() {
        let mut builder = AttributesBuilder::default();
        builder.push_raw("b", "1.50");
        builder.push_raw("a", "{\"x\": [1, 2]}");
        builder.push_raw("b", "18446744073709551616");
        builder.push_str("quote\"d", "line\nbreak");
        let attributes = builder.finish();
        assert_eq!(attributes.as_json(), r#"{"a":{"x": [1, 2]},"b":18446744073709551616,"quote\"d":"line\nbreak"}"#);
        assert_eq!(attributes.get("b"), Some("18446744073709551616"));
        assert_eq!(attributes.get("quote\"d"), Some(r#""line\nbreak""#));
        assert_eq!(Attributes::from_json(attributes.as_json()).unwrap(), attributes);
        assert_eq!(Attributes::from_kept(attributes.as_json()), attributes);
        assert_eq!(serde_json::to_string(&attributes).unwrap(), attributes.as_json());
    }

    #[test]
    fn none_is_an_empty_object_outside() {
        let none = AttributesBuilder::default().finish();
        assert!(none.is_empty());
        assert_eq!(none.as_json(), "{}");
        assert_eq!(Attributes::from_json("{}").unwrap(), none);
        assert_eq!(Attributes::from_kept("{}"), none);
        assert!(none.entries().is_empty());
    }
}

//! Attributes on their way in: from several places of a span, by precedence, without losing any.

use std::borrow::Cow;

use super::{Bounds, Fault};
use crate::model::attributes::Attributes;
use crate::wire::json;

/// Where an attribute stood, the strongest first: of a key in several places, the first place has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::wire) enum Origin {
    Attributes,
    Metadata,
    Tags,
    /// An unknown member of the span's own object.
    Span,
    /// Said once for all spans of the body.
    Request,
    Header,
}

impl Origin {
    /// What a weaker value's key is extended with. What was said for all spans gives way in silence.
    fn suffix(self) -> Option<&'static str> {
        match self {
            Origin::Attributes => Some("from_attributes"),
            Origin::Metadata => Some("from_metadata"),
            Origin::Tags => Some("from_tags"),
            Origin::Span => Some("from_span"),
            Origin::Request | Origin::Header => None,
        }
    }
}

#[derive(Debug)]
struct Entry<'a> {
    key: Cow<'a, str>,
    raw: Cow<'a, str>,
    origin: Origin,
}

/// Collects attributes in any order.
#[derive(Debug, Default)]
pub(in crate::wire) struct AttributeSet<'a>(Vec<Entry<'a>>);

impl<'a> AttributeSet<'a> {
    /// Adds a value as it was written, standing `level` levels deep.
    ///
    /// # Errors
    /// If the value is too deep or holds a lone surrogate, or there are too many.
    pub(in crate::wire) fn push(
        &mut self,
        bounds: &mut Bounds<'_>,
        key: Cow<'a, str>,
        raw: &'a str,
        level: usize,
        origin: Origin,
    ) -> Result<(), Fault> {
        self.check_room(bounds, &key)?;
        let raw = match bounds.is_plain(raw) {
            true => Cow::Borrowed(raw),
            false => bounds.attribute(&key, &key, raw, level)?,
        };
        self.0.push(Entry { key, raw, origin });
        Ok(())
    }

    /// As [`AttributeSet::push`] for what is not the span's own: `place` stands before the key in notes and messages.
    ///
    /// # Errors
    /// As [`AttributeSet::push`].
    pub(in crate::wire) fn push_within(
        &mut self,
        bounds: &mut Bounds<'_>,
        place: &str,
        (key, raw): (Cow<'a, str>, &'a str),
        level: usize,
        origin: Origin,
    ) -> Result<(), Fault> {
        self.check_room(bounds, &key)?;
        let raw = match bounds.is_plain(raw) {
            true => Cow::Borrowed(raw),
            false => bounds.attribute(&key, &format!("{place}.{key}"), raw, level)?,
        };
        self.0.push(Entry { key, raw, origin });
        Ok(())
    }

    fn check_room(&self, bounds: &Bounds<'_>, key: &str) -> Result<(), Fault> {
        let most = bounds.limits.max_items;
        match self.0.len() < most {
            true => Ok(()),
            false => Err(Fault::of(key, format_args!("is one more attribute than {most} (limit max_items)"))),
        }
    }

    /// Adds a value that is known to be in order.
    pub(in crate::wire) fn push_known(&mut self, key: &'a str, raw: impl Into<Cow<'a, str>>, origin: Origin) {
        self.0.push(Entry { key: Cow::Borrowed(key), raw: raw.into(), origin });
    }

    /// Puts a value in the place of every other of its key.
    pub(in crate::wire) fn replace(&mut self, key: &'static str, raw: String) {
        self.0.retain(|entry| entry.key != key);
        self.push_known(key, raw, Origin::Attributes);
    }

    /// The strongest value of a key so far.
    pub(in crate::wire) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().filter(|entry| entry.key == key).min_by_key(|entry| entry.origin).map(|entry| &*entry.raw)
    }

    /// Those whose values are longer than so many bytes.
    pub(super) fn longer_than(&self, bytes: usize) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(move |entry| entry.raw.len() > bytes).map(|entry| (&*entry.key, &*entry.raw))
    }

    /// Puts them in order and hands each that is kept to `each` before. Within one place the last of equal keys stays,
    /// as in PostgreSQL's `jsonb`; a different value from a weaker place is kept beside, as `key.from_tags` and so on.
    /// Nothing but its memory stays here.
    ///
    /// # Errors
    /// If the span's own object gives a key twice.
    pub(in crate::wire) fn finish(&mut self, mut each: impl FnMut(&str, &str)) -> Result<Attributes, Fault> {
        self.0.sort_by(|a, b| a.key.cmp(&b.key).then(a.origin.cmp(&b.origin)));
        if self.0.windows(2).any(|pair| pair[0].key == pair[1].key) {
            self.resolve()?;
        }
        for entry in &self.0 {
            each(&entry.key, &entry.raw);
        }
        let attributes = Attributes::from_sorted(self.0.iter().map(|entry| (&*entry.key, &*entry.raw)));
        self.0.clear();
        Ok(attributes)
    }

    pub(in crate::wire) fn clear(&mut self) {
        self.0.clear();
    }

    /// Makes the keys of the sorted entries unique.
    fn resolve(&mut self) -> Result<(), Fault> {
        let is_twice = |pair: &&[Entry<'_>]| {
            pair[0].key == pair[1].key && pair[0].origin == Origin::Span && pair[1].origin == Origin::Span
        };
        if let Some(twice) = self.0.windows(2).find(is_twice) {
            return Err(Fault::of(&twice[0].key, "is given twice"));
        }
        let mut kept: Vec<Entry<'a>> = Vec::with_capacity(self.0.len());
        let mut losers: Vec<Entry<'a>> = Vec::new();
        for entry in self.0.drain(..) {
            let Some(winner) = kept.last_mut().filter(|last| last.key == entry.key) else {
                kept.push(entry);
                continue;
            };
            if winner.origin == entry.origin {
                *winner = entry;
            } else if entry.raw != winner.raw && entry.origin.suffix().is_some() {
                match losers.last_mut().filter(|last| last.key == entry.key && last.origin == entry.origin) {
                    Some(last) => *last = entry,
                    None => losers.push(entry),
                }
            }
        }
        for loser in &mut losers {
            let mut key = format!("{}.{}", loser.key, loser.origin.suffix().unwrap_or_default());
            while kept.binary_search_by(|entry| (*entry.key).cmp(&key)).is_ok() {
                key.push('_');
            }
            loser.key = Cow::Owned(key);
        }
        kept.append(&mut losers);
        kept.sort_by(|a, b| a.key.cmp(&b.key));
        self.0 = kept;
        Ok(())
    }
}

/// Hands out the pairs of `[{"key": …, "value": …}, …]`, as Jaeger and OTLP write attributes: key and value as JSON
/// text, a typed value of OTLP (`{"stringValue": "x"}`) as its content. `None` if it is any other list.
pub(in crate::wire) fn pairs(list: &str) -> Option<Vec<(&str, &str)>> {
    let mut pairs = Vec::new();
    let mut members = Vec::new();
    let mut all = true;
    json::elements(list, |element| {
        members.clear();
        json::members(element, &mut members);
        let pair = pair(&members);
        all = pair.is_some();
        pairs.extend(pair);
        all
    })
    .ok()?;
    all.then_some(pairs)
}

fn pair<'a>(members: &[json::Member<'a>]) -> Option<(&'a str, &'a str)> {
    let (mut key, mut value) = (None, None);
    for (name, raw) in members {
        match json::inside(name) {
            "key" if raw.starts_with('"') => key = Some(*raw),
            "value" => value = Some(*raw),
            "type" | "vType" | "v_type" => {}
            _ => return None,
        }
    }
    Some((key?, any_value(value?)))
}

fn any_value(raw: &str) -> &str {
    let mut members = Vec::new();
    if !raw.starts_with('{') {
        return raw;
    }
    json::members(raw, &mut members);
    match members.as_slice() {
        [("\"stringValue\"" | "\"boolValue\"" | "\"doubleValue\"", inner)] => inner,
        [("\"intValue\"", inner)] if json::inside(inner).parse::<i64>().is_ok() => json::inside(inner),
        [("\"intValue\"", inner)] => inner,
        _ => raw,
    }
}

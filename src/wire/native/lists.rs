//! Events and links, the two lists that a span may bring. A bad entry costs the span, and is named: `events[2].timestamp`.

use std::borrow::Cow;

use super::keys;
use super::span::id;
use super::values::instant;
use crate::model::attributes::Attributes;
use crate::model::ids::{SpanId, TraceId};
use crate::model::span::{Event, Field, Link};
use crate::wire::json;
use crate::wire::normalize::{AttributeSet, Bounds, Draft, Fault, Origin, int_of, pairs};

/// `[{name | event | message, timestamp | time | …_unix_nano, attributes | fields}]`; a text alone is a name.
pub(super) fn events<'a>(draft: &mut Draft<'a, '_>, name: &str, list: &'a str) -> Result<(), Fault> {
    let Draft { events, bounds, .. } = draft;
    each_entry(name, list, bounds.limits.max_items, |place, raw| {
        events.push(event(bounds, &place, raw)?);
        Ok(())
    })
}

/// `[{trace_id, span_id, trace_state, attributes}]`.
pub(super) fn links<'a>(draft: &mut Draft<'a, '_>, name: &str, list: &'a str) -> Result<(), Fault> {
    let Draft { links, bounds, .. } = draft;
    each_entry(name, list, bounds.limits.max_items, |place, raw| {
        links.push(link(bounds, &place, raw)?);
        Ok(())
    })
}

fn each_entry<'a>(
    name: &str,
    list: &'a str,
    most: usize,
    mut read: impl FnMut(String, &'a str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if !list.starts_with('[') {
        return Err(Fault::of(name, format_args!("is {}, not a list", json::kind(list))));
    }
    let mut index = 0;
    let mut outcome = Ok(());
    let walked = json::elements(list, |raw| {
        outcome = match index < most {
            true => read(format!("{name}[{index}]"), raw),
            false => Err(Fault::of(name, format_args!("has more than {most} entries (limit max_items)"))),
        };
        index += 1;
        outcome.is_ok()
    });
    outcome.and(walked.map_err(|error| Fault::of(name, error)))
}

fn event(bounds: &mut Bounds<'_>, place: &str, raw: &str) -> Result<Event, Fault> {
    let mut event =
        Event { timestamp: None, name: String::new(), attributes: Attributes::default(), dropped_attributes: 0 };
    if raw.starts_with('"') {
        event.name = text(bounds, place, raw)?;
        return Ok(event);
    }
    // Of the names the first of this order counts; the others are attributes.
    let mut names = [None; 3];
    let mut entry = Entry::new(place);
    each_member(place, raw, |key, value| match &*key {
        "name" => entry.tell(&mut names[0], place, Some(value)),
        "event" => entry.tell(&mut names[1], place, Some(value)),
        "message" => entry.tell(&mut names[2], place, Some(value)),
        "dropped_attributes" | "dropped_attributes_count" | "droppedAttributesCount" => {
            event.dropped_attributes = entry.count(&key, value)?;
            Ok(())
        }
        _ => {
            let (stem, unit) = keys::split_unit(&key).map_or((&*key, None), |(stem, unit)| (stem, Some(unit)));
            if !matches!(stem, "timestamp" | "time") {
                return entry.other(bounds, key, value);
            }
            let full_name = format!("{place}.{key}");
            let told = instant(&full_name, value, unit)?;
            entry.tell(&mut event.timestamp, &full_name, told)
        }
    })?;
    let chosen = names.iter().position(Option::is_some);
    for (index, key) in ["name", "event", "message"].into_iter().enumerate() {
        match names[index] {
            Some(value) if chosen == Some(index) => event.name = text(bounds, &format!("{place}.{key}"), value)?,
            Some(value) => entry.other(bounds, Cow::Borrowed(key), value)?,
            None => {}
        }
    }
    if event.name.is_empty() {
        "event".clone_into(&mut event.name);
    }
    event.attributes = entry.attributes.finish(|_, _| {})?;
    Ok(event)
}

fn link(bounds: &mut Bounds<'_>, place: &str, raw: &str) -> Result<Link, Fault> {
    let (mut trace_id, mut span_id) = (None, None);
    let (mut trace_state, mut flags, mut dropped_attributes) = (String::new(), 0, 0);
    let mut entry = Entry::new(place);
    each_member(place, raw, |key, value| match &*key {
        "trace_id" | "traceId" | "traceID" => {
            let full_name = format!("{place}.{key}");
            let told = id(&full_name, value, TraceId::parse)?;
            entry.tell(&mut trace_id, &full_name, told)
        }
        "span_id" | "spanId" | "spanID" => {
            let full_name = format!("{place}.{key}");
            let told = id(&full_name, value, SpanId::parse)?;
            entry.tell(&mut span_id, &full_name, told)
        }
        "trace_state" | "traceState" => {
            trace_state = text(bounds, &format!("{place}.{key}"), value)?;
            Ok(())
        }
        "flags" => {
            flags = entry.count(&key, value)?;
            Ok(())
        }
        "dropped_attributes" | "dropped_attributes_count" | "droppedAttributesCount" => {
            dropped_attributes = entry.count(&key, value)?;
            Ok(())
        }
        _ => entry.other(bounds, key, value),
    })?;
    let missing = |what: &str| Fault::of(&format!("{place}.{what}"), "is missing");
    Ok(Link {
        trace_id: trace_id.ok_or_else(|| missing("trace_id"))?,
        span_id: span_id.ok_or_else(|| missing("span_id"))?,
        trace_state,
        attributes: entry.attributes.finish(|_, _| {})?,
        flags,
        dropped_attributes,
    })
}

fn each_member<'a>(
    place: &str,
    raw: &'a str,
    mut read: impl FnMut(Cow<'a, str>, &'a str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if !raw.starts_with('{') {
        return Err(Fault::of(place, format_args!("is {}, not an object", json::kind(raw))));
    }
    json::for_each_member(raw, |key, value| {
        let key = json::string(key).map_err(|lone| Fault::lone_surrogate(place, &lone))?;
        if json::is_null(value) { Ok(()) } else { read(key, value) }
    })
}

/// What an event and a link have in common: attributes, of their own and of every name they do not know.
struct Entry<'a, 'p> {
    place: &'p str,
    attributes: AttributeSet<'a>,
}

impl<'a, 'p> Entry<'a, 'p> {
    fn new(place: &'p str) -> Self {
        Self { place, attributes: AttributeSet::default() }
    }

    /// Puts what was told twice only if it is the same.
    fn tell<T: PartialEq>(&self, known: &mut Option<T>, name: &str, told: Option<T>) -> Result<(), Fault> {
        if known.is_some() && told.is_some() && *known != told {
            return Err(Fault::of(name, "is told twice, and differently"));
        }
        *known = told.or(known.take());
        Ok(())
    }

    fn count(&self, key: &str, raw: &str) -> Result<u32, Fault> {
        let count =
            int_of(Field::DroppedAttributes, raw).map_err(|what| Fault::of(&format!("{}.{key}", self.place), what))?;
        Ok(count.and_then(|count| u32::try_from(count).ok()).unwrap_or_default())
    }

    fn other(&mut self, bounds: &mut Bounds<'_>, key: Cow<'a, str>, raw: &'a str) -> Result<(), Fault> {
        let Self { place, attributes } = self;
        let is_attributes = matches!(&*key, "attributes" | "fields" | "tags");
        if is_attributes && raw.starts_with('{') {
            return json::for_each_member(raw, |key, value| {
                let key = bounds.key(key)?;
                attributes.push_within(bounds, place, (key, value), 4, Origin::Attributes)
            });
        }
        match (is_attributes && raw.starts_with('[')).then(|| pairs(raw)).flatten() {
            Some(pairs) => pairs.into_iter().try_for_each(|(key, value)| {
                let key = bounds.key(key)?;
                attributes.push_within(bounds, place, (key, value), 5, Origin::Attributes)
            }),
            None => attributes.push_within(bounds, place, (key, raw), 3, Origin::Tags),
        }
    }
}

fn text(bounds: &mut Bounds<'_>, name: &str, raw: &str) -> Result<String, Fault> {
    let text = match raw.starts_with('"') {
        true => json::string(raw).map_err(|lone| Fault::lone_surrogate(name, &lone))?,
        false => bounds.json((name, name), raw, 3, usize::MAX)?,
    };
    Ok(bounds.text(name, text).into_owned())
}

//! What OTLP says about one span, whichever the encoding, before any rule of ours is applied.

use std::borrow::Cow;
use std::ops::Range;

use crate::model::ids::{SpanId, TraceId};

/// One span as it was sent. Its collections are used again for the next one.
#[derive(Default)]
pub(super) struct Record<'a> {
    /// Texts that do not stand in the body as they are kept.
    memory: String,
    /// Attributes, events and links that are kept, each.
    max_items: usize,
    /// Whether a value holds a backslash: most spans spare themselves the search.
    pub escapes: bool,
    pub trace_id: Option<TraceId>,
    pub span_id: Option<SpanId>,
    pub parent_span_id: Option<SpanId>,
    pub trace_state: Text<'a>,
    pub name: Text<'a>,
    /// OTLP's numbers, 0 where nothing was said, here and below.
    pub kind: i32,
    pub start: u64,
    pub end: u64,
    pub attributes: Vec<Pair<'a>>,
    pub dropped_attributes: u32,
    pub events: Vec<Event<'a>>,
    pub dropped_events: u32,
    pub links: Vec<Link<'a>>,
    pub dropped_links: u32,
    pub status_code: i32,
    pub status_message: Text<'a>,
    pub flags: u32,
    /// The attributes of events and links, one after the other's.
    pub inner: Vec<Pair<'a>>,
}

/// A text in the body, or in the memory of the record.
#[derive(Clone, Debug)]
pub(super) enum Text<'a> {
    Body(&'a str),
    Memory(Range<usize>),
}

/// An attribute's key as plain text, and its value as JSON text.
#[derive(Clone, Debug)]
pub(super) struct Pair<'a> {
    pub key: Text<'a>,
    pub value: Text<'a>,
}

#[derive(Default)]
pub(super) struct Event<'a> {
    pub time: u64,
    pub name: Text<'a>,
    /// Its part of [`Record::inner`].
    pub attributes: Range<usize>,
    pub dropped_attributes: u32,
}

#[derive(Default)]
pub(super) struct Link<'a> {
    pub trace_id: Option<TraceId>,
    pub span_id: Option<SpanId>,
    pub trace_state: Text<'a>,
    /// Its part of [`Record::inner`].
    pub attributes: Range<usize>,
    pub dropped_attributes: u32,
    pub flags: u32,
}

impl Default for Text<'_> {
    fn default() -> Self {
        Text::Body("")
    }
}

impl<'a> Record<'a> {
    /// Empties it, but for the memory it holds. `max_items`: how many attributes, events and links are kept, each.
    pub fn clear(&mut self, max_items: usize) {
        let Self { memory, attributes, events, links, inner, .. } = std::mem::take(self);
        *self = Self { memory, max_items, attributes, events, links, inner, ..Self::default() };
        self.memory.clear();
        self.attributes.clear();
        self.events.clear();
        self.links.clear();
        self.inner.clear();
    }

    /// Whether there is room for another event; what has none is counted as dropped, and so below.
    pub fn has_room_for_event(&mut self) -> bool {
        let has_room = self.events.len() < self.max_items;
        self.dropped_events = self.dropped_events.saturating_add(u32::from(!has_room));
        has_room
    }

    pub fn has_room_for_link(&mut self) -> bool {
        let has_room = self.links.len() < self.max_items;
        self.dropped_links = self.dropped_links.saturating_add(u32::from(!has_room));
        has_room
    }

    pub fn has_room_for_attribute(&mut self) -> bool {
        let has_room = self.attributes.len() < self.max_items;
        self.dropped_attributes = self.dropped_attributes.saturating_add(u32::from(!has_room));
        has_room
    }

    /// The same for an attribute of an event or a link, whose first stands at `start`, and who counts what it dropped.
    pub fn has_room_for_inner(&self, start: usize, dropped: &mut u32) -> bool {
        let has_room = self.inner.len() - start < self.max_items;
        *dropped = dropped.saturating_add(u32::from(!has_room));
        has_room
    }

    pub fn text<'t>(&'t self, text: &Text<'a>) -> &'t str
    where
        'a: 't,
    {
        match text {
            Text::Body(text) => text,
            Text::Memory(range) => &self.memory[range.clone()],
        }
    }

    /// Keeps a text that does not stand in the body.
    pub fn keep(&mut self, text: Cow<'a, str>) -> Text<'a> {
        match text {
            Cow::Borrowed(text) => Text::Body(text),
            Cow::Owned(text) => self.write(|memory| memory.push_str(&text)),
        }
    }

    /// The text that `write` appends.
    pub fn write(&mut self, write: impl FnOnce(&mut String)) -> Text<'a> {
        let start = self.memory.len();
        write(&mut self.memory);
        Text::Memory(start..self.memory.len())
    }

    /// As [`Record::write`], for what can fail.
    ///
    /// # Errors
    /// What `write` says.
    pub fn try_write<E>(&mut self, write: impl FnOnce(&mut String) -> Result<(), E>) -> Result<Text<'a>, E> {
        let start = self.memory.len();
        write(&mut self.memory)?;
        self.escapes |= self.memory.as_bytes()[start..].contains(&b'\\');
        Ok(Text::Memory(start..self.memory.len()))
    }
}

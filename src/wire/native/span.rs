//! One span object: its members into a [`Draft`], in any of the spellings of [`super::keys`].

use std::borrow::Cow;

use super::keys::{self, Meaning, SHARED};
use super::{lists, values};
use crate::model::ids::{IdError, SpanId, TraceId};
use crate::model::span::Span;
use crate::wire::context::Carried;
use crate::wire::json::{self, Member};
use crate::wire::normalize::{Bounds, Draft, Fault, Given, Memory, Origin, ResourceCache, pairs};
use crate::wire::{DecodeContext, DecodeError};

/// Reads the spans of one request.
pub(super) struct SpanReader<'a> {
    context: DecodeContext<'a>,
    carried: &'a Carried,
    /// `X-Request-ID` as JSON text.
    request_id: Option<&'a str>,
    /// What stood beside `spans`, for spans that do not say otherwise.
    shared: Vec<Shared<'a>>,
    /// Whether any of that holds a backslash.
    shared_escapes: bool,
    resources: ResourceCache<'a>,
    /// The members of the span at hand; kept for its memory.
    members: Vec<Member<'a>>,
    memory: Memory<'a>,
}

struct Shared<'a> {
    /// With its quotes.
    raw_name: &'a str,
    raw: &'a str,
    meaning: Option<Meaning>,
}

/// A resource and a scope as they were sent, until both are known.
#[derive(Default)]
struct Origins<'a> {
    resource: Option<Given<'a, &'a str>>,
    scope: Option<Given<'a, &'a str>>,
}

impl<'a> SpanReader<'a> {
    pub(super) fn new(context: DecodeContext<'a>, carried: &'a Carried, request_id: Option<&'a str>) -> Self {
        let resources = ResourceCache::default();
        Self {
            context,
            carried,
            request_id,
            shared: Vec::new(),
            shared_escapes: false,
            resources,
            members: Vec::new(),
            memory: Memory::default(),
        }
    }

    /// Takes a member that stands beside `spans`.
    ///
    /// # Errors
    /// If it is a single span's own business: to apply it to all would be wrong, and to drop it would be silent.
    pub(super) fn share(&mut self, raw_name: &'a str, raw: &'a str) -> Result<(), DecodeError> {
        let name = json::inside(raw_name);
        let meaning = keys::meaning(name);
        if json::is_null(raw) {
            return Ok(());
        }
        if meaning.is_some_and(|meaning| !meaning.is_shared()) {
            let shared: Vec<&str> = SHARED.iter().map(|field| field.name()).collect();
            return Err(DecodeError::Malformed(format!(
                "{} stands beside \"spans\", where it belongs to no span; put it into a span (for all spans at once: \
                 trace_id, resource, scope, attributes, {})",
                json::excerpt(name),
                shared.join(", ")
            )));
        }
        if self.shared.iter().any(|shared| shared.raw_name == raw_name) {
            return Err(DecodeError::Malformed(format!("{} is given twice", json::excerpt(name))));
        }
        self.shared_escapes |= raw_name.contains('\\') || raw.contains('\\');
        self.shared.push(Shared { raw_name, raw, meaning });
        Ok(())
    }

    /// Reads one span, from text that is known to be JSON.
    ///
    /// # Errors
    /// Why it cannot be taken.
    pub(super) fn read(&mut self, raw: &'a str) -> Result<Span, Fault> {
        self.members.clear();
        let limit = self.context.limits.max_span_bytes;
        if !raw.starts_with('{') {
            return Err(Fault { field: None, reason: format!("is {}, not a span object", json::kind(raw)) });
        }
        if raw.len() > limit {
            let reason = format!("the span has {} bytes; the limit max_span_bytes is {limit}", raw.len());
            return Err(Fault { field: None, reason });
        }
        let mut members = std::mem::take(&mut self.members);
        json::members(raw, &mut members);
        let escapes = self.shared_escapes || raw.as_bytes().contains(&b'\\');
        let outcome = self.span(&members, escapes);
        self.members = members;
        outcome
    }

    /// The id of the span read last, as it was sent.
    pub(super) fn span_id_as_sent(&self) -> Option<String> {
        let is_span_id = |member: &&Member<'_>| keys::meaning(json::inside(member.0)) == Some(Meaning::SpanId);
        let (_, raw) = self.members.iter().find(is_span_id).filter(|member| !json::is_null(member.1))?;
        Some(json::inside(raw).chars().take(64).collect()).filter(|_| raw.starts_with('"'))
    }

    fn span(&mut self, members: &[Member<'a>], escapes: bool) -> Result<Span, Fault> {
        let bounds = Bounds::new(self.context.limits, escapes);
        let mut draft = Draft::new(bounds, std::mem::take(&mut self.memory));
        let filled = self.fill(&mut draft, members);
        let outcome = filled.and_then(|()| draft.finish(&self.context, self.carried));
        self.memory = draft.into_memory();
        outcome
    }

    fn fill(&mut self, draft: &mut Draft<'a, 'a>, members: &[Member<'a>]) -> Result<(), Fault> {
        let mut origins = Origins::default();
        let mut seen = 0u128;
        for (index, &(raw_key, raw)) in members.iter().enumerate() {
            let key = draft.bounds.key(raw_key)?;
            let Some(meaning) = keys::meaning(&key) else {
                if !json::is_null(raw) {
                    let Draft { attributes, bounds, .. } = draft;
                    attributes.push(bounds, key, raw, 1, Origin::Span)?;
                }
                continue;
            };
            let bit = meaning.bit();
            if seen & bit != 0 && members[..index].iter().any(|(other, _)| *other == raw_key) {
                return Err(Fault::of(&key, "is given twice"));
            }
            seen |= bit;
            if !json::is_null(raw) {
                read_member(draft, &mut origins, meaning, json::inside(raw_key), raw)?;
            }
        }
        self.fill_shared(draft, &mut origins)?;
        self.fill_resource(draft, origins)?;
        if let Some(request_id) = self.request_id {
            draft.attributes.push_known("request_id", request_id, Origin::Header);
        }
        Ok(())
    }

    fn fill_shared(&self, draft: &mut Draft<'a, 'a>, origins: &mut Origins<'a>) -> Result<(), Fault> {
        for &Shared { raw_name, raw, meaning } in &self.shared {
            let name = json::inside(raw_name);
            match meaning {
                None => {
                    let Draft { attributes, bounds, .. } = draft;
                    let key = bounds.key(raw_name)?;
                    attributes.push(bounds, key, raw, 1, Origin::Request)?;
                }
                Some(Meaning::Attributes(_)) => read_attributes(draft, name, raw, Origin::Request)?,
                Some(Meaning::TraceId) if draft.trace_id.is_some() => {}
                Some(Meaning::Resource) if origins.resource.is_some() => {}
                Some(Meaning::Scope) if origins.scope.is_some() => {}
                Some(Meaning::Field(field)) if draft.fields.has(field) => {}
                Some(meaning) => read_member(draft, origins, meaning, name, raw)?,
            }
        }
        Ok(())
    }

    fn fill_resource(&mut self, draft: &mut Draft<'a, 'a>, origins: Origins<'a>) -> Result<(), Fault> {
        let of = |given: Option<Given<'a, &'a str>>| given.map_or(("", ""), |given| (given.name, given.value));
        let (resource, scope) = (of(origins.resource), of(origins.scope));
        if resource.1.is_empty() && scope.1.is_empty() {
            return Ok(());
        }
        draft.resource = Some(self.resources.get(self.context.limits, resource, scope)?);
        Ok(())
    }
}

fn read_member<'a>(
    draft: &mut Draft<'a, '_>,
    origins: &mut Origins<'a>,
    meaning: Meaning,
    name: &'a str,
    raw: &'a str,
) -> Result<(), Fault> {
    match meaning {
        Meaning::TraceId => match id(name, raw, TraceId::parse)? {
            Some(id) => Given::put(&mut draft.trace_id, name, id),
            None => Ok(()),
        },
        Meaning::SpanId => match id(name, raw, SpanId::parse)? {
            Some(id) => Given::put(&mut draft.span_id, name, id),
            None => Ok(()),
        },
        Meaning::ParentSpanId => match id(name, raw, parent_id)?.flatten() {
            Some(id) => Given::put(&mut draft.parent_span_id, name, id),
            None => Ok(()),
        },
        Meaning::StartedAt(unit) => values::time(&mut draft.started_at, name, raw, unit),
        Meaning::EndedAt(unit) => values::time(&mut draft.ended_at, name, raw, unit),
        Meaning::Duration(unit) => values::duration(draft, name, raw, unit),
        Meaning::Status => values::status(draft, name, raw),
        Meaning::StatusCode => values::status_code(draft, name, raw),
        Meaning::Error => values::error(draft, name, raw),
        Meaning::Tokens => values::tokens(draft, name, raw),
        Meaning::Cost => values::cost(draft, name, raw),
        Meaning::Attributes(origin) => read_attributes(draft, name, raw, origin),
        Meaning::Events => lists::events(draft, name, raw),
        Meaning::Links => lists::links(draft, name, raw),
        Meaning::Resource => object(name, raw).and_then(|raw| Given::put(&mut origins.resource, name, raw)),
        Meaning::Scope => object(name, raw).and_then(|raw| Given::put(&mut origins.scope, name, raw)),
        Meaning::Revision => values::revision(draft, name, raw),
        Meaning::Field(field) => values::field(draft, field, name, raw),
    }
}

/// `metadata` and its like: an object, or a list of keys and values. Anything else is one attribute by that name.
fn read_attributes<'a>(draft: &mut Draft<'a, '_>, name: &'a str, raw: &'a str, origin: Origin) -> Result<(), Fault> {
    let Draft { attributes, bounds, .. } = draft;
    if raw.starts_with('{') {
        return json::for_each_member(raw, |key, value| {
            let key = bounds.key(key)?;
            attributes.push(bounds, key, value, 2, origin)
        });
    }
    match raw.starts_with('[').then(|| pairs(raw)).flatten() {
        Some(pairs) => pairs.into_iter().try_for_each(|(key, value)| {
            let key = bounds.key(key)?;
            attributes.push(bounds, key, value, 3, origin)
        }),
        None => attributes.push(bounds, Cow::Borrowed(name), raw, 1, origin.max(Origin::Span)),
    }
}

/// An id; `None` for an empty text.
pub(super) fn id<T>(name: &str, raw: &str, parse: impl Fn(&str) -> Result<T, IdError>) -> Result<Option<T>, Fault> {
    if !raw.starts_with('"') {
        return Err(Fault::of(name, format_args!("is {}; ids are strings of hex digits", json::kind(raw))));
    }
    let text = json::string(raw).map_err(|lone| Fault::lone_surrogate(name, &lone))?;
    if text.is_empty() {
        return Ok(None);
    }
    parse(&text).map(Some).map_err(|error| Fault::of(name, format_args!("{error}: {}", json::excerpt(&text))))
}

/// A parent of zeros is how some tracers say that there is none.
fn parent_id(text: &str) -> Result<Option<SpanId>, IdError> {
    match SpanId::parse(text) {
        Err(IdError::Zero) => Ok(None),
        parsed => parsed.map(Some),
    }
}

fn object<'a>(name: &str, raw: &'a str) -> Result<&'a str, Fault> {
    if raw.starts_with('{') {
        return Ok(raw);
    }
    Err(Fault::of(name, format_args!("is {}, not an object", json::kind(raw))))
}

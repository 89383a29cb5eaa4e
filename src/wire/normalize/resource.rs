//! Resources: the same few texts on every span of a request, read and hashed once.

use std::sync::Arc;

use super::{AttributeSet, Bounds, Fault, FieldSet, Origin, Promoter, pairs};
use crate::model::attributes::{Attributes, AttributesBuilder};
use crate::model::limits::Limits;
use crate::model::span::{Field, FieldValue, Resource};
use crate::wire::json;

/// A resource, and the fields of spans that it fills.
#[derive(Clone)]
pub(in crate::wire) struct KnownResource {
    pub resource: Arc<Resource>,
    pub fields: Vec<(Field, FieldValue)>,
}

impl KnownResource {
    /// The name of the service that it describes.
    pub(super) fn service(&self) -> Option<&FieldValue> {
        self.fields.iter().find(|(field, _)| *field == Field::Service).map(|(_, value)| value)
    }
}

/// What all spans of a process can have in common.
const COMMON: [Field; 10] = [
    Field::Service,
    Field::ExecutionId,
    Field::JobId,
    Field::WorkflowId,
    Field::SessionId,
    Field::UserId,
    Field::Region,
    Field::WorkspaceId,
    Field::ReleaseTargetKey,
    Field::ReleaseId,
];

/// The resources of one request, by the text they were sent as. The last few are remembered: exporters group their
/// spans by resource.
#[derive(Default)]
pub(in crate::wire) struct ResourceCache<'a>(Vec<(&'a str, &'a str, KnownResource)>);

const REMEMBERED: usize = 16;

impl<'a> ResourceCache<'a> {
    /// Reads a resource and an instrumentation scope, each a JSON object or an empty text for none.
    ///
    /// # Errors
    /// If one of them is something else, too deep, or holds a lone surrogate.
    pub(in crate::wire) fn get(
        &mut self,
        limits: &Limits,
        resource: (&str, &'a str),
        scope: (&str, &'a str),
    ) -> Result<KnownResource, Fault> {
        if let Some(known) = self.0.iter().rev().find(|known| known.0 == resource.1 && known.1 == scope.1) {
            return Ok(known.2.clone());
        }
        let known = read(limits, resource, scope)?;
        if self.0.len() == REMEMBERED {
            self.0.remove(0);
        }
        self.0.push((resource.1, scope.1, known.clone()));
        Ok(known)
    }
}

/// A plain object is the attributes; one that has a member `attributes` is the content itself, as OTLP writes it and as
/// it is written here.
fn read(limits: &Limits, (name, resource): (&str, &str), scope: (&str, &str)) -> Result<KnownResource, Fault> {
    let mut bounds = Bounds::new(limits, true);
    let mut content = AttributesBuilder::default();
    let mut attributes = Attributes::default();
    let members = object(name, resource)?;
    if members.iter().any(|(key, raw)| *key == "\"attributes\"" && json::is_container(raw)) {
        for (key, raw) in members {
            match bounds.key(key)? {
                key if key == "attributes" => attributes = attributes_of(&mut bounds, raw)?,
                key if key == "scope" => content.push_raw(key, scope_of(&mut bounds, name, raw)?.as_json().to_owned()),
                key => {
                    let value = bounds.attribute(&key, &key, raw, 2)?.into_owned();
                    content.push_raw(key, value);
                }
            }
        }
    } else {
        attributes = attributes_of(&mut bounds, resource)?;
    }
    if !scope.1.is_empty() {
        if content.contains("scope") {
            return Err(Fault::of(scope.0, format_args!("stands in {name} as well")));
        }
        content.push_raw("scope", scope_of(&mut bounds, scope.0, scope.1)?.as_json().to_owned());
    }
    if !bounds.kept_all() {
        let mut noted = AttributesBuilder::default();
        for (key, raw) in attributes.entries() {
            noted.push_raw(key.into_owned(), raw.to_owned());
        }
        for (key, names) in bounds.into_notes(|_| None) {
            noted.push_raw(key, names);
        }
        attributes = noted.finish();
    }
    let mut filled = FieldSet::default();
    let mut promoter = Promoter::default();
    for (key, raw) in attributes.entries() {
        promoter.look(&mut filled, &key, raw);
    }
    let filled = filled.finish();
    let fields = COMMON.iter().filter_map(|field| Some((*field, filled.get(*field)?.clone()))).collect();
    content.push_raw("attributes", attributes.as_json());
    Ok(KnownResource { resource: Arc::new(Resource::new(content.finish().as_json())), fields })
}

/// An instrumentation scope: its own members in order, its attributes too.
fn scope_of(bounds: &mut Bounds<'_>, name: &str, raw: &str) -> Result<Attributes, Fault> {
    let mut scope = AttributesBuilder::default();
    for (key, raw) in object(name, raw)? {
        match bounds.key(key)? {
            key if key == "attributes" && json::is_container(raw) => {
                scope.push_raw(key, attributes_of(bounds, raw)?.as_json().to_owned());
            }
            key => {
                let value = bounds.attribute(&key, &key, raw, 3)?.into_owned();
                scope.push_raw(key, value);
            }
        }
    }
    Ok(scope.finish())
}

fn object<'a>(name: &str, raw: &'a str) -> Result<Vec<json::Member<'a>>, Fault> {
    let mut members = Vec::new();
    if raw.is_empty() {
        return Ok(members);
    }
    if !raw.starts_with('{') {
        return Err(Fault::of(name, format_args!("is {}, not an object", json::kind(raw))));
    }
    json::members(raw, &mut members);
    Ok(members)
}

fn attributes_of(bounds: &mut Bounds<'_>, raw: &str) -> Result<Attributes, Fault> {
    let mut set = AttributeSet::default();
    let entries = match raw.starts_with('[') {
        true => pairs(raw).ok_or_else(|| Fault::of("resource", "has attributes that are no list of key and value"))?,
        false => object("resource", raw)?,
    };
    for (key, value) in entries {
        let key = bounds.key(key)?;
        set.push(bounds, key, value, 3, Origin::Attributes)?;
    }
    set.finish(|_, _| {})
}

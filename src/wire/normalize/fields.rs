//! Fields on their way in, each with the name it was sent by, so that two names for one field are caught when they differ.

use std::borrow::Cow;

use super::Fault;
use crate::model::ids::TraceId;
use crate::model::span::{Field, FieldValue, Fields};

/// A value with the name of the member that gave it.
#[derive(Debug)]
pub(in crate::wire) struct Given<'a, T> {
    pub value: T,
    pub name: &'a str,
}

impl<'a, T: PartialEq> Given<'a, T> {
    /// Puts a value where there may be one already.
    ///
    /// # Errors
    /// If that is another value, naming both members.
    pub(in crate::wire) fn put(place: &mut Option<Self>, name: &'a str, value: T) -> Result<(), Fault> {
        match place {
            Some(given) if given.value != value => Err(disagree(name, given.name)),
            Some(_) => Ok(()),
            None => {
                *place = Some(Given { value, name });
                Ok(())
            }
        }
    }
}

pub(in crate::wire) fn disagree(name: &str, other: &str) -> Fault {
    Fault::of(name, format_args!("and {other} are two names for one field, but their values differ"))
}

/// The fields that a record fills.
#[derive(Debug, Default)]
pub(in crate::wire) struct FieldSet<'a> {
    entries: Vec<Entry<'a>>,
    /// One bit for each field that is filled.
    filled: u128,
}

#[derive(Debug)]
struct Entry<'a> {
    field: Field,
    value: FieldValue,
    /// The member that told it.
    name: &'a str,
    /// 0 for what was told; what was promoted has its rank above that, and gives way to lower ones.
    rank: u8,
}

const _: () = assert!(Field::ALL.len() <= 128, "one bit for each field");

impl<'a> FieldSet<'a> {
    pub(in crate::wire) fn has(&self, field: Field) -> bool {
        self.filled & bit(field) != 0
    }

    pub(in crate::wire) fn int(&self, field: Field) -> Option<i64> {
        match &self.get(field)?.value {
            FieldValue::Int(value) => Some(*value),
            FieldValue::Text(_) => None,
        }
    }

    pub(in crate::wire) fn text(&self, field: Field) -> Option<&str> {
        match &self.get(field)?.value {
            FieldValue::Text(text) => Some(text),
            FieldValue::Int(_) => None,
        }
    }

    /// Fills a field from the member `name`.
    ///
    /// # Errors
    /// If another member has filled it with another value.
    pub(in crate::wire) fn put(&mut self, field: Field, name: &'a str, value: FieldValue) -> Result<(), Fault> {
        match self.get(field) {
            Some(entry) if entry.value != value => Err(disagree(name, entry.name)),
            Some(_) => Ok(()),
            None => {
                self.filled |= bit(field);
                self.entries.push(Entry { field, value, name, rank: 0 });
                Ok(())
            }
        }
    }

    /// Fills a field that is still empty.
    pub(in crate::wire) fn fill(&mut self, field: Field, value: FieldValue) {
        if !self.has(field) {
            self.filled |= bit(field);
            self.entries.push(Entry { field, value, name: field.name(), rank: 0 });
        }
    }

    /// Whether a value of this rank would count: nothing was told, and nothing of a lower rank promoted.
    pub(super) fn is_open(&self, field: Field, rank: u8) -> bool {
        self.get(field).is_none_or(|entry| entry.rank > rank + 1)
    }

    /// Fills a field from an attribute of this rank, in place of one of a higher rank.
    pub(super) fn promote(&mut self, field: Field, rank: u8, value: FieldValue) {
        if self.is_open(field, rank) {
            self.remove(field);
            self.filled |= bit(field);
            self.entries.push(Entry { field, value, name: field.name(), rank: rank + 1 });
        }
    }

    /// Sets a field, whatever it holds.
    pub(super) fn replace(&mut self, field: Field, value: FieldValue) {
        self.remove(field);
        self.fill(field, value);
    }

    /// Whether an attribute filled the field.
    pub(super) fn is_promoted(&self, field: Field) -> bool {
        self.get(field).is_some_and(|entry| entry.rank > 0)
    }

    fn remove(&mut self, field: Field) {
        if self.has(field) {
            self.filled &= !bit(field);
            self.entries.retain(|entry| entry.field != field);
        }
    }

    fn get(&self, field: Field) -> Option<&Entry<'a>> {
        if !self.has(field) {
            return None;
        }
        self.entries.iter().find(|entry| entry.field == field)
    }

    /// The fields, in order; nothing but its memory stays here.
    pub(in crate::wire) fn finish(&mut self) -> Fields {
        self.entries.sort_unstable_by_key(|entry| entry.field);
        self.filled = 0;
        Fields::from_sorted(self.entries.drain(..).map(|entry| (entry.field, entry.value)).collect())
    }

    pub(in crate::wire) fn clear(&mut self) {
        self.entries.clear();
        self.filled = 0;
    }
}

fn bit(field: Field) -> u128 {
    1 << field as u8
}

/// The one spelling of [`Field::ParentTraceId`], where it is a trace id.
pub(in crate::wire) fn canonical_trace(text: Cow<'_, str>) -> Cow<'_, str> {
    TraceId::parse(&text).map_or(text, |id| Cow::Owned(id.to_string()))
}

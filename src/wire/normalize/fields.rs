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
#[derive(Debug)]
pub(in crate::wire) struct FieldSet<'a> {
    entries: Vec<(Field, FieldValue, &'a str)>,
    /// One bit for each field that is filled.
    filled: u128,
}

const _: () = assert!(Field::ALL.len() <= 128, "one bit for each field");

impl<'a> FieldSet<'a> {
    pub(in crate::wire) fn with_capacity(fields: usize) -> Self {
        Self { entries: Vec::with_capacity(fields), filled: 0 }
    }

    pub(in crate::wire) fn has(&self, field: Field) -> bool {
        self.filled & bit(field) != 0
    }

    pub(in crate::wire) fn int(&self, field: Field) -> Option<i64> {
        match self.get(field)?.1 {
            FieldValue::Int(value) => Some(value),
            FieldValue::Text(_) => None,
        }
    }

    /// Fills a field from the member `name`.
    ///
    /// # Errors
    /// If another member has filled it with another value.
    pub(in crate::wire) fn put(&mut self, field: Field, name: &'a str, value: FieldValue) -> Result<(), Fault> {
        match self.get(field) {
            Some((_, given, other)) if *given != value => Err(disagree(name, other)),
            Some(_) => Ok(()),
            None => {
                self.filled |= bit(field);
                self.entries.push((field, value, name));
                Ok(())
            }
        }
    }

    /// Fills a field that is still empty.
    pub(in crate::wire) fn fill(&mut self, field: Field, value: FieldValue) {
        if !self.has(field) {
            self.filled |= bit(field);
            self.entries.push((field, value, field.name()));
        }
    }

    fn get(&self, field: Field) -> Option<&(Field, FieldValue, &'a str)> {
        if !self.has(field) {
            return None;
        }
        self.entries.iter().find(|entry| entry.0 == field)
    }

    pub(in crate::wire) fn finish(mut self) -> Fields {
        // In order, so that each is appended.
        self.entries.sort_unstable_by_key(|entry| entry.0);
        let mut fields = Fields::with_capacity(self.entries.len());
        for (field, value, _) in self.entries {
            fields.set(field, value);
        }
        fields
    }
}

fn bit(field: Field) -> u128 {
    1 << field as u8
}

/// The one spelling of a field's text: a trace that is continued is named as traces are.
pub(in crate::wire) fn canonical(field: Field, text: Cow<'_, str>) -> Cow<'_, str> {
    if field == Field::ParentTraceId {
        return TraceId::parse(&text).map_or(text, |id| Cow::Owned(id.to_string()));
    }
    text
}

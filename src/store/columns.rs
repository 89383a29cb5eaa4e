//! The columns of spans and roll-ups, by name and in order, and which of them a batch fills. Both dialects build their
//! lists from here; the migrations are compared with it by a test.

use std::sync::LazyLock;

use super::Detail;
use crate::model::span::{Field, Span};

/// Columns that every row of a span fills, ended or open.
pub(super) const ALWAYS: [&str; 7] =
    ["trace_id", "span_id", "tenant", "started_at", "duration_ns", "status", "created_at"];

/// Columns, beside the fields, that a span fills only where it has something to say.
pub(super) const SOMETIMES: [&str; 7] =
    ["parent_span_id", "revision", "provenance", "resource_id", "attributes", "events", "links"];

/// Columns of `open_spans` alone.
pub(super) const OPEN: [&str; 3] = ["ended_at", "seen_at", "deadline"];

/// Columns of a roll-up, in the order of [`crate::model::rollup::TraceRollup`].
pub(super) const ROLLUP: [&str; 28] = [
    "trace_id",
    "root_service",
    "root_operation",
    "status",
    "started_at",
    "ended_at",
    "duration_ns",
    "error_type",
    "error_message",
    "error_service",
    "span_count",
    "error_count",
    "orphan_count",
    "open_count",
    "services",
    "execution_id",
    "job_id",
    "question_id",
    "workflow_id",
    "session_id",
    "user_id",
    "regions",
    "models",
    "input_tokens",
    "output_tokens",
    "cost_pico",
    "query",
    "metadata",
];

/// A set of columns out of the fields and [`SOMETIMES`]: those that some row of a batch fills. Binding a NULL costs
/// nearly as much as binding a number, and most spans fill a dozen of the half hundred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Filled(u64);

const FIRST_SOMETIMES: usize = Field::ALL.len();
const _: () = assert!(FIRST_SOMETIMES + SOMETIMES.len() <= 64, "a set of columns is one word");

/// A column that may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Field(Field),
    Parent,
    Revision,
    Provenance,
    Resource,
    Attributes,
    Events,
    Links,
}

const SOMETIMES_COLUMNS: [Column; SOMETIMES.len()] = [
    Column::Parent,
    Column::Revision,
    Column::Provenance,
    Column::Resource,
    Column::Attributes,
    Column::Events,
    Column::Links,
];

impl Filled {
    /// What one span fills.
    pub(super) fn by(span: &Span) -> Self {
        let mut bits = 0;
        for (field, _) in span.fields.iter() {
            bits |= 1 << field as u8;
        }
        let sometimes = [
            span.parent_span_id.is_some(),
            span.revision != 0,
            span.provenance().is_some(),
            span.resource.is_some(),
            !span.attributes.is_empty(),
            !span.events().is_empty(),
            !span.links().is_empty(),
        ];
        for (index, filled) in sometimes.into_iter().enumerate() {
            bits |= u64::from(filled) << (FIRST_SOMETIMES + index);
        }
        Self(bits)
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The columns of the set: fields in the order of [`Field::ALL`], then the others in that of [`SOMETIMES`].
    pub(super) fn columns(self) -> impl Iterator<Item = Column> {
        let fields = Field::ALL.iter().map(|field| Column::Field(*field));
        let all = fields.chain(SOMETIMES_COLUMNS).enumerate();
        all.filter(move |(index, _)| self.0 >> index & 1 == 1).map(|(_, column)| column)
    }
}

impl Column {
    pub(super) fn name(self) -> &'static str {
        match self {
            Column::Field(field) => field.name(),
            Column::Parent => "parent_span_id",
            Column::Revision => "revision",
            Column::Provenance => "provenance",
            Column::Resource => "resource_id",
            Column::Attributes => "attributes",
            Column::Events => "events",
            Column::Links => "links",
        }
    }
}

/// Whether a field is left out of an outline.
pub(super) const fn is_heavy(field: Field) -> bool {
    matches!(field, Field::Inputs | Field::Outputs)
}

/// The columns that a read of spans selects, in the order in which [`super::rows::span`] takes them. `ended_at` and
/// `seen_at` are NULL for ended spans, whose tables lack them.
pub(super) fn selected(detail: Detail) -> &'static [&'static str] {
    static OUTLINE: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let before = [
            "trace_id",
            "span_id",
            "tenant",
            "parent_span_id",
            "started_at",
            "duration_ns",
            "status",
            "revision",
            "created_at",
        ];
        let fields = Field::ALL.iter().filter(|field| !is_heavy(**field)).map(|field| field.name());
        before.into_iter().chain(fields).chain(["provenance", "ended_at", "seen_at"]).collect()
    });
    static FULL: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let heavy = ["resource_id", "attributes", "inputs", "outputs", "events", "links"];
        OUTLINE.iter().copied().chain(heavy).collect()
    });
    match detail {
        Detail::Outline => &OUTLINE,
        Detail::Full => &FULL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_set_are_those_of_its_columns() {
        let all = Filled::from_bits(u64::MAX >> (64 - FIRST_SOMETIMES - SOMETIMES.len()));
        let names: Vec<&str> = all.columns().map(Column::name).collect();
        let fields = Field::ALL.iter().map(|field| field.name());
        assert_eq!(names, fields.chain(SOMETIMES).collect::<Vec<_>>());
        assert!(all.contains(Filled::from_bits(5)) && !Filled::from_bits(5).contains(all));
        assert_eq!(Filled::from_bits(5).columns().map(Column::name).collect::<Vec<_>>(), ["service", "span_type"]);
    }
}

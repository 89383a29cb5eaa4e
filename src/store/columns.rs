//! The columns of spans and roll-ups, by name and in order, and which of them rows fill. Both dialects build their lists
//! from here; the migrations are compared with it by a test.

use super::Detail;
use crate::model::span::{Field, Span};

/// Columns that every row of a span has something for, ended or open.
pub(super) const ALWAYS: [&str; 7] =
    ["trace_id", "span_id", "tenant", "started_at", "duration_ns", "status", "created_at"];

/// Columns of `open_spans` alone that are read back.
pub(super) const OPEN: [&str; 2] = ["ended_at", "seen_at"];

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

/// What a read of a trace's row lists behind its own columns, in the order of [`crate::model::rollup::Keeping`].
pub(super) const KEEPING: [&str; 3] = ["spans_partial", "spans_expired_at", "pinned"];

/// The list of [`KEEPING`] in a SELECT of `traces`. `schema` stands before the names of tables.
pub(super) fn keeping(schema: &str, instants: Instants) -> String {
    let pinned = format!(
        "(SELECT count(*) FROM {schema}pins WHERE pins.trace_id = traces.trace_id AND pins.tenant = traces.tenant)"
    );
    format!("spans_partial, {}, {pinned} AS pinned", instants.columns("spans_expired_at"))
}

/// How a dialect holds instants, the columns whose names end in `_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instants {
    /// Nanoseconds in one column.
    Whole,
    /// Microseconds in a column of the database's own type, and the nanoseconds below them in a second one: `started_at`
    /// and `started_ns`.
    Split,
}

impl Instants {
    /// The column, or the two columns, of a name.
    pub(super) fn columns(self, name: &str) -> String {
        match name.strip_suffix("_at") {
            Some(stem) if self == Instants::Split => format!("{name},{stem}_ns"),
            _ => name.to_owned(),
        }
    }

    /// What stands for a column that a table does not have.
    pub(super) fn absent(self, name: &str) -> &'static str {
        match self {
            Instants::Split if name.ends_with("_at") => "NULL::timestamptz,NULL::smallint",
            _ => "NULL",
        }
    }
}

/// A column that a span fills only where it has something to say.
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

/// Those that are no fields.
const OTHERS: [Column; 7] = [
    Column::Parent,
    Column::Revision,
    Column::Provenance,
    Column::Resource,
    Column::Attributes,
    Column::Events,
    Column::Links,
];

/// A set of such columns. Binding a NULL costs nearly as much as binding a number, and reading one too; most spans fill a
/// dozen columns of more than half a hundred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Filled(u64);

const _: () = assert!(OTHERS.len() + Field::ALL.len() <= 64, "a set of columns is one word");

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

    fn parse(name: &str) -> Option<Self> {
        let other = OTHERS.into_iter().find(|column| column.name() == name);
        other.or_else(|| Field::parse(name).map(Column::Field))
    }

    /// Whether an outline leaves it out.
    fn is_heavy(self) -> bool {
        match self {
            Column::Field(field) => matches!(field, Field::Inputs | Field::Outputs),
            Column::Resource | Column::Attributes | Column::Events | Column::Links => true,
            Column::Parent | Column::Revision | Column::Provenance => false,
        }
    }

    /// Whether a roll-up takes it from the root, though it is heavy.
    pub(super) fn is_of_roots(self) -> bool {
        matches!(self, Column::Attributes | Column::Field(Field::Inputs))
    }

    const fn bit(self) -> u64 {
        match self {
            Column::Parent => 1 << 0,
            Column::Revision => 1 << 1,
            Column::Provenance => 1 << 2,
            Column::Resource => 1 << 3,
            Column::Attributes => 1 << 4,
            Column::Events => 1 << 5,
            Column::Links => 1 << 6,
            Column::Field(field) => 1 << (OTHERS.len() + field as usize),
        }
    }
}

impl Filled {
    /// Every column there is.
    pub(super) fn all() -> Self {
        Field::ALL.iter().map(|field| Column::Field(*field)).chain(OTHERS).collect()
    }

    /// What one span fills.
    pub(super) fn by(span: &Span) -> Self {
        let fields = span.fields.iter().fold(0, |bits, (field, _)| bits | Column::Field(field).bit());
        let others = [
            (Column::Parent, span.parent_span_id.is_some()),
            (Column::Revision, span.revision != 0),
            (Column::Provenance, span.provenance().is_some()),
            (Column::Resource, span.resource.is_some()),
            (Column::Attributes, !span.attributes.is_empty()),
            (Column::Events, !span.events().is_empty()),
            (Column::Links, !span.links().is_empty()),
        ];
        Self(others.iter().filter(|(_, filled)| *filled).fold(fields, |bits, (column, _)| bits | column.bit()))
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

    /// The columns of the set: fields in the order of [`Field::ALL`], then the others.
    pub(super) fn columns(self) -> impl Iterator<Item = Column> {
        let all = Field::ALL.iter().map(|field| Column::Field(*field)).chain(OTHERS);
        all.filter(move |column| self.0 & column.bit() != 0)
    }

    /// Those of the set that are read at this detail.
    pub(super) fn read_at(self, detail: Detail) -> Self {
        match detail {
            Detail::Full => self,
            Detail::Outline => self.columns().filter(|column| !column.is_heavy()).collect(),
            Detail::Rollup => self.columns().filter(|column| !column.is_heavy() || column.is_of_roots()).collect(),
        }
    }

    /// The names, separated by spaces.
    pub(super) fn to_text(self) -> String {
        self.columns().map(Column::name).collect::<Vec<_>>().join(" ")
    }

    /// Reads what [`Filled::to_text`] wrote.
    ///
    /// # Errors
    /// With the name that is none of a column.
    pub(super) fn parse(text: &str) -> Result<Self, &str> {
        text.split_ascii_whitespace().map(|name| Column::parse(name).ok_or(name)).collect()
    }
}

impl FromIterator<Column> for Filled {
    fn from_iter<I: IntoIterator<Item = Column>>(columns: I) -> Self {
        Self(columns.into_iter().fold(0, |bits, column| bits | column.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_written_and_read_by_the_names_of_its_columns() {
        let all = Filled::all();
        assert_eq!(all.len() as usize, Field::ALL.len() + OTHERS.len(), "each has a bit of its own");
        assert_eq!(Filled::parse(&all.to_text()), Ok(all));
        let some: Filled = [Column::Links, Column::Field(Field::Service)].into_iter().collect();
        assert_eq!(some.to_text(), "service links");
        assert!(all.contains(some) && !some.contains(all));
        assert_eq!(Filled::parse(""), Ok(Filled::default()));
        assert_eq!(Filled::parse("service nonsense"), Err("nonsense"));
    }

    #[test]
    fn an_outline_reads_nothing_heavy() {
        let all = Filled::all();
        let left_out =
            all.columns().filter(|column| !all.read_at(Detail::Outline).contains([*column].into_iter().collect()));
        let names: Vec<&str> = left_out.map(Column::name).collect();
        assert_eq!(names, ["inputs", "outputs", "resource_id", "attributes", "events", "links"]);
        assert_eq!(all.read_at(Detail::Full), all);
    }
}

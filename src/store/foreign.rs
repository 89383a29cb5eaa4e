//! Tables of others that hold spans, read a page at a time and never written to: what is known of one, and its rows as
//! JSON. How they are read is the dialect's (`postgres`); what their columns mean is `wire`'s.

use serde::{Deserialize, Serialize};

pub use super::postgres::foreign::ForeignTable;
use crate::model::time::UnixNanos;

/// What the catalogue says of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its name as SQL takes it: `public.trace_spans`, with quotes where they are needed.
    pub name: String,
    /// Host, port and database, without user and password.
    pub place: String,
    /// The role that reads it.
    pub role: String,
    pub columns: Vec<Column>,
    pub order: Order,
    /// By PostgreSQL's own statistics, which may be old.
    pub estimated_rows: Option<u64>,
    /// Policies decide which rows the role sees.
    pub row_security: bool,
    /// Whether it has no page at all, and so no row that a policy could hide.
    pub is_empty: bool,
    /// Tables that inherit from it, comma-separated: their rows are not its own and are not read with it.
    pub heirs: Option<String>,
    /// Another one means that the rows that a [`Position`] was told of are gone: the table was made anew, or, where
    /// rows are found by their place, rewritten.
    pub identity: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// As SQL writes it: `timestamp with time zone`, `character varying(64)`.
    pub sql_type: String,
}

/// In which order rows are read, and so how an interrupted reader finds the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// By the columns of the primary key, or of another unique key without NULLs.
    Key(Vec<String>),
    /// By where rows lie in the file. Rows that are updated meanwhile move, and are met again or later.
    Place,
}

/// Behind which row to go on, as text that only the table's own reader understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub(super) Vec<String>);

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// For people who look for it: `id=17`.
    pub key: String,
    /// Its columns as one JSON object, instants in UTC, but for the one that [`Row::created_at`] holds.
    pub json: String,
    /// From a column `created_at` or `createdAt`, where that is an instant within range.
    pub created_at: Option<UnixNanos>,
}

/// Rows that follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<Row>,
    /// Where to go on; `None` at the end. There may be a next page behind an empty one.
    pub next: Option<Position>,
}

//! Spans into INSERT statements of many rows.
//!
//! Through sqlx each statement costs a hop to the connection's thread and each bound value an allocation; so rows go in
//! by the chunk, only columns that some row fills are listed, and values that repeat from row to row are shared.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

use super::nanos;
use super::tables::Table;
use crate::model::span::{DEFAULT_DEADLINE_NS, Field, FieldValue, Span, SpanKey, Status};
use crate::model::tenant::TenantId;
use crate::store::columns::{ALWAYS, Column, Filled};

/// Columns of `open_spans` alone.
const OPEN: [&str; 3] = ["ended_at", "seen_at", "deadline"];

/// Rows in the statements that take what is left after the large ones. Few sizes make few statements to prepare.
const TAILS: [usize; 3] = [32, 4, 1];

/// The sizes of the chunks that `rows` are cut into: as many of `largest` as fit, then smaller ones.
pub(super) fn chunks(mut rows: usize, largest: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let size = [largest].into_iter().chain(TAILS).find(|size| *size <= rows && *size <= largest)?;
        rows -= size;
        Some(size)
    })
}

/// `rows` times `(?, … ?)` with `columns` places each.
pub(super) fn placeholders(columns: usize, rows: usize) -> String {
    let mut row = "(?".to_owned();
    row.push_str(&",?".repeat(columns.saturating_sub(1)));
    row.push_str("),");
    let mut all = row.repeat(rows);
    all.pop();
    all
}

/// Into which table rows go, and which columns the INSERT lists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub table: Table,
    pub filled: Filled,
}

impl Shape {
    fn open(self) -> &'static [&'static str] {
        if self.table == Table::Open { &OPEN } else { &[] }
    }

    fn width(self) -> usize {
        ALWAYS.len() + self.filled.len() as usize + self.open().len()
    }

    /// A row that is there already stays; the count of affected rows tells.
    fn sql(self, rows: usize) -> Arc<str> {
        let names = ALWAYS.iter().copied().chain(self.filled.columns().map(Column::name));
        let names = names.chain(self.open().iter().copied());
        let mut sql = format!("INSERT INTO {} (", self.table);
        for (index, name) in names.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(sql, "{comma}{name}");
        }
        let values = placeholders(self.width(), rows);
        // Nothing but a row of the same identity is a reason: an index that somebody added must not swallow spans.
        let _ = write!(sql, ") VALUES {values} ON CONFLICT (trace_id, span_id, tenant) DO NOTHING");
        sql.into()
    }
}

/// Writes spans as rows, chunk after chunk, and answers with the chunks of which not every row was taken:
/// some of them were there. While the connection's thread runs one chunk the next one is encoded here.
pub(super) async fn write_rows<'s>(
    connection: &mut SqliteConnection,
    shape: Shape,
    rows: &'s [Cow<'_, Span>],
    rows_per_statement: usize,
) -> sqlx::Result<Vec<&'s Span>> {
    let mut encoder = Encoder::default();
    let mut rest = rows;
    let mut sizes = chunks(rows.len(), rows_per_statement);
    let mut statement: Option<(usize, Arc<str>)> = None;
    let mut encode = || {
        let Some(size) = sizes.next() else { return Ok(None) };
        let sql = match &statement {
            Some((of, sql)) if *of == size => sql.clone(),
            _ => statement.insert((size, shape.sql(size))).1.clone(),
        };
        let (chunk, after) = rest.split_at(size);
        rest = after;
        let arguments = encoder.rows(chunk, shape).map_err(sqlx::Error::Encode)?;
        Ok::<_, sqlx::Error>(Some((chunk, sql, arguments)))
    };
    let mut met = Vec::new();
    let mut next = encode()?;
    while let Some((chunk, sql, arguments)) = next {
        // Safe: names of our own tables and columns, and placeholders.
        let execute = sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *connection);
        let (done, encoded) = futures_util::future::join(execute, async { encode() }).await;
        if done?.rows_affected() < chunk.len() as u64 {
            met.extend(chunk.iter().map(|span| &**span));
        }
        next = encoded?;
    }
    Ok(met)
}

/// Binds the identities of spans, as `(trace_id, span_id, tenant)`.
pub(super) fn keys<'k>(keys: impl IntoIterator<Item = &'k SpanKey>) -> sqlx::Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for key in keys {
        arguments
            .add(&key.trace_id.as_bytes()[..])
            .and_then(|()| arguments.add(key.span_id.as_bytes()))
            .and_then(|()| arguments.add(key.tenant.as_str()))
            .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Binds spans. Remembers the last value of each column, since neighbours mostly have the same.
#[derive(Default)]
struct Encoder {
    tenant: Option<(TenantId, Arc<str>)>,
    fields: Vec<Option<Arc<str>>>,
}

impl Encoder {
    fn rows(&mut self, spans: &[Cow<'_, Span>], shape: Shape) -> Result<SqliteArguments, BoxDynError> {
        self.fields.resize(Field::ALL.len(), None);
        let columns: Vec<Column> = shape.filled.columns().collect();
        let mut arguments = SqliteArguments::default();
        arguments.reserve(spans.len() * shape.width(), 0);
        for span in spans {
            self.row(&mut arguments, span, &columns)?;
            if shape.table == Table::Open {
                // A start that is known tells the end by the duration.
                arguments.add(span.ended_at().filter(|_| span.started_at.is_none()).map(nanos))?;
                arguments.add(nanos(span.seen_at))?;
                arguments.add(nanos(span.seen_at.plus(DEFAULT_DEADLINE_NS)))?;
            }
        }
        Ok(arguments)
    }

    /// In the order of [`ALWAYS`] and `columns`.
    fn row(&mut self, arguments: &mut SqliteArguments, span: &Span, columns: &[Column]) -> Result<(), BoxDynError> {
        arguments.add(&span.trace_id.as_bytes()[..])?;
        arguments.add(span.span_id.as_bytes())?;
        arguments.add(self.tenant(&span.tenant))?;
        arguments.add(span.started_at.map(nanos))?;
        arguments.add(span.duration_ns())?;
        arguments.add(status(span.status))?;
        arguments.add(nanos(span.created_at))?;
        let mut fields = span.fields.iter().peekable();
        for column in columns {
            match *column {
                Column::Field(field) => match fields.next_if(|(next, _)| *next == field) {
                    Some((_, FieldValue::Int(value))) => arguments.add(*value)?,
                    Some((_, FieldValue::Text(text))) => arguments.add(self.field(field, text))?,
                    None => arguments.add(None::<i64>)?,
                },
                Column::Parent => arguments.add(span.parent_span_id.as_ref().map(|id| id.as_bytes()))?,
                Column::Revision => arguments.add(span.revision.cast_signed())?,
                Column::Provenance => arguments.add(span.provenance().map(|told| json(&told)).transpose()?)?,
                Column::Resource => arguments.add(span.resource.as_ref().map(|resource| resource.id().0.to_vec()))?,
                Column::Attributes => {
                    arguments
                        .add((!span.attributes.is_empty()).then(|| Arc::<str>::from(span.attributes.as_json())))?;
                }
                Column::Events => arguments.add(list(span.events())?)?,
                Column::Links => arguments.add(list(span.links())?)?,
            }
        }
        Ok(())
    }

    fn tenant(&mut self, tenant: &TenantId) -> Arc<str> {
        match &self.tenant {
            Some((known, text)) if known == tenant => text.clone(),
            _ => self.tenant.insert((tenant.clone(), tenant.as_str().into())).1.clone(),
        }
    }

    fn field(&mut self, field: Field, text: &str) -> Arc<str> {
        match &mut self.fields[field as usize] {
            Some(last) if **last == *text => last.clone(),
            last => last.insert(text.into()).clone(),
        }
    }
}

/// A status by its name, so that SQL reads as it is said.
fn status(status: Status) -> Arc<str> {
    static NAMES: LazyLock<Vec<Arc<str>>> =
        LazyLock::new(|| Status::ALL.iter().map(|status| status.name().into()).collect());
    NAMES[status as usize].clone()
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, BoxDynError> {
    Ok(serde_json::to_string(value)?)
}

/// A list as JSON text, nothing when it is empty.
pub(super) fn list<T: Serialize>(values: &[T]) -> Result<Option<String>, BoxDynError> {
    (!values.is_empty()).then(|| json(values)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_add_up_and_have_few_sizes() {
        for rows in 0..400 {
            let sizes: Vec<usize> = chunks(rows, 64).collect();
            assert_eq!(sizes.iter().sum::<usize>(), rows);
            assert!(sizes.iter().all(|size| [64, 32, 4, 1].contains(size)));
            assert_eq!(chunks(rows, 1).count(), rows);
            assert!(chunks(rows, 8).all(|size| [8, 4, 1].contains(&size)));
        }
    }

    #[test]
    fn a_statement_lists_just_what_is_filled() {
        let shape = Shape { table: Table::Default, filled: [Column::Field(Field::Service)].into_iter().collect() };
        assert_eq!(
            &*shape.sql(2),
            "INSERT INTO spans_default (trace_id,span_id,tenant,started_at,duration_ns,status,created_at,service) \
             VALUES (?,?,?,?,?,?,?,?),(?,?,?,?,?,?,?,?) ON CONFLICT (trace_id, span_id, tenant) DO NOTHING"
        );
    }

    #[test]
    fn names_of_statuses_are_in_the_order_of_their_numbers() {
        for known in Status::ALL {
            assert_eq!(&*status(*known), known.name());
        }
    }
}

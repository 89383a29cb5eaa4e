//! Rows into nouns, the same for every dialect; a value that cannot be is reported with its column's name.
//!
//! A dialect says how a cell of its rows is taken out ([`Cells`]); what the cells mean is decided here.

use serde::de::DeserializeOwned;

use super::columns::{ALWAYS, Column, Filled, Instants, KEEPING, OPEN, ROLLUP};
use super::{Detail, Result, StoreError};
use crate::model::attributes::Attributes;
use crate::model::ids::{SpanId, TraceId};
use crate::model::rollup::{Keeping, TraceRollup};
use crate::model::span::{Field, FieldType, Fields, Outcome, ResourceId, Span, Status};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

/// The cells of a row, by position. NULL is `None`; a cell of another type is an error.
pub(super) trait Cells {
    fn text(&self, at: usize) -> sqlx::Result<Option<&str>>;
    fn int(&self, at: usize) -> sqlx::Result<Option<i64>>;
    fn bytes(&self, at: usize) -> sqlx::Result<Option<&[u8]>>;

    /// How many cells hold an instant.
    const INSTANTS: Instants;
    /// The instant that begins in this cell.
    fn instant(&self, at: usize) -> sqlx::Result<Option<UnixNanos>>;
}

/// Takes a row's cells one after the other, and knows the name of each.
pub(super) struct Reader<'r, R> {
    row: &'r R,
    names: &'r [&'r str],
    /// The next name, and the next cell: an instant may take two cells.
    next: usize,
    cell: usize,
    doing: &'static str,
}

impl<'r, R: Cells> Reader<'r, R> {
    /// `names` are the selected columns in order.
    pub(super) fn new(row: &'r R, names: &'r [&'r str], doing: &'static str) -> Self {
        Self { row, names, next: 0, cell: 0, doing }
    }

    /// The error that the cell taken last is not what it must be.
    pub(super) fn corrupt(&self, reason: impl ToString) -> StoreError {
        let column = self.names.get(self.next.wrapping_sub(1)).copied().unwrap_or("?").to_owned();
        StoreError::Corrupt { doing: self.doing, column, reason: reason.to_string() }
    }

    fn take<T>(&mut self, cell: impl FnOnce(&'r R, usize) -> sqlx::Result<Option<T>>) -> Result<Option<T>> {
        self.next += 1;
        self.cell += 1;
        cell(self.row, self.cell - 1).map_err(|error| self.corrupt(error))
    }

    fn present<T>(&self, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.corrupt("NULL"))
    }

    pub(super) fn text(&mut self) -> Result<Option<&'r str>> {
        self.take(R::text)
    }

    pub(super) fn int(&mut self) -> Result<Option<i64>> {
        self.take(R::int)
    }

    pub(super) fn bytes(&mut self) -> Result<Option<&'r [u8]>> {
        self.take(R::bytes)
    }

    fn string(&mut self) -> Result<Option<String>> {
        Ok(self.text()?.map(str::to_owned))
    }

    fn instant(&mut self) -> Result<Option<UnixNanos>> {
        let instant = self.take(R::instant)?;
        if R::INSTANTS == Instants::Split {
            self.cell += 1;
        }
        Ok(instant)
    }

    /// Days since 1970-01-01.
    pub(super) fn day(&mut self) -> Result<Option<u32>> {
        let day = self.int()?;
        day.map(u32::try_from).transpose().map_err(|error| self.corrupt(error))
    }

    fn count(&mut self) -> Result<u32> {
        let count = self.required_int()?;
        u32::try_from(count).map_err(|error| self.corrupt(error))
    }

    fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let text = self.text()?;
        text.map(|text| serde_json::from_str(text).map_err(|error| self.corrupt(error))).transpose()
    }

    fn attributes(&mut self) -> Result<Attributes> {
        let text = self.text()?;
        text.map_or(Ok(Attributes::default()), Attributes::from_json).map_err(|error| self.corrupt(error))
    }

    pub(super) fn required_text(&mut self) -> Result<&'r str> {
        let text = self.text()?;
        self.present(text)
    }

    pub(super) fn required_int(&mut self) -> Result<i64> {
        let int = self.int()?;
        self.present(int)
    }

    pub(super) fn required_bytes(&mut self) -> Result<&'r [u8]> {
        let bytes = self.bytes()?;
        self.present(bytes)
    }

    /// The cells of [`KEEPING`].
    pub(super) fn keeping(&mut self) -> Result<Keeping> {
        Ok(Keeping {
            spans_partial: self.required_int()? != 0,
            spans_expired_at: self.instant()?,
            pinned: self.required_int()? != 0,
        })
    }

    pub(super) fn required_instant(&mut self) -> Result<UnixNanos> {
        let instant = self.instant()?;
        self.present(instant)
    }

    pub(super) fn trace_id(&mut self) -> Result<TraceId> {
        let bytes = self.required_bytes()?;
        TraceId::from_slice(bytes).map_err(|error| self.corrupt(error))
    }

    fn span_id(&mut self) -> Result<Option<SpanId>> {
        let bytes = self.bytes()?;
        bytes.map(|bytes| SpanId::from_slice(bytes).map_err(|error| self.corrupt(error))).transpose()
    }

    fn field(&mut self, field: Field, fields: &mut Fields) -> Result<()> {
        match field.field_type() {
            FieldType::Int => {
                if let Some(value) = self.int()? {
                    fields.set_int(field, value);
                }
            }
            FieldType::Text | FieldType::Json => {
                if let Some(text) = self.text()? {
                    fields.set_text(field, text);
                }
            }
        }
        Ok(())
    }

    fn resource_id(&mut self) -> Result<Option<ResourceId>> {
        let bytes = self.bytes()?;
        let id = bytes.map(|bytes| bytes.try_into().map(ResourceId).map_err(|error| self.corrupt(error)));
        id.transpose()
    }
}

/// The columns that a SELECT of spans lists: [`ALWAYS`], some of those that may be filled, and [`OPEN`] (NULL for ended
/// spans, whose tables lack them).
pub(super) struct Selection {
    columns: Vec<Column>,
    names: Vec<&'static str>,
    detail: Detail,
}

impl Selection {
    pub(super) fn new(filled: Filled, detail: Detail) -> Self {
        let columns: Vec<Column> = filled.read_at(detail).columns().collect();
        let names = ALWAYS.into_iter().chain(columns.iter().map(|column| column.name())).chain(OPEN).collect();
        Self { columns, names, detail }
    }

    /// What the SELECT lists. `lacks` says which of the columns the table does not have.
    pub(super) fn list(&self, instants: Instants, lacks: impl Fn(&str) -> bool) -> String {
        let of_roots = |name: &str| self.columns.iter().any(|column| column.name() == name && column.is_of_roots());
        let terms = self.names.iter().map(|name| match *name {
            name if lacks(name) => instants.absent(name).to_owned(),
            name if self.detail == Detail::Rollup && of_roots(name) => {
                format!("CASE WHEN parent_span_id IS NULL THEN {name} END")
            }
            name => instants.columns(name),
        });
        terms.collect::<Vec<_>>().join(",")
    }

    /// A row as the span that was written, but for its resource, which comes as its id.
    pub(super) fn span<R: Cells>(&self, row: &R, doing: &'static str) -> Result<(Span, Option<ResourceId>)> {
        let mut cells = Reader::new(row, &self.names, doing);
        let trace_id = cells.trace_id()?;
        let span_id = cells.span_id()?;
        let span_id = cells.present(span_id)?;
        let tenant = TenantId::new(cells.required_text()?);
        let mut span = Span::new(tenant, trace_id, span_id, UnixNanos::default());
        span.started_at = cells.instant()?;
        let duration_ns = cells.int()?;
        let status = cells.required_text()?;
        span.status = Status::parse(status).ok_or_else(|| cells.corrupt(format_args!("{status:?} is no status")))?;
        span.created_at = cells.required_instant()?;
        let (mut provenance, mut resource) = (None, None);
        span.fields = Fields::with_capacity(self.columns.len());
        for column in &self.columns {
            match *column {
                Column::Field(field) => cells.field(field, &mut span.fields)?,
                Column::Parent => span.parent_span_id = cells.span_id()?,
                // The bits of an u64: only the first half of its range reads as the same number in SQL.
                Column::Revision => span.revision = cells.int()?.unwrap_or_default().cast_unsigned(),
                Column::Provenance => provenance = cells.json()?,
                Column::Resource => resource = cells.resource_id()?,
                Column::Attributes => span.attributes = cells.attributes()?,
                Column::Events => span.set_events(cells.json()?.unwrap_or_default()),
                Column::Links => span.set_links(cells.json()?.unwrap_or_default()),
            }
        }
        let ended_at = cells.instant()?;
        span.seen_at = cells.instant()?.unwrap_or(span.created_at);
        span.restore(ended_at, duration_ns, provenance);
        Ok((span, resource))
    }
}

/// Rows of one name each, in the order of the names' bytes.
pub(super) fn services<R: Cells>(rows: &[R], doing: &'static str) -> Result<Vec<String>> {
    let name = |row: &R| Ok(Reader::new(row, &["service"], doing).required_text()?.to_owned());
    let mut names: Vec<String> = rows.iter().map(name).collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

/// A row of [`ROLLUP`] and [`KEEPING`].
pub(super) fn rollup<R: Cells>(row: &R, doing: &'static str) -> Result<TraceRollup> {
    let names: Vec<&str> = ROLLUP.iter().chain(&KEEPING).copied().collect();
    let mut cells = Reader::new(row, &names, doing);
    Ok(TraceRollup {
        trace_id: cells.trace_id()?,
        root_service: cells.string()?,
        root_operation: cells.string()?,
        status: {
            let status = cells.required_text()?;
            Outcome::parse(status).ok_or_else(|| cells.corrupt(format_args!("{status:?} is no status")))?
        },
        started_at: cells.required_instant()?,
        ended_at: cells.instant()?,
        duration_ns: cells.int()?,
        error_type: cells.string()?,
        error_message: cells.string()?,
        error_service: cells.string()?,
        span_count: cells.count()?,
        error_count: cells.count()?,
        orphan_count: cells.count()?,
        open_count: cells.count()?,
        services: cells.json()?.unwrap_or_default(),
        execution_id: cells.string()?,
        job_id: cells.string()?,
        question_id: cells.string()?,
        workflow_id: cells.string()?,
        session_id: cells.string()?,
        user_id: cells.string()?,
        regions: cells.json()?.unwrap_or_default(),
        models: cells.json()?.unwrap_or_default(),
        input_tokens: cells.int()?,
        output_tokens: cells.int()?,
        cost_pico: cells.int()?,
        query: cells.string()?,
        metadata: cells.attributes()?,
        keeping: cells.keeping()?,
    })
}

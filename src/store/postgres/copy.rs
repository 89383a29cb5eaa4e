//! Spans into a binary COPY: what the server does least for. Rows are encoded into chunks that are sent as they fill, so
//! that the server takes in one while the next is made.
//!
//! Source: <https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT>.

use std::borrow::Borrow;

use serde::Serialize;
use sqlx::postgres::PgConnection;

use super::types::{Instant, below_microsecond};
use super::work::Work;
use super::{Schema, UNIQUE_VIOLATION, failed};
use crate::model::span::{DEFAULT_DEADLINE_NS, FieldValue, Span};
use crate::model::time::UnixNanos;
use crate::store::columns::{ALWAYS, Column, Filled, Instants};
use crate::store::{Result, StoreError};

/// Bytes of a chunk. From a few KB on the size hardly matters; it is also what stays in the connection's buffer.
const CHUNK_BYTES: usize = 128 << 10;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Columns of `open_spans` alone.
const OPEN: [&str; 3] = ["ended_at", "seen_at", "deadline"];

/// Into which table rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Ended,
    Open,
}

impl Target {
    pub(super) fn name(self) -> &'static str {
        match self {
            Target::Ended => "spans",
            Target::Open => "open_spans",
        }
    }

    fn sql(self, schema: &Schema, filled: Filled) -> String {
        let own: &[&str] = if self == Target::Open { &OPEN } else { &[] };
        let names = ALWAYS.into_iter().chain(filled.columns().map(Column::name)).chain(own.iter().copied());
        let names: Vec<String> = names.map(|name| Instants::Split.columns(name)).collect();
        format!("COPY {schema}{} ({}) FROM STDIN (FORMAT binary)", self.name(), names.join(","))
    }
}

/// Writes spans as new rows.
///
/// # Errors
/// As the database's, most of them only after the last row was sent.
pub(super) async fn copy<S: Borrow<Span>>(work: &mut Work, schema: &Schema, target: Target, spans: &[S]) -> Result<()> {
    if spans.is_empty() {
        return Ok(());
    }
    let filled = spans.iter().fold(Filled::default(), |filled, span| filled.union(Filled::by(span.borrow())));
    work.copying(true);
    let copied = copy_into(work.raw(), &target.sql(schema, filled), target, filled, spans).await;
    // Told by the server, it is over. Anything else leaves the COPY open: the connection goes.
    if matches!(&copied, Ok(()) | Err(sqlx::Error::Database(_))) {
        work.copying(false);
    }
    copied.map_err(failed("write spans"))
}

async fn copy_into<S: Borrow<Span>>(
    connection: &mut PgConnection,
    sql: &str,
    target: Target,
    filled: Filled,
    spans: &[S],
) -> sqlx::Result<()> {
    let mut copy = connection.copy_in_raw(sql).await?;
    let mut rows = Rows::new(target, filled);
    for span in spans {
        rows.push(span.borrow()).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        if rows.buffer.len() >= CHUNK_BYTES {
            copy.send(&rows.buffer[..]).await?;
            rows.buffer.clear();
        }
    }
    rows.end();
    copy.send(&rows.buffer[..]).await?;
    copy.finish().await?;
    Ok(())
}

/// Rows of a COPY, as bytes.
struct Rows {
    buffer: Vec<u8>,
    target: Target,
    columns: Vec<Column>,
    /// Cells in a row.
    width: i16,
}

impl Rows {
    fn new(target: Target, filled: Filled) -> Self {
        let mut buffer = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        buffer.extend_from_slice(SIGNATURE);
        // Flags, and the length of an extension of the header.
        buffer.extend_from_slice(&[0; 8]);
        let columns: Vec<Column> = filled.columns().collect();
        let own = if target == Target::Open { 5 } else { 0 };
        // Two of those that every row has are instants.
        let width = ALWAYS.len() + 2 + columns.len() + own;
        Self { buffer, target, columns, width: width as i16 }
    }

    /// In the order of [`Target::sql`].
    fn push(&mut self, span: &Span) -> serde_json::Result<()> {
        self.buffer.extend_from_slice(&self.width.to_be_bytes());
        self.bytes(span.trace_id.as_bytes());
        self.bytes(span.span_id.as_bytes());
        self.bytes(span.tenant.as_str().as_bytes());
        self.instant(span.started_at);
        self.int(span.duration_ns());
        self.bytes(span.status.name().as_bytes());
        self.instant(Some(span.created_at));
        let mut fields = span.fields.iter().peekable();
        for index in 0..self.columns.len() {
            match self.columns[index] {
                Column::Field(field) => match fields.next_if(|(next, _)| *next == field) {
                    Some((_, FieldValue::Int(value))) => self.int(Some(*value)),
                    Some((_, FieldValue::Text(text))) => self.bytes(text.as_bytes()),
                    None => self.null(),
                },
                Column::Parent => self.maybe(span.parent_span_id.as_ref().map(|id| id.as_bytes())),
                Column::Revision => self.int((span.revision != 0).then(|| span.revision.cast_signed())),
                Column::Provenance => match span.provenance() {
                    Some(provenance) => self.json(&provenance)?,
                    None => self.null(),
                },
                Column::Resource => {
                    self.maybe(span.resource.as_ref().map(|resource| resource.id().0).as_ref().map(|id| &id[..]))
                }
                Column::Attributes => {
                    let filled = !span.attributes.is_empty();
                    self.maybe(filled.then(|| span.attributes.as_json().as_bytes()));
                }
                Column::Events => self.list(span.events())?,
                Column::Links => self.list(span.links())?,
            }
        }
        if self.target == Target::Open {
            // A start that is known tells the end by the duration.
            self.instant(span.ended_at().filter(|_| span.started_at.is_none()));
            self.instant(Some(span.seen_at));
            self.number(Instant::of(span.seen_at.plus(DEFAULT_DEADLINE_NS)).0);
        }
        Ok(())
    }

    fn end(&mut self) {
        self.buffer.extend_from_slice(&(-1_i16).to_be_bytes());
    }

    fn null(&mut self) {
        self.buffer.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // A span is a few MB at the most.
        self.buffer.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        self.buffer.extend_from_slice(bytes);
    }

    fn maybe(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.null(),
        }
    }

    fn number(&mut self, value: i64) {
        let mut cell = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        cell[4..].copy_from_slice(&value.to_be_bytes());
        self.buffer.extend_from_slice(&cell);
    }

    fn int(&mut self, value: Option<i64>) {
        match value {
            Some(value) => self.number(value),
            None => self.null(),
        }
    }

    /// Two cells.
    fn instant(&mut self, at: Option<UnixNanos>) {
        let Some(at) = at else {
            self.null();
            return self.null();
        };
        self.number(Instant::of(at).0);
        self.bytes(&below_microsecond(at).to_be_bytes());
    }

    fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> serde_json::Result<()> {
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        serde_json::to_writer(&mut self.buffer, value)?;
        let length = (self.buffer.len() - at - 4) as u32;
        self.buffer[at..at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn list<T: Serialize>(&mut self, values: &[T]) -> serde_json::Result<()> {
        if values.is_empty() {
            self.null();
            return Ok(());
        }
        self.json(values)
    }
}

/// Whether an error of [`copy`] says that one of the rows is there already, by our own index or by one of others. Not even
/// the latter is the data's fault before what we have stored ourselves is out of the way.
pub(super) fn met_a_row(error: &StoreError) -> bool {
    error.code().is_some_and(|code| code == UNIQUE_VIOLATION)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::ids::{SpanId, TraceId};
    use crate::model::span::{End, Event, Field, Resource, Status};
    use crate::model::tenant::TenantId;

    const AT: UnixNanos = UnixNanos::new(1_767_607_200_123_456_789);

    fn span() -> Span {
        let (trace_id, span_id) = (TraceId::from_bytes([7; 16]).unwrap(), SpanId::parse("1").unwrap());
        let mut span = Span::new(TenantId::new("acme"), trace_id, span_id, AT);
        (span.started_at, span.end, span.status) = (Some(AT), Some(End::At(AT.plus(5))), Status::Failed);
        span
    }

    fn filled_by(spans: &[Span]) -> Filled {
        spans.iter().fold(Filled::default(), |filled, span| filled.union(Filled::by(span)))
    }

    /// The columns of each row, with their cells, read as the server reads them.
    fn read_back(target: Target, spans: &[Span]) -> Vec<Vec<(String, Option<Vec<u8>>)>> {
        let filled = filled_by(spans);
        let mut rows = Rows::new(target, filled);
        spans.iter().for_each(|span| rows.push(span).unwrap());
        rows.end();
        let sql = target.sql(&Schema::new("s").unwrap(), filled);
        let names = sql.split(['(', ')']).nth(1).unwrap();
        let mut rest = rows.buffer.strip_prefix(SIGNATURE).unwrap().strip_prefix(&[0; 8]).unwrap();
        let mut take = |bytes: usize| {
            let (taken, after) = rest.split_at(bytes);
            rest = after;
            taken.to_vec()
        };
        let mut read = Vec::new();
        loop {
            let width = i16::from_be_bytes(take(2).try_into().unwrap());
            if width == -1 {
                break;
            }
            assert_eq!(width as usize, names.split(',').count());
            let cell = |name: &str| {
                let length = i32::from_be_bytes(take(4).try_into().unwrap());
                (name.to_owned(), usize::try_from(length).ok().map(&mut take))
            };
            read.push(names.split(',').map(cell).collect());
        }
        assert!(rest.is_empty());
        read
    }

    fn cell<'c>(row: &'c [(String, Option<Vec<u8>>)], name: &str) -> Option<&'c [u8]> {
        row.iter().find(|(column, _)| column == name).unwrap().1.as_deref()
    }

    #[test]
    fn a_row_lists_what_its_batch_fills_and_no_more() {
        let mut second = span();
        second.fields.set_text(Field::Service, "rünner");
        second.fields.set_int(Field::InputTokens, -2);
        second.parent_span_id = Some(SpanId::parse("7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6d7").unwrap());
        second.revision = u64::MAX;
        second.resource = Some(Arc::new(Resource::new("{}")));
        let event = Event { timestamp: None, name: "e".into(), attributes: Default::default(), dropped_attributes: 0 };
        second.set_events(vec![event]);
        let read = read_back(Target::Ended, &[span(), second.clone()]);
        let [first, second_row] = &read[..] else { panic!("{read:?}") };
        assert_eq!(cell(first, "trace_id").unwrap(), [7; 16]);
        assert_eq!(cell(first, "span_id").unwrap(), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(cell(first, "tenant").unwrap(), b"acme");
        assert_eq!(cell(first, "started_at").unwrap(), Instant::of(AT).0.to_be_bytes());
        assert_eq!(cell(first, "started_ns").unwrap(), 789_i16.to_be_bytes());
        assert_eq!(cell(first, "duration_ns").unwrap(), 5_i64.to_be_bytes());
        assert_eq!(cell(first, "status").unwrap(), b"failed");
        for empty in ["service", "input_tokens", "parent_span_id", "revision", "resource_id", "events"] {
            assert_eq!(cell(first, empty), None, "{empty}");
        }
        assert_eq!(cell(second_row, "service").unwrap(), "rünner".as_bytes());
        assert_eq!(cell(second_row, "input_tokens").unwrap(), (-2_i64).to_be_bytes());
        assert_eq!(cell(second_row, "parent_span_id").unwrap().len(), 16);
        assert_eq!(cell(second_row, "revision").unwrap(), [255; 8]);
        assert_eq!(cell(second_row, "resource_id").unwrap(), second.resource.unwrap().id().0);
        assert_eq!(cell(second_row, "events").unwrap(), br#"[{"name":"e"}]"#);
    }

    #[test]
    fn an_open_row_has_its_deadline_and_may_lack_its_start() {
        let mut open = span();
        (open.started_at, open.end, open.status) = (None, Some(End::At(AT)), Status::Completed);
        let read = read_back(Target::Open, &[open]);
        assert_eq!((cell(&read[0], "started_at"), cell(&read[0], "started_ns")), (None, None));
        assert_eq!(cell(&read[0], "ended_at").unwrap(), Instant::of(AT).0.to_be_bytes());
        assert_eq!(cell(&read[0], "seen_ns").unwrap(), 789_i16.to_be_bytes());
        let deadline = Instant::of(AT.plus(DEFAULT_DEADLINE_NS)).0;
        assert_eq!(cell(&read[0], "deadline").unwrap(), deadline.to_be_bytes());
    }
}

//! Rows, a page at a time, in an order in which an interrupted reader finds where it was.

use futures_util::TryStreamExt;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, AssertSqlSafe};

use super::DOING;
use super::catalogue::{Found, FoundColumn, refused};
use crate::model::time::UnixNanos;
use crate::store::Result;
use crate::store::foreign::{Page, Position, Row};
use crate::store::postgres::failed;
use crate::store::postgres::pool::Pool;
use crate::store::postgres::work::{Limits, Mode, Work};
use crate::store::rows::Reader;

/// A page ends with the row that brings it here, however few rows it has.
const MAX_PAGE_BYTES: usize = 16 << 20;
/// Columns that tell when a row was made; they are no attribute of the span, but the time at which it became known.
const CREATED: [&str; 2] = ["created_at", "createdAt"];

/// The statements that read one table.
pub(super) struct Statements {
    way: Way,
    /// Names of the cells that say which row it is.
    key: Vec<String>,
    /// Cells and FROM.
    select: String,
}

enum Way {
    /// WHERE behind a position, and ORDER BY.
    Key { behind: String, order: String },
    /// Through blocks of the file.
    Place { table: String, rows_per_block: u64 },
}

impl Statements {
    pub(super) fn new(found: &Found) -> Self {
        let key: Vec<&FoundColumn> = found.key.iter().filter_map(|at| found.columns.get(*at)).collect();
        let listed = |each: &dyn Fn((usize, &&FoundColumn)) -> String| {
            key.iter().enumerate().map(each).collect::<Vec<_>>().join(", ")
        };
        let (way, cells) = match key.is_empty() {
            true => {
                let way = Way::Place { table: found.facts.name.clone(), rows_per_block: found.rows_per_block };
                (way, "t.ctid::text".to_owned())
            }
            false => {
                let columns = listed(&|(_, column)| format!("t.{}", column.quoted));
                let values = listed(&|(index, column)| format!("CAST(${}::text AS {})", index + 1, column.sql_type));
                let way = Way::Key { behind: format!("({columns}) > ({values})"), order: columns };
                (way, listed(&|(_, column)| format!("t.{}::text", column.quoted)))
            }
        };
        let key = match key.is_empty() {
            true => vec!["ctid".to_owned()],
            false => key.iter().map(|column| column.name.clone()).collect(),
        };
        let created = found.columns.iter().find(|column| is_created(column));
        let created_us = created.map_or("NULL::bigint".to_owned(), |column| {
            let at = shown(column);
            format!("CASE WHEN isfinite({at}) THEN (extract(epoch FROM {at}) * 1000000)::bigint END")
        });
        let others = found.columns.iter().filter(|column| created.is_none_or(|created| created.name != column.name));
        let members: Vec<String> = others.map(|column| format!("{} AS {}", shown(column), column.quoted)).collect();
        let select = format!(
            "SELECT {cells}, {created_us}, row_to_json(r)::text FROM {} AS t CROSS JOIN LATERAL (SELECT {}) AS r",
            found.from,
            members.join(", ")
        );
        Self { way, key, select }
    }

    pub(super) async fn read(
        &self,
        pool: &Pool,
        limits: Limits,
        after: Option<&Position>,
        rows: usize,
    ) -> Result<Page> {
        let mut work = Work::begin(pool, Mode::Foreign, limits, DOING).await?;
        let page = match &self.way {
            Way::Key { behind, order } => self.by_key(&mut work, (behind, order), after, rows).await,
            Way::Place { table, rows_per_block } => {
                let blocks = (rows as u64 / rows_per_block).max(1);
                self.by_place(&mut work, table, after, blocks).await
            }
        };
        work.end(page).await
    }

    async fn by_key(
        &self,
        work: &mut Work,
        (behind, order): (&str, &str),
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Page> {
        let mut bound = PgArguments::default();
        let values = after.map_or(&[][..], |position| &position.0);
        if after.is_some() && values.len() != self.key.len() {
            return Err(refused("the position to go on from is of another key".into()));
        }
        let added = values.iter().try_for_each(|value| bound.add(value.as_str()));
        let added = added.and_then(|()| bound.add(i64::try_from(limit).unwrap_or(i64::MAX)));
        added.map_err(sqlx::Error::Encode).map_err(failed(DOING))?;
        let condition = if after.is_some() { format!("WHERE {behind} ") } else { String::new() };
        let sql = format!("{} {condition}ORDER BY {order} LIMIT ${}", self.select, values.len() + 1);
        let (rows, last, whole) = self.rows(work, sql, bound).await?;
        // Fewer than asked for, though nothing was cut, are the last ones.
        let next = if whole && rows.len() < limit { None } else { last };
        Ok(Page { rows, next })
    }

    async fn by_place(&self, work: &mut Work, table: &str, after: Option<&Position>, blocks: u64) -> Result<Page> {
        const FIRST: &str = "(0,0)";
        let after = match after.map(|position| position.0.as_slice()) {
            None => FIRST,
            Some([place]) => place,
            Some(_) => return Err(refused("the position to go on from is of a key".into())),
        };
        let block = after.strip_prefix('(').and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
        let block = block.ok_or_else(|| refused(format!("{after:?} is no place in the table")))?;
        let size = sqlx::query("SELECT pg_relation_size(to_regclass($1)) / current_setting('block_size')::bigint");
        let size = size.bind(table).fetch_one(&mut **work).await.map_err(failed(DOING))?;
        let size = Reader::new(&size, &["blocks"], DOING).required_int()?.unsigned_abs();

        let end = format!("({},0)", block.saturating_add(blocks).min(u64::from(u32::MAX) - 1));
        let mut bound = PgArguments::default();
        let added = bound.add(after).and_then(|()| bound.add(end.as_str()));
        added.map_err(sqlx::Error::Encode).map_err(failed(DOING))?;
        let condition = "t.ctid > CAST($1::text AS tid) AND t.ctid < CAST($2::text AS tid)";
        let sql = format!("{} WHERE {condition} ORDER BY t.ctid", self.select);
        let (rows, last, whole) = self.rows(work, sql, bound).await?;
        let next = match whole {
            true => Some(Position(vec![end])).filter(|_| block + blocks < size),
            false => last,
        };
        Ok(Page { rows, next })
    }

    /// The rows, where the last of them is, and whether these are all.
    async fn rows(
        &self,
        work: &mut Work,
        sql: String,
        bound: PgArguments,
    ) -> Result<(Vec<Row>, Option<Position>, bool)> {
        // Safe: names and types as the server's catalogue quotes them, and placeholders.
        let mut stream = sqlx::query_with(AssertSqlSafe(sql), bound).fetch(&mut **work);
        let mut names: Vec<&str> = self.key.iter().map(String::as_str).collect();
        names.extend(["created_at", "row"]);
        let (mut rows, mut last, mut bytes) = (Vec::new(), None, 0);
        while let Some(row) = stream.try_next().await.map_err(failed(DOING))? {
            let mut cells = Reader::new(&row, &names, DOING);
            let place = self.key.iter().map(|_| cells.required_text().map(str::to_owned));
            let place = place.collect::<Result<Vec<String>>>()?;
            let created_us = cells.int()?.and_then(|us| u64::try_from(us).ok());
            let json = cells.required_text()?.to_owned();
            bytes += json.len();
            let told = self.key.iter().zip(&place).map(|(name, value)| format!("{name}={value}"));
            let key = told.collect::<Vec<_>>().join(", ");
            let created_at = created_us.and_then(|us| us.checked_mul(1_000)).map(UnixNanos::new);
            rows.push(Row { key, json, created_at });
            last = Some(Position(place));
            if bytes >= MAX_PAGE_BYTES {
                return Ok((rows, last, false));
            }
        }
        Ok((rows, last, true))
    }
}

fn is_created(column: &FoundColumn) -> bool {
    CREATED.contains(&column.name.as_str()) && matches!(column.base.as_str(), "timestamp" | "timestamptz")
}

/// A column as its JSON shows it best: an instant without a zone is UTC, bytes are plain hex, and the blanks that fill a
/// `character(n)` are nobody's.
fn shown(column: &FoundColumn) -> String {
    let name = format!("t.{}", column.quoted);
    match column.base.as_str() {
        "timestamp" => format!("({name} AT TIME ZONE 'UTC')"),
        "bytea" => format!("encode({name}, 'hex')"),
        "bpchar" => format!("{name}::text"),
        _ => name,
    }
}

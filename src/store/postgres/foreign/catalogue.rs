//! What PostgreSQL's catalogue says of a table: whether it may be read, its columns, and a key to page by.

use sqlx::postgres::PgRow;

use super::DOING;
use crate::store::foreign::{Column, Facts, Order};
use crate::store::postgres::failed;
use crate::store::postgres::pool::Pool;
use crate::store::postgres::work::{Limits, Mode, Work};
use crate::store::rows::Reader;
use crate::store::{Result, StoreError};

/// A table with what its statements are made of.
pub(super) struct Found {
    pub facts: Facts,
    /// What stands behind FROM.
    pub from: String,
    pub columns: Vec<FoundColumn>,
    /// Places of the key's columns among the columns, in the key's order.
    pub key: Vec<usize>,
    /// For how many rows a block is good, at a guess.
    pub rows_per_block: u64,
}

pub(super) struct FoundColumn {
    pub name: String,
    /// As the server quotes it.
    pub quoted: String,
    pub sql_type: String,
    /// The type's own name, of a domain that of what it is made of.
    pub base: String,
}

/// Of a relation: `r`, `p`, `m`, `v`, `f` and so on, see <https://www.postgresql.org/docs/current/catalog-pg-class.html>.
const TABLE: &str = "
SELECT t.oid::bigint, t.relkind::text, quote_ident(n.nspname) || '.' || quote_ident(t.relname),
    current_database()::text, current_user::text,
    CASE WHEN t.relkind = 'p' THEN (SELECT sum(p.reltuples)::bigint FROM pg_partition_tree(t.oid) AS l
            JOIN pg_class AS p ON p.oid = l.relid WHERE l.isleaf AND p.reltuples >= 0)
        WHEN t.reltuples >= 0 AND (t.reltuples > 0 OR pg_relation_size(t.oid) = 0) THEN t.reltuples::bigint END,
    t.relpages::bigint, row_security_active(t.oid), t.relkind <> 'p' AND pg_relation_size(t.oid) = 0,
    CASE WHEN t.relkind = 'r' THEN (SELECT string_agg(i.inhrelid::regclass::text, ', ' ORDER BY i.inhrelid)
        FROM pg_inherits AS i WHERE i.inhparent = t.oid) END,
    coalesce(pg_relation_filenode(t.oid), 0)::bigint
FROM pg_class AS t JOIN pg_namespace AS n ON n.oid = t.relnamespace
WHERE t.oid = to_regclass($1)";

const TABLE_CELLS: [&str; 11] = [
    "oid",
    "relkind",
    "name",
    "database",
    "role",
    "estimated_rows",
    "pages",
    "row_security",
    "is_empty",
    "heirs",
    "filenode",
];

/// The columns, each with its place in the key. Of several keys the primary one, else the one of fewest columns.
const COLUMNS: &str = "
WITH k AS (
    SELECT u.number, u.place FROM (
        SELECT i.indkey::int2[] AS numbers, i.indnkeyatts FROM pg_index AS i
        WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
            AND NOT EXISTS (SELECT 1 FROM pg_attribute AS a
                WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[]) AND NOT a.attnotnull)
        ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid
        LIMIT 1
    ) AS best, unnest(best.numbers) WITH ORDINALITY AS u (number, place)
    WHERE u.place <= best.indnkeyatts
)
SELECT a.attname::text, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), coalesce(b.typname, y.typname)::text,
    has_column_privilege(a.attrelid, a.attnum, 'SELECT'), k.place
FROM pg_attribute AS a
JOIN pg_type AS y ON y.oid = a.atttypid
LEFT JOIN pg_type AS b ON b.oid = y.typbasetype
LEFT JOIN k ON k.number = a.attnum
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum";

const COLUMN_CELLS: [&str; 6] = ["attname", "quoted", "format_type", "typname", "readable", "place"];

/// Rows of a block of 8 KiB where statistics say nothing.
const ROWS_PER_BLOCK: u64 = 30;

pub(super) async fn look_up(pool: &Pool, limits: Limits, host: &str, name: &str) -> Result<Found> {
    let mut work = Work::begin(pool, Mode::Foreign, limits, DOING).await?;
    let found = async {
        let table = sqlx::query(TABLE).bind(name).fetch_optional(&mut *work).await.map_err(failed(DOING))?;
        let table = table.ok_or_else(|| refused(format!("there is no table {name} in the database at {host}")))?;
        let oid = Reader::new(&table, &TABLE_CELLS, DOING).required_int()?;
        let columns = sqlx::query(COLUMNS).bind(oid).fetch_all(&mut *work).await.map_err(failed(DOING))?;
        found(host, &table, &columns)
    }
    .await;
    work.end(found).await
}

pub(super) fn refused(reason: String) -> StoreError {
    StoreError::Other { doing: DOING, source: reason.into() }
}

fn found(host: &str, table: &PgRow, columns: &[PgRow]) -> Result<Found> {
    let mut cells = Reader::new(table, &TABLE_CELLS, DOING);
    let (oid, kind, name) = (cells.required_int()?, cells.required_text()?, cells.required_text()?.to_owned());
    let (database, role) = (cells.required_text()?, cells.required_text()?.to_owned());
    let estimated_rows = cells.int()?.and_then(|rows| u64::try_from(rows).ok());
    let pages = cells.required_int()?.unsigned_abs();
    let (row_security, is_empty) = (cells.required_int()? != 0, cells.required_int()? != 0);
    let (heirs, filenode) = (cells.text()?.map(str::to_owned), cells.required_int()?);

    let (columns, key) = readable(&name, &role, columns)?;
    let order = match (kind, key.is_empty()) {
        ("v", _) => {
            Err("is a view, whose rows have no key to go on from after an interruption; import the table behind it")
        }
        ("f", _) => Err("is a foreign table, which has no key here; import it from the database where it is"),
        ("r" | "m" | "p", false) => {
            Ok(Order::Key(key.iter().filter_map(|at| columns.get(*at)).map(|column| column.name.clone()).collect()))
        }
        ("p", true) => Err("is partitioned and has no unique key without NULLs; import its partitions one by one"),
        ("r" | "m", true) => Ok(Order::Place),
        _ => Err("is no table"),
    };
    let order = order.map_err(|reason| refused(format!("{name} {reason}")))?;
    let identity = match order {
        Order::Key(_) => oid.to_string(),
        Order::Place => format!("{oid}/{filenode}"),
    };
    // The rows of heirs have keys of their own, which may be the same.
    let from = if kind == "p" { name.clone() } else { format!("ONLY {name}") };
    let rows_per_block = match estimated_rows.unwrap_or_default().checked_div(pages) {
        Some(rows) if rows > 0 => rows,
        _ => ROWS_PER_BLOCK,
    };
    let shown = columns.iter().map(|column| Column { name: column.name.clone(), sql_type: column.sql_type.clone() });
    let facts = Facts {
        name,
        place: format!("{host}/{database}"),
        role,
        columns: shown.collect(),
        order,
        estimated_rows,
        row_security,
        is_empty,
        heirs,
        identity,
    };
    Ok(Found { facts, from, columns, key, rows_per_block })
}

/// The columns and the key, if the role may read them all: what it may not read would be dropped in silence.
fn readable(table: &str, role: &str, rows: &[PgRow]) -> Result<(Vec<FoundColumn>, Vec<usize>)> {
    let mut columns = Vec::with_capacity(rows.len());
    let (mut key, mut hidden) = (Vec::new(), Vec::new());
    for (index, row) in rows.iter().enumerate() {
        let mut cells = Reader::new(row, &COLUMN_CELLS, DOING);
        let mut text = || cells.required_text().map(str::to_owned);
        let column = FoundColumn { name: text()?, quoted: text()?, sql_type: text()?, base: text()? };
        if cells.required_int()? == 0 {
            hidden.push(column.quoted.clone());
        }
        if let Some(place) = cells.int()? {
            key.push((place, index));
        }
        columns.push(column);
    }
    if !hidden.is_empty() {
        let what = match hidden.len() == columns.len() {
            true => table.to_owned(),
            false => format!("the columns {} of {table}", hidden.join(", ")),
        };
        let grant = format!("GRANT SELECT ON {table} TO {role}");
        return Err(refused(format!("the role {role} may not read {what}; its owner may allow it: {grant}")));
    }
    key.sort_unstable();
    Ok((columns, key.into_iter().map(|(_, index)| index).collect()))
}

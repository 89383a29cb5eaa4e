//! What is in the store, read past the service, and whether it is what it must be.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::ledger::{BOTH, END, Key, Ledger, START, is_failed};
use super::{PATIENCE, Place, Site};
use crate::support::psql::psql;

/// A row of `spans` or `open_spans`.
struct Row {
    key: Key,
    has_ended: bool,
    status: String,
    operation: String,
    region: String,
    attributes: Value,
}

/// Rows as text: columns and rows are apart by what no value holds.
const SPANS: &str =
    "SELECT ID, 'ended', status, coalesce(operation, ''), coalesce(region, ''), coalesce(ATTRIBUTES, '')
    FROM PLACE.spans
    UNION ALL
    SELECT ID, 'open', status, coalesce(operation, ''), coalesce(region, ''), coalesce(ATTRIBUTES, '')
    FROM PLACE.open_spans";
const TRACES: &str = "SELECT TRACE, span_count, error_count, open_count FROM PLACE.traces";
const UNSETTLED: &str = "SELECT count(*) FROM PLACE.traces WHERE settled < touched";
const DEAD: &str = "SELECT count(*) FROM PLACE.dead_letters";

impl Site {
    /// The rows of a query in neither dialect, its columns as text.
    pub fn ask(&self, sql: &str) -> Vec<Vec<String>> {
        match &self.store {
            Place::Sqlite => {
                let sql = sql.replace("PLACE", "main").replace("ATTRIBUTES", "attributes");
                let sql = sql.replace("ID,", "lower(hex(trace_id)) || lower(hex(span_id)),");
                self.ask_sqlite(&sql.replace("TRACE,", "lower(hex(trace_id)),"))
            }
            Place::Postgres { url, .. } => {
                let sql = sql.replace("PLACE", "tracefall").replace("ATTRIBUTES", "attributes::text");
                let sql = sql.replace("ID,", "replace(trace_id::text, '-', '') || encode(span_id, 'hex'),");
                let text = psql(url, &sql.replace("TRACE,", "replace(trace_id::text, '-', ''),"));
                text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
            }
        }
    }

    fn ask_sqlite(&self, sql: &str) -> Vec<Vec<String>> {
        let file = self.path().join("tracefall-data/tracefall.db");
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let text = |row: &rusqlite::Row<'_>, at: usize| {
            row.get::<_, rusqlite::types::Value>(at).map(|value| match value {
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => panic!("{other:?}"),
            })
        };
        let rows = statement.query_map([], |row| (0..columns).map(|at| text(row, at)).collect()).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn number(&self, sql: &str) -> u64 {
        self.ask(sql)[0][0].parse().unwrap()
    }

    /// Waits until no trace is without its roll-up.
    pub async fn until_settled(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let unsettled = self.number(UNSETTLED);
            if unsettled == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{unsettled} traces stay unsettled");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every acknowledged span is there, once, in its final state, and nothing is there that was never sent; roll-ups
    /// count what there is. Gives the number of spans.
    pub fn check(&self, ledger: &Ledger) -> usize {
        let told = ledger.all();
        let mut traces: HashMap<u64, [u64; 3]> = HashMap::new();
        let mut says: HashMap<Key, u8> = HashMap::new();
        for row in self.ask(SPANS).iter().map(|row| Row::new(row)) {
            let stored = row.check();
            assert_eq!(says.insert(row.key, stored), None, "{:?} is there twice", row.key);
            let sent = told.get(&row.key).map_or(0, |told| told.sent);
            assert_eq!(stored & !sent, 0, "{:?} says what was never sent", row.key);
            let counts = traces.entry(row.key.0).or_default();
            counts[0] += 1;
            counts[1] += u64::from(stored & END != 0 && is_failed(row.key.1));
            counts[2] += u64::from(stored & END == 0);
        }
        let lost: Vec<&Key> = told
            .iter()
            .filter(|(key, told)| told.acknowledged & !says.get(key).copied().unwrap_or(0) != 0)
            .map(|(key, _)| key)
            .collect();
        assert!(lost.is_empty(), "{} of {} acknowledged spans are lost or not whole: {lost:?}", lost.len(), told.len());
        let listed: HashMap<u64, [u64; 3]> = self
            .ask(TRACES)
            .iter()
            .map(|row| {
                let number = |at: usize| row[at].parse().unwrap();
                (u64::from_str_radix(&row[0][16..], 16).unwrap(), [number(1), number(2), number(3)])
            })
            .collect();
        assert_eq!(listed.len(), traces.len(), "a row a trace");
        for (trace, counts) in &traces {
            assert_eq!(listed.get(trace), Some(counts), "the roll-up of {trace}: spans, errors, open");
        }
        assert_eq!(self.number(DEAD), 0);
        says.len()
    }
}

impl Row {
    fn new(columns: &[String]) -> Self {
        let [id, place, status, operation, region, attributes] = columns else { panic!("{columns:?}") };
        let number = |hex: &str| u64::from_str_radix(hex, 16).unwrap();
        Self {
            key: (number(&id[16..32]), number(&id[32..])),
            has_ended: place == "ended",
            status: status.clone(),
            operation: operation.clone(),
            region: region.clone(),
            attributes: serde_json::from_str(attributes).unwrap(),
        }
    }

    /// Which records it was made of; each must be in it whole.
    fn check(&self) -> u8 {
        let span = self.key.1;
        let (start, end) = (!self.operation.is_empty(), !self.region.is_empty());
        let mut attributes = json!({});
        if start {
            assert_eq!(self.operation, format!("o{span}"), "{:?}", self.key);
            attributes["begun"] = json!(span);
        }
        if end {
            assert_eq!(self.region, format!("r{}", span % 5), "{:?}", self.key);
            attributes["done"] = json!(span);
        }
        assert_eq!(self.attributes, attributes, "{:?}", self.key);
        let status = match (end, is_failed(span)) {
            (false, _) => "running",
            (true, true) => "failed",
            (true, false) => "completed",
        };
        assert_eq!(self.status, status, "{:?}", self.key);
        assert_eq!(self.has_ended, start && end, "{:?} is in the wrong table", self.key);
        let says = if start { START } else { 0 } | if end { END } else { 0 };
        debug_assert!(says <= BOTH);
        says
    }
}

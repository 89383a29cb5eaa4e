//! SQL as an interface: the views that people read, what they cost, and every SELECT that docs/sql.md shows.

mod documents;
mod plans;
mod published;
mod views;

use crate::support::psql::psql;

/// What a question answers, as JSON: one object a row.
fn ask_postgres(url: &str, question: &str) -> Vec<serde_json::Value> {
    let sql = format!("SET search_path = tracefall; SELECT to_json(answer) FROM ({question}) AS answer");
    psql(url, &sql).lines().map(|row| serde_json::from_str(row).unwrap()).collect()
}

/// The same of a SQLite file.
fn ask_sqlite(connection: &rusqlite::Connection, question: &str) -> Vec<serde_json::Value> {
    use rusqlite::types::ValueRef;
    let mut statement = connection.prepare(question).unwrap_or_else(|error| panic!("{error}\n{question}"));
    let names: Vec<String> = statement.column_names().iter().map(|name| (*name).to_owned()).collect();
    let rows = statement.query_map([], |row| {
        let cells = names.iter().enumerate().map(|(index, name)| {
            let cell = match row.get_ref(index)? {
                ValueRef::Null => serde_json::Value::Null,
                ValueRef::Integer(number) => number.into(),
                ValueRef::Real(number) => number.into(),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
                ValueRef::Blob(_) => "bytes".into(),
            };
            Ok((name.clone(), cell))
        });
        cells.collect::<rusqlite::Result<serde_json::Map<_, _>>>().map(serde_json::Value::Object)
    });
    rows.unwrap().map(|row| row.unwrap_or_else(|error| panic!("{error}\n{question}"))).collect()
}

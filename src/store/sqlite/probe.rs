//! Looking at a SQLite store: one connection that only reads, opened so that not even the files beside the database are
//! made. A file that nobody has open has no log, and is read as it lies.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio::time::timeout;

use super::maintenance::MIGRATIONS;
use super::tables::Table;
use super::{Sqlite, connecting, failed, store};
use crate::checkup::facts::{Bench, Contents, DaySpans, History, Known, SqliteFacts, SqliteFile, StoreFacts, Trouble};
use crate::model::span::Span;
use crate::settings::store::SqliteSettings;
use crate::store::error::Cause;
use crate::store::probe::{Look, Probe, told, trouble};
use crate::store::{Maintenance, Result, StoreError};

const DOING: &str = "look at the store";
/// How long a question may take.
const LIMIT: Duration = Duration::from_secs(8);
/// Reads to take the median of.
const READS: usize = 7;
/// Pieces of damage that are told.
const MAX_DAMAGE: usize = 5;
/// SQLite's code for a file that is damaged: <https://www.sqlite.org/rescode.html#corrupt>.
const CORRUPT: &str = "11";
/// Tables that are always there.
const TABLES: [&str; 12] = [
    "spans_default",
    "spans_kept",
    "span_tables",
    "open_spans",
    "resources",
    "traces",
    "pins",
    "dead_letters",
    "deletions",
    "leases",
    "checkpoints",
    "tracefall_migrations",
];

pub(in crate::store) struct SqliteProbe {
    path: PathBuf,
    settings: SqliteSettings,
}

impl SqliteProbe {
    pub(in crate::store) fn new(path: PathBuf, settings: SqliteSettings) -> Self {
        Self { path, settings }
    }

    async fn open(&self) -> std::result::Result<SqliteConnection, Trouble> {
        if let Err(error) = std::fs::metadata(&self.path) {
            let cause = if error.kind() == std::io::ErrorKind::NotFound { "missing" } else { "file" };
            return Err(Trouble { cause, reason: format!("{}: {error}", self.path.display()) });
        }
        // With a log somebody has it open, or has left it so; without one, opening it would make one.
        let at_rest = !beside(&self.path, "-wal").exists();
        let options: SqliteConnectOptions =
            connecting(&self.path, &self.settings, 8 << 20).read_only(true).immutable(at_rest);
        let mut connection = options.connect().await.map_err(|error| trouble(&failed(DOING)(error)))?;
        // Opening alone reads nothing: a file that is no database is found out here.
        match number(&mut connection, "SELECT count(*) FROM sqlite_schema").await {
            Ok(_) => Ok(connection),
            Err(error) => Err(trouble(&error)),
        }
    }

    async fn file(&self, connection: &mut SqliteConnection, took: Duration) -> Result<SqliteFile> {
        let mut reads_ms = Vec::new();
        for _ in 0..READS {
            let begun = Instant::now();
            number(connection, "SELECT count(*) FROM (SELECT 1 FROM sqlite_schema LIMIT 1)").await?;
            reads_ms.push(ms(begun.elapsed()));
        }
        let length = |path: PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
        let free = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size";
        Ok(SqliteFile {
            version: text(connection, "SELECT sqlite_version()").await?,
            open_ms: ms(took),
            reads_ms,
            file_bytes: length(self.path.clone()),
            free_bytes: number(connection, free).await?,
            log_bytes: length(beside(&self.path, "-wal")),
            // As the file says it: one that is opened as it lies has no mode of its own.
            journal_mode: journal_mode(&self.path).map_err(io)?,
        })
    }

    /// `exactly`: rows one by one and bytes by table too, which reads the whole of them.
    async fn contents(&self, connection: &mut SqliteConnection, exactly: bool) -> Result<Contents> {
        let size = "SELECT (page_count - freelist_count) * page_size \
             FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        let mut contents = Contents { bytes: number(connection, size).await?, ..Contents::default() };
        let query = sqlx::query("SELECT name, day FROM span_tables ORDER BY day, name");
        let rows = query.fetch_all(&mut *connection).await.map_err(failed(DOING))?;
        for row in rows {
            let name: String = row.try_get(0).map_err(failed(DOING))?;
            let day: Option<i64> = row.try_get(1).map_err(failed(DOING))?;
            let table = match day.map(u32::try_from) {
                Some(Ok(day)) => Table::Day(day),
                _ if name == "spans_kept" => Table::Kept,
                _ if name == "spans_default" => Table::Default,
                _ => continue,
            };
            // Rows of a day are numbered as they come and go together: the last number is how many there are, at once.
            let sql = match table {
                Table::Day(_) if !exactly => format!("SELECT coalesce(max(rowid), 0) FROM {table}"),
                _ => format!("SELECT count(*) FROM {table}"),
            };
            let spans = number(connection, &sql).await?;
            contents.spans += spans;
            if let Table::Day(day) = table {
                contents.days.push(DaySpans { day, spans });
            }
            if exactly {
                let bytes = bytes_of(connection, &table.to_string()).await?;
                contents.span_bytes = Some(contents.span_bytes.unwrap_or_default() + bytes);
            }
        }
        if exactly {
            contents.traces = Some(number(connection, "SELECT count(*) FROM traces").await?);
            contents.trace_bytes = Some(bytes_of(connection, "traces").await?);
        }
        Ok(contents)
    }

    async fn damage(&self, connection: &mut SqliteConnection) -> Result<Vec<String>> {
        // Safe: our own text. It reads everything, however long that takes.
        let sql = AssertSqlSafe(format!("PRAGMA quick_check({MAX_DAMAGE})"));
        let rows = match sqlx::query(sql).fetch_all(connection).await {
            // Some damage stops the reading itself.
            Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == CORRUPT) => {
                return Ok(vec![error.message().to_owned()]);
            }
            rows => rows.map_err(failed(DOING))?,
        };
        let told = rows.iter().map(|row| row.try_get::<String, _>(0)).collect::<sqlx::Result<Vec<_>>>();
        Ok(told.map_err(failed(DOING))?.into_iter().filter(|line| line != "ok").collect())
    }
}

#[async_trait]
impl Probe for SqliteProbe {
    async fn examine(&self, look: &Look<'_>) -> StoreFacts {
        (look.tell)(&format!("looking at {}", self.path.display()));
        let away = || "the file is not open".to_owned();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut facts = SqliteFacts {
            path: self.path.clone(),
            opened: Err(Trouble { cause: "missing", reason: away() }),
            // Of a disk the journal knows more.
            space: Err("not asked".to_owned()),
            writable: writable(&self.path, folder),
            history: Err(away()),
            contents: Err(away()),
            damage: None,
        };
        let begun = Instant::now();
        let mut connection = match self.open().await {
            Ok(connection) => connection,
            Err(trouble) => {
                facts.opened = Err(trouble);
                return StoreFacts::Sqlite(facts);
            }
        };
        let took = begun.elapsed();
        facts.opened = match timed(self.file(&mut connection, took)).await {
            Ok(file) => Ok(file),
            Err(error) => Err(trouble(&error)),
        };
        facts.history = known(timed(history(&mut connection)).await);
        if facts.history.as_ref().is_ok_and(|history| history.applied.is_empty()) {
            facts.contents = Err("the tables are not there".to_owned());
        } else {
            (look.tell)("counting spans");
            facts.contents = known(timed(self.contents(&mut connection, false)).await);
        }
        if look.deep {
            (look.tell)("reading every page of the file, which takes a while");
            facts.damage = Some(known(self.damage(&mut connection).await));
        }
        // It only read; a question that was given up may still be under way.
        let _ = timeout(Duration::from_secs(1), connection.close()).await;
        StoreFacts::Sqlite(facts)
    }

    async fn measure(&self) -> Result<Contents> {
        let cannot = |trouble: Trouble| StoreError::Unavailable {
            doing: DOING,
            cause: Cause::File,
            source: trouble.reason.into(),
        };
        let mut connection = self.open().await.map_err(cannot)?;
        let contents = self.contents(&mut connection, true).await;
        // It only read.
        let _ = connection.close().await;
        contents
    }

    async fn bench(&self, one: &[Span], many: &[Span], rounds: usize) -> Result<Bench> {
        if !self.path.exists() {
            let source = format!("{} is not there", self.path.display()).into();
            return Err(StoreError::Unavailable { doing: DOING, cause: Cause::File, source });
        }
        if journal_mode(&self.path).map_err(io)? != "wal" {
            let source = "the file is not in WAL mode, and opening it for writing would change that".into();
            return Err(StoreError::Unavailable { doing: DOING, cause: Cause::File, source });
        }
        let store: Arc<Sqlite> = store(&self.path, &self.settings);
        let mut bench =
            Bench { single_ms: Vec::new(), batch_ms: Vec::new(), batch_spans: many.len(), commit_ms: Vec::new() };
        // The first opens the file.
        store.rehearse(one).await?;
        for _ in 0..rounds {
            bench.single_ms.push(ms(store.rehearse(one).await?));
            bench.batch_ms.push(ms(store.rehearse(many).await?));
        }
        store.close().await;
        Ok(bench)
    }
}

async fn history(connection: &mut SqliteConnection) -> Result<History> {
    let rows = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'table'").fetch_all(&mut *connection).await;
    let names =
        rows.and_then(|rows| rows.iter().map(|row| row.try_get::<String, _>(0)).collect::<sqlx::Result<Vec<_>>>());
    let names = names.map_err(failed(DOING))?;
    let known = MIGRATIONS.iter().map(|(version, name, ..)| (*version, (*name).to_owned())).collect();
    let mut history = History { known, applied: Vec::new(), altered: Vec::new(), missing_tables: Vec::new() };
    if !names.iter().any(|name| name == "tracefall_migrations") {
        return Ok(history);
    }
    let rows = sqlx::query("SELECT version FROM tracefall_migrations WHERE success").fetch_all(connection).await;
    let versions = rows.and_then(|rows| rows.iter().map(|row| row.try_get::<i64, _>(0)).collect());
    history.applied = versions.map_err(failed(DOING))?;
    let missing = TABLES.iter().filter(|table| !names.iter().any(|name| name == *table));
    history.missing_tables = missing.map(|table| (*table).to_owned()).collect();
    Ok(history)
}

/// Bytes of a table and its indexes. Reads all of them.
async fn bytes_of(connection: &mut SqliteConnection, table: &str) -> Result<u64> {
    let query = sqlx::query(
        "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE aggregate = 1 AND name IN \
         (SELECT name FROM sqlite_schema WHERE tbl_name = ? AND type IN ('table', 'index'))",
    );
    let row = query.bind(table).fetch_one(connection).await.map_err(failed(DOING))?;
    Ok(row.try_get::<i64, _>(0).map_err(failed(DOING))?.unsigned_abs())
}

async fn number(connection: &mut SqliteConnection, sql: &str) -> Result<u64> {
    // Safe: our own text, and names of tables that are made of digits.
    let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await.map_err(failed(DOING))?;
    Ok(row.try_get::<i64, _>(0).map_err(failed(DOING))?.unsigned_abs())
}

async fn text(connection: &mut SqliteConnection, sql: &'static str) -> Result<String> {
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(failed(DOING))?;
    row.try_get(0).map_err(failed(DOING))
}

/// Whether a log is written ahead, by the header of the file: byte 18.
/// Source: <https://www.sqlite.org/fileformat.html#file_format_version_numbers>.
fn journal_mode(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut header = [0; 20];
    std::fs::File::open(path)?.read_exact(&mut header)?;
    Ok(if header[18] == 2 { "wal" } else { "delete" }.to_owned())
}

fn writable(path: &Path, folder: &Path) -> Known<()> {
    let of = |path: &Path| -> Known<()> {
        let may = rustix::fs::access(path, rustix::fs::Access::WRITE_OK);
        may.map_err(|error| format!("{} cannot be written: {}", path.display(), std::io::Error::from(error)))
    };
    match (path.exists(), folder.exists()) {
        (true, _) => of(path).and_then(|()| of(folder)),
        (false, true) => of(folder),
        // Whoever starts the service makes it.
        (false, false) => Ok(()),
    }
}

async fn timed<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || StoreError::Unavailable {
        doing: DOING,
        cause: Cause::Silent,
        source: format!("no answer within {} s", LIMIT.as_secs()).into(),
    };
    timeout(LIMIT, work).await.unwrap_or_else(|_| Err(late()))
}

fn known<T>(result: Result<T>) -> Known<T> {
    result.map_err(|error| told(&error))
}

fn io(error: std::io::Error) -> StoreError {
    StoreError::Unavailable { doing: DOING, cause: Cause::File, source: error.into() }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

//! `[store]`: where spans are kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::postgres::{ACCEPTED_URL, check_schema, check_url, warn_of_url, warn_of_writing};
pub use super::postgres::{PostgresLocation, PostgresSettings, PreparedStatements};
use super::problem::Problems;
use super::secret::DatabaseUrl;

/// The database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// The database: `postgres://…`, `sqlite:path` or a path. Absent: the file `tracefall.db` in `data_dir`.
    pub url: Option<DatabaseUrl>,
    /// PostgreSQL, for writing: the direct host where `url` names a pooler, or the writer's role. Absent: `url`.
    pub write_url: Option<DatabaseUrl>,
    /// PostgreSQL, for reading: a replica, or the reader's role. Absent: `url`.
    pub read_url: Option<DatabaseUrl>,
    /// PostgreSQL, for migrations, partitions and retention: the role that may create and drop. Absent: as for writing.
    pub admin_url: Option<DatabaseUrl>,
    /// PostgreSQL: the schema that holds everything of ours. A plain identifier in lower case.
    pub schema: String,
    /// Directory of everything this process keeps on disk; made if it is missing.
    pub data_dir: PathBuf,
    pub sqlite: SqliteSettings,
    pub postgres: PostgresSettings,
}

/// The embedded store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqliteSettings {
    /// Connections that read, beside the one that writes.
    pub reader_connections: u32,
    /// Bytes of page cache of the writing connection.
    pub cache_bytes: u64,
    /// What a commit waits for.
    pub synchronous: Synchronous,
    /// Milliseconds to wait for a lock that another program holds on the file.
    pub busy_timeout_ms: u64,
}

/// What a commit waits for. Source: <https://www.sqlite.org/pragma.html#pragma_synchronous>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// The operating system has the data: safe when the process is killed; a power cut may take the last commits.
    Normal,
    /// The disk has the data. Costs one fsync a commit.
    Full,
}

/// A database, as [`StoreSettings`] names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// This SQLite file.
    Sqlite(PathBuf),
    /// This schema of a PostgreSQL database.
    Postgres(PostgresLocation),
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            url: None,
            write_url: None,
            read_url: None,
            admin_url: None,
            schema: "tracefall".into(),
            data_dir: PathBuf::from("./tracefall-data"),
            sqlite: SqliteSettings::default(),
            postgres: PostgresSettings::default(),
        }
    }
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self { reader_connections: 4, cache_bytes: 64 << 20, synchronous: Synchronous::Normal, busy_timeout_ms: 5_000 }
    }
}

impl StoreSettings {
    /// The database to open. A path is taken as it stands: nothing in it is decoded.
    ///
    /// # Errors
    /// What `url` is and what is accepted, if it is neither. The text holds no password.
    pub fn location(&self) -> Result<StoreLocation, String> {
        let Some(url) = &self.url else {
            return Ok(StoreLocation::Sqlite(self.data_dir.join("tracefall.db")));
        };
        let accepted = format!("accepted is {ACCEPTED_URL}, sqlite:path/to/file.db or a path");
        let text = url.expose();
        let path = match scheme(text) {
            // What libpq takes beside a URL: "host=db password=…".
            None if text.contains("dbname=") || text.contains("host=") => return Err(format!("is {url}; {accepted}")),
            None => text,
            Some(("sqlite", rest)) => {
                if rest.contains('?') {
                    return Err(format!("is {url}; {accepted}, without parameters: see [store.sqlite]"));
                }
                rest.strip_prefix("//").unwrap_or(rest)
            }
            Some(("postgres" | "postgresql", _)) => {
                check_url(url)?;
                return Ok(StoreLocation::Postgres(self.postgres_location(url)));
            }
            Some(_) => return Err(format!("is {url}; {accepted}")),
        };
        match path {
            "" => Err(format!("is {url}, which names no file; {accepted}")),
            ":memory:" => Err(format!("is {url}, which would forget every span at the end of the process; {accepted}")),
            path => Ok(StoreLocation::Sqlite(PathBuf::from(path))),
        }
    }

    fn postgres_location(&self, url: &DatabaseUrl) -> PostgresLocation {
        let write_url = self.write_url.as_ref().unwrap_or(url);
        PostgresLocation {
            write_url: write_url.clone(),
            read_url: self.read_url.as_ref().unwrap_or(url).clone(),
            admin_url: self.admin_url.as_ref().unwrap_or(write_url).clone(),
            schema: self.schema.clone(),
        }
    }

    /// The URLs that only PostgreSQL has, where they are given.
    fn further_urls(&self) -> impl Iterator<Item = (&'static str, &DatabaseUrl)> {
        let urls = [
            ("store.write_url", &self.write_url),
            ("store.read_url", &self.read_url),
            ("store.admin_url", &self.admin_url),
        ];
        urls.into_iter().filter_map(|(key, url)| Some((key, url.as_ref()?)))
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if let Err(text) = self.location() {
            problems.add("store.url", text);
        }
        for (key, url) in self.further_urls() {
            if let Err(text) = check_url(url) {
                problems.add(key, text);
            }
        }
        if let Err(text) = check_schema(&self.schema) {
            problems.add("store.schema", text);
        }
        if self.data_dir.as_os_str().is_empty() {
            problems.add("store.data_dir", "is empty; accepted is a directory's path");
        }
        problems.within("store.sqlite.reader_connections", self.sqlite.reader_connections, 1..=64);
        problems.within("store.sqlite.busy_timeout_ms", self.sqlite.busy_timeout_ms, 0..=60_000);
        problems.within("store.sqlite.cache_bytes", self.sqlite.cache_bytes, (1 << 20)..=(64 << 30));
        self.postgres.check(problems);
    }

    pub(super) fn warn(&self, problems: &mut Problems) {
        let is_postgres = matches!(self.location(), Ok(StoreLocation::Postgres(_)));
        if let Some(url) = self.url.as_ref().filter(|_| is_postgres) {
            warn_of_url("store.url", url, problems);
            let (key, url) = self.write_url.as_ref().map_or(("store.url", url), |url| ("store.write_url", url));
            warn_of_writing(key, url, problems);
        }
        for (key, url) in self.further_urls() {
            if is_postgres {
                warn_of_url(key, url, problems);
            } else {
                problems.add(key, "is not used: store.url names no PostgreSQL database");
            }
        }
    }
}

/// A URL's scheme in lower case, and what follows its colon. One letter is a Windows drive.
fn scheme(text: &str) -> Option<(&'static str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    if scheme.len() < 2 || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        return None;
    }
    let known = ["sqlite", "postgres", "postgresql"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme));
    Some((known.unwrap_or("unknown"), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(url: &str) -> Result<StoreLocation, String> {
        StoreSettings { url: Some(DatabaseUrl::new(url)), ..Default::default() }.location()
    }

    #[test]
    fn every_spelling_of_a_file_is_that_file() {
        for (url, path) in [
            ("sqlite:spans.db", "spans.db"),
            ("sqlite://spans.db", "spans.db"),
            ("sqlite:///var/lib/spans.db", "/var/lib/spans.db"),
            ("SQLite:/var/lib/spans.db", "/var/lib/spans.db"),
            ("./spans.db", "./spans.db"),
            ("/var/lib/a:b.db", "/var/lib/a:b.db"),
            ("C:\\spans.db", "C:\\spans.db"),
        ] {
            assert_eq!(location(url), Ok(StoreLocation::Sqlite(path.into())), "{url}");
        }
        let default = StoreSettings::default().location();
        assert_eq!(default, Ok(StoreLocation::Sqlite("./tracefall-data/tracefall.db".into())));
    }

    #[test]
    fn one_url_is_every_way_into_a_database_and_others_may_stand_beside_it() {
        let url = |name: &str| DatabaseUrl::new(format!("postgres://{name}@db/app"));
        let mut settings = StoreSettings { url: Some(url("one")), ..Default::default() };
        let ways = |settings: &StoreSettings| match settings.location() {
            Ok(StoreLocation::Postgres(to)) => [to.write_url, to.read_url, to.admin_url],
            other => panic!("{other:?}"),
        };
        assert_eq!(ways(&settings), [url("one"), url("one"), url("one")]);
        settings.write_url = Some(url("writer"));
        assert_eq!(ways(&settings), [url("writer"), url("one"), url("writer")]);
        settings.read_url = Some(url("reader"));
        settings.admin_url = Some(url("admin"));
        assert_eq!(ways(&settings), [url("writer"), url("reader"), url("admin")]);
    }

    #[test]
    fn what_is_no_database_is_refused_with_what_is_accepted() {
        for (url, says) in [
            ("mysql://db/spans", "sqlite:path/to/file.db or a path"),
            ("file:spans.db", "sqlite:path/to/file.db or a path"),
            ("postgres:spans", "accepted is postgres://"),
            ("host=db user=me password=hunter2", "accepted is postgres://"),
            ("postgres://me:hunter2@db:x/spans", "cannot be taken apart"),
            ("sqlite:", "names no file"),
            ("", "names no file"),
            ("sqlite::memory:", "forget every span"),
            (":memory:", "forget every span"),
            ("sqlite:spans.db?mode=rwc", "without parameters"),
        ] {
            let text = location(url).unwrap_err();
            assert!(text.contains(says) && !text.contains("hunter2"), "{url}: {text}");
        }
    }
}

//! `[store]`: where spans are kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problem::Problems;
use super::secret::DatabaseUrl;

/// The database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// The database: `sqlite:path` or a path. Absent: the file `tracefall.db` in `data_dir`.
    pub url: Option<DatabaseUrl>,
    /// Directory of everything this process keeps on disk; made if it is missing.
    pub data_dir: PathBuf,
    pub sqlite: SqliteSettings,
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
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { url: None, data_dir: PathBuf::from("./tracefall-data"), sqlite: SqliteSettings::default() }
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
    /// What `url` is and what is accepted, if it is no SQLite file. The text holds no password.
    pub fn location(&self) -> Result<StoreLocation, String> {
        let Some(url) = &self.url else {
            return Ok(StoreLocation::Sqlite(self.data_dir.join("tracefall.db")));
        };
        const ACCEPTED: &str = "accepted is sqlite:path/to/file.db or a path";
        let text = url.expose();
        let path = match scheme(text) {
            None => text,
            Some(("sqlite", rest)) => {
                if rest.contains('?') {
                    return Err(format!("is {url}; {ACCEPTED}, without parameters: see [store.sqlite]"));
                }
                rest.strip_prefix("//").unwrap_or(rest)
            }
            Some(("postgres" | "postgresql", _)) => {
                return Err(format!(
                    "is {url}; this version of tracefall stores in SQLite only: {ACCEPTED}; without the setting (and without \
                     DATABASE_URL in the environment) it is a file in store.data_dir"
                ));
            }
            Some(_) => return Err(format!("is {url}; {ACCEPTED}")),
        };
        match path {
            "" => Err(format!("is {url}, which names no file; {ACCEPTED}")),
            ":memory:" => Err(format!("is {url}, which would forget every span at the end of the process; {ACCEPTED}")),
            path => Ok(StoreLocation::Sqlite(PathBuf::from(path))),
        }
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if let Err(text) = self.location() {
            problems.add("store.url", text);
        }
        if self.data_dir.as_os_str().is_empty() {
            problems.add("store.data_dir", "is empty; accepted is a directory's path");
        }
        problems.within("store.sqlite.reader_connections", self.sqlite.reader_connections, 1..=64);
        problems.within("store.sqlite.busy_timeout_ms", self.sqlite.busy_timeout_ms, 0..=60_000);
        problems.within("store.sqlite.cache_bytes", self.sqlite.cache_bytes, (1 << 20)..=(64 << 30));
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
    fn what_is_no_file_is_refused_with_what_is_accepted() {
        let postgres = location("postgres://me:hunter2@db/spans").unwrap_err();
        assert!(postgres.contains("SQLite only") && !postgres.contains("hunter2"), "{postgres}");
        for (url, says) in [
            ("mysql://db/spans", "accepted is sqlite:path"),
            ("file:spans.db", "accepted is sqlite:path"),
            ("sqlite:", "names no file"),
            ("", "names no file"),
            ("sqlite::memory:", "forget every span"),
            (":memory:", "forget every span"),
            ("sqlite:spans.db?mode=rwc", "without parameters"),
        ] {
            let text = location(url).unwrap_err();
            assert!(text.contains(says), "{url}: {text}");
        }
    }
}

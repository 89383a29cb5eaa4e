//! From facts about a store, its journal and its settings to findings: what is well, what is not, and the command or
//! statement that heals it. Pure: the same for the command `tracefall doctor` and for whoever else asks.
//!
//! Owns the limits and the words. Leaves finding out to the rooms that can ([`crate::store`], [`crate::journal`]), and
//! columns and colours to [`crate::render`].

pub mod facts;
mod journal;
mod load;
mod room;
mod schema;
mod settings;
mod sqlite;
#[cfg(test)]
mod tests;
mod ways;

use serde::Serialize;

use crate::settings::Settings;
use facts::{Facts, StoreFacts};

/// Milliseconds that a statement of ours may take on average.
pub const SLOW_STATEMENT_MS: f64 = 10.0;

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// It could not be found out, or there is no limit to judge by.
    Unknown,
    /// It works, and will not for ever, or not as well as it might.
    Warn,
    /// It does not work, or is about to stop.
    Fail,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Unknown => "unknown",
            State::Warn => "warn",
            State::Fail => "fail",
        }
    }
}

/// What heals a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(tag = "how", content = "what", rename_all = "lowercase")]
pub enum Fix {
    /// For a shell. `$ADMIN_URL` is the URL of the role that owns the schema.
    Shell(String),
    /// For `psql`, as the owner of the schema or the administrator.
    Sql(String),
    /// A variable of the environment of the service, which is then restarted.
    Setting(String),
    /// What no command does.
    Words(String),
}

impl Fix {
    fn shell(text: impl Into<String>) -> Option<Self> {
        Some(Self::Shell(text.into()))
    }

    fn sql(text: impl Into<String>) -> Option<Self> {
        Some(Self::Sql(text.into()))
    }

    fn setting(key: &str, value: &str) -> Option<Self> {
        let variable = key.replace('.', "__").to_ascii_uppercase();
        Some(Self::Setting(format!("TRACEFALL__{variable}='{value}'")))
    }

    fn words(text: impl Into<String>) -> Option<Self> {
        Some(Self::Words(text.into()))
    }

    pub fn text(&self) -> &str {
        match self {
            Fix::Shell(text) | Fix::Sql(text) | Fix::Setting(text) | Fix::Words(text) => text,
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Finding {
    /// What was looked at: `reachability`, `latency`, `index_size`, … A name that stays.
    pub check: &'static str,
    /// Of which thing, where there may be several: a setting, a table, an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    pub state: State,
    pub value: String,
    /// What would be well, in words.
    pub limit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

impl Finding {
    fn new(check: &'static str, state: State, value: impl Into<String>, limit: impl Into<String>) -> Self {
        Self { check, about: None, state, value: value.into(), limit: limit.into(), fix: None }
    }

    fn about(mut self, about: impl Into<String>) -> Self {
        self.about = Some(about.into());
        self
    }

    fn fix(mut self, fix: Option<Fix>) -> Self {
        self.fix = fix;
        self
    }

    /// The fix is for what is not well.
    fn fix_unless_ok(self, fix: Option<Fix>) -> Self {
        if self.state == State::Ok { self } else { self.fix(fix) }
    }

    fn unknown(check: &'static str, why: &str, limit: impl Into<String>) -> Self {
        Self::new(check, State::Unknown, why, limit)
    }
}

/// All findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Report {
    /// The worst of them; unknown ones do not count.
    pub state: State,
    /// Where the store is, without a password.
    pub store: String,
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|finding| finding.state == state).count()
    }
}

/// Judges what is known. `settings` are those of the service.
pub fn judge(facts: &Facts, settings: &Settings) -> Report {
    let mut findings = settings::judge(settings);
    match &facts.store {
        StoreFacts::Postgres(postgres) => {
            ways::judge(postgres, &mut findings);
            schema::judge(&postgres.history, Some(&postgres.schema), &mut findings);
            load::judge(postgres, &mut findings);
            load::bench(facts.bench.as_ref(), Some(&postgres.statements), &mut findings);
            room::growth(&postgres.contents, None, facts.now, settings, &mut findings);
            room::days_ahead(&postgres.contents, facts.now, &mut findings);
            room::indexes(postgres, &mut findings);
        }
        StoreFacts::Sqlite(file) => {
            sqlite::judge(file, &mut findings);
            schema::judge(&file.history, None, &mut findings);
            load::bench(facts.bench.as_ref(), None, &mut findings);
            room::growth(&file.contents, file.space.as_ref().ok(), facts.now, settings, &mut findings);
        }
    }
    journal::judge(facts.journal.as_ref(), &mut findings);
    let known = findings.iter().map(|finding| finding.state).filter(|state| *state != State::Unknown);
    Report { state: known.max().unwrap_or(State::Unknown), store: facts.place.clone(), findings }
}

/// Milliseconds as people read them.
fn human_ms(ms: f64) -> String {
    match ms {
        ms if ms >= 9_995.0 => format!("{:.0} s", ms / 1_000.0),
        ms if ms >= 99.95 => format!("{ms:.0} ms"),
        ms if ms >= 0.995 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

/// A name as SQL takes it in any spelling.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A word as a shell takes it, whatever is in it.
fn shell_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

//! Settings: plain values, one file per section, read once at the start from four places.
//!
//! Defaults < the file `tracefall.toml` < environment < flags. This room alone reads the environment. Unknown names and
//! impossible values stop the start, and the complaint names all of them, not the first alone. Opening what a setting names (a database, a port) is
//! left to the rooms, each of which receives its section by value.
//!
//! In the environment `TRACEFALL__SECTION__KEY` sets `section.key`; `DATABASE_URL`, `PORT`, `RUST_LOG` and
//! `ENABLE_DB_TRACING` are weaker names of `store.url`, `server.port`, `telemetry.filter` and `ingest.enabled`.

pub mod access;
pub mod forward;
pub mod ingest;
pub mod journal;
mod layers;
pub mod pipeline;
mod postgres;
mod problem;
pub mod redaction;
pub mod retention;
mod secret;
pub mod server;
pub mod store;
pub mod telemetry;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::Config;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use problem::{Problem, SettingsError};
pub use secret::{DatabaseUrl, Secret};

use access::AccessSettings;
use forward::ForwardSettings;
use ingest::IngestSettings;
use journal::JournalSettings;
use layers::Known;
use pipeline::PipelineSettings;
use problem::Problems;
use redaction::RedactionSettings;
use retention::{RetentionSettings, StorageSettings};
use server::ServerSettings;
use store::StoreSettings;
use telemetry::TelemetrySettings;

/// Everything that can be set. Secrets print as `***`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Other back ends that received spans go on to.
    pub forward: Vec<ForwardSettings>,
    pub server: ServerSettings,
    pub ingest: IngestSettings,
    pub redaction: RedactionSettings,
    pub journal: JournalSettings,
    pub pipeline: PipelineSettings,
    pub store: StoreSettings,
    pub retention: RetentionSettings,
    pub storage: StorageSettings,
    pub access: AccessSettings,
    pub telemetry: TelemetrySettings,
}

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "tracefall.toml";

/// The places to read settings from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named by `--config`. It must exist; absent, `TRACEFALL_CONFIG` names it, and else `tracefall.toml` is
    /// read if it exists.
    pub file: Option<PathBuf>,
    /// Where relative paths of configuration files start.
    pub directory: PathBuf,
    /// Environment variables, ours and others.
    pub environment: BTreeMap<String, String>,
    pub overrides: Overrides,
}

/// Settings that have a flag of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--host`
    pub host: Option<String>,
    /// `--port`
    pub port: Option<u16>,
    /// `--data-dir`
    pub data_dir: Option<String>,
    /// `--store-url`
    pub store_url: Option<String>,
    /// `--log`
    pub log_filter: Option<String>,
}

impl Sources {
    /// This process's working directory and environment. Bytes that are not UTF-8 are replaced.
    pub fn of_process(file: Option<PathBuf>, overrides: Overrides) -> Self {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect();
        Self { file, directory: PathBuf::new(), environment, overrides }
    }

    /// The configuration file to read, and whether somebody named it.
    fn file(&self) -> (PathBuf, bool) {
        let by_variable = || self.environment.get("TRACEFALL_CONFIG").filter(|path| !path.is_empty()).map(Path::new);
        match self.file.as_deref().or_else(by_variable) {
            Some(path) => (self.directory.join(path), true),
            None => (self.directory.join(DEFAULT_FILE), false),
        }
    }
}

impl Settings {
    /// Reads and validates.
    ///
    /// # Errors
    /// [`SettingsError`], with every problem that was found.
    pub fn load(sources: &Sources) -> Result<Self, SettingsError> {
        let known = Known::new();
        let mut problems = Problems::default();
        let (path, named) = sources.file();
        let file = layers::file(&path, named, &known, &mut problems)?;
        let environment = layers::environment(&sources.environment, &known, &file, &mut problems);
        problems.into_result()?;

        let layered =
            Config::builder().add_source(file).add_source(environment).add_source(layers::flags(&sources.overrides));
        let merged = layered.build().map_err(|error| unreadable("", &error.to_string()))?;
        let origin_of = |key: &str| origin(&merged.cache, key);

        let mut problems = Problems::default();
        let json: Value = merged.clone().try_deserialize().map_err(|error| unreadable("", &error.to_string()))?;
        match serde_path_to_error::deserialize::<_, Settings>(json) {
            Ok(mut settings) => {
                forward::resolve(&mut settings.forward, &sources.environment);
                settings.check(&mut problems);
                problems.locate(origin_of);
                problems.into_result().map(|()| settings)
            }
            Err(error) => {
                let key = error.path().to_string();
                problems.add(&key, plain(&key, &error.inner().to_string()));
                problems.locate(origin_of);
                problems.into_result().and(Err(unreadable(&key, "cannot be read")))
            }
        }
    }

    /// Checks that the values work, each by itself and together.
    ///
    /// # Errors
    /// [`SettingsError::Invalid`] with every problem.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let mut problems = Problems::default();
        self.check(&mut problems);
        problems.into_result()
    }

    /// What works and is probably not meant: to be logged at the start. The texts hold no secret.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut problems = Problems::default();
        self.store.warn(&mut problems);
        self.journal.warn(&self.store, &mut problems);
        forward::warn(&self.forward, &mut problems);
        problems.into_list()
    }

    /// The settings as a configuration file, secrets as `***`.
    pub fn redacted_toml(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        let leaves = self.leaves();
        // The settings of a section stand before its sub-sections, or TOML would take them for the sub-section's.
        let mut ordered: Vec<(&str, &str, &Value)> = leaves
            .iter()
            .filter_map(|(key, value)| key.rsplit_once('.').map(|(section, name)| (section, name, value)))
            .collect();
        ordered.sort_by_key(|(section, _, _)| *section);
        for (of, name, value) in ordered {
            if of != section {
                let gap = if text.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}[{of}]\n"));
                section = of;
            }
            match value {
                Value::Null => text.push_str(&format!("# {name} is not set\n")),
                value => text.push_str(&format!("{name} = {}\n", toml_value(value))),
            }
        }
        for target in &self.forward {
            // Plain texts and numbers always serialise.
            let members = serde_json::to_value(target).unwrap_or_default();
            text.push_str("\n[[forward]]\n");
            for (name, value) in members.as_object().into_iter().flatten() {
                text.push_str(&format!("{name} = {}\n", toml_value(value)));
            }
        }
        text
    }

    /// The full name of every setting, in alphabetical order: `access.admin_key` to `telemetry.format`.
    pub fn keys() -> Vec<String> {
        Self::default().leaves().into_keys().collect()
    }

    /// Every setting by its full name, secrets as `***`. A list is one value.
    fn leaves(&self) -> BTreeMap<String, Value> {
        let mut leaves = BTreeMap::new();
        // Plain structs of texts, numbers and lists always serialise.
        collect_leaves("", serde_json::to_value(self).unwrap_or_default(), &mut leaves);
        leaves
    }

    fn check(&self, problems: &mut Problems) {
        self.server.check(&self.ingest, &self.pipeline, problems);
        self.ingest.check(problems);
        self.redaction.check(problems);
        self.journal.check(problems);
        self.pipeline.check(problems);
        self.store.check(problems);
        self.retention.check(problems);
        self.storage.check(problems);
        self.access.check(&self.server, problems);
        self.telemetry.check(problems);
        forward::check(&self.forward, &self.journal, problems);
    }
}

fn collect_leaves(prefix: &str, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
                collect_leaves(&key, value, leaves);
            }
        }
        leaf => {
            leaves.insert(prefix.to_owned(), leaf);
        }
    }
}

/// JSON's texts, numbers and lists are TOML's; only tables are written in another way.
fn toml_value(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{} = {}", toml_key(name), toml_value(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// A name with anything but letters, digits, `-` and `_` has quotes.
fn toml_key(name: &str) -> String {
    let is_bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if is_bare && !name.is_empty() { name.to_owned() } else { Value::from(name).to_string() }
}

/// Where the value of `key` (or of the list that it is in) came from.
fn origin(root: &config::Value, key: &str) -> Option<String> {
    let list = key.split('[').next().unwrap_or(key);
    let mut at = root;
    for name in list.split('.') {
        match &at.kind {
            config::ValueKind::Table(table) => at = table.get(name)?,
            _ => break,
        }
    }
    at.origin().map(str::to_owned)
}

/// serde's words in plain ones. Below `access` and `forward` a value of the wrong type may be a key, so it is not repeated.
fn plain(key: &str, message: &str) -> String {
    if key.starts_with("forward") && message.starts_with("invalid") {
        return "is of the wrong type; accepted is { name = \"…\", url = \"https://…\", headers = { x-api-key = \"env:NAME\" }, … }".into();
    }
    if key.starts_with("access.") && message.starts_with("invalid") {
        return "is of the wrong type; accepted is { name = \"…\", key = \"…\" or key_sha256 = \"…\", scopes = [\"ingest\"] }".into();
    }
    format!(
        "is wrong: {}",
        message
            .replace("expected u16", "accepted is 0 to 65535")
            .replace("expected u32", "accepted is 0 to 4294967295")
    )
}

fn unreadable(key: &str, text: &str) -> SettingsError {
    SettingsError::Invalid(vec![Problem { key: key.to_owned(), origin: None, text: text.to_owned() }])
}

#[cfg(test)]
mod tests;

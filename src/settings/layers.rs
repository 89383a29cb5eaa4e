//! The places that settings come from, each read into a layer of dotted keys: every name is checked here, and every
//! value's kind, so that a complaint can say where the value stands.

use std::collections::BTreeMap;
use std::path::Path;

use config::{ConfigError, File, FileFormat, Map, Source, Value, ValueKind};

use super::problem::{Problems, SettingsError};
use super::{Overrides, Settings};

/// Variables that go by the name other software gave them.
const ALIASES: [(&str, &str); 4] = [
    ("DATABASE_URL", "store.url"),
    ("PORT", "server.port"),
    ("RUST_LOG", "telemetry.filter"),
    ("ENABLE_DB_TRACING", "ingest.enabled"),
];

const PREFIX: &str = "TRACEFALL__";

/// Settings from one place, by their full names. Each value knows its origin.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer(BTreeMap<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone().into_iter().collect())
    }
}

/// Every setting there is, by its full name, with what it accepts.
pub(super) struct Known(BTreeMap<String, Kind>);

/// What a setting accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switch,
    Number,
    Text,
    Texts,
    Tables,
}

impl Known {
    /// Told by the defaults: a list is one of texts, and what is absent by default is a text. `access.keys` and
    /// `forward` are lists of tables.
    pub fn new() -> Self {
        let kind = |key: &str, default: &serde_json::Value| match default {
            serde_json::Value::Bool(_) => Kind::Switch,
            serde_json::Value::Number(_) => Kind::Number,
            serde_json::Value::Array(_) if matches!(key, "access.keys" | "forward") => Kind::Tables,
            serde_json::Value::Array(_) => Kind::Texts,
            _ => Kind::Text,
        };
        let defaults = Settings::default().leaves();
        Self(defaults.into_iter().map(|(key, default)| (key.clone(), kind(&key, &default))).collect())
    }

    fn is_section(&self, key: &str) -> bool {
        self.0.keys().any(|known| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
    }

    /// "no such setting", and the name that was probably meant.
    fn unknown(&self, key: &str) -> String {
        match self.nearest(key) {
            Some(meant) => format!("is no setting; did you mean {meant}?"),
            None => "is no setting; config.example.toml lists them all".to_owned(),
        }
    }

    fn nearest(&self, key: &str) -> Option<&str> {
        let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
        let typo = self
            .0
            .keys()
            .map(|known| (edits(key, known), known))
            .min()
            .filter(|(edits, known)| *edits <= 1 + known.len() / 8)
            .map(|(_, known)| known);
        typo.or_else(|| self.0.keys().find(|known| last(known) == last(key))).map(String::as_str)
    }
}

impl Kind {
    fn accepted(self) -> &'static str {
        match self {
            Self::Switch => "true or false",
            Self::Number => "a whole number, 0 or more",
            Self::Text => "a text",
            Self::Texts => "a list of texts",
            Self::Tables => "a list of tables",
        }
    }

    /// Takes a value of the right kind.
    fn accepts(self, value: &ValueKind) -> bool {
        match (self, value) {
            (Self::Switch, ValueKind::Boolean(_)) | (Self::Text, ValueKind::String(_)) => true,
            (Self::Number, ValueKind::I64(number)) => *number >= 0,
            (Self::Number, ValueKind::U64(_)) => true,
            (Self::Texts, ValueKind::Array(items)) => {
                items.iter().all(|item| matches!(item.kind, ValueKind::String(_)))
            }
            (Self::Tables, ValueKind::Array(items)) => {
                items.iter().all(|item| matches!(item.kind, ValueKind::Table(_)))
            }
            _ => false,
        }
    }

    /// Reads the text of a variable, in which a list has commas between its items.
    fn parse(self, text: &str) -> Option<ValueKind> {
        match self {
            Self::Switch => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "on" | "yes" => Some(ValueKind::Boolean(true)),
                "false" | "0" | "off" | "no" => Some(ValueKind::Boolean(false)),
                _ => None,
            },
            Self::Number => text.trim().parse::<u64>().ok().map(ValueKind::U64),
            Self::Text => Some(ValueKind::String(text.to_owned())),
            Self::Texts => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(ValueKind::from(items.map(str::to_owned).collect::<Vec<_>>()))
            }
            Self::Tables => None,
        }
    }
}

/// Reads a configuration file. An absent file is an empty layer unless somebody named it.
///
/// # Errors
/// If it cannot be read or is not TOML. What it sets wrongly goes to `problems`.
pub(super) fn file(path: &Path, named: bool, known: &Known, problems: &mut Problems) -> Result<Layer, SettingsError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => return Ok(Layer::default()),
        Err(source) => return Err(SettingsError::Unreadable { path: path.to_owned(), source }),
    };
    let table = File::from_str(&text, FileFormat::Toml)
        .collect()
        .map_err(|error| SettingsError::Malformed { path: path.to_owned(), reason: without_source_lines(&error) })?;
    let mut layer = Layer::default();
    flatten(table, "", &path.display().to_string(), known, &mut layer, problems);
    Ok(layer)
}

/// The parser quotes the line that it stumbled over, which may be the one with the key.
fn without_source_lines(error: &ConfigError) -> String {
    let text = error.to_string();
    let told =
        text.lines().filter(|line| !line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|'));
    told.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}

fn flatten(
    table: Map<String, Value>,
    prefix: &str,
    origin: &str,
    known: &Known,
    layer: &mut Layer,
    problems: &mut Problems,
) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match (known.0.get(&key), value.kind) {
            _ if name.contains('.') => {
                problems.add_from(origin, format!("{key:?}"), "is no setting; a name holds no dot")
            }
            (Some(kind), found) if kind.accepts(&found) => {
                layer.0.insert(key, Value::new(Some(&origin.to_owned()), found));
            }
            (Some(kind), found) => problems.add_from(origin, &key, mismatch(&key, *kind, &found)),
            (None, ValueKind::Table(inner)) if known.is_section(&key) || !inner.is_empty() => {
                flatten(inner, &key, origin, known, layer, problems);
            }
            (None, _) if known.is_section(&key) => {
                problems.add_from(origin, &key, format!("is a section; accepted is [{key}] with its settings below"));
            }
            (None, _) => problems.add_from(origin, &key, known.unknown(&key)),
        }
    }
}

/// Reads the variables that are ours. One with an empty value counts as unset, but for keys: an empty key is a mistake
/// that must not open the door.
///
/// A variable of one forward target changes that target of the file, or makes another.
pub(super) fn environment(
    variables: &BTreeMap<String, String>,
    known: &Known,
    file: &Layer,
    problems: &mut Problems,
) -> Layer {
    let mut layer = Layer::default();
    let mut targets = Targets::of(file);
    for (variable, key) in ALIASES {
        if let Some(text) = variables.get(variable) {
            take_variable(variable, key, text, known, &mut layer, problems);
        }
    }
    for (variable, text) in variables {
        if let Some(path) = variable.strip_prefix(PREFIX) {
            let key = path.to_ascii_lowercase().replace("__", ".");
            if let Some(of_target) = key.strip_prefix("forward.") {
                targets.set(variable, of_target, text, problems);
                continue;
            }
            take_variable(variable, &key, text, known, &mut layer, problems);
        }
    }
    targets.put(&mut layer);
    layer
}

/// The forward targets of the file, with what the environment says of them.
struct Targets {
    tables: Vec<Map<String, Value>>,
    changed: bool,
}

impl Targets {
    fn of(file: &Layer) -> Self {
        let listed = file.0.get("forward").and_then(|value| value.clone().into_array().ok()).unwrap_or_default();
        Self { tables: listed.into_iter().filter_map(|table| table.into_table().ok()).collect(), changed: false }
    }

    /// Takes `NAME.KEY` or `NAME.headers.HEADER`. Of a header not the value is taken but where it stands.
    fn set(&mut self, variable: &str, path: &str, text: &str, problems: &mut Problems) {
        let origin = format!("the environment variable {variable}");
        let parts: Vec<&str> = path.split('.').collect();
        let kind = match parts[..] {
            [_, "url" | "compression"] | [_, "headers", _] => Kind::Text,
            [_, "timeout_secs" | "max_disk_bytes"] => Kind::Number,
            _ => {
                let text = "is no setting; accepted are forward.NAME.url, compression, timeout_secs, max_disk_bytes and \
                            headers.NAME";
                return problems.add_from(&origin, format!("forward.{path}"), text);
            }
        };
        if text.is_empty() {
            return;
        }
        let Some(parsed) = kind.parse(text) else {
            let found = ValueKind::from(text);
            return problems.add_from(&origin, format!("forward.{path}"), mismatch("forward.", kind, &found));
        };
        self.changed = true;
        let value = |kind| Value::new(Some(&origin), kind);
        let table = self.table(parts[0], &origin);
        match parts[..] {
            [_, "headers", header] => {
                let is_reference = text.starts_with("env:");
                let written = if is_reference { text.to_owned() } else { format!("env:{variable}") };
                let known = table.remove("headers").and_then(|headers| headers.into_table().ok());
                let mut headers = known.unwrap_or_default();
                let header = header.replace('_', "-");
                headers.retain(|known, _| !known.eq_ignore_ascii_case(&header));
                headers.insert(header, value(ValueKind::from(written)));
                table.insert("headers".to_owned(), value(ValueKind::Table(headers)));
            }
            _ => {
                let key = parts.last().copied().unwrap_or_default().to_owned();
                table.insert(key, value(parsed));
            }
        }
    }

    /// The target of this name, in which an underscore may stand for a dash.
    fn table(&mut self, name: &str, origin: &String) -> &mut Map<String, Value> {
        let is_it = |table: &Map<String, Value>| {
            let known = table.get("name").and_then(|name| name.clone().into_string().ok());
            known.is_some_and(|known| known.replace('-', "_") == name.replace('-', "_"))
        };
        let at = self.tables.iter().position(is_it).unwrap_or_else(|| {
            let name = Value::new(Some(origin), ValueKind::from(name));
            self.tables.push(Map::from_iter([("name".to_owned(), name)]));
            self.tables.len() - 1
        });
        &mut self.tables[at]
    }

    fn put(self, layer: &mut Layer) {
        if self.changed {
            let tables = self.tables.into_iter().map(|table| Value::new(None, ValueKind::Table(table))).collect();
            let origin = "the file and the environment variables TRACEFALL__FORWARD__…".to_owned();
            layer.0.insert("forward".to_owned(), Value::new(Some(&origin), ValueKind::Array(tables)));
        }
    }
}

fn take_variable(variable: &str, key: &str, text: &str, known: &Known, layer: &mut Layer, problems: &mut Problems) {
    let origin = format!("the environment variable {variable}");
    match known.0.get(key) {
        None => problems.add_from(&origin, key, known.unknown(key)),
        Some(kind) if text.is_empty() && !(key.starts_with("access.") && *kind == Kind::Text) => {}
        Some(Kind::Tables) if key == "forward" => problems.add_from(
            &origin,
            key,
            "is a list of tables, which fits in a file only; accepted here are TRACEFALL__FORWARD__NAME__URL, \
             TRACEFALL__FORWARD__NAME__HEADERS__X_API_KEY and the like, for each target",
        ),
        Some(Kind::Tables) => problems.add_from(
            &origin,
            key,
            "is a list of tables, which fits in a file only; accepted here are TRACEFALL__ACCESS__INGEST_KEY, \
             TRACEFALL__ACCESS__READ_KEY and TRACEFALL__ACCESS__ADMIN_KEY",
        ),
        Some(kind) => match kind.parse(text) {
            Some(value) => {
                layer.0.insert(key.to_owned(), Value::new(Some(&origin), value));
            }
            None => problems.add_from(&origin, key, mismatch(key, *kind, &ValueKind::from(text))),
        },
    }
}

/// What the command line says.
pub(super) fn flags(overrides: &Overrides) -> Layer {
    let text = |value: &Option<String>| value.clone().map(ValueKind::from);
    let given = [
        ("--host", "server.host", text(&overrides.host)),
        ("--port", "server.port", overrides.port.map(ValueKind::from)),
        ("--data-dir", "store.data_dir", text(&overrides.data_dir)),
        ("--store-url", "store.url", text(&overrides.store_url)),
        ("--log", "telemetry.filter", text(&overrides.log_filter)),
    ];
    let values = given
        .into_iter()
        .filter_map(|(flag, key, value)| Some((key.to_owned(), Value::new(Some(&format!("the flag {flag}")), value?))));
    Layer(values.collect())
}

fn mismatch(key: &str, kind: Kind, found: &ValueKind) -> String {
    let secret = key.starts_with("access.") || key.starts_with("forward") || key.ends_with("url");
    let shown = match found {
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list with other things in it".to_owned(),
        _ if secret => "something else".to_owned(),
        ValueKind::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    format!("is {shown}; accepted is {}", kind.accepted())
}

/// Levenshtein's distance, in bytes.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_insertions_removals_and_substitutions() {
        for (from, to, count) in
            [("", "", 0), ("", "ab", 2), ("port", "port", 0), ("prot", "port", 2), ("prt", "port", 1)]
        {
            assert_eq!(edits(from, to), count, "{from} {to}");
            assert_eq!(edits(to, from), count, "{to} {from}");
        }
    }

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        let known = Known::new();
        for (key, meant) in [
            ("server.prot", Some("server.port")),
            ("sever.port", Some("server.port")),
            ("port", Some("server.port")),
            ("ingest.max_spans", Some("ingest.limits.max_spans")),
            ("store.sqlite.synchronus", Some("store.sqlite.synchronous")),
            ("telemetry.colour", None),
        ] {
            assert_eq!(known.nearest(key), meant, "{key}");
        }
    }
}

//! `[[forward]]`: other back ends that received spans go on to, by OTLP over HTTP.
//!
//! In the environment, which has no lists of tables, `TRACEFALL__FORWARD__NAME__KEY` sets a key of the target of that name,
//! and `TRACEFALL__FORWARD__NAME__HEADERS__X_API_KEY` its header `x-api-key`; what the file says of it is kept otherwise.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::journal::JournalSettings;
use super::problem::Problems;

/// One target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardSettings {
    /// Its name in metrics, the log and the file of its cursor: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// Where its receiver of OTLP over HTTP is; `/v1/traces` is added where there is no path.
    pub url: TargetUrl,
    /// Headers that every request has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderText>,
    #[serde(default)]
    pub compression: Compression,
    /// Seconds that one request may take, its connection included.
    #[serde(default = "default_timeout_secs")]
    pub timeout_secs: u64,
    /// Bytes of journal that may be kept for this target alone; beyond it the oldest are let go.
    #[serde(default = "default_max_disk_bytes")]
    pub max_disk_bytes: u64,
}

/// How requests are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    Gzip,
    None,
}

fn default_timeout_secs() -> u64 {
    10
}

fn default_max_disk_bytes() -> u64 {
    1 << 30
}

/// What a target's URL has where it has no path.
const PATH: &str = "/v1/traces";
/// Targets at most: each has a task, and reads the whole journal.
const MOST: usize = 16;
/// Headers that are ours to set.
const OURS: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "x-tracefall-forwarded",
];
/// Words in the names of headers that carry secrets.
const SECRET_WORDS: [&str; 8] = ["key", "token", "secret", "auth", "password", "cookie", "credential", "team"];

/// A target's address. Printed without its query, which may hold a key.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetUrl(String);

impl TargetUrl {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole address that is posted to. Not for logs.
    pub fn expose(&self) -> String {
        let (place, query) = match self.0.split_once('?') {
            Some((place, query)) => (place, format!("?{query}")),
            None => (self.0.as_str(), String::new()),
        };
        let rest = place.split_once("://").map_or(place, |(_, rest)| rest);
        match rest.split_once('/') {
            None => format!("{place}{PATH}{query}"),
            Some((_, "")) => format!("{}{PATH}{query}", place.trim_end_matches('/')),
            Some(_) => format!("{place}{query}"),
        }
    }

    /// What is wrong with it.
    fn fault(&self) -> Option<&'static str> {
        let scheme = self.0.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
        let Some((_, rest)) = scheme else { return Some("begins with neither http:// nor https://") };
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return Some("holds a user; credentials belong into headers");
        }
        if authority.is_empty() || authority.starts_with(':') {
            return Some("names no host");
        }
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        (!self.0.bytes().all(is_plain)).then_some("holds a space, a # or a character beyond ASCII")
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fault().is_some() {
            return f.write_str("***");
        }
        match self.0.split_once('?') {
            Some((place, _)) => write!(f, "{place}?***"),
            None => f.write_str(&self.0),
        }
    }
}

/// The value of a header: itself, or where in the environment it is to be found: `env:NAME`, or behind a scheme as in
/// `Bearer env:NAME`. Printed as that, and as `***` otherwise.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderText {
    written: String,
    /// What stood in the environment.
    found: Option<String>,
}

impl HeaderText {
    pub fn new(written: impl Into<String>) -> Self {
        Self { written: written.into(), found: None }
    }

    /// The value itself; `None` while the environment was not asked for it. Not for logs.
    pub fn expose(&self) -> Option<String> {
        match (self.reference(), &self.found) {
            (None, _) => Some(self.written.clone()),
            (Some((scheme, _)), Some(found)) => Some(format!("{scheme}{found}")),
            (Some(_), None) => None,
        }
    }

    /// What stands before the reference, a space behind it, and the variable's name.
    fn reference(&self) -> Option<(&str, &str)> {
        let (before, name) = self.written.split_once("env:")?;
        let scheme = before.strip_suffix(' ').unwrap_or(before);
        let is_scheme = scheme.len() <= 16 && scheme.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
        let is_whole = before.is_empty() || before.ends_with(' ');
        (is_scheme && is_whole).then_some((before, name))
    }
}

impl fmt::Display for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.reference().is_some() { &self.written } else { "***" })
    }
}

macro_rules! shown {
    ($type:ident, $new:expr) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map($new)
            }
        }
    };
}

shown!(TargetUrl, TargetUrl::new);
shown!(HeaderText, HeaderText::new);

impl ForwardSettings {
    /// A target with nothing but a name and an address.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: TargetUrl::new(url),
            headers: BTreeMap::new(),
            compression: Compression::default(),
            timeout_secs: default_timeout_secs(),
            max_disk_bytes: default_max_disk_bytes(),
        }
    }

    /// Every value that nobody may see.
    pub fn secrets(&self) -> Vec<String> {
        let query = self.url.0.split_once('?').map(|(_, query)| query.to_owned());
        self.headers.values().filter_map(HeaderText::expose).chain(query).filter(|text| !text.is_empty()).collect()
    }
}

/// Takes from the environment what headers refer to. What is not there, `check` complains of.
pub(super) fn resolve(targets: &mut [ForwardSettings], environment: &BTreeMap<String, String>) {
    for header in targets.iter_mut().flat_map(|target| target.headers.values_mut()) {
        let found = header.reference().and_then(|(_, name)| environment.get(name)).filter(|text| !text.is_empty());
        header.found = found.map(|text| text.trim().to_owned());
    }
}

pub(super) fn check(targets: &[ForwardSettings], journal: &JournalSettings, problems: &mut Problems) {
    if targets.is_empty() {
        return;
    }
    if !journal.enabled {
        problems.add("forward", "needs the journal, from which targets are fed; accepted is journal.enabled = true");
    }
    if targets.len() > MOST {
        problems.add("forward", format!("has {} targets; accepted are at most {MOST}", targets.len()));
    }
    for (index, target) in targets.iter().enumerate() {
        let at = |key: &str| format!("forward[{index}].{key}");
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        let name = &target.name;
        if name.is_empty() || name.len() > 32 || !name.bytes().all(plain) {
            let text = format!("is {name:?}; accepted are up to 32 lower-case letters, digits, - and _");
            problems.add(at("name"), text);
        }
        if targets[..index].iter().any(|before| before.name == *name) {
            problems.add(at("name"), format!("is {name:?}, which another target is called as well"));
        }
        if let Some(fault) = target.url.fault() {
            problems.add(at("url"), format!("{fault}; accepted is for example https://collector.example.com:4318"));
        }
        problems.within(&at("timeout_secs"), target.timeout_secs, 1..=300);
        let least = journal.segment_bytes.saturating_mul(2);
        if target.max_disk_bytes < least {
            let text = format!(
                "is {}; accepted is at least twice journal.segment_bytes, {least}: a segment is kept or let go as a whole",
                target.max_disk_bytes
            );
            problems.add(at("max_disk_bytes"), text);
        }
        for (header, value) in &target.headers {
            check_header(&at("headers"), header, value, problems);
        }
    }
}

fn check_header(key: &str, name: &str, value: &HeaderText, problems: &mut Problems) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return problems.add(key, format!("has {name:?}, which is no header's name"));
    }
    if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        return problems.add(key, format!("has {name}, which is set by itself"));
    }
    match (value.expose(), value.reference()) {
        (None, Some((_, variable))) => problems
            .add(key, format!("takes {name} from the environment variable {variable}, which is not set or empty")),
        (Some(text), _) if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) => {
            problems.add(key, format!("has a value for {name} with characters that no header may have"));
        }
        _ => {}
    }
}

/// A secret that stands in the file, for everybody who may read it.
pub(super) fn warn(targets: &[ForwardSettings], problems: &mut Problems) {
    for (index, target) in targets.iter().enumerate() {
        for (name, value) in &target.headers {
            let lower = name.to_ascii_lowercase();
            if value.reference().is_none() && SECRET_WORDS.iter().any(|word| lower.contains(word)) {
                let text = format!("has the value of {name} written out; \"env:NAME\" takes it from the environment");
                problems.add(format!("forward[{index}].headers"), text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_added_where_there_is_none() {
        for (given, posted) in [
            ("http://h:4318", "http://h:4318/v1/traces"),
            ("http://h:4318/", "http://h:4318/v1/traces"),
            ("https://h?a=b", "https://h/v1/traces?a=b"),
            ("https://h/?a=b", "https://h/v1/traces?a=b"),
            ("https://h/otlp/v1/traces", "https://h/otlp/v1/traces"),
        ] {
            assert_eq!(TargetUrl::new(given).expose(), posted);
        }
    }

    #[test]
    fn an_address_prints_without_what_may_be_a_secret() {
        for (given, printed) in [
            ("https://h/v1/traces", "https://h/v1/traces"),
            ("https://h/v1?key=hunter2", "https://h/v1?***"),
            ("https://me:hunter2@h/", "***"),
            ("hunter2", "***"),
        ] {
            assert_eq!(format!("{:?}", TargetUrl::new(given)), printed);
        }
    }

    #[test]
    fn a_header_prints_where_it_comes_from_and_never_what_it_is() {
        for (given, printed) in [
            ("env:HONEYCOMB_KEY", "env:HONEYCOMB_KEY"),
            ("Bearer env:TOKEN", "Bearer env:TOKEN"),
            ("hunter2", "***"),
            ("hunter2 env:TOKEN", "***"),
            ("hunterenv:TOKEN", "***"),
        ] {
            assert_eq!(format!("{:?}", HeaderText::new(given)), printed);
        }
        let mut target = ForwardSettings::new("a", "http://h");
        target.headers.insert("authorization".into(), HeaderText::new("Bearer env:TOKEN"));
        assert_eq!(target.headers["authorization"].expose(), None);
        resolve(std::slice::from_mut(&mut target), &BTreeMap::from([("TOKEN".into(), "hunter2".into())]));
        assert_eq!(target.headers["authorization"].expose().as_deref(), Some("Bearer hunter2"));
        assert!(!format!("{target:?}").contains("hunter2"));
    }
}

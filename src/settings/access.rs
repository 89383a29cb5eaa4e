//! `[access]`: the keys that callers show, and what each allows.

use serde::{Deserialize, Serialize};

use super::problem::Problems;
use super::secret::Secret;
use super::server::ServerSettings;
use crate::model::tenant::Scope;

/// Who may do what.
///
/// Without any key a server on loopback lets every caller do everything, and one beyond loopback does not start
/// unless `open` is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// Keys with names and scopes.
    pub keys: Vec<KeySettings>,
    /// Short form: a key, or several with commas, with the scope `ingest`.
    pub ingest_key: Option<Secret>,
    /// Short form: a key, or several with commas, with the scope `read`.
    pub read_key: Option<Secret>,
    /// Short form: a key, or several with commas, with the scope `admin`, which includes the others.
    pub admin_key: Option<Secret>,
    /// Lets callers without a key ingest and read, from anywhere. `admin` needs a key even then.
    pub open: bool,
}

/// One key. Exactly one of `key` and `key_sha256` is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// Who holds it, for the log.
    pub name: String,
    /// The key itself: 16 or more visible ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// SHA-256 of the key in hex, as `tracefall keys generate` prints it: the file then holds no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_sha256: Option<Secret>,
    /// What it allows.
    pub scopes: Vec<Scope>,
}

/// The fewest characters of a key.
pub const MIN_KEY_CHARS: usize = 16;

impl AccessSettings {
    /// Whether any key is configured, in any form.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.short_forms().iter().any(|(_, _, keys)| keys.is_some())
    }

    /// Every key, the short forms written out.
    pub fn all_keys(&self) -> Vec<KeySettings> {
        let mut keys = self.keys.clone();
        for (name, scope, listed) in self.short_forms() {
            for key in listed.iter().flat_map(|listed| listed.expose().split(',')) {
                keys.push(KeySettings {
                    name: name.to_owned(),
                    key: Some(Secret::new(key.trim())),
                    key_sha256: None,
                    scopes: vec![scope],
                });
            }
        }
        keys
    }

    fn short_forms(&self) -> [(&'static str, Scope, &Option<Secret>); 3] {
        [
            ("ingest_key", Scope::Ingest, &self.ingest_key),
            ("read_key", Scope::Read, &self.read_key),
            ("admin_key", Scope::Admin, &self.admin_key),
        ]
    }

    pub(super) fn check(&self, server: &ServerSettings, problems: &mut Problems) {
        for (index, key) in self.keys.iter().enumerate() {
            let at = format!("access.keys[{index}]");
            if key.name.trim().is_empty() {
                problems.add(format!("{at}.name"), "is empty; accepted is a name for the log");
            }
            if key.scopes.is_empty() {
                problems.add(format!("{at}.scopes"), "is empty; accepted are ingest, read and admin");
            }
            match (&key.key, &key.key_sha256) {
                (Some(key), None) => check_key(&format!("{at}.key"), key.expose(), problems),
                (None, Some(hash)) => check_hash(&format!("{at}.key_sha256"), hash.expose(), problems),
                (Some(_), Some(_)) => problems.add(at, "has both key and key_sha256; accepted is one of them"),
                (None, None) => problems.add(at, "has no key; accepted is key or key_sha256"),
            }
        }
        for (name, _, listed) in self.short_forms() {
            for key in listed.iter().flat_map(|listed| listed.expose().split(',')) {
                check_key(&format!("access.{name}"), key.trim(), problems);
            }
        }
        if !server.is_loopback() && !self.has_keys() && !self.open {
            problems.add(
                "server.host",
                format!(
                    "is {}, which other machines can reach, and no key is configured. Either give a key (`tracefall keys generate`, \
                     then access.keys or TRACEFALL__ACCESS__INGEST_KEY, …READ_KEY, …ADMIN_KEY), or listen on 127.0.0.1, or set \
                     access.open = true to let everyone ingest and read",
                    server.host
                ),
            );
        }
    }
}

/// The SHA-256 that a hex text spells, if it does.
pub(crate) fn parse_sha256(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

fn check_key(name: &str, key: &str, problems: &mut Problems) {
    if !key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
        problems
            .add(name, "holds a space, a comma or a character beyond ASCII; a key has visible ASCII characters only");
    } else if key.len() < MIN_KEY_CHARS {
        problems.add(
            name,
            format!(
                "has a key of {} characters; accepted are {MIN_KEY_CHARS} or more (`tracefall keys generate` makes one)",
                key.len()
            ),
        );
    }
}

fn check_hash(name: &str, hash: &str, problems: &mut Problems) {
    if parse_sha256(hash).is_none() {
        problems.add(name, "is not 64 hex digits, as `tracefall keys generate` prints them");
    }
}

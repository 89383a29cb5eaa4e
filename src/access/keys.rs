//! Static bearer keys: made, hashed, recognised. Memory holds only their SHA-256.
//!
//! SHA-256 without salt or stretching is enough because keys are long and random, not chosen by people: see
//! [`Keys::generate`] and [`crate::settings::access::MIN_KEY_CHARS`].

use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::caller::{Caller, Denied, Scopes};
use crate::clock;
use crate::model::tenant::Scope;
use crate::settings::access::{AccessSettings, KeySettings, parse_sha256};

/// The keys that are known.
#[derive(Debug)]
pub struct Keys {
    known: Vec<KnownKey>,
    /// Who calls without a key, where that is allowed.
    anonymous: Option<Caller>,
    /// Whether a key must be right if one is shown.
    any_configured: bool,
}

#[derive(Debug)]
struct KnownKey {
    sha256: [u8; 32],
    caller: Caller,
}

/// A new key.
#[derive(Clone, PartialEq, Eq)]
pub struct GeneratedKey {
    /// To be shown once, to its holder.
    pub key: String,
    /// 64 hex digits for `key_sha256` in the configuration.
    pub sha256: String,
}

impl Keys {
    /// Hashes the configured keys. The same key given twice has the scopes of both.
    ///
    /// Without a key in the request: nothing is allowed when keys are configured, unless `open` allows to ingest and
    /// read; with neither, the caller may do everything, since [`crate::settings::Settings::validate`] lets a server
    /// start like that on loopback only.
    pub fn new(settings: &AccessSettings) -> Self {
        let any_configured = settings.has_keys();
        let anonymous = match (settings.open, any_configured) {
            (true, _) => Some(Scopes::of(&[Scope::Ingest, Scope::Read])),
            (false, false) => Some(Scopes::of(&[Scope::Admin])),
            (false, true) => None,
        };
        let mut keys = Self {
            known: Vec::new(),
            anonymous: anonymous.map(|scopes| Caller::new("anonymous", scopes)),
            any_configured,
        };
        settings.all_keys().iter().for_each(|key| keys.add(key));
        keys
    }

    /// Who shows this bearer token. Where no key is configured a token is ignored, so that a client set up for a
    /// guarded server works against a local one; otherwise a wrong one is denied even where none is needed.
    ///
    /// Costs one SHA-256 of the token and a comparison with every key, in a time that tells nothing about them.
    ///
    /// # Errors
    /// [`Denied::NoKey`] or [`Denied::UnknownKey`].
    pub fn caller(&self, bearer: Option<&str>) -> Result<Caller, Denied> {
        match bearer {
            Some(token) if self.any_configured => self.holder(token).cloned().ok_or(Denied::UnknownKey),
            _ => self.anonymous.clone().ok_or(Denied::NoKey),
        }
    }

    /// Makes a key of 122 random bits: `tf_` and 32 hex digits.
    pub fn generate() -> GeneratedKey {
        let key = format!("tf_{}", clock::random_hex_128());
        let sha256 = sha256(&key).iter().map(|byte| format!("{byte:02x}")).collect();
        GeneratedKey { key, sha256 }
    }

    fn holder(&self, token: &str) -> Option<&Caller> {
        let shown = sha256(token);
        let mut found = u64::MAX;
        for (index, key) in (0u64..).zip(&self.known) {
            found.conditional_assign(&index, key.sha256.ct_eq(&shown));
        }
        self.known.get(usize::try_from(found).ok()?).map(|key| &key.caller)
    }

    /// A key that is no key (which validation refuses) is known to nobody; it still counts as configured.
    fn add(&mut self, key: &KeySettings) {
        let hash = match (&key.key, &key.key_sha256) {
            (Some(key), _) => Some(sha256(key.expose())),
            (None, Some(hash)) => parse_sha256(hash.expose()),
            (None, None) => None,
        };
        let Some(hash) = hash else { return };
        let scopes = Scopes::of(&key.scopes);
        match self.known.iter_mut().find(|known| known.sha256 == hash) {
            Some(known) => known.caller.allow(scopes),
            None => self.known.push(KnownKey { sha256: hash, caller: Caller::new(&key.name, scopes) }),
        }
    }
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;

    const INGEST: &str = "ingest-0123456789";
    const READ: &str = "read-0123456789ab";

    fn named(name: &str, key: &str, scopes: &[Scope]) -> KeySettings {
        KeySettings { name: name.into(), key: Some(Secret::new(key)), key_sha256: None, scopes: scopes.to_vec() }
    }

    fn may(caller: &Caller) -> [bool; 3] {
        [Scope::Ingest, Scope::Read, Scope::Admin].map(|scope| caller.may(scope))
    }

    #[test]
    fn each_key_is_its_holder() {
        let keys = Keys::new(&AccessSettings {
            keys: vec![named("runner", INGEST, &[Scope::Ingest]), named("grafana", READ, &[Scope::Read])],
            ..Default::default()
        });
        let runner = keys.caller(Some(INGEST)).unwrap();
        assert_eq!((&*runner.name, may(&runner)), ("runner", [true, false, false]));
        let grafana = keys.caller(Some(READ)).unwrap();
        assert_eq!((&*grafana.name, may(&grafana)), ("grafana", [false, true, false]));
    }

    #[test]
    fn a_wrong_key_and_no_key_are_denied() {
        let keys = Keys::new(&AccessSettings { ingest_key: Some(Secret::new(INGEST)), ..Default::default() });
        assert_eq!(keys.caller(None), Err(Denied::NoKey));
        for wrong in ["", " ", READ, &INGEST[1..], &format!("{INGEST} "), &INGEST.to_uppercase()] {
            assert_eq!(keys.caller(Some(wrong)), Err(Denied::UnknownKey), "{wrong:?}");
        }
    }

    #[test]
    fn a_generated_key_is_known_by_its_hash() {
        let made = Keys::generate();
        assert!(made.key.starts_with("tf_") && made.key.len() == 35, "{}", made.key);
        assert_ne!(made.key, Keys::generate().key);
        let hashed = |hash: String| KeySettings {
            name: "ci".into(),
            key: None,
            key_sha256: Some(Secret::new(hash)),
            scopes: vec![Scope::Admin],
        };
        for hash in [made.sha256.clone(), made.sha256.to_uppercase()] {
            let keys = Keys::new(&AccessSettings { keys: vec![hashed(hash)], ..Default::default() });
            assert_eq!(may(&keys.caller(Some(&made.key)).unwrap()), [true; 3]);
            assert_eq!(keys.caller(Some(&made.sha256)), Err(Denied::UnknownKey), "the hash is not the key");
        }
    }

    #[test]
    fn short_forms_hold_several_keys_and_the_same_key_adds_up() {
        let keys = Keys::new(&AccessSettings {
            ingest_key: Some(Secret::new(format!("{INGEST}, another-0123456789"))),
            read_key: Some(Secret::new(INGEST)),
            ..Default::default()
        });
        assert_eq!(may(&keys.caller(Some(INGEST)).unwrap()), [true, true, false]);
        assert_eq!(may(&keys.caller(Some("another-0123456789")).unwrap()), [true, false, false]);
    }

    #[test]
    fn without_keys_everybody_may_everything_and_a_token_is_ignored() {
        let keys = Keys::new(&AccessSettings::default());
        for bearer in [None, Some("left over from elsewhere")] {
            let caller = keys.caller(bearer).unwrap();
            assert_eq!((&*caller.name, may(&caller)), ("anonymous", [true; 3]));
        }
    }

    #[test]
    fn open_lets_anybody_ingest_and_read_but_a_wrong_key_stays_wrong() {
        let open = AccessSettings { open: true, ..Default::default() };
        assert_eq!(may(&Keys::new(&open).caller(None).unwrap()), [true, true, false]);
        let guarded = Keys::new(&AccessSettings { admin_key: Some(Secret::new(READ)), ..open });
        assert_eq!(may(&guarded.caller(None).unwrap()), [true, true, false]);
        assert_eq!(may(&guarded.caller(Some(READ)).unwrap()), [true; 3]);
        assert_eq!(guarded.caller(Some(INGEST)), Err(Denied::UnknownKey));
    }

    #[test]
    fn a_key_that_is_no_key_closes_the_door() {
        let mut broken = named("broken", INGEST, &[Scope::Admin]);
        (broken.key, broken.key_sha256) = (None, Some(Secret::new("not hex")));
        let keys = Keys::new(&AccessSettings { keys: vec![broken], ..Default::default() });
        assert_eq!(keys.caller(None), Err(Denied::NoKey));
        assert_eq!(keys.caller(Some("not hex")), Err(Denied::UnknownKey));
    }

    #[test]
    fn memory_holds_no_key() {
        let keys = Keys::new(&AccessSettings { ingest_key: Some(Secret::new(INGEST)), ..Default::default() });
        assert!(!format!("{keys:?}").contains(INGEST));
    }
}

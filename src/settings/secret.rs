//! Values that must not reach a log: they print as `***`, or without their password.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key or a key's hash. Printed and serialised as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a database is. Printed and serialised with `***` for its password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, with its password. Not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A URL carries its password between `user:` and the last `@` before the path, or as the parameter `password`. Where a
/// text is not a URL as it should be, rather too much is hidden than too little.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            let text = self.0.to_ascii_lowercase();
            let hides = text.contains("password") || text.starts_with("postgres");
            return f.write_str(if hides { "***" } else { &self.0 });
        };
        let (place, parameters) = match rest.split_once('?') {
            Some((place, parameters)) => (place, Some(parameters)),
            None => (rest, None),
        };
        write!(f, "{scheme}://")?;
        // A password with an unescaped question mark would end the place too early.
        if !place.contains('@')
            && let Some((user, _)) = place.split_once(':')
            && let Some((_, host)) = parameters.and_then(|text| text.rsplit_once('@'))
        {
            return write!(f, "{user}:***@{host}");
        }
        // One with a slash would end the authority too early, so the last `@` of the place counts.
        match place.rsplit_once('@') {
            Some((user_info, host)) => match user_info.split_once(':') {
                Some((user, _)) => write!(f, "{user}:***@{host}")?,
                None => write!(f, "{user_info}@{host}")?,
            },
            None => f.write_str(&without_odd_port(place))?,
        }
        for (index, parameter) in parameters.into_iter().flat_map(|text| text.split('&')).enumerate() {
            f.write_str(if index == 0 { "?" } else { "&" })?;
            match parameter.split_once('=') {
                // A name may be percent-encoded like anything else.
                Some((name, _)) if name.to_ascii_lowercase().contains("password") || name.contains('%') => {
                    write!(f, "{name}=***")?
                }
                _ => f.write_str(parameter)?,
            }
        }
        Ok(())
    }
}

/// A place without a user whose port is no number was meant to be a user and a password.
fn without_odd_port(place: &str) -> Cow<'_, str> {
    match place.split('/').next().and_then(|authority| authority.rsplit_once(':')) {
        Some((before, port)) if !port.ends_with(']') && !port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Cow::Owned(format!("{before}:***"))
        }
        _ => Cow::Borrowed(place),
    }
}

macro_rules! hidden {
    ($type:ident) => {
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
                String::deserialize(deserializer).map(Self)
            }
        }
    };
}

hidden!(Secret);
hidden!(DatabaseUrl);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("sesame-sesame-open");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "sesame-sesame-open");
    }

    #[test]
    fn a_database_url_prints_without_its_password() {
        for (url, printed) in [
            ("sqlite:spans.db", "sqlite:spans.db"),
            ("/var/lib/spans@home.db", "/var/lib/spans@home.db"),
            ("postgres://db.example/spans", "postgres://db.example/spans"),
            ("postgres://me@db.example/spans", "postgres://me@db.example/spans"),
            ("postgres://me:hunter2@db.example:5432/spans", "postgres://me:***@db.example:5432/spans"),
            ("postgres://me:hun/ter@2@db.example/spans", "postgres://me:***@db.example/spans"),
            (
                "postgres://db/s?user=me&password=hunter2&sslPassword=x&a=b",
                "postgres://db/s?user=me&password=***&sslPassword=***&a=b",
            ),
            ("postgres://db/s?p%61ssword=hunter2", "postgres://db/s?p%61ssword=***"),
            ("postgres://me:hun?ter2@db.example/spans", "postgres://me:***@db.example/spans"),
            ("postgres://me:hunter2?a=b@c?d@db.example/spans?x=y", "postgres://me:***@db.example/spans?x=y"),
            ("postgres://me:hun#ter2@db.example/spans", "postgres://me:***@db.example/spans"),
            ("postgres://me:hunter2", "postgres://me:***"),
            ("postgres://[::1]:5432/spans", "postgres://[::1]:5432/spans"),
            ("postgres://[::1]/spans", "postgres://[::1]/spans"),
            ("postgres:me:hunter2@db.example/spans", "***"),
            ("host=db user=me password=hunter2", "***"),
        ] {
            assert_eq!(format!("{:?}", DatabaseUrl::new(url)), printed);
        }
    }
}

//! What is wrong with the settings, told by the key's full name: all of it at once, so that a start is repaired once.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the configuration file {} is not TOML: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    /// One line each, in the order of the keys.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The full name, as in `server.port`.
    pub key: String,
    /// Where the value came from; absent for a default.
    pub origin: Option<String>,
    /// What was found and what is accepted. Never a secret's value.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{} (from {origin}) {}", self.key, self.text),
            None => write!(f, "{} {}", self.key, self.text),
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Collects problems.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub fn add(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem { key: key.into(), origin: None, text: text.into() });
    }

    pub fn add_from(&mut self, origin: &str, key: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem { key: key.into(), origin: Some(origin.to_owned()), text: text.into() });
    }

    /// Notes a number that is outside of what works.
    pub fn within<T: PartialOrd + fmt::Display>(&mut self, key: &str, value: T, accepted: RangeInclusive<T>) {
        if !accepted.contains(&value) {
            self.add(key, format!("is {value}; accepted are {} to {}", accepted.start(), accepted.end()));
        }
    }

    /// Says where values came from, for those problems that do not know yet.
    pub fn locate(&mut self, origin_of: impl Fn(&str) -> Option<String>) {
        for problem in &mut self.0 {
            if problem.origin.is_none() {
                problem.origin = origin_of(&problem.key);
            }
        }
    }

    /// All of them, in the order of the keys.
    pub fn into_list(mut self) -> Vec<Problem> {
        self.0.sort();
        self.0
    }

    /// # Errors
    /// [`SettingsError::Invalid`] if there is any problem.
    pub fn into_result(self) -> Result<(), SettingsError> {
        let problems = self.into_list();
        if problems.is_empty() { Ok(()) } else { Err(SettingsError::Invalid(problems)) }
    }
}

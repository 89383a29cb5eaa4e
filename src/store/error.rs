//! What can go wrong with a store, in the classes that callers decide by, and in words for those who run it.

use std::error::Error;

type Source = Box<dyn Error + Send + Sync>;

/// An error of a store. The class says what to do; the text says what was being done, for the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is away, busy, full, starting or not set up: the same call may succeed later, by itself or after an
    /// operator did what the cause asks for.
    #[error("{doing}: the store is unavailable: {source}")]
    Unavailable { doing: &'static str, cause: Cause, source: Source },
    /// It was not asked, because it is known to be unavailable.
    #[error("the store is not asked: {reason}")]
    Away { cause: Cause, reason: String },
    /// Two writers met, or a connection remembered what is no more: the same call, repeated at once, succeeds.
    #[error("{doing}: another writer was in the way: {source}")]
    Conflict { doing: &'static str, source: Source },
    /// The store refuses this very data. Repeating the call changes nothing; smaller batches find the culprit.
    #[error("{doing}: the store refuses the data: {source}")]
    Refused { doing: &'static str, source: Source },
    /// A stored value is not what was written.
    #[error("{doing}: column {column} holds what it cannot: {reason}")]
    Corrupt { doing: &'static str, column: String, reason: String },
    /// Anything else: a bug, or what nobody thought of. It says nothing against the data.
    #[error("{doing}: {source}")]
    Other { doing: &'static str, source: Source },
}

/// Why a store is unavailable. Few values: they are labels of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// No connection comes about, or it breaks.
    Unreachable,
    /// A connection stands, and no answer comes.
    Silent,
    /// It is starting, stopping, or was told to end our connection.
    Restarting,
    /// It takes no further connection.
    Connections,
    /// It refuses our name or password.
    Login,
    /// The database does not exist.
    Database,
    /// Our tables do not exist, or not all of them.
    Schema,
    /// The role may not do this.
    Rights,
    /// It takes no writes.
    ReadOnly,
    /// It has no room, no memory, or its disk fails.
    Resources,
    /// The SQLite file, or its folder, cannot be made or opened.
    File,
    /// This call waited too long, for a lock or for its own work. It says nothing of other calls.
    Busy,
    /// Not known.
    Unknown,
}

impl Cause {
    pub const ALL: [Self; 13] = [
        Self::Unreachable,
        Self::Silent,
        Self::Restarting,
        Self::Connections,
        Self::Login,
        Self::Database,
        Self::Schema,
        Self::Rights,
        Self::ReadOnly,
        Self::Resources,
        Self::File,
        Self::Busy,
        Self::Unknown,
    ];

    /// As metrics and `/readyz` name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::Restarting => "restarting",
            Self::Connections => "connections",
            Self::Login => "login",
            Self::Database => "database",
            Self::Schema => "schema",
            Self::Rights => "rights",
            Self::ReadOnly => "read_only",
            Self::Resources => "resources",
            Self::File => "file",
            Self::Busy => "busy",
            Self::Unknown => "unknown",
        }
    }

    /// How far the trouble goes: what need not be tried while it lasts.
    pub fn reach(self) -> Reach {
        match self {
            Self::Unreachable
            | Self::Silent
            | Self::Restarting
            | Self::Connections
            | Self::Login
            | Self::Database
            | Self::Schema
            | Self::File => Reach::Everything,
            Self::Rights | Self::ReadOnly | Self::Resources => Reach::Writes,
            Self::Busy | Self::Unknown => Reach::Call,
        }
    }

    /// What an operator does about it.
    fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => "is it running, and do host and port of store.url lead to it?",
            Self::Silent => "is it overloaded or stopped, or does a firewall swallow its answers?",
            Self::Restarting => "it comes back by itself",
            Self::Connections => "give it more connections, or close others",
            Self::Login => "give the role that may log in with store.url's password, or correct store.url and restart",
            Self::Database => "create it, or correct store.url and restart",
            Self::Schema => "run `tracefall migrate up`",
            Self::Rights => {
                "as the owner of the schema run what `tracefall migrate grants` prints; what is missing may be made by \
                 `tracefall migrate up` as a role that may, or name that role in store.admin_url"
            }
            Self::ReadOnly => "make it writable, or let store.write_url lead to the primary",
            Self::Resources => "give it room",
            Self::File => "are store.data_dir and the file in it ours to write?",
            Self::Busy => "what holds the lock, or slows it down?",
            Self::Unknown => "the log has more",
        }
    }
}

/// How far trouble with a store goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// No call will succeed.
    Everything,
    /// No write will.
    Writes,
    /// Only this call is known to have failed.
    Call,
}

impl StoreError {
    /// Whether repeating the same call unchanged may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Away { .. } | Self::Conflict { .. })
    }

    /// Whether the same call may succeed soon without anybody doing anything, as far as is known.
    pub fn may_pass(&self) -> bool {
        use Cause::{Busy, Connections, Resources, Restarting, Silent, Unreachable};
        let passing = [Unreachable, Silent, Restarting, Connections, Resources, Busy];
        self.is_retryable() && (passing.contains(&self.cause()) || matches!(self, Self::Conflict { .. }))
    }

    /// Why the store is unavailable; [`Cause::Unknown`] where it is not that.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Unavailable { cause, .. } | Self::Away { cause, .. } => *cause,
            _ => Cause::Unknown,
        }
    }

    /// The database's own code of the error: PostgreSQL's SQLSTATE, or SQLite's result code.
    pub fn code(&self) -> Option<String> {
        let (Self::Unavailable { source, .. }
        | Self::Conflict { source, .. }
        | Self::Refused { source, .. }
        | Self::Other { source, .. }) = self
        else {
            return None;
        };
        let error = source.downcast_ref::<sqlx::Error>()?.as_database_error()?;
        error.code().map(|code| code.into_owned())
    }

    /// As a reason that is kept: the database's code, where there is one, then the words.
    pub fn reason(&self) -> String {
        match self.code() {
            Some(code) => format!("{code}: {self}"),
            None => self.to_string(),
        }
    }

    /// What is wrong and what to do about it, for those who may see neither data nor secrets: of an error of unknown
    /// class nothing is told, since its text may be anything.
    pub fn plainly(&self) -> String {
        match self {
            Self::Unavailable { cause, source, .. } if *cause != Cause::Unknown => {
                format!("{}: {}", one_line(&innermost(source.as_ref())), cause.advice())
            }
            Self::Away { reason, .. } => reason.clone(),
            Self::Conflict { .. } => "another writer is in the way: the log has more".to_owned(),
            Self::Corrupt { column, .. } => format!("column {column} holds what it cannot: the log has more"),
            Self::Unavailable { .. } | Self::Refused { .. } | Self::Other { .. } => {
                "an error of unknown kind: the log has more".to_owned()
            }
        }
    }
}

/// The last of the causes, which says it without the words around.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    // A server's message by itself: printed as an error it names a line of the server's source, too.
    if let Some(sqlx::Error::Database(database)) = error.downcast_ref::<sqlx::Error>() {
        return database.message().to_owned();
    }
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Bounded, and without line breaks.
fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_told_with_what_to_do_and_the_unknown_is_not_told() {
        let error = |cause| StoreError::Unavailable { doing: "write spans", cause, source: "no\nway".into() };
        assert_eq!(error(Cause::Schema).plainly(), "no way: run `tracefall migrate up`");
        assert!(!error(Cause::Unknown).plainly().contains("way"));
        let other = StoreError::Other { doing: "write spans", source: "a caller's text".into() };
        assert!(!other.plainly().contains("caller"));
        assert_eq!((other.cause(), other.is_retryable()), (Cause::Unknown, false));
    }

    #[test]
    fn causes_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        assert_eq!(names.len(), Cause::ALL.len());
    }
}

//! The caller: for whom a request is made, and what it may do.

use std::sync::Arc;

use crate::model::tenant::{Scope, TenantId};

/// Somebody whose key is known, or anybody where none is needed. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub tenant: TenantId,
    /// The key's name, for the log; `anonymous` without a key.
    pub name: Arc<str>,
    scopes: Scopes,
}

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// 401: no key was shown and one is needed.
    #[error("a key is needed: send the header Authorization: Bearer <key>")]
    NoKey,
    /// 401: the key that was shown is not known.
    #[error("the key is not known")]
    UnknownKey,
    /// 403: the key is known and does not allow this; without a key, a key with this scope is needed.
    #[error("the scope {} is needed", name(*.0))]
    Scope(Scope),
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Scopes {
    ingest: bool,
    read: bool,
    admin: bool,
}

impl Caller {
    pub(super) fn new(name: &str, scopes: Scopes) -> Self {
        Self { tenant: TenantId::default(), name: name.into(), scopes }
    }

    /// Whether the caller may do what needs `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.admin
            || match scope {
                Scope::Ingest => self.scopes.ingest,
                Scope::Read => self.scopes.read,
                Scope::Admin => false,
            }
    }

    /// [`Caller::may`], for `?`.
    ///
    /// # Errors
    /// [`Denied::Scope`] if the caller may not.
    pub fn require(&self, scope: Scope) -> Result<(), Denied> {
        if self.may(scope) { Ok(()) } else { Err(Denied::Scope(scope)) }
    }

    /// Adds what a second entry of the same key allows.
    pub(super) fn allow(&mut self, more: Scopes) {
        self.scopes.ingest |= more.ingest;
        self.scopes.read |= more.read;
        self.scopes.admin |= more.admin;
    }
}

impl Denied {
    /// 401 where a (different) key would help, 403 where the caller is known and may not.
    pub fn status(self) -> u16 {
        match self {
            Self::NoKey | Self::UnknownKey => 401,
            Self::Scope(_) => 403,
        }
    }
}

impl Scopes {
    pub fn of(scopes: &[Scope]) -> Self {
        let has = |scope| scopes.contains(&scope);
        Self { ingest: has(Scope::Ingest), read: has(Scope::Read), admin: has(Scope::Admin) }
    }
}

fn name(scope: Scope) -> &'static str {
    match scope {
        Scope::Ingest => "ingest",
        Scope::Read => "read",
        Scope::Admin => "admin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_includes_the_others_and_nothing_else_does() {
        use Scope::{Admin, Ingest, Read};
        for (scopes, may) in [
            (&[][..], [false, false, false]),
            (&[Ingest], [true, false, false]),
            (&[Read], [false, true, false]),
            (&[Ingest, Read], [true, true, false]),
            (&[Admin], [true, true, true]),
        ] {
            let caller = Caller::new("test", Scopes::of(scopes));
            assert_eq!([Ingest, Read, Admin].map(|scope| caller.may(scope)), may, "{scopes:?}");
        }
    }

    #[test]
    fn a_denial_says_what_would_help() {
        let reader = Caller::new("reader", Scopes::of(&[Scope::Read]));
        let denied = reader.require(Scope::Admin).unwrap_err();
        assert_eq!((denied.status(), denied.to_string().as_str()), (403, "the scope admin is needed"));
        assert_eq!(reader.require(Scope::Read), Ok(()));
        assert_eq!([Denied::NoKey, Denied::UnknownKey].map(Denied::status), [401, 401]);
    }
}

//! Who may do what: a bearer key becomes a [`Caller`], and a caller has scopes.
//!
//! Pure: reading headers and choosing status codes is left to the faces ([`Denied`] says which). Quotas and keys that
//! live in the store are not here yet; the tenant of every caller is the default one.

mod caller;
pub mod host;
mod keys;

pub use caller::{Caller, Denied};
pub use keys::{GeneratedKey, Keys};

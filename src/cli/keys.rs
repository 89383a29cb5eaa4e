//! `tracefall keys generate`: a key for a client, and the hash of it for the settings.

use clap::Subcommand;

use super::CliError;
use super::terminal::print;
use crate::access::{GeneratedKey, Keys as AccessKeys};

#[derive(Debug, Clone, Subcommand)]
pub enum Keys {
    /// Make a random key. It is shown once and kept nowhere.
    Generate,
}

impl Keys {
    pub fn run(&self) -> Result<(), CliError> {
        let Keys::Generate = self;
        let GeneratedKey { key, sha256 } = AccessKeys::generate();
        Ok(print(&format!(
            "key for the client:        {key}\n\
             \n\
             for tracefall.toml (only the hash; choose the scopes):\n\
             [[access.keys]]\n\
             name = \"a name for the logs\"\n\
             key_sha256 = \"{sha256}\"\n\
             scopes = [\"ingest\"]\n"
        ))?)
    }
}

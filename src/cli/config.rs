//! `tracefall config check`: are the settings good, and what do they come to?

use clap::Subcommand;

use super::CliError;
use super::terminal::print;
use crate::settings::Settings;

#[derive(Debug, Clone, Subcommand)]
pub enum Config {
    /// Read the settings as the service would and show them, secrets hidden. Fails where the service would.
    Check,
}

impl Config {
    /// The settings have been read and found good when this is called.
    pub fn run(&self, settings: &Settings) -> Result<(), CliError> {
        match self {
            Config::Check => {
                let warnings =
                    settings.warnings().iter().map(|warning| format!("\n# warning: {warning}")).collect::<String>();
                Ok(print(&(settings.redacted_toml() + &warnings))?)
            }
        }
    }
}

//! `tracefall backup FILE`: a copy of the embedded store, made while the service runs.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

use super::CliError;
use super::terminal::print;
use crate::settings::Settings;
use crate::store::{self, CopyProgress};

#[derive(Debug, Clone, Args)]
pub struct Backup {
    /// The file to make; it must not be there yet.
    file: PathBuf,
}

impl Backup {
    pub async fn run(&self, settings: &Settings) -> Result<(), CliError> {
        let is_terminal = std::io::stderr().is_terminal();
        let mut told = false;
        let tell = |progress: CopyProgress| {
            let share = progress.written.saturating_mul(100).checked_div(progress.expected).unwrap_or(100).min(99);
            if is_terminal {
                told = true;
                eprint!("\r{share:3} %, {} MB", progress.written / 1_000_000);
                // Only decoration: nobody misses it.
                let _ = std::io::stderr().flush();
            }
        };
        let bytes = store::backup(&settings.store, &self.file, tell).await;
        if told {
            eprintln!();
        }
        Ok(print(&format!("{}: {} bytes, checked", self.file.display(), bytes?))?)
    }
}

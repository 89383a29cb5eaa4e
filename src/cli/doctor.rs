//! `tracefall doctor`: how the store is, and what heals what is not well. It opens the store itself, so that it works where
//! the service does not, and changes nothing (--bench: see there).

use std::io::{IsTerminal, Write};

use clap::Args;

use super::CliError;
use super::terminal::{Look, print};
use crate::checkup::State;
use crate::clock::Clock;
use crate::query::{Doctor as Examiner, Thoroughly};
use crate::render;
use crate::settings::Settings;

#[derive(Debug, Clone, Args)]
pub struct Doctor {
    /// Also try what writing takes: spans in transactions that are rolled back and, on PostgreSQL, nine commits of a logical
    /// message (pg_logical_emit_message, prefix tracefall), which no table holds but a logical decoder of the log may see.
    #[arg(long)]
    bench: bool,
    /// Also read the whole embedded store, to find damage: minutes for a large one.
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    look: Look,
}

impl Doctor {
    /// # Errors
    /// [`CliError::Unwell`] when a finding fails, which is then printed already. Warnings and what is unknown are no
    /// errors.
    pub async fn run(&self, settings: &Settings) -> Result<(), CliError> {
        let examiner = Examiner::new(settings, Clock::system())?;
        let is_terminal = std::io::stderr().is_terminal();
        let tell = |what: &str| {
            if is_terminal {
                // Only decoration: nobody misses it.
                let _ = write!(std::io::stderr(), "\r\x1b[K{what} …");
            }
        };
        let report = examiner.examine(Thoroughly { bench: self.bench, deep: self.deep }, &tell).await;
        if is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        let text = match self.look.is_json() {
            true => serde_json::to_string_pretty(&report).map_err(std::io::Error::other)?,
            false => render::checkup::draw(&report, &self.look.style()),
        };
        print(&text)?;
        match report.count(State::Fail) {
            0 => Ok(()),
            count => Err(CliError::Unwell(count)),
        }
    }
}

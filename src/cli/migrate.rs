//! `tracefall migrate`: the schema of the store.

use clap::Subcommand;

use super::CliError;
use super::terminal::print;
use crate::settings::Settings;
use crate::store;

#[derive(Debug, Clone, Subcommand)]
pub enum Migrate {
    /// Apply what is not applied yet. The service does so by itself when it starts.
    Up,
    /// Remove every table of ours, with all spans in them.
    Down {
        /// Yes, with all spans.
        #[arg(long, required = true)]
        delete_all_spans: bool,
    },
    /// List the migrations and which are applied.
    Status,
}

impl Migrate {
    pub async fn run(&self, settings: &Settings) -> Result<(), CliError> {
        let store = store::open(&settings.store).await?;
        match self {
            Migrate::Up => store.maintenance.migrate_up().await?,
            Migrate::Down { .. } => store.maintenance.migrate_down().await?,
            Migrate::Status => {}
        }
        let migrations = store.maintenance.migrations().await?;
        store.maintenance.close().await;
        let lines: Vec<String> = migrations
            .iter()
            .map(|migration| {
                let state = if migration.applied { "applied" } else { "pending" };
                format!("{:04} {:<24} {state}", migration.version, migration.name)
            })
            .collect();
        Ok(print(&format!("{}\n{}", store::place(&settings.store), lines.join("\n")))?)
    }
}

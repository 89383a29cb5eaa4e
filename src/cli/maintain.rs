//! `tracefall maintain`: what the service does for the store beside its work, for a timer to do in its place, by a role
//! that may create tables.

use clap::Args;

use super::CliError;
use super::terminal::print;
use crate::clock::Clock;
use crate::settings::Settings;
use crate::store;

#[derive(Debug, Clone, Args)]
pub struct Maintain {
    /// Do all that is due, then end.
    #[arg(long, required = true)]
    once: bool,
}

impl Maintain {
    /// Nothing is done to a schema that is not up to date.
    pub async fn run(&self, settings: &Settings) -> Result<(), CliError> {
        let store = store::open(&settings.store).await?;
        let now = Clock::system().now();
        if store.maintenance.migrations().await?.iter().any(|migration| !migration.applied) {
            return Err(CliError::NotMigrated);
        }
        store.maintenance.prepare_days(now).await?;
        let size = store.maintenance.size().await?;
        store.maintenance.close().await;
        let today = now.to_string();
        let today = today.split('T').next().unwrap_or_default();
        Ok(print(&format!(
            "{}\n\
             days         {today} and the two after it are prepared\n\
             bytes        {}\n\
             open spans   {}\n\
             dead letters {}",
            store::place(&settings.store),
            size.bytes,
            size.open_spans,
            size.dead_letters
        ))?)
    }
}

//! `tracefall migrate`: the schema of the store.

use clap::Subcommand;

use super::CliError;
use super::terminal::print;
use crate::settings::Settings;
use crate::store;

#[derive(Debug, Clone, Subcommand)]
pub enum Migrate {
    /// Apply what is not applied yet. The service does so by itself when it starts.
    Up {
        /// Then publish the views trace_spans, trace_waterfall, trace_spans_health and deployment_trace_span in the
        /// schema public too, each unless something there has its name (PostgreSQL).
        #[arg(long)]
        compat_views: bool,
    },
    /// Remove every table of ours, with all spans in them, and every view of ours.
    Down {
        /// Yes, with all spans.
        #[arg(long, required = true)]
        delete_all_spans: bool,
    },
    /// List the migrations and which are applied.
    Status,
    /// Print the GRANT statements for a writer and a reader that do not own the schema (PostgreSQL).
    Grants {
        /// The role that writes spans (store.write_url or store.url).
        #[arg(long, value_name = "ROLE", default_value = "tracefall_writer")]
        writer: String,
        /// The role that reads them (store.read_url).
        #[arg(long, value_name = "ROLE", default_value = "tracefall_reader")]
        reader: String,
    },
}

impl Migrate {
    pub async fn run(&self, settings: &Settings) -> Result<(), CliError> {
        if let Migrate::Grants { writer, reader } = self {
            return Ok(print(&store::grants(&settings.store, writer, reader)?)?);
        }
        let store = store::open(&settings.store).await?;
        match self {
            Migrate::Up { .. } => store.maintenance.migrate_up().await?,
            Migrate::Down { .. } => store.maintenance.migrate_down().await?,
            Migrate::Status | Migrate::Grants { .. } => {}
        }
        let migrations = store.maintenance.migrations().await?;
        let published = match self {
            Migrate::Up { compat_views: true } => store.maintenance.publish_views().await?,
            _ => Vec::new(),
        };
        store.maintenance.close().await;
        let lines: Vec<String> = migrations
            .iter()
            .map(|migration| {
                let state = if migration.applied { "applied" } else { "pending" };
                format!("{:04} {:<24} {state}", migration.version, migration.name)
            })
            .chain(published.iter().map(|view| format!("view {:<24} {}", view.name, view.outcome)))
            .collect();
        Ok(print(&format!("{}\n{}", store::place(&settings.store), lines.join("\n")))?)
    }
}

//! `tracefall import`: spans that are elsewhere already, in files or in a table.

mod files;
mod sniff;
mod table;

use std::path::PathBuf;

use clap::Args;

use self::table::{FromTable, Manner};
use super::CliError;
use super::client::Server;
use crate::settings::Settings;

#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["files", "from_table"]))]
pub struct Import {
    /// Files to read and post to the running server: OTLP (JSON, JSON lines or protobuf), Zipkin's JSON, or spans as
    /// /v1/spans takes them; gzip and zstd are seen through. `-` is standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The PostgreSQL table to read, as SQL names it: public.trace_spans. This opens the store itself.
    #[arg(long, value_name = "SCHEMA.TABLE", conflicts_with = "files")]
    from_table: Option<String>,
    #[command(flatten)]
    table: FromTable,
    /// Read and decode everything and say what would become of it; write nothing.
    #[arg(long)]
    dry_run: bool,
    /// The summary as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Import {
    pub async fn run(&self, settings: &Settings) -> Result<(), CliError> {
        let manner = Manner { dry_run: self.dry_run, json: self.json };
        match &self.from_table {
            Some(table) => self.table.run(table, settings, manner).await,
            None => files::run(&self.files, &self.server, &settings.ingest.limits, manner).await,
        }
    }
}

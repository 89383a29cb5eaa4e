//! The command line: one file per sub-command. Commands that read are HTTP clients of a running server; only those that
//! keep the store in order, or fill it from another database, open it.

mod backup;
mod client;
mod config;
mod dead_letters;
mod delete;
mod demo;
mod doctor;
mod export;
mod healthcheck;
mod import;
mod ingest;
mod keys;
mod maintain;
mod migrate;
mod pin;
mod plan;
mod terminal;
mod traces;
mod waterfall;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::pipeline::import::ImportError;
use crate::redact::RuleError;
use crate::settings::{Overrides, Settings, SettingsError, Sources};
use crate::store::StoreError;

/// Takes spans over HTTP, keeps them in your own database, and shows where the time went.
///
/// Without a command it serves: POST spans to http://127.0.0.1:4318/v1/spans, then `tracefall waterfall <id>`.
#[derive(Debug, Parser)]
#[command(name = "tracefall", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// Settings file [default: tracefall.toml, where there is one].
    #[arg(long, global = true, env = "TRACEFALL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the service (the default).
    Serve(Serve),
    /// Draw the waterfall of an execution or a trace.
    Waterfall(waterfall::Waterfall),
    /// List traces, newest first.
    Traces(traces::Traces),
    /// Post synthetic traffic with failures in it, to look at and to try things on.
    Demo(demo::Demo),
    /// Bring the schema of the store up to date, remove it, or show where it stands.
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    /// Do what the store needs now and then: a timer's form of what the service does by itself.
    Maintain(maintain::Maintain),
    /// Look at the store and all around it, and say what heals what is not well. Changes nothing.
    ///
    /// Exit code 1 when a finding fails; warnings and what is unknown are none.
    Doctor(doctor::Doctor),
    /// Say how much room traffic will take, and when it is spent. Without flags: 22 500 spans a day.
    Plan(plan::Plan),
    /// Keep a trace, or all of an execution, whatever its age.
    Pin(pin::Pin),
    /// Let a pinned trace go when its age says so.
    Unpin(pin::Pin),
    /// List what is pinned.
    Pins(pin::Pins),
    /// Switch ingest off and on, and keep fewer of some spans, at a running server.
    Ingest(ingest::Ingest),
    /// Delete a trace, or all traces of a user or a workspace, for good.
    #[command(subcommand)]
    Delete(delete::Delete),
    /// Look at the spans that the store refused, try them again, or throw them away.
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    /// Copy the embedded store into a file, while the service runs.
    Backup(backup::Backup),
    /// Bring in spans from files, or from a PostgreSQL table that a program filled by itself.
    Import(import::Import),
    /// Write traces of a running server into a file, as OTLP/JSON lines.
    Export(export::Export),
    /// Look at the settings.
    #[command(subcommand)]
    Config(config::Config),
    /// Make access keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Ask the running service whether it is alive: exit code 0 or 1 (HEALTHCHECK of a container).
    Healthcheck(healthcheck::Healthcheck),
}

/// Flags of the service; they win over the environment and the settings file.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Address to listen on [default: 127.0.0.1].
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// Port to listen on [default: 4318].
    #[arg(long)]
    port: Option<u16>,
    /// Folder of the embedded store [default: ./tracefall-data].
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
}

/// Why a command failed; the text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{0}")]
    Settings(#[from] SettingsError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the schema is not up to date: run tracefall migrate up")]
    NotMigrated,
    #[error("there is no dead letter {0}; `tracefall dead-letters list` shows those that there are")]
    NoLetter(i64),
    #[error("which dead letters? Name their ids, or say --all, or which by --reason and the like")]
    WhichLetters,
    #[error("{0}")]
    Redaction(#[from] RuleError),
    #[error("{0}")]
    Source(String),
    #[error("{error}{}", if *.can_go_on { "; the same command goes on where this one stopped" } else { "" })]
    Import { error: ImportError, can_go_on: bool },
    #[error("{0}")]
    Start(Box<dyn std::error::Error + Send + Sync>),
    #[error("{0}")]
    Client(#[from] client::ClientError),
    #[error("{0}")]
    Demo(#[from] demo::DemoError),
    #[error("findings that fail: {0}; the lines above say what heals them")]
    Unwell(usize),
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

/// Reads the process's arguments; wrong ones end the process with clap's explanation.
pub fn parse() -> Arguments {
    Arguments::parse()
}

impl Arguments {
    /// The command, `serve` when none is named.
    pub fn command(&self) -> Command {
        // Sub-commands are small; a copy spares every caller a reference to one that was not given.
        self.command.clone().unwrap_or_else(|| Command::Serve(self.serve.clone()))
    }

    /// The settings from defaults, file, environment and `overrides`.
    ///
    /// # Errors
    /// An unknown key, an impossible value, a named file that is not there.
    pub fn settings(&self, overrides: Overrides) -> Result<Settings, CliError> {
        Ok(Settings::load(&Sources::of_process(self.config.clone(), overrides))?)
    }
}

impl Serve {
    pub fn overrides(&self) -> Overrides {
        Overrides { host: self.host.clone(), port: self.port, data_dir: self.data_dir.clone(), ..Overrides::default() }
    }
}

/// Runs any command but `serve`, which is the application's.
///
/// # Errors
/// [`CliError`], to be shown to the person who called.
pub async fn run(arguments: &Arguments) -> Result<(), CliError> {
    match arguments.command() {
        Command::Serve(_) => Ok(()),
        Command::Waterfall(command) => command.run().await,
        Command::Traces(command) => command.run().await,
        Command::Demo(command) => command.run().await,
        Command::Migrate(command) => command.run(&arguments.settings(Overrides::default())?).await,
        Command::Maintain(command) => command.run(&arguments.settings(Overrides::default())?).await,
        Command::Doctor(command) => command.run(&arguments.settings(Overrides::default())?).await,
        Command::Plan(command) => command.run(&arguments.settings(Overrides::default())?).await,
        Command::Pin(command) => command.pin().await,
        Command::Unpin(command) => command.unpin().await,
        Command::Pins(command) => command.run().await,
        Command::Ingest(command) => command.run().await,
        Command::Delete(command) => command.run().await,
        Command::DeadLetters(command) => command.run(&arguments.settings(Overrides::default())?).await,
        Command::Backup(command) => command.run(&arguments.settings(Overrides::default())?).await,
        Command::Import(command) => command.run(&arguments.settings(Overrides::default())?).await,
        Command::Export(command) => command.run().await,
        Command::Config(command) => command.run(&arguments.settings(Overrides::default())?),
        Command::Keys(command) => command.run(),
        Command::Healthcheck(command) => command.run(|| Ok(arguments.settings(Overrides::default())?.server)).await,
    }
}

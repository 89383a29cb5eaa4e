//! `tracefall delete`: a trace, or all traces of a user or a workspace, by a running server.

use clap::{Args, Subcommand};
use reqwest::Method;

use super::CliError;
use super::client::{ClientError, Server};
use super::terminal::print;
use crate::pipeline::erasure::Deleted;

#[derive(Debug, Clone, Subcommand)]
pub enum Delete {
    /// A trace, by its id in any spelling.
    Trace(What),
    /// Every trace of which a span names this user.
    User(What),
    /// Every trace of which a span names this workspace.
    Workspace(What),
}

#[derive(Debug, Clone, Args)]
pub struct What {
    id: String,
    /// Yes, for good. Without it nothing is changed, and what would be deleted is counted.
    #[arg(long)]
    yes: bool,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Delete {
    pub async fn run(&self) -> Result<(), CliError> {
        let (What { id, yes, json, server }, segments, whose) = match self {
            Delete::Trace(what) => (what, vec!["v1", "traces", &what.id], "of trace"),
            Delete::User(what) => (what, vec!["v1", "users", &what.id, "traces"], "of user"),
            Delete::Workspace(what) => (what, vec!["v1", "workspaces", &what.id, "traces"], "of workspace"),
        };
        let mut all = Deleted { dry_run: !yes, ..Deleted::default() };
        let mut from: Option<String> = None;
        while !all.complete {
            let mut query = vec![("dry_run", (!yes).to_string())];
            query.extend(from.take().map(|from| ("from", from)));
            let deleted: Option<Deleted> = server.ask(Method::DELETE, &segments, &query).await?;
            match deleted {
                Some(deleted) => {
                    all.traces += deleted.traces;
                    all.spans += deleted.spans;
                    all.pins += deleted.pins;
                    all.dead_letters += deleted.dead_letters;
                    (all.complete, from) = (deleted.complete, deleted.next);
                }
                // The last of it went with the request before.
                None if !all.is_nothing() => all.complete = true,
                None => {
                    let detail = format!("nothing {whose} {id:?} is stored");
                    return Err(ClientError::Refused { status: 404, detail }.into());
                }
            }
            if !all.complete && !json {
                eprintln!("{} traces, {} spans so far", all.traces, all.spans);
            }
        }
        let text = match json {
            true => serde_json::to_string_pretty(&all).map_err(std::io::Error::other)?,
            false => told(whose, id, &all),
        };
        Ok(print(&text)?)
    }
}

fn told(whose: &str, id: &str, all: &Deleted) -> String {
    let Deleted { traces, spans, pins, dead_letters, dry_run, .. } = all;
    let what =
        format!("{traces} traces with {spans} spans, {pins} pins and {dead_letters} dead letters {whose} {id:?}");
    match dry_run {
        true => format!("{what} would be deleted for good; nothing was changed (--yes does it)"),
        false => format!("{what} deleted"),
    }
}

//! `tracefall pin`, `unpin` and `pins`: which traces stay, whatever their age.

use clap::Args;
use reqwest::Method;
use serde::Deserialize;

use super::CliError;
use super::client::{ClientError, Server};
use super::terminal::print;
use crate::model::ids::TraceId;
use crate::store::Pin as Pinned;

#[derive(Debug, Clone, Args)]
pub struct Pin {
    /// A trace id in any spelling, or an execution id: then all its traces.
    id: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Clone, Args)]
pub struct Pins {
    /// The answer as JSON, as the server gives it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Deserialize)]
struct Execution {
    traces: Vec<Trace>,
}

#[derive(Deserialize)]
struct Trace {
    trace_id: TraceId,
}

#[derive(serde::Serialize, Deserialize)]
struct PinList {
    pins: Vec<Pinned>,
    truncated: bool,
}

impl Pin {
    pub async fn pin(&self) -> Result<(), CliError> {
        self.each(Method::PUT, "pinned: it stays until `tracefall unpin`", "is not known").await
    }

    pub async fn unpin(&self) -> Result<(), CliError> {
        self.each(Method::DELETE, "not pinned any more: it goes when its age says so", "is not pinned").await
    }

    async fn each(&self, method: Method, done: &str, not_found: &str) -> Result<(), CliError> {
        let mut changed = 0;
        for trace_id in self.traces().await? {
            let id = trace_id.to_string();
            let segments = ["v1", "traces", &id, "pin"];
            if self.server.ask::<serde_json::Value>(method.clone(), &segments, &[]).await?.is_some() {
                changed += 1;
                print(&format!("trace {id} is {done}"))?;
            }
        }
        match changed {
            0 => Err(ClientError::Refused { status: 404, detail: format!("{:?} {not_found}", self.id) }.into()),
            _ => Ok(()),
        }
    }

    /// An execution may be named by a UUID, as a trace is: the execution is asked for first.
    async fn traces(&self) -> Result<Vec<TraceId>, ClientError> {
        if let Some(execution) = self.server.get::<Execution>(&["v1", "executions", &self.id], &[]).await? {
            return Ok(execution.traces.into_iter().map(|trace| trace.trace_id).collect());
        }
        Ok(TraceId::parse(&self.id).into_iter().collect())
    }
}

impl Pins {
    pub async fn run(&self) -> Result<(), CliError> {
        let list: Option<PinList> = self.server.get(&["v1", "pins"], &[]).await?;
        let list = list.unwrap_or(PinList { pins: Vec::new(), truncated: false });
        if self.json {
            return Ok(print(&serde_json::to_string_pretty(&list).map_err(std::io::Error::other)?)?);
        }
        let mut lines: Vec<String> =
            list.pins.iter().map(|pin| format!("{}  since {}", pin.trace_id, pin.pinned_at)).collect();
        if lines.is_empty() {
            lines.push("nothing is pinned".into());
        }
        if list.truncated {
            lines.push("and more".into());
        }
        Ok(print(&lines.join("\n"))?)
    }
}

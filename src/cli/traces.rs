//! `tracefall traces`: the list, newest first.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::CliError;
use super::client::{ClientError, Server};
use super::terminal::{Look, print};
use crate::model::rollup::TraceRollup;
use crate::render;

#[derive(Debug, Clone, Args)]
pub struct Traces {
    /// Traces with a span of this service.
    #[arg(long)]
    service: Option<String>,
    /// pending, running, completed, failed, cancelled, skipped or abandoned.
    #[arg(long)]
    status: Option<String>,
    /// Traces of this execution.
    #[arg(long, value_name = "ID")]
    execution: Option<String>,
    /// Traces of this job.
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Started at or after this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Started before this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// How many.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    look: Look,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    traces: Vec<TraceRollup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Traces {
    pub async fn run(&self) -> Result<(), CliError> {
        let filters = [
            ("service", &self.service),
            ("status", &self.status),
            ("execution_id", &self.execution),
            ("job_id", &self.job),
            ("from", &self.from),
            ("to", &self.to),
        ];
        let mut query: Vec<(&str, String)> =
            filters.into_iter().filter_map(|(name, value)| value.clone().map(|value| (name, value))).collect();
        query.push(("limit", self.limit.to_string()));
        let answer: Answer = self.server.get(&["v1", "traces"], &query).await?.ok_or(ClientError::Refused {
            status: 404,
            detail: "the server has no list of traces; is it a Tracefall of this version?".to_owned(),
        })?;
        let text = if self.look.is_json() {
            serde_json::to_string_pretty(&answer).map_err(std::io::Error::other)?
        } else {
            render::traces::draw(&answer.traces, &self.look.style())
        };
        Ok(print(&text)?)
    }
}

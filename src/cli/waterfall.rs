//! `tracefall waterfall <id>`: the waterfall of an execution or a trace, drawn.

use clap::Args;

use super::CliError;
use super::client::{ClientError, Server};
use super::terminal::{Look, print};
use crate::analysis::waterfall::Waterfall as Answer;
use crate::model::ids::TraceId;
use crate::render;

#[derive(Debug, Clone, Args)]
pub struct Waterfall {
    /// An execution id as the spans carry it, or a trace id in any spelling.
    id: String,
    /// Which trace of the execution, the newest by default.
    #[arg(long, value_name = "TRACE_ID")]
    trace: Option<String>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    look: Look,
}

impl Waterfall {
    pub async fn run(&self) -> Result<(), CliError> {
        let answer = self.fetch().await?.ok_or_else(|| ClientError::Refused {
            status: 404,
            detail: format!("no execution and no trace {:?} is known; `tracefall traces` lists the newest", self.id),
        })?;
        let text = if self.look.is_json() {
            serde_json::to_string_pretty(&answer).map_err(std::io::Error::other)?
        } else {
            render::waterfall::draw(&answer, &self.look.style())
        };
        Ok(print(&text)?)
    }

    /// An execution may be named by a UUID, as a trace is: the execution is asked for first.
    async fn fetch(&self) -> Result<Option<Answer>, ClientError> {
        let query: Vec<(&str, String)> = self.trace.iter().map(|trace| ("trace", trace.clone())).collect();
        let execution = self.server.get(&["v1", "executions", &self.id, "waterfall"], &query).await?;
        if execution.is_some() || self.trace.is_some() || TraceId::parse(&self.id).is_err() {
            return Ok(execution);
        }
        self.server.get(&["v1", "traces", &self.id, "waterfall"], &[]).await
    }
}

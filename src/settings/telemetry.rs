//! `[telemetry]`: what the service tells about itself.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::problem::Problems;

/// The service's own logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Which log lines are written, as `info` or `info,tracefall::pipeline=debug`.
    /// Source: <https://docs.rs/tracing-subscriber/latest/tracing_subscriber/filter/struct.EnvFilter.html#directives>.
    pub filter: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Auto }
    }
}

impl TelemetrySettings {
    pub(super) fn check(&self, problems: &mut Problems) {
        if let Err(error) = EnvFilter::try_new(&self.filter) {
            problems.add(
                "telemetry.filter",
                format!("is {:?}: {error}; accepted are directives such as info,tracefall=debug", self.filter),
            );
        }
    }
}

//! The service's own logs and metrics: installs where they go. What is logged and counted is decided in the rooms.

use std::io::IsTerminal;
use std::sync::Mutex;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::meters;
use crate::settings::telemetry::{LogFormat, TelemetrySettings};

/// Why telemetry cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("telemetry.filter is not a filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("logs are installed already: {0}")]
    Logs(#[from] tracing_subscriber::util::TryInitError),
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// Sends log lines to standard error for the rest of the process, so that standard output stays a command's answer.
///
/// # Errors
/// If the filter is none, or logs are installed already.
pub fn install_logs(settings: &TelemetrySettings) -> Result<(), TelemetryError> {
    subscriber(settings, std::io::stderr().is_terminal(), std::io::stderr)?.try_init()?;
    Ok(())
}

/// Collects metrics for the rest of the process; the handle renders them. A second call gives the same handle.
///
/// Somebody must call [`PrometheusHandle::run_upkeep`] every few seconds: what histograms record is kept one by one until
/// then or until the next scrape.
///
/// # Errors
/// If another recorder is installed.
pub fn install_metrics() -> Result<PrometheusHandle, TelemetryError> {
    static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let handle = recorder()?.install_recorder()?;
    meters::describe();
    Ok(installed.insert(handle).clone())
}

fn recorder() -> Result<PrometheusBuilder, TelemetryError> {
    let mut builder = PrometheusBuilder::new();
    for meter in meters::ALL {
        if let meters::Kind::Histogram(bounds) = meter.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(meter.name.to_owned()), bounds)?;
        }
    }
    Ok(builder)
}

fn subscriber<W>(
    settings: &TelemetrySettings,
    on_terminal: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(&settings.filter)?).with_writer(writer);
    let pretty = match settings.format {
        LogFormat::Auto => on_terminal,
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    Ok(match (pretty, on_terminal) {
        // Colours as the terminal's user likes them: NO_COLOR is heeded by tracing-subscriber.
        (true, true) => Box::new(builder.finish()),
        (true, false) => Box::new(builder.with_ansi(false).finish()),
        (false, _) => Box::new(builder.json().flatten_event(true).with_span_list(false).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What one log line looks like.
    fn line(format: LogFormat, filter: &str, on_terminal: bool) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let settings = TelemetrySettings { filter: filter.into(), format };
        let into = written.clone();
        let writer = move || Written(into.clone());
        tracing::subscriber::with_default(subscriber(&settings, on_terminal, writer).unwrap(), || {
            tracing::info!(spans = 3, "stored");
        });
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn away_from_a_terminal_a_line_is_one_json_object() {
        let text = line(LogFormat::Auto, "info", false);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&json["message"], &json["spans"], &json["level"]), (&"stored".into(), &3.into(), &"INFO".into()));
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_terminal_gets_text_and_a_pipe_never_gets_colours() {
        assert!(serde_json::from_str::<serde_json::Value>(&line(LogFormat::Auto, "info", true)).is_err());
        assert!(serde_json::from_str::<serde_json::Value>(&line(LogFormat::Json, "info", true)).is_ok());
        let piped = line(LogFormat::Pretty, "info", false);
        assert!(piped.contains("stored") && !piped.contains('\u{1b}'), "{piped}");
    }

    #[test]
    fn the_filter_decides() {
        assert_eq!(line(LogFormat::Json, "warn", false), "");
        assert_ne!(line(LogFormat::Json, "warn,tracefall=info", false), "");
    }

    #[test]
    fn metrics_render_with_their_meaning_and_buckets() {
        let handle = install_metrics().unwrap();
        metrics::histogram!(meters::FLUSH_SECONDS).record(0.003);
        let text = install_metrics().unwrap().render();
        assert!(
            handle.render().contains("tracefall_flush_duration_seconds_bucket"),
            "one recorder however often it is asked for"
        );
        assert!(text.contains("# TYPE tracefall_build_info gauge"), "{text}");
        assert!(text.contains("tracefall_flush_duration_seconds_bucket{le=\"0.005\"}"), "{text}");
    }
}

//! `tracefall maintain`: what the service does for the store beside its work, for a timer to do in its place, by a role
//! that may create and drop tables.

use clap::Args;

use super::CliError;
use super::terminal::print;
use crate::clock::Clock;
use crate::pipeline::retention::{Outcome, Report, Retention};
use crate::settings::Settings;
use crate::store::{self, Due};

#[derive(Debug, Clone, Args)]
pub struct Maintain {
    /// Do all that is due, then end.
    #[arg(long, required = true)]
    once: bool,
    /// Change nothing: say what would be removed.
    #[arg(long)]
    dry_run: bool,
    /// The answer of a dry run as JSON.
    #[arg(long, requires = "dry_run")]
    json: bool,
}

impl Maintain {
    /// Nothing is done to a schema that is not up to date.
    pub async fn run(&self, settings: &Settings) -> Result<(), CliError> {
        let store = store::open(&settings.store).await?;
        let clock = Clock::system();
        let now = clock.now();
        if store.maintenance.migrations().await?.iter().any(|migration| !migration.applied) {
            return Err(CliError::NotMigrated);
        }
        let retention = Retention::new(&store, &settings.retention, clock);
        if self.dry_run {
            let due = retention.preview().await?;
            store.maintenance.close().await;
            let text = match self.json {
                true => serde_json::to_string_pretty(&due).map_err(std::io::Error::other)?,
                false => preview(&due),
            };
            return Ok(print(&text)?);
        }
        store.maintenance.prepare_days(now).await?;
        let removed = match retention.run().await? {
            Outcome::Done(report) => summary(&report),
            Outcome::Held => "nothing: another process is at it".to_owned(),
        };
        let size = store.maintenance.size().await?;
        store.maintenance.close().await;
        Ok(print(&format!(
            "{}\n\
             days         {} and the two after it are prepared\n\
             removed      {removed}\n\
             bytes        {}\n\
             open spans   {}\n\
             dead letters {}",
            store::place(&settings.store),
            now.date(),
            size.bytes,
            size.open_spans,
            size.dead_letters
        ))?)
    }
}

fn summary(report: &Report) -> String {
    let days = |days: &[String]| match days {
        [] => "no day".to_owned(),
        [one] => one.clone(),
        [first, .., last] => format!("{} days, {first} to {last}", days.len()),
    };
    let busy = match report.busy_days.as_slice() {
        [] => String::new(),
        busy => format!("; {} in use, left to the next run", days(busy)),
    };
    format!(
        "{} whole, {} spans one by one, {} summaries and the like; {} spans moved to be kept{busy}",
        days(&report.days),
        report.removed_spans,
        report.others,
        report.moved_spans
    )
}

fn preview(due: &[Due]) -> String {
    if due.is_empty() {
        return "nothing is past its keep-by date".to_owned();
    }
    let mut text = format!(
        "{:<14} {:>12} {:>12} {:>14} {:>12} {:>12}\n",
        "would remove", "traces", "spans", "bytes", "keep traces", "keep spans"
    );
    for Due { what, traces, spans, kept_traces, kept_spans, bytes } in due {
        text.push_str(&format!("{what:<14} {traces:>12} {spans:>12} {bytes:>14} {kept_traces:>12} {kept_spans:>12}\n"));
    }
    text + "nothing was changed: this was a dry run"
}

//! `tracefall import --from-table`: the rows that a program wrote into a table by itself, as spans of the store.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::cli::CliError;
use crate::cli::terminal::{self, print};
use crate::clock::Clock;
use crate::model::tenant::TenantId;
use crate::pipeline::import::{self, Plan, Progress, Report};
use crate::pipeline::retention::keep_by;
use crate::redact::Redactor;
use crate::settings::store::{StoreLocation, StoreSettings};
use crate::settings::{DatabaseUrl, Settings};
use crate::store;
use crate::store::foreign::{Facts, ForeignTable, Order};

#[derive(Debug, Clone, Args)]
pub struct FromTable {
    /// The database that it is in [default: the store's own]. Better given by the variable: the list of processes shows
    /// arguments to everybody.
    #[arg(long, env = "TRACEFALL_FROM_URL", hide_env_values = true, value_name = "URL", value_parser = url)]
    from_url: Option<DatabaseUrl>,
    /// Rows that are read and written at a time.
    #[arg(long, value_name = "ROWS", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    batch: u32,
    /// Begin with the first row, even where an earlier import was interrupted.
    #[arg(long)]
    restart: bool,
}

/// What every import is told.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub dry_run: bool,
    pub json: bool,
}

/// How often a page is asked for again: for about half a minute.
const ATTEMPTS: u32 = 8;

/// Never fails, so that no complaint repeats it.
fn url(text: &str) -> Result<DatabaseUrl, std::convert::Infallible> {
    Ok(DatabaseUrl::new(text))
}

impl FromTable {
    /// Imports `table`, as SQL names it.
    pub async fn run(&self, table: &str, settings: &Settings, manner: Manner) -> Result<(), CliError> {
        let source = self.source(&settings.store)?;
        let table = ForeignTable::open(&source, table, &settings.store.postgres).await?;
        let facts = table.facts();
        for warning in warnings(facts) {
            eprintln!("tracefall: {warning}");
        }
        let store = match manner.dry_run {
            true => None,
            false => Some(store::open(&settings.store).await?),
        };
        if let Some(store) = &store
            && store.maintenance.migrations().await?.iter().any(|migration| !migration.applied)
        {
            return Err(CliError::NotMigrated);
        }
        let plan = Plan {
            tenant: TenantId::default(),
            limits: settings.ingest.limits.clone(),
            pipeline: settings.pipeline.clone(),
            redaction: Redactor::new(&settings.redaction)?.map(Arc::new),
            batch_rows: self.batch as usize,
            restart: self.restart,
            attempts: ATTEMPTS,
            keep_from: keep_by(&settings.retention, Clock::system().now()).completed,
        };
        let (mut meter, mut has_read) = (terminal::Progress::new(), false);
        let mut tell = |progress: Progress<'_>| {
            has_read |= progress.report.rows > 0;
            meter.tell(progress.settling, |elapsed| line(progress, elapsed));
        };
        let done = import::run(&table, store.as_ref(), &plan, &Clock::system(), &mut tell).await;
        meter.end();
        table.close().await;
        if let Some(store) = &store {
            store.maintenance.close().await;
        }
        let can_go_on = store.is_some() && has_read;
        let report = done.map_err(|error| CliError::Import { can_go_on: can_go_on && error.is_passing(), error })?;
        let text = match manner.json {
            true => serde_json::to_string_pretty(&report).map_err(std::io::Error::other)?,
            false => summary(facts, &report, settings, manner.dry_run),
        };
        Ok(print(&text)?)
    }

    /// The database that the table is in.
    fn source(&self, store: &StoreSettings) -> Result<DatabaseUrl, CliError> {
        let given = self.from_url.as_ref().filter(|url| !url.expose().is_empty());
        let looked_at = match given {
            Some(url) => StoreSettings { url: Some(url.clone()), read_url: None, ..store.clone() },
            None => store.clone(),
        };
        match looked_at.location() {
            Ok(StoreLocation::Postgres(to)) => Ok(to.read_url),
            Ok(StoreLocation::Sqlite(_)) if given.is_none() => Err(CliError::Source(
                "the store is no PostgreSQL database; name the one that the table is in: TRACEFALL_FROM_URL=postgres://…"
                    .into(),
            )),
            Ok(StoreLocation::Sqlite(_)) => {
                Err(CliError::Source("TRACEFALL_FROM_URL (--from-url) is no PostgreSQL database".into()))
            }
            Err(reason) => Err(CliError::Source(format!("TRACEFALL_FROM_URL (--from-url) {reason}"))),
        }
    }
}

fn summary(facts: &Facts, report: &Report, settings: &Settings, dry_run: bool) -> String {
    let mut text = format!("{} of {}\n", facts.name, facts.place);
    if dry_run {
        for column in &facts.columns {
            let to = import::member_of(column).unwrap_or("an attribute");
            text.push_str(&format!("  {:<24} {to}\n", column.name));
        }
        text.push_str("nothing was written: this was a dry run\n");
    } else {
        text.push_str(&format!("into {}\n", store::place(&settings.store)));
    }
    if report.rows_before > 0 {
        text.push_str(&format!("continued    behind {} rows of an interrupted import\n", report.rows_before));
    }
    text.push_str(&format!("rows         {}\nspans        {}", report.rows, report.spans));
    if report.dead_letters > 0 {
        text.push_str(&format!("\ndead letters {}, refused by the store", report.dead_letters));
    }
    if report.refused > 0 {
        text.push_str(&format!("\nno spans     {}", report.refused));
        for refusal in &report.refusals {
            text.push_str(&format!("\n  {refusal}"));
        }
        if report.refused > report.refusals.len() as u64 {
            text.push_str("\nall of them, by what is wrong:");
            for (reason, count) in &report.refused_by_reason {
                text.push_str(&format!("\n  {count:>9} {reason}"));
            }
        }
    }
    if report.past_keeping > 0 {
        text.push_str(&format!(
            "\nold          {} are older than retention.completed_days ({}): a service with these settings removes those \
             of completed traces with its next clean-up. To keep them, raise it first, or pin the traces",
            report.past_keeping, settings.retention.completed_days
        ));
    }
    text
}

/// What a person should know before the rows are read.
fn warnings(facts: &Facts) -> Vec<String> {
    let mut warnings = Vec::new();
    if facts.row_security {
        warnings.push(format!(
            "row level security holds for the role {} on {}: only the rows that its policies show are imported",
            facts.role, facts.name
        ));
    }
    if facts.order == Order::Place {
        warnings.push(format!(
            "{} has no unique key without NULLs: it is read in the order of its file; run the import again after rows \
             were changed meanwhile",
            facts.name
        ));
    }
    if let Some(heirs) = &facts.heirs {
        warnings.push(format!("{heirs} inherit from {}: their rows are not read with it", facts.name));
    }
    warnings
}

fn line(progress: Progress<'_>, elapsed: Duration) -> String {
    let report = progress.report;
    let done = report.rows_before + report.rows;
    let rate = terminal::rate(report.rows, elapsed);
    let mut line = match report.estimated_rows {
        Some(all) if all > 0 => format!("{done} of about {all} rows, {rate:.0} a second"),
        _ => format!("{done} rows, {rate:.0} a second"),
    };
    if report.refused > 0 {
        line.push_str(&format!(", {} no spans", report.refused));
    }
    let left = report.estimated_rows.map_or(0, |all| all.saturating_sub(done));
    if progress.settling {
        line.push_str("; computing the roll-ups");
    } else if progress.store_is_away {
        line.push_str("; the store takes nothing at the moment: waiting for it");
    } else if left > 0 && rate >= 1.0 {
        line.push_str(&format!(", {} s left", (left as f64 / rate).ceil()));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_rate_and_rest() {
        let report = Report { rows: 2_000, rows_before: 500, estimated_rows: Some(10_000), ..Report::default() };
        let told = |report: &Report, store_is_away, settling| {
            line(Progress { report, store_is_away, settling }, Duration::from_secs(4))
        };
        assert_eq!(told(&report, false, false), "2500 of about 10000 rows, 500 a second, 15 s left");
        assert!(told(&report, true, false).ends_with("the store takes nothing at the moment: waiting for it"));
        let unknown = Report { refused: 3, estimated_rows: None, ..report };
        assert_eq!(told(&unknown, false, true), "2500 rows, 500 a second, 3 no spans; computing the roll-ups");
    }
}

//! `tracefall plan`: the room that traffic will take, and for how long there is enough. Arithmetic, unless it is told to
//! measure what the store holds.

use clap::{Args, ValueEnum};

use super::CliError;
use super::terminal::{Look, print};
use crate::clock::Clock;
use crate::query::Doctor;
use crate::render;
use crate::settings::Settings;
use crate::settings::store::StoreLocation;
use crate::sizing::{self, Assumptions, Cost, POSTGRES, SQLITE, Stay, Traffic};

#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// Jobs a day. Each asks every question of every model in every region; each such run is a trace.
    #[arg(long, value_name = "N", default_value_t = 10)]
    jobs_per_day: u64,
    #[arg(long, value_name = "N", default_value_t = 3)]
    regions: u64,
    #[arg(long, value_name = "N", default_value_t = 3)]
    models: u64,
    /// Questions of a job.
    #[arg(long, value_name = "N", default_value_t = 50)]
    questions: u64,
    /// Spans of a trace.
    #[arg(long, value_name = "N", default_value_t = 5)]
    spans_per_question: u64,
    /// Room, such as 500MB, 10GB or 8GiB [default: storage.capacity_bytes].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    capacity: Option<u64>,
    /// Traces of a hundred that fail: they are kept longer.
    #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = percent)]
    failed_percent: f64,
    /// Bytes of attributes, inputs and outputs a span, on average.
    #[arg(long, value_name = "BYTES", default_value_t = sizing::ATTRIBUTE_BYTES, conflicts_with = "measured", value_parser = amount)]
    attribute_bytes: f64,
    /// Days that completed traces stay [default: retention.completed_days].
    #[arg(long, value_name = "DAYS")]
    completed_days: Option<u32>,
    /// Days that failed traces stay [default: retention.failed_days].
    #[arg(long, value_name = "DAYS")]
    failed_days: Option<u32>,
    /// Days that summaries stay [default: retention.rollup_days].
    #[arg(long, value_name = "DAYS")]
    rollup_days: Option<u32>,
    /// For which store.
    #[arg(long, value_enum, default_value_t = Kind::Both, conflicts_with = "measured")]
    store: Kind,
    /// What a span costs in the store that the settings name, as it is, instead of the documented figures.
    #[arg(long)]
    measured: bool,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Postgres,
    Sqlite,
    Both,
}

impl Plan {
    pub async fn run(&self, settings: &Settings) -> Result<(), CliError> {
        let mut retention = settings.retention.clone();
        retention.completed_days = self.completed_days.unwrap_or(retention.completed_days);
        retention.failed_days = self.failed_days.unwrap_or(retention.failed_days.max(retention.completed_days));
        retention.rollup_days = self.rollup_days.unwrap_or(retention.rollup_days.max(retention.failed_days));
        // The same rules as for the settings.
        Settings { retention: retention.clone(), ..Settings::default() }.validate()?;
        let declared = Some(settings.storage.capacity_bytes).filter(|bytes| *bytes > 0);
        let assumptions = Assumptions {
            traffic: Traffic::of_jobs(
                self.jobs_per_day,
                self.regions,
                self.models,
                self.questions,
                self.spans_per_question,
            ),
            stay: Stay::of(&retention, self.failed_percent),
            capacity_bytes: self.capacity.or(declared),
            storage: settings.storage.clone(),
            stores: match self.measured {
                true => vec![measured(settings).await?],
                false => self.documented(),
            },
        };
        let plan = sizing::plan(&assumptions);
        let text = match self.look.is_json() {
            true => serde_json::to_string_pretty(&plan).map_err(std::io::Error::other)?,
            false => render::plan::draw(&plan, &self.look.style()),
        };
        Ok(print(&text)?)
    }

    fn documented(&self) -> Vec<(&'static str, Cost, String)> {
        let source = format!("docs/sizing.md, {:.0} B of attributes", self.attribute_bytes);
        let both = [(Kind::Postgres, "PostgreSQL", POSTGRES), (Kind::Sqlite, "SQLite", SQLITE)];
        let chosen = both.into_iter().filter(|(kind, ..)| self.store == Kind::Both || self.store == *kind);
        chosen.map(|(_, name, cost)| (name, cost.with_attributes(self.attribute_bytes), source.clone())).collect()
    }
}

/// What the store holds, over what it takes.
async fn measured(settings: &Settings) -> Result<(&'static str, Cost, String), CliError> {
    const ENOUGH: u64 = 1_000;
    let contents = Doctor::new(settings, Clock::system())?.measure().await?;
    let (spans, traces) = (contents.spans, contents.traces.unwrap_or_default());
    if spans < ENOUGH {
        return Err(CliError::Source(format!(
            "the store holds {spans} spans, and {ENOUGH} are the least to measure by: leave --measured out, or fill it with \
             tracefall demo (where these are wrong, ANALYZE corrects what PostgreSQL believes)"
        )));
    }
    let (name, default) = match settings.store.location() {
        Ok(StoreLocation::Postgres(_)) => ("PostgreSQL", POSTGRES),
        _ => ("SQLite", SQLITE),
    };
    let each = |bytes: Option<u64>, count: u64| Some(bytes? as f64 / count.max(1) as f64);
    let trace_bytes = each(contents.trace_bytes, traces).filter(|_| traces > 0).unwrap_or(default.trace_bytes);
    let span_bytes = each(contents.span_bytes, spans).unwrap_or(default.span_bytes);
    let source = format!("measured: {spans} spans of {traces} traces");
    Ok((name, Cost { span_bytes, trace_bytes }, source))
}

/// `500MB`, `8GiB`, `1000000`.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 9] = [
        ("", 1.0),
        ("B", 1.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("MIB", 1_048_576.0),
        ("GIB", 1_073_741_824.0),
        ("TIB", 1_099_511_627_776.0),
    ];
    let wrong = || format!("{text:?} is no size; accepted are such as 500MB, 10GB, 8GiB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim();
    let unit = text[text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len()..].to_ascii_uppercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor).ok_or_else(wrong)?;
    let bytes = digits.parse::<f64>().map_err(|_| wrong())? * factor;
    if (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = amount(text)?;
    if number <= 100.0 { Ok(number) } else { Err(format!("{text} is more than 100")) }
}

fn amount(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if number.is_finite() && number >= 0.0 { Ok(number) } else { Err(format!("{text} is not 0 or more")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("500MB", 500_000_000),
            ("0.5 GB", 500_000_000),
            ("8GiB", 8 << 30),
            ("1000000", 1_000_000),
            ("1tb", 1_000_000_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "5 parsecs", "-1GB", "0", "1e40", "NaN"] {
            assert!(size(text).unwrap_err().contains("500MB"), "{text}");
        }
    }
}

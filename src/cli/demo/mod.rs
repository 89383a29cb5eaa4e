//! `tracefall demo`: posts synthetic traffic to a server, with failures in it whose cause is known.
//!
//! What the traffic is like is [`crate::demo`]'s; here are the arguments, the clock, the posting and the last words.

mod courier;
mod ending;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use self::courier::{Courier, Interrupt};
use super::CliError;
use super::client::{ClientError, Server};
use super::terminal::print;
use crate::clock::Clock;
use crate::demo::{HEALTHY, LONGEST_NS, Plan, Play, SCENARIOS, Scenario, Tale};
use crate::model::time::UnixNanos;

#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// A scenario, several with commas between them, `all`, `healthy` (none of them), or `list` to read what there is.
    #[arg(long, default_value = "all", value_parser = choice)]
    scenario: Choice,
    /// Traces of healthy traffic a second [default: 0.2, live 2].
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// How many traces of healthy traffic in all, in place of a rate.
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    traces: Option<u64>,
    /// The time that the traffic covers: 90s, 10m, 2h [default: 1h, live 2m].
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// The same seed and --at give the same bytes.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Writes what is true of each trace, one JSON object a line: to score a diagnosis.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Everything in its own time: each record is posted at the instant it tells of.
    #[arg(long)]
    live: bool,
    /// As if it had happened already: posted as fast as the server takes it (the default).
    #[arg(long, conflicts_with = "live")]
    backdate: bool,
    /// The instant before which everything has happened, RFC 3339 [default: now].
    #[arg(long, value_name = "TIME", conflicts_with = "live", value_parser = instant)]
    at: Option<UnixNanos>,
    #[command(flatten)]
    server: Server,
}

/// Which scenarios to play.
#[derive(Debug, Clone)]
enum Choice {
    List,
    Play(Vec<&'static Scenario>),
}

/// Why a demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(
        "cannot reach {server}: {reason}\n\nStart the service in another terminal, then run this again:\n  tracefall\n\n\
         Where it runs elsewhere, say where: tracefall demo --server URL, or TRACEFALL_URL."
    )]
    Unreachable { server: String, reason: String },
    #[error(
        "{server} takes no spans: ingest is switched off there (ENABLE_DB_TRACING, ingest.enabled, or by an operator: `tracefall ingest` says it)"
    )]
    SwitchedOff { server: String },
    #[error("{server} has had no room for spans for {minutes} minutes")]
    Busy { server: String, minutes: u64 },
    #[error("{rejected} spans were rejected; the first because {reason}")]
    Rejected { rejected: u64, reason: String },
    #[error("cannot write the truth to {}: {error}", path.display())]
    Truth { path: PathBuf, error: std::io::Error },
}

const RATE: f64 = 0.2;
const LIVE_RATE: f64 = 2.0;
const DURATION: Duration = Duration::from_secs(3_600);
const LIVE_DURATION: Duration = Duration::from_secs(120);
const MAX_RATE: f64 = 10_000.0;
/// A month: beyond that the days would not be those that readers look at.
const MAX_DURATION: Duration = Duration::from_secs(31 * 86_400);

/// Never fails on a name that is known; the complaint lists those that are.
fn choice(text: &str) -> Result<Choice, String> {
    match text {
        "list" => Ok(Choice::List),
        "all" => Ok(Choice::Play(SCENARIOS.iter().collect())),
        HEALTHY => Ok(Choice::Play(Vec::new())),
        names => names
            .split(',')
            .map(|name| {
                Scenario::named(name.trim()).ok_or_else(|| {
                    let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
                    format!("{name:?} is none of: all, list, {HEALTHY}, {}", known.join(", "))
                })
            })
            .collect::<Result<_, _>>()
            .map(Choice::Play),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| *rate > 0.0 && *rate <= MAX_RATE);
    rate.ok_or_else(|| format!("a number of traces a second, above 0 and up to {MAX_RATE}"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|length| Duration::try_from(length).ok());
    parsed
        .filter(|length| !length.is_zero() && *length <= MAX_DURATION)
        .ok_or_else(|| "a time such as 90s, 10m or 2h, of a month at most".to_owned())
}

fn instant(text: &str) -> Result<UnixNanos, String> {
    UnixNanos::parse_rfc3339(text).map_err(|error| error.to_string())
}

impl Demo {
    pub async fn run(&self) -> Result<(), CliError> {
        let scenarios = match &self.scenario {
            Choice::List => return Ok(print(&ending::list())?),
            Choice::Play(scenarios) => scenarios.clone(),
        };
        let clock = Clock::system();
        let mut play = Play::new(self.plan(clock.now(), scenarios));
        let mut truth = TruthFile::create(self.truth.as_deref())?;
        let mut interrupt = Interrupt::new();
        let mut courier = Courier::new(&self.server, !self.live)?;
        let mut told = ending::Told::default();
        let mut keep = |tale: &Tale| {
            told.add(tale);
            truth.write(&tale.truth)
        };
        let posted = match self.live {
            true => courier.live(&mut play, &clock, &mut interrupt, &mut keep).await,
            false => courier.backdated(&mut play, &mut interrupt, &mut keep).await,
        };
        courier.leave_line();
        posted.map_err(of_client)?;
        for incident in play.incidents() {
            truth.write(incident)?;
        }
        truth.finish()?;
        print(&told.last_words(&courier.tally, &self.server, self.truth.as_deref()))?;
        match courier.tally.first_reason.take() {
            Some(reason) => Err(DemoError::Rejected { rejected: courier.tally.rejected, reason }.into()),
            None => Ok(()),
        }
    }

    fn plan(&self, now: UnixNanos, scenarios: Vec<&'static Scenario>) -> Plan {
        let default = if self.live { (LIVE_DURATION, LIVE_RATE) } else { (DURATION, RATE) };
        let length = self.duration.unwrap_or(default.0);
        let rate = self.rate.unwrap_or(default.1);
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let from = match self.live {
            true => now,
            false => {
                let until = self.at.unwrap_or(now).as_u64();
                UnixNanos::new(until.saturating_sub(LONGEST_NS).saturating_sub(length_ns))
            }
        };
        let healthy = self.traces.unwrap_or_else(|| (rate * length.as_secs_f64()).ceil() as u64);
        Plan { seed: self.seed, from, length_ns, healthy, scenarios }
    }
}

/// A server that is not there deserves more words here: it is the first command that many run.
fn of_client(error: CliError) -> CliError {
    match error {
        CliError::Client(ClientError::Unreachable { server, reason }) => {
            DemoError::Unreachable { server, reason }.into()
        }
        error => error,
    }
}

/// The file for the truth, if one is wanted.
struct TruthFile<'p>(Option<(&'p Path, BufWriter<File>)>);

impl<'p> TruthFile<'p> {
    fn create(path: Option<&'p Path>) -> Result<Self, DemoError> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = File::create(path).map_err(|error| DemoError::Truth { path: path.to_owned(), error })?;
        Ok(Self(Some((path, BufWriter::new(file)))))
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), DemoError> {
        let Some((path, file)) = &mut self.0 else { return Ok(()) };
        let written = serde_json::to_writer(&mut *file, line).map_err(std::io::Error::from);
        written.and_then(|()| file.write_all(b"\n")).map_err(|error| DemoError::Truth { path: path.to_owned(), error })
    }

    fn finish(self) -> Result<(), DemoError> {
        let Some((path, mut file)) = self.0 else { return Ok(()) };
        file.flush().map_err(|error| DemoError::Truth { path: path.to_owned(), error })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        demo: Demo,
    }

    fn demo(arguments: &[&str]) -> Result<Demo, String> {
        let line = Line::try_parse_from([&["demo"], arguments].concat());
        line.map(|line| line.demo).map_err(|error| error.to_string())
    }

    const NOW: UnixNanos = UnixNanos::new(1_767_607_200_000_000_000);

    #[test]
    fn backdated_traffic_has_ended_by_now_and_live_traffic_begins_now() {
        let plan = |arguments: &[&str]| demo(arguments).map(|demo| demo.plan(NOW, Vec::new()));
        let backdated = plan(&[]).unwrap();
        assert_eq!(backdated.from.plus((backdated.length_ns + LONGEST_NS) as i64), NOW);
        assert_eq!((backdated.length_ns, backdated.healthy, backdated.seed), (3_600_000_000_000, 720, 7));
        let live = plan(&["--live", "--rate", "0.5", "--duration", "30s"]).unwrap();
        assert_eq!((live.from, live.length_ns, live.healthy), (NOW, 30_000_000_000, 15));
        let counted = plan(&["--at", "2026-01-05T11:00:00Z", "--traces", "3", "--duration", "1h"]).unwrap();
        assert_eq!((counted.from, counted.healthy), (NOW.plus(-(LONGEST_NS as i64)), 3));
        assert_eq!(plan(&["--at", "1970-01-01T00:00:00Z"]).unwrap().from, UnixNanos::default());
    }

    #[test]
    fn scenarios_are_chosen_by_name() {
        let chosen = |text: &str| match choice(text) {
            Ok(Choice::Play(scenarios)) => Ok(scenarios.iter().map(|scenario| scenario.name).collect::<Vec<_>>()),
            Ok(Choice::List) => Ok(vec!["(list)"]),
            Err(reason) => Err(reason),
        };
        assert_eq!(chosen("gpu-oom, timeout"), Ok(vec!["gpu-oom", "timeout"]));
        assert_eq!(chosen("healthy"), Ok(vec![]));
        assert_eq!(chosen("all").map(|all| all.len()), Ok(SCENARIOS.len()));
        assert!(chosen("coldstart").unwrap_err().contains("cold-start, "));
    }

    #[test]
    fn impossible_values_are_refused() {
        for arguments in [
            ["--rate", "0"],
            ["--rate", "NaN"],
            ["--duration", "-1h"],
            ["--duration", "60"],
            ["--duration", "0s"],
            ["--at", "yesterday"],
        ] {
            assert!(demo(&arguments).is_err(), "{arguments:?}");
        }
        assert!(demo(&["--live", "--at", "2026-01-05T11:00:00Z"]).is_err());
        assert!(demo(&["--rate", "1", "--traces", "1"]).is_err());
    }
}

//! `tracefall ingest`: whether a server takes spans, and which it does not keep. Shows it, switches it off and on, adds and
//! removes rules.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::CliError;
use super::client::{ClientError, Server};
use super::terminal::print;
use crate::levers::{Action, Counted, Pattern, Period, Rule, View};

#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Ingest {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    to: To,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Take nothing: every request is answered at once as accepted, unread, and nothing is kept. Reads go on.
    Off(Off),
    /// Take spans again.
    On(On),
    /// Keep fewer of some spans. Those that failed are always kept.
    #[command(subcommand)]
    Rule(RuleCommand),
}

#[derive(Debug, Clone, Subcommand)]
enum RuleCommand {
    /// Add a rule behind those there are; the first that matches a span decides.
    Add(Add),
    /// Remove a rule.
    Remove(Remove),
    /// Remove all rules.
    Clear(On),
}

/// Where, why, and how it is shown.
#[derive(Debug, Clone, Args)]
struct To {
    /// The answer as JSON, as the server gives it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Clone, Args)]
struct On {
    /// Why, for the record.
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    to: To,
}

#[derive(Debug, Clone, Args)]
struct Off {
    /// On again after so long: 90s, 30m, 2h, 1d.
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    for_secs: Option<u64>,
    /// Why, for the record.
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    to: To,
}

#[derive(Debug, Clone, Args)]
struct Remove {
    /// Its name.
    name: String,
    /// Why, for the record.
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    to: To,
}

#[derive(Debug, Clone, Args)]
struct Add {
    /// Its name, in metrics and in the history [default: rule-1 and so on].
    #[arg(long)]
    name: Option<String>,
    /// Spans of this service; modal* means all whose name begins so.
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::parse)]
    service: Option<Pattern>,
    /// Spans of this operation.
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::parse)]
    operation: Option<Pattern>,
    /// Spans of this region.
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::parse)]
    region: Option<Pattern>,
    #[command(flatten)]
    action: Does,
    /// Until then: 90s, 30m, 2h, 1d.
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    for_secs: Option<u64>,
    /// Before all other rules, not behind them.
    #[arg(long)]
    first: bool,
    /// Why, for the record.
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    to: To,
}

/// What it does.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct Does {
    /// Keep none of them.
    #[arg(long)]
    off: bool,
    /// Keep this part of the traces, 0 to 1: all these spans of a trace or none.
    #[arg(long, value_name = "FRACTION")]
    keep: Option<f64>,
    /// Keep those that take at least so many milliseconds.
    #[arg(long, value_name = "MS")]
    min_ms: Option<f64>,
}

/// Tries of a change that others are in the way of.
const TRIES: usize = 5;

impl Ingest {
    pub async fn run(&self) -> Result<(), CliError> {
        match &self.command {
            None => {
                let view = read(&self.to.server).await?;
                show(&view, &self.to)
            }
            Some(Command::Off(off)) => {
                let mut wish = json!({"enabled": false, "note": off.note});
                wish["for_secs"] = json!(off.for_secs);
                put(wish, &off.to).await
            }
            Some(Command::On(on)) => put(json!({"enabled": true, "note": on.note}), &on.to).await,
            Some(Command::Rule(RuleCommand::Clear(clear))) => {
                put(json!({"rules": [], "note": clear.note}), &clear.to).await
            }
            Some(Command::Rule(RuleCommand::Add(add))) => {
                let rule = add.rule();
                let with = |rules: &[Rule]| {
                    let mut rules: Vec<Value> = rules.iter().map(|rule| json!(rule)).collect();
                    rules.insert(if add.first { 0 } else { rules.len() }, rule.clone());
                    Ok(rules)
                };
                change_rules(with, add.note.as_deref(), &add.to).await
            }
            Some(Command::Rule(RuleCommand::Remove(remove))) => {
                let without = |rules: &[Rule]| {
                    let left: Vec<Value> =
                        rules.iter().filter(|rule| rule.name != remove.name).map(|rule| json!(rule)).collect();
                    match left.len() < rules.len() {
                        true => Ok(left),
                        false => {
                            let detail = format!("there is no rule {:?}", remove.name);
                            Err(ClientError::Refused { status: 404, detail })
                        }
                    }
                };
                change_rules(without, remove.note.as_deref(), &remove.to).await
            }
        }
    }
}

impl Add {
    fn rule(&self) -> Value {
        let mut rule = Map::new();
        if let Some(name) = &self.name {
            rule.insert("name".into(), json!(name));
        }
        for (member, pattern) in [("service", &self.service), ("operation", &self.operation), ("region", &self.region)]
        {
            if let Some(pattern) = pattern {
                rule.insert(member.into(), json!(pattern));
            }
        }
        let action = match (self.action.keep, self.action.min_ms) {
            (Some(fraction), _) => Action::KeepFraction { fraction },
            (None, Some(duration_ms)) => Action::MinimumDuration { duration_ms },
            (None, None) => Action::Off,
        };
        rule.insert("action".into(), json!(action.name()));
        match action {
            Action::Off => {}
            Action::KeepFraction { fraction } => drop(rule.insert("fraction".into(), json!(fraction))),
            Action::MinimumDuration { duration_ms } => drop(rule.insert("duration_ms".into(), json!(duration_ms))),
        }
        if let Some(secs) = self.for_secs {
            rule.insert("for_secs".into(), json!(secs));
        }
        Value::Object(rule)
    }
}

const PATH: [&str; 3] = ["v1", "admin", "ingest"];

async fn read(server: &Server) -> Result<View, ClientError> {
    server.get(&PATH, &[]).await?.ok_or_else(|| ClientError::Refused {
        status: 404,
        detail: "the server has no levers of ingest; is it a Tracefall of this version?".to_owned(),
    })
}

async fn put(wish: Value, to: &To) -> Result<(), CliError> {
    let view = to.server.put(&PATH, &wish, None).await?;
    show(&view, to)
}

/// Reads the rules and puts others in their place, unless somebody else was quicker: then again.
async fn change_rules(
    change: impl Fn(&[Rule]) -> Result<Vec<Value>, ClientError>,
    note: Option<&str>,
    to: &To,
) -> Result<(), CliError> {
    let mut tries = 1;
    loop {
        let before = read(&to.server).await?;
        let wish = json!({"rules": change(&before.rules)?, "note": note});
        match to.server.put(&PATH, &wish, Some(&before.etag)).await {
            Ok(view) => return show(&view, to),
            Err(ClientError::Refused { status: 412, .. }) if tries < TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

fn show(view: &View, to: &To) -> Result<(), CliError> {
    let text = match to.json {
        true => serde_json::to_string_pretty(view).map_err(std::io::Error::other)?,
        false => draw(view),
    };
    Ok(print(&text)?)
}

fn draw(view: &View) -> String {
    let mut lines = vec![match &view.because {
        Some(because) => format!("ingest is {}: {because}", view.ingest),
        None => format!("ingest is {}", view.ingest),
    }];
    for (place, rule) in (1..).zip(&view.rules) {
        lines.push(format!("rule {place}  {}  {rule}  (since {})", rule.name, rule.since));
    }
    if view.rules.is_empty() {
        lines.push("no rules".into());
    }
    if view.disabled_requests > 0 {
        lines.push(format!("{} requests answered unread since {}", view.disabled_requests, view.counted_since));
    }
    lines.extend(view.counts.iter().map(|Counted { rule, sampled, reason, spans }| {
        let verb = if *sampled { "sampled away" } else { "kept all the same" };
        format!("  {rule}: {spans} spans {verb} ({reason})")
    }));
    if view.keeping.file != "ok" {
        lines.push(format!("a restart may forget this: {}", view.keeping.file));
    }
    if view.keeping.store != "ok" && !view.changes.is_empty() {
        lines.push("other replicas hear of it when the store answers".into());
    }
    let over = view.periods.iter().filter(|period| period.to.is_some()).take(SHOWN);
    lines.extend(over.filter_map(|Period { from, to, rule }| {
        let what = rule.as_ref().map_or("everything off".to_owned(), ToString::to_string);
        Some(format!("from {from} to {}: {what}", to.as_ref()?))
    }));
    for change in view.changes.iter().take(SHOWN) {
        let note = change.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
        lines.push(format!("{}  by {}: {}{note}", change.at, change.by, change.what.join("; ")));
    }
    if let Some(at) = &view.forgotten_before {
        lines.push(format!("changes before {at} are forgotten"));
    }
    lines.join("\n")
}

/// Changes and periods that are drawn; `--json` has them all.
const SHOWN: usize = 10;

/// `90s`, `30m`, `2h`, `1d`, or seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| "accepted are 90s, 30m, 2h, 1d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_units() {
        for (text, expected) in [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1d", 86_400), ("45", 45)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "h", "0h", "-1h", "1.5h", "1w", "ü", "99999999999999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}

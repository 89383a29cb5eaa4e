//! The demo's words: the list of scenarios, and what to try when all is posted.

use std::path::Path;

use super::courier::Tally;
use crate::cli::client::Server;
use crate::demo::{HEALTHY, Role, SCENARIOS, Scenario, Tale};

/// One trace of each scenario that was posted, to look at.
#[derive(Debug, Default)]
pub(super) struct Told {
    examples: Vec<(&'static str, String)>,
}

/// What there is.
pub(super) fn list() -> String {
    let mut text = String::new();
    for Scenario { name, rule, shows, look_alike, .. } in SCENARIOS {
        text.push_str(&format!("{name}\n  shows      {shows}\n  rule       {rule}\n  unlike     {look_alike}\n"));
    }
    text.push_str(&format!("{HEALTHY}\n  shows      the traffic that goes on beside each of them, and nothing else\n"));
    text
}

impl Told {
    pub fn add(&mut self, tale: &Tale) {
        let truth = &tale.truth;
        let is_example = truth.role == Role::Fault || truth.scenario == HEALTHY;
        if is_example && !self.examples.iter().any(|(scenario, _)| *scenario == truth.scenario) {
            let id = truth.execution_id.clone().unwrap_or_else(|| tale.trace_id.to_string());
            self.examples.push((truth.scenario, id));
        }
    }

    /// What was done, and commands that show it.
    pub fn last_words(&self, tally: &Tally, server: &Server, truth: Option<&Path>) -> String {
        let Tally { begun, traces, spans, records, .. } = tally;
        let address = server.address();
        let seconds = begun.elapsed().as_secs_f64();
        let verb = if tally.interrupted { "interrupted: posted" } else { "posted" };
        let mut text =
            format!("{verb} {traces} traces, {spans} spans in {records} records to {address}, in {seconds:.1} s\n");
        if let Some(path) = truth {
            text.push_str(&format!("what is true of each of them is in {}\n", path.display()));
        }
        let Some((_, first)) = self.examples.iter().find(|(name, _)| *name != HEALTHY).or(self.examples.first()) else {
            return text;
        };
        let there = if server.is_default() { String::new() } else { format!(" --server {address}") };
        text.push_str(&format!(
            "\ntry\n  tracefall traces --limit 10{there}\n  tracefall traces --status failed{there}\n"
        ));
        let width = self.examples.iter().map(|(_, id)| id.len()).max().unwrap_or(0) + there.len();
        for (name, id) in &self.examples {
            let shows = Scenario::named(name).map_or("nothing is wrong", |scenario| scenario.shows);
            text.push_str(&format!("  tracefall waterfall {:<width$}  # {name}: {shows}\n", format!("{id}{there}")));
        }
        let address = address.trim_end_matches('/');
        text.push_str(&format!("\nthe same for programs\n  curl {address}/v1/traces?status=failed\n"));
        let of = if first.len() == 32 { "traces" } else { "executions" };
        text.push_str(&format!("  curl {address}/v1/{of}/{first}/waterfall\n"));
        text
    }
}

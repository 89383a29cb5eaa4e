//! The demo's words: the list of scenarios, and what to try when all is posted.

use std::path::Path;

use super::courier::Tally;
use crate::cli::client::Server;
use crate::demo::{HEALTHY, Role, SCENARIOS, Scenario, Tale};
use crate::model::ids::TraceId;

/// One trace of each scenario that was posted, to look at.
#[derive(Debug, Default)]
pub(super) struct Told {
    examples: Vec<Example>,
}

#[derive(Debug)]
struct Example {
    scenario: &'static str,
    trace_id: TraceId,
    execution_id: Option<String>,
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

/// So many examples are few enough for a sentence each.
const FEW: usize = 4;

impl Told {
    pub fn add(&mut self, tale: &Tale) {
        let truth = &tale.truth;
        if let Some(example) = self.examples.iter_mut().find(|example| example.scenario == truth.scenario) {
            // The execution was run again: its id alone would show that run.
            if example.execution_id == truth.execution_id {
                example.execution_id = None;
            }
        } else if truth.role == Role::Fault || truth.scenario == HEALTHY {
            let (scenario, execution_id) = (truth.scenario, truth.execution_id.clone());
            self.examples.push(Example { scenario, trace_id: tale.trace_id, execution_id });
        }
    }

    /// What was done, and commands that show it.
    pub fn last_words(&self, tally: &Tally, server: &Server, truth: Option<&Path>) -> String {
        let Tally { begun, traces, spans, records, .. } = tally;
        let address = server.address().trim_end_matches('/');
        let seconds = begun.elapsed().as_secs_f64();
        let verb = if tally.interrupted { "interrupted: posted" } else { "posted" };
        let mut text =
            format!("{verb} {traces} traces, {spans} spans in {records} records to {address}, in {seconds:.1} s\n");
        if let Some(path) = truth {
            text.push_str(&format!("what is true of each of them is in {}\n", path.display()));
        }
        let chosen: Vec<&Example> = self.examples.iter().filter(|example| example.scenario != HEALTHY).collect();
        let Some(first) = chosen.first().copied().or(self.examples.first()) else { return text };

        text.push_str("\nLook at it\n");
        if !server.is_default() {
            text.push_str(&format!("  export TRACEFALL_URL={address}\n"));
        }
        text.push_str("  tracefall traces --limit 10\n  tracefall traces --status failed\n");
        let width = self.examples.iter().map(|example| example.id().len()).max().unwrap_or(0);
        for example in &self.examples {
            let (id, name) = (example.id(), example.scenario);
            text.push_str(&format!("  tracefall waterfall {id:<width$}  # {name}"));
            match Scenario::named(name) {
                Some(scenario) if chosen.len() <= FEW => text.push_str(&format!(": {}\n", scenario.shows)),
                _ => text.push('\n'),
            }
        }
        if chosen.len() > FEW {
            text.push_str("  tracefall demo --scenario list  # what each of them shows\n");
        }
        let of = if first.execution_id.is_some() { "executions" } else { "traces" };
        text.push_str(&format!("  curl {address}/v1/{of}/{}/waterfall\n", first.id()));
        text
    }
}

impl Example {
    /// What to look it up by.
    fn id(&self) -> String {
        self.execution_id.clone().unwrap_or_else(|| self.trace_id.to_string())
    }
}

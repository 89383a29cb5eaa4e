//! Traffic that looks like that of three systems, and the truth about it: Beacon's inference pipeline (a Go runner, a
//! Python router, functions on Modal), LLM workflows, deployments.
//!
//! Pure: seed and time are arguments, and the same ones give the same bytes. Owns what happened ([`Play`] yields trace
//! after trace) and how clients would tell it; leaves the posting to [`crate::cli`]. Scenarios are the table
//! [`SCENARIOS`], their files one per family. Nothing in a span names its scenario: who diagnoses it has to find out.

mod beacon;
mod deployment;
mod limits;
mod network;
mod random;
mod scenario;
mod slow;
mod spelling;
mod stage;
mod startup;
mod story;
mod telemetry;
mod truth;
mod workflow;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use random::Random;
pub use scenario::{SCENARIOS, Scenario};
pub use spelling::Record;
use stage::{Stage, finished};
use story::Story;
pub use truth::{Culprit, Incident, Role, Truth};

use crate::model::ids::{SpanId, TraceId};
use crate::model::time::UnixNanos;

/// Everything that the traffic depends on.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// No trace starts earlier.
    pub from: UnixNanos,
    /// All traces start within so many nanoseconds.
    pub length_ns: u64,
    /// How many traces of healthy traffic, spread over the whole time.
    pub healthy: u64,
    /// One after the other in the time that is left after the baseline; none is fine.
    pub scenarios: Vec<&'static Scenario>,
}

/// Part of the time that is healthy before the first scenario.
const BASELINE_SHARE: f64 = 0.4;

/// The longest that any trace goes on after its start, in nanoseconds: what backdated traffic must leave to the present.
pub const LONGEST_NS: u64 = 150 * 1_000_000_000;

/// One trace, as its clients tell it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tale {
    pub trace_id: TraceId,
    pub starts_at: UnixNanos,
    /// In the order in which they would be sent.
    pub records: Vec<Record>,
    /// Distinct spans that the records speak of.
    pub span_ids: Vec<SpanId>,
    pub truth: Truth,
}

/// The traces of a plan, by their start. Holds those of one scenario at a time.
#[derive(Debug)]
pub struct Play {
    plan: Plan,
    /// What chance depends on, beside the seed.
    origin: String,
    /// Stories that are told and not yet taken, by start and order of telling.
    waiting: BTreeMap<(UnixNanos, u64), Story>,
    told: u64,
    next_healthy: u64,
    next_slot: usize,
    next_execution: u64,
    incidents: Vec<Incident>,
}

impl Play {
    pub fn new(plan: Plan) -> Self {
        let origin = plan.from.as_u64().to_string();
        // Runs of other times and seeds get other numbers, all of ten digits.
        let next_execution = 1_000_000_000 + Random::of(plan.seed, &[&origin]).next() % 800_000 * 10_000;
        Self {
            plan,
            origin,
            waiting: BTreeMap::new(),
            told: 0,
            next_healthy: 0,
            next_slot: 0,
            next_execution,
            incidents: Vec::new(),
        }
    }

    /// The times in which scenarios have played so far.
    pub fn incidents(&self) -> &[Incident] {
        &self.incidents
    }

    /// Until here there is healthy traffic only.
    fn baseline_ns(&self) -> u64 {
        match self.plan.scenarios.is_empty() {
            true => self.plan.length_ns,
            false => (self.plan.length_ns as f64 * BASELINE_SHARE) as u64,
        }
    }

    /// Start and length of a scenario's time.
    fn slot(&self, index: usize) -> (UnixNanos, u64) {
        let baseline_ns = self.baseline_ns();
        let length_ns = (self.plan.length_ns - baseline_ns) / self.plan.scenarios.len().max(1) as u64;
        (plus(self.plan.from, baseline_ns + index as u64 * length_ns), length_ns)
    }

    /// The scenario whose time it is, and which share of that has passed.
    fn playing(&self, at: UnixNanos) -> Option<(&'static Scenario, f64)> {
        let index = self.next_slot.checked_sub(1)?;
        let (from, length_ns) = self.slot(index);
        Some((self.plan.scenarios.get(index)?, at.since(from) as f64 / length_ns.max(1) as f64))
    }

    /// When the next healthy trace starts, and the chance that makes it.
    fn healthy(&self) -> Option<(UnixNanos, Random)> {
        if self.next_healthy >= self.plan.healthy {
            return None;
        }
        let mut random = Random::of(self.plan.seed, &[&self.origin, "healthy", &self.next_healthy.to_string()]);
        let step = self.plan.length_ns as f64 / self.plan.healthy as f64;
        let after_ns = (self.next_healthy as f64 + random.unit()) * step;
        Some((plus(self.plan.from, after_ns as u64), random))
    }

    fn keep(&mut self, story: Story) {
        self.waiting.insert((story.start, self.told), story);
        self.told += 1;
    }

    /// Has the next scenario tell all of its traces.
    fn open_slot(&mut self) {
        let scenario = self.plan.scenarios[self.next_slot];
        let (from, length_ns) = self.slot(self.next_slot);
        self.next_slot += 1;
        let random = Random::of(self.plan.seed, &[&self.origin, scenario.name]);
        let mut stage = Stage::new(random, scenario, from, length_ns, self.next_execution);
        (scenario.play)(&mut stage);
        let (stories, next_execution) = stage.finish();
        self.next_execution = next_execution;
        self.incidents.extend(self.incident(scenario, &stories));
        stories.into_iter().for_each(|story| self.keep(story));
    }

    fn incident(&self, scenario: &'static Scenario, stories: &[Story]) -> Option<Incident> {
        let faults: Vec<&Truth> =
            stories.iter().map(|story| &story.truth).filter(|truth| truth.role == Role::Fault).collect();
        let culprit = faults.iter().find_map(|truth| truth.culprit.as_ref())?;
        Some(Incident {
            scenario: scenario.name,
            role: "incident",
            rule: scenario.rule,
            also: scenario.also,
            service: culprit.service,
            operation: culprit.operation.clone(),
            from: faults.iter().map(|truth| truth.started_at).min()?,
            to: faults.iter().map(|truth| truth.last_at).max()?,
            baseline_from: self.plan.from,
            baseline_to: plus(self.plan.from, self.baseline_ns()),
            fault_traces: faults.len(),
            look_alike_traces: stories.iter().filter(|story| story.truth.role == Role::LookAlike).count(),
        })
    }

    /// One more trace of the background; a deployment brings the trace that continues it.
    fn tell_healthy(&mut self, at: UnixNanos, mut random: Random) {
        self.next_healthy += 1;
        let playing = self.playing(at);
        let kind = random.unit();
        if kind < 0.80 {
            // A few tries, lest a scenario that owns everything keeps us here.
            for _ in 0..12 {
                let (region, model) = (random.pick(&beacon::REGIONS), random.pick(&beacon::MODELS));
                if playing.is_none_or(|(scenario, share)| !scenario.owns(share, region, model)) {
                    let run = beacon::Run::healthy(&mut random, region, model);
                    let story = beacon::tell(&mut random, HEALTHY, at, self.next_execution, &run);
                    self.next_execution += 1;
                    return self.keep(finished(story));
                }
            }
        }
        if kind < 0.94 {
            let story = workflow::healthy(&mut random, HEALTHY, at);
            self.keep(finished(story));
        } else {
            for story in deployment::healthy(&mut random, HEALTHY, at) {
                self.keep(finished(story));
            }
        }
    }
}

/// What the truth calls the background's scenario.
pub const HEALTHY: &str = "healthy";

impl Iterator for Play {
    type Item = Tale;

    fn next(&mut self) -> Option<Tale> {
        loop {
            let waiting = self.waiting.first_key_value().map(|((at, _), _)| *at);
            let healthy = self.healthy();
            let soonest = waiting.into_iter().chain(healthy.as_ref().map(|(at, _)| *at)).min();
            let due = |at: UnixNanos| soonest.is_none_or(|soonest| at <= soonest);
            if self.next_slot < self.plan.scenarios.len() && due(self.slot(self.next_slot).0) {
                self.open_slot();
                continue;
            }
            match healthy {
                Some((at, random)) if due(at) => self.tell_healthy(at, random),
                _ => return self.waiting.pop_first().map(|(_, story)| tale(story)),
            }
        }
    }
}

fn tale(story: Story) -> Tale {
    let told = story.hops.iter().filter(|hop| hop.told != story::Told::Never);
    let span_ids: BTreeSet<SpanId> = told.map(|hop| hop.id).collect();
    Tale {
        trace_id: story.trace_id,
        starts_at: story.start,
        records: spelling::records(&story),
        span_ids: span_ids.into_iter().collect(),
        truth: story.truth,
    }
}

fn plus(at: UnixNanos, ns: u64) -> UnixNanos {
    at.plus(i64::try_from(ns).unwrap_or(i64::MAX))
}

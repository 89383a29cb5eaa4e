//! Where a scenario plays: its time, its chance, and the traces that it has told so far, each with its truth.

use super::beacon::{self, Model, Region, Run};
use super::random::Random;
use super::scenario::Scenario;
use super::story::{Story, Told};
use super::truth::{Culprit, Role};
use crate::model::ids::SpanId;
use crate::model::time::UnixNanos;

/// Traces that show a pattern, where the pattern itself does not say how many.
pub(super) const FAULTS: usize = 12;
/// Traces that resemble it.
pub(super) const LOOK_ALIKES: usize = 6;
/// Share of the time after which the pattern does not begin any more.
const FAULTS_UNTIL: f64 = 0.6;
/// Share of the time from which on its look-alikes play: not beside it, since an incident has one cause.
pub(super) const LOOK_ALIKES_FROM: f64 = 0.7;

/// A scenario's time and what it tells.
pub(super) struct Stage {
    pub random: Random,
    scenario: &'static Scenario,
    from: UnixNanos,
    length_ns: u64,
    next_execution: u64,
    stories: Vec<Story>,
}

impl Stage {
    pub fn new(random: Random, scenario: &'static Scenario, from: UnixNanos, length_ns: u64, execution: u64) -> Self {
        Self { random, scenario, from, length_ns, next_execution: execution, stories: Vec::new() }
    }

    /// What was told, and the next free execution number.
    pub fn finish(self) -> (Vec<Story>, u64) {
        (self.stories, self.next_execution)
    }

    pub fn name(&self) -> &'static str {
        self.scenario.name
    }

    /// `count` instants in the part of the time that is the pattern's, in order.
    pub fn spread(&mut self, count: usize) -> Vec<UnixNanos> {
        self.spread_over(0.0, FAULTS_UNTIL, count)
    }

    /// `count` instants in the part of the time that is the look-alikes', in order.
    pub fn spread_late(&mut self, count: usize) -> Vec<UnixNanos> {
        self.spread_over(LOOK_ALIKES_FROM, 1.0, count)
    }

    fn spread_over(&mut self, from: f64, to: f64, count: usize) -> Vec<UnixNanos> {
        let step = (to - from) / count.max(1) as f64;
        let shares: Vec<f64> = (0..count).map(|index| from + (index as f64 + self.random.unit()) * step).collect();
        shares.into_iter().map(|share| self.at(share)).collect()
    }

    /// The instant at `share` (0 to 1) of the stage's time.
    pub fn at(&self, share: f64) -> UnixNanos {
        self.from.plus((self.length_ns as f64 * share) as i64)
    }

    /// An execution as it usually is.
    pub fn run(&mut self, region: &'static Region, model: &'static Model) -> Run {
        Run::healthy(&mut self.random, region, model)
    }

    /// A number that no execution has had.
    pub fn execution(&mut self) -> u64 {
        self.next_execution += 1;
        self.next_execution - 1
    }

    /// A run as a story.
    pub fn tell(&mut self, at: UnixNanos, run: &Run) -> Story {
        let execution = self.execution();
        beacon::tell(&mut self.random, self.scenario.name, at, execution, run)
    }

    /// A trace that shows the pattern; the first of `culprits` says which service and operation is to blame.
    pub fn fault(&mut self, mut story: Story, culprits: &[SpanId], why: &'static str) {
        story.truth.role = Role::Fault;
        story.truth.rule = Some(self.scenario.rule);
        story.truth.also = self.scenario.also;
        self.add(story, culprits, why);
    }

    /// A trace that must not be taken for the pattern. `rule` is the one that should speak, if any.
    pub fn look_alike(&mut self, story: Story, rule: Option<&'static str>, culprits: &[SpanId], why: &'static str) {
        self.look_alike_of(story, rule, &[], culprits, why);
    }

    /// The same, where further rules say as much.
    pub fn look_alike_of(
        &mut self,
        mut story: Story,
        rule: Option<&'static str>,
        also: &'static [&'static str],
        culprits: &[SpanId],
        why: &'static str,
    ) {
        story.truth.role = Role::LookAlike;
        story.truth.rule = rule;
        story.truth.also = also;
        story.truth.must_not = self.scenario.must_not;
        self.add(story, culprits, why);
    }

    /// A trace with which nothing is wrong.
    pub fn healthy(&mut self, story: Story) {
        self.add(story, &[], "nothing is wrong");
    }

    fn add(&mut self, mut story: Story, culprits: &[SpanId], why: &'static str) {
        story.truth.why = why;
        story.truth.culprit = culprits.first().and_then(|first| story.hop(*first)).map(|hop| Culprit {
            service: hop.service,
            operation: hop.operation.clone(),
            span_ids: culprits.to_vec(),
        });
        self.stories.push(finished(story));
    }
}

/// The story with what its hops say about its truth.
pub(super) fn finished(mut story: Story) -> Story {
    story.truth.last_at = story.start.plus(story.last_us() * 1_000);
    let untold = |id: &SpanId| story.hops.iter().any(|hop| hop.id == *id && hop.told == Told::Never);
    if let Some(culprit) = &mut story.truth.culprit {
        culprit.span_ids.retain(|id| !untold(id));
    }
    story.truth.missing_span_ids = story.hops.iter().filter(|hop| hop.told == Told::Never).map(|hop| hop.id).collect();
    story
}

/// The ids of a story's spans of one operation.
pub(super) fn ids(story: &Story, operation: &str) -> Vec<SpanId> {
    story.of(operation).map(|hop| hop.id).collect()
}

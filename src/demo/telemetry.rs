//! What is told of a run, rather than the run itself: spans that are lost, clocks that disagree, ends that never come.

use super::beacon::{
    self, ASIA, CALL, EU, Ending, HYBRID, INFERENCE, LLAMA, MISTRAL, MODELS, QWEN, REGIONS, ROOT, ROUTER, US,
};
use super::stage::{FAULTS, LOOK_ALIKES, Stage, ids};
use super::story::{Hop, Story, Told, Tracer, micros, span_id};
use crate::model::span::SpanKind;

/// One function's spans do not arrive; or nobody called it.
pub(super) fn missing_hop(stage: &mut Stage) {
    for at in stage.spread(FAULTS) {
        let run = stage.run(&ASIA, &LLAMA);
        let mut story = stage.tell(at, &run);
        let culprits = ids(&story, CALL);
        story.of_mut(INFERENCE).for_each(|hop| hop.told = Told::Never);
        stage.fault(
            story,
            &culprits,
            "the call went well and took its time, so the inference was there: it is not told of",
        );
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let mut run = stage.run(&US, &MISTRAL);
        let attempt = run.first();
        (attempt.run_ms, attempt.wait_ms) = (stage.random.between(1.0, 3.0), 0.0);
        let mut story = stage.tell(at, &run);
        // No span is lost: there was nothing to tell of.
        story.hops.retain(|hop| hop.operation != INFERENCE);
        story.of_mut(CALL).for_each(|hop| {
            hop.result_attributes.insert("cache.hit".into(), true.into());
        });
        stage.look_alike(story, None, &[], "answered from a cache within milliseconds: there was no inference");
    }
}

/// Of every three spans of the router one is lost.
const LOSS: f64 = 0.33;

/// The router's exporter loses spans at random; or the router has nothing more to tell.
pub(super) fn lost_spans(stage: &mut Stage) {
    for (index, at) in stage.spread(3 * FAULTS).into_iter().enumerate() {
        let run = stage.run(REGIONS[index % 3], MODELS[(index / 3) % 3]);
        let mut story = stage.tell(at, &run);
        let mut lost = false;
        for hop in story.hops.iter_mut().filter(|hop| hop.tracer == Tracer::Router) {
            if stage.random.chance(LOSS) {
                (hop.told, lost) = (Told::Never, true);
            }
        }
        if lost {
            // What is left of the router's neighbourhood shows it: the spans whose parents are gone, and their callers.
            let culprits: Vec<_> = around_losses(&story);
            stage.fault(story, &culprits, "spans name parents that never came, in runs that went well");
        } else {
            stage.healthy(story);
        }
    }
    for (index, at) in stage.spread_late(LOOK_ALIKES).into_iter().enumerate() {
        let mut run = stage.run(REGIONS[index % 3], MODELS[(index / 3) % 3]);
        run.attempts[0].run_ms = 1.0;
        run.attempts[0].ending =
            Ending::Refused { kind: "PolicyError", message: "this model is switched off".into(), status: Some(403) };
        let mut story = stage.tell(at, &run);
        story.hops.retain(|hop| hop.operation != CALL);
        let culprits = ids(&story, ROUTER);
        for hop in story.of_mut(ROUTER) {
            hop.fail("PolicyError", "this model is switched off");
            hop.result_attributes.insert("http.response.status_code".into(), 403.into());
        }
        stage.look_alike(story, Some("error-origin"), &culprits, "the router failed before it called anybody");
    }
}

fn around_losses(story: &Story) -> Vec<crate::model::ids::SpanId> {
    let lost: Vec<&Hop> = story.hops.iter().filter(|hop| hop.told == Told::Never).collect();
    let is_near = |hop: &&Hop| {
        hop.told != Told::Never && lost.iter().any(|gone| hop.parent == Some(gone.id) || gone.parent == Some(hop.id))
    };
    // The lost come first, for they say whose service it is; their ids leave the truth's list of what can be seen.
    lost.iter().map(|hop| hop.id).chain(story.hops.iter().filter(is_near).map(|hop| hop.id)).collect()
}

/// The runner dies while it waits, and its execution is run again; or an execution is merely long.
pub(super) fn unfinished(stage: &mut Stage) {
    for (index, at) in stage.spread(FAULTS).into_iter().enumerate() {
        let (region, model) = (REGIONS[index % 3], MODELS[(index / 3) % 3]);
        let run = stage.run(region, model);
        let execution = stage.execution();
        let name = stage.name();
        let mut story = beacon::tell(&mut stage.random, name, at, execution, &run);
        let mut culprits = ids(&story, ROOT);
        culprits.extend(ids(&story, HYBRID));
        for operation in [ROOT, HYBRID] {
            story.of_mut(operation).for_each(Hop::never_ends);
        }
        let again = at.plus(story.last_us() * 1_000 + 20_000_000_000);
        stage.fault(story, &culprits, "nothing happens after the router's answer: who should go on is dead");

        let run = stage.run(region, model);
        let story = beacon::tell(&mut stage.random, name, again, execution, &run);
        stage.healthy(story);
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let mut run = stage.run(&EU, &QWEN);
        let answered = run.attempts.remove(0);
        for _ in 0..3 {
            let mut attempt = answered.clone();
            attempt.run_ms = stage.random.between(12_000.0, 16_000.0);
            attempt.backoff_ms = 2_000.0;
            let message = "the stream ended early".to_owned();
            attempt.ending = Ending::Failed { kind: "StreamError", message, status: 500 };
            run.attempts.push(attempt);
        }
        run.attempts.push(answered);
        let story = stage.tell(at, &run);
        let culprits: Vec<_> = story.of(INFERENCE).filter(|hop| hop.error.is_some()).map(|hop| hop.id).collect();
        let why = "long, but something happens all the time, and it ends";
        stage.look_alike_of(story, Some("slow-vs-baseline"), &["error-origin", "retry-storm"], &culprits, why);
    }
}

/// A call that never returns; or one that takes a minute.
pub(super) fn stuck_call(stage: &mut Stage) {
    for (index, at) in stage.spread(FAULTS).into_iter().enumerate() {
        let run = stage.run(REGIONS[index % 3], &MISTRAL);
        let mut story = stage.tell(at, &run);
        for operation in [ROOT, HYBRID, ROUTER, CALL, INFERENCE] {
            story.of_mut(operation).for_each(Hop::never_ends);
        }
        let culprits = ids(&story, INFERENCE);
        stage.fault(story, &culprits, "the lowest open span is the one that all others wait for");
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let mut run = stage.run(&US, &MISTRAL);
        run.first().run_ms = stage.random.between(50_000.0, 70_000.0);
        let story = stage.tell(at, &run);
        let culprits = ids(&story, INFERENCE);
        stage.look_alike_of(story, Some("slow-vs-baseline"), &["slow-decode"], &culprits, "a minute, and it ends");
    }
}

/// How far the clocks of Modal's hosts in one region are behind.
const BEHIND_MS: f64 = 640.0;

/// A clock that is behind by the same in every trace; or work that outlives its caller by something else each time.
pub(super) fn clock_skew(stage: &mut Stage) {
    for (index, at) in stage.spread(FAULTS).into_iter().enumerate() {
        let run = stage.run(&ASIA, MODELS[index % 3]);
        let mut story = stage.tell(at, &run);
        story.of_mut(INFERENCE).for_each(|hop| hop.clock_us = -micros(BEHIND_MS));
        let culprits = ids(&story, INFERENCE);
        stage.fault(story, &culprits, "it starts before its caller, by the same in every trace; durations are as ever");
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let run = stage.run(&EU, &LLAMA);
        let mut story = stage.tell(at, &run);
        publish(stage, &mut story);
        stage.look_alike(
            story,
            None,
            &[],
            "it starts within its caller and goes on after it, by another time in each run",
        );
    }
}

/// Adds what the runner does with an answer, without waiting for it.
fn publish(stage: &mut Stage, story: &mut Story) {
    let Some(root) = story.of(ROOT).next().cloned() else { return };
    let begins_ms = root.end_ms() - stage.random.between(0.5, 1.5);
    let length_ms = stage.random.between(40.0, 2_500.0);
    let id = span_id(&mut stage.random, true);
    let hop = Hop::new(id, Tracer::Runner, "runner", "runner.publish_result", begins_ms, length_ms);
    story.hops.push(hop.below(&root, SpanKind::Internal).attribute("async", true).once());
}

//! Calls that do not get through, answers that do not come back, and errors that climb.

use super::beacon::{
    ASIA, Attempt, CALL, EU, Ending, HYBRID, INFERENCE, LLAMA, MISTRAL, MODELS, QWEN, REGIONS, ROOT, ROUTER, US,
};
use super::stage::{FAULTS, LOOK_ALIKES, Stage, ids};
use super::story::Told;
use crate::model::span::Status;

/// The attempt reaches nobody.
fn unreachable(stage: &mut Stage, attempt: &Attempt) -> Attempt {
    let mut attempt = attempt.clone();
    attempt.run_ms = stage.random.between(1_800.0, 2_200.0);
    let message = "connect: no route to host".to_owned();
    attempt.ending = Ending::Refused { kind: "ConnectError", message, status: None };
    attempt.backoff_ms = stage.random.between(150.0, 300.0);
    attempt
}

/// A region is gone for all models, and the router goes elsewhere; or one model is gone in all regions.
pub(super) fn region_outage(stage: &mut Stage) {
    for (index, at) in stage.spread(FAULTS + 6).into_iter().enumerate() {
        let model = MODELS[index % 3];
        let mut run = stage.run(&EU, model);
        let mut elsewhere = stage.run(&US, model).attempts;
        run.attempts[0] = unreachable(stage, &run.attempts[0]);
        if index % 3 == 2 {
            // No other region is tried, and it fails.
            elsewhere = vec![unreachable(stage, &run.attempts[0])];
        }
        run.attempts.append(&mut elsewhere);
        let story = stage.tell(at, &run);
        let culprits: Vec<_> = story.of(CALL).filter(|hop| hop.error.is_some()).map(|hop| hop.id).collect();
        stage.fault(story, &culprits, "every model fails in this region, none elsewhere");
    }
    for (index, at) in stage.spread_late(LOOK_ALIKES).into_iter().enumerate() {
        let mut run = stage.run(REGIONS[index % 3], &LLAMA);
        run.attempts[0] = unreachable(stage, &run.attempts[0]);
        let again = unreachable(stage, &run.attempts[0]);
        run.attempts.push(again);
        let story = stage.tell(at, &run);
        let culprits = ids(&story, CALL);
        let why = "the regions answer for the other models; it is this model that fails, wherever";
        stage.look_alike(story, Some("error-origin"), &culprits, why);
    }
}

/// Nothing gets through between the router and Modal; or all does, and only the spans are lost.
pub(super) fn partition(stage: &mut Stage) {
    for (index, at) in stage.spread(FAULTS).into_iter().enumerate() {
        let mut run = stage.run(REGIONS[index % 3], MODELS[(index / 3) % 3]);
        let attempt = run.first();
        attempt.run_ms = stage.random.between(5_000.0, 10_000.0);
        let message = "connection reset by peer before any answer".to_owned();
        attempt.ending = Ending::Refused { kind: "ConnectionError", message, status: None };
        let story = stage.tell(at, &run);
        let culprits = ids(&story, CALL);
        stage.fault(story, &culprits, "the caller fails, and the called is not there");
    }
    for (index, at) in stage.spread_late(LOOK_ALIKES).into_iter().enumerate() {
        let run = stage.run(REGIONS[index % 3], MODELS[(index / 3) % 3]);
        let mut story = stage.tell(at, &run);
        let culprits = ids(&story, CALL);
        story.of_mut(INFERENCE).for_each(|hop| hop.told = Told::Never);
        let why = "the called is not there either, but the caller succeeds after the usual time";
        stage.look_alike_of(story, Some("missing-hop"), &["lost-spans"], &culprits, why);
    }
}

/// Answers that get lost on their way back; or that come after the router gave up.
pub(super) fn reply_lost(stage: &mut Stage) {
    for at in stage.spread(FAULTS) {
        let mut run = stage.run(&ASIA, &QWEN);
        let after_ms = stage.random.between(400.0, 3_000.0);
        run.first().ending = Ending::ReplyLost { after_ms };
        let story = stage.tell(at, &run);
        let culprits = ids(&story, CALL);
        stage.fault(story, &culprits, "the called completed before the caller failed");
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let mut run = stage.run(&ASIA, &QWEN);
        let attempt = run.first();
        attempt.run_ms = stage.random.between(36_000.0, 50_000.0);
        attempt.ending = Ending::GivenUp { after_ms: 30_000.0 };
        let story = stage.tell(at, &run);
        let culprits = ids(&story, INFERENCE);
        stage.look_alike(
            story,
            Some("timeout-cap"),
            &culprits,
            "the called completed only after the caller had given up",
        );
    }
}

/// Attempt upon attempt; or simply more executions.
pub(super) fn retry_storm(stage: &mut Stage) {
    for at in stage.spread(FAULTS) {
        let mut run = stage.run(&US, &LLAMA);
        let mut attempt = run.attempts.remove(0);
        attempt.ending =
            Ending::Failed { kind: "UpstreamError", message: "500 from the tokenizer".into(), status: 500 };
        let attempts = 6 + stage.random.below(4);
        for number in 0..attempts {
            let mut again = attempt.clone();
            again.run_ms = stage.random.log_normal(120.0, 0.2);
            again.backoff_ms = if number + 1 < attempts { stage.random.between(40.0, 90.0) } else { 0.0 };
            run.attempts.push(again);
        }
        let story = stage.tell(at, &run);
        let culprits = ids(&story, CALL);
        stage.fault(story, &culprits, "many attempts for each execution, with hardly a pause between them");
    }
    let rush = stage.at(0.75);
    for index in 0..8 * LOOK_ALIKES {
        let run = stage.run(&US, &QWEN);
        let story = stage.tell(rush.plus(index as i64 * 120_000_000), &run);
        stage.look_alike(story, None, &[], "more calls because of more executions, one attempt each");
    }
}

/// One failure that five spans tell of; or executions that somebody cancelled.
pub(super) fn error_origin(stage: &mut Stage) {
    for (index, at) in stage.spread(FAULTS).into_iter().enumerate() {
        let mut run = stage.run(REGIONS[index % 3], MODELS[(index / 3) % 3]);
        let attempt = run.first();
        attempt.run_ms = stage.random.between(80.0, 400.0);
        let message = "chat template not found: 'assistant_v2'".to_owned();
        attempt.ending = Ending::Failed { kind: "TemplateError", message, status: 500 };
        let story = stage.tell(at, &run);
        let culprits = ids(&story, INFERENCE);
        stage.fault(story, &culprits, "the lowest failed span has no failed child; the others repeat it");
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let mut run = stage.run(&US, &MISTRAL);
        run.first().run_ms = stage.random.between(400.0, 900.0);
        let mut story = stage.tell(at, &run);
        for operation in [ROOT, HYBRID, ROUTER, CALL, INFERENCE] {
            for hop in story.of_mut(operation) {
                hop.status = Status::Cancelled;
                hop.results.clear();
                hop.result_attributes.clear();
            }
        }
        stage.look_alike(story, None, &[], "cancelled by its user, which is no failure");
    }
}

//! Limits that are met: memory, context, rate, patience.

use super::beacon::{ASIA, Attempt, CALL, EU, Ending, INFERENCE, MISTRAL, MODELS, REGIONS, Region, US};
use super::stage::{FAULTS, LOOK_ALIKES, Stage, ids};
use super::story::Story;
use crate::model::time::UnixNanos;

/// An attempt with a prompt so long that the GPU's memory runs out after a few seconds.
pub(super) fn out_of_memory(stage: &mut Stage, mut attempt: Attempt) -> Attempt {
    attempt.input_tokens = stage.random.between(5_800.0, 7_600.0) as u32;
    attempt.run_ms = stage.random.between(1_500.0, 4_000.0);
    let tried = stage.random.between(1.2, 3.4);
    attempt.ending = Ending::Failed {
        kind: "OutOfMemoryError",
        message: format!("CUDA out of memory. Tried to allocate {tried:.2} GiB"),
        status: 500,
    };
    attempt
}

/// Long prompts: half are told of by an exception, half by a container that falls silent.
pub(super) fn gpu_oom(stage: &mut Stage) {
    for (index, at) in stage.spread(FAULTS).into_iter().enumerate() {
        let mut run = stage.run(&US, &MISTRAL);
        run.attempts[0] = out_of_memory(stage, run.attempts[0].clone());
        let killed = index % 2 == 1;
        if killed {
            run.first().ending = Ending::Killed;
        }
        let story = stage.tell(at, &run);
        let culprits = ids(&story, INFERENCE);
        stage.fault(story, &culprits, "it happens to the longest prompts only, seconds into the inference");

        // The container is gone: whoever comes next finds a new one.
        let mut next = stage.run(&US, &MISTRAL);
        let start_ms = stage.random.between(9_000.0, 14_000.0);
        next.first().start_cold(&mut stage.random, &MISTRAL, start_ms);
        let story = stage.tell(at.plus(15_000_000_000), &next);
        let culprits = ids(&story, CALL);
        stage.look_alike(
            story,
            Some("cold-start"),
            &culprits,
            "it only waits for the container that replaces the lost one",
        );
    }
    for (index, at) in stage.spread_late(LOOK_ALIKES).into_iter().enumerate() {
        let mut run = stage.run(&EU, &MISTRAL);
        let attempt = run.first();
        if index % 2 == 0 {
            attempt.input_tokens = stage.random.between(5_800.0, 7_600.0) as u32;
            attempt.run_ms = attempt.usual_ms(&MISTRAL);
            let story = stage.tell(at, &run);
            stage.look_alike(story, None, &[], "a prompt as long that is answered, in the time that its length takes");
        } else {
            attempt.run_ms = stage.random.between(1_500.0, 4_000.0);
            attempt.ending = Ending::Killed;
            let story = stage.tell(at, &run);
            let culprits = ids(&story, INFERENCE);
            let why = "the container is terminated during a prompt of usual length: not its memory";
            stage.look_alike_of(story, Some("error-origin"), &["unfinished"], &culprits, why);
        }
    }
}

/// Prompts beyond the model's limit, refused at once however often they are sent.
pub(super) fn context_length(stage: &mut Stage) {
    for (index, at) in stage.spread(FAULTS).into_iter().enumerate() {
        let (region, model) = (REGIONS[index % 3], MODELS[(index / 3) % 3]);
        let mut run = stage.run(region, model);
        let length = model.context_limit + stage.random.between(400.0, 4_000.0) as u32;
        let message =
            format!("this model's maximum context length is {} tokens, the prompt has {length}", model.context_limit);
        refuse_twice(stage, &mut run.attempts, length, "ContextLengthExceeded", &message);
        let story = stage.tell(at, &run);
        let culprits = ids(&story, INFERENCE);
        stage.fault(story, &culprits, "the prompt is longer than the model's limit, so a retry changes nothing");
    }
    for (index, at) in stage.spread_late(LOOK_ALIKES).into_iter().enumerate() {
        let mut run = stage.run(REGIONS[index % 3], MODELS[(index / 3) % 3]);
        let length = run.first().input_tokens;
        let message = "temperature must lie between 0 and 2, got -1";
        refuse_twice(stage, &mut run.attempts, length, "InvalidRequestError", message);
        let story = stage.tell(at, &run);
        let culprits = ids(&story, INFERENCE);
        let why = "a 400 as quick and as certain, for a prompt of usual length";
        stage.look_alike(story, Some("error-origin"), &culprits, why);
    }
}

/// The attempt fails within some dozen milliseconds, and so does the same once more.
fn refuse_twice(stage: &mut Stage, attempts: &mut Vec<Attempt>, tokens: u32, kind: &'static str, message: &str) {
    let mut again = attempts.clone();
    for attempt in attempts.iter_mut().chain(&mut again) {
        attempt.input_tokens = tokens;
        attempt.run_ms = stage.random.between(25.0, 60.0);
        attempt.ending = Ending::Failed { kind, message: message.to_owned(), status: 400 };
    }
    for attempt in attempts.iter_mut() {
        attempt.backoff_ms = 500.0;
    }
    attempts.append(&mut again);
}

/// One region refuses for a while: because of too many requests, or, in another, because it is down.
pub(super) fn rate_limit(stage: &mut Stage) {
    for (index, at) in stage.spread(FAULTS).into_iter().enumerate() {
        let (kind, message) = ("RateLimitError", "429 Too Many Requests: 60 requests a minute for this key");
        let story = refused(stage, at, index, &EU, (kind, message, 429));
        let culprits = ids(&story, CALL);
        stage.fault(story, &culprits, "429 within milliseconds, for requests of any size, close together in time");
    }
    for (index, at) in stage.spread_late(LOOK_ALIKES).into_iter().enumerate() {
        let (kind, message) = ("ServiceUnavailable", "503 Service Unavailable: no healthy upstream");
        let story = refused(stage, at, index, &ASIA, (kind, message, 503));
        let culprits = ids(&story, CALL);
        let why = "refused as quickly and in the same rhythm, with 503: nobody asked too much";
        stage.look_alike_of(story, Some("error-origin"), &["region-outage"], &culprits, why);
    }
}

/// Two or three refusals with waits that double; two in three executions are answered after them.
fn refused(
    stage: &mut Stage,
    at: UnixNanos,
    index: usize,
    region: &'static Region,
    (kind, message, status): (&'static str, &str, u16),
) -> Story {
    let model = MODELS[index % 3];
    let mut run = stage.run(region, model);
    let answered = run.attempts.remove(0);
    for number in 0..2 + index % 2 {
        let mut attempt = answered.clone();
        attempt.run_ms = stage.random.between(4.0, 12.0);
        attempt.backoff_ms = stage.random.between(0.9, 1.1) * 1_000.0 * f64::from(1 << number);
        attempt.ending = Ending::Refused { kind, message: message.to_owned(), status: Some(status) };
        run.attempts.push(attempt);
    }
    if !index.is_multiple_of(3) {
        run.attempts.push(answered);
    } else if let Some(last) = run.attempts.last_mut() {
        // The router gives up, and waits for nothing.
        last.backoff_ms = 0.0;
    }
    stage.tell(at, &run)
}

/// How long the router waits for an answer.
const PATIENCE_MS: f64 = 30_000.0;

/// Inferences beyond the router's patience; beside them some that are nearly as slow.
pub(super) fn timeout(stage: &mut Stage) {
    for at in stage.spread(FAULTS) {
        let mut run = stage.run(&US, &MISTRAL);
        let attempt = run.first();
        attempt.run_ms = stage.random.between(36_000.0, 75_000.0);
        attempt.ending = Ending::GivenUp { after_ms: PATIENCE_MS };
        let story = stage.tell(at, &run);
        let culprits = ids(&story, INFERENCE);
        stage.fault(story, &culprits, "the caller ends at 30 s in every trace while the inference goes on");
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let mut run = stage.run(&EU, &MISTRAL);
        run.first().run_ms = stage.random.between(15_000.0, 28_500.0);
        let story = stage.tell(at, &run);
        let culprits = ids(&story, INFERENCE);
        let why = "slow, at no common length, and answered";
        stage.look_alike_of(story, Some("slow-vs-baseline"), &["slow-decode"], &culprits, why);
    }
}

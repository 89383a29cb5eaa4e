//! Containers that start: slowly, not at all, or too few of them.

use super::beacon::{ASIA, CALL, EU, Ending, INFERENCE, LLAMA, MISTRAL, QWEN, REGIONS, STARTUP, US};
use super::stage::{FAULTS, LOOK_ALIKES, Stage, ids};
use crate::model::time::UnixNanos;

/// Calls to new containers, and calls to those containers soon afterwards; beside them a network that is slow for all.
pub(super) fn cold_start(stage: &mut Stage) {
    for at in stage.spread(FAULTS) {
        let mut run = stage.run(&ASIA, &MISTRAL);
        let start_ms = stage.random.between(9_000.0, 21_000.0);
        run.first().start_cold(&mut stage.random, &MISTRAL, start_ms);
        let story = stage.tell(at, &run);
        let culprits = ids(&story, CALL);
        stage.fault(story, &culprits, "the wait before the inference is the start of a container that is new");

        // The container is warm now.
        let mut warm = stage.run(&ASIA, &MISTRAL);
        warm.attempts[0].container = run.attempts[0].container.clone();
        let story = stage.tell(at.plus(40_000_000_000), &warm);
        stage.healthy(story);
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let mut run = stage.run(&EU, &MISTRAL);
        run.first().network_ms += stage.random.log_normal(6_000.0, 0.03);
        let story = stage.tell(at, &run);
        let culprits = ids(&story, CALL);
        let why = "every call to the region waits alike, on containers that are warm: the network";
        stage.look_alike(story, Some("slow-vs-baseline"), &culprits, why);
    }
}

/// One model's weights are broken: no container of it starts, wherever it is tried.
pub(super) fn model_load_failure(stage: &mut Stage) {
    for (index, at) in stage.spread(FAULTS).into_iter().enumerate() {
        let region = REGIONS[index % REGIONS.len()];
        let mut run = stage.run(region, &QWEN);
        let mut again = stage.run(region, &QWEN);
        for attempt in [run.first(), again.first()] {
            attempt.start_cold(&mut stage.random, &QWEN, 0.0);
            attempt.run_ms = stage.random.between(6_000.0, 11_000.0);
            attempt.ending = Ending::NeverStarted {
                kind: "SafetensorError",
                message: "error while deserializing header: incomplete metadata, file not fully covered".into(),
            };
        }
        run.first().backoff_ms = 1_000.0;
        run.attempts.append(&mut again.attempts);
        let story = stage.tell(at, &run);
        let culprits = ids(&story, STARTUP);
        stage.fault(story, &culprits, "the container fails while it starts, whatever is asked");
    }
    for (index, at) in stage.spread_late(LOOK_ALIKES).into_iter().enumerate() {
        let mut run = stage.run(REGIONS[index % REGIONS.len()], &QWEN);
        let start_ms = stage.random.between(6_000.0, 11_000.0);
        run.first().start_cold(&mut stage.random, &QWEN, start_ms);
        run.attempts[0] = super::limits::out_of_memory(stage, run.attempts[0].clone());
        let story = stage.tell(at, &run);
        let culprits = ids(&story, INFERENCE);
        let why = "the container starts, and fails during the inference of a long prompt";
        stage.look_alike_of(story, Some("gpu-oom"), &["error-origin"], &culprits, why);
    }
}

/// Between arrivals of a burst.
const BURST_EVERY_MS: u64 = 250;
const BURST: usize = 14;

/// More executions at once than one container serves; the other burst gets a container for each of them.
pub(super) fn queueing(stage: &mut Stage) {
    let burst = stage.at(0.1);
    let mut waits = Vec::new();
    // When the container is free, in milliseconds after the burst's begin.
    let mut free_ms = 0.0f64;
    for index in 0..BURST {
        let at = nth_of_burst(burst, index);
        let mut run = stage.run(&US, &LLAMA);
        let attempt = run.first();
        attempt.container = "ta-01QUEUE0BUSY1".into();
        let arrives_ms = (index as u64 * BURST_EVERY_MS) as f64;
        attempt.wait_ms += (free_ms - arrives_ms).max(0.0);
        free_ms = arrives_ms + attempt.wait_ms + attempt.run_ms;
        waits.push(attempt.wait_ms);
        let story = stage.tell(at, &run);
        if waits[index] < 1_000.0 {
            stage.healthy(story);
        } else {
            let culprits = ids(&story, CALL);
            stage.fault(
                story,
                &culprits,
                "the container is busy with those who came before; the inference is as quick as ever",
            );
        }
    }
    let burst = stage.at(0.72);
    for (index, wait_ms) in waits.into_iter().enumerate().filter(|(_, wait_ms)| *wait_ms >= 1_000.0) {
        let mut run = stage.run(&EU, &LLAMA);
        run.first().start_cold(&mut stage.random, &LLAMA, wait_ms);
        let story = stage.tell(nth_of_burst(burst, index), &run);
        let culprits = ids(&story, CALL);
        let why = "each call waits as long, but for a container of its own to start";
        stage.look_alike(story, Some("cold-start"), &culprits, why);
    }
}

fn nth_of_burst(begin: UnixNanos, index: usize) -> UnixNanos {
    begin.plus((index as u64 * BURST_EVERY_MS * 1_000_000) as i64)
}

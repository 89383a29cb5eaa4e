//! Work that takes longer than it usually does, and work that only seems to.

use super::beacon::{ASIA, DB, INFERENCE, LLAMA, MISTRAL, QWEN, REGIONS, ROUTER, US};
use super::stage::{FAULTS, LOOK_ALIKES, Stage, ids};

/// How much slower a token comes from a GPU that is shared.
const SLOWER: f64 = 3.2;

/// The same answers in three times the time; beside them three times the answer.
pub(super) fn slow_decode(stage: &mut Stage) {
    for at in stage.spread(FAULTS) {
        let mut run = stage.run(&ASIA, &LLAMA);
        let attempt = run.first();
        attempt.run_ms = attempt.usual_ms(&LLAMA) * stage.random.log_normal(SLOWER, 0.08);
        let story = stage.tell(at, &run);
        let culprits = ids(&story, INFERENCE);
        stage.fault(story, &culprits, "more milliseconds for each token of the answer");
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let mut run = stage.run(&US, &LLAMA);
        let attempt = run.first();
        attempt.output_tokens = (f64::from(attempt.output_tokens) * SLOWER) as u32;
        attempt.run_ms = attempt.usual_ms(&LLAMA) * stage.random.log_normal(1.0, 0.05);
        let story = stage.tell(at, &run);
        stage.look_alike(story, None, &[], "a longer answer, at as many milliseconds a token as ever");
    }
}

/// The router is busy with itself for one model.
pub(super) fn slow_router(stage: &mut Stage) {
    for (index, at) in stage.spread(FAULTS).into_iter().enumerate() {
        let mut run = stage.run(REGIONS[index % 3], &QWEN);
        run.prepare_ms += stage.random.log_normal(2_600.0, 0.15);
        let story = stage.tell(at, &run);
        let culprits = ids(&story, ROUTER);
        stage.fault(story, &culprits, "seconds of the router's own, before it calls anybody");
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let run = stage.run(&US, &MISTRAL);
        let story = stage.tell(at, &run);
        stage.look_alike(story, None, &[], "as long, and usual for this model");
    }
}

/// The database wakes up at the first write after a pause.
pub(super) fn db_suspend(stage: &mut Stage) {
    for (index, at) in stage.spread(FAULTS).into_iter().enumerate() {
        let mut run = stage.run(REGIONS[index % 3], &MISTRAL);
        // No execution is over before it, so that nobody waits for it.
        let most = run.first().run_ms * 0.8;
        run.db_ms += stage.random.between(800.0, 1_600.0).min(most);
        let story = stage.tell(at, &run);
        let culprits = ids(&story, DB);
        stage.fault(story, &culprits, "only the write is slow, and it is not on the critical path");
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let mut run = stage.run(&US, &QWEN);
        run.first().run_ms += stage.random.between(1_800.0, 2_600.0);
        let story = stage.tell(at, &run);
        let culprits = ids(&story, INFERENCE);
        let why = "the write is as quick as ever; the time is the inference's, for as many tokens";
        stage.look_alike_of(story, Some("slow-vs-baseline"), &["slow-decode"], &culprits, why);
    }
}

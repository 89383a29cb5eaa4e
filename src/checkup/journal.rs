//! The journal's directory, looked at from outside.

use super::facts::JournalFacts;
use super::room;
use super::{Finding, Fix, State, shell_word};
use crate::sizing::human_bytes;

/// Of the budget.
const WAITING_WARN_PERCENT: u64 = 50;
const WAITING_FAIL_PERCENT: u64 = 95;
/// The budget, where the settings say none, is at most this.
const DEFAULT_MAX_BYTES: u64 = 8 << 30;

pub(super) fn judge(facts: Option<&JournalFacts>, findings: &mut Vec<Finding>) {
    let Some(facts) = facts else {
        findings.push(
            Finding::new(
                "journal",
                State::Warn,
                "switched off: a killed process loses what the store has not",
                "switched on",
            )
            .fix(Fix::setting("journal.enabled", "true")),
        );
        return;
    };
    let path = facts.directory.display().to_string();
    let word = shell_word(&path);
    let limit = "a directory that is ours to write";
    let directory = match &facts.writable {
        Err(why) => Finding::new("journal", State::Fail, why, limit).fix(Fix::shell(format!("chmod -R u+rwX {word}"))),
        Ok(()) if !facts.exists => Finding::new("journal", State::Ok, "not there yet: the service makes it", limit),
        Ok(()) => {
            let kept = match facts.kept_bytes {
                0 => String::new(),
                kept => format!(", of which {} wait for forward targets alone", human_bytes(kept as f64)),
            };
            let value = format!("{} segments, {}{kept}", facts.segments, human_bytes(facts.bytes as f64));
            Finding::new("journal", State::Ok, value, limit)
        }
    };
    findings.push(directory.about(&path));
    findings.push(backlog(facts).about(&path));
    if facts.damaged_segments > 0 {
        let value = format!("{} segments are set aside as damaged", facts.damaged_segments);
        let fix = Fix::shell(format!("mv {word}/*.damaged /var/tmp/"));
        findings.push(Finding::new("journal_damage", State::Warn, value, "none").about(&path).fix(fix));
    }
    findings.push(room::disk("journal_disk", &facts.space, &path));
}

fn backlog(facts: &JournalFacts) -> Finding {
    let budget = match (facts.max_bytes, &facts.space) {
        (0, Ok(space)) => DEFAULT_MAX_BYTES.min((space.free_bytes + facts.bytes) / 2),
        (0, Err(_)) => DEFAULT_MAX_BYTES,
        (set, _) => set,
    };
    let percent = facts.waiting_bytes.saturating_mul(100) / budget.max(1);
    let state = match percent {
        WAITING_FAIL_PERCENT.. => State::Fail,
        WAITING_WARN_PERCENT.. => State::Warn,
        _ => State::Ok,
    };
    let value = match facts.waiting_bytes {
        0 => "nothing but the newest segment".to_owned(),
        bytes => format!("{} wait for the store, {percent} % of the budget", human_bytes(bytes as f64)),
    };
    let limit = format!("below half of {}", human_bytes(budget as f64));
    Finding::new("journal_backlog", state, value, limit).fix_unless_ok(Fix::words(
        "heal the store, then let the service run (tracefall serve): it stores what waits by itself. Until then, more room \
         is journal.max_bytes",
    ))
}

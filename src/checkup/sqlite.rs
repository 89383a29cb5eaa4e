//! The embedded store: its file, and the disk below it.

use super::facts::{SqliteFacts, SqliteFile, Trouble, median};
use super::room;
use super::{Finding, Fix, State, human_ms, shell_word};
use crate::sizing::human_bytes;

const READ_WARN_MS: f64 = 20.0;
/// A log of this size was not folded into the file for long: somebody reads one state of it all the while.
const LOG_WARN_BYTES: u64 = 1 << 30;

pub(super) fn judge(facts: &SqliteFacts, findings: &mut Vec<Finding>) {
    let path = facts.path.display().to_string();
    match &facts.opened {
        Err(trouble) => findings.push(lost(&path, trouble)),
        Ok(file) => {
            let value = format!(
                "opened in {}, {} ({} of them free), log {}",
                human_ms(file.open_ms),
                human_bytes(file.file_bytes as f64),
                human_bytes(file.free_bytes as f64),
                human_bytes(file.log_bytes as f64)
            );
            findings.push(Finding::new("reachability", State::Ok, value, "a file that opens").about(&path));
            findings.extend([latency(file), version(file), journal_mode(file, &path), log(file, &path)]);
        }
    }
    let limit = "file and folder are ours to write";
    findings.push(match &facts.writable {
        Ok(()) => Finding::new("read_only", State::Ok, "may be written", limit),
        Err(why) => {
            let folder = facts.path.parent().map_or_else(|| ".".to_owned(), |folder| folder.display().to_string());
            let word = shell_word(if folder.is_empty() { "." } else { &folder });
            Finding::new("read_only", State::Fail, why, limit).fix(Fix::shell(format!("chmod -R u+rwX {word}")))
        }
    });
    findings.extend(facts.damage.as_ref().map(|damage| integrity(damage, &path)));
    findings.push(room::disk("disk", &facts.space, &path));
}

fn lost(path: &str, Trouble { cause, reason }: &Trouble) -> Finding {
    let fix = match *cause {
        "missing" => Fix::shell("tracefall migrate up"),
        "file" => Fix::shell(format!("ls -l {}", shell_word(path))),
        _ => Fix::words("move the file away and put the newest copy that tracefall backup made in its place"),
    };
    Finding::new("reachability", State::Fail, reason, "a file that opens").about(path).fix(fix)
}

fn latency(file: &SqliteFile) -> Finding {
    let limit = "a median read below 20 ms";
    let Some(middle) = median(&file.reads_ms) else {
        return Finding::unknown("latency", "no read was measured", limit);
    };
    let state = if middle >= READ_WARN_MS { State::Warn } else { State::Ok };
    let value = format!("median {} of {} reads", human_ms(middle), file.reads_ms.len());
    Finding::new("latency", state, value, limit)
        .fix_unless_ok(Fix::words("keep the file on a disk of this machine, not on a network's"))
}

fn version(file: &SqliteFile) -> Finding {
    Finding::new("version", State::Ok, format!("SQLite {}", file.version), "the one that is built in")
}

fn journal_mode(file: &SqliteFile, path: &str) -> Finding {
    let is_wal = file.journal_mode.eq_ignore_ascii_case("wal");
    let state = if is_wal { State::Ok } else { State::Warn };
    Finding::new("journal_mode", state, file.journal_mode.clone(), "wal: readers and the writer wait for nobody")
        .about(path)
        // It opens the file as the service does, which sets the mode.
        .fix_unless_ok(Fix::shell("tracefall migrate up"))
}

fn log(file: &SqliteFile, path: &str) -> Finding {
    let state = if file.log_bytes >= LOG_WARN_BYTES { State::Warn } else { State::Ok };
    let limit = "a write-ahead log below 1.07 GB";
    Finding::new("log_size", state, human_bytes(file.log_bytes as f64), limit)
        .fix_unless_ok(Fix::shell(format!("sqlite3 {} 'PRAGMA wal_checkpoint(TRUNCATE)'", shell_word(path))))
}

fn integrity(damage: &Result<Vec<String>, String>, path: &str) -> Finding {
    let limit = "every page reads as it should";
    match damage {
        Err(why) => Finding::unknown("integrity", why, limit),
        Ok(damage) if damage.is_empty() => Finding::new("integrity", State::Ok, "whole", limit),
        Ok(damage) => {
            let word = shell_word(path);
            let fix = format!("sqlite3 {word} .recover | sqlite3 recovered.db");
            Finding::new("integrity", State::Fail, damage.join("; "), limit).fix(Fix::shell(fix))
        }
    }
}

//! Whether the schema is the one that this program knows.

use super::facts::{History, Known};
use super::{Finding, Fix, State};

/// `schema`: PostgreSQL's name for it.
pub(super) fn judge(history: &Known<History>, schema: Option<&str>, findings: &mut Vec<Finding>) {
    let limit = "every migration applied, no other";
    let finding = match history {
        Err(why) => Finding::unknown("schema", why, limit),
        Ok(history) => of(history, limit),
    };
    findings.push(match schema {
        Some(schema) => finding.about(schema),
        None => finding,
    });
}

fn of(history: &History, limit: &str) -> Finding {
    let pending: Vec<String> = history
        .known
        .iter()
        .filter(|(version, _)| !history.applied.contains(version))
        .map(|(version, name)| format!("{version:04} {name}"))
        .collect();
    let is_known = |version: &&i64| history.known.iter().any(|(known, _)| known == *version);
    let newer: Vec<String> =
        history.applied.iter().filter(|version| !is_known(version)).map(|version| format!("{version:04}")).collect();
    let migrate = || Fix::shell("tracefall migrate up");
    let fail = |value: String| Finding::new("schema", State::Fail, value, limit);
    if !newer.is_empty() {
        return fail(format!("migration {} is of a newer version of Tracefall", newer.join(", ")))
            .fix(Fix::words("run the version that made it, or a newer one; this one touches nothing"));
    }
    if let Some(version) = history.altered.first() {
        return fail(format!("migration {version:04} was applied and read differently then"))
            .fix(Fix::words("run the version of Tracefall that applied it"));
    }
    if history.applied.is_empty() {
        return fail("no migration is applied: the tables are not there".to_owned()).fix(migrate());
    }
    if !pending.is_empty() {
        return fail(format!("not applied: {}", pending.join(", "))).fix(migrate());
    }
    if !history.missing_tables.is_empty() {
        let value = format!("tables are missing: {}", history.missing_tables.join(", "));
        return fail(value).fix(Fix::words(
            "restore them from a backup; where nothing of ours is worth keeping, tracefall migrate down \
             --delete-all-spans && tracefall migrate up",
        ));
    }
    let newest = history.applied.iter().max().copied().unwrap_or_default();
    Finding::new("schema", State::Ok, format!("up to date at migration {newest:04}"), limit)
}

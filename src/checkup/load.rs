//! What the server has to do: connections, slow statements, and what a commit takes.

use super::facts::{Bench, Connections, Known, PostgresFacts, Scope, Statements, median};
use super::{Finding, Fix, SLOW_STATEMENT_MS, State, human_ms, quoted};

const CONNECTIONS_WARN_PERCENT: u64 = 80;
const CONNECTIONS_FAIL_PERCENT: u64 = 95;
/// Milliseconds of a commit of one span: below the first all is well, from the second on it is slow, from the third too slow.
const COMMIT_BANDS_MS: [f64; 3] = [5.0, 10.0, 50.0];

pub(super) fn judge(facts: &PostgresFacts, findings: &mut Vec<Finding>) {
    findings.push(connections(&facts.connections));
    statements(facts, findings);
}

fn connections(known: &Known<Connections>) -> Finding {
    let limit = "below 80 % of the nearest limit";
    match known {
        Err(why) => Finding::unknown("connections", why, limit),
        Ok(Connections { scope, name, used, ours, limit: most }) => {
            let percent = used * 100 / (*most).max(1);
            let state = match percent {
                CONNECTIONS_FAIL_PERCENT.. => State::Fail,
                CONNECTIONS_WARN_PERCENT.. => State::Warn,
                _ => State::Ok,
            };
            let (whose, raised) = (quoted(name), most.saturating_mul(2));
            let (of, fix) = match scope {
                Scope::Server => (
                    "the server's max_connections".to_owned(),
                    format!("ALTER SYSTEM SET max_connections = {raised}  -- then restart the server"),
                ),
                Scope::Database => {
                    (format!("the database {name}"), format!("ALTER DATABASE {whose} CONNECTION LIMIT {raised}"))
                }
                Scope::Role => (format!("the role {name}"), format!("ALTER ROLE {whose} CONNECTION LIMIT {raised}")),
            };
            let value = format!("{used} of {most} in use ({percent} %), the limit of {of}; {ours} by Tracefall");
            Finding::new("connections", state, value, limit).fix_unless_ok(Fix::sql(fix))
        }
    }
}

fn statements(facts: &PostgresFacts, findings: &mut Vec<Finding>) {
    let limit = format!("our statements below {SLOW_STATEMENT_MS} ms on average");
    let schema = quoted(&facts.schema);
    match &facts.statements {
        Err(why) => findings.push(Finding::unknown("statements", why, limit)),
        Ok(Statements::Absent) => findings.push(
            Finding::unknown("statements", "the extension pg_stat_statements is not in this database", limit)
                .fix(Fix::sql("CREATE EXTENSION pg_stat_statements")),
        ),
        Ok(Statements::NotLoaded) => findings.push(
            Finding::unknown("statements", "pg_stat_statements is made, but the server does not load it", limit).fix(
                Fix::sql(
                    "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'  -- then restart the server",
                ),
            ),
        ),
        Ok(Statements::Counted { slow, .. }) if slow.is_empty() => {
            findings.push(Finding::new("statements", State::Ok, "none is slow", limit));
        }
        Ok(Statements::Counted { slow, .. }) => {
            for statement in slow {
                let value = format!(
                    "{} on average, {} calls: {}",
                    human_ms(statement.mean_ms),
                    statement.calls,
                    statement.text
                );
                findings.push(Finding::new("statements", State::Warn, value, limit.clone()).fix(Fix::sql(format!(
                    "VACUUM (ANALYZE) {schema}.spans, {schema}.traces, {schema}.open_spans; \
                     SELECT pg_stat_statements_reset()"
                ))));
            }
        }
    }
}

/// What a commit takes, by trying or, else, by what the server counted.
pub(super) fn bench(tried: Option<&Known<Bench>>, statements: Option<&Known<Statements>>, findings: &mut Vec<Finding>) {
    let limit = "below 5 ms a commit of a span; slow from 10, too slow from 50";
    let by_bench = || Fix::shell("tracefall doctor --bench");
    let counted = match statements {
        Some(Ok(Statements::Counted { copy_ms_per_span, .. })) => *copy_ms_per_span,
        _ => None,
    };
    findings.push(match (tried, counted) {
        (Some(Ok(bench)), _) => of(bench, limit),
        (Some(Err(why)), _) => Finding::unknown("commit_latency", why, limit),
        (None, Some(ms)) => {
            let value = format!("{} of COPY a span by the server's count, without its commit", human_ms(ms));
            Finding::new("commit_latency", state(ms), value, limit).fix_unless_ok(by_bench())
        }
        (None, None) => Finding::unknown("commit_latency", "not measured", limit).fix(by_bench()),
    });
}

fn state(ms: f64) -> State {
    match ms {
        ms if ms >= COMMIT_BANDS_MS[2] => State::Fail,
        ms if ms >= COMMIT_BANDS_MS[1] => State::Warn,
        _ => State::Ok,
    }
}

fn of(bench: &Bench, limit: &str) -> Finding {
    let Some(write) = median(&bench.single_ms) else {
        return Finding::unknown("commit_latency", "nothing was measured", limit);
    };
    let commit = median(&bench.commit_ms);
    let each = write + commit.unwrap_or_default();
    let band = match each {
        ms if ms < COMMIT_BANDS_MS[0] => "good",
        ms if ms < COMMIT_BANDS_MS[1] => "usual over a network",
        ms if ms < COMMIT_BANDS_MS[2] => "slow",
        _ => "too slow",
    };
    let mut value = format!("{} a commit of one span ({band}): {} writing", human_ms(each), human_ms(write));
    match commit {
        Some(commit) => value.push_str(&format!(", {} committing", human_ms(commit))),
        None => value.push_str(", the commit itself left out"),
    }
    if let Some(batch) = median(&bench.batch_ms) {
        let per_span = (batch + commit.unwrap_or_default()) / bench.batch_spans.max(1) as f64;
        value.push_str(&format!("; {:.3} ms a span in batches of {}", per_span, bench.batch_spans));
    }
    Finding::new("commit_latency", state(each), value, limit).fix_unless_ok(Fix::words(
        "compare with the latency above: where that is most of it, run the service in the region of its database and write \
         to the direct host; else give the server a faster disk. Callers do not wait for any of it",
    ))
}

//! The ways into a PostgreSQL store: whether they lead there, how long that takes, what stands between, and what each
//! role may do.

use super::facts::{Known, OWNERSHIP, PostgresFacts, Reached, Trouble, Use, Way, median};
use super::{Finding, Fix, State, human_ms, quoted, shell_word};

const ROUND_TRIP_WARN_MS: f64 = 20.0;
const ROUND_TRIP_FAIL_MS: f64 = 250.0;
const CLOCK_WARN_MS: f64 = 1_000.0;
const CLOCK_FAIL_MS: f64 = 60_000.0;
/// The oldest that is tested.
const OLDEST_VERSION: u32 = 140_000;

pub(super) fn judge(facts: &PostgresFacts, findings: &mut Vec<Finding>) {
    let no_schema = matches!(&facts.history, Ok(history) if history.applied.is_empty());
    for way in &facts.ways {
        match &way.reached {
            Err(trouble) => findings.push(lost(way, trouble)),
            Ok(reached) => {
                let value = format!(
                    "connected in {} as {} to {}:{}/{}",
                    human_ms(reached.connect_ms),
                    way.user,
                    way.host,
                    way.port,
                    way.database
                );
                findings.push(Finding::new("reachability", State::Ok, value, "a connection").about(about(way)));
                findings.push(latency(way, reached));
                findings.push(pooling(way, reached));
                findings.push(grants(way, reached, no_schema, facts));
                findings.extend(read_only(way, reached));
            }
        }
    }
    match facts.ways.iter().find_map(|way| Some((way, way.reached.as_ref().ok()?))) {
        Some((way, reached)) => {
            findings.push(version(way, reached));
            findings.push(clock(reached));
        }
        None => {
            for (check, limit) in [
                ("latency", "a median round trip below 20 ms"),
                ("pool_mode", "a session of its own for writing"),
                ("grants", "what each role needs"),
                ("version", "PostgreSQL 14 or newer"),
                ("clock", "at most 1 s apart"),
            ] {
                findings.push(Finding::unknown(check, "the database is not reached", limit));
            }
        }
    }
}

fn about(way: &Way) -> String {
    let uses: Vec<&str> = way.uses.iter().map(|what| what.name()).collect();
    format!("{} ({})", way.key, uses.join(", "))
}

fn lost(way: &Way, Trouble { cause, reason }: &Trouble) -> Finding {
    let (user, database) = (quoted(&way.user), quoted(&way.database));
    let fix = match *cause {
        "login" => Fix::sql(format!("ALTER ROLE {user} LOGIN PASSWORD '…'  -- that of {}", way.key)),
        "database" => Fix::sql(format!("CREATE DATABASE {database}")),
        "connections" => Fix::sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle' \
             AND state_change < now() - interval '10 minutes'",
        ),
        "restarting" => Fix::words("wait: it comes back by itself"),
        _ => Fix::shell(format!("pg_isready --host={} --port={}", shell_word(&way.host), way.port)),
    };
    let value = format!("{}:{} is not reached ({cause}): {reason}", way.host, way.port);
    Finding::new("reachability", State::Fail, value, format!("a connection by {}", way.key)).about(about(way)).fix(fix)
}

fn latency(way: &Way, reached: &Reached) -> Finding {
    let limit = "a median round trip below 20 ms";
    let Some(middle) = median(&reached.round_trips_ms) else {
        return Finding::unknown("latency", "no round trip was measured", limit).about(about(way));
    };
    let most = reached.round_trips_ms.iter().copied().fold(0.0, f64::max);
    let state = match middle {
        ms if ms >= ROUND_TRIP_FAIL_MS => State::Fail,
        ms if ms >= ROUND_TRIP_WARN_MS => State::Warn,
        _ => State::Ok,
    };
    let value =
        format!("median {}, most {} of {} round trips", human_ms(middle), human_ms(most), reached.round_trips_ms.len());
    Finding::new("latency", state, value, limit).about(about(way)).fix_unless_ok(Fix::words(
        "run the service in the region of its database (on Fly.io: fly regions list, then fly scale count 1 --region …), \
         and write to the direct host",
    ))
}

/// A pooler in transaction mode shows itself: two connections that stand at the same time are in one session.
fn pooling(way: &Way, reached: &Reached) -> Finding {
    let limit = "a session of its own for writing";
    let writes = way.is_for(Use::Write) || way.is_for(Use::Admin);
    let finding = match &reached.own_session {
        Err(why) => Finding::unknown("pool_mode", why, limit),
        Ok(true) => {
            let between = match reached.server_port {
                0 => "",
                port if port != way.port => ", or a pooler in session mode (the server itself listens on another port)",
                _ => "",
            };
            Finding::new("pool_mode", State::Ok, format!("session: a direct connection{between}"), limit)
        }
        Ok(false) if !writes => {
            Finding::new("pool_mode", State::Ok, "transaction: a pooler, which is fine for reading", limit)
        }
        Ok(false) => {
            let value = "transaction: a pooler shares sessions, so statements cannot stay prepared";
            let place = format!("postgres://{}:…@<the direct host>/{}", way.user, way.database);
            let key = if way.is_for(Use::Write) { "store.write_url" } else { "store.admin_url" };
            Finding::new("pool_mode", State::Warn, value, limit).fix(Fix::setting(key, &place))
        }
    };
    finding.about(about(way))
}

fn grants(way: &Way, reached: &Reached, no_schema: bool, facts: &PostgresFacts) -> Finding {
    let limit = "what its uses need";
    let finding = match &reached.missing_rights {
        _ if no_schema => Finding::unknown("grants", "the schema is not there", limit),
        Err(why) => Finding::unknown("grants", why, limit),
        Ok(missing) if missing.is_empty() => {
            Finding::new("grants", State::Ok, format!("{} may do what it has to", way.user), limit)
        }
        Ok(missing) => lacking(way, reached, missing, facts),
    };
    finding.about(about(way))
}

/// Only an administrator that is none is worth no more than a warning: the others do not work at all.
fn lacking(way: &Way, reached: &Reached, missing: &[String], facts: &PostgresFacts) -> Finding {
    let value = format!("{} lacks: {}", way.user, missing.join(", "));
    let only_admin = missing.iter().all(|right| right.starts_with(OWNERSHIP));
    if only_admin {
        let owner = owner(&reached.owner);
        let url = format!("postgres://{owner}:…@{}:{}/{}", way.host, way.port, way.database);
        return Finding::new("grants", State::Warn, value, "days get partitions, old ones are dropped")
            .fix(Fix::setting("store.admin_url", &url));
    }
    let role = |what: Use, default: &str| {
        let way = facts.ways.iter().find(|way| way.is_for(what));
        shell_word(way.map_or(default, |way| &way.user))
    };
    let fix = Fix::shell(format!(
        "tracefall migrate grants --writer {} --reader {} | psql \"$ADMIN_URL\"",
        role(Use::Write, "tracefall_writer"),
        role(Use::Read, "tracefall_reader")
    ));
    Finding::new("grants", State::Fail, value, "what its uses need").fix(fix)
}

fn owner(owner: &Known<Option<String>>) -> &str {
    owner.as_ref().ok().and_then(|owner| owner.as_deref()).unwrap_or("<the schema's owner>")
}

fn read_only(way: &Way, reached: &Reached) -> Option<Finding> {
    let writes = way.is_for(Use::Write) || way.is_for(Use::Admin);
    if !writes || !(reached.in_recovery || reached.read_only) {
        return None;
    }
    let (value, fix) = match reached.in_recovery {
        true => (
            "a standby: it takes no writes",
            Fix::setting(way.key, &format!("postgres://{}:…@<the primary>/{}", way.user, way.database)),
        ),
        false => (
            "transactions are read-only unless they say otherwise",
            Fix::sql(format!(
                "BEGIN READ WRITE; ALTER DATABASE {} SET default_transaction_read_only = off; COMMIT",
                quoted(&way.database)
            )),
        ),
    };
    Some(Finding::new("read_only", State::Fail, value, "a database that takes writes").about(about(way)).fix(fix))
}

fn version(way: &Way, reached: &Reached) -> Finding {
    let state = if reached.version_number < OLDEST_VERSION { State::Fail } else { State::Ok };
    Finding::new("version", state, format!("PostgreSQL {}", reached.version), "PostgreSQL 14 or newer")
        .about(&way.host)
        .fix_unless_ok(Fix::words(
            "upgrade the server to PostgreSQL 14 or newer (pg_upgrade, or the provider's console)",
        ))
}

fn clock(reached: &Reached) -> Finding {
    let apart = (reached.clock_ahead_ms.abs() - reached.clock_error_ms).max(0.0);
    let state = match apart {
        ms if ms >= CLOCK_FAIL_MS => State::Fail,
        ms if ms >= CLOCK_WARN_MS => State::Warn,
        _ => State::Ok,
    };
    let direction = if reached.clock_ahead_ms < 0.0 { "behind" } else { "ahead of" };
    let value = format!(
        "the database is {} {direction} this machine (± {})",
        human_ms(reached.clock_ahead_ms.abs()),
        human_ms(reached.clock_error_ms)
    );
    Finding::new("clock", state, value, "at most 1 s apart").fix_unless_ok(Fix::shell("timedatectl set-ntp true"))
}

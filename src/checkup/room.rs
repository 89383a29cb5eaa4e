//! Room: how fast the store grows and when it is full, disks, and indexes that take more than they give.

use super::facts::{Contents, ForeignIndex, Known, PostgresFacts, Space, TableSize};
use super::{Finding, Fix, State, quoted};
use crate::model::time::UnixNanos;
use crate::settings::Settings;
use crate::sizing::{human_bytes, human_count, usable};

/// Full days that growth is taken from, at most.
const GROWTH_DAYS: usize = 7;
const FULL_IN_FAIL_DAYS: f64 = 7.0;
const DISK_WARN_PERCENT: u64 = 10;
const DISK_FAIL_PERCENT: u64 = 3;
/// Where so much is free, a percentage says nothing; and where this much is, nothing stops yet.
const DISK_PLENTY_BYTES: u64 = 50_000_000_000;
const DISK_FAIL_BYTES: u64 = 2_000_000_000;
/// Indexes over their table.
const INDEX_RATIO: f64 = 2.0;
/// Smaller indexes are not worth a word: those of a small table are always larger than it.
const INDEX_MIN_BYTES: u64 = 1 << 20;

/// `disk`: where the store grows, if that is known.
pub(super) fn growth(
    contents: &Known<Contents>,
    disk: Option<&Space>,
    now: UnixNanos,
    settings: &Settings,
    findings: &mut Vec<Finding>,
) {
    const GROWTH: &str = "a size that levels off below the capacity";
    let contents = match contents {
        Ok(contents) => contents,
        Err(why) => {
            findings.push(Finding::unknown("capacity", why, "below storage.warn_percent of the capacity"));
            findings.push(Finding::unknown("growth", why, GROWTH));
            return;
        }
    };
    let declared = Some(settings.storage.capacity_bytes).filter(|bytes| *bytes > 0);
    findings.push(capacity(contents.bytes, declared, settings));
    let Some(grows) = Growth::of(contents, now, settings.retention.completed_days) else {
        findings.push(Finding::unknown("growth", "no full day has been stored yet", GROWTH));
        return;
    };
    let room = declared.map(|bytes| usable(bytes, &settings.storage));
    let room = room.or(disk.map(|disk| contents.bytes as f64 + disk.free_bytes as f64));
    findings.push(grows.judge(contents.bytes as f64, room, settings.retention.completed_days));
}

fn capacity(bytes: u64, declared: Option<u64>, settings: &Settings) -> Finding {
    let (warn, stop) = (settings.storage.warn_percent, settings.storage.stop_percent);
    let limit = format!("below {warn} % of storage.capacity_bytes; from {stop} % on spans are refused");
    let size = human_bytes(bytes as f64);
    let Some(capacity) = declared else {
        let value = format!("{size}; no capacity is declared, so nobody warns and nothing stops");
        let room = (bytes / 500_000_000 + 1) * 1_000_000_000;
        return Finding::unknown("capacity", &value, limit)
            .fix(Fix::setting("storage.capacity_bytes", &room.to_string()));
    };
    let percent = bytes as f64 * 100.0 / capacity as f64;
    let state = match percent {
        percent if percent >= f64::from(stop) => State::Fail,
        percent if percent >= f64::from(warn) => State::Warn,
        _ => State::Ok,
    };
    let value = format!("{size} of {} ({percent:.0} %)", human_bytes(capacity as f64));
    Finding::new("capacity", state, value, limit).fix_unless_ok(Fix::shell(format!(
        "TRACEFALL__RETENTION__COMPLETED_DAYS={} tracefall maintain --once",
        shorter(settings.retention.completed_days)
    )))
}

/// Half as long.
fn shorter(days: u32) -> u32 {
    (days / 2).max(1)
}

/// How fast a store grows.
struct Growth {
    days: usize,
    spans_per_day: f64,
    bytes_per_day: f64,
    /// Of days that spans are there.
    age_days: u32,
}

impl Growth {
    /// By the spans of the last full days, each at what a span costs here on average, summaries included.
    fn of(contents: &Contents, now: UnixNanos, completed_days: u32) -> Option<Self> {
        let today = now.day();
        let oldest = today.saturating_sub(completed_days);
        let is_full = |day: u32| day < today && day >= oldest;
        let full: Vec<_> = contents.days.iter().filter(|day| is_full(day.day) && day.spans > 0).collect();
        let last = full.get(full.len().saturating_sub(GROWTH_DAYS)..)?;
        let first = last.first()?.day;
        let spans: u64 = last.iter().map(|day| day.spans).sum();
        // Days without a span are days too.
        let days = (today - first).max(1) as usize;
        let spans_per_day = spans as f64 / days as f64;
        let bytes_per_span = contents.bytes as f64 / contents.spans.max(spans).max(1) as f64;
        let age_days = today - full.first()?.day;
        Some(Self { days, spans_per_day, bytes_per_day: spans_per_day * bytes_per_span, age_days })
    }

    /// What goes by its age leaves room for what comes.
    fn judge(&self, bytes: f64, room: Option<f64>, completed_days: u32) -> Finding {
        let to_come = f64::from(completed_days.saturating_sub(self.age_days));
        let level = bytes + self.bytes_per_day * to_come;
        let grows = format!(
            "{} spans, {} a day over {} full days",
            human_count(self.spans_per_day),
            human_bytes(self.bytes_per_day),
            self.days
        );
        let Some(room) = room else {
            let value = format!("{grows}; levels off at about {} after {completed_days} days", human_bytes(level));
            return Finding::unknown("growth", &value, "a capacity (storage.capacity_bytes) to compare with")
                .fix(Fix::setting("storage.capacity_bytes", &format!("{:.0}", (level * 1.5 / 1e9).ceil() * 1e9)));
        };
        let limit = format!("a size that levels off below {}", human_bytes(room));
        if level < room {
            let value = format!("{grows}; levels off at about {}, never full", human_bytes(level));
            return Finding::new("growth", State::Ok, value, limit);
        }
        let full_in = ((room - bytes) / self.bytes_per_day).max(0.0);
        let state = if full_in < FULL_IN_FAIL_DAYS { State::Fail } else { State::Warn };
        let fits = (f64::from(completed_days) * room * 0.9 / level).floor().max(1.0);
        Finding::new("growth", state, format!("{grows}; full in {full_in:.0} days"), limit)
            .fix(Fix::setting("retention.completed_days", &format!("{fits:.0}")))
    }
}

/// Days without a table of their own share one, which is slow to clear.
pub(super) fn days_ahead(contents: &Known<Contents>, now: UnixNanos, findings: &mut Vec<Finding>) {
    let limit = "a partition for today and for tomorrow";
    let Ok(contents) = contents else {
        findings.push(Finding::unknown("partitions", "the tables are not known", limit));
        return;
    };
    let (today, count) = (now.day(), contents.days.len());
    let missing: Vec<String> = [today, today + 1]
        .into_iter()
        .filter(|day| contents.days.iter().all(|there| there.day != *day))
        .map(|day| UnixNanos::of_day(day).date())
        .collect();
    findings.push(match missing.is_empty() {
        true => Finding::new("partitions", State::Ok, format!("{count} days have one, tomorrow too"), limit),
        false => Finding::new("partitions", State::Warn, format!("none for {}", missing.join(" and ")), limit)
            .fix(Fix::shell("tracefall maintain --once")),
    });
}

pub(super) fn disk(check: &'static str, space: &Known<Space>, path: &str) -> Finding {
    let limit = "10 % or 50 GB free";
    let finding = match space {
        Err(why) => Finding::unknown(check, why, limit),
        Ok(Space { free_bytes, total_bytes }) => {
            let percent = free_bytes.saturating_mul(100) / (*total_bytes).max(1);
            let state = match percent {
                _ if *free_bytes >= DISK_PLENTY_BYTES => State::Ok,
                0..DISK_FAIL_PERCENT if *free_bytes < DISK_FAIL_BYTES => State::Fail,
                0..DISK_WARN_PERCENT => State::Warn,
                _ => State::Ok,
            };
            let (free, total) = (human_bytes(*free_bytes as f64), human_bytes(*total_bytes as f64));
            Finding::new(check, state, format!("{free} of {total} free ({percent} %)"), limit).fix_unless_ok(
                Fix::shell(
                    "fly volumes extend <volume> --size <GB>  # elsewhere: a larger disk, or store.data_dir on another",
                ),
            )
        }
    };
    finding.about(path)
}

pub(super) fn indexes(facts: &PostgresFacts, findings: &mut Vec<Finding>) {
    sizes(facts, findings);
    unused(facts, findings);
}

fn sizes(facts: &PostgresFacts, findings: &mut Vec<Finding>) {
    const CHECK: &str = "index_size";
    let limit = "indexes at most twice their table";
    let tables = match &facts.tables {
        Ok(tables) => tables,
        Err(why) => return findings.push(Finding::unknown(CHECK, why, limit)),
    };
    let ratio = |table: &TableSize| table.index_bytes as f64 / table.table_bytes.max(8_192) as f64;
    let bloated: Vec<&TableSize> =
        tables.iter().filter(|table| table.index_bytes >= INDEX_MIN_BYTES && ratio(table) > INDEX_RATIO).collect();
    if bloated.is_empty() {
        let (table, index) = tables.iter().fold((0, 0), |(t, i), size| (t + size.table_bytes, i + size.index_bytes));
        let value = format!("{} of indexes, {} of tables", human_bytes(index as f64), human_bytes(table as f64));
        return findings.push(Finding::new(CHECK, State::Ok, value, limit));
    }
    for table in bloated {
        let (index, rows) = (human_bytes(table.index_bytes as f64), human_bytes(table.table_bytes as f64));
        let value = format!("{index} of indexes for {rows} of table, {:.1} times", ratio(table));
        let name = format!("{}.{}", quoted(&facts.schema), quoted(&table.name));
        let fix = Fix::sql(format!("REINDEX TABLE CONCURRENTLY {name}"));
        findings.push(Finding::new(CHECK, State::Warn, value, limit).about(&table.name).fix(fix));
    }
}

fn unused(facts: &PostgresFacts, findings: &mut Vec<Finding>) {
    const CHECK: &str = "unused_indexes";
    let limit = "no index beside ours that nothing reads";
    let indexes = match &facts.foreign_indexes {
        Ok(indexes) => indexes,
        Err(why) => return findings.push(Finding::unknown(CHECK, why, limit)),
    };
    let useless: Vec<&ForeignIndex> = indexes.iter().filter(|index| index.scans == 0 || !index.valid).collect();
    if useless.is_empty() {
        let value = match indexes.len() {
            0 => "none but ours".to_owned(),
            count => format!("{count} beside ours, all in use"),
        };
        return findings.push(Finding::new(CHECK, State::Ok, value, limit));
    }
    for index in useless {
        let why = if index.valid { "never read since it was made" } else { "invalid: its making was broken off" };
        let value = format!("on {}, {}: {why}", index.table, human_bytes(index.bytes as f64));
        let concurrently = if index.partitioned { "" } else { "CONCURRENTLY " };
        let name = format!("{}.{}", quoted(&facts.schema), quoted(&index.name));
        let fix = Fix::sql(format!("DROP INDEX {concurrently}{name}"));
        findings.push(Finding::new(CHECK, State::Warn, value, limit).about(&index.name).fix(fix));
    }
}

//! Random traffic over four months, with clean-ups at random moments, against a model that has only lists.

use std::collections::{BTreeMap, BTreeSet};

use tracefall::model::merge::merge;
use tracefall::model::time::DAY_NS;

use super::*;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Where {
    Day(u32),
    Other,
    Kept,
    Open,
}

#[derive(Default)]
struct Model {
    spans: BTreeMap<(u64, u64), (Where, Span)>,
    days: BTreeSet<u32>,
    first_day: u32,
    /// By trace: what its roll-up says, and whether it is final.
    rollups: BTreeMap<u64, TraceRollup>,
    unsettled: BTreeSet<u64>,
    cut: BTreeSet<u64>,
    pinned: BTreeSet<u64>,
}

impl Model {
    fn write(&mut self, (trace, number): (u64, u64), span: Span, now: UnixNanos) {
        let span = match self.spans.remove(&(trace, number)) {
            Some((_, known)) => merge(known, span),
            None => span,
        };
        let day = span.started_at.unwrap().day();
        let has_day = self.days.contains(&day) || (now.day() - 35..=now.day() + 2).contains(&day);
        let place = match span.is_ended() {
            false => Where::Open,
            true if has_day && day >= self.first_day => Where::Day(day),
            true => Where::Other,
        };
        if let Where::Day(day) = place {
            self.days.insert(day);
        }
        self.spans.insert((trace, number), (place, span));
        if !self.cut.contains(&trace) {
            self.unsettled.insert(trace);
        }
    }

    fn settle(&mut self, now: UnixNanos) {
        for trace in std::mem::take(&mut self.unsettled) {
            let spans =
                self.spans.iter().filter(|((of, _), _)| *of == trace).map(|(_, (_, span))| span.clone()).collect();
            let trace_of = Trace::new(tenant(), trace_id(trace), spans, false);
            self.rollups.insert(trace, summary::rollup(&trace_of, now, DEFAULT_DEADLINE_NS));
        }
    }

    fn stays(&self, trace: u64) -> bool {
        let over =
            |rollup: &TraceRollup| matches!(rollup.status, Outcome::Completed | Outcome::Cancelled | Outcome::Skipped);
        self.pinned.contains(&trace) || self.unsettled.contains(&trace) || !self.rollups.get(&trace).is_some_and(over)
    }

    fn clear(&mut self, place: Where, is_old: impl Fn(&Span) -> bool, stays: impl Fn(&Self, u64) -> bool) {
        let old: BTreeSet<(u64, u64)> =
            self.spans.iter().filter(|(_, (at, span))| *at == place && is_old(span)).map(|(key, _)| *key).collect();
        let traces: BTreeSet<u64> = old.iter().map(|(trace, _)| *trace).collect();
        for trace in traces {
            if !stays(self, trace) {
                self.cut.insert(trace);
                self.unsettled.remove(&trace);
                if let Some(rollup) = self.rollups.get_mut(&trace)
                    && matches!(rollup.status, Outcome::Pending | Outcome::Running)
                {
                    rollup.status = Outcome::Abandoned;
                }
                self.spans.retain(|key, _| key.0 != trace || !old.contains(key));
            } else if matches!(place, Where::Day(_) | Where::Other) {
                let ended = self.spans.iter_mut().filter(|((of, _), (at, _))| *of == trace && *at != Where::Open);
                ended.for_each(|(_, (at, _))| *at = Where::Kept);
            }
        }
    }

    fn run(&mut self, settings: &RetentionSettings, now: UnixNanos) {
        let keep_by = keep_by(settings, now);
        let days: Vec<u32> = self.days.range(..keep_by.first_day).copied().collect();
        if !days.is_empty() {
            self.first_day = self.first_day.max(keep_by.first_day);
        }
        for day in days {
            self.clear(Where::Day(day), |_| true, Self::stays);
            self.days.remove(&day);
        }
        let pinned = |model: &Self, trace| model.pinned.contains(&trace);
        self.clear(Where::Other, |span| span.created_at < keep_by.completed, Self::stays);
        self.clear(Where::Kept, |span| span.created_at < keep_by.failed, pinned);
        let silent = |span: &Span| span.seen_at.plus(DEFAULT_DEADLINE_NS) < keep_by.failed;
        self.clear(Where::Open, silent, pinned);
    }
}

async fn random_months_leave_what_the_model_leaves(home: &dyn Home, seed: u64, settings: &RetentionSettings) {
    let store = home.ready().await;
    let mut dice = Dice(seed);
    let mut model = Model::default();
    model.days.extend(NOW.day()..=NOW.day() + 2);
    let mut now = NOW;
    let statuses = [Status::Completed, Status::Completed, Status::Completed, Status::Failed, Status::Cancelled];
    while now < NOW.plus(days(120)) {
        now = now.plus(dice.below(3 * DAY_NS) as i64);
        store.maintenance.prepare_days(now).await.unwrap();
        model.days.extend((now.day()..=now.day() + 2).filter(|day| *day >= model.first_day));
        for _ in 0..dice.below(6) {
            // Mostly young traces, and mostly spans of today.
            let newest = now.since(NOW) as u64 / DAY_NS;
            let trace = newest.saturating_sub(dice.below(8) * dice.below(8));
            let number = 1 + dice.below(4);
            let ago = if dice.one_in(4) { dice.below(60 * DAY_NS) } else { dice.below(DAY_NS) };
            let mut record = told(trace, number, now.plus(-(ago as i64)), statuses[dice.below(5) as usize]);
            if dice.one_in(5) {
                (record.status, record.end) = (Status::Running, None);
            }
            if let Some((place, known)) = model.spans.get(&(trace, number)) {
                // A span that ended stays as it was told: what a retry of it does is another test's.
                if *place != Where::Open {
                    continue;
                }
                record.started_at = known.started_at;
            }
            (record.created_at, record.seen_at) = (now, now);
            write(&store, [record.clone()]).await;
            model.write((trace, number), record, now);
        }
        if !dice.one_in(3) {
            settle(&store, now).await;
            model.settle(now);
        }
        if dice.one_in(6)
            && let Some(trace) = model.rollups.keys().nth(dice.below(40) as usize).copied()
        {
            if model.pinned.remove(&trace) {
                store.pins.unpin(&tenant(), trace_id(trace)).await.unwrap();
            } else if store.pins.pin(&tenant(), trace_id(trace), now).await.unwrap().is_some() {
                model.pinned.insert(trace);
            }
        }
        if dice.one_in(4) {
            retention(&store, settings, now).run().await.unwrap();
            model.run(settings, now);
            for trace in 0..=(now.since(NOW) as u64 / DAY_NS) {
                let expected: Vec<u64> = model.spans.keys().filter(|key| key.0 == trace).map(|key| key.1).collect();
                let at = UnixNanos::date(now);
                assert_eq!(ids(&store, trace).await, expected, "seed {seed}, {at}: trace {trace}");
                let keeping = read(&store, trace).await.keeping;
                let is_cut = model.cut.contains(&trace);
                assert_eq!(
                    (keeping.is_cut(), keeping.spans_partial, keeping.pinned),
                    (is_cut, is_cut && !expected.is_empty(), model.pinned.contains(&trace)),
                    "seed {seed}, {at}: trace {trace} {keeping:?}"
                );
                let status = listed(&store, trace).await.map(|rollup| rollup.status);
                if let (Some(status), Some(rollup)) = (status, model.rollups.get(&trace)) {
                    assert_eq!(status, rollup.status, "seed {seed}, {at}: trace {trace}");
                }
            }
        }
    }
    assert!(!model.cut.is_empty() && model.spans.values().any(|(place, _)| *place == Where::Kept));
    store.maintenance.close().await;
}

fn short() -> RetentionSettings {
    RetentionSettings { completed_days: 7, failed_days: 30, ..RetentionSettings::default() }
}

#[tokio::test]
async fn random_months_on_sqlite() {
    for seed in 0..6 {
        random_months_leave_what_the_model_leaves(&File::new(), seed, &RetentionSettings::default()).await;
        random_months_leave_what_the_model_leaves(&File::new(), 100 + seed, &short()).await;
    }
}

#[tokio::test]
async fn random_months_on_postgres() {
    for (seed, settings) in [(1, RetentionSettings::default()), (101, short()), (102, short())] {
        let Some(home) = Database::new() else { return };
        random_months_leave_what_the_model_leaves(&home, seed, &settings).await;
    }
}

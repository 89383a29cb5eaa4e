//! The answer of `tracefall plan`: what traffic comes to under several retentions, on one or both stores, in a table and in
//! a sentence.

use serde::Serialize;

use super::{Cost, Forecast, Stay, Traffic, fitting, forecast, human_bytes, human_count, usable};
use crate::settings::retention::StorageSettings;

/// Stays of completed traces that are compared, in days.
const COMPARED_DAYS: [u32; 3] = [7, 30, 90];

/// What a plan is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Assumptions {
    pub traffic: Traffic,
    pub stay: Stay,
    pub capacity_bytes: Option<u64>,
    pub storage: StorageSettings,
    /// Each with its name and where its cost is from.
    pub stores: Vec<(&'static str, Cost, String)>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub traffic: Traffic,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// What of it is filled before ingest stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usable_bytes: Option<f64>,
    pub stores: Vec<StorePlan>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StorePlan {
    pub store: &'static str,
    pub cost: Cost,
    pub cost_source: String,
    /// As set, and with other stays of completed traces, shortest first.
    pub forecasts: Vec<Forecast>,
    /// The stay as set.
    pub as_set: Stay,
    /// The longest stay that fits; absent without a capacity, or where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fits: Option<Stay>,
    pub verdict: String,
}

/// What the assumptions come to.
pub fn plan(of: &Assumptions) -> Plan {
    let room = of.capacity_bytes.map(|bytes| usable(bytes, &of.storage));
    let stores = of.stores.iter().map(|(store, cost, source)| {
        let mut days = COMPARED_DAYS.to_vec();
        days.push(of.stay.completed_days);
        days.sort_unstable();
        days.dedup();
        let stay = |days: u32| if days == of.stay.completed_days { of.stay } else { of.stay.completed(days) };
        let forecasts: Vec<Forecast> =
            days.into_iter().map(|days| forecast(of.traffic, *cost, stay(days), room)).collect();
        let as_set = forecast(of.traffic, *cost, of.stay, room);
        let fits = room.and_then(|room| fitting(of.traffic, *cost, of.stay, room));
        let verdict = verdict(store, &as_set, of.capacity_bytes, fits.as_ref());
        StorePlan { store, cost: *cost, cost_source: source.clone(), forecasts, as_set: of.stay, fits, verdict }
    });
    Plan { traffic: of.traffic, capacity_bytes: of.capacity_bytes, usable_bytes: room, stores: stores.collect() }
}

/// In one sentence.
fn verdict(store: &str, as_set: &Forecast, capacity: Option<u64>, fits: Option<&Stay>) -> String {
    let level = human_bytes(as_set.level_bytes);
    let begins = format!(
        "{store} grows by {} a day and levels off at {level} with {} spans",
        human_bytes(as_set.bytes_per_day),
        human_count(as_set.spans)
    );
    let Some(capacity) = capacity else {
        return format!("{begins}; --capacity compares that with the room there is.");
    };
    let capacity = human_bytes(capacity as f64);
    match (as_set.full_in_days, fits) {
        (None, _) => format!("{begins}: {capacity} are enough for ever."),
        (Some(days), Some(fits)) => format!(
            "{begins}: {capacity} are full after {days:.0} days, and enough for ever with retention.completed_days = {}, \
             failed_days = {} and rollup_days = {}.",
            fits.completed_days, fits.failed_days, fits.rollup_days
        ),
        (Some(days), None) => format!(
            "{begins}: {capacity} are full after {days:.0} days, and too little for a single day's stay: take more room or \
             send less."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{POSTGRES, SQLITE};
    use super::*;
    use crate::settings::retention::RetentionSettings;

    fn beacon(capacity_bytes: Option<u64>) -> Plan {
        plan(&Assumptions {
            traffic: Traffic::of_jobs(10, 3, 3, 50, 5),
            stay: Stay::of(&RetentionSettings::default(), 5.0),
            capacity_bytes,
            storage: StorageSettings::default(),
            stores: vec![("PostgreSQL", POSTGRES, "measured".into()), ("SQLite", SQLITE, "measured".into())],
        })
    }

    #[test]
    fn every_retention_is_compared_once_shortest_first() {
        let plan = beacon(None);
        for store in &plan.stores {
            let days: Vec<u32> = store.forecasts.iter().map(|row| row.stay.completed_days).collect();
            assert_eq!(days, [7, 30, 90]);
            assert!(store.forecasts.is_sorted_by(|a, b| a.level_bytes <= b.level_bytes));
            assert!(store.verdict.ends_with("--capacity compares that with the room there is."), "{}", store.verdict);
        }
    }

    #[test]
    fn the_verdict_says_what_would_fit() {
        let of = |capacity| beacon(Some(capacity)).stores.remove(0);
        let roomy = of(1_000_000_000_000);
        assert!(roomy.verdict.ends_with("1 TB are enough for ever.") && roomy.fits == Some(roomy.as_set));
        let tight = of(500_000_000);
        let fits = tight.fits.unwrap();
        assert!(fits.completed_days < 30, "{}", tight.verdict);
        let words = format!("completed_days = {}, failed_days = {}", fits.completed_days, fits.failed_days);
        assert!(tight.verdict.contains(&words) && tight.verdict.contains("500 MB are full after"), "{}", tight.verdict);
        let tiny = of(1_000_000);
        assert!(tiny.verdict.contains("take more room") && tiny.fits.is_none(), "{}", tiny.verdict);
    }
}

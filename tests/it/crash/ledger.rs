//! What was sent and what was acknowledged, and what a span of the tests is: its content follows from its key, so that
//! whoever reads a row knows which records of it the store must have seen.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use tracefall::clock::Clock;

/// A span: number of the trace and of the span in it, from 1 on. The first is the root.
pub type Key = (u64, u64);

/// What records say of a span.
pub const START: u8 = 1;
pub const END: u8 = 2;
pub const BOTH: u8 = START | END;

/// One record of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Key,
    pub says: u8,
}

#[derive(Clone, Copy, Default)]
pub struct Told {
    pub sent: u8,
    pub acknowledged: u8,
}

/// Everything that was ever sent to a store.
pub struct Ledger {
    spans: Mutex<HashMap<Key, Told>>,
    /// Unix milliseconds at which the first trace begins.
    base_ms: u64,
}

impl Ledger {
    pub fn new() -> Self {
        Self { spans: Mutex::default(), base_ms: Clock::system().now().as_u64() / 1_000_000 }
    }

    pub fn sent(&self, records: &[Record]) {
        let mut spans = self.lock();
        records.iter().for_each(|record| spans.entry(record.key).or_default().sent |= record.says);
    }

    pub fn acknowledged(&self, records: &[Record]) {
        let mut spans = self.lock();
        records.iter().for_each(|record| spans.entry(record.key).or_default().acknowledged |= record.says);
    }

    /// What was acknowledged of this trace is known to be lost.
    pub fn forgive(&self, trace: u64) {
        self.lock().iter_mut().filter(|(key, _)| key.0 == trace).for_each(|(_, told)| told.acknowledged = 0);
    }

    pub fn all(&self) -> HashMap<Key, Told> {
        self.lock().clone()
    }

    /// The body of a request with these records.
    pub fn body(&self, records: &[Record]) -> String {
        let records: Vec<String> = records.iter().map(|record| self.json(*record)).collect();
        format!("[{}]", records.join(","))
    }

    fn json(&self, Record { key: (trace, span), says }: Record) -> String {
        let start_us = self.base_ms * 1_000 + trace % 1_000 * 1_000 + span;
        let mut text = format!(r#"{{"trace_id":"{}","span_id":"{}""#, trace_id(trace), span_id(span));
        if says & START != 0 {
            text += &format!(r#","service":"s{}","operation":"o{span}","started_at_unix_us":{start_us}"#, trace % 3);
            if span > 1 {
                text += &format!(r#","parent_span_id":"{}""#, span_id(1));
            }
        }
        if says & END != 0 {
            let ended_us = start_us + 10 + span;
            text += &format!(r#","region":"r{}","completed_at_unix_us":{ended_us}"#, span % 5);
            match is_failed(span) {
                true => text += r#","status":"failed","error":{"type":"E","message":"m"}"#,
                false => text += r#","status":"completed""#,
            }
        }
        // Half of the attributes with either.
        let attribute = |says_it: u8, name: &str| (says & says_it != 0).then(|| format!(r#""{name}":{span}"#));
        let attributes: Vec<String> =
            [attribute(START, "begun"), attribute(END, "done")].into_iter().flatten().collect();
        text + &format!(r#","attributes":{{{}}}}}"#, attributes.join(","))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Told>> {
        self.spans.lock().unwrap()
    }
}

pub fn trace_id(trace: u64) -> String {
    format!("{:016x}{trace:016x}", 0x7ace_u64)
}

pub fn span_id(span: u64) -> String {
    format!("{span:016x}")
}

/// Whether it ends by failing.
pub fn is_failed(span: u64) -> bool {
    span.is_multiple_of(7)
}

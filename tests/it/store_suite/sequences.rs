//! The third promise of the service: the same span, sent any number of times, started now and completed later, in any
//! order and with a restart between, reads as one span.

use std::collections::BTreeMap;

use tracefall::model::span::{End, Field, Span, Status};

use super::Home;
use super::records::*;

const TRACES: u64 = 400;
const SPANS_A_TRACE: u64 = 5;

pub async fn random_sequences_with_a_restart_end_as_one_span_each(home: &dyn Home) {
    let mut dice = Dice(2);
    let mut records: Vec<Span> = Vec::new();
    for trace in 1..=TRACES {
        for span in 1..=SPANS_A_TRACE {
            records.extend(tellings(&mut dice, trace, span));
        }
    }
    dice.shuffle(&mut records);

    let mut store = home.ready().await;
    let half = records.len() / 2;
    let mut at = 0;
    while at < records.len() {
        let largest = if dice.one_in(4) { 1_000 } else { 30 };
        let size = 1 + dice.below(largest) as usize;
        let until = (at + size).min(records.len());
        let until = if at < half { until.min(half) } else { until };
        write(&store, records[at..until].iter().cloned()).await;
        at = until;
        if at == half {
            store.maintenance.close().await;
            store = home.ready().await;
        }
    }

    let mut reference: BTreeMap<u64, Vec<Span>> = BTreeMap::new();
    for record in records {
        let number = u64::from_be_bytes(record.trace_id.as_bytes()[8..].try_into().unwrap());
        reference.entry(number).or_default().push(record);
    }
    for (trace, records) in reference {
        assert_eq!(spans(&store, trace).await, expected(records.clone()), "trace {trace} of {records:#?}");
    }
}

/// One to five records of one span: starts, completions with and without the start, in whole, again; the starts jittered,
/// some across midnight or far away.
fn tellings(dice: &mut Dice, trace: u64, span: u64) -> Vec<Span> {
    let start = match dice.below(5) {
        0 => MIDNIGHT.plus(dice.below(3) as i64 - 1),
        1 => NOW.plus(-days(60)),
        _ => NOW.plus(dice.below(1_000) as i64),
    };
    let mut told: Vec<Span> = Vec::new();
    for _ in 0..=dice.below(4) {
        if let Some(mut again) = told.last().cloned().filter(|_| dice.one_in(4)) {
            again.seen_at = again.seen_at.plus(1);
            told.push(again);
            continue;
        }
        let mut telling = record(trace, span);
        telling.created_at = NOW.plus(dice.below(10) as i64);
        telling.seen_at = telling.created_at;
        telling.started_at = Some(start.plus(dice.below(4) as i64 - 2)).filter(|_| !dice.one_in(3));
        telling.status = Status::ALL[dice.below(Status::ALL.len() as u64) as usize];
        telling.end = match dice.below(3) {
            _ if !telling.status.is_terminal() => None,
            0 => Some(End::After(dice.below(100) as i64)),
            _ => Some(End::At(start.plus(100 + dice.below(3) as i64))),
        };
        telling.revision = dice.below(2);
        if dice.one_in(2) {
            telling.fields.set_text(Field::Service, ["runner", "router"][dice.below(2) as usize]);
        }
        if dice.one_in(2) {
            telling.fields.set_int(Field::InputTokens, dice.below(3) as i64);
        }
        if dice.one_in(2) {
            telling.attributes = attributes(&[("a", ["1", "2"][dice.below(2) as usize]), ("b", "true")]);
        }
        if dice.one_in(3) {
            telling.resource = full(1, 1).resource;
        }
        if dice.one_in(4) {
            telling.set_events(full(1, 1).events()[dice.below(2) as usize..].to_vec());
        }
        told.push(telling);
    }
    told
}

//! The journal as its users meet it, on a simulated disk and on the real one.

mod damage;
mod faults;
mod fixture;
mod follow;
mod model;
mod running;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::simulated::SimulatedDisk;
use super::*;
use crate::model::span::Span;
use crate::model::time::UnixNanos;
use crate::settings::journal::{Fsync, JournalSettings};

/// Small files, so that little makes many of them.
fn small(fsync: Fsync) -> JournalSettings {
    JournalSettings { fsync, segment_bytes: 1_000, max_bytes: 40_000, compress_after_segments: 1, ..Default::default() }
}

fn open(disk: &SimulatedDisk, settings: &JournalSettings) -> (Journal, Opened) {
    let now = || UnixNanos::new(1_767_607_200_000_000_000);
    Journal::open_on(Arc::new(disk.clone()), Path::new("/journal"), settings, &[], now).unwrap()
}

fn append(journal: &Journal, payload: &[u8], held: Held) -> Result<Ticket> {
    let mut record = Record::default();
    record.set_payload(payload);
    journal.append(&mut record, held)
}

/// A payload of 200 bytes that tells its number.
fn payload(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(25)
}

/// Appends the payloads of these numbers, which become the sequences of a new journal.
fn fill(journal: &Journal, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        append(journal, &payload(number), Held::InMemory).unwrap();
    }
}

fn told(ticket: Ticket) -> Receiver<Result<()>> {
    let (tell, told) = channel();
    ticket.when_durable(move |outcome| tell.send(outcome).unwrap());
    told
}

/// Everything from this sequence on.
fn read(journal: &Journal, from: u64) -> Vec<(u64, Vec<u8>)> {
    let mut reader = journal.read_from(from);
    let mut read = Vec::new();
    while let Some(stored) = reader.read().unwrap() {
        read.push((stored.sequence, stored.payload.to_vec()));
    }
    read
}

/// The sequences that the backlog hands out.
fn handed_out(journal: &Journal) -> Vec<u64> {
    let mut backlog = journal.backlog();
    let mut sequences = Vec::new();
    while let Some(stored) = backlog.take().unwrap() {
        assert_eq!(stored.payload, payload(stored.sequence));
        sequences.push(stored.sequence);
    }
    sequences
}

fn tend_all(journal: &Journal) {
    for _ in 0..100 {
        journal.tend().unwrap();
    }
}

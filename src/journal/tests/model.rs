//! Random operations, faults and crashes against a plain model of what the journal owes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::simulated::Faults;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Append {
        bytes: usize,
        on_disk: bool,
    },
    Take,
    /// Of those in memory, by place.
    Done(usize),
    DoneAll,
    /// Of those in memory, by place.
    GiveBack(usize),
    Sync,
    Tend,
    Fault(Faults),
    Kill,
    PowerCut(u64),
    Close,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (prop_oneof![0usize..300, 900usize..1_500], any::<bool>())
            .prop_map(|(bytes, on_disk)| Step::Append { bytes, on_disk }),
        4 => Just(Step::Take),
        5 => any::<usize>().prop_map(Step::Done),
        1 => Just(Step::DoneAll),
        1 => any::<usize>().prop_map(Step::GiveBack),
        4 => Just(Step::Sync),
        4 => Just(Step::Tend),
        2 => faults().prop_map(Step::Fault),
        2 => Just(Step::Fault(Faults::default())),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::PowerCut),
        1 => Just(Step::Close),
    ]
}

fn faults() -> impl Strategy<Value = Faults> {
    let short = prop_oneof![Just(0), 1usize..100];
    (any::<[bool; 4]>(), short).prop_map(|([no_space, write, truncate, sync], short_write)| Faults {
        no_space,
        write,
        truncate,
        sync,
        short_write,
        ..Faults::default()
    })
}

struct Model {
    disk: SimulatedDisk,
    settings: JournalSettings,
    journal: Journal,
    /// What was acknowledged and is not done.
    owed: BTreeMap<u64, Vec<u8>>,
    /// What was ever given to the journal, by the sequence that it had or would have had.
    given: BTreeMap<u64, BTreeSet<Vec<u8>>>,
    /// Sequences that this process has in memory.
    in_memory: Vec<u64>,
    /// Those whose tickets were told that they are durable.
    promised: Vec<(u64, Receiver<Result<()>>)>,
    appended: u64,
}

impl Model {
    fn new(fsync: Fsync) -> Self {
        let (disk, settings) = (SimulatedDisk::default(), small(fsync));
        let (journal, _) = open(&disk, &settings);
        let (owed, given, in_memory, promised) = Default::default();
        Self { disk, settings, journal, owed, given, in_memory, promised, appended: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { bytes, on_disk } => self.append(bytes, on_disk),
            Step::Take => self.take(),
            Step::Done(place) if !self.in_memory.is_empty() => {
                let sequence = self.in_memory.swap_remove(place % self.in_memory.len());
                self.journal.done(sequence);
                self.owed.remove(&sequence);
            }
            Step::GiveBack(place) if !self.in_memory.is_empty() => {
                let sequence = self.in_memory.swap_remove(place % self.in_memory.len());
                self.journal.give_back(sequence);
            }
            Step::Done(_) | Step::GiveBack(_) => {}
            Step::DoneAll => {
                for sequence in std::mem::take(&mut self.in_memory) {
                    self.journal.done(sequence);
                    self.owed.remove(&sequence);
                }
            }
            // Whether they succeed is the disk's affair.
            Step::Sync => drop(self.journal.sync()),
            Step::Tend => drop(self.journal.tend()),
            Step::Fault(faults) => self.disk.set(faults),
            Step::Kill => self.restart(|disk| disk.kill(), 0),
            Step::Close => {
                let _ = self.journal.close();
                self.restart(|disk| disk.kill(), 0);
            }
            Step::PowerCut(seed) => {
                let lost_from = self.safe_to() + 1;
                let mut state = seed;
                let random = move |below: usize| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 33) as usize % below
                };
                self.restart(|disk| disk.power_cut(random), lost_from);
            }
        }
    }

    fn append(&mut self, bytes: usize, on_disk: bool) {
        self.appended += 1;
        // Bytes that look like records, among others.
        let mut payload = self.appended.to_le_bytes().to_vec();
        payload.extend(super::format::RECORD_MAGIC.iter().cycle().take(bytes));
        let next = self.journal.status().tail + 1;
        self.given.entry(next).or_default().insert(payload.clone());
        let held = if on_disk { Held::OnDisk } else { Held::InMemory };
        if let Ok(ticket) = append(&self.journal, &payload, held) {
            assert_eq!(ticket.sequence(), next, "sequences count up by one");
            self.owed.insert(next, payload);
            if !on_disk {
                self.in_memory.push(next);
            }
            self.promised.push((next, told(ticket)));
        }
    }

    fn take(&mut self) {
        // Nothing is lost by the process itself, so a file that can be read gives what is owed.
        let oldest = self.owed.keys().copied().find(|sequence| !self.in_memory.contains(sequence));
        let mut backlog = self.journal.backlog();
        let taken = backlog.take().unwrap();
        match taken {
            Some(stored) => {
                assert!(self.given[&stored.sequence].contains(stored.payload), "nothing is invented");
                assert!(oldest.is_none_or(|oldest| stored.sequence <= oldest), "the oldest first");
                self.in_memory.push(stored.sequence);
            }
            None => assert_eq!(oldest, None, "all that waits is handed out"),
        }
    }

    /// Everything up to here survives a power cut.
    fn safe_to(&self) -> u64 {
        let promised = self
            .promised
            .iter()
            .filter(|(_, told)| self.settings.fsync == Fsync::Always && matches!(told.try_recv(), Ok(Ok(()))));
        let promised = promised.map(|(sequence, _)| *sequence).max().unwrap_or(0);
        let durable = self.journal.status().durable_to;
        assert!(promised <= durable, "a ticket is told after the sync");
        durable
    }

    /// Ends the process, does to the disk what happens then, and starts it again. What is behind `lost_from` may be
    /// gone, unless that is 0.
    fn restart(&mut self, event: impl FnOnce(&SimulatedDisk), lost_from: u64) {
        event(&self.disk);
        (self.journal, _) = open(&self.disk, &self.settings);
        let status = self.journal.status();
        let replayed = read(&self.journal, status.done_to + 1);
        assert!(replayed.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, each once");
        for (sequence, payload) in &replayed {
            assert!(self.given.get(sequence).is_some_and(|given| given.contains(payload)), "nothing is invented");
        }
        let replayed: BTreeMap<u64, Vec<u8>> = replayed.into_iter().collect();
        for (sequence, payload) in &self.owed {
            let may_be_gone = lost_from > 0 && *sequence >= lost_from;
            match replayed.get(sequence) {
                Some(found) => assert!(found == payload || may_be_gone, "{sequence} has another's bytes"),
                None => assert!(may_be_gone, "{sequence} is lost: {status:?}"),
            }
        }
        if lost_from == 0 {
            assert_eq!(status.lost_records, 0);
        }
        self.owed = replayed;
        self.in_memory.clear();
        self.promised.clear();
    }

    /// At the end, on a disk that works again, everything owed is handed out, and everything can be done.
    fn finish(&mut self) {
        self.disk.set(Faults::default());
        self.journal.sync().unwrap();
        let lost_before = self.journal.status().lost_records;
        while self.journal.waiting() > 0 {
            self.take();
        }
        assert_eq!(self.journal.status().lost_records, lost_before);
        self.step(Step::DoneAll);
        let status = self.journal.status();
        assert_eq!(status.done_to, status.tail);
        append(&self.journal, b"room again", Held::InMemory).unwrap();
        tend_all(&self.journal);
        assert!(self.journal.status().segments <= 1, "{:?}", self.disk.names());
    }
}

fn holds(fsync: Fsync, steps: Vec<Step>) {
    let mut model = Model::new(fsync);
    for step in steps {
        model.step(step);
    }
    model.finish();
}

/// Each takes some ten milliseconds; `scripts/test --long` takes more of them.
fn cases() -> u32 {
    if std::env::var_os("TRACEFALL_TEST_LONG").is_some() { 3_000 } else { 64 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn what_is_owed_with_fsync_always(steps in proptest::collection::vec(steps(), 1..120)) {
        holds(Fsync::Always, steps);
    }

    #[test]
    fn what_is_owed_with_fsync_now_and_then(steps in proptest::collection::vec(steps(), 1..120)) {
        holds(Fsync::Interval, steps);
    }

    #[test]
    fn what_is_owed_without_fsync(steps in proptest::collection::vec(steps(), 1..120)) {
        holds(Fsync::Off, steps);
    }
}

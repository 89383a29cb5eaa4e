//! What has become of the records: done, on disk alone, or somebody's in memory. Pure; knows no file.

use super::ranges::Ranges;

/// The fate of every sequence.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The last that was appended.
    tail: u64,
    /// Everything up to here is done.
    low: u64,
    /// Done beyond `low`.
    done: Ranges,
    /// On disk alone.
    waiting: Ranges,
    /// What was left over by the process before.
    replay: (u64, u64),
}

impl Ledger {
    /// After a start: everything up to `low` is done, what is behind it waits.
    pub fn new(low: u64, tail: u64) -> Self {
        let tail = tail.max(low);
        let mut waiting = Ranges::default();
        waiting.insert(low + 1, tail);
        Self { tail, low, done: Ranges::default(), waiting, replay: (low, tail) }
    }

    pub fn tail(&self) -> u64 {
        self.tail
    }

    pub fn low(&self) -> u64 {
        self.low
    }

    /// Appended and not done.
    pub fn undone(&self) -> u64 {
        self.tail - self.low - self.done.count()
    }

    pub fn waiting(&self) -> u64 {
        self.waiting.count()
    }

    pub fn first_waiting(&self) -> Option<u64> {
        self.waiting.first()
    }

    pub fn is_all_done(&self) -> bool {
        self.low == self.tail
    }

    /// The next record was appended; `waits` if nobody has it in memory.
    pub fn appended(&mut self, waits: bool) {
        self.tail += 1;
        if waits {
            self.waiting.insert(self.tail, self.tail);
        }
    }

    /// Somebody has it in memory now. False if somebody had it already.
    pub fn take(&mut self, sequence: u64) -> bool {
        let before = self.waiting.count();
        self.waiting.remove(sequence, sequence);
        self.waiting.count() < before
    }

    /// Nobody has it in memory any more, unless it is done.
    pub fn give_back(&mut self, sequence: u64) {
        let is_done = sequence <= self.low || !self.done.runs_within(sequence, sequence).is_empty();
        if !is_done && sequence <= self.tail {
            self.waiting.insert(sequence, sequence);
        }
    }

    /// Whether everything is done further than before.
    pub fn done(&mut self, sequence: u64) -> bool {
        self.all_done(sequence, sequence)
    }

    /// The same for `first..=last`: done, or lost.
    pub fn all_done(&mut self, first: u64, last: u64) -> bool {
        let (first, last) = (first.max(self.low + 1), last.min(self.tail));
        self.waiting.remove(first, last);
        self.done.insert(first, last);
        match self.done.first_run() {
            Some((first, last)) if first == self.low + 1 => {
                self.done.remove(first, last);
                self.low = last;
                true
            }
            _ => false,
        }
    }

    /// Those of `first..=last` that wait will never be read: their number. They count as done.
    pub fn lost(&mut self, first: u64, last: u64) -> u64 {
        let waiting = self.waiting.runs_within(first, last);
        for &(first, last) in &waiting {
            self.all_done(first, last);
        }
        waiting.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether any of `first..=last` waits.
    pub fn any_waits(&self, first: u64, last: u64) -> bool {
        !self.waiting.runs_within(first, last).is_empty()
    }

    /// Records that the process before left over, and how many of them are done.
    pub fn replay(&self) -> (u64, u64) {
        let (from, to) = self.replay;
        (to - from, self.low.clamp(from, to) - from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_water_mark_waits_for_the_oldest() {
        let mut ledger = Ledger::new(0, 0);
        for _ in 0..5 {
            ledger.appended(false);
        }
        assert!(!ledger.done(2));
        assert!(!ledger.done(2), "twice is once");
        assert_eq!((ledger.low(), ledger.undone()), (0, 4));
        assert!(ledger.done(1));
        assert_eq!(ledger.low(), 2);
        assert!(!ledger.done(99), "never appended");
        assert!(ledger.all_done(1, 5) && ledger.is_all_done());
    }

    #[test]
    fn what_is_given_back_waits_unless_it_is_done() {
        let mut ledger = Ledger::new(0, 0);
        (1..=3).for_each(|_| ledger.appended(false));
        ledger.done(1);
        ledger.done(3);
        (0..=5).for_each(|sequence| ledger.give_back(sequence));
        assert_eq!((ledger.waiting(), ledger.first_waiting()), (1, Some(2)));
        assert!(ledger.take(2) && ledger.done(2) && ledger.is_all_done());
    }

    #[test]
    fn what_was_left_over_waits_and_its_replay_is_counted() {
        let mut ledger = Ledger::new(10, 13);
        ledger.appended(true);
        ledger.appended(false);
        assert_eq!((ledger.waiting(), ledger.first_waiting(), ledger.replay()), (4, Some(11), (3, 0)));
        assert!(ledger.take(11) && !ledger.take(11));
        assert_eq!(ledger.first_waiting(), Some(12));
        ledger.done(12);
        assert_eq!((ledger.first_waiting(), ledger.replay()), (Some(13), (3, 0)));
        ledger.done(11);
        assert_eq!(ledger.replay(), (3, 2));
        assert!(ledger.any_waits(12, 13) && !ledger.any_waits(15, 20));
        assert_eq!(ledger.lost(10, 15), 2, "the last is in somebody's memory");
        assert_eq!((ledger.waiting(), ledger.replay(), ledger.is_all_done()), (0, (3, 3), false));
        assert!(ledger.done(15) && ledger.is_all_done());
    }
}

//! A set of numbers that mostly come in runs, kept as its runs. Pure.

use std::collections::BTreeMap;

/// First and last of each run; runs neither touch nor overlap.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ranges {
    runs: BTreeMap<u64, u64>,
    count: u64,
}

impl Ranges {
    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn first(&self) -> Option<u64> {
        self.runs.first_key_value().map(|(first, _)| *first)
    }

    /// First and last of the first run.
    pub fn first_run(&self) -> Option<(u64, u64)> {
        self.runs.first_key_value().map(|(first, last)| (*first, *last))
    }

    /// What of it lies in `first..=last`.
    pub fn runs_within(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        if first > last {
            return Vec::new();
        }
        let before = self.runs.range(..first).next_back().filter(|(_, end)| **end >= first);
        let runs = before.into_iter().chain(self.runs.range(first..=last));
        runs.map(|(from, to)| ((*from).max(first), (*to).min(last))).collect()
    }

    /// Adds `first..=last`. Nothing happens if that is empty.
    pub fn insert(&mut self, mut first: u64, mut last: u64) {
        if first > last {
            return;
        }
        if let Some((&before, &end)) = self.runs.range(..=first).next_back()
            && end >= first.saturating_sub(1)
        {
            first = before;
            last = last.max(end);
        }
        while let Some((&next, &end)) = self.runs.range(first..=last.saturating_add(1)).next() {
            self.runs.remove(&next);
            self.count -= end - next + 1;
            last = last.max(end);
        }
        self.runs.insert(first, last);
        self.count += last - first + 1;
    }

    /// Takes out `first..=last`.
    pub fn remove(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        if let Some((&before, &end)) = self.runs.range(..first).next_back()
            && end >= first
        {
            self.runs.insert(before, first - 1);
            self.count -= end - first + 1;
            if end > last {
                self.runs.insert(last + 1, end);
                self.count += end - last;
            }
        }
        while let Some((&next, &end)) = self.runs.range(first..=last).next() {
            self.runs.remove(&next);
            self.count -= end - next + 1;
            if end > last {
                self.runs.insert(last + 1, end);
                self.count += end - last;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in proptest::collection::vec((any::<bool>(), 0u64..40, 0u64..10), 0..60)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (adds, first, more) in steps {
                let last = first + more;
                if adds {
                    ranges.insert(first, last);
                    set.extend(first..=last);
                } else {
                    ranges.remove(first, last);
                    set.retain(|number| !(first..=last).contains(number));
                }
                prop_assert_eq!(ranges.count(), set.len() as u64);
                prop_assert_eq!(ranges.first(), set.first().copied());
                let within = ranges.runs_within(first, last).into_iter().flat_map(|(first, last)| first..=last);
                prop_assert_eq!(within.collect::<Vec<_>>(), set.range(first..=last).copied().collect::<Vec<_>>());
                let touch = ranges.runs.iter().zip(ranges.runs.iter().skip(1)).any(|(a, b)| a.1 + 1 >= *b.0);
                prop_assert!(!touch, "{:?}", ranges.runs);
            }
        }
    }
}

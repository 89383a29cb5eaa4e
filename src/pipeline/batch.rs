//! The rule for when a batch is due. Pure.

use std::time::Duration;

/// What a free writer decides by.
#[derive(Debug, Clone, Copy)]
pub struct BatchRule {
    /// Spans at which a batch is full.
    pub max_spans: usize,
    /// How long a request may wait for company.
    pub linger: Duration,
}

/// What a free writer does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Now,
    /// Look again after this long, or when more has come.
    In(Duration),
}

impl BatchRule {
    /// `queued_spans` have been waiting, the oldest for `age`. Under load the queue fills while the writer is busy, so
    /// batches grow by themselves and nothing lingers.
    pub fn due(&self, queued_spans: usize, age: Duration, closing: bool) -> Due {
        if closing || queued_spans >= self.max_spans || age >= self.linger {
            Due::Now
        } else {
            Due::In(self.linger - age)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_due_when_full_or_old_or_closing() {
        let rule = BatchRule { max_spans: 100, linger: Duration::from_millis(20) };
        let young = Duration::from_millis(5);
        assert_eq!(rule.due(100, young, false), Due::Now);
        assert_eq!(rule.due(1, Duration::from_millis(20), false), Due::Now);
        assert_eq!(rule.due(1, young, true), Due::Now);
        assert_eq!(rule.due(99, young, false), Due::In(Duration::from_millis(15)));
    }
}

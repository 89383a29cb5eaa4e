//! The queue between the requests and the writer: bounded by bytes and by spans, first in first out.
//!
//! What the writer has taken still counts until it says that it is done with it, so the bound is on what this process
//! holds in memory and has not committed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use metrics::gauge;
use tokio::sync::{Notify, oneshot};

use super::Busy;
use super::batch::{BatchRule, Due};
use crate::meters;
use crate::model::span::Span;

/// The spans of one request on their way to the store.
pub(super) struct Request {
    pub spans: Vec<Span>,
    bytes: usize,
    queued_at: Instant,
    /// Told the number of dead letters once the rest is committed.
    pub done: oneshot::Sender<usize>,
}

impl Request {
    pub fn new(spans: Vec<Span>, done: oneshot::Sender<usize>) -> Self {
        let bytes = spans.iter().map(Span::weight).sum();
        Self { spans, bytes, queued_at: Instant::now(), done }
    }
}

/// What the writer has taken: it gives the room back with [`Queue::release`].
pub(super) struct Taken {
    pub requests: Vec<Request>,
    pub spans: usize,
    pub bytes: usize,
}

pub(super) struct Queue {
    max_bytes: usize,
    max_spans: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Request>,
    waiting_spans: usize,
    /// Waiting and taken, not yet released.
    held_spans: usize,
    held_bytes: usize,
    closed: bool,
}

impl Queue {
    pub fn new(max_bytes: usize, max_spans: usize) -> Self {
        Self { max_bytes, max_spans, state: Mutex::default(), changed: Notify::new() }
    }

    /// Takes a request if there is room. An empty queue takes a request of any size: the limits of a request bound it.
    pub fn push(&self, request: Request) -> Result<(), Busy> {
        let mut state = self.lock();
        if state.closed {
            return Err(Busy::Draining);
        }
        let over = state.held_bytes + request.bytes > self.max_bytes
            || state.held_spans + request.spans.len() > self.max_spans;
        if over && state.held_spans > 0 {
            return Err(Busy::Full);
        }
        state.waiting_spans += request.spans.len();
        state.held_spans += request.spans.len();
        state.held_bytes += request.bytes;
        state.waiting.push_back(request);
        state.show();
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Refuses where a request of so many bytes would be refused.
    pub fn check_room(&self, bytes: usize) -> Result<(), Busy> {
        let state = self.lock();
        if state.closed {
            return Err(Busy::Draining);
        }
        let is_full = state.held_bytes + bytes > self.max_bytes || state.held_spans >= self.max_spans;
        if is_full && state.held_spans > 0 { Err(Busy::Full) } else { Ok(()) }
    }

    /// Waits until a batch is due and takes whole requests up to its size, at least one. `None` once the queue is closed
    /// and empty.
    pub async fn take(&self, rule: BatchRule) -> Option<Taken> {
        loop {
            let wait = {
                let mut state = self.lock();
                match state.waiting.front() {
                    None if state.closed => return None,
                    None => None,
                    Some(oldest) => match rule.due(state.waiting_spans, oldest.queued_at.elapsed(), state.closed) {
                        Due::Now => return Some(state.take(rule.max_spans)),
                        Due::In(wait) => Some(wait),
                    },
                }
            };
            match wait {
                None => self.changed.notified().await,
                // Whichever comes first; a time-out is no error here.
                Some(wait) => drop(tokio::time::timeout(wait, self.changed.notified()).await),
            }
        }
    }

    /// Gives back the room of what was taken.
    pub fn release(&self, spans: usize, bytes: usize) {
        let mut state = self.lock();
        state.held_spans -= spans;
        state.held_bytes -= bytes;
        state.show();
    }

    /// Takes nothing more; what waits is still to be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Spans and bytes held, and whether the queue is closed.
    pub fn status(&self) -> (usize, usize, bool) {
        let state = self.lock();
        (state.held_spans, state.held_bytes, state.closed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing below the lock panics half-way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, max_spans: usize) -> Taken {
        let mut taken = Taken { requests: Vec::new(), spans: 0, bytes: 0 };
        while let Some(request) =
            self.waiting.pop_front_if(|next| taken.requests.is_empty() || taken.spans + next.spans.len() <= max_spans)
        {
            taken.spans += request.spans.len();
            taken.bytes += request.bytes;
            taken.requests.push(request);
        }
        self.waiting_spans -= taken.spans;
        taken
    }

    fn show(&self) {
        gauge!(meters::QUEUED_SPANS).set(self.held_spans as f64);
        gauge!(meters::QUEUED_BYTES).set(self.held_bytes as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::ids::{SpanId, TraceId};
    use crate::model::tenant::TenantId;
    use crate::model::time::UnixNanos;

    fn request(spans: usize) -> Request {
        let span = |id: usize| {
            Span::new(
                TenantId::default(),
                TraceId::from_bytes([1; 16]).unwrap(),
                SpanId::from_u128(id as u128 + 1).unwrap(),
                UnixNanos::default(),
            )
        };
        Request::new((0..spans).map(span).collect(), oneshot::channel().0)
    }

    const AT_ONCE: BatchRule = BatchRule { max_spans: 10, linger: Duration::ZERO };

    #[tokio::test]
    async fn room_is_given_back_only_on_release() {
        let queue = Queue::new(usize::MAX, 10);
        queue.push(request(6)).unwrap();
        assert_eq!(queue.push(request(5)), Err(Busy::Full));
        queue.push(request(4)).unwrap();
        let taken = queue.take(AT_ONCE).await.unwrap();
        assert_eq!((taken.requests.len(), taken.spans), (2, 10));
        assert_eq!(queue.push(request(1)), Err(Busy::Full), "taken is not committed");
        queue.release(taken.spans, taken.bytes);
        assert_eq!(queue.status(), (0, 0, false));
        queue.push(request(1)).unwrap();
    }

    #[tokio::test]
    async fn an_empty_queue_takes_a_request_beyond_its_bounds() {
        let queue = Queue::new(1, 1);
        queue.push(request(50)).unwrap();
        assert_eq!(queue.push(request(1)), Err(Busy::Full));
        assert_eq!(queue.take(AT_ONCE).await.unwrap().spans, 50);
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_in_order_and_then_ends() {
        let queue = Queue::new(usize::MAX, usize::MAX);
        queue.push(request(8)).unwrap();
        queue.push(request(7)).unwrap();
        queue.close();
        assert_eq!(queue.push(request(1)), Err(Busy::Draining));
        assert_eq!(queue.take(AT_ONCE).await.unwrap().spans, 8);
        assert_eq!(queue.take(AT_ONCE).await.unwrap().spans, 7);
        assert!(queue.take(AT_ONCE).await.is_none());
    }
}

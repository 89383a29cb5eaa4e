//! The queue between the requests and the writers: bounded by bytes and by spans, one lane a writer, first in first out.
//!
//! Spans of one trace always take the same lane, so writers that work at the same time never meet in a trace. What a
//! writer has taken still counts until it says that it is done with it, so the bound is on what this process holds in
//! memory and has not committed. What has no room waits in the journal, where there is one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use metrics::gauge;
use tokio::sync::{Notify, oneshot};

use super::Busy;
use super::batch::{BatchRule, Due};
use crate::journal::Journal;
use crate::meters;
use crate::model::span::Span;

/// The spans of one request that take the same lane.
pub(super) struct Part {
    pub spans: Vec<Span>,
    bytes: usize,
    queued_at: Instant,
    pub request: Arc<Request>,
}

/// A request until all of its parts are committed; then its sender is told, and the journal.
pub(super) struct Request {
    parts: AtomicUsize,
    dead_letters: AtomicUsize,
    done: Mutex<Option<oneshot::Sender<usize>>>,
    entry: Option<Entry>,
}

/// A record of the journal: the spans of one request.
pub(super) struct Entry {
    pub journal: Journal,
    pub sequence: u64,
}

impl Request {
    /// Whether somebody waits for its end.
    pub fn is_awaited(&self) -> bool {
        self.lock().as_ref().is_some_and(|done| !done.is_closed())
    }

    /// One of its parts is committed but for so many dead letters.
    pub fn finish_part(&self, dead_letters: usize) {
        self.dead_letters.fetch_add(dead_letters, Ordering::AcqRel);
        if self.parts.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        if let Some(Entry { journal, sequence }) = &self.entry {
            journal.done(*sequence);
        }
        if let Some(done) = self.lock().take() {
            // The request may have stopped waiting.
            let _ = done.send(self.dead_letters.load(Ordering::Acquire));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<oneshot::Sender<usize>>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a writer has taken: it gives the room back with [`Queue::release`].
pub(super) struct Taken {
    pub parts: Vec<Part>,
    pub room: Room,
}

/// What is given back when a batch is written.
#[derive(Clone, Copy)]
pub(super) struct Room {
    lane: usize,
    parts: u64,
    spans: usize,
    bytes: usize,
}

/// What was in the queue at a moment, see [`Queue::mark`].
pub(super) struct Mark(Vec<u64>);

pub(super) struct Queue {
    max_bytes: usize,
    max_spans: usize,
    state: Mutex<State>,
    /// One a lane.
    changed: Vec<Notify>,
    /// That room was given back, or that the queue was closed.
    freed: Notify,
}

struct State {
    lanes: Vec<Lane>,
    /// Waiting and taken, not yet released.
    held_spans: usize,
    held_bytes: usize,
    /// Whether somebody was refused for want of room, and none was given back since.
    full: bool,
    closed: bool,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Part>,
    spans: usize,
    /// Parts that ever came, and those of them that were released. Each goes in its turn.
    came: u64,
    went: u64,
}

impl Queue {
    pub fn new(lanes: usize, max_bytes: usize, max_spans: usize) -> Self {
        let lanes = lanes.max(1);
        let lanes_of = (0..lanes).map(|_| Lane::default()).collect();
        let state = State { lanes: lanes_of, held_spans: 0, held_bytes: 0, full: false, closed: false };
        let changed = (0..lanes).map(|_| Notify::new()).collect();
        Self { max_bytes, max_spans, state: Mutex::new(state), changed, freed: Notify::new() }
    }

    pub fn lanes(&self) -> usize {
        self.changed.len()
    }

    /// Takes the spans of a request, at least one, if there is room. An empty queue takes a request of any size: the
    /// limits of a request bound it. `done` is told the number of dead letters once the rest is committed.
    ///
    /// # Errors
    /// Why not, with whom to tell.
    pub fn push(
        &self,
        spans: Vec<Span>,
        done: Option<oneshot::Sender<usize>>,
        entry: Option<Entry>,
    ) -> Result<(), (Busy, Option<oneshot::Sender<usize>>)> {
        let (count, bytes) = measure(&spans);
        let parts = self.split(spans);
        let mut state = self.lock();
        if state.closed {
            return Err((Busy::Draining, done));
        }
        if !self.fits(&state, count, bytes) {
            state.full = true;
            return Err((Busy::Full, done));
        }
        self.add(state, parts, (count, bytes), done, entry);
        Ok(())
    }

    /// Takes the spans of a record for which there was room a moment ago.
    pub fn push_for(&self, spans: Vec<Span>, done: Option<oneshot::Sender<usize>>, entry: Option<Entry>) {
        let measured = measure(&spans);
        let parts = self.split(spans);
        self.add(self.lock(), parts, measured, done, entry);
    }

    /// Waits until there is room for these spans. False once the queue is closed.
    pub async fn room(&self, spans: &[Span]) -> bool {
        let (count, bytes) = measure(spans);
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let state = self.lock();
                if state.closed {
                    return false;
                }
                if self.fits(&state, count, bytes) {
                    return true;
                }
            }
            freed.await;
        }
    }

    fn fits(&self, state: &State, count: usize, bytes: usize) -> bool {
        state.held_spans == 0
            || (state.held_bytes + bytes <= self.max_bytes && state.held_spans + count <= self.max_spans)
    }

    fn add(
        &self,
        mut state: MutexGuard<'_, State>,
        parts: Vec<(usize, Vec<Span>, usize)>,
        (count, bytes): (usize, usize),
        done: Option<oneshot::Sender<usize>>,
        entry: Option<Entry>,
    ) {
        let request = Arc::new(Request {
            parts: AtomicUsize::new(parts.len()),
            dead_letters: AtomicUsize::new(0),
            done: Mutex::new(done),
            entry,
        });
        state.held_spans += count;
        state.held_bytes += bytes;
        state.show();
        let queued_at = Instant::now();
        for (lane, spans, bytes) in parts {
            state.lanes[lane].spans += spans.len();
            state.lanes[lane].came += 1;
            state.lanes[lane].waiting.push_back(Part { spans, bytes, queued_at, request: request.clone() });
            self.changed[lane].notify_one();
        }
    }

    /// The spans by their lane, with their bytes.
    fn split(&self, spans: Vec<Span>) -> Vec<(usize, Vec<Span>, usize)> {
        let lanes = self.lanes();
        let mut by_lane: Vec<(usize, Vec<Span>, usize)> = (0..lanes).map(|lane| (lane, Vec::new(), 0)).collect();
        if lanes == 1 {
            let bytes = spans.iter().map(Span::weight).sum();
            return vec![(0, spans, bytes)];
        }
        for span in spans {
            // The last byte of a trace id is random in every scheme of ids in use.
            let lane = usize::from(span.trace_id.as_bytes()[15]) % lanes;
            by_lane[lane].2 += span.weight();
            by_lane[lane].1.push(span);
        }
        by_lane.retain(|(_, spans, _)| !spans.is_empty());
        by_lane
    }

    /// Refuses where a request of so many bytes would be refused.
    pub fn check_room(&self, bytes: usize) -> Result<(), Busy> {
        let mut state = self.lock();
        if state.closed {
            return Err(Busy::Draining);
        }
        let is_full = state.held_bytes + bytes > self.max_bytes || state.held_spans >= self.max_spans;
        if is_full && state.held_spans > 0 {
            state.full = true;
            return Err(Busy::Full);
        }
        Ok(())
    }

    /// Waits until a batch of the lane is due and takes whole parts up to its size, at least one. `None` once the queue
    /// is closed and the lane empty.
    pub async fn take(&self, lane: usize, rule: BatchRule) -> Option<Taken> {
        loop {
            let wait = {
                let mut state = self.lock();
                let (closed, number, lane) = (state.closed, lane, &mut state.lanes[lane]);
                match lane.waiting.front() {
                    None if closed => return None,
                    None => None,
                    Some(oldest) => match rule.due(lane.spans, oldest.queued_at.elapsed(), closed) {
                        Due::Now => return Some(lane.take(number, rule.max_spans)),
                        Due::In(wait) => Some(wait),
                    },
                }
            };
            match wait {
                None => self.changed[lane].notified().await,
                // Whichever comes first; a time-out is no error here.
                Some(wait) => drop(tokio::time::timeout(wait, self.changed[lane].notified()).await),
            }
        }
    }

    /// Gives back the room of what was taken.
    pub fn release(&self, room: Room) {
        let mut state = self.lock();
        state.held_spans -= room.spans;
        state.held_bytes -= room.bytes;
        state.lanes[room.lane].went += room.parts;
        state.full = false;
        state.show();
        drop(state);
        self.freed.notify_waiters();
    }

    /// What is in the queue now, waiting or taken.
    pub fn mark(&self) -> Mark {
        Mark(self.lock().lanes.iter().map(|lane| lane.came).collect())
    }

    /// How many parts of what was in the queue then are in it still.
    pub fn before(&self, Mark(came): &Mark) -> u64 {
        self.lock().lanes.iter().zip(came).map(|(lane, came)| came.saturating_sub(lane.went)).sum()
    }

    /// Takes nothing more; what waits is still to be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.iter().for_each(Notify::notify_one);
        self.freed.notify_waiters();
    }

    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Spans and bytes held, and whether the queue is closed.
    pub fn status(&self) -> (usize, usize, bool) {
        let state = self.lock();
        (state.held_spans, state.held_bytes, state.closed)
    }

    /// Whether somebody was refused for want of room, and none was given back since.
    pub fn is_full(&self) -> bool {
        self.lock().full
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing below the lock panics half-way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Spans and the bytes that they take.
fn measure(spans: &[Span]) -> (usize, usize) {
    (spans.len(), spans.iter().map(Span::weight).sum())
}

impl State {
    fn show(&self) {
        gauge!(meters::QUEUED_SPANS).set(self.held_spans as f64);
        gauge!(meters::QUEUED_BYTES).set(self.held_bytes as f64);
    }
}

impl Lane {
    fn take(&mut self, number: usize, max_spans: usize) -> Taken {
        let (mut parts, mut spans, mut bytes) = (Vec::new(), 0, 0);
        while let Some(part) =
            self.waiting.pop_front_if(|next| parts.is_empty() || spans + next.spans.len() <= max_spans)
        {
            spans += part.spans.len();
            bytes += part.bytes;
            parts.push(part);
        }
        self.spans -= spans;
        let room = Room { lane: number, parts: parts.len() as u64, spans, bytes };
        Taken { parts, room }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::ids::{SpanId, TraceId};
    use crate::model::tenant::TenantId;
    use crate::model::time::UnixNanos;

    fn span(trace: u8, id: usize) -> Span {
        let trace_id = TraceId::from_bytes([trace; 16]).unwrap();
        let span_id = SpanId::from_u128(id as u128 + 1).unwrap();
        Span::new(TenantId::default(), trace_id, span_id, UnixNanos::default())
    }

    fn push(queue: &Queue, spans: usize) -> Result<(), Busy> {
        queue.push((0..spans).map(|id| span(1, id)).collect(), None, None).map_err(|(busy, _)| busy)
    }

    const AT_ONCE: BatchRule = BatchRule { max_spans: 10, linger: Duration::ZERO };

    #[tokio::test]
    async fn room_is_given_back_only_on_release() {
        let queue = Queue::new(1, usize::MAX, 10);
        push(&queue, 6).unwrap();
        assert_eq!(push(&queue, 5), Err(Busy::Full));
        push(&queue, 4).unwrap();
        assert_eq!(queue.check_room(1), Err(Busy::Full));
        let taken = queue.take(0, AT_ONCE).await.unwrap();
        assert_eq!((taken.parts.len(), taken.room.spans), (2, 10));
        assert_eq!(push(&queue, 1), Err(Busy::Full), "taken is not committed");
        queue.release(taken.room);
        assert_eq!(queue.status(), (0, 0, false));
        queue.check_room(1).unwrap();
        push(&queue, 1).unwrap();
    }

    #[tokio::test]
    async fn what_was_there_at_a_mark_is_gone_however_much_came_since() {
        let queue = Queue::new(2, usize::MAX, usize::MAX);
        let push = |trace: u8| queue.push(vec![span(trace, 1)], None, None).map_err(|(busy, _)| busy).unwrap();
        [1, 2, 3].into_iter().for_each(push);
        let mark = queue.mark();
        [1, 2].into_iter().for_each(push);
        let one = BatchRule { max_spans: 1, ..AT_ONCE };
        for (lane, left) in [(1, 2), (0, 1), (1, 0), (1, 0)] {
            let taken = queue.take(lane, one).await.unwrap();
            queue.release(taken.room);
            assert_eq!(queue.before(&mark), left);
        }
        assert_eq!(queue.before(&queue.mark()), 1, "what came since");
    }

    #[tokio::test]
    async fn an_empty_queue_takes_a_request_beyond_its_bounds() {
        let queue = Queue::new(1, 1, 1);
        queue.check_room(1 << 30).unwrap();
        push(&queue, 50).unwrap();
        assert_eq!(push(&queue, 1), Err(Busy::Full));
        assert_eq!(queue.take(0, AT_ONCE).await.unwrap().room.spans, 50);
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_in_order_and_then_ends() {
        let queue = Queue::new(1, usize::MAX, usize::MAX);
        push(&queue, 8).unwrap();
        push(&queue, 7).unwrap();
        queue.close();
        assert_eq!(push(&queue, 1), Err(Busy::Draining));
        assert_eq!(queue.take(0, AT_ONCE).await.unwrap().room.spans, 8);
        assert_eq!(queue.take(0, AT_ONCE).await.unwrap().room.spans, 7);
        assert!(queue.take(0, AT_ONCE).await.is_none());
    }

    #[tokio::test]
    async fn a_trace_has_its_lane_and_a_request_ends_with_its_last_part() {
        let queue = Queue::new(3, usize::MAX, usize::MAX);
        let (done, mut told) = oneshot::channel();
        let spans: Vec<Span> = (0..60).map(|id| span(1 + id as u8 % 6, id)).collect();
        queue.push(spans, Some(done), None).unwrap();
        for lane in 0..3 {
            assert!(told.try_recv().is_err(), "parts are left");
            let taken = queue.take(lane, BatchRule { max_spans: 100, ..AT_ONCE }).await.unwrap();
            assert_eq!(taken.room.spans, 20);
            let [part] = &taken.parts[..] else { panic!("one request, one part a lane") };
            assert!(part.spans.iter().all(|span| usize::from(span.trace_id.as_bytes()[15]) % 3 == lane));
            assert!(part.request.is_awaited());
            part.request.finish_part(lane);
        }
        assert_eq!(told.try_recv(), Ok(3), "the dead letters of all parts");
    }
}

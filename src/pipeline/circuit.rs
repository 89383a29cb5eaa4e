//! What this process knows of its store, shared by all who use it: closed while the store answers; open while it is known
//! not to, when but one try at a time goes there, at growing distances; and opening until it answered for the first time.
//!
//! So a database that hangs is waited for once, not by every request, and one that is away is not asked a thousand times.
//! Writers wait for their turn, with their batch in hand. Reads do not wait: they are told what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::gauge;
use tokio::sync::Notify;

use crate::clock::{self, Clock};
use crate::meters;
use crate::model::time::UnixNanos;
use crate::settings::pipeline::PipelineSettings;
use crate::store::StoreError;
use crate::store::error::{Cause, Reach};

/// How long a read waits for a store that is being opened for the first time: normally that takes milliseconds.
const FIRST_OPENING: Duration = Duration::from_secs(3);

pub(super) struct Circuit {
    state: Mutex<State>,
    /// That the state is another one.
    changed: Notify,
    /// That a writer waits for a store that is being opened.
    wanted: Notify,
    retry_base_ms: u64,
    retry_max_ms: u64,
    clock: Clock,
}

struct State {
    phase: Phase,
    since: UnixNanos,
    /// Trouble with the store as a whole; always there while open.
    trouble: Option<Trouble>,
    /// Tries that failed one after the other.
    failures: u32,
    /// When the store may be tried next, while open.
    next_try: Instant,
    /// Whether somebody is trying.
    probing: bool,
    /// Causes that were logged since it was closed.
    logged: BTreeSet<Cause>,
    /// Who cannot get its work done though the store answers: writers by their lane.
    held_up: BTreeMap<usize, Trouble>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Closed,
    Open,
}

/// What is wrong with the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// One of few words.
    pub cause: &'static str,
    /// In words, with what to do about it; without secrets and without data.
    pub reason: String,
    pub since: UnixNanos,
    kind: Cause,
}

/// The store, as /readyz shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    /// `ok`; `opening`, before its first answer; `unavailable`; or `held_up`: it answers, but does not take what some
    /// writer brings.
    pub state: &'static str,
    /// `opening`, `closed`, `open`, or `half_open` while a try is under way.
    pub circuit: &'static str,
    /// Since when the circuit is opening, closed or open.
    pub since: UnixNanos,
    /// Tries that failed one after the other.
    pub failures: u32,
    pub trouble: Option<Trouble>,
    /// What works with less than it might.
    pub notes: Vec<String>,
}

impl Circuit {
    pub fn new(settings: &PipelineSettings, clock: Clock) -> Arc<Self> {
        let state = State {
            phase: Phase::Opening,
            since: clock.now(),
            trouble: None,
            failures: 0,
            next_try: Instant::now(),
            probing: true,
            logged: BTreeSet::new(),
            held_up: BTreeMap::new(),
        };
        state.show();
        let PipelineSettings { retry_base_ms, retry_max_ms, .. } = *settings;
        let (changed, wanted) = (Notify::new(), Notify::new());
        Arc::new(Self { state: Mutex::new(state), changed, wanted, retry_base_ms, retry_max_ms, clock })
    }

    /// Leave to try the store: at once while closed, else when a try is due and nobody else makes it.
    pub async fn turn(self: &Arc<Self>) -> Turn {
        let mut is_told = false;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.try_turn() {
                Ok(turn) => return turn,
                Err(None) => {
                    if !std::mem::replace(&mut is_told, true) {
                        self.wanted.notify_one();
                    }
                    changed.await;
                }
                // Whichever comes first.
                Err(Some(wait)) => drop(tokio::time::timeout(wait, changed).await),
            }
        }
    }

    /// As [`Circuit::turn`], without waiting.
    ///
    /// # Errors
    /// How long to wait where that is known.
    pub fn try_turn(self: &Arc<Self>) -> Result<Turn, Option<Duration>> {
        let mut state = self.lock();
        let turn = |is_probe| Ok(Turn { circuit: self.clone(), is_probe, is_over: false });
        match state.phase {
            Phase::Closed => turn(false),
            Phase::Open if !state.probing => match state.next_try.saturating_duration_since(Instant::now()) {
                Duration::ZERO => {
                    state.probing = true;
                    state.show();
                    turn(true)
                }
                wait => Err(Some(wait)),
            },
            Phase::Open | Phase::Opening => Err(None),
        }
    }

    /// Leave to read.
    ///
    /// # Errors
    /// [`StoreError::Away`] while no read would succeed.
    pub async fn check_read(&self) -> Result<(), StoreError> {
        let opened = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if !self.is_first_opening() {
                    return;
                }
                changed.await;
            }
        };
        // Told below, if it takes longer.
        let _ = tokio::time::timeout(FIRST_OPENING, opened).await;
        let state = self.lock();
        match (state.phase, &state.trouble) {
            (Phase::Closed, _) => Ok(()),
            (Phase::Open, Some(trouble)) if trouble.kind.reach() == Reach::Writes => Ok(()),
            (_, Some(trouble)) => Err(StoreError::Away { cause: trouble.kind, reason: trouble.reason.clone() }),
            (_, None) => Err(StoreError::Away { cause: Cause::Unknown, reason: "it is being opened".to_owned() }),
        }
    }

    fn is_first_opening(&self) -> bool {
        let state = self.lock();
        state.phase == Phase::Opening && state.failures == 0
    }

    /// Whether what is written now is likely to be committed soon: the store answers, and holds nobody up.
    pub fn is_well(&self) -> bool {
        let state = self.lock();
        state.phase == Phase::Closed && state.held_up.is_empty()
    }

    pub fn is_closed(&self) -> bool {
        self.lock().phase == Phase::Closed
    }

    /// What came of a try to open the store; true once it is open for good. Only one may try.
    pub fn opened<T>(&self, result: &Result<T, StoreError>) -> bool {
        let mut state = self.lock();
        match result {
            Ok(_) => self.close(&mut state),
            Err(error) => self.fail(&mut state, error),
        }
        drop(state);
        self.changed.notify_waiters();
        result.is_ok()
    }

    /// Waits until opening the store is to be tried again: for a while, cut short once by a writer who wants to write.
    pub async fn before_opening_again(&self) {
        let wait = self.backoff(self.lock().failures.saturating_sub(1));
        let wanted = async {
            tokio::time::sleep(Duration::from_millis(self.retry_base_ms).min(wait)).await;
            self.wanted.notified().await;
        };
        // Whichever comes first.
        let _ = tokio::time::timeout(wait, wanted).await;
    }

    /// What a read met. Only trouble with the whole store matters: one question may fail by itself.
    pub fn heard<T>(&self, result: &Result<T, StoreError>) {
        let Err(error @ StoreError::Unavailable { cause, .. }) = result else { return };
        let mut state = self.lock();
        if cause.reach() == Reach::Everything && state.phase == Phase::Closed {
            self.fail(&mut state, error);
        }
    }

    /// How long to wait before a try after so many failed ones: exponential, with jitter over its upper half so that
    /// several do not come back in step.
    pub fn backoff(&self, failures: u32) -> Duration {
        let ceiling = self.retry_base_ms.saturating_mul(1 << failures.min(16)).min(self.retry_max_ms);
        Duration::from_millis(ceiling / 2 + clock::random_below(ceiling / 2 + 1))
    }

    /// Notes that this writer cannot get its work done though the store answers, or that it could.
    pub fn held_up(&self, lane: usize, by: Option<&StoreError>) {
        let mut state = self.lock();
        match by {
            None => {
                if state.held_up.remove(&lane).is_some() {
                    tracing::info!(lane, "what the store did not take is written");
                }
            }
            Some(error) => {
                let trouble = self.trouble(error);
                let since = state.held_up.get(&lane).map_or(trouble.since, |before| before.since);
                if state.held_up.insert(lane, Trouble { since, ..trouble }).is_none() {
                    tracing::warn!(%error, lane, "the store answers and does not take what a writer brings; it is tried again");
                }
            }
        }
        state.show();
    }

    pub fn status(&self, notes: Vec<String>) -> StoreStatus {
        let state = self.lock();
        let trouble = state.trouble.as_ref().or_else(|| state.held_up.values().next()).cloned();
        let name = match state.phase {
            Phase::Opening => "opening",
            Phase::Open => "unavailable",
            Phase::Closed if trouble.is_some() => "held_up",
            Phase::Closed => "ok",
        };
        StoreStatus { state: name, circuit: state.name(), since: state.since, failures: state.failures, trouble, notes }
    }

    fn trouble(&self, error: &StoreError) -> Trouble {
        let cause = error.cause();
        Trouble { cause: cause.name(), reason: error.plainly(), since: self.clock.now(), kind: cause }
    }

    /// One more try failed.
    fn fail(&self, state: &mut State, error: &StoreError) {
        let trouble = self.trouble(error);
        let since = state.trouble.as_ref().map_or(trouble.since, |before| before.since);
        if state.phase == Phase::Closed {
            state.phase = Phase::Open;
            state.since = trouble.since;
        }
        // Once for the outage, and once for each other cause that shows up in it.
        if state.logged.is_empty() {
            let (cause, reason) = (trouble.cause, &trouble.reason);
            tracing::warn!(%error, cause, reason, "the store is unavailable; spans wait until it is back");
            state.logged.insert(error.cause());
        } else if state.logged.insert(error.cause()) {
            tracing::info!(%error, cause = trouble.cause, reason = trouble.reason, "the store is still unavailable");
        }
        state.trouble = Some(Trouble { since, ..trouble });
        state.next_try = Instant::now() + self.backoff(state.failures);
        state.failures += 1;
        state.show();
    }

    fn close(&self, state: &mut State) {
        if state.phase == Phase::Closed {
            return;
        }
        let now = self.clock.now();
        if state.failures > 0 {
            let secs = now.since(state.since) / 1_000_000_000;
            tracing::info!(after_secs = secs, failures = state.failures, "the store is back");
        }
        state.phase = Phase::Closed;
        state.since = now;
        (state.trouble, state.failures, state.probing) = (None, 0, false);
        state.logged.clear();
        state.show();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing below the lock panics half-way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to try the store. To be told how that went; one that is dropped instead leaves the next try to others.
pub(super) struct Turn {
    circuit: Arc<Circuit>,
    is_probe: bool,
    is_over: bool,
}

impl Turn {
    pub fn end<T>(mut self, result: &Result<T, StoreError>) {
        self.is_over = true;
        let mut state = self.circuit.lock();
        if self.is_probe {
            state.probing = false;
        }
        match result {
            // Others who were under way when it opened have nothing new to say.
            Err(error) if error.cause().reach() != Reach::Call => {
                if self.is_probe || state.phase == Phase::Closed {
                    self.circuit.fail(&mut state, error);
                }
            }
            // Whatever it answers, it answers.
            Ok(_) | Err(_) if self.is_probe => self.circuit.close(&mut state),
            Ok(_) | Err(_) => {}
        }
        drop(state);
        self.circuit.changed.notify_waiters();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_probe && !self.is_over {
            self.circuit.lock().probing = false;
            self.circuit.changed.notify_waiters();
        }
    }
}

impl State {
    fn name(&self) -> &'static str {
        match self.phase {
            Phase::Opening => "opening",
            Phase::Closed => "closed",
            Phase::Open if self.probing => "half_open",
            Phase::Open => "open",
        }
    }

    fn cause(&self) -> Option<Cause> {
        self.trouble.as_ref().or_else(|| self.held_up.values().next()).map(|trouble| trouble.kind)
    }

    fn show(&self) {
        let is = |is: bool| if is { 1.0 } else { 0.0 };
        for state in ["opening", "closed", "open", "half_open"] {
            gauge!(meters::STORE_CIRCUIT, "state" => state).set(is(state == self.name()));
        }
        let cause = self.cause();
        for each in Cause::ALL {
            gauge!(meters::STORE_CAUSE, "cause" => each.name()).set(is(cause == Some(each)));
        }
        gauge!(meters::STORE_CIRCUIT_SINCE).set(self.since.as_u64() as f64 / 1e9);
        gauge!(meters::STORE_FAILURES).set(f64::from(self.failures));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit() -> Arc<Circuit> {
        let settings = PipelineSettings { retry_base_ms: 1, retry_max_ms: 4, ..Default::default() };
        Circuit::new(&settings, Clock::system())
    }

    fn closed() -> Arc<Circuit> {
        let circuit = circuit();
        assert!(circuit.opened(&Ok(())));
        circuit
    }

    fn error(cause: Cause) -> Result<(), StoreError> {
        Err(StoreError::Unavailable { doing: "test", cause, source: "reason".into() })
    }

    #[tokio::test]
    async fn until_it_opened_nobody_tries_but_who_opens_it() {
        let circuit = circuit();
        assert!(circuit.try_turn().is_err());
        assert_eq!(circuit.status(vec![]).state, "opening");
        assert!(!circuit.opened(&error(Cause::Database)));
        assert!(matches!(circuit.check_read().await, Err(StoreError::Away { cause: Cause::Database, .. })));
        assert_eq!(circuit.status(vec![]).trouble.unwrap().cause, "database");
        assert!(circuit.opened(&Ok(())));
        circuit.check_read().await.unwrap();
        assert!(circuit.status(vec![]).trouble.is_none());
    }

    #[tokio::test]
    async fn while_open_one_at_a_time_tries_and_success_closes_it() {
        let circuit = closed();
        let (first, other) = (circuit.turn().await, circuit.turn().await);
        first.end(&error(Cause::Unreachable));
        other.end(&error(Cause::Unreachable));
        let status = circuit.status(vec![]);
        assert_eq!((status.circuit, status.failures), ("open", 1), "both were under way: one failure");
        let probe = circuit.turn().await;
        assert_eq!(circuit.status(vec![]).circuit, "half_open");
        assert!(matches!(circuit.try_turn(), Err(None)));
        assert!(circuit.check_read().await.is_err());
        probe.end(&error(Cause::Silent));
        assert_eq!(circuit.status(vec![]).failures, 2);
        drop(circuit.turn().await);
        let waiting = tokio::spawn({
            let circuit = circuit.clone();
            async move { circuit.turn().await.is_probe }
        });
        circuit.turn().await.end(&Ok(()));
        waiting.await.unwrap();
        assert!(circuit.is_closed());
    }

    #[tokio::test]
    async fn trouble_with_writes_lets_reads_through_and_trouble_with_one_call_opens_nothing() {
        let circuit = closed();
        circuit.turn().await.end(&error(Cause::ReadOnly));
        assert_eq!(circuit.status(vec![]).circuit, "open");
        circuit.check_read().await.unwrap();
        circuit.turn().await.end(&error(Cause::Busy));
        assert!(circuit.is_closed(), "it answered");
        circuit.held_up(1, error(Cause::Busy).as_ref().err());
        let status = circuit.status(vec![]);
        assert_eq!((status.state, status.circuit), ("held_up", "closed"));
        circuit.held_up(1, None);
        assert_eq!(circuit.status(vec![]).state, "ok");
        circuit.heard(&error(Cause::Rights));
        assert!(circuit.is_closed());
        circuit.heard(&error(Cause::Schema));
        assert!(!circuit.is_closed());
    }

    #[test]
    fn distances_grow_up_to_their_bound() {
        let settings = PipelineSettings { retry_base_ms: 100, retry_max_ms: 5_000, ..Default::default() };
        let circuit = Circuit::new(&settings, Clock::system());
        for (failures, ceiling) in [(0, 100), (1, 200), (5, 3_200), (6, 5_000), (99, 5_000)] {
            for _ in 0..50 {
                let wait = circuit.backoff(failures).as_millis();
                assert!((ceiling / 2..=ceiling).contains(&wait), "{failures}: {wait}");
            }
        }
    }
}

//! The levers of this process: asked by every request, changed by `PUT /v1/admin/ingest`, kept in a file and shared with
//! other replicas through the store (`spread`).
//!
//! A change is in force as soon as it is in memory, before it is kept anywhere: an emergency does not wait for a disk. Then
//! it is in the file, which the next process reads before it takes anything, with the database away or not. What the
//! levers mean is `crate::levers`' business.

mod file;
pub(super) mod spread;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::{Notify, watch};

use crate::clock::{self, Clock};
use crate::levers::{Count, Counted, Fault, Keeping, Levers, Sieve, Sift, Verdict, View, wish};
use crate::meters;
use crate::model::span::Span;
use crate::model::time::UnixNanos;

/// How long an answer to a change waits for the store to have it.
const SHARE_PATIENCE: Duration = Duration::from_millis(500);
/// Stands for an end that does not come.
const FOR_EVER: u64 = u64::MAX;

/// The levers in force. Cloning shares them; the default is on, without rules, and kept nowhere.
#[derive(Clone, Debug)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Whether the configuration lets spans in; if not, nothing else does.
    configured: bool,
    /// Unix nanoseconds until which nothing is taken; 0: everything is, [`FOR_EVER`].
    off_until: AtomicU64,
    /// Whether spans have to be looked at.
    sifting: AtomicBool,
    /// Whether a request came since the store was last looked at.
    asked: AtomicBool,
    in_force: RwLock<Arc<InForce>>,
    sift: Mutex<Sift>,
    /// By rule, whether sampled, and reason.
    counts: Mutex<BTreeMap<(String, bool, &'static str), u64>>,
    disabled_requests: AtomicU64,
    /// Held while the levers change and the file is written.
    changing: Mutex<()>,
    /// What is wrong with the file.
    file_trouble: Mutex<Option<String>>,
    path: Option<PathBuf>,
    /// The tag of what the store has.
    shared: watch::Sender<String>,
    /// That there is something to share.
    wanted: Notify,
    clock: Clock,
    started: UnixNanos,
}

#[derive(Debug, Default)]
struct InForce {
    levers: Arc<Levers>,
    sieve: Sieve,
}

/// Why the levers are as they were.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    #[error("{}", in_words(.0))]
    Faults(Vec<Fault>),
    #[error("the levers have changed meanwhile: they are {0} now; read them again")]
    Stale(String),
    #[error("the change could not be made")]
    Broken,
}

fn in_words(faults: &[Fault]) -> String {
    let told = faults.iter().map(|Fault { rule, field, reason }| match (rule, field.as_str()) {
        (Some(rule), "") => format!("rules[{rule}] {reason}"),
        (Some(rule), field) => format!("rules[{rule}].{field} {reason}"),
        (None, "") => format!("the body {reason}"),
        (None, field) => format!("{field} {reason}"),
    });
    told.collect::<Vec<_>>().join("; ")
}

impl Default for Control {
    fn default() -> Self {
        Self::new(None, true, Clock::default())
    }
}

impl Control {
    /// The levers as the file at `path` has them; on where there is none. `configured`: whether the configuration lets
    /// spans in. A file that cannot be read is put aside, which is logged: the store may know more.
    pub fn open(path: PathBuf, configured: bool, clock: Clock) -> Self {
        let loaded = file::load(&path);
        let control = Self::new(Some(path), configured, clock);
        match loaded {
            Ok(levers) => control.put(levers),
            Err(error) => {
                tracing::error!(%error, "the levers of ingest cannot be read; it goes on without");
                *lock(&control.0.file_trouble) = Some(error);
            }
        }
        control
    }

    fn new(path: Option<PathBuf>, configured: bool, clock: Clock) -> Self {
        let started = clock.now();
        let control = Self(Arc::new(Inner {
            configured,
            off_until: AtomicU64::new(0),
            sifting: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            in_force: RwLock::default(),
            sift: Mutex::new(Sift::new(started)),
            counts: Mutex::default(),
            disabled_requests: AtomicU64::new(0),
            changing: Mutex::default(),
            file_trouble: Mutex::default(),
            path,
            shared: watch::Sender::new(String::new()),
            wanted: Notify::new(),
            clock,
            started,
        }));
        control.put(Levers::default());
        control
    }

    /// Whether they outlive the process and are shared; the default's are not.
    pub(super) fn is_kept(&self) -> bool {
        self.0.path.is_some()
    }

    /// Whether nothing is taken now. Costs one load, and while it is off a look at the clock.
    pub fn is_off(&self) -> bool {
        match self.0.off_until.load(Relaxed) {
            0 => false,
            FOR_EVER => true,
            until => self.0.clock.now().as_u64() < until,
        }
    }

    /// Counts a request that was answered unread because of that.
    pub fn note_disabled(&self) {
        self.note_asked();
        self.0.disabled_requests.fetch_add(1, Relaxed);
        counter!(meters::REQUESTS_DISABLED).increment(1);
    }

    /// The spans of a request that are to be kept, and how many of them are not. Without rules it costs two loads.
    pub(super) fn sift(&self, spans: Vec<Span>) -> (Vec<Span>, usize) {
        self.note_asked();
        if !self.0.sifting.load(Relaxed) {
            return (spans, 0);
        }
        let in_force = self.in_force();
        let mut sift = lock(&self.0.sift);
        let (kept, counts) = sift.apply(&in_force.sieve, spans);
        if in_force.sieve.is_empty() && sift.is_idle() {
            self.0.sifting.store(false, Relaxed);
            // There may be rules since: who put them there did so before this look, or switches it on after it.
            if !self.in_force().sieve.is_empty() {
                self.0.sifting.store(true, Relaxed);
            }
        }
        drop(sift);
        (kept, self.count(&in_force.sieve, &counts))
    }

    /// Changes the levers as a body asks for, and says what they are then. In force when it returns, and mostly before.
    /// `if_match`: the tag that they must have until then. `by`: the name of whoever asks.
    ///
    /// # Errors
    /// [`NotChanged`]: nothing is changed.
    pub async fn change(&self, body: Vec<u8>, if_match: Option<String>, by: Arc<str>) -> Result<View, NotChanged> {
        let mut shared = self.0.shared.subscribe();
        // One that does not even have what was before is away.
        let may_share = self.is_kept() && *shared.borrow() == self.in_force().levers.tag();
        let control = self.clone();
        let changing = tokio::task::spawn_blocking(move || control.change_now(&body, if_match.as_deref(), &by));
        let tag = changing.await.map_err(|error| {
            tracing::error!(%error, "the levers of ingest could not be changed");
            NotChanged::Broken
        })??;
        self.0.wanted.notify_one();
        if may_share {
            // Told or not, the change is in force; the answer says which.
            let _ = tokio::time::timeout(SHARE_PATIENCE, shared.wait_for(|shared| *shared == tag)).await;
        }
        Ok(self.view())
    }

    fn change_now(&self, body: &[u8], if_match: Option<&str>, by: &str) -> Result<String, NotChanged> {
        let _changing = lock(&self.0.changing);
        let before = self.in_force();
        let tag = before.levers.tag();
        if if_match.is_some_and(|wanted| wanted != "*" && wanted != tag) {
            return Err(NotChanged::Stale(tag));
        }
        let now = self.0.clock.now();
        let wish = wish(body, now).map_err(NotChanged::Faults)?;
        let Some(levers) = before.levers.amended(wish, now, by, &clock::random_hex_128()) else { return Ok(tag) };
        if let Some(change) = levers.changes().first() {
            let what = change.what.join("; ");
            tracing::info!(by, version = change.version, note = change.note, what, "the levers of ingest were changed");
        }
        let tag = levers.tag();
        self.put(levers.clone());
        self.keep(&levers);
        Ok(tag)
    }

    /// What the levers say, and what came of it.
    pub fn view(&self) -> View {
        let in_force = self.in_force();
        let file = match (&self.0.path, &*lock(&self.0.file_trouble)) {
            (None, _) => "there is none".to_owned(),
            (Some(_), None) => "ok".to_owned(),
            (Some(path), Some(error)) => format!("{} is not as it should be: {error}", path.display()),
        };
        let is_shared = *self.0.shared.borrow() == in_force.levers.tag();
        let keeping = Keeping { file, store: if is_shared { "ok" } else { "pending" }.to_owned() };
        let mut view = View::of(&in_force.levers, self.0.configured, self.0.clock.now(), keeping, self.0.started);
        view.disabled_requests = self.0.disabled_requests.load(Relaxed);
        let counts = lock(&self.0.counts);
        view.counts = counts
            .iter()
            .map(|((rule, sampled, reason), spans)| Counted {
                rule: rule.clone(),
                sampled: *sampled,
                reason: (*reason).to_owned(),
                spans: *spans,
            })
            .collect();
        view
    }

    /// The levers with their history.
    pub fn levers(&self) -> Arc<Levers> {
        self.in_force().levers.clone()
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.in_force().sieve.rules().len()
    }

    /// Sets the gauges. For each scrape.
    pub(super) fn show(&self) {
        gauge!(meters::INGEST_ENABLED).set(f64::from(!self.is_off()));
        gauge!(meters::INGEST_RULES).set(self.rules() as f64);
    }

    /// Puts levers in force.
    fn put(&self, levers: Levers) {
        let state = levers.state();
        let off_until = match (self.0.configured, state.enabled, state.until) {
            (true, true, _) => 0,
            (true, false, Some(until)) => until.as_u64(),
            (false, ..) | (true, false, None) => FOR_EVER,
        };
        let sieve = Sieve::new(&state.rules);
        let is_sifting = !sieve.is_empty() || self.0.sifting.load(Relaxed);
        *self.0.in_force.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(InForce { levers: Arc::new(levers), sieve });
        self.0.sifting.store(is_sifting, Relaxed);
        self.0.off_until.store(off_until, Relaxed);
    }

    /// Adds what another replica knows; says what is known then.
    fn learn(&self, others: &Levers) -> Levers {
        let _changing = lock(&self.0.changing);
        let own = self.in_force();
        let joined = own.levers.joined(others);
        if joined != *own.levers {
            if joined.tag() != own.levers.tag()
                && let Some(change) = joined.changes().first()
            {
                let what = change.what.join("; ");
                tracing::info!(
                    by = change.by,
                    version = change.version,
                    what,
                    "the levers of ingest were changed elsewhere"
                );
            }
            self.put(joined.clone());
            self.keep(&joined);
        } else if lock(&self.0.file_trouble).is_some() {
            // The disk may be well again.
            self.keep(&joined);
        }
        joined
    }

    fn keep(&self, levers: &Levers) {
        let Some(path) = &self.0.path else { return };
        let trouble = file::replace(path, levers).err().map(|error| error.to_string());
        *lock(&self.0.file_trouble) = trouble.clone();
        if let Some(error) = trouble {
            tracing::error!(error, file = %path.display(), "the levers of ingest are in force, but a restart may forget them");
        }
    }

    fn in_force(&self) -> Arc<InForce> {
        self.0.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_asked(&self) {
        // A line of memory that all write to is slower than one that all read.
        if !self.0.asked.load(Relaxed) {
            self.0.asked.store(true, Relaxed);
        }
    }

    /// Counts what the rules said; returns how many spans are not kept.
    fn count(&self, sieve: &Sieve, counts: &[Count]) -> usize {
        let mut sampled_spans = 0;
        let mut totals = lock(&self.0.counts);
        for Count { verdict, spans } in counts {
            let (place, sampled, reason) = match *verdict {
                Verdict::Free => continue,
                Verdict::Spared(place, why) => (place, false, why.name()),
                Verdict::Dropped(place, why) => (place, true, why.name()),
            };
            let Some(rule) = sieve.rules().get(place) else { continue };
            if sampled {
                sampled_spans += spans;
                counter!(meters::SPANS_SAMPLED, "rule" => rule.name.clone(), "reason" => reason).increment(*spans);
            }
            // Names of rules that come and go must not add up for ever.
            if totals.len() > MAX_COUNTS {
                totals.retain(|(name, ..), _| sieve.rules().iter().any(|rule| rule.name == *name));
            }
            *totals.entry((rule.name.clone(), sampled, reason)).or_default() += spans;
        }
        usize::try_from(sampled_spans).unwrap_or(usize::MAX)
    }
}

/// Lines of counts that are remembered.
const MAX_COUNTS: usize = 1_000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

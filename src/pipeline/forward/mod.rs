//! Received spans go on to other back ends: a task a target, which follows the journal by a cursor of its own, so that a
//! target that is slow, away or wrong is nobody else's trouble.
//!
//! A target gets what the journal holds: what was admitted, without what levers leave out and redaction cuts out, each
//! request once or, around a restart, twice (the cursor moves when a batch is answered). `target` runs one, `batch` reads
//! and groups, `poster` speaks HTTP. What is kept on disk for a target, and what is let go, is the journal's business.

mod batch;
mod poster;
mod target;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::{self, Clock};
use crate::journal::{Behind, Follow, Journal};
use crate::meters;
use crate::model::time::UnixNanos;
use crate::settings::forward::ForwardSettings;
use crate::wire::hops::Hops;

use poster::Poster;
use target::Target;

/// A target whose oldest span waits for so long is behind, and the service degraded.
const BEHIND_AFTER: Duration = Duration::from_secs(60);
/// What targets are given to take what is there when the service stops.
const TO_FLUSH: Duration = Duration::from_secs(2);

/// A target cannot be posted to, whatever one waits.
#[derive(Debug, thiserror::Error)]
#[error("forward target {name:?} cannot be used: {reason}")]
pub struct ForwardError {
    name: String,
    reason: String,
}

/// Targets that may be posted to.
#[derive(Debug, Clone, Default)]
pub struct Targets(Vec<Prepared>);

#[derive(Debug, Clone)]
struct Prepared {
    name: String,
    poster: Poster,
}

impl Targets {
    /// Makes their clients; asks nobody.
    ///
    /// # Errors
    /// [`ForwardError`] for an address or a header that HTTP does not know.
    pub fn new(settings: &[ForwardSettings]) -> Result<Self, ForwardError> {
        let prepared = settings.iter().map(|target| {
            let failed = |reason| ForwardError { name: target.name.clone(), reason };
            Ok(Prepared { name: target.name.clone(), poster: Poster::new(target).map_err(failed)? })
        });
        prepared.collect::<Result<_, _>>().map(Self)
    }

    /// What the journal keeps for them.
    pub fn follow(settings: &[ForwardSettings]) -> Vec<Follow> {
        let follow = |target: &ForwardSettings| Follow { name: target.name.clone(), max_bytes: target.max_disk_bytes };
        settings.iter().map(follow).collect()
    }
}

/// How a target is, as /readyz shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetStatus {
    pub name: String,
    /// `ok`; `failing`: it is tried again; `behind`: its oldest span waits for longer than a minute; `refusing`: it said no
    /// to the last batch, which is dropped.
    pub state: &'static str,
    /// How long the oldest span that it has not taken has been here.
    pub lag: Duration,
    pub behind: Behind,
    /// Why it is not ok. Holds no secret.
    pub reason: Option<String>,
}

impl TargetStatus {
    /// Whether somebody should look.
    pub fn is_in_trouble(&self) -> bool {
        matches!(self.state, "behind" | "refusing")
    }
}

/// All targets at work.
pub(super) struct Forwarding {
    /// Of this process, in the header by which it knows its own again.
    instance: String,
    journal: Journal,
    courses: Vec<Arc<Course>>,
    clock: Clock,
    /// That something was appended.
    appended: watch::Sender<()>,
    stopping: watch::Sender<bool>,
    told_of_ring: AtomicBool,
}

/// What is known of a target's progress.
#[derive(Debug, Default)]
struct Course {
    name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the oldest span in its hands was received.
    oldest: Option<UnixNanos>,
    trouble: Option<Trouble>,
}

/// Why the last try did not do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trouble {
    reason: String,
    is_refusal: bool,
}

impl Course {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dropped(&self, reason: &'static str, spans: u64) {
        if spans > 0 {
            counter!(meters::FORWARD_DROPPED, "target" => self.name.clone(), "reason" => reason).increment(spans);
        }
    }
}

/// The tasks of the targets; they end by [`Forwarding::stop`].
pub(super) type ForwardTasks = Vec<JoinHandle<()>>;

impl Forwarding {
    /// Starts them; `None` if there are none.
    pub fn start(targets: &Targets, journal: &Journal, clock: &Clock) -> Option<(Arc<Self>, ForwardTasks)> {
        if targets.0.is_empty() {
            return None;
        }
        let (appended, _) = watch::channel(());
        let (stopping, _) = watch::channel(false);
        let course = |target: &Prepared| Arc::new(Course { name: target.name.clone(), state: Mutex::default() });
        let forwarding = Arc::new(Self {
            instance: clock::random_hex_128().split_off(16),
            journal: journal.clone(),
            courses: targets.0.iter().map(course).collect(),
            clock: clock.clone(),
            appended,
            stopping,
            told_of_ring: AtomicBool::new(false),
        });
        let tasks = targets.0.iter().zip(&forwarding.courses).filter_map(|(target, course)| {
            let follower = journal.follower(&target.name)?;
            let target = Target {
                poster: target.poster.clone(),
                course: course.clone(),
                instance: forwarding.instance.clone(),
                appended: forwarding.appended.subscribe(),
                stopping: forwarding.stopping.subscribe(),
            };
            Some(tokio::spawn(target.run(follower)))
        });
        let tasks = tasks.collect();
        Some((forwarding, tasks))
    }

    /// Something was appended to the journal. Costs next to nothing.
    pub fn appended(&self) {
        self.appended.send_replace(());
    }

    /// These spans went to the store without the journal, which did not take them: no target will see them.
    pub fn passed_by(&self, spans: usize) {
        self.courses.iter().for_each(|course| course.dropped("unjournaled", spans as u64));
    }

    /// Whether spans that came by way of these were sent out by this process: it has them.
    pub fn knows(&self, hops: &Hops) -> bool {
        let is_known = hops.contains(&self.instance);
        if is_known {
            counter!(meters::FORWARD_RETURNED).increment(1);
            if !self.told_of_ring.swap(true, Ordering::Relaxed) {
                tracing::warn!("spans that were forwarded came back; they are answered and not kept again");
            }
        }
        is_known
    }

    pub fn status(&self) -> Vec<TargetStatus> {
        self.courses.iter().map(|course| self.status_of(course)).collect()
    }

    fn status_of(&self, course: &Course) -> TargetStatus {
        let (oldest, trouble) = {
            let state = course.lock();
            (state.oldest, state.trouble.clone())
        };
        let lag = oldest.map_or(0, |oldest| self.clock.now().as_u64().saturating_sub(oldest.as_u64()));
        let lag = Duration::from_nanos(lag);
        let state = match &trouble {
            Some(trouble) if trouble.is_refusal => "refusing",
            _ if lag > BEHIND_AFTER => "behind",
            Some(_) => "failing",
            None => "ok",
        };
        let behind = self.journal.behind(&course.name);
        TargetStatus { name: course.name.clone(), state, lag, behind, reason: trouble.map(|trouble| trouble.reason) }
    }

    /// Sets the gauges, and counts what the journal let go. For each scrape, and now and then.
    pub fn show(&self) {
        for course in &self.courses {
            let TargetStatus { name, lag, behind, .. } = self.status_of(course);
            course.dropped("no_room", self.journal.let_go_spans(&name));
            gauge!(meters::FORWARD_LAG, "target" => name.clone()).set(lag.as_secs_f64());
            gauge!(meters::FORWARD_WAITING, "target" => name).set(behind.bytes as f64);
        }
    }

    /// Lets targets that take spans have what is there, and ends all of them soon.
    pub async fn stop(&self, tasks: ForwardTasks, patience: Duration) {
        self.stopping.send_replace(true);
        let abort: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        let all = async {
            for task in tasks {
                if let Err(error) = task.await {
                    tracing::error!(%error, "forwarding ended badly");
                }
            }
        };
        if tokio::time::timeout(patience.min(TO_FLUSH), all).await.is_err() {
            abort.iter().for_each(tokio::task::AbortHandle::abort);
        }
        for target in self.status().iter().filter(|target| target.behind.records > 0) {
            tracing::warn!(
                forward = target.name,
                records = target.behind.records,
                "requests wait in the journal for a forward target; the next start sends them"
            );
        }
    }
}

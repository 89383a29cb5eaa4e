//! The loop of one target: read, send, try again, move the cursor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use tokio::sync::watch;
use tokio::task::JoinError;

use super::batch::{self, Batch, Part};
use super::poster::{Outcome, Poster};
use super::{Course, Trouble};
use crate::clock;
use crate::journal::{Follower, JournalError};
use crate::meters;

/// How long more is waited for after the first span, so that one request carries several.
const LINGER: Duration = Duration::from_millis(200);
/// Before a request that failed is sent again; doubled each time, with jitter.
const RETRY_BASE: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long to wait after the disk could not be read.
const AFTER_AN_ERROR: Duration = Duration::from_secs(1);
/// How often a target that answers with a fault of its own (500) is asked to take the same spans.
const TRIES_OF_BROKEN: u32 = 5;

pub(super) struct Target {
    pub poster: Poster,
    pub course: Arc<Course>,
    /// Of this process.
    pub instance: String,
    pub appended: watch::Receiver<()>,
    pub stopping: watch::Receiver<bool>,
}

/// The service stops; what was not answered is sent by the next one.
struct Stopped;

impl Target {
    /// Runs until it is to stop and everything was sent, or something does not go at once.
    pub async fn run(mut self, follower: Follower) {
        let mut follower = Some(follower);
        while let Some(mine) = follower.take() {
            // Whatever comes from here on is noticed below.
            self.appended.mark_unchanged();
            let (batch, after) = match read(mine, self.instance.clone()).await {
                Ok(read) => read,
                Err(error) => {
                    tracing::error!(%error, forward = self.course.name, "forwarding failed; it goes on after the next start");
                    return;
                }
            };
            let went_on = match batch {
                Ok(Some(batch)) => self.send(batch, &after).await,
                Ok(None) => self.wait().await,
                Err(error) => {
                    tracing::error!(%error, forward = self.course.name, "the journal cannot be read; trying again");
                    self.pause(AFTER_AN_ERROR).await
                }
            };
            follower = went_on.is_ok().then_some(after);
        }
    }

    /// Waits until there is more, and a little longer.
    async fn wait(&mut self) -> Result<(), Stopped> {
        if *self.stopping.borrow() {
            return Err(Stopped);
        }
        tokio::select! {
            appended = self.appended.changed() => match appended {
                Ok(()) => {
                    // Cut short when the service stops: what is there is sent.
                    let _ = self.pause(LINGER).await;
                    Ok(())
                }
                Err(_) => Err(Stopped),
            },
            // What is there by now is read once more.
            _ = self.stopping.changed() => Ok(()),
        }
    }

    /// Errs if the service stops meanwhile.
    async fn pause(&mut self, length: Duration) -> Result<(), Stopped> {
        if *self.stopping.borrow() {
            return Err(Stopped);
        }
        tokio::select! {
            () = tokio::time::sleep(length) => Ok(()),
            _ = self.stopping.changed() => Err(Stopped),
        }
    }

    async fn send(&mut self, batch: Batch, follower: &Follower) -> Result<(), Stopped> {
        let Batch { last, oldest, parts, travelled } = batch;
        self.course.lock().oldest = Some(oldest);
        self.course.dropped("hops", travelled);
        self.send_parts(parts).await?;
        self.course.lock().oldest = None;
        match follower.done(last) {
            Err(JournalError::Closed) => Err(Stopped),
            Err(error) => {
                let name = &self.course.name;
                tracing::warn!(%error, forward = name, "a cursor cannot be kept; a restart sends more again");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn send_parts(&mut self, mut parts: VecDeque<Part>) -> Result<(), Stopped> {
        while let Some(part) = parts.pop_front() {
            let count = part.spans.len() as u64;
            let (part, body) = match self.encode(part).await {
                Ok(encoded) => encoded,
                Err(reason) => {
                    self.refused(reason, count);
                    continue;
                }
            };
            let too_large = match body {
                Some(body) => self.send_part(&part, body).await?,
                None => Some("it is too large".to_owned()),
            };
            let Some(reason) = too_large else { continue };
            match part.halves() {
                Some(halves) => halves.into_iter().rev().for_each(|half| parts.push_front(half)),
                None => self.refused(reason, count),
            }
        }
        Ok(())
    }

    /// The part again, and its body unless that is too large.
    async fn encode(&self, part: Part) -> Result<(Part, Option<Bytes>), String> {
        let compression = self.poster.compression;
        let encode = move || {
            let body = batch::body(&part, compression);
            (part, body)
        };
        let (part, body) = tokio::task::spawn_blocking(encode).await.map_err(|error| error.to_string())?;
        body.map(|body| (part, body)).map_err(|error| error.to_string())
    }

    /// Sends it until it is taken or refused; why it is too large, if it is.
    async fn send_part(&mut self, part: &Part, body: Bytes) -> Result<Option<String>, Stopped> {
        let count = part.spans.len() as u64;
        let (mut delay, mut broken) = (RETRY_BASE, 0);
        loop {
            let (after, reason) = match self.poster.post(part, body.clone()).await {
                Outcome::Taken { rejected, why } => {
                    self.taken(count, rejected, &why);
                    return Ok(None);
                }
                Outcome::TooLarge { reason } => return Ok(Some(reason)),
                Outcome::Broken { reason } if broken + 1 >= TRIES_OF_BROKEN => {
                    self.refused(reason, count);
                    return Ok(None);
                }
                Outcome::Refused { reason } => {
                    self.refused(reason, count);
                    return Ok(None);
                }
                Outcome::Broken { reason } => {
                    broken += 1;
                    (None, reason)
                }
                Outcome::Later { after, reason } => (after, reason),
            };
            counter!(meters::FORWARD_FAILURES, "target" => self.course.name.clone()).increment(1);
            if self.trouble(reason.clone(), false) {
                let name = &self.course.name;
                tracing::warn!(forward = name, reason, "a forward target takes no spans; they wait and are sent again");
            }
            let jitter = Duration::from_millis(clock::random_below(delay.as_millis() as u64 / 2));
            self.pause(after.unwrap_or_default().max(delay / 2 + jitter)).await?;
            delay = (delay * 2).min(RETRY_MAX);
        }
    }

    fn taken(&self, count: u64, rejected: u64, why: &str) {
        let rejected = rejected.min(count);
        counter!(meters::FORWARD_SENT, "target" => self.course.name.clone()).increment(count - rejected);
        let before = self.course.lock().trouble.take();
        if before.is_some() {
            tracing::info!(forward = self.course.name, "a forward target takes spans again");
        }
        if rejected > 0 {
            counter!(meters::FORWARD_REJECTED, "target" => self.course.name.clone()).increment(rejected);
            tracing::debug!(forward = self.course.name, rejected, why, "a forward target rejected some spans");
        }
    }

    fn refused(&self, reason: String, count: u64) {
        self.course.dropped("refused", count);
        if self.trouble(reason.clone(), true) {
            let name = &self.course.name;
            tracing::warn!(
                forward = name,
                reason,
                spans = count,
                "a forward target refuses spans; it does not get them"
            );
        }
    }

    /// Whether this is another trouble than before, so that it is to be told.
    fn trouble(&self, reason: String, is_refusal: bool) -> bool {
        let trouble = Trouble { reason, is_refusal };
        let mut state = self.course.lock();
        let is_known = state.trouble.as_ref() == Some(&trouble);
        state.trouble = Some(trouble);
        !is_known
    }
}

type Read = (Result<Option<Batch>, JournalError>, Follower);

/// The next batch, on a thread that may block.
async fn read(mut follower: Follower, instance: String) -> Result<Read, JoinError> {
    tokio::task::spawn_blocking(move || {
        let batch = batch::read(&mut follower, &instance);
        (batch, follower)
    })
    .await
}

//! Carries records to the server: as fast as it takes them, or each at its own instant. What it cannot take now is sent
//! again when it says so.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::pin::Pin;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::DemoError;
use crate::cli::CliError;
use crate::cli::client::{ClientError, Posted, Poster, Server};
use crate::clock::Clock;
use crate::demo::{Play, Record, Tale};
use crate::model::time::UnixNanos;

/// Records in one request.
const BATCH: usize = 1_000;
/// Live: how long a record may wait for others.
const TICK: Duration = Duration::from_millis(50);
/// How long the same is sent again before it is given up.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A server that was there and is gone, as in a restart, is waited for so long.
const GONE: Duration = Duration::from_secs(20);
/// How often the line of progress is written anew.
const TOLD_EVERY: Duration = Duration::from_millis(200);

/// What was posted so far.
#[derive(Debug)]
pub(super) struct Tally {
    pub begun: Instant,
    pub traces: u64,
    pub spans: u64,
    pub records: u64,
    pub rejected: u64,
    pub first_reason: Option<String>,
    pub interrupted: bool,
}

/// Whether somebody pressed ctrl-C. Once made, the process does not end by itself any more.
pub(super) struct Interrupt(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Interrupt {
    pub fn new() -> Self {
        Self(Box::pin(async {
            // Where signals cannot be listened to, none comes.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }))
    }

    /// `None` if it came first. Another press is waited for from then on.
    async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = &mut self.0 => {
                *self = Self::new();
                None
            }
            done = work => Some(done),
        }
    }
}

pub(super) struct Courier {
    poster: Poster,
    server: String,
    pub tally: Tally,
    told: Instant,
    terminal: bool,
    has_line: bool,
}

/// Told of each trace before it is posted.
pub(super) type Keep<'k> = dyn FnMut(&Tale) -> Result<(), DemoError> + 'k;

impl Courier {
    /// `stored`: answers come after the commit, so that what was posted can be read.
    pub fn new(server: &Server, stored: bool) -> Result<Self, ClientError> {
        let now = Instant::now();
        let tally =
            Tally { begun: now, traces: 0, spans: 0, records: 0, rejected: 0, first_reason: None, interrupted: false };
        Ok(Self {
            poster: server.poster(stored)?,
            server: server.address().to_owned(),
            tally,
            told: now,
            terminal: std::io::stderr().is_terminal(),
            has_line: false,
        })
    }

    /// Posts all at once, trace after trace.
    pub async fn backdated(
        &mut self,
        play: &mut Play,
        interrupt: &mut Interrupt,
        keep: &mut Keep<'_>,
    ) -> Result<(), CliError> {
        let mut batch = Vec::with_capacity(BATCH);
        for tale in play {
            self.take(&tale, keep)?;
            batch.extend(tale.records);
            if batch.len() >= BATCH && self.post(&mut batch, interrupt).await?.is_none() {
                return Ok(());
            }
        }
        self.post(&mut batch, interrupt).await.map(drop)
    }

    /// Posts each record when its instant has come. Interrupted, it ends what it began: as cancelled.
    pub async fn live(
        &mut self,
        play: &mut Play,
        clock: &Clock,
        interrupt: &mut Interrupt,
        keep: &mut Keep<'_>,
    ) -> Result<(), CliError> {
        let mut play = play.peekable();
        let mut due: BTreeMap<(UnixNanos, u64), Record> = BTreeMap::new();
        let mut number = 0;
        loop {
            let now = clock.now();
            while let Some(tale) = play.next_if(|tale| tale.starts_at <= now) {
                self.take(&tale, keep)?;
                for record in tale.records {
                    due.insert((record.at, number), record);
                    number += 1;
                }
            }
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Some(first) = due.first_entry().filter(|first| first.key().0 <= now)
            {
                batch.push(first.remove());
            }
            let is_full = batch.len() == BATCH;
            let mut went_on = self.post(&mut batch, interrupt).await?;
            if went_on.is_some() && !is_full {
                if due.is_empty() && play.peek().is_none() {
                    return Ok(());
                }
                went_on = interrupt.or(tokio::time::sleep(TICK)).await;
            }
            if went_on.is_none() {
                self.tally.interrupted = true;
                let mut ends = cancelled(due.values(), clock.now());
                return self.post(&mut ends, interrupt).await.map(drop);
            }
        }
    }

    fn take(&mut self, tale: &Tale, keep: &mut Keep<'_>) -> Result<(), DemoError> {
        self.tally.traces += 1;
        self.tally.spans += tale.span_ids.len() as u64;
        keep(tale)
    }

    /// Posts a batch and empties it; `None` if it was interrupted.
    async fn post(&mut self, batch: &mut Vec<Record>, interrupt: &mut Interrupt) -> Result<Option<()>, CliError> {
        if batch.is_empty() {
            return Ok(Some(()));
        }
        let mut lines = String::new();
        for record in batch.iter() {
            lines.push_str(&Value::from(record.body.clone()).to_string());
            lines.push('\n');
        }
        let sent = interrupt.or(self.send(&lines)).await;
        let Some(sent) = sent else {
            self.tally.interrupted = true;
            return Ok(None);
        };
        let taken = sent?;
        if taken.disabled {
            return Err(DemoError::SwitchedOff { server: self.server.clone() }.into());
        }
        self.tally.records += taken.accepted;
        self.tally.rejected += taken.rejected.len() as u64;
        if self.tally.first_reason.is_none() {
            self.tally.first_reason = taken.rejected.into_iter().next().map(|rejected| rejected.reason);
        }
        batch.clear();
        self.tell("");
        Ok(Some(()))
    }

    /// Sends until it is taken: twice is once.
    async fn send(&mut self, lines: &str) -> Result<crate::cli::client::Taken, CliError> {
        let begun = Instant::now();
        loop {
            let pause = match self.poster.post(lines.to_owned()).await {
                Ok(Posted::Taken(taken)) => return Ok(taken),
                Ok(Posted::Later(after)) if begun.elapsed() < PATIENCE => {
                    self.tell("; the server has no room at the moment: waiting for it");
                    after.unwrap_or(PAUSE).clamp(PAUSE / 10, LONGEST_PAUSE)
                }
                Ok(Posted::Later(_)) => {
                    let minutes = PATIENCE.as_secs() / 60;
                    return Err(DemoError::Busy { server: self.server.clone(), minutes }.into());
                }
                // Whoever was never there is not waited for.
                Err(ClientError::Unreachable { .. }) if self.tally.records > 0 && begun.elapsed() < GONE => {
                    self.tell("; the server is gone at the moment: waiting for it");
                    PAUSE
                }
                Err(error) => return Err(error.into()),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One line on a terminal, written over and over.
    fn tell(&mut self, news: &str) {
        if !self.terminal || news.is_empty() && self.told.elapsed() < TOLD_EVERY {
            return;
        }
        self.told = Instant::now();
        self.has_line = true;
        let Tally { traces, records, .. } = &self.tally;
        // Nobody may be reading it.
        let _ = write!(std::io::stderr(), "\r\x1b[K{traces} traces, {records} records posted{news}");
    }

    /// Clears the line of progress.
    pub fn leave_line(&self) {
        if self.has_line {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// The ends of spans that were begun and whose completions are still to come.
fn cancelled<'r>(due: impl Iterator<Item = &'r Record> + Clone, now: UnixNanos) -> Vec<Record> {
    let id = |record: &Record| record.body.get("span_id").map(Value::to_string);
    let not_begun: BTreeSet<_> = due.clone().filter(|record| !record.is_completion).map(id).collect();
    due.filter(|record| record.is_completion && !not_begun.contains(&id(record)))
        .map(|record| {
            let mut end = record.clone();
            end.body.retain(|name, _| matches!(name.as_str(), "trace_id" | "span_id"));
            end.body.insert("status".into(), "cancelled".into());
            end.body.insert("completed_at".into(), json!(now));
            Record { at: now, ..end }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_is_cancelled_and_nothing_else() {
        let record = |span_id: &str, is_completion| Record {
            at: UnixNanos::new(9),
            is_completion,
            body: json!({"trace_id": "aa", "span_id": span_id, "status": "ok", "end_time": "later"})
                .as_object()
                .cloned()
                .unwrap_or_default(),
        };
        // A whole span, one that is to begin and to end, and one that has begun.
        let due = [record("1", false), record("2", false), record("2", true), record("3", true)];
        let ends = cancelled(due.iter(), UnixNanos::new(5));
        let bodies: Vec<Value> = ends.into_iter().map(|end| Value::Object(end.body)).collect();
        let end = json!({"trace_id": "aa", "span_id": "3", "status": "cancelled",
                         "completed_at": "1970-01-01T00:00:00.000000005Z"});
        assert_eq!(bodies, [end]);
    }
}

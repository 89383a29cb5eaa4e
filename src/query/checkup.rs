//! How is the store, and all around it? Facts are gathered from the store, the journal's directory and the disk, and
//! judged by [`crate::checkup`]. No table is changed.

use std::sync::Arc;

use crate::checkup::Report;
use crate::checkup::facts::{Bench, Contents, Facts, Known, StoreFacts};
use crate::clock::{Clock, random_hex_128};
use crate::journal;
use crate::model::attributes::AttributesBuilder;
use crate::model::ids::{SpanId, TraceId};
use crate::model::merge::fold;
use crate::model::span::{End, Field, Span, Status};
use crate::model::tenant::TenantId;
use crate::settings::Settings;
use crate::store::{self, Look, Probe, StoreError};

/// Looks after one service's store. Cloning shares it.
#[derive(Clone)]
pub struct Doctor {
    probe: Arc<dyn Probe>,
    settings: Arc<Settings>,
    clock: Clock,
}

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Thoroughly {
    /// Try what writing costs: spans in transactions that are rolled back, and on PostgreSQL commits of a message that
    /// only the server's log holds ([`Probe::bench`]).
    pub bench: bool,
    /// Read everything, where that shows damage.
    pub deep: bool,
}

/// Tries of each kind.
const ROUNDS: usize = 9;
/// Spans of a batch, and of each of its traces.
const BATCH: usize = 1_000;
const TRACE: usize = 8;
/// Bytes of attributes of such a span.
const ATTRIBUTE_BYTES: usize = 400;

impl Doctor {
    /// # Errors
    /// [`StoreError::Other`] if the settings name no store.
    pub fn new(settings: &Settings, clock: Clock) -> Result<Self, StoreError> {
        Ok(Self { probe: store::probe(&settings.store)?, settings: Arc::new(settings.clone()), clock })
    }

    /// All findings. Ends within a minute, however the store behaves, unless it looks `deep`. `tell` hears what is being
    /// done.
    pub async fn examine(&self, thoroughly: Thoroughly, tell: &(dyn Fn(&str) + Send + Sync)) -> Report {
        let now = || self.clock.now();
        let look = Look { now: &now, tell, deep: thoroughly.deep };
        let mut store = self.probe.examine(&look).await;
        if let StoreFacts::Sqlite(file) = &mut store {
            file.space = journal::space(&file.path).map_err(|error| error.to_string());
        }
        let bench = match thoroughly.bench {
            true => {
                tell("writing spans, to be rolled back");
                Some(self.bench().await)
            }
            false => None,
        };
        let directory = self.settings.journal.directory(&self.settings.store);
        let journal = directory.map(|directory| journal::inspect(&directory, self.settings.journal.max_bytes));
        let place = store::place(&self.settings.store);
        crate::checkup::judge(&Facts { place, now: self.clock.now(), store, journal, bench }, &self.settings)
    }

    /// What is stored, and the room that it takes.
    ///
    /// # Errors
    /// What the store says.
    pub async fn measure(&self) -> Result<Contents, StoreError> {
        self.probe.measure().await
    }

    async fn bench(&self) -> Known<Bench> {
        let spans = |count| self.spans(count).ok_or_else(|| "no ids could be made".to_owned());
        let tried = self.probe.bench(&spans(1)?, &spans(BATCH)?, ROUNDS).await;
        tried.map_err(|error| error.to_string())
    }

    /// Spans of traces that nobody has, as a batch.
    fn spans(&self, count: usize) -> Option<Vec<Span>> {
        let now = self.clock.now();
        let mut spans = Vec::with_capacity(count);
        let mut trace_id = TraceId::parse(&random_hex_128()).ok()?;
        for index in 0..count {
            if index % TRACE == 0 {
                trace_id = TraceId::parse(&random_hex_128()).ok()?;
            }
            let span_id = SpanId::from_u128(index as u128 + 1).ok()?;
            let mut span = Span::new(TenantId::default(), trace_id, span_id, now);
            span.status = Status::Completed;
            (span.started_at, span.end) = (Some(now), Some(End::At(now)));
            span.fields.set_text(Field::Service, "tracefall");
            span.fields.set_text(Field::Operation, "doctor");
            let mut attributes = AttributesBuilder::default();
            let text = "x".repeat(ATTRIBUTE_BYTES);
            attributes.push_str("doctor", &text);
            span.attributes = attributes.finish();
            spans.push(span);
        }
        Some(fold(spans))
    }
}

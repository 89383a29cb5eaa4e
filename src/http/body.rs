//! A request's body: read chunk by chunk within the limits and the global budget, inflated and worked on by a bounded
//! number of threads.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::error::ApiError;
use crate::meters;
use crate::model::limits::Limits;
use crate::wire::inflate::inflate;
use crate::wire::media::{self, Encoding};

/// The memory that request bodies may take altogether, and the threads that may work on them.
#[derive(Clone)]
pub struct Intake {
    budget: Arc<Semaphore>,
    budget_blocks: usize,
    threads: Arc<Semaphore>,
    limits: Arc<Limits>,
    patience: Duration,
    /// Bytes up to which the work may be done where the request is served.
    in_place: usize,
}

/// Bytes of one permit of the budget.
const BLOCK: usize = 1 << 10;
/// Bodies up to this size are worked on where they are, if that waits for no disk: handing them to another thread costs
/// more than it spares.
const IN_PLACE: usize = 64 << 10;

/// Room in the budget, given back when dropped.
struct Room {
    permit: Option<OwnedSemaphorePermit>,
    /// Bytes reserved beyond what was asked for so far.
    spare: usize,
}

impl Intake {
    /// `in_flight_bytes` for all bodies together, `threads` that inflate and decode, `patience` for one body to arrive.
    /// `writes`: whether the work writes to a disk.
    pub fn new(in_flight_bytes: usize, threads: usize, limits: Limits, patience: Duration, writes: bool) -> Self {
        let budget_blocks = (in_flight_bytes / BLOCK).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            budget: Arc::new(Semaphore::new(budget_blocks)),
            budget_blocks,
            threads: Arc::new(Semaphore::new(threads.max(1))),
            limits: Arc::new(limits),
            patience,
            in_place: if writes { 0 } else { IN_PLACE },
        }
    }

    /// Reads and inflates a body, and does `work` with it, which must not panic, and may wait for a disk where that was
    /// announced.
    ///
    /// # Errors
    /// 400 for what is not the announced encoding, 408 for a body that does not arrive in time, 413 beyond a limit, 415
    /// for an unknown encoding, 503 when the budget is spent, and what `work` says.
    pub async fn take<T: Send + 'static>(
        &self,
        headers: &HeaderMap,
        body: Body,
        work: impl FnOnce(&[u8], &Limits) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let encoding = content_encoding(headers)?;
        let mut room = Room { permit: None, spare: 0 };
        let wire = self.read(body, &mut room).await?;
        if encoding == Encoding::Identity && wire.len() <= self.in_place {
            return work(&wire, &self.limits);
        }
        let thread = self.threads.clone().acquire_owned().await.map_err(|_| stopped())?;
        let intake = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            if encoding == Encoding::Identity {
                return work(&wire, &intake.limits);
            }
            let limit = intake.limits.max_inflated_bytes;
            let inflated = inflate(encoding, &wire, limit, |bytes| intake.reserve(&mut room, bytes))?;
            drop(wire);
            work(&inflated, &intake.limits)
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "decoding a body failed");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the body could not be decoded")
        })?
    }

    /// Reads a body to its end and throws it away, up to the limit: the client of a switched-off service sees its
    /// request taken.
    pub async fn drain(&self, mut body: Body) {
        let mut left = self.limits.max_wire_bytes;
        let reading = async {
            while let Some(Ok(frame)) = body.frame().await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        // A body that does not end in time is dropped with its connection.
        let _ = tokio::time::timeout(self.patience, reading).await;
    }

    async fn read(&self, body: Body, room: &mut Room) -> Result<Bytes, ApiError> {
        tokio::time::timeout(self.patience, self.read_all(body, room)).await.map_err(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not arrive within {} s", self.patience.as_secs()),
            )
        })?
    }

    async fn read_all(&self, mut body: Body, room: &mut Room) -> Result<Bytes, ApiError> {
        let limit = self.limits.max_wire_bytes;
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        if usize::try_from(body.size_hint().lower()).is_ok_and(|announced| announced > limit) {
            return Err(too_long(limit));
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ApiError::bad_request(format!("the body broke off: {error}")))?;
            let Ok(chunk) = frame.into_data() else { continue };
            let so_far = first.as_ref().map_or(0, Bytes::len) + rest.len();
            if so_far + chunk.len() > limit {
                return Err(too_long(limit));
            }
            if !self.reserve(room, chunk.len()) {
                return Err(ApiError::unavailable("too much is being taken in at this moment; send the same again"));
            }
            // Most bodies are one chunk, which is then used as it came.
            match first.take() {
                None if rest.is_empty() => first = Some(chunk),
                None => rest.extend_from_slice(&chunk),
                Some(begin) => {
                    rest.reserve(begin.len() + chunk.len());
                    rest.extend_from_slice(&begin);
                    rest.extend_from_slice(&chunk);
                }
            }
        }
        Ok(first.unwrap_or_else(|| rest.freeze()))
    }

    fn reserve(&self, room: &mut Room, bytes: usize) -> bool {
        if bytes <= room.spare {
            room.spare -= bytes;
            return true;
        }
        let blocks = (bytes - room.spare).div_ceil(BLOCK);
        let Ok(permit) = u32::try_from(blocks)
            .map_err(drop)
            .and_then(|blocks| self.budget.clone().try_acquire_many_owned(blocks).map_err(drop))
        else {
            return false;
        };
        match &mut room.permit {
            Some(held) => held.merge(permit),
            None => room.permit = Some(permit),
        }
        room.spare = room.spare + blocks * BLOCK - bytes;
        gauge!(meters::IN_FLIGHT_BYTES).set(((self.budget_blocks - self.budget.available_permits()) * BLOCK) as f64);
        true
    }
}

fn too_long(limit: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body has more than {limit} bytes (limit max_wire_bytes); send it in parts"),
    )
}

fn stopped() -> ApiError {
    ApiError::unavailable("the service is shutting down")
}

fn content_encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let (value, more) = (values.next(), values.next());
    let text = match (value, more) {
        (Some(_), Some(_)) => Some("several encodings"),
        (value, _) => value.map(|value| value.to_str().unwrap_or("unreadable")),
    };
    Ok(media::encoding(text)?)
}

//! A request's body: read chunk by chunk within the limits and the global budget, inflated and worked on by a bounded
//! number of threads.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::error::ApiError;
use crate::meters;
use crate::model::limits::Limits;
use crate::wire::hops::{self, Hops};
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

/// What is around the spans of a body: how it was compressed, how long it may be, and what stands before them.
#[derive(Clone, Debug)]
pub struct Envelope {
    kind: Kind,
    limit: WireLimit,
    /// The services that forwarded it.
    pub hops: Hops,
}

/// The most that a body may have as sent, with the setting's name.
#[derive(Clone, Copy, Debug)]
pub struct WireLimit {
    name: &'static str,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The body, compressed as its headers say.
    Http(Encoding),
    /// One message of gRPC, compressed, if it is, in this way.
    Grpc(Encoding),
}

impl Envelope {
    /// From the request's headers.
    ///
    /// # Errors
    /// 415 for a `Content-Encoding` that is not understood.
    pub fn of_http(headers: &HeaderMap, limit: WireLimit) -> Result<Self, ApiError> {
        let kind = Kind::Http(encoding(headers, header::CONTENT_ENCODING)?);
        Ok(Self { kind, limit, hops: hops(headers) })
    }

    /// As [`Envelope::of_http`], for gRPC.
    ///
    /// # Errors
    /// 415 for a `grpc-encoding` that is not understood.
    pub fn of_grpc(headers: &HeaderMap, limit: WireLimit) -> Result<Self, ApiError> {
        let kind = Kind::Grpc(encoding(headers, HeaderName::from_static("grpc-encoding"))?);
        let limit = WireLimit { bytes: limit.bytes.saturating_add(GRPC_PREFIX), ..limit };
        Ok(Self { kind, limit, hops: hops(headers) })
    }

    /// What is inside.
    fn open(&self, wire: Bytes) -> Result<(Encoding, Bytes), ApiError> {
        let declared = match self.kind {
            Kind::Http(encoding) => return Ok((encoding, wire)),
            Kind::Grpc(declared) => declared,
        };
        let broken = |what: &str| ApiError::bad_request(format!("the body is no message of gRPC: {what}"));
        let Some((prefix, message)) = wire.split_first_chunk::<GRPC_PREFIX>() else {
            return Err(broken("it has no prefix of 5 bytes"));
        };
        let [flag, length @ ..] = *prefix;
        if u32::from_be_bytes(length) as usize != message.len() {
            return Err(broken("it has another length than its prefix says, or there is more than one"));
        }
        let encoding = match flag {
            0 => Encoding::Identity,
            1 if declared != Encoding::Identity => declared,
            1 => return Err(broken("it is compressed, and grpc-encoding does not say how")),
            _ => return Err(broken("its flag is neither 0 nor 1")),
        };
        Ok((encoding, wire.slice(GRPC_PREFIX..)))
    }
}

fn hops(headers: &HeaderMap) -> Hops {
    let told = headers.get(hops::HEADER).and_then(|value| value.to_str().ok());
    told.map(Hops::parse).unwrap_or_default()
}

/// Bytes before a message of gRPC: a flag, and its length.
/// Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
const GRPC_PREFIX: usize = 5;

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

    /// How long most bodies may be.
    pub fn wire_limit(&self) -> WireLimit {
        WireLimit { name: "max_wire_bytes", bytes: self.limits.max_wire_bytes }
    }

    /// How long those of OTLP may be.
    pub fn otlp_wire_limit(&self) -> WireLimit {
        WireLimit { name: "max_otlp_wire_bytes", bytes: self.limits.max_otlp_wire_bytes }
    }

    /// Reads and inflates a body, and does `work` with it, which must not panic, and may wait for a disk where that was
    /// announced.
    ///
    /// # Errors
    /// 400 for what is not the announced encoding, 408 for a body that does not arrive in time, 413 beyond a limit, 415
    /// for an unknown encoding, 503 when the budget is spent, and what `work` says.
    pub async fn take<T: Send + 'static>(
        &self,
        envelope: Envelope,
        body: Body,
        work: impl FnOnce(&[u8], &Limits) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let mut room = Room { permit: None, spare: 0 };
        let wire = self.read(body, envelope.limit, &mut room).await?;
        let (encoding, wire) = envelope.open(wire)?;
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
    pub async fn drain(&self, envelope: &Envelope, mut body: Body) {
        let mut left = envelope.limit.bytes;
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

    async fn read(&self, body: Body, limit: WireLimit, room: &mut Room) -> Result<Bytes, ApiError> {
        tokio::time::timeout(self.patience, self.read_all(body, limit, room)).await.map_err(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not arrive within {} s", self.patience.as_secs()),
            )
        })?
    }

    async fn read_all(&self, mut body: Body, limit: WireLimit, room: &mut Room) -> Result<Bytes, ApiError> {
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        if usize::try_from(body.size_hint().lower()).is_ok_and(|announced| announced > limit.bytes) {
            return Err(too_long(limit));
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ApiError::bad_request(format!("the body broke off: {error}")))?;
            let Ok(chunk) = frame.into_data() else { continue };
            let so_far = first.as_ref().map_or(0, Bytes::len) + rest.len();
            if so_far + chunk.len() > limit.bytes {
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

fn too_long(WireLimit { name, bytes }: WireLimit) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body has more than {bytes} bytes (limit {name}); send it in parts"),
    )
}

fn stopped() -> ApiError {
    ApiError::unavailable("the service is shutting down")
}

fn encoding(headers: &HeaderMap, name: HeaderName) -> Result<Encoding, ApiError> {
    let mut values = headers.get_all(name).iter();
    let (value, more) = (values.next(), values.next());
    let text = match (value, more) {
        (Some(_), Some(_)) => Some("several encodings"),
        (value, _) => value.map(|value| value.to_str().unwrap_or("unreadable")),
    };
    Ok(media::encoding(text)?)
}

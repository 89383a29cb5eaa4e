//! What every format of ingest shares: the levers, room, reading, decoding, and handing on.

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use metrics::counter;

use crate::access::Caller;
use crate::http::Services;
use crate::http::body::Envelope;
use crate::http::error::ApiError;
use crate::meters;
use crate::pipeline::{Busy, Pipeline, Receipt, Stored};
use crate::wire::hops::Hops;
use crate::wire::{DecodeContext, DecodeError, Decoded, Rejected};

/// How a request wants its spans to be taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// All or none.
    pub atomic: bool,
    /// To be told of the commit.
    pub stored: bool,
    /// A request of which nothing can be taken is refused, and not answered with what is wrong with its spans.
    pub some: bool,
}

/// What became of a request's spans.
#[derive(Debug, Default)]
pub struct Taken {
    /// Ingest is switched off: the body was not looked at.
    pub disabled: bool,
    /// Spans that are kept.
    pub accepted: usize,
    pub rejected: Vec<Rejected>,
    /// Spans that an operator's rules leave out.
    pub sampled: usize,
    /// Whether they are committed, with those that the store refused as data.
    pub stored: Option<usize>,
}

/// Takes the spans of a request that may ingest. Answers once they are kept, or as the terms say.
///
/// # Errors
/// [`ApiError`] where nothing was taken: the body could not be read, or not decoded, or there is no room.
pub async fn take(
    services: &Services,
    caller: Caller,
    envelope: Envelope,
    body: Body,
    terms: Terms,
    decode: impl FnOnce(&[u8], &DecodeContext<'_>) -> Result<Decoded, DecodeError> + Send + 'static,
) -> Result<Taken, ApiError> {
    let control = services.pipeline.control();
    if control.is_off() {
        services.intake.drain(&envelope, body).await;
        control.note_disabled();
        return Ok(Taken { disabled: true, ..Taken::default() });
    }
    if services.pipeline.has_sent(&envelope.hops) {
        services.intake.drain(&envelope, body).await;
        return Ok(Taken::default());
    }
    services.pipeline.check_room(announced(&body)).inspect_err(busy)?;
    let (tenant, received_at) = (caller.tenant, services.clock.now());
    let (pipeline, hops) = (services.pipeline.clone(), envelope.hops.clone());
    let taken = services.intake.take(envelope, body, move |body, limits| {
        let decoded = decode(body, &DecodeContext { tenant: &tenant, received_at, limits })?;
        Ok(submit(&pipeline, decoded, terms, &hops))
    });
    let (receipt, mut taken) = taken.await.inspect_err(|error| count_refused(error.status()))??;
    match terms.stored {
        false => receipt.kept(services.max_wait).await.inspect_err(busy)?,
        true => match receipt.stored(services.max_wait).await.inspect_err(busy)? {
            Stored::NotYet => {}
            Stored::Yes { dead_letters } => taken.stored = Some(dead_letters),
        },
    }
    counter!(meters::SPANS_ACCEPTED).increment(taken.accepted as u64);
    Ok(taken)
}

/// Hands the spans on, if they are to be taken.
fn submit(
    pipeline: &Pipeline,
    Decoded { spans, rejected }: Decoded,
    terms: Terms,
    hops: &Hops,
) -> Result<(Receipt, Taken), ApiError> {
    let count = spans.len();
    for rejected in &rejected {
        tracing::debug!(index = rejected.index, field = rejected.field, reason = rejected.reason, "span rejected");
    }
    counter!(meters::SPANS_REJECTED, "reason" => "invalid").increment(rejected.len() as u64);
    if terms.atomic && !rejected.is_empty() {
        let all = rejected.len() + count;
        let detail = format!("{} of {all} spans cannot be taken, so none is (atomic)", rejected.len());
        return Err(ApiError::rejected(detail, rejected));
    }
    if terms.some && spans.is_empty() && !rejected.is_empty() {
        return Err(ApiError::rejected("none of the spans can be taken", rejected));
    }
    let receipt = pipeline.submit_via(spans, terms.stored, hops).inspect_err(busy)?;
    let sampled = receipt.sampled();
    Ok((receipt, Taken { accepted: count.saturating_sub(sampled), rejected, sampled, ..Taken::default() }))
}

fn busy(_: &Busy) {
    counter!(meters::REQUESTS_REFUSED, "reason" => "busy").increment(1);
}

/// Bytes that the body is known to have, 0 when it does not say.
fn announced(body: &Body) -> usize {
    usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX)
}

fn count_refused(status: StatusCode) {
    let reason = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::SERVICE_UNAVAILABLE => "busy",
        _ => "undecodable",
    };
    counter!(meters::REQUESTS_REFUSED, "reason" => reason).increment(1);
}

//! What is sent at a time: records of the journal in their order, grouped so that each request is of one tenant and one
//! way here. Blocking: files are read, spans encoded, bytes compressed.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;

use crate::journal::{Follower, JournalError};
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::settings::forward::Compression;
use crate::wire::hops::Hops;
use crate::wire::otlp::encode_protobuf;

/// Spans of a batch; one record may have more.
const MAX_SPANS: usize = 5_000;
/// Bytes of a batch as they lie in the journal; one record may have more.
const MAX_BYTES: usize = 2 << 20;
/// Bytes of a body before compression, unless one span has more: what receivers take by default is 4 MiB and up.
const MAX_BODY_BYTES: usize = 4 << 20;

/// Whole records, so that the cursor can move behind them.
#[derive(Debug)]
pub(super) struct Batch {
    pub last: u64,
    /// When the first of its spans was received.
    pub oldest: UnixNanos,
    pub parts: VecDeque<Part>,
    /// Spans that have come by way of too many services.
    pub travelled: u64,
}

/// Spans of one request to a target.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub tenant: TenantId,
    pub hops: Hops,
    pub spans: Vec<Span>,
}

impl Part {
    /// Both halves; `None` if there is but one span.
    pub fn halves(mut self) -> Option<[Self; 2]> {
        let half = self.spans.len() / 2;
        let behind = self.spans.split_off(half);
        let other = Self { tenant: self.tenant.clone(), hops: self.hops.clone(), spans: behind };
        (half > 0).then_some([self, other])
    }
}

/// The next records; `None` at the tail.
pub(super) fn read(follower: &mut Follower, instance: &str) -> Result<Option<Batch>, JournalError> {
    let mut groups: BTreeMap<(TenantId, Hops), Vec<Span>> = BTreeMap::new();
    let (mut last, mut oldest, mut count, mut bytes, mut travelled) = (None, None, 0, 0, 0);
    while count < MAX_SPANS && bytes < MAX_BYTES {
        // What was read before a record that cannot be read is not kept waiting for it.
        let stored = match follower.read() {
            Ok(Some(stored)) => stored,
            Ok(None) => break,
            Err(error) if last.is_none() => return Err(error),
            Err(_) => break,
        };
        last = Some(stored.sequence);
        bytes += stored.payload.len();
        let spans = match stored.spans() {
            Ok(spans) => spans,
            Err(error) => {
                tracing::error!(sequence = stored.sequence, %error, "a record of the journal cannot be forwarded");
                continue;
            }
        };
        count += spans.len();
        oldest = oldest.or(spans.first().map(|span| span.created_at));
        let Some(hops) = Hops::parse(stored.via()).and(instance) else {
            travelled += spans.len() as u64;
            continue;
        };
        for span in spans {
            groups.entry((span.tenant.clone(), hops.clone())).or_default().push(span);
        }
    }
    let Some(last) = last else { return Ok(None) };
    let mut parts = VecDeque::new();
    for ((tenant, hops), mut spans) in groups {
        while spans.len() > MAX_SPANS {
            let rest = spans.split_off(MAX_SPANS);
            parts.push_back(Part { tenant: tenant.clone(), hops: hops.clone(), spans });
            spans = rest;
        }
        parts.push_back(Part { tenant, hops, spans });
    }
    Ok(Some(Batch { last, oldest: oldest.unwrap_or_default(), parts, travelled }))
}

/// The body of a request; `None` if it is too large and can be halved.
pub(super) fn body(part: &Part, compression: Compression) -> std::io::Result<Option<Bytes>> {
    let body = encode_protobuf(&part.spans);
    if body.len() > MAX_BODY_BYTES && part.spans.len() > 1 {
        return Ok(None);
    }
    match compression {
        Compression::None => Ok(Some(body.into())),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Level::fast());
            encoder.write_all(&body)?;
            encoder.finish().map(|bytes| Some(bytes.into()))
        }
    }
}

//! What a receiver of OTLP answers: `ExportTraceServiceResponse`, and `google.rpc.Status` for what it refuses, each in the
//! encoding of the request.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>,
//! <https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto>.

use super::{Encoding, protobuf, values};
use crate::wire::Rejected;

/// Bytes of an error message: a client logs it.
const MAX_MESSAGE_BYTES: usize = 2_048;

/// A gRPC status code, of those that are answered here.
/// Source: <https://grpc.io/docs/guides/status-codes/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// The code that gRPC wants for a message in a form that is not understood, its compression for one.
    /// Source: <https://github.com/grpc/grpc/blob/master/doc/compression.md>.
    pub fn of_grpc(status: u16) -> Self {
        if status == 415 { Code::Unimplemented } else { Self::of_http(status) }
    }

    /// The code that says what a status of HTTP says. A request too large is exhausted resources, which no client tries
    /// again unless it is told when to; neither is what never will be right.
    pub fn of_http(status: u16) -> Self {
        match status {
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 | 405 => Code::Unimplemented,
            408 => Code::DeadlineExceeded,
            413 => Code::ResourceExhausted,
            429 | 502..=504 => Code::Unavailable,
            400..500 => Code::InvalidArgument,
            _ => Code::Internal,
        }
    }
}

/// The answer to spans that were taken, but for those that were not. Without any of those it is the empty message.
pub fn success(encoding: Encoding, rejected: &[Rejected]) -> Vec<u8> {
    let Some(first) = rejected.first() else {
        return match encoding {
            Encoding::Protobuf => Vec::new(),
            Encoding::Json => b"{}".to_vec(),
        };
    };
    let more = match rejected.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let id = first.span_id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
    let message = cut(&format!("span {}{id}: {}{more}", first.index, first.reason)).to_owned();
    let count = rejected.len();
    match encoding {
        Encoding::Protobuf => {
            let mut partial = Vec::new();
            field_varint(&mut partial, 1, count as u64);
            field_bytes(&mut partial, 2, message.as_bytes());
            let mut answer = Vec::new();
            field_bytes(&mut answer, 1, &partial);
            answer
        }
        Encoding::Json => {
            let mut text = format!("{{\"partialSuccess\":{{\"rejectedSpans\":\"{count}\",\"errorMessage\":");
            values::string(&mut text, &message);
            text.push_str("}}");
            text.into_bytes()
        }
    }
}

/// What another receiver's answer says that it did not take: how many spans, and why. Nothing if it says nothing that is
/// understood.
pub fn read_success(encoding: Encoding, body: &[u8]) -> (u64, String) {
    match encoding {
        Encoding::Protobuf => protobuf::partial_success(body).unwrap_or_default(),
        Encoding::Json => {
            let Ok(answer) = serde_json::from_slice::<serde_json::Value>(body) else { return Default::default() };
            let partial = &answer["partialSuccess"];
            let count = &partial["rejectedSpans"];
            let count = count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or_default();
            (count, partial["errorMessage"].as_str().unwrap_or_default().to_owned())
        }
    }
}

/// The message of another receiver's refusal, a `google.rpc.Status`; `None` if that is not what the body is.
pub fn read_status(encoding: Encoding, body: &[u8]) -> Option<String> {
    let message = match encoding {
        Encoding::Protobuf => protobuf::status_message(body)?,
        Encoding::Json => serde_json::from_slice::<serde_json::Value>(body).ok()?["message"].as_str()?.to_owned(),
    };
    Some(cut(&message).to_owned())
}

/// A refusal. `retry_after_secs`: when the same request may be sent again, told in a `google.rpc.RetryInfo`.
pub fn status(encoding: Encoding, code: Code, message: &str, retry_after_secs: Option<u64>) -> Vec<u8> {
    const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
    let message = cut(message);
    match encoding {
        Encoding::Protobuf => {
            let mut status = Vec::new();
            field_varint(&mut status, 1, code as u64);
            field_bytes(&mut status, 2, message.as_bytes());
            if let Some(seconds) = retry_after_secs {
                let (mut delay, mut info, mut detail) = (Vec::new(), Vec::new(), Vec::new());
                field_varint(&mut delay, 1, seconds);
                field_bytes(&mut info, 1, &delay);
                field_bytes(&mut detail, 1, RETRY_INFO.as_bytes());
                field_bytes(&mut detail, 2, &info);
                field_bytes(&mut status, 3, &detail);
            }
            status
        }
        Encoding::Json => {
            let mut text = format!("{{\"code\":{},\"message\":", code as i32);
            values::string(&mut text, message);
            if let Some(seconds) = retry_after_secs {
                let detail = format!(",\"details\":[{{\"@type\":\"{RETRY_INFO}\",\"retryDelay\":\"{seconds}s\"}}]");
                text.push_str(&detail);
            }
            text.push('}');
            text.into_bytes()
        }
    }
}

fn cut(message: &str) -> &str {
    let end = (0..=MAX_MESSAGE_BYTES.min(message.len())).rev().find(|at| message.is_char_boundary(*at));
    &message[..end.unwrap_or_default()]
}

fn field_varint(into: &mut Vec<u8>, number: u8, value: u64) {
    into.push(number << 3);
    varint(into, value);
}

fn field_bytes(into: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    into.push(number << 3 | 2);
    varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

pub(super) fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

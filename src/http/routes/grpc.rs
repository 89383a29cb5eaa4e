//! OTLP over gRPC: `TraceService/Export`, one message in, one out.
//!
//! A unary call is a POST over HTTP/2 whose body is one length-prefixed message and whose status stands in the trailers.
//! It goes the way of every other request, so that the memory of all bodies together is bounded, which a framework that
//! collects the message before it calls us could not promise (docs/adr/0011).
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http_body_util::{BodyExt, Full};

use crate::http::Services;
use crate::http::auth::MayIngest;
use crate::http::body::Envelope;
use crate::http::error::ApiError;
use crate::http::ingest::{self, Taken, Terms};
use crate::wire::otlp::answer::{self, Code};
use crate::wire::otlp::{self, Encoding};

/// The path of the one method that is served.
pub const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Takes spans as OpenTelemetry's gRPC exporters send them.
pub async fn export(
    State(services): State<Services>,
    MayIngest(caller): MayIngest,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if !is_protobuf(&headers) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "this path is gRPC's (Content-Type: application/grpc, or +proto); OTLP over HTTP goes to /v1/traces",
        ));
    }
    let envelope = Envelope::of_grpc(&headers, services.intake.otlp_wire_limit())?;
    let taken = ingest::take(&services, caller, envelope, body, Terms::default(), |body, context| {
        otlp::decode(body, Encoding::Protobuf, context)
    });
    let Taken { rejected, .. } = taken.await?;
    let message = answer::success(Encoding::Protobuf, &rejected);
    let mut framed = Vec::with_capacity(message.len() + 5);
    framed.push(0);
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    framed.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(framed)).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    describe(response.headers_mut());
    Ok(response)
}

/// Whether a request is one of gRPC, by its `Content-Type`.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    essence(value).is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
}

/// Whether the messages of a request of gRPC are protobuf: what its `Content-Type` says, or nothing.
fn is_protobuf(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    essence(value).is_some_and(|rest| rest.is_empty() || rest.eq_ignore_ascii_case("+proto"))
}

/// What follows `application/grpc`.
fn essence(value: &str) -> Option<&str> {
    const NAME: &str = "application/grpc";
    let essence = value.split(';').next().unwrap_or_default().trim();
    let (name, rest) = essence.split_at_checked(NAME.len())?;
    name.eq_ignore_ascii_case(NAME).then_some(rest)
}

/// A refusal: a response of headers only, whose status of HTTP is 200 whatever gRPC's is.
pub fn refusal(code: Code, message: &str, retry_after_secs: Option<u64>) -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    describe(headers);
    headers.insert(STATUS, HeaderValue::from(code as u16));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(message)) {
        headers.insert(MESSAGE, message);
    }
    let details = answer::status(Encoding::Protobuf, code, message, retry_after_secs);
    if let Ok(details) = HeaderValue::from_str(&STANDARD_NO_PAD.encode(details)) {
        headers.insert(DETAILS, details);
    }
    response
}

fn describe(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, MEDIA_TYPE);
    headers.insert(ACCEPTED, HeaderValue::from_static("gzip,deflate,zstd,identity"));
}

/// As gRPC writes messages into headers: what is not printable ASCII, and the percent sign, as `%XX`.
fn percent_encoded(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes().take(1_024) {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            byte => text.push(byte.into()),
        }
    }
    text
}

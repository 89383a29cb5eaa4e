//! Refusals in the words of whoever asked: clients of OTLP understand `google.rpc.Status` only, in their own encoding,
//! those of gRPC only its trailers, and the readers of Jaeger the envelopes of its two interfaces.

use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::http::error::Refusal;
use crate::http::routes::{grpc, otlp};
use crate::wire::otlp::Encoding;
use crate::wire::otlp::answer::{self, Code};

/// Paths that exporters of OpenTelemetry post to, of which one is served.
const OTLP_PATHS: [&str; 3] = ["/v1/traces", "/v1/logs", "/v1/metrics"];

/// Where Zipkin's reporters post, beside Jaeger's readers.
const ZIPKIN: &str = "/api/v2/";

/// Whom an answer is for.
enum Client {
    Grpc,
    Otlp(Encoding),
    Jaeger,
    JaegerV3,
}

/// An error as Jaeger's legacy interface tells it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Jaeger {
    /// The HTTP status.
    pub code: u16,
    pub msg: String,
    #[serde(rename = "traceID", skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

impl Client {
    fn of(request: &Request) -> Option<Self> {
        if grpc::is_grpc(request.headers()) {
            return Some(Client::Grpc);
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let path = request.uri().path();
        if path.starts_with("/api/v3/") {
            return Some(Client::JaegerV3);
        }
        if path.starts_with("/api/") && !path.starts_with(ZIPKIN) {
            return Some(Client::Jaeger);
        }
        let exports = !reads && OTLP_PATHS.contains(&path);
        exports.then(|| Client::Otlp(otlp::encoding(request.headers()).unwrap_or(Encoding::Json)))
    }
}

/// Says a refusal again as its client understands it.
pub async fn translate(request: Request, next: Next) -> Response {
    let client = Client::of(&request);
    let mut response = next.run(request).await;
    let (Some(client), Some(refusal)) = (client, response.extensions_mut().remove::<Refusal>()) else {
        return response;
    };
    let status = response.status().as_u16();
    let code = Code::of_http(status);
    let retry_after = refusal.retry_after.map(|wait| wait.as_secs().max(1));
    match client {
        Client::Grpc => {
            let code = Code::of_grpc(response.status().as_u16());
            grpc::refusal(code, &refusal.detail, retry_after)
        }
        Client::Otlp(encoding) => {
            let body = answer::status(encoding, code, &refusal.detail, retry_after);
            instead(response, otlp::media_type(encoding), body)
        }
        Client::Jaeger => {
            let error = Jaeger { code: status, msg: refusal.detail, trace_id: None };
            let body = json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": [error]});
            instead(response, "application/json", body.to_string())
        }
        Client::JaegerV3 => {
            let body = json!({"error": {"httpCode": status, "message": refusal.detail}});
            instead(response, "application/json", body.to_string())
        }
    }
}

/// The same answer with another body.
fn instead(response: Response, media_type: &'static str, body: impl IntoResponse) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    parts.headers.remove(header::CONTENT_LENGTH);
    (parts, body).into_response()
}

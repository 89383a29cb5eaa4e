//! Refusals in the words of whoever asked: clients of OTLP understand `google.rpc.Status` only, in their own encoding, and
//! those of gRPC only its trailers.

use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::error::Refusal;
use crate::http::routes::{grpc, otlp};
use crate::wire::otlp::Encoding;
use crate::wire::otlp::answer::{self, Code};

/// Paths that exporters of OpenTelemetry post to, of which one is served.
const OTLP_PATHS: [&str; 3] = ["/v1/traces", "/v1/logs", "/v1/metrics"];

/// Whom an answer is for.
enum Client {
    Grpc,
    Otlp(Encoding),
}

impl Client {
    fn of(request: &Request) -> Option<Self> {
        if grpc::is_grpc(request.headers()) {
            return Some(Client::Grpc);
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let exports = !reads && OTLP_PATHS.contains(&request.uri().path());
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
    let code = Code::of_http(response.status().as_u16());
    let retry_after = refusal.retry_after.map(|wait| wait.as_secs().max(1));
    match client {
        Client::Grpc => {
            let code = Code::of_grpc(response.status().as_u16());
            grpc::refusal(code, &refusal.detail, retry_after)
        }
        Client::Otlp(encoding) => {
            let body = answer::status(encoding, code, &refusal.detail, retry_after);
            let (mut parts, _) = response.into_parts();
            parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(otlp::media_type(encoding)));
            parts.headers.remove(header::CONTENT_LENGTH);
            (parts, body).into_response()
        }
    }
}

//! Who is asking, and whether the request came to the address it names.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::access::host;
use crate::access::{Caller, Denied};
use crate::http::Services;
use crate::http::error::ApiError;
use crate::model::tenant::Scope;

/// A caller that may ingest.
pub struct MayIngest(pub Caller);
/// A caller that may read.
pub struct MayRead(pub Caller);
/// A caller that may decide what is kept.
pub struct MayAdminister(pub Caller);

impl FromRequestParts<Services> for MayIngest {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        caller_with(parts, services, Scope::Ingest).map(Self)
    }
}

impl FromRequestParts<Services> for MayRead {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        caller_with(parts, services, Scope::Read).map(Self)
    }
}

impl FromRequestParts<Services> for MayAdminister {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        caller_with(parts, services, Scope::Admin).map(Self)
    }
}

fn caller_with(parts: &Parts, services: &Services, scope: Scope) -> Result<Caller, ApiError> {
    let bearer = parts.headers.get(header::AUTHORIZATION).map(|value| {
        let text = value.to_str().unwrap_or_default();
        match text.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
            _ => "",
        }
    });
    let caller = services.keys.caller(bearer)?;
    caller.require(scope)?;
    Ok(caller)
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        ApiError::new(StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::UNAUTHORIZED), denied.to_string())
    }
}

/// On loopback a request must name the loopback as its host: a page of a foreign origin that resolved its own name to
/// 127.0.0.1 does not. Source: OWASP on DNS rebinding; DESIGN's rule is the list of hosts.
pub async fn host(State(services): State<Services>, request: Request, next: Next) -> Response {
    let named = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let named = named.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    if services.loopback && !host::is_allowed(named) {
        return ApiError::new(
            StatusCode::FORBIDDEN,
            "the Host header must be localhost, 127.0.0.1 or [::1] while the service listens on loopback",
        )
        .into_response();
    }
    next.run(request).await
}

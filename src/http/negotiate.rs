//! JSON for programs, a drawing for people: what the Accept header asks for, and query parameters that say what is
//! wrong with them.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::error::ApiError;

/// Whether plain text is preferred to JSON: it is named, and JSON is not named before it. `*/*` means JSON.
pub fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let named: Vec<&str> = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim()).collect();
    let place = |media: &str| named.iter().position(|range| range.eq_ignore_ascii_case(media));
    match (place("text/plain"), place("application/json")) {
        (Some(text), Some(json)) => text < json,
        (text, _) => text.is_some(),
    }
}

/// Says of an answer whose form has no place for it what it leaves out. A cut that no header can carry is told as `true`.
pub fn truncated(cut: Option<&str>, mut response: Response) -> Response {
    if let Some(cut) = cut {
        let said = HeaderValue::from_str(cut).unwrap_or(HeaderValue::from_static("true"));
        response.headers_mut().insert(TRUNCATED, said);
    }
    response
}

const TRUNCATED: HeaderName = HeaderName::from_static("x-tracefall-truncated");

/// `answer` as JSON, or as what `draw` makes of it.
pub fn answer<T: Serialize>(headers: &HeaderMap, answer: &T, draw: impl FnOnce(&T) -> String) -> Response {
    let mut response =
        if wants_text(headers) { draw(answer).into_response() } else { axum::Json(answer).into_response() };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Query parameters; a wrong or unknown one is a 400 that names it.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(parameters)| Self(parameters))
            .map_err(|error| ApiError::bad_request(error.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_for_who_asks_for_it_first() {
        for (accept, text) in [
            ("*/*", false),
            ("text/plain", true),
            ("TEXT/PLAIN; charset=utf-8", true),
            ("application/json, text/plain", false),
            ("text/plain, application/json", true),
            ("text/html", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(wants_text(&headers), text, "{accept}");
        }
        assert!(!wants_text(&HeaderMap::new()));
    }
}

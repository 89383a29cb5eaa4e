//! `GET` and `PUT /v1/admin/ingest`: whether spans are taken, and which are not kept.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::Services;
use crate::http::auth::MayAdminister;
use crate::http::error::{ApiError, Problem};
use crate::levers::View;

/// Bytes that a change may have: the most rules there may be take less.
const MAX_BODY: usize = 64 << 10;

/// The levers, what they did, and how they changed. Asks the store nothing.
#[utoipa::path(
    get, path = "/v1/admin/ingest", tag = "operations",
    responses(
        (status = 200, body = View, description = "ETag names this state"),
        (status = 403, body = Problem, description = "The key lacks the admin scope"),
    )
)]
pub async fn show(State(services): State<Services>, _: MayAdminister) -> Response {
    with_tag(services.pipeline.control().view())
}

/// Changes the levers: `{"enabled": false, "for_secs": 3600, "rules": [...], "note": "why"}`. What is left out stays as it is;
/// `rules` takes the place of all that there are. In force with the answer, for every request that comes after.
#[utoipa::path(
    put, path = "/v1/admin/ingest", tag = "operations",
    params(("If-Match" = Option<String>, Header, description = "The state that is to be changed: an ETag")),
    request_body(content = Object, description = "See docs/api.md"),
    responses(
        (status = 200, body = View),
        (status = 400, body = Problem, description = "`errors` says what is wrong, by rule and field"),
        (status = 403, body = Problem, description = "The key lacks the admin scope"),
        (status = 412, body = Problem, description = "It has another state than If-Match wants"),
    )
)]
pub async fn change(
    State(services): State<Services>,
    MayAdminister(caller): MayAdminister,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let if_match =
        headers.get(header::IF_MATCH).map(|tag| tag.to_str().unwrap_or_default().trim_matches('"').to_owned());
    let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body broke off, or has more than {MAX_BODY} bytes"))
    })?;
    let view = services.pipeline.control().change(body.to_vec(), if_match, caller.name).await?;
    Ok(with_tag(view))
}

fn with_tag(view: View) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{}\"", view.etag));
    let mut response = Json(view).into_response();
    if let Ok(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

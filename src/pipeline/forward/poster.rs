//! One request of OTLP over HTTP, and what its answer means.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};

use super::batch::Part;
use crate::model::tenant::TenantId;
use crate::settings::forward::{Compression, ForwardSettings};
use crate::wire::hops;
use crate::wire::otlp::{Encoding, answer};

/// Tells the tenant of the spans, where it is not the one that everybody is by default.
const TENANT: HeaderName = HeaderName::from_static("x-tracefall-tenant");
const FORWARDED: HeaderName = HeaderName::from_static(hops::HEADER);
/// Bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// The longest that a target may ask to be left alone.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Characters of a reason.
const MAX_REASON_CHARS: usize = 300;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken {
        /// Spans that the target does not want.
        rejected: u64,
        why: String,
    },
    /// The same may be sent again, not before the time it gave.
    Later { after: Option<Duration>, reason: String },
    /// A fault of its own, which may pass.
    Broken { reason: String },
    /// Too much at a time.
    TooLarge { reason: String },
    /// Sending it again would change nothing.
    Refused { reason: String },
}

/// Posts to one target.
#[derive(Clone)]
pub(super) struct Poster {
    client: Client,
    url: Url,
    headers: HeaderMap,
    pub compression: Compression,
    /// What no reason may show, should the target repeat it.
    secrets: Vec<String>,
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poster").field("compression", &self.compression).finish_non_exhaustive()
    }
}

impl Poster {
    /// Errs with what is wrong with the target, without its secrets.
    pub fn new(settings: &ForwardSettings) -> Result<Self, String> {
        let url = Url::parse(&settings.url.expose()).map_err(|error| format!("its url is none: {error}"))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tracefall/", env!("CARGO_PKG_VERSION"))));
        if settings.compression == Compression::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, value) in &settings.headers {
            let wrong = || format!("its header {name} cannot be sent");
            let text = value.expose().ok_or_else(wrong)?;
            let mut value = HeaderValue::from_str(&text).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value);
        }
        // Once per process; a later call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let timeout = Duration::from_secs(settings.timeout_secs);
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .timeout(timeout)
            // Its headers are for nobody else.
            .redirect(Policy::none())
            .build()
            .map_err(|error| innermost(&error))?;
        let secrets = settings.secrets().into_iter().filter(|secret| secret.len() > 3).collect();
        Ok(Self { client, url, headers, compression: settings.compression, secrets })
    }

    /// Posts the body of this part.
    pub async fn post(&self, part: &Part, body: Bytes) -> Outcome {
        let mut headers = self.headers.clone();
        if let Ok(via) = HeaderValue::from_str(part.hops.as_str()) {
            headers.insert(FORWARDED, via);
        }
        if part.tenant != TenantId::default()
            && let Ok(tenant) = HeaderValue::from_str(part.tenant.as_str())
        {
            headers.insert(TENANT, tenant);
        }
        let sent = self.client.post(self.url.clone()).headers(headers).body(body).send().await;
        match sent {
            Ok(response) => self.judge(response).await,
            Err(error) => Outcome::Later { after: None, reason: self.without_secrets(&innermost(&error)) },
        }
    }

    async fn judge(&self, response: Response) -> Outcome {
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.trim().parse().ok());
        let after = after.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let encoding = if content_type.contains("json") { Encoding::Json } else { Encoding::Protobuf };
        let body = read(response).await;
        if status.is_success() {
            let (rejected, why) = answer::read_success(encoding, &body);
            return Outcome::Taken { rejected, why: self.without_secrets(&why) };
        }
        let told = answer::read_status(encoding, &body).filter(|told| !told.is_empty());
        let reason = match told {
            Some(told) => self.without_secrets(&format!("{status}: {told}")),
            None => status.to_string(),
        };
        match status.as_u16() {
            408 | 429 | 502..=504 => Outcome::Later { after, reason },
            500.. => Outcome::Broken { reason },
            413 => Outcome::TooLarge { reason },
            _ => Outcome::Refused { reason },
        }
    }

    /// A line of text for the log and /readyz.
    fn without_secrets(&self, text: &str) -> String {
        let text = self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"));
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON_CHARS).collect()
    }
}

/// What is there of a body, as far as it is wanted.
async fn read(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_ANSWER_BYTES - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_ANSWER_BYTES {
            break;
        }
    }
    body
}

/// The innermost cause, which says more than "error sending request", and no address.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

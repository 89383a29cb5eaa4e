//! The HTTP client of the commands that ask a server, and of the one that posts spans.

use std::time::Duration;

use clap::Args;
use reqwest::header::{CONTENT_TYPE, IF_MATCH, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// The server's address.
    #[arg(long, env = "TRACEFALL_URL", default_value = DEFAULT_SERVER, value_name = "URL")]
    server: String,
    /// A key, where the server wants one: with the scope read; to pin, unpin, delete and change ingest, admin; to post spans, ingest.
    #[arg(long, env = "TRACEFALL_KEY", hide_env_values = true)]
    key: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach {server}: {reason}; is `tracefall` running there? (--server or TRACEFALL_URL names another)")]
    Unreachable { server: String, reason: String },
    #[error("{detail}")]
    Refused { status: u16, detail: String },
    #[error("{server} answers something else than Tracefall would: {reason}")]
    Answer { server: String, reason: String },
}

const DEFAULT_SERVER: &str = "http://127.0.0.1:4318";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(60);

/// A server to which spans are posted, over connections that are kept.
pub struct Poster {
    server: Server,
    client: reqwest::Client,
    url: reqwest::Url,
}

/// What became of a post.
#[derive(Debug)]
pub enum Posted {
    Taken(Taken),
    /// Nothing was taken; the same may be sent again, after so long where the server says.
    Later(Option<Duration>),
}

/// An answer to posted spans.
#[derive(Debug, Default, Deserialize)]
pub struct Taken {
    pub accepted: u64,
    #[serde(default)]
    pub rejected: Vec<Rejected>,
    /// Not kept, because rules of the server's operator say so.
    #[serde(default)]
    pub sampled: u64,
    /// Refused by the store as data, and kept there among the dead letters.
    #[serde(default)]
    pub dead_letters: u64,
    /// Ingest is switched off there: nothing is kept.
    #[serde(default)]
    pub disabled: bool,
}

#[derive(Debug, Deserialize)]
pub struct Rejected {
    pub reason: String,
}

impl Server {
    /// Its address as it was given.
    pub fn address(&self) -> &str {
        &self.server
    }

    /// Whether it is the one that commands ask without being told.
    pub fn is_default(&self) -> bool {
        self.server == DEFAULT_SERVER
    }

    /// The answer to `GET path?query`; `None` for a 404.
    ///
    /// # Errors
    /// [`ClientError`] with what the server said, or why there is no answer.
    pub async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<Option<T>, ClientError> {
        self.ask(Method::GET, segments, query).await
    }

    /// The answer to a request without a body; `None` for a 404.
    ///
    /// # Errors
    /// As [`Server::get`].
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<Option<T>, ClientError> {
        let mut url = self.url(segments)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let response = self.send(self.client()?.request(method, url)).await?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map(Some).map_err(|error| self.answer(&error));
        }
        match self.refusal(status, &body) {
            ClientError::Refused { status: 404, .. } => Ok(None),
            refusal => Err(refusal),
        }
    }

    /// The answer to `GET path?query` as it is, and whether the server says that there is more; `None` for a 404.
    ///
    /// # Errors
    /// As [`Server::get`].
    pub async fn text(
        &self,
        segments: Vec<String>,
        query: Vec<(&'static str, String)>,
    ) -> Result<Option<(String, bool)>, ClientError> {
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let mut url = self.url(&segments)?;
        url.query_pairs_mut().extend_pairs(query);
        let response = self.send(self.client()?.get(url)).await?;
        let status = response.status();
        let truncated = response.headers().contains_key("x-tracefall-truncated");
        let body = response.text().await.map_err(|error| self.unreachable(&error))?;
        match status.is_success() {
            true => Ok(Some((body, truncated))),
            false => match self.refusal(status, body.as_bytes()) {
                ClientError::Refused { status: 404, .. } => Ok(None),
                refusal => Err(refusal),
            },
        }
    }

    /// The answer to `PUT path` with a JSON body, on the condition that the state has still the tag `if_match`.
    ///
    /// # Errors
    /// As [`Server::get`]; also a 404.
    pub async fn put<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        body: &serde_json::Value,
        if_match: Option<&str>,
    ) -> Result<T, ClientError> {
        let mut request = self.client()?.put(self.url(segments)?).json(body);
        if let Some(tag) = if_match {
            request = request.header(IF_MATCH, format!("\"{tag}\""));
        }
        let response = self.send(request).await?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        match status.is_success() {
            true => serde_json::from_slice(&body).map_err(|error| self.answer(&error)),
            false => Err(self.refusal(status, &body)),
        }
    }

    /// A way to post spans there. `stored`: each answer comes after the commit.
    ///
    /// # Errors
    /// If the address is none.
    pub fn poster(&self, stored: bool) -> Result<Poster, ClientError> {
        let mut url = self.url(&["v1", "spans"])?;
        if stored {
            url.set_query(Some("wait=stored"));
        }
        Ok(Poster { server: self.clone(), client: self.client()?, url })
    }

    fn url(&self, segments: &[&str]) -> Result<reqwest::Url, ClientError> {
        let mut url = reqwest::Url::parse(&self.server).map_err(|error| self.unreachable(&error))?;
        url.path_segments_mut()
            .map_err(|()| self.unreachable(&"not an address such as http://127.0.0.1:4318"))?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }

    fn client(&self) -> Result<reqwest::Client, ClientError> {
        // Once per process; a later call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).build();
        client.map_err(|error| self.unreachable(&error))
    }

    async fn send(&self, mut request: RequestBuilder) -> Result<reqwest::Response, ClientError> {
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        request.send().await.map_err(|error| self.unreachable(&innermost(&error)))
    }

    /// The error that a refusal is, in the server's words.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> ClientError {
        #[derive(Deserialize)]
        struct Problem {
            detail: String,
        }
        let Ok(Problem { mut detail }) = serde_json::from_slice(body) else {
            return self.answer(&format_args!("status {status}"));
        };
        if status == StatusCode::UNAUTHORIZED {
            detail.push_str(" (--key or TRACEFALL_KEY gives one)");
        }
        ClientError::Refused { status: status.as_u16(), detail }
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Unreachable { server: self.server.clone(), reason: reason.to_string() }
    }

    fn answer(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Answer { server: self.server.clone(), reason: reason.to_string() }
    }
}

impl Poster {
    /// Posts spans, one a line.
    ///
    /// # Errors
    /// [`ClientError`] with what the server said, or why there is no answer. Sending the same again is harmless.
    pub async fn post(&self, lines: String) -> Result<Posted, ClientError> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/x-ndjson").body(lines);
        let response = self.server.send(request).await?;
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return Ok(Posted::Later(after.map(Duration::from_secs)));
        }
        let body = response.bytes().await.map_err(|error| self.server.unreachable(&error))?;
        if !status.is_success() {
            return Err(self.server.refusal(status, &body));
        }
        serde_json::from_slice(&body).map(Posted::Taken).map_err(|error| self.server.answer(&error))
    }
}

/// The innermost cause of an error, which says more than "error sending request".
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

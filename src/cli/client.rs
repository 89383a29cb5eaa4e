//! The HTTP client of the commands that ask a server.

use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// The server's address.
    #[arg(long, env = "TRACEFALL_URL", default_value = "http://127.0.0.1:4318", value_name = "URL")]
    server: String,
    /// A key with the read scope (to pin and unpin: admin), where the server wants one.
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

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(60);

impl Server {
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
        let mut url = reqwest::Url::parse(&self.server).map_err(|error| self.unreachable(&error))?;
        url.path_segments_mut()
            .map_err(|()| self.unreachable(&"not an address such as http://127.0.0.1:4318"))?
            .pop_if_empty()
            .extend(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        // Once per process; a later call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).build();
        let mut request = client.map_err(|error| self.unreachable(&error))?.request(method, url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&Causes(&error)))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map(Some).map_err(|error| self.answer(&error));
        }
        #[derive(serde::Deserialize)]
        struct Problem {
            detail: String,
        }
        let problem: Problem =
            serde_json::from_slice(&body).map_err(|_| self.answer(&format_args!("status {status}")))?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED => Err(ClientError::Refused {
                status: 401,
                detail: format!("{} (--key or TRACEFALL_KEY gives one)", problem.detail),
            }),
            _ => Err(ClientError::Refused { status: status.as_u16(), detail: problem.detail }),
        }
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Unreachable { server: self.server.clone(), reason: reason.to_string() }
    }

    fn answer(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Answer { server: self.server.clone(), reason: reason.to_string() }
    }
}

/// The innermost cause of an error, which says more than "error sending request".
struct Causes<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut innermost = self.0;
        while let Some(cause) = innermost.source() {
            innermost = cause;
        }
        write!(f, "{innermost}")
    }
}

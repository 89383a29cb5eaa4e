//! What the tests share: a server in this process or as the real binary, and a client.

pub mod binary;
pub mod pgbouncer;
pub mod postgres;
pub mod proxy;
pub mod psql;
pub mod reference;

use std::net::SocketAddr;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tracefall::app::{self, Running};
use tracefall::clock::Clock;
use tracefall::settings::Settings;

/// A whole service in this process, on its own port and in its own folder.
pub struct TestServer {
    running: Running,
    pub client: Client,
    pub folder: TempDir,
    settings: Settings,
    clock: Clock,
}

/// Settings for a server in `folder` on a free port.
pub fn settings(folder: &TempDir) -> Settings {
    let mut settings = Settings::default();
    settings.server.port = 0;
    settings.server.grpc_port = 0;
    settings.store.data_dir = folder.path().join("data");
    settings
}

impl TestServer {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With settings that differ from the defaults.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::at(Clock::system(), change).await
    }

    /// By a clock of the test's own.
    pub async fn at(clock: Clock, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(&folder);
        change(&mut settings);
        Self::in_folder(folder, settings, clock).await
    }

    async fn in_folder(folder: TempDir, settings: Settings, clock: Clock) -> Self {
        let running = app::start(&settings, clock.clone()).await.unwrap();
        Self { running, client: client(), folder, settings, clock }
    }

    /// Stops it as SIGTERM would.
    pub async fn stop(self) {
        self.running.stop().await;
    }

    /// Stops it as SIGTERM would and starts another on the same store.
    pub async fn restart(self) -> Self {
        self.running.stop().await;
        Self::in_folder(self.folder, self.settings, self.clock).await
    }

    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub fn grpc_address(&self) -> SocketAddr {
        self.running.grpc_address().unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client.post(self.url(path)).header("content-type", "application/json").body(body)
    }

    /// Posts spans and waits until they are stored; all must be taken.
    pub async fn store(&self, spans: &Value) {
        let (status, answer) = json(self.post("/v1/spans?wait=stored", spans.to_string())).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["rejected"], serde_json::json!([]), "{answer}");
    }

    /// A 200 as JSON.
    pub async fn read(&self, path: &str) -> Value {
        let (status, answer) = json(self.get(path)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    /// What `Accept: text/plain` gives.
    pub async fn draw(&self, path: &str) -> String {
        let response = self.get(path).header("accept", "text/plain").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.text().await.unwrap()
    }

    /// Reads `path` until `enough` holds, for at most ten seconds.
    pub async fn read_until(&self, path: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while std::time::Instant::now() < deadline {
            last = self.read(path).await;
            if enough(&last) {
                return last;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{path} did not become what it should: {last:#}");
    }
}

pub fn client() -> Client {
    // Installed once per process; every later call finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

/// Sends, and reads the answer as JSON.
pub async fn json(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// The problem document of a refusal, after checking that it is one.
pub async fn problem(response: Response, status: u16) -> Value {
    assert_eq!(response.status().as_u16(), status, "{}", response.text().await.unwrap());
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert!(response.headers().contains_key("x-request-id"));
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    problem
}

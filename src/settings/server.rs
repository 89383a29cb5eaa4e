//! `[server]`: where the service listens and what a connection may cost it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::ingest::IngestSettings;
use super::pipeline::PipelineSettings;
use super::problem::Problems;

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Address or host name to listen on. Anything but loopback needs a key: see [`super::access::AccessSettings`].
    pub host: String,
    /// TCP port; 0 takes any free one. 4318 is OTLP's.
    pub port: u16,
    /// Whether to listen for gRPC on a port of its own. It is spoken on `port` as well.
    pub grpc: bool,
    /// TCP port for gRPC; 0 takes any free one. 4317 is OTLP's.
    pub grpc_port: u16,
    /// Seconds that a request's body may take to arrive (408), and that its answer may take after that (503).
    pub request_timeout_secs: u64,
    /// Seconds that a shutdown may take: requests are finished and accepted spans are stored within them.
    pub shutdown_timeout_secs: u64,
    /// Web origins whose pages may post spans (CORS), as `https://app.example.com`. Only ingest paths answer them.
    pub cors_origins: Vec<String>,
    /// Inflated bytes of all request bodies being read at one moment. Beyond it: 503 with Retry-After.
    pub in_flight_bytes: usize,
    /// Connections at one moment; further ones wait to be accepted.
    pub max_connections: usize,
    /// Bodies that are inflated and decoded at one moment; 0 means one per processor core.
    pub decode_threads: usize,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 4318,
            grpc: true,
            grpc_port: 4317,
            request_timeout_secs: 30,
            shutdown_timeout_secs: 10,
            cors_origins: Vec::new(),
            in_flight_bytes: 96 << 20,
            max_connections: 1_024,
            decode_threads: 0,
        }
    }
}

impl ServerSettings {
    /// The host without the brackets that an IPv6 address may be written in.
    pub fn bind_host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&self.host)
    }

    /// Whether only this machine can reach the server. A name other than `localhost` counts as reachable.
    pub fn is_loopback(&self) -> bool {
        match self.bind_host().parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// [`ServerSettings::decode_threads`] with 0 resolved; at least 1.
    pub fn decode_thread_count(&self) -> usize {
        match self.decode_threads {
            0 => std::thread::available_parallelism().map_or(1, Into::into),
            count => count,
        }
    }

    pub(super) fn check(&self, ingest: &IngestSettings, pipeline: &PipelineSettings, problems: &mut Problems) {
        if !is_host(&self.host) {
            problems.add(
                "server.host",
                format!("is {:?}; accepted is an address or a host name, without scheme and port", self.host),
            );
        }
        problems.within("server.request_timeout_secs", self.request_timeout_secs, 1..=3_600);
        problems.within("server.shutdown_timeout_secs", self.shutdown_timeout_secs, 1..=3_600);
        problems.within("server.max_connections", self.max_connections, 1..=1_000_000);
        problems.within("server.decode_threads", self.decode_threads, 0..=1_024);
        for origin in self.cors_origins.iter().filter(|origin| !is_origin(origin)) {
            problems.add(
                "server.cors_origins",
                format!("holds {origin:?}; accepted are origins such as https://app.example.com, in lower case and without a path"),
            );
        }
        if self.in_flight_bytes < ingest.limits.max_inflated_bytes {
            problems.add(
                "server.in_flight_bytes",
                format!(
                    "is {}; accepted is at least ingest.limits.max_inflated_bytes, {}, or the largest request that is allowed could never be read",
                    self.in_flight_bytes, ingest.limits.max_inflated_bytes
                ),
            );
        }
        if pipeline.wait_stored_max_secs >= self.request_timeout_secs {
            problems.add(
                "pipeline.wait_stored_max_secs",
                format!(
                    "is {}; accepted is less than server.request_timeout_secs, {}",
                    pipeline.wait_stored_max_secs, self.request_timeout_secs
                ),
            );
        }
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None if host.contains(':') => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    }
}

/// `scheme://host[:port]` exactly as browsers send it: <https://datatracker.ietf.org/doc/html/rfc6454#section-6.2>.
fn is_origin(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(scheme, rest)| {
        scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
            && !rest.is_empty()
            && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognised_in_every_spelling() {
        let on = |host: &str| ServerSettings { host: host.into(), ..ServerSettings::default() };
        for host in ["127.0.0.1", "127.8.9.1", "localhost", "LocalHost", "::1", "[::1]", "::ffff:127.0.0.1"] {
            assert!(on(host).is_loopback(), "{host}");
            assert!(is_host(host), "{host}");
        }
        for host in ["0.0.0.0", "::", "[::]", "10.0.0.1", "example.com", "localhost.example.com", "fly-local-6pn"] {
            assert!(!on(host).is_loopback(), "{host}");
            assert!(is_host(host), "{host}");
        }
        for host in ["", " ", "http://127.0.0.1", "127.0.0.1:4318", "[::1", "[localhost]", "a b"] {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for origin in ["https://app.example.com", "http://localhost:3000", "http://[::1]:8080", "app+x://host"] {
            assert!(is_origin(origin), "{origin}");
        }
        for origin in ["*", "null", "app.example.com", "https://", "https://a/", "https://A.example", "://a"] {
            assert!(!is_origin(origin), "{origin}");
        }
    }

    #[test]
    fn decoding_always_has_a_thread() {
        assert!(ServerSettings::default().decode_thread_count() >= 1);
        assert_eq!(ServerSettings { decode_threads: 3, ..Default::default() }.decode_thread_count(), 3);
    }
}

//! `tracefall healthcheck`: is the service that these settings describe alive? For `HEALTHCHECK` of an image that holds
//! nothing but the binary, and for anything else that judges by an exit code.

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use reqwest::redirect::Policy;

use super::CliError;
use super::client::{ClientError, innermost};
use crate::settings::server::ServerSettings;

/// What `/healthz` may take. It asks nothing of the store, so an answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Args)]
pub struct Healthcheck {
    /// The server's address [default: the one that the settings say it listens on].
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Healthcheck {
    /// Asks `/healthz` once. Only a process that accepts connections and answers 2xx is alive.
    ///
    /// # Errors
    /// [`ClientError`] with why there is no answer, or what it is instead.
    pub async fn run(&self, settings: impl FnOnce() -> Result<ServerSettings, CliError>) -> Result<(), CliError> {
        // An address that is given needs no settings, which may be those of another machine.
        let server = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => address(&settings()?),
        };
        let unreachable = |reason: String| ClientError::Unreachable { server: server.clone(), reason };
        // Once per process; a later call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A proxy of the environment is for the way out, and this is the way in. A redirect is not our answer.
        let mut client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().redirect(Policy::none());
        if !server.starts_with("https:") {
            // The system's certificates are not needed; a bare container has none, which would be an error.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| unreachable(innermost(&error)))?;
        let answer = client.get(format!("{server}/healthz")).send().await;
        let status = answer.map_err(|error| unreachable(innermost(&error)))?.status();
        if !status.is_success() {
            let reason = format!("status {status} at /healthz");
            return Err(ClientError::Answer { server, reason }.into());
        }
        Ok(())
    }
}

/// Where a server with these settings is reached from its own machine.
fn address(server: &ServerSettings) -> String {
    let host = match server.bind_host().parse::<IpAddr>() {
        // Every interface: loopback is one of them, and IPv4's is there where IPv6 is switched off.
        Ok(host) if host.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(host)) => format!("[{host}]"),
        _ => server.bind_host().to_owned(),
    };
    format!("http://{host}:{}", server.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_where_it_listens() {
        for (host, url) in [
            ("127.0.0.1", "http://127.0.0.1:4318"),
            ("0.0.0.0", "http://127.0.0.1:4318"),
            ("[::]", "http://127.0.0.1:4318"),
            ("::", "http://127.0.0.1:4318"),
            ("[::1]", "http://[::1]:4318"),
            ("fdaa::3", "http://[fdaa::3]:4318"),
            ("10.1.2.3", "http://10.1.2.3:4318"),
            ("localhost", "http://localhost:4318"),
        ] {
            assert_eq!(address(&ServerSettings { host: host.into(), ..ServerSettings::default() }), url, "{host}");
        }
    }
}

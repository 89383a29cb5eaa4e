//! PostgreSQL as the settings name it: the URLs of up to three roles, the schema, the pools. Pure: what a URL says is
//! judged here, and nothing is opened.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::problem::Problems;
use super::secret::DatabaseUrl;

/// `[store.postgres]`: connections and their time limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresSettings {
    /// Connections that write, at most. Two suit a small database: while one waits for its commit the other copies.
    pub writer_connections: u32,
    /// Connections that read, at most. Bounds the queries that run at one moment.
    pub reader_connections: u32,
    /// Seconds to wait for a free or a new connection; a database that slept takes some of them to wake.
    pub acquire_timeout_secs: u64,
    /// Seconds that one statement may take. Where no answer comes within 5 s more, its connection is closed and the store
    /// counts as unavailable.
    pub statement_timeout_secs: u64,
    /// Seconds after which an unused connection is closed, so that an idle database may sleep.
    pub idle_timeout_secs: u64,
    /// Seconds after which a connection is replaced, however busy it is.
    pub max_lifetime_secs: u64,
    /// Whether connections keep statements prepared by name.
    pub prepared_statements: PreparedStatements,
}

/// Whether connections keep statements prepared by name, which saves planning them anew. Behind a transaction pooler
/// that does not follow names they mean nothing: PgBouncer before 1.21 or with `max_prepared_statements = 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PreparedStatements {
    /// Until a pooler shows that does not follow them.
    Auto,
    Always,
    Never,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            writer_connections: 2,
            reader_connections: 2,
            acquire_timeout_secs: 10,
            statement_timeout_secs: 30,
            idle_timeout_secs: 60,
            max_lifetime_secs: 1_800,
            prepared_statements: PreparedStatements::Auto,
        }
    }
}

/// A database and the ways into it. Where one role does everything, the three URLs are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresLocation {
    /// Writes spans and roll-ups: `store.write_url`, else `store.url`.
    pub write_url: DatabaseUrl,
    /// Answers questions: `store.read_url`, else `store.url`.
    pub read_url: DatabaseUrl,
    /// Migrates, makes and drops partitions: `store.admin_url`, else as `write_url`.
    pub admin_url: DatabaseUrl,
    /// Every object of ours is in it. A plain identifier in lower case; quote it, since it may be a key word.
    pub schema: String,
}

/// What a database's URL has to look like.
pub(super) const ACCEPTED_URL: &str = "postgres://user:password@host:5432/database";

/// The modes that [libpq's table](https://www.postgresql.org/docs/current/libpq-ssl.html) lists.
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// The longest identifier: [`NAMEDATALEN`](https://www.postgresql.org/docs/current/sql-syntax-lexical.html) less one.
const MAX_IDENTIFIER_BYTES: usize = 63;

impl PostgresSettings {
    pub(super) fn check(&self, problems: &mut Problems) {
        problems.within("store.postgres.writer_connections", self.writer_connections, 1..=64);
        problems.within("store.postgres.reader_connections", self.reader_connections, 1..=256);
        problems.within("store.postgres.acquire_timeout_secs", self.acquire_timeout_secs, 1..=300);
        problems.within("store.postgres.statement_timeout_secs", self.statement_timeout_secs, 1..=3_600);
        problems.within("store.postgres.idle_timeout_secs", self.idle_timeout_secs, 1..=86_400);
        problems.within("store.postgres.max_lifetime_secs", self.max_lifetime_secs, 10..=86_400);
    }
}

/// Whether a text names a PostgreSQL database by a URL that can be taken apart. The complaint holds no password.
pub(super) fn check_url(url: &DatabaseUrl) -> Result<(), String> {
    let Some(parts) = Parts::of(url.expose()) else {
        return Err(format!("is {url}; accepted is {ACCEPTED_URL}"));
    };
    let port = parts.port.is_none_or(|port| port.parse::<u16>().is_ok());
    // What follows the first / ? or # is no longer user and password, whatever was meant.
    if !port || parts.path.contains('@') || parts.parameters.iter().any(|(_, value)| value.is_none()) {
        return Err(format!(
            "is {url}, which cannot be taken apart; accepted is {ACCEPTED_URL}, and in the password / ? # @ : and % are \
             written %2F %3F %23 %40 %3A and %25"
        ));
    }
    for (name, value) in &parts.parameters {
        let value = value.unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "sslmode" | "ssl-mode" if !SSL_MODES.contains(&value.to_ascii_lowercase().as_str()) => {
                return Err(format!("has {name}={value}; accepted are {}", SSL_MODES.join(", ")));
            }
            // An unknown parameter is logged with its value by the driver.
            other if other != "password" && other.contains("password") => {
                return Err(format!("has the parameter {name}, which is not known; accepted is password"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a schema's name needs no quotes but as a key word, and is not one that others own.
pub(super) fn check_schema(schema: &str) -> Result<(), String> {
    let plain = schema.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && schema.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && schema.len() <= MAX_IDENTIFIER_BYTES;
    if !plain {
        return Err(format!(
            "is {schema:?}; accepted are lower-case letters, digits and _, at most {MAX_IDENTIFIER_BYTES}, not starting \
             with a digit"
        ));
    }
    if ["public", "information_schema"].contains(&schema) || schema.starts_with("pg_") {
        return Err(format!("is {schema:?}, where other things live; accepted is a schema of Tracefall's own"));
    }
    Ok(())
}

/// What in a URL works and is probably not meant.
pub(super) fn warn_of_url(key: &str, url: &DatabaseUrl, problems: &mut Problems) {
    let Some(parts) = Parts::of(url.expose()) else { return };
    let host = parts.host();
    if parts.parameter("channel_binding") == Some("require") && is_pooler(host) {
        problems.add(
            key,
            format!(
                "has channel_binding=require for {host}, a pooler: with it a sleeping compute is not woken there (Neon); \
                 remove the parameter, Tracefall does without channel binding"
            ),
        );
    }
    if parts.parameter("sslmode").or(parts.parameter("ssl-mode")).is_none() && is_far(host) {
        problems.add(
            key,
            format!(
                "has no sslmode, so what goes to {host} is plain text if the server offers no TLS; sslmode=require \
                 insists on it, verify-full checks the certificate too, and disable says that plain text is meant"
            ),
        );
    }
}

/// What is better not written through: what a transaction pooler saves is nothing beside two connections, and it costs.
pub(super) fn warn_of_writing(key: &str, url: &DatabaseUrl, problems: &mut Problems) {
    let Some(parts) = Parts::of(url.expose()) else { return };
    let host = parts.host();
    if !parts.is_transaction_pooler() {
        return;
    }
    let direct = match host.split_once("-pooler.") {
        Some((endpoint, rest)) => format!("{endpoint}.{rest}"),
        None => "the direct host".to_owned(),
    };
    problems.add(
        key,
        format!(
            "leads to {host}, a transaction pooler, for writing too: that works and costs time, since statements cannot \
             stay prepared there; let store.write_url name {direct} (two connections are all it takes), and keep the \
             pooler for reading"
        ),
    );
}

/// A URL's parts as they stand: nothing is decoded.
struct Parts<'a> {
    host: &'a str,
    port: Option<&'a str>,
    path: &'a str,
    parameters: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        if !["postgres", "postgresql"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
            return None;
        }
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        // An IPv6 address has colons of its own, in brackets.
        let after_host = address.rfind(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match address[after_host..].split_once(':') {
            Some((rest_of_host, port)) => (&address[..after_host + rest_of_host.len()], Some(port)),
            None => (address, None),
        };
        let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
        let parameters = parameters.map(|parameter| match parameter.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (parameter, None),
        });
        Some(Self { host, port: port.filter(|port| !port.is_empty()), path, parameters: parameters.collect() })
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().rev().find(|(known, _)| *known == name).and_then(|(_, value)| *value)
    }

    /// Parameters win over the authority, as they do for the driver.
    fn host(&self) -> &'a str {
        self.parameter("hostaddr").or(self.parameter("host")).unwrap_or(self.host)
    }

    /// By the names and ports of those in use. Supabase's pooler is one in session mode on PostgreSQL's own port.
    fn is_transaction_pooler(&self) -> bool {
        match self.parameter("port").or(self.port) {
            Some("6432" | "6543") => true,
            None | Some("5432") if self.host().to_ascii_lowercase().ends_with(".supabase.com") => false,
            _ => is_pooler(self.host()),
        }
    }
}

/// By the names that poolers' hosts have: `ep-x-pooler.eu.aws.neon.tech`, `aws-0-eu.pooler.supabase.com`, `pgbouncer`.
fn is_pooler(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host.contains("pooler") || host.contains("pgbouncer")
}

/// Whether the way to a host probably leaves the private network: a name with dots, or a public address.
fn is_far(host: &str) -> bool {
    const NEAR: [&str; 6] = ["internal", "flycast", "local", "localhost", "lan", "svc"];
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => !(address.is_loopback() || address.is_private() || address.is_link_local()),
        Ok(IpAddr::V6(address)) => {
            !(address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local())
        }
        // A socket's directory is a host too.
        Err(_) if host.starts_with('/') || host.to_ascii_uppercase().starts_with("%2F") => false,
        Err(_) => match host.trim_end_matches('.').rsplit_once('.') {
            Some((_, top)) => !NEAR.iter().any(|near| near.eq_ignore_ascii_case(top)),
            None => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(url: &str) -> Result<(), String> {
        check_url(&DatabaseUrl::new(url))
    }

    fn warnings(url: &str) -> Vec<String> {
        let mut problems = Problems::default();
        warn_of_url("store.url", &DatabaseUrl::new(url), &mut problems);
        problems.into_list().into_iter().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn urls_as_platforms_give_them_are_accepted() {
        for url in [
            "postgres://db",
            "postgres://me@localhost/app",
            "postgresql://me:p%40ss@db.example:5432/app?sslmode=verify-full&application_name=x",
            "POSTGRES://me@[::1]:5433/app",
            "postgres://me:p:a:ss@db:5432/app",
            "postgres:///app?host=/var/run/postgresql",
            "postgres://me@%2Fvar%2Frun%2Fpostgresql/app",
            "postgresql://u:p@ep-a-b-123-pooler.eu-central-1.aws.neon.tech/db?sslmode=require&channel_binding=require",
            "postgres://postgres.abc:p@aws-0-eu-central-1.pooler.supabase.com:6543/postgres",
        ] {
            assert_eq!(checked(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn urls_that_cannot_work_are_refused_without_telling_the_password() {
        for (url, says) in [
            ("postgres:me:hunter2@db/app", "accepted is postgres://"),
            ("mysql://me:hunter2@db/app", "accepted is postgres://"),
            ("postgres://me:hunter2/x@db/app", "%2F"),
            ("postgres://me:hunter2?x@db/app", "%3F"),
            ("postgres://me:hunter2#x@db/app", "%23"),
            ("postgres://me:2/hunter2@db/app", "%2F"),
            ("postgres://me:2?hunter2@db/app", "%3F"),
            ("postgres://me:hunter2@db:five/app", "cannot be taken apart"),
            ("postgres://me:hunter2@db:65536/app", "cannot be taken apart"),
            ("postgres://me:hunter2@db/app?sslmode=on", "has sslmode=on; accepted are disable, allow"),
            ("postgres://me@db/app?sslpassword=hunter2", "has the parameter sslpassword"),
        ] {
            let text = checked(url).unwrap_err();
            assert!(text.contains(says) && !text.contains("hunter2"), "{url}: {text}");
        }
    }

    #[test]
    fn a_schema_is_a_plain_name_of_our_own() {
        for schema in ["tracefall", "_t", "spans_2026", "user"] {
            assert_eq!(check_schema(schema), Ok(()), "{schema}");
        }
        let long = "x".repeat(64);
        for schema in ["", "Tracefall", "2026", "a-b", "a.b", "a\"b", "spän", "a b", &long] {
            assert!(check_schema(schema).unwrap_err().contains("lower-case letters"), "{schema}");
        }
        for schema in ["public", "pg_catalog", "pg_x", "information_schema"] {
            assert!(check_schema(schema).unwrap_err().contains("of Tracefall's own"), "{schema}");
        }
    }

    #[test]
    fn channel_binding_at_a_pooler_is_warned_of() {
        for (url, warned) in [
            ("postgres://u:p@ep-x-pooler.eu.aws.neon.tech/d?sslmode=require&channel_binding=require", true),
            ("postgres://u:p@pgbouncer:6432/d?channel_binding=require", true),
            ("postgres://u:p@ep-x.eu.aws.neon.tech/d?sslmode=require&channel_binding=require", false),
            ("postgres://u:p@ep-x-pooler.eu.aws.neon.tech/d?sslmode=require&channel_binding=prefer", false),
            ("postgres://u:p@ep-x-pooler.eu.aws.neon.tech/d?sslmode=require", false),
        ] {
            let warnings = warnings(url);
            assert_eq!(warnings.len(), usize::from(warned), "{url}: {warnings:?}");
            assert!(warnings.iter().all(|text| text.contains("channel_binding") && !text.contains("u:p")));
        }
    }

    #[test]
    fn writing_through_a_transaction_pooler_is_advised_against() {
        for (url, advice) in [
            ("postgres://u:p@ep-x-pooler.eu.aws.neon.tech/d", Some("name ep-x.eu.aws.neon.tech (")),
            ("postgres://u:p@aws-0-eu.pooler.supabase.com:6543/d", Some("name the direct host (")),
            ("postgres://u:p@db:6432/d", Some("name the direct host (")),
            ("postgres:///d?host=pgbouncer", Some("name the direct host (")),
            ("postgres://u:p@aws-0-eu.pooler.supabase.com:5432/d", None),
            ("postgres://u:p@ep-x.eu.aws.neon.tech/d", None),
            ("postgres://u:p@localhost:5432/d", None),
        ] {
            let mut problems = Problems::default();
            warn_of_writing("store.url", &DatabaseUrl::new(url), &mut problems);
            let told: Vec<String> = problems.into_list().iter().map(ToString::to_string).collect();
            assert_eq!(told.len(), usize::from(advice.is_some()), "{url}: {told:?}");
            assert!(told.iter().all(|text| text.contains(advice.unwrap()) && !text.contains("u:p")), "{told:?}");
        }
    }

    #[test]
    fn a_far_host_without_sslmode_is_warned_of() {
        for (host, warned) in [
            ("db.example.com", true),
            ("203.0.113.7:5432", true),
            ("[2001:db8::1]:5432", true),
            ("localhost", false),
            ("127.0.0.1:5432", false),
            ("[::1]:5432", false),
            ("10.0.0.5", false),
            ("[fdaa:0:1::3]:5432", false),
            ("postgres", false),
            ("top1.nearest.of.my-pg.internal:5432", false),
            ("my-pg.flycast", false),
            ("db.default.svc.cluster.local", false),
            ("", false),
        ] {
            assert_eq!(warnings(&format!("postgres://me:p@{host}/app")).len(), usize::from(warned), "{host}");
            assert!(warnings(&format!("postgres://me:p@{host}/app?sslmode=disable")).is_empty(), "{host}");
        }
        assert!(warnings("postgres:///app?host=/var/run/postgresql").is_empty());
        assert_eq!(warnings("postgres:///app?host=db.example.com").len(), 1);
    }
}

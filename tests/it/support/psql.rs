//! A PostgreSQL database as its other users have it: through `psql` and `pg_dump`, never through the store.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A database of a test's own, and the roles made for it; all gone with it.
pub struct Database {
    server: String,
    name: String,
    roles: Vec<String>,
}

impl Database {
    /// A new, empty one. `None` where the tests have no server: that is said, and in CI it is a failure.
    pub fn new(test: &str) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let Some(server) = std::env::var("TRACEFALL_TEST_POSTGRES").ok().filter(|url| !url.is_empty()) else {
            assert!(std::env::var_os("CI").is_none(), "{test} needs PostgreSQL: run scripts/test");
            let how = "TRACEFALL_TEST_POSTGRES=$(scripts/postgres start) cargo test, or scripts/test";
            let skipped = format!("skipped without PostgreSQL: {test}; to run it: {how}\n");
            // Not captured, unlike what eprintln! writes.
            std::io::stderr().write_all(skipped.as_bytes()).unwrap();
            return None;
        };
        let name = format!("tracefall_{test}_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        psql(&server, &format!("CREATE DATABASE {name} TEMPLATE template0"));
        Some(Self { server, name, roles: Vec::new() })
    }

    /// As the server's superuser.
    pub fn url(&self) -> String {
        let (server, parameters) = match self.server.split_once('?') {
            Some((server, parameters)) => (server, format!("?{parameters}")),
            None => (self.server.as_str(), String::new()),
        };
        let (place, _) = server.rsplit_once('/').unwrap();
        format!("{place}/{}{parameters}", self.name)
    }

    /// As a role.
    pub fn url_of(&self, role: &str) -> String {
        let url = self.url();
        let (scheme, rest) = url.split_once("://").unwrap();
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        format!("{scheme}://{role}:{role}@{place}")
    }

    /// A new role that may log in and nothing more; its password is its name.
    pub fn role(&mut self, kind: &str) -> String {
        let role = format!("{}_{kind}", self.name);
        psql(&self.server, &format!("CREATE ROLE {role} LOGIN PASSWORD '{role}'"));
        self.roles.push(role.clone());
        role
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs SQL as the superuser; the rows as lines, with `|` between the columns.
    pub fn sql(&self, sql: &str) -> String {
        psql(&self.url(), sql)
    }

    /// What pg_dump writes with these arguments.
    pub fn dump(&self, arguments: &[&str]) -> String {
        let output = program("pg_dump").arg(format!("--dbname={}", self.url())).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let dump = String::from_utf8(output.stdout).unwrap();
        // A random word that newer versions fence their dumps with.
        let fence = |line: &&str| line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
        dump.lines().filter(|line| !fence(line)).flat_map(|line| [line, "\n"]).collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A test that failed already says more than a second failure here would.
        let _ = run(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
        for role in &self.roles {
            let _ = run(&self.server, &format!("DROP ROLE {role}"));
        }
    }
}

/// Runs SQL, several statements too; each is its own transaction unless the text says otherwise.
pub fn psql(url: &str, sql: &str) -> String {
    run(url, sql).unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

/// The names of the columns that a SELECT answers with.
pub fn columns(url: &str, sql: &str) -> Vec<String> {
    let answer = run_with(url, sql, &["--no-align"]).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    answer.lines().next().unwrap_or_default().split('|').map(str::to_owned).collect()
}

/// Runs SQL that the server must refuse, and gives its reason.
pub fn refused(url: &str, sql: &str) -> String {
    run(url, sql).expect_err(sql)
}

fn run(url: &str, sql: &str) -> Result<String, String> {
    run_with(url, sql, &["--no-align", "--tuples-only"])
}

fn run_with(url: &str, sql: &str, format: &[&str]) -> Result<String, String> {
    let mut child = program("psql")
        .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"])
        .args(format)
        .arg(format!("--dbname={url}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("psql, PostgreSQL's client, must be in PATH: {error}"));
    // It may end before it has read everything, at the first error.
    let _ = child.stdin.take().unwrap().write_all(sql.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PGTZ", "UTC").env("PGCLIENTENCODING", "UTF8").stdin(Stdio::null());
    command
}

//! Databases of tests' own, on the server that `TRACEFALL_TEST_POSTGRES` names: `scripts/test` starts one.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Once, OnceLock};

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::sync::OnceCell;
use tracefall::settings::DatabaseUrl;
use tracefall::settings::store::StoreSettings;
use tracefall::store::{self, Store};

use crate::store_suite::Home;
use crate::store_suite::records::NOW;

const VARIABLE: &str = "TRACEFALL_TEST_POSTGRES";

/// A database of a test's own, made when it is first opened and gone with the test.
pub struct Database {
    server: String,
    name: String,
    made: OnceCell<()>,
}

impl Database {
    /// None without a server to make it on, which is said once and is a failure in CI.
    pub fn new() -> Option<Self> {
        let server = server()?;
        let name = format!("tracefall_test_{}", tracefall::clock::random_hex_128());
        Some(Self { server, name, made: OnceCell::new() })
    }

    pub fn url(&self) -> String {
        url_of(&self.server, &self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its server listens, and as whom and with which password the tests log in there.
    pub fn login(&self) -> (SocketAddr, String, String) {
        login(&self.server)
    }

    /// Makes it, with the schema and the days around [`NOW`].
    pub async fn prepared(&self) {
        self.made.get_or_init(|| async { self.make(template(&self.server).await).await }).await;
    }

    pub fn settings(&self) -> StoreSettings {
        settings(&self.url())
    }

    /// Makes it, with nothing in it.
    pub async fn empty(&self) {
        self.made.get_or_init(|| self.make("template1".to_owned())).await;
    }

    /// Opens the store with other settings than the defaults.
    pub async fn open_with(&self, settings: &StoreSettings) -> Store {
        self.empty().await;
        store::open(settings).await.unwrap()
    }

    /// Another program's view of the database.
    pub async fn outside(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    async fn make(&self, template: String) {
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        execute(&mut connection, format!("CREATE DATABASE {} TEMPLATE {template}", self.name)).await;
    }
}

#[async_trait]
impl Home for Database {
    async fn open(&self) -> Store {
        self.open_with(&self.settings()).await
    }

    async fn ready(&self) -> Store {
        self.prepared().await;
        let store = self.open().await;
        store.maintenance.migrate_up().await.unwrap();
        store.maintenance.prepare_days(NOW).await.unwrap();
        store
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.made.get().is_none() {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        // A test's own runtime cannot wait here.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&server).await.unwrap();
                execute(&mut connection, format!("DROP DATABASE {name} WITH (FORCE)")).await;
            });
        });
        // A failing test has more to say than this.
        let _ = dropped.join();
    }
}

fn server() -> Option<String> {
    static TOLD: Once = Once::new();
    let server = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty());
    if server.is_none() {
        assert!(std::env::var("CI").is_err(), "{VARIABLE} is not set: in CI no test is skipped");
        TOLD.call_once(|| {
            eprintln!(
                "skipped: the tests on PostgreSQL. scripts/test runs them on a server of its own; or set {VARIABLE} to \
                 the URL of a server where the role may create databases"
            );
        });
    }
    server
}

/// The store in this database, as the defaults have it.
pub fn settings(url: &str) -> StoreSettings {
    StoreSettings { url: Some(DatabaseUrl::new(url)), ..StoreSettings::default() }
}

fn login(url: &str) -> (SocketAddr, String, String) {
    let place = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let (login, address) = place.rsplit_once('@').unwrap_or(("postgres", place));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let address = if address.contains(':') { address.to_owned() } else { format!("{address}:5432") };
    let address = address.to_socket_addrs().unwrap().find(SocketAddr::is_ipv4).unwrap();
    (address, user.to_owned(), password.to_owned())
}

fn url_of(server: &str, database: &str) -> String {
    let (url, parameters) = server.split_once('?').map_or((server, None), |(url, rest)| (url, Some(rest)));
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let host = url[after_scheme..].find('/').map_or(url, |slash| &url[..after_scheme + slash]);
    let parameters = parameters.map_or(String::new(), |rest| format!("?{rest}"));
    format!("{host}/{database}{parameters}")
}

/// The name of a database with the schema and the days around [`NOW`], made by whoever comes first; it stays for the
/// next run, under a name that follows the migrations.
async fn template(server: &str) -> String {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    if let Some(name) = TEMPLATE.get() {
        return name.clone();
    }
    let text = concat!(
        include_str!("../../../migrations/postgres/0001_spans.up.sql"),
        include_str!("../../../migrations/postgres/0002_deletions.up.sql")
    );
    let hash: String = Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("tracefall_template_{hash}");
    let mut connection = PgConnection::connect(server).await.unwrap();
    // Held by this session until it ends.
    connection.execute("SELECT pg_advisory_lock(7243)").await.unwrap();
    let exists = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1").bind(&name);
    if exists.fetch_optional(&mut connection).await.unwrap().is_none() {
        let unfinished = format!("{name}_unfinished");
        execute(&mut connection, format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)")).await;
        execute(&mut connection, format!("CREATE DATABASE {unfinished}")).await;
        let store = store::open(&settings(&url_of(server, &unfinished))).await.unwrap();
        store.maintenance.migrate_up().await.unwrap();
        store.maintenance.prepare_days(NOW).await.unwrap();
        store.maintenance.close().await;
        execute(&mut connection, format!("ALTER DATABASE {unfinished} RENAME TO {name}")).await;
    }
    connection.close().await.unwrap();
    TEMPLATE.get_or_init(|| name).clone()
}

/// Runs one statement made of our own names.
async fn execute(connection: &mut PgConnection, sql: String) {
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
}

//! PostgreSQL behind a real PgBouncer in transaction mode, which hands its few connections from client to client.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tracefall::settings::DatabaseUrl;
use tracefall::settings::store::{PreparedStatements, StoreSettings};
use tracefall::store::Store;

use super::Home;
use super::records::*;
use crate::support::pgbouncer::{Pgbouncer, Pooled};
use crate::support::postgres::Database;
use crate::support::psql::psql;

/// Fewer connections than the store has, so that they are shared.
const SHARED: Pooled = Pooled { pool_size: 2, follows_statements: false };

/// A database that is reached through a pooler of its own.
pub struct Behind {
    database: Database,
    pooler: Pgbouncer,
}

impl Behind {
    pub fn new() -> Option<Self> {
        Self::with(SHARED)
    }

    fn with(pooled: Pooled) -> Option<Self> {
        let database = Database::new()?;
        let (server, user, password) = database.login();
        let pooler = Pgbouncer::start(server, &user, &password, pooled)?;
        Some(Self { database, pooler })
    }

    fn settings(&self) -> StoreSettings {
        let url = self.pooler.url(self.database.name());
        StoreSettings { url: Some(DatabaseUrl::new(url)), ..StoreSettings::default() }
    }
}

#[async_trait]
impl Home for Behind {
    async fn open(&self) -> Store {
        self.database.open_with(&self.settings()).await
    }

    async fn ready(&self) -> Store {
        self.database.prepared().await;
        let store = self.open().await;
        store.maintenance.migrate_up().await.unwrap();
        store.maintenance.prepare_days(NOW).await.unwrap();
        store
    }
}

/// Connections to the server, idle and not, and clients that wait for one.
fn pool(home: &Behind) -> (u32, u32, u32) {
    let pools = home.pooler.console("SHOW POOLS");
    let row = pools.lines().find(|line| line.starts_with(home.database.name())).unwrap();
    let columns = home.pooler.columns("SHOW POOLS");
    let cell = |name: &str| {
        let at = columns.iter().position(|column| column == name).unwrap();
        row.split('|').nth(at).unwrap().parse::<u32>().unwrap()
    };
    (cell("sv_idle") + cell("sv_used") + cell("sv_tested"), cell("sv_active"), cell("cl_waiting"))
}

#[tokio::test]
async fn a_large_copy_that_meets_a_row_leaves_no_connection_stuck() {
    for pool_size in [1, 2] {
        let Some(mut home) = Behind::with(Pooled { pool_size, ..SHARED }) else { return };
        home.ready().await;
        let spans =
            |of_trace: u64, ids: std::ops::Range<u64>| ids.map(move |id| full(of_trace, id)).collect::<Vec<_>>();
        let met = [1, 1_000, 1_999];
        for (trace, id) in (1..).zip(met) {
            write(&home.open().await, spans(trace, id..id + 1)).await;
        }
        // Each store is new and expects no row, so each COPY fails: after its first row, amid, and at its end, megabytes
        // being on their way. Then it is done again with care.
        let writes = (1..=3).map(|trace| {
            let (home, batch) = (&home, spans(trace, 1..2_000));
            async move { home.open().await.spans.write_spans(&batch).await }
        });
        for written in futures_util::future::join_all(writes).await {
            written.expect("one that is stuck is given up by the store");
        }
        for trace in 1..=3 {
            assert_eq!(rows(&home.open().await, trace).await.len(), 1_999);
        }
        let (idle, active, waiting) = pool(&home);
        assert_eq!((active, waiting), (0, 0), "nobody holds a connection");
        assert!((1..=pool_size).contains(&idle));
        // What a session counted is told at its end at the latest.
        home.pooler.kill();
        let failed = format!("SELECT xact_rollback FROM pg_stat_database WHERE datname = '{}'", home.database.name());
        let deadline = Instant::now() + Duration::from_secs(20);
        while psql(&home.database.url(), &failed).trim().parse::<u32>().unwrap() < 3 {
            assert!(Instant::now() < deadline, "each COPY failed once");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Statements are used as the setting says, and whatever it says, none is taken for another.
#[tokio::test]
async fn names_of_statements_are_found_out_about() {
    for (follows_statements, setting) in [
        (false, PreparedStatements::Auto),
        (false, PreparedStatements::Never),
        (true, PreparedStatements::Auto),
        (true, PreparedStatements::Always),
        (true, PreparedStatements::Never),
    ] {
        let pooled = Pooled { follows_statements, ..SHARED };
        let Some(home) = Behind::with(pooled) else { return };
        home.database.prepared().await;
        let mut settings = home.settings();
        settings.postgres.prepared_statements = setting;
        // Two processes that have nothing in common but the pooler, each of which has connections of several kinds.
        let stores = [home.database.open_with(&settings).await, home.database.open_with(&settings).await];
        let work = stores.iter().zip([1_u64, 2]).map(|(store, process)| async move {
            for round in 0..30 {
                let trace = 100 * process + round;
                write(store, [full(trace, 1), started(trace, 2, NOW), whole(trace, 3, NOW)]).await;
                write(store, [ended(trace, 2, NOW.plus(SECOND))]).await;
                assert_eq!(rows(store, trace).await.len(), 3);
                assert!(!store.rollups.unsettled(1_000).await.unwrap().is_empty());
                assert!(store.maintenance.migrations().await.unwrap().iter().all(|state| state.applied));
                assert_eq!(store.maintenance.size().await.unwrap().dead_letters, 0);
            }
        });
        futures_util::future::join_all(work).await;
    }
}

//! A deploy: SIGTERM while the store is away.

use std::time::{Duration, Instant};

use super::load::{Load, Random};
use super::{Place, Site, until, until_stored};
use crate::faults::address;
use crate::support::proxy::{Proxy, Way};
use crate::support::psql::Database;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_with_the_store_away_ends_in_time_and_the_next_start_stores_all() {
    for way in [Way::Refused, Way::Swallowed] {
        let Some(database) = Database::new("sigterm") else { return };
        let proxy = Proxy::start(address(&database), Way::Open).await;
        let direct = database.url();
        let url = direct.replace(&address(&database).to_string(), &proxy.address.to_string());
        let mut site = Site::at(url);
        let timeout = 2;
        let load = Load::start(4, false, Random::seed());
        let mut server = site.start_with(|command| {
            command.env("TRACEFALL__SERVER__SHUTDOWN_TIMEOUT_SECS", timeout.to_string());
            command.env("TRACEFALL__STORE__POSTGRES__ACQUIRE_TIMEOUT_SECS", "1");
        });
        load.to(vec![server.address]);
        load.further(30).await;
        proxy.set(way);
        until(&server, |ready| ready["store"] != "ok").await;
        load.further(30).await;
        let begun = Instant::now();
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
        let took = begun.elapsed();
        // The time-out, and what a busy machine takes to notice.
        assert!(took < Duration::from_secs(timeout + 3), "{way:?}: took {took:?}");
        load.to(Vec::new());
        let ledger = load.stop().await;
        proxy.set(Way::Open);
        let server = site.start();
        let ready = until_stored(&server).await;
        assert!(ready["journal"]["replay_records"].as_u64().unwrap() > 0, "{ready}");
        site.until_settled().await;
        site.store = Place::Postgres { url: direct, _database: Some(database) };
        site.check(&ledger);
    }
}

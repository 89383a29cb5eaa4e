//! SIGKILL at random moments under load, and a start at once on the same data.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::load::{Load, Random};
use super::{Site, is_long, until, until_stored};
use crate::support::binary::tracefall;

/// Kills before the store is looked at.
const ROUNDS: u64 = 20;
/// The same in the long form, a store: 1 000 kills in all.
const LONG: u64 = 500;
/// How long a service lives at most once it listens, in milliseconds.
const LIFE_MS: u64 = 120;
/// How long one lives at most that is killed while it starts.
const BIRTH_MS: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_under_load_loses_and_doubles_nothing_in_sqlite() {
    rounds("SQLite", || Some(Site::sqlite())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_under_load_loses_and_doubles_nothing_in_postgres() {
    rounds("PostgreSQL", || Site::postgres("sigkill")).await;
}

async fn rounds(store: &str, site: impl Fn() -> Option<Site>) {
    let (mut kills, mut requests, mut spans) = (0, 0, 0);
    let begun = Instant::now();
    while kills == 0 || (is_long() && kills < LONG) {
        let Some(site) = site() else { return };
        let (answered, stored) = one(&site).await;
        (kills, requests, spans) = (kills + ROUNDS, requests + answered, spans + stored);
        let seconds = begun.elapsed().as_secs();
        eprintln!(
            "{store}: {kills} kills, {requests} requests acknowledged, {spans} spans stored, 0 lost, 0 doubled, {seconds} s"
        );
    }
}

/// Twenty kills of one service, and the comparison: requests acknowledged and spans stored.
async fn one(site: &Site) -> (u64, usize) {
    let seed = Random::seed();
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let load = Load::start(6, false, seed);
    for round in 0..ROUNDS {
        if random.one_in(5) {
            killed_while_starting(site, &mut random).await;
            continue;
        }
        let server = site.start();
        load.to(vec![server.address]);
        // Some die before they took anything.
        if round % 2 == 0 {
            load.further(1 + random.below(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.below(LIFE_MS))).await;
        server.kill();
        load.to(Vec::new());
    }
    let requests = load.answered();
    assert!(requests > ROUNDS, "{requests} requests are no load");
    let server = site.start();
    let ledger = load.stop().await;
    until_stored(&server).await;
    site.until_settled().await;
    let spans = site.check(&ledger);
    // What was stored is not stored again by the next start.
    server.kill();
    let server = site.start();
    until_stored(&server).await;
    assert_eq!(site.check(&ledger), spans);
    until(&server, |ready| ready["journal"]["lost_records"] == 0).await;
    (requests, spans)
}

async fn killed_while_starting(site: &Site, random: &mut Random) {
    let mut command = tracefall();
    site.set(&mut command);
    command
        .current_dir(site.path())
        .args(["--port", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(random.below(BIRTH_MS))).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

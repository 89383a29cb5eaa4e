//! The stores answer alike: the same random traffic goes into one of each kind and into a naive one in memory
//! ([`crate::support::reference`]), and every question is asked of all.
//!
//! A run is a seed. A failure says which; `TRACEFALL_TEST_SEED=<seed>` runs that one alone, and `TRACEFALL_TEST_LONG=1`
//! runs many.

mod answers;
mod http;
mod questions;
mod traffic;

use std::ops::Range;

use tracefall::store::Store;

use crate::store_suite::Home;
use crate::store_suite::records::Dice;
use crate::store_suite::sqlite::File;
use crate::support::postgres::Database;
use crate::support::reference::Reference;

/// The stores under comparison, with their names; the reference is the first.
struct Stores {
    homes: Vec<(&'static str, Box<dyn Home>)>,
    open: Vec<Store>,
}

impl Stores {
    /// All of them, empty; `None` without a PostgreSQL.
    async fn new() -> Option<Self> {
        let database = Database::new()?;
        let homes: Vec<(&'static str, Box<dyn Home>)> = vec![
            ("the reference", Box::new(Reference::default())),
            ("SQLite", Box::new(File::new())),
            ("PostgreSQL", Box::new(database)),
        ];
        let mut open = Vec::new();
        for (_, home) in &homes {
            open.push(home.ready().await);
        }
        Some(Self { homes, open })
    }

    /// Closes one of them and opens it again.
    async fn restart(&mut self, index: usize) {
        self.open[index].maintenance.close().await;
        self.open[index] = self.homes[index].1.ready().await;
    }

    /// Each with its name.
    fn each(&self) -> impl Iterator<Item = (&'static str, &Store)> {
        self.homes.iter().map(|(name, _)| *name).zip(&self.open)
    }
}

/// Says which seed failed, if the test does while it is held.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("TRACEFALL_TEST_SEED={} does it again", self.0);
        }
    }
}

/// The seeds to run: a few, many where time is no matter, or just the one that is asked for.
fn seeds(few: u64, many: u64) -> Range<u64> {
    let given = std::env::var("TRACEFALL_TEST_SEED").ok().map(|seed| seed.parse::<u64>().expect("a seed is a number"));
    let long = std::env::var_os("TRACEFALL_TEST_LONG").is_some();
    given.map_or(1..1 + if long { many } else { few }, |seed| seed..seed + 1)
}

#[tokio::test]
async fn random_traffic_reads_alike_from_every_store() {
    for seed in seeds(2, 30) {
        let Some(mut stores) = Stores::new().await else { return };
        let _seed = Seed(seed);
        let mut dice = Dice(seed);
        let mut traffic = traffic::Traffic::default();
        traffic.write(&stores, &mut dice).await;
        for _ in 0..30 {
            match dice.below(10) {
                0..=4 => traffic.write(&stores, &mut dice).await,
                5 => traffic.write_again(&stores, &mut dice).await,
                6 => traffic.write_dead_letters(&stores, &mut dice).await,
                7 => {
                    let index = 1 + dice.below(2) as usize;
                    stores.restart(index).await;
                }
                _ => traffic.settle(&stores, &mut dice).await,
            }
            questions::ask_some(&stores, &traffic, &mut dice).await;
        }
        questions::ask_all(&stores, &traffic, &mut dice).await;
    }
}

//! Load as it comes in life: several connections; requests of one to two hundred records, packed and not; whole spans,
//! starts whose ends come later by another connection, records said twice; and clients that send again what was not
//! answered.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ledger::{BOTH, END, Key, Ledger, Record, START};
use crate::support::client;

/// Most records of a request.
const MOST: u64 = 200;
/// Requests that are remembered, to be sent again.
const REMEMBERED: usize = 20;

/// Clients that send until they are stopped.
pub struct Load {
    pub ledger: Arc<Ledger>,
    services: watch::Sender<Vec<SocketAddr>>,
    stop: Arc<AtomicBool>,
    /// Requests that were acknowledged.
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

/// What the clients share.
struct Shared {
    ledger: Arc<Ledger>,
    services: watch::Receiver<Vec<SocketAddr>>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    /// Whether what was not answered is sent until it is.
    insist: bool,
    next_trace: AtomicU64,
    /// Spans that were begun and not ended.
    begun: Mutex<Vec<Key>>,
    /// Some requests of before.
    before: Mutex<Vec<Vec<Record>>>,
}

impl Load {
    /// `insist`: clients do not go on before a request was acknowledged, wherever; otherwise they sometimes give up.
    pub fn start(connections: u64, insist: bool, seed: u64) -> Self {
        let (services, seen) = watch::channel(Vec::new());
        let (ledger, stop, answered) = (Arc::new(Ledger::new()), Arc::default(), Arc::default());
        let shared = Arc::new(Shared {
            ledger: Arc::clone(&ledger),
            services: seen,
            stop: Arc::clone(&stop),
            answered: Arc::clone(&answered),
            insist,
            next_trace: AtomicU64::new(1),
            begun: Mutex::default(),
            before: Mutex::default(),
        });
        let client = |number| tokio::spawn(run(shared.clone(), Random::new(seed ^ (number + 1))));
        Self { ledger, services, stop, answered, clients: (0..connections).map(client).collect() }
    }

    /// Where to send from now on; empty: nowhere.
    pub fn to(&self, services: Vec<SocketAddr>) {
        self.services.send_replace(services);
    }

    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many further requests were acknowledged.
    pub async fn further(&self, requests: u64) {
        let wanted = self.answered() + requests;
        let deadline = std::time::Instant::now() + super::PATIENCE;
        while self.answered() < wanted {
            assert!(std::time::Instant::now() < deadline, "nothing is acknowledged");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends the clients after the requests that they are at.
    pub async fn stop(self) -> Arc<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.ledger
    }
}

async fn run(shared: Arc<Shared>, mut random: Random) {
    let client = client();
    while !shared.stop.load(Ordering::Relaxed) {
        let records = shared.request(&mut random);
        shared.ledger.sent(&records);
        let body = shared.ledger.body(&records);
        while !shared.post(&client, &records, &body, &mut random).await {
            if shared.stop.load(Ordering::Relaxed) && !shared.insist {
                return;
            }
            if !shared.insist && random.one_in(2) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Shared {
    /// The records of the next request.
    fn request(&self, random: &mut Random) -> Vec<Record> {
        let mut before = self.before.lock().unwrap();
        if !before.is_empty() && random.one_in(8) {
            let again = random.below(before.len() as u64) as usize;
            return before[again].clone();
        }
        let mut begun = self.begun.lock().unwrap();
        // Mostly small ones.
        let most = if random.one_in(4) { MOST } else { 12 };
        let count = 1 + random.below(most);
        let mut records = Vec::new();
        let (mut trace, mut span) = (self.next_trace.fetch_add(1, Ordering::Relaxed), 0);
        for _ in 0..count {
            if !begun.is_empty() && random.one_in(6) {
                let ended = random.below(begun.len() as u64) as usize;
                records.push(Record { key: begun.swap_remove(ended), says: END });
                continue;
            }
            span += 1;
            let key = (trace, span);
            if random.one_in(5) {
                begun.push(key);
                records.push(Record { key, says: START });
            } else {
                records.push(Record { key, says: BOTH });
            }
            if random.one_in(12) {
                (trace, span) = (self.next_trace.fetch_add(1, Ordering::Relaxed), 0);
            }
        }
        if before.len() >= REMEMBERED {
            let forgotten = random.below(REMEMBERED as u64) as usize;
            before.swap_remove(forgotten);
        }
        before.push(records.clone());
        records
    }

    /// Whether it was acknowledged.
    async fn post(&self, client: &Client, records: &[Record], body: &str, random: &mut Random) -> bool {
        let service = {
            let services = self.services.borrow();
            if services.is_empty() {
                return false;
            }
            services[random.below(services.len() as u64) as usize]
        };
        let path = if random.one_in(10) { "/v1/spans?wait=stored" } else { "/v1/spans" };
        let request = client.post(format!("http://{service}{path}")).header("content-type", "application/json");
        let request = match random.one_in(3) {
            true => request.header("content-encoding", "gzip").body(packed(body)),
            false => request.body(body.to_owned()),
        };
        let Ok(response) = request.send().await else { return false };
        let status = response.status().as_u16();
        assert!([200, 202, 429, 503].contains(&status), "{status}: {}", response.text().await.unwrap_or_default());
        if !response.status().is_success() {
            return false;
        }
        self.ledger.acknowledged(records);
        self.answered.fetch_add(1, Ordering::Relaxed);
        true
    }
}

fn packed(body: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Numbers that are the same in every run with the same seed (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From the clock.
    pub fn seed() -> u64 {
        tracefall::clock::Clock::system().now().as_u64()
    }

    /// A number below this one.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

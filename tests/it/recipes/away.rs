//! Servers as a client meets them on a bad day: nobody listens, nobody answers, everything is refused for now.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use flate2::read::GzDecoder;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Its port is closed.
    Refused,
    /// It accepts connections and never answers.
    Silent,
    /// It answers 503 with `Retry-After: 1`.
    Unavailable,
    /// The same to the first request, and takes what comes after.
    Returning,
}

pub struct Away {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    keys: AtomicUsize,
    spans: Mutex<HashSet<String>>,
    /// Of each request: the port that it came from, and how many records of it were taken.
    taken: Mutex<Vec<(u16, usize)>>,
    over: AtomicBool,
}

impl Away {
    /// `key` is what requests should carry.
    pub fn start(fault: Fault, key: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        if fault != Fault::Refused {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || accept(&listener, fault, key, &seen));
        }
        Self { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many different spans were taken.
    pub fn spans(&self) -> u64 {
        self.seen.spans.lock().unwrap().len() as u64
    }

    /// What was taken of each request, in the order of their answers: for messages.
    pub fn taken(&self) -> String {
        format!("{:?}", self.seen.taken.lock().unwrap())
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Requests that were read whole; of them, those that carried the key.
    pub fn requests(&self) -> (usize, usize) {
        (self.seen.requests.load(Ordering::Relaxed), self.seen.keys.load(Ordering::Relaxed))
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; with a closed port there is none.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, fault: Fault, key: &'static str, seen: &Arc<Seen>) {
    let mut held = Vec::new();
    for stream in listener.incoming() {
        if seen.over.load(Ordering::Relaxed) {
            return;
        }
        seen.connections.fetch_add(1, Ordering::Relaxed);
        let stream = stream.unwrap();
        if fault == Fault::Silent {
            held.push(stream);
        } else {
            let seen = Arc::clone(seen);
            // Ends with the connection, whatever its other end did.
            std::thread::spawn(move || answer(&stream, fault, key, &seen));
        }
    }
}

fn answer(stream: &TcpStream, fault: Fault, key: &str, seen: &Seen) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let (mut authorized, mut zipped) = (false, false);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "content-encoding" => zipped = value.trim() == "gzip",
                "authorization" => authorized = value.trim() == format!("Bearer {key}"),
                _ => {}
            }
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let before = seen.requests.fetch_add(1, Ordering::Relaxed);
        seen.keys.fetch_add(usize::from(authorized), Ordering::Relaxed);
        let mut writer = stream;
        if fault == Fault::Returning && before > 0 {
            let plain: Box<dyn Read> = if zipped { Box::new(GzDecoder::new(&*body)) } else { Box::new(&*body) };
            let spans: Vec<Value> = serde_json::from_reader(plain).unwrap();
            seen.taken.lock().unwrap().push((stream.peer_addr()?.port(), spans.len()));
            let ids = spans.iter().map(|span| span["span_id"].as_str().unwrap().to_owned());
            seen.spans.lock().unwrap().extend(ids);
            writer.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")?;
            continue;
        }
        seen.taken.lock().unwrap().push((stream.peer_addr()?.port(), 0));
        writer.write_all(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")?;
    }
}

//! A way to a server that can be made to fail: what stands between the service and its database in real life.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What becomes of connections, those that stand and those to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Open,
    /// Nobody listens; connections that stood are reset.
    Refused,
    /// Connections are accepted and nothing passes.
    Swallowed,
    /// Each piece of what the client says is held back for so long: about once a statement.
    Slow(Duration),
    /// Each connection ends after so many bytes from the client.
    Cut(usize),
}

/// Listens on a port of its own and passes on to the server.
pub struct Proxy {
    pub address: SocketAddr,
    way: watch::Sender<Way>,
    standing: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    listening: AbortHandle,
    /// Keeps the port while nobody listens.
    _place: TcpSocket,
}

impl Proxy {
    pub async fn start(server: SocketAddr, way: Way) -> Self {
        let place = socket();
        place.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = place.local_addr().unwrap();
        let (way, seen) = watch::channel(way);
        let standing = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::new(AtomicUsize::new(0));
        let listening = tokio::spawn(listen(address, server, seen, standing.clone(), accepted.clone()));
        Self { address, way, standing, accepted, listening: listening.abort_handle(), _place: place }
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Connections that stand at this moment.
    pub fn standing(&self) -> usize {
        self.standing.load(Ordering::Relaxed)
    }

    /// Connections that ever came.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket
}

async fn listen(
    address: SocketAddr,
    server: SocketAddr,
    mut way: watch::Receiver<Way>,
    standing: Arc<AtomicUsize>,
    ever: Arc<AtomicUsize>,
) {
    loop {
        // Whoever sets the way lives longer than this.
        if way.wait_for(|way| *way != Way::Refused).await.is_err() {
            return;
        }
        let socket = socket();
        socket.bind(address).unwrap();
        let listener: TcpListener = socket.listen(64).unwrap();
        let mut refused = way.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (client, _) = accepted.unwrap();
                    ever.fetch_add(1, Ordering::Relaxed);
                    let (way, standing) = (way.clone(), standing.clone());
                    tokio::spawn(async move {
                        standing.fetch_add(1, Ordering::Relaxed);
                        connection(client, server, way).await;
                        standing.fetch_sub(1, Ordering::Relaxed);
                    });
                }
                _ = refused.wait_for(|way| *way == Way::Refused) => break,
            }
        }
    }
}

async fn connection(client: TcpStream, server: SocketAddr, way: watch::Receiver<Way>) {
    let mut refused = way.clone();
    let pass = async {
        let server = TcpStream::connect(server).await?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        // Whoever ends first ends both.
        tokio::select! {
            ended = pass(from_client, to_server, way.clone(), true) => ended,
            ended = pass(from_server, to_client, way, false) => ended,
        }
    };
    tokio::select! {
        _ = pass => {}
        _ = refused.wait_for(|way| *way == Way::Refused) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    is_client: bool,
) -> std::io::Result<()> {
    let mut passed = 0;
    let mut buffer = Vec::with_capacity(64 << 10);
    loop {
        // Whoever hangs up is heard, also while nothing passes.
        tokio::select! {
            read = from.read_buf(&mut buffer) => if read? == 0 { return Ok(()) },
            seen = async { way.wait_for(|way| *way != Way::Swallowed).await.is_ok() }, if !buffer.is_empty() => {
                if !seen { return Ok(()) }
            }
        }
        let now = *way.borrow();
        if now == Way::Swallowed {
            continue;
        }
        passed += buffer.len();
        match now {
            Way::Cut(bytes) if is_client && passed > bytes => return Ok(()),
            Way::Slow(wait) if is_client => tokio::time::sleep(wait).await,
            _ => {}
        }
        to.write_all(&buffer).await?;
        buffer.clear();
    }
}

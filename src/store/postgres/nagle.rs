//! Sends what is written at once (`TCP_NODELAY`), which sqlx 0.9.0 leaves to Nagle's algorithm: the few bytes that end a
//! COPY then wait for the server's delayed acknowledgement, about 40 ms, before they leave. sqlx hands out no socket, so
//! that of a connection is looked for among the process's own.
//!
//! To be removed with the first sqlx that sets the option: <https://github.com/launchbadge/sqlx/pull/4336>.

use std::fs;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{SocketAddr, getpeername};

/// Sets the option on every socket of this process that is connected to this port: more of them than are meant have it
/// set already. Costs some microseconds for each open descriptor; meant for once a connection.
pub fn send_at_once(port: u16) {
    // Linux lists a process's descriptors under the one name, the others under the other.
    let Some(listed) = ["/proc/self/fd", "/dev/fd"].iter().find_map(|folder| fs::read_dir(folder).ok()) else { return };
    let descriptors: Vec<RawFd> =
        listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(|fd| *fd > 2).collect();
    for descriptor in descriptors {
        // SAFETY: nothing is read, written or closed by this name. Should the descriptor have been closed since it was
        // listed, the calls fail, or ask and set what is harmless for whatever has its number now.
        let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let peer = getpeername(socket).ok().flatten().and_then(|peer| SocketAddr::try_from(peer).ok());
        if peer.is_some_and(|peer| peer.port() == port) {
            // A server that cannot be asked for it is only slower.
            let _ = set_tcp_nodelay(socket, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_connections_to_the_port_are_found_and_no_others() {
        let (wanted, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0").ok());
        let port = wanted.local_addr().unwrap().port();
        let connection = TcpStream::connect(wanted.local_addr().unwrap()).unwrap();
        let another = other.map(|other| TcpStream::connect(other.local_addr().unwrap()).unwrap());
        assert!(!connection.nodelay().unwrap());
        send_at_once(port);
        assert!(connection.nodelay().unwrap());
        assert!(another.is_none_or(|another| !another.nodelay().unwrap()));
    }
}

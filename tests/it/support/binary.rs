//! The real binary as a child process, killed with its test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary with an environment of its own: nothing of the developer's settings reaches it. TRACEFALL_TEST_BINARY names
/// another than the one that was built with the tests, such as a release.
pub fn tracefall() -> Command {
    let other = std::env::var_os("TRACEFALL_TEST_BINARY");
    let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_tracefall").into()));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Runs to its end.
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts `tracefall` in `folder` on a free port, and waits until it listens.
    pub fn start(folder: &Path, change: impl FnOnce(&mut Command)) -> Self {
        Self::start_on(0, folder, change)
    }

    /// The same on a port, such as that of a server that has ended.
    pub fn start_on(port: u16, folder: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = tracefall();
        command
            .current_dir(folder)
            .args(["--port", &port.to_string()])
            .env("TRACEFALL__TELEMETRY__FORMAT", "json")
            .env("TRACEFALL__SERVER__GRPC_PORT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut address = None;
        let mut line = String::new();
        while address.is_none() {
            line.clear();
            let read = log.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the service ended: {:?}", child.wait());
            address = line.split("listens on http://").nth(1).map(|rest| {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c))).unwrap_or(rest.len());
                rest[..end].parse().unwrap()
            });
        }
        // Whatever is logged later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address: address.unwrap() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as an administrator or a lack of memory would, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name (`TERM`, `KILL`, `INT`).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end, at most 30 s.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the service does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

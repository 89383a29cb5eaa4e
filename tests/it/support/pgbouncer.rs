//! A real PgBouncer in transaction mode before a server, on a free port of loopback; it ends with its test, and with the
//! tests' process however that ends.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::psql::{columns, psql};

/// Names the program, where it is not the one in PATH: to try another version.
const VARIABLE: &str = "TRACEFALL_TEST_PGBOUNCER";

pub struct Pgbouncer {
    folder: TempDir,
    program: PathBuf,
    pub address: SocketAddr,
    user: String,
    running: Option<Running>,
}

/// How it stands before its server.
#[derive(Clone, Copy)]
pub struct Pooled {
    /// Connections to the server for each database; how many clients share them it does not mind.
    pub pool_size: u32,
    /// Whether it follows prepared statements, as versions from 1.21 can. Else nothing is done about them.
    pub follows_statements: bool,
}

/// The process, and a shell that ends it when its standard input ends.
struct Running {
    shell: Child,
    process: String,
}

impl Pgbouncer {
    /// Before the server at this address, where it logs in as this user whoever comes. None without the program, which
    /// is said once and is a failure in CI.
    pub fn start(server: SocketAddr, user: &str, password: &str, pooled: Pooled) -> Option<Self> {
        let program = program()?;
        let folder = tempfile::tempdir().unwrap();
        let following = match (version(&program) >= (1, 21), pooled.follows_statements) {
            (true, follows) => format!("max_prepared_statements = {}\n", if follows { 100 } else { 0 }),
            (false, false) => String::new(),
            (false, true) => {
                tell(&format!("{} is too old to follow prepared statements\n", program.display()));
                return None;
            }
        };
        let password = if password.is_empty() { String::new() } else { format!(" password={password}") };
        for _ in 0..20 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let settings = format!(
                "[databases]\n* = host={} port={} user={user}{password}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = {}\n\
                 server_login_retry = 1\n{following}",
                server.ip(),
                server.port(),
                address.port(),
                pooled.pool_size,
            );
            std::fs::write(folder.path().join("pgbouncer.ini"), settings).unwrap();
            if let Some(running) = Running::start(&program, folder.path(), address) {
                return Some(Self { folder, program, address, user: user.to_owned(), running: Some(running) });
            }
        }
        panic!("{}", std::fs::read_to_string(folder.path().join("log")).unwrap());
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://{}:any@{}/{database}", self.user, self.address)
    }

    /// What its console answers.
    pub fn console(&self, command: &str) -> String {
        psql(&self.url("pgbouncer"), command)
    }

    /// The names of the columns of what its console answers.
    pub fn columns(&self, command: &str) -> Vec<String> {
        columns(&self.url("pgbouncer"), command)
    }

    /// Kills it: its clients lose their connections in the middle of whatever they do.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        self.kill();
        let running = Running::start(&self.program, self.folder.path(), self.address);
        self.running = Some(running.expect("it started there before"));
    }
}

impl Running {
    fn start(program: &Path, folder: &Path, address: SocketAddr) -> Option<Self> {
        let log = std::fs::File::create(folder.join("log")).unwrap();
        // It refuses to serve as root.
        let (root, user) = ("[ \"$(id -u)\" = 0 ]", "$(id -un postgres 2>/dev/null || echo nobody)");
        let script = format!(
            "if {root}; then as=--user={user}; fi; \"$0\" $as \"$1\" >&2 & echo $!; cat >/dev/null; kill -KILL $!; wait"
        );
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .arg(program)
            .arg(folder.join("pgbouncer.ini"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut process = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut process).unwrap();
        let running = Self { shell, process: process.trim().to_owned() };
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && running.lives() {
            if TcpStream::connect(address).is_ok() {
                return Some(running);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    fn lives(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process)).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

fn program() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian keeps it.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = named.or_else(|| folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file()));
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "pgbouncer is missing: in CI no test is skipped");
        tell(
            "skipped: the tests behind PgBouncer, which is missing (Debian's package: pgbouncer); scripts/test installs it\n",
        );
    }
    found
}

/// `PgBouncer 1.18.0` as (1, 18).
fn version(program: &Path) -> (u32, u32) {
    let output = Command::new(program).arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Once, and past the capture of a test's output.
fn tell(text: &str) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| std::io::stderr().write_all(text.as_bytes()).unwrap());
}

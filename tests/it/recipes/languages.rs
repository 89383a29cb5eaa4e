//! The languages of the client recipes: whether they are here, and how their test programs are run.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// A program and its arguments.
#[derive(Clone, Debug)]
pub struct Program(Vec<String>);

impl Program {
    pub fn with(&self, arguments: &[&str]) -> Self {
        Self(self.0.iter().cloned().chain(arguments.iter().map(ToString::to_string)).collect())
    }

    /// In an environment that holds nothing of the developer's.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.0[0]);
        command.args(&self.0[1..]).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
        command
    }
}

/// A program of tests/clients/python; None without Python, which is said and is a failure in CI.
pub fn python(file: &str) -> Option<Program> {
    let version = version_of("python3", "--version");
    there(version.is_some_and(|version| version >= (3, 9)), "Python 3.9 or newer (Debian's package python3)")?;
    Some(Program(vec!["python3".to_owned(), "-B".to_owned(), format!("{PROGRAMS}/python/{file}")]))
}

/// A program of tests/clients/go, built; its source and the recipe's are vetted and formatted.
pub fn go(name: &str) -> Option<Program> {
    static BUILT: OnceLock<()> = OnceLock::new();
    let version = version_of("go", "version");
    there(version.is_some_and(|version| version >= (1, 19)), "Go 1.19 or newer (Debian's package golang-go)")?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    BUILT.get_or_init(|| {
        run_go(&folder, &["vet", "./...", "tracefall"]);
        run_go(&folder, &["build", "-o", &format!("{}/", folder.display()), "./..."]);
        let formatted = Command::new("gofmt").args(["-l", PROGRAMS, &recipe("go")]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&formatted.stdout), "", "these files are not formatted");
    });
    Some(Program(vec![folder.join(name).display().to_string()]))
}

/// A program of tests/clients/typescript: by Node itself where it strips types, else bundled by esbuild.
pub fn typescript(name: &str) -> Option<Program> {
    let version = version_of("node", "--version").unwrap_or_default();
    there(version >= (18, 0), "Node 18 or newer (Debian's package nodejs)")?;
    let source = format!("{PROGRAMS}/typescript/{name}.ts");
    if version >= (22, 6) {
        let flags = ["node", "--no-warnings", "--experimental-strip-types", &source];
        return Some(Program(flags.map(str::to_owned).to_vec()));
    }
    let esbuild = version_of("esbuild", "--version").is_some();
    there(esbuild, "Node 22.6 or newer, or esbuild (Debian's package of that name) for an older one")?;
    let bundle = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.mjs"));
    let flags = ["--bundle", "--platform=node", "--format=esm", "--target=node18", "--log-level=warning"];
    let output = format!("--outfile={}", bundle.display());
    succeed(Command::new("esbuild").args(flags).args([&source, &output]));
    Some(Program(vec!["node".to_owned(), bundle.display().to_string()]))
}

fn recipe(folder: &str) -> String {
    format!("{}/docs/clients/{folder}", env!("CARGO_MANIFEST_DIR"))
}

/// Without a network and without a word from the developer's settings.
fn run_go(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("go");
    command.args(arguments).current_dir(format!("{PROGRAMS}/go")).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.env("GOCACHE", folder.join("cache")).env("GOPATH", folder.join("path"));
    command.envs([("GOFLAGS", "-buildvcs=false"), ("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")]);
    succeed(&mut command);
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn there(found: bool, wanted: &str) -> Option<()> {
    if !found {
        assert!(std::env::var("CI").is_err(), "{wanted} is missing: in CI no test is skipped");
        eprintln!("skipped: a client's tests. They need {wanted}; scripts/test installs it where it may");
    }
    found.then_some(())
}

/// The first two numbers of what a program says of its version.
fn version_of(program: &str, argument: &str) -> Option<(u32, u32)> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let digits = text.find(|letter: char| letter.is_ascii_digit())?;
    let mut numbers = text[digits..].split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

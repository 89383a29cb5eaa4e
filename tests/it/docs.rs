//! What the documents say is true: the example configuration, the list of dependencies, the links, and every shown
//! command: each `sh` block of the README and of docs/ that is not marked `no_run` is executed, in order, against a
//! server of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser;
use tracefall::cli::Arguments;
use tracefall::settings::{Settings, SettingsError, Sources};

use crate::support::binary::Server;

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(repository(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn load(file: PathBuf) -> Result<Settings, SettingsError> {
    Settings::load(&Sources { file: Some(file), ..Sources::default() })
}

#[test]
fn the_example_configuration_is_the_defaults() {
    let settings = load(repository("config.example.toml")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(settings, Settings::default());
}

#[test]
fn the_example_configuration_shows_every_setting_in_its_section() {
    let shown = settings_shown(&read("config.example.toml"));
    let known: BTreeSet<String> = Settings::keys().into_iter().collect();
    assert_eq!(shown, known);
}

#[test]
fn the_settings_that_the_example_leaves_out_load_as_it_shows_them() {
    let example = read("config.example.toml");
    let uncommented: Vec<&str> = example
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if name_of(setting).is_some() => setting,
            _ => line,
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tracefall.toml");
    std::fs::write(&file, uncommented.join("\n")).unwrap();
    let settings = load(file).unwrap_or_else(|error| panic!("{error}"));
    assert!(settings.store.url.is_some() && settings.access.all_keys().len() == 3);
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let mut in_dependencies = false;
    let mut declared = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = matches!(line, "[dependencies]" | "[dev-dependencies]");
        } else if in_dependencies && let Some(name) = name_of(line) {
            declared.insert(name.to_owned());
        }
    }
    let document = read("docs/dependencies.md");
    let explained: BTreeSet<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.split_once("`: "))
        .map(|(name, reason)| {
            assert!(!reason.trim().is_empty(), "{name}");
            name.to_owned()
        })
        .collect();
    assert_eq!(explained, declared);
}

/// The full names of the settings that a configuration shows, those behind a `# ` included.
fn settings_shown(text: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut shown = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some(name) = name_of(line.strip_prefix("# ").unwrap_or(line)) {
            // What stands before all sections has none.
            let full = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            assert!(shown.insert(full), "{section}.{name} is shown twice");
        }
    }
    shown
}

/// `name` of a line `name = value`.
fn name_of(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(" = ")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (!name.is_empty() && name.bytes().all(plain)).then_some(name)
}

const EXECUTED: &[&str] = &[
    "README.md",
    "docs/api.md",
    "docs/clients/README.md",
    "docs/clients/otel.md",
    "docs/demo.md",
    "docs/deploy-fly.md",
    "docs/operations.md",
    "docs/runbook.md",
    "docs/sizing.md",
];

/// The blocks of a document that are fenced so; one of `sh no_run` is only shown.
pub fn blocks(document: &str, fence: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in document.lines() {
        match &mut block {
            None if line.trim().strip_prefix("```") == Some(fence) => block = Some(String::new()),
            None => {}
            Some(text) if line.trim() == "```" => {
                blocks.push(std::mem::take(text));
                block = None;
            }
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    blocks
}

#[test]
fn every_shown_command_works() {
    for name in EXECUTED {
        let document = read(name);
        let blocks = blocks(&document, "sh");
        assert!(!blocks.is_empty(), "{name} shows no command");
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), |_| {});
        let script = blocks
            .join("\n")
            .replace("http://127.0.0.1:4318", &server.url(""))
            .replace("http://localhost:4318", &server.url(""));
        let binaries = PathBuf::from(env!("CARGO_BIN_EXE_tracefall"));
        let path = format!("{}:{}", binaries.parent().unwrap().display(), std::env::var("PATH").unwrap());
        // A command that fails, also inside a pipe, fails the document; curl says so only with --fail.
        let script = format!("set -euo pipefail\ncurl() {{ command curl --fail-with-body \"$@\"; }}\n{script}");
        let output = Command::new("bash")
            .arg("-c")
            .arg(&script)
            .current_dir(folder.path())
            .env("PATH", path)
            .env("TRACEFALL_URL", server.url(""))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{name}:\n{script}\n--\n{}\n--\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// What cannot be run here exists at least: its sub-commands and flags.
#[test]
fn every_command_of_ours_that_is_only_shown_can_be_given() {
    let mut shown = 0;
    for name in EXECUTED {
        let text = blocks(&read(name), "sh no_run").join("\n").replace("\\\n", " ");
        for command in text.split(['\n', '|', ';', '#', '"', '(', ')']) {
            let words = command.split_whitespace().skip_while(|word| word.contains('=') && !word.starts_with('-'));
            let words: Vec<&str> = words.collect();
            if words.first() == Some(&"tracefall") {
                Arguments::try_parse_from(&words).unwrap_or_else(|error| panic!("{name}: {words:?}: {error}"));
                shown += 1;
            }
        }
    }
    assert!(shown > 5, "{shown} commands are shown");
}

/// Links between the documents lead somewhere.
#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = vec![repository("README.md"), repository("ARCHITECTURE.md"), repository("CONTRIBUTING.md")];
    documents.extend(fs::read_dir(repository("docs")).unwrap().map(|entry| entry.unwrap().path()));
    documents.extend(fs::read_dir(repository("docs/clients")).unwrap().map(|entry| entry.unwrap().path()));
    for document in documents.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with('#') {
                continue;
            }
            let target = document.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
        }
    }
}

//! Documents that are run: every `sh` block of the README and of docs/ that is not marked `no_run` is executed, in order,
//! against a server of its own, and what the settings example says is compared with the code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::binary::Server;

const EXECUTED: &[&str] = &["README.md", "docs/api.md", "docs/operations.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The `sh` blocks of a document; a block fenced as `sh no_run` is only shown.
fn blocks(document: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in document.lines() {
        match &mut block {
            None if line.trim() == "```sh" => block = Some(String::new()),
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
        let document = fs::read_to_string(root().join(name)).unwrap();
        let blocks = blocks(&document);
        assert!(!blocks.is_empty(), "{name} shows no command");
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), |_| {});
        let script = blocks.join("\n").replace("http://127.0.0.1:4318", &server.url("")).replace("http://localhost:4318", &server.url(""));
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

/// Links between the documents lead somewhere.
#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = vec![root().join("README.md"), root().join("ARCHITECTURE.md"), root().join("CONTRIBUTING.md")];
    documents.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
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

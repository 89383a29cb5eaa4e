//! `tracefall doctor`: each fault is made for real, found, and healed by what the finding says.

mod command;
mod plan;
mod postgres;
mod server;
mod sqlite;

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tracefall::checkup::{Finding, Fix, Report, State};
use tracefall::clock::Clock;
use tracefall::query::{Doctor, Thoroughly};
use tracefall::settings::Settings;

use crate::support::settings as settings_in;

/// What there is to examine: settings, and the folder that they name.
struct Patient {
    settings: Settings,
    folder: TempDir,
}

impl Patient {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings_in(&folder);
        Self { settings, folder }
    }

    async fn examined(&self) -> Report {
        self.examined_with(Thoroughly::default()).await
    }

    async fn examined_with(&self, thoroughly: Thoroughly) -> Report {
        self.examined_at(Clock::system(), thoroughly).await
    }

    async fn examined_at(&self, clock: Clock, thoroughly: Thoroughly) -> Report {
        Doctor::new(&self.settings, clock).unwrap().examine(thoroughly, &|_: &str| {}).await
    }

    /// The finding of this check that is not well, or its first.
    async fn finding(&self, check: &str) -> Finding {
        worst(&self.examined().await, check).clone()
    }

    /// Asserts that the check is well.
    async fn is_well(&self, check: &str) {
        let finding = self.finding(check).await;
        assert_eq!(finding.state, State::Ok, "{finding:?}");
    }

    /// Runs what a finding says for a shell, as an operator would, with these variables.
    fn runs(&self, fix: Option<&Fix>, variables: &[(&str, &str)]) {
        let Some(Fix::Shell(command)) = fix else { panic!("{fix:?} is nothing to run") };
        shell(command, self.folder.path(), variables);
    }
}

fn shell(command: &str, folder: &Path, variables: &[(&str, &str)]) {
    let binary = Path::new(env!("CARGO_BIN_EXE_tracefall"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", &format!("set -euo pipefail; {command}")])
        .current_dir(folder)
        .env("PATH", path)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command}\n{}{}", text(&output.stdout), text(&output.stderr));
}

fn worst<'a>(report: &'a Report, check: &str) -> &'a Finding {
    let of_check = report.findings.iter().filter(|finding| finding.check == check);
    of_check.max_by_key(|finding| finding.state).unwrap_or_else(|| panic!("{check} was not looked at: {report:#?}"))
}

/// The statement of a fix for SQL.
fn statement(finding: &Finding) -> &str {
    match &finding.fix {
        Some(Fix::Sql(statement)) => statement,
        other => panic!("{other:?} is no statement"),
    }
}

/// The value that a fix sets.
fn setting<'a>(finding: &'a Finding, variable: &str) -> &'a str {
    match &finding.fix {
        Some(Fix::Setting(text)) => {
            let value = text.strip_prefix(variable).and_then(|rest| rest.strip_prefix("='")?.strip_suffix('\''));
            value.unwrap_or_else(|| panic!("{text} does not set {variable}"))
        }
        other => panic!("{other:?} sets nothing"),
    }
}

/// Asserts a state, and words in the value.
fn is(finding: &Finding, state: State, words: &str) {
    assert_eq!(finding.state, state, "{finding:?}");
    assert!(finding.value.contains(words), "{words:?} is not in {finding:?}");
}

//! `tracefall import FILE…`: spans out of files, decoded here and posted to the running server.
//!
//! Each batch is answered after its commit. What was posted before is folded into what is known, so the same file may be
//! imported again, and an import that broke off is started anew.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::sniff::{self, Format};
use super::table::Manner;
use crate::cli::CliError;
use crate::cli::client::{ClientError, Posted, Poster, Server};
use crate::cli::terminal::{self, Progress, print};
use crate::clock::Clock;
use crate::model::limits::Limits;
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::wire::{Carried, DecodeContext, Decoded, Framing, native, otlp, zipkin};

/// Spans of one post.
const BATCH: usize = 1_000;
/// Bytes of one post, below what a server takes by default.
const BATCH_BYTES: usize = 8 << 20;
/// The longest file that is one document, and the longest line of one that is not.
const MAX_DOCUMENT: u64 = 1 << 30;
/// How long the same is sent again before it is given up.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(1);
/// Reasons that are told; the others are counted.
const REASONS: usize = 10;

/// What became of the files.
#[derive(Debug, Default, Serialize)]
struct Tally {
    files: u64,
    /// Spans that were read.
    spans: u64,
    /// Spans that the server has taken.
    posted: u64,
    /// Of these, spans that the store refused as data: they are among the dead letters.
    dead_letters: u64,
    /// Spans that rules of the server's operator leave out (`tracefall ingest`).
    sampled: u64,
    rejected: u64,
    /// Why, with how often.
    reasons: BTreeMap<String, u64>,
    formats: BTreeMap<&'static str, u64>,
}

pub(super) async fn run(files: &[PathBuf], server: &Server, limits: &Limits, manner: Manner) -> Result<(), CliError> {
    // A file is no request: it may hold any number of spans.
    let limits = Limits { max_spans: usize::MAX, ..limits.clone() };
    let poster = match manner.dry_run {
        true => None,
        false => Some(server.poster(true)?),
    };
    let mut import = Import { poster, limits, clock: Clock::system(), tally: Tally::default(), meter: Progress::new() };
    let mut done = Ok(());
    for path in files {
        done = import.file(path).await;
        if done.is_err() {
            break;
        }
    }
    import.meter.end();
    done?;
    let tally = &import.tally;
    let text = match manner.json {
        true => serde_json::to_string_pretty(tally).map_err(io::Error::other)?,
        false => tally.summary(manner.dry_run),
    };
    print(&text)?;
    match tally.spans == 0 && tally.rejected > 0 {
        true => Err(CliError::Source("none of the spans can be taken".into())),
        false => Ok(()),
    }
}

impl Tally {
    fn summary(&self, dry_run: bool) -> String {
        let formats: Vec<String> = self.formats.iter().map(|(name, files)| format!("{files} {name}")).collect();
        let mut text = format!("files     {} ({})\nspans     {}\n", self.files, formats.join(", "), self.spans);
        match dry_run {
            true => text.push_str("nothing was posted: this was a dry run\n"),
            false => text.push_str(&format!("posted    {}\n", self.posted)),
        }
        if self.sampled > 0 {
            text.push_str(&format!("left out  {}, by the rules of the server: tracefall ingest\n", self.sampled));
        }
        if self.dead_letters > 0 {
            text.push_str(&format!("refused   {} by the store: tracefall dead-letters list\n", self.dead_letters));
        }
        if self.rejected > 0 {
            text.push_str(&format!("no spans  {}\n", self.rejected));
            for (reason, count) in self.reasons.iter().take(REASONS) {
                text.push_str(&format!("  {count:>7} {reason}\n"));
            }
        }
        text
    }

    fn reject(&mut self, reason: String) {
        self.rejected += 1;
        // Values differ from span to span; the first words do not.
        *self.reasons.entry(reason.chars().take(120).collect()).or_default() += 1;
        if self.reasons.len() > 4 * REASONS {
            self.reasons.pop_last();
        }
    }
}

struct Import {
    /// Absent in a dry run.
    poster: Option<Poster>,
    limits: Limits,
    clock: Clock,
    tally: Tally,
    meter: Progress,
}

impl Import {
    async fn file(&mut self, path: &Path) -> Result<(), CliError> {
        let name = path.display().to_string();
        let unreadable = |error: io::Error| CliError::Source(format!("cannot read {name}: {error}"));
        let source: Box<dyn Read + Send> = match path == Path::new("-") {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(path).map_err(unreadable)?),
        };
        let mut reader = sniff::plain(source).map_err(unreadable)?;
        let format = sniff::format(reader.fill_buf().map_err(unreadable)?).ok_or_else(|| {
            CliError::Source(format!(
                "{name} is none of OTLP (JSON, JSON lines, protobuf), Zipkin's JSON and our own; nothing of it was read"
            ))
        })?;
        self.tally.files += 1;
        *self.tally.formats.entry(format.name()).or_default() += 1;
        let mut document = Vec::new();
        let mut number = 0u64;
        loop {
            document.clear();
            let is_binary = format == Format::OtlpProtobuf;
            let read = match is_binary {
                true => reader.by_ref().take(MAX_DOCUMENT).read_to_end(&mut document),
                false => reader.by_ref().take(MAX_DOCUMENT).read_until(b'\n', &mut document),
            };
            if read.map_err(unreadable)? == 0 {
                return Ok(());
            }
            number += 1;
            // A first line that is no whole document is the beginning of one over many lines.
            if !is_binary && number == 1 && serde_json::from_slice::<serde::de::IgnoredAny>(&document).is_err() {
                reader.by_ref().take(MAX_DOCUMENT).read_to_end(&mut document).map_err(unreadable)?;
            }
            if document.trim_ascii().is_empty() && !is_binary {
                continue;
            }
            match self.decode(&document, format) {
                Ok(decoded) => self.take(decoded).await?,
                Err(reason) if number == 1 => {
                    return Err(CliError::Source(format!("{name} as {}: {reason}", format.name())));
                }
                Err(reason) => self.tally.reject(format!("line: {reason}")),
            }
        }
    }

    fn decode(&self, document: &[u8], format: Format) -> Result<Decoded, String> {
        let tenant = TenantId::default();
        let context = DecodeContext { tenant: &tenant, received_at: self.clock.now(), limits: &self.limits };
        let decoded = match format {
            Format::OtlpJson => otlp::decode(document, otlp::Encoding::Json, &context),
            Format::OtlpProtobuf => otlp::decode(document, otlp::Encoding::Protobuf, &context),
            Format::Zipkin => zipkin::decode(document, &context),
            Format::Native => {
                let lines =
                    document.trim_ascii_end().contains(&b'\n') && !document.trim_ascii_start().starts_with(b"[");
                let framing = if lines && is_lines(document) { Framing::Ndjson } else { Framing::Json };
                native::decode(document, framing, &context, &Carried::default())
            }
        };
        decoded.map_err(|error| error.to_string())
    }

    async fn take(&mut self, decoded: Decoded) -> Result<(), CliError> {
        self.tally.spans += decoded.spans.len() as u64;
        for rejected in decoded.rejected {
            self.tally.reject(rejected.reason);
        }
        let mut lines = String::new();
        let mut count = 0;
        for span in &decoded.spans {
            write_line(span, &mut lines);
            count += 1;
            if count == BATCH || lines.len() >= BATCH_BYTES {
                self.post(std::mem::take(&mut lines)).await?;
                count = 0;
            }
        }
        if !lines.is_empty() {
            self.post(lines).await?;
        }
        Ok(())
    }

    fn tell(&mut self) {
        let spans = self.tally.spans;
        self.meter.tell(false, |elapsed| format!("{spans} spans, {:.0} a second", terminal::rate(spans, elapsed)));
    }

    async fn post(&mut self, lines: String) -> Result<(), CliError> {
        let Some(poster) = &self.poster else {
            self.tell();
            return Ok(());
        };
        let begun = Instant::now();
        loop {
            match poster.post(lines.clone()).await? {
                Posted::Taken(taken) if taken.disabled => {
                    return Err(CliError::Source("ingest is switched off there: tracefall ingest on".into()));
                }
                Posted::Taken(taken) => {
                    self.tally.posted += taken.accepted;
                    self.tally.sampled += taken.sampled;
                    self.tally.dead_letters += taken.dead_letters;
                    for rejected in taken.rejected {
                        self.tally.reject(rejected.reason);
                    }
                    self.tell();
                    return Ok(());
                }
                Posted::Later(_) if begun.elapsed() > PATIENCE => {
                    return Err(ClientError::Refused {
                        status: 503,
                        detail: format!("the server took nothing for {} s", PATIENCE.as_secs()),
                    }
                    .into());
                }
                Posted::Later(after) => tokio::time::sleep(after.unwrap_or(PAUSE)).await,
            }
        }
    }
}

fn write_line(span: &Span, lines: &mut String) {
    native::encode_into(span, lines);
    lines.push('\n');
}

/// Whether each line is a document: the first one is.
fn is_lines(document: &[u8]) -> bool {
    let first = document.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<serde::de::IgnoredAny>(first).is_ok()
}

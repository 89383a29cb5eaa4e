//! `tracefall export`: traces of a running server as OTLP/JSON, one request a line and a trace each, which `tracefall
//! import` and every receiver of OTLP take.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use serde::Deserialize;

use super::CliError;
use super::client::Server;
use super::terminal::{self, Progress};

#[derive(Debug, Clone, Args)]
pub struct Export {
    /// File to write; `.gz` compresses it [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Traces that started at or after this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Traces that started before this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Traces with a span of this service.
    #[arg(long)]
    service: Option<String>,
    /// pending, running, completed, failed, cancelled, skipped or abandoned.
    #[arg(long)]
    status: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// Traces of one page of the list, and those that are read at a time.
const PAGE: u32 = 500;
const AT_A_TIME: usize = 4;

#[derive(Deserialize)]
struct Page {
    traces: Vec<Listed>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    trace_id: String,
}

impl Export {
    pub async fn run(&self) -> Result<(), CliError> {
        let mut out = Out::open(self.output.as_ref())?;
        let filters = [("from", &self.from), ("to", &self.to), ("service", &self.service), ("status", &self.status)];
        let mut query: Vec<(&str, String)> =
            filters.into_iter().filter_map(|(name, value)| value.clone().map(|value| (name, value))).collect();
        query.push(("limit", PAGE.to_string()));
        let (mut traces, mut cut) = (0u64, 0u64);
        let mut progress = Progress::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut asked = query.clone();
            asked.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page: Option<Page> = self.server.get(&["v1", "traces"], &asked).await?;
            let Some(page) = page else { break };
            let reading = page.traces.iter().map(|listed| {
                self.server
                    .text(vec!["v1".into(), "traces".into(), listed.trace_id.clone()], vec![("format", "otlp".into())])
            });
            let mut texts = futures_util::stream::iter(reading).buffered(AT_A_TIME);
            while let Some(text) = texts.next().await {
                // A trace that was removed meanwhile is none.
                let Some((text, truncated)) = text? else { continue };
                cut += u64::from(truncated);
                out.line(&text)?;
                traces += 1;
                progress
                    .tell(false, |elapsed| format!("{traces} traces, {:.0} a second", terminal::rate(traces, elapsed)));
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        out.end()?;
        progress.end();
        match &self.output {
            Some(file) => eprintln!("{traces} traces in {}", file.display()),
            None => eprintln!("{traces} traces"),
        }
        match cut {
            0 => Ok(()),
            cut => Err(CliError::Source(format!(
                "{cut} of these traces are not whole: they have more spans than a question reads, or spans that were removed \
                 for their age"
            ))),
        }
    }
}

/// Where the lines go.
enum Out {
    Plain(Box<dyn Write + Send>),
    Gzip(GzEncoder<BufWriter<File>>),
}

impl Out {
    fn open(path: Option<&PathBuf>) -> Result<Self, CliError> {
        let Some(path) = path else { return Ok(Out::Plain(Box::new(io::stdout()))) };
        let file = File::create(path)
            .map_err(|error| CliError::Source(format!("cannot write {}: {error}", path.display())))?;
        let file = BufWriter::new(file);
        Ok(match path.extension().is_some_and(|extension| extension == "gz") {
            true => Out::Gzip(GzEncoder::new(file, Compression::default())),
            false => Out::Plain(Box::new(file)),
        })
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        let writer: &mut dyn Write = match self {
            Out::Plain(writer) => writer,
            Out::Gzip(writer) => writer,
        };
        writer.write_all(text.as_bytes())?;
        writer.write_all(b"\n")
    }

    fn end(self) -> io::Result<()> {
        match self {
            Out::Plain(mut writer) => writer.flush(),
            Out::Gzip(writer) => writer.finish()?.flush(),
        }
    }
}

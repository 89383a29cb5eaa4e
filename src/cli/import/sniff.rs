//! What a file holds, by how it begins.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// A format that spans come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    OtlpJson,
    OtlpProtobuf,
    Zipkin,
    Native,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Format::OtlpJson => "OTLP/JSON",
            Format::OtlpProtobuf => "OTLP/protobuf",
            Format::Zipkin => "Zipkin",
            Format::Native => "native",
        }
    }
}

/// Bytes that are looked at.
const LOOK: usize = 64 << 10;

/// A reader through what the file is compressed with, if it is.
///
/// # Errors
/// What reading its beginning says.
pub(super) fn plain(file: impl Read + Send + 'static) -> io::Result<BufReader<Box<dyn Read + Send>>> {
    let mut file = BufReader::with_capacity(LOOK, file);
    let begin = file.fill_buf()?;
    let plain: Box<dyn Read + Send> = match begin {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    };
    Ok(BufReader::with_capacity(LOOK, plain))
}

/// The format of what begins so; `None` for what is none of them. What is no JSON is taken for protobuf, whose decoder
/// says if it is not.
pub(super) fn format(begin: &[u8]) -> Option<Format> {
    // The first field of an ExportTraceServiceRequest, which JSON never begins with but for a line break.
    if let [0x0a, next, ..] = begin
        && !matches!(next, b'{' | b'[' | b' ' | b'\t' | b'\r' | b'\n')
    {
        return Some(Format::OtlpProtobuf);
    }
    let text = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin).trim_ascii_start();
    let has = |name: &str| {
        let name = format!("\"{name}\"");
        text.windows(name.len()).any(|window| window == name.as_bytes())
    };
    match text.first()? {
        b'{' | b'[' if has("resourceSpans") || has("resource_spans") => Some(Format::OtlpJson),
        // Zipkin has a list of spans with `traceId` and `id`; native spans say `span_id` in one spelling or other.
        b'[' if has("traceId") && has("id") && !has("spanId") => Some(Format::Zipkin),
        b'{' | b'[' if ["trace_id", "traceId", "traceID", "spans"].iter().any(|name| has(name)) => Some(Format::Native),
        b'{' | b'[' => None,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_tells_the_format() {
        for (begin, expected) in [
            (&br#"{"resourceSpans":[{}]}"#[..], Some(Format::OtlpJson)),
            (br#" [{"traceId":"a","id":"b","timestamp":1}]"#, Some(Format::Zipkin)),
            (br#"[{"trace_id":"a","span_id":"b"}]"#, Some(Format::Native)),
            (b"\xef\xbb\xbf{\"spans\":[]}", Some(Format::Native)),
            (br#"[{"traceId":"a","spanId":"b"}]"#, Some(Format::Native)),
            (b"\x0a\x05hello", Some(Format::OtlpProtobuf)),
            (br#"{"a":1}"#, None),
            (b"trace_id,span_id", None),
            (b"", None),
        ] {
            assert_eq!(format(begin), expected, "{}", String::from_utf8_lossy(begin));
        }
    }

    #[test]
    fn what_is_compressed_is_read_through() {
        let text = br#"{"resourceSpans":[]}"#;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, text).unwrap();
        for file in [text.to_vec(), gzip.finish().unwrap(), zstd::encode_all(&text[..], 1).unwrap()] {
            let mut read = Vec::new();
            plain(io::Cursor::new(file)).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, text);
        }
    }
}

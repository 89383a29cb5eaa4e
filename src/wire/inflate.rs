//! Decompression of request bodies, bounded in what it makes and in what it needs to make it.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::media::Encoding;

/// Base-2 logarithm of the largest zstd window that is accepted: 8 MiB, what RFC 8878 asks a decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Bytes that are inflated between two looks at the bounds.
const STEP: usize = 64 << 10;

/// Why a body was not inflated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    #[error("the body is not valid {encoding}: {reason}")]
    Invalid { encoding: &'static str, reason: String },
    #[error("the body inflates to more than {limit} bytes (limit max_inflated_bytes); send it in parts")]
    TooLarge { limit: usize },
    /// `reserve` refused.
    #[error("no memory is free for the inflated body")]
    NoRoom,
}

/// Inflates `body`. Before each step of at most 64 KiB the caller's `reserve` is asked for that many bytes; when it
/// answers `false`, inflating ends with [`InflateError::NoRoom`].
///
/// # Errors
/// [`InflateError`]; a truncated stream, a wrong checksum and trailing garbage are `Invalid`.
pub fn inflate(
    encoding: Encoding,
    body: &[u8],
    limit: usize,
    mut reserve: impl FnMut(usize) -> bool,
) -> Result<Vec<u8>, InflateError> {
    let mut read = |reader: &mut dyn Read| read_bounded(encoding, reader, limit, &mut reserve);
    match encoding {
        Encoding::Identity => read(&mut &*body),
        Encoding::Gzip => read(&mut MultiGzDecoder::new(body)),
        // RFC 9110 means zlib's format; some senders take the name literally and send it bare.
        Encoding::Deflate if is_zlib(body) => read(&mut ZlibDecoder::new(body)),
        Encoding::Deflate => read(&mut DeflateDecoder::new(body)),
        Encoding::Zstd => {
            let invalid = |error: io::Error| invalid(encoding, &error);
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(invalid)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(invalid)?;
            read(&mut decoder)
        }
    }
}

fn is_zlib(body: &[u8]) -> bool {
    // RFC 1950: method 8 in the low bits of the first byte, and the first two bytes a multiple of 31.
    matches!(body, [cmf, flg, ..] if cmf & 15 == 8 && (u16::from(*cmf) << 8 | u16::from(*flg)) % 31 == 0)
}

fn read_bounded(
    encoding: Encoding,
    reader: &mut dyn Read,
    limit: usize,
    reserve: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<u8>, InflateError> {
    let mut inflated = Vec::new();
    loop {
        // One byte beyond the limit tells "just at the limit" from "over it".
        let step = STEP.min(limit + 1 - inflated.len());
        if !reserve(step) {
            return Err(InflateError::NoRoom);
        }
        let before = inflated.len();
        reader.take(step as u64).read_to_end(&mut inflated).map_err(|error| invalid(encoding, &error))?;
        if inflated.len() > limit {
            return Err(InflateError::TooLarge { limit });
        }
        if inflated.len() - before < step {
            return Ok(inflated);
        }
    }
}

fn invalid(encoding: Encoding, error: &io::Error) -> InflateError {
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        _ => error.to_string(),
    };
    InflateError::Invalid { encoding: encoding.name(), reason }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &[u8] = b"[{\"trace_id\":\"7f3c\"}]";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn plenty(encoding: Encoding, body: &[u8]) -> Result<Vec<u8>, InflateError> {
        inflate(encoding, body, 1 << 20, |_| true)
    }

    #[test]
    fn every_encoding_gives_the_text_back() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(TEXT).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(TEXT).unwrap();
        for (encoding, body) in [
            (Encoding::Identity, TEXT.to_vec()),
            (Encoding::Gzip, gzip(TEXT)),
            (Encoding::Deflate, zlib.finish().unwrap()),
            (Encoding::Deflate, bare.finish().unwrap()),
            (Encoding::Zstd, zstd::encode_all(TEXT, 3).unwrap()),
        ] {
            assert_eq!(plenty(encoding, &body).unwrap(), TEXT, "{encoding:?}");
        }
    }

    #[test]
    fn a_truncated_or_damaged_body_says_so() {
        let whole = gzip(TEXT);
        let error = plenty(Encoding::Gzip, &whole[..whole.len() - 5]).unwrap_err();
        assert_eq!(error.to_string(), "the body is not valid gzip: it ends too early");
        let mut damaged = whole.clone();
        let checksum = damaged.len() - 6;
        damaged[checksum] ^= 1;
        assert!(matches!(plenty(Encoding::Gzip, &damaged), Err(InflateError::Invalid { .. })));
        assert!(matches!(plenty(Encoding::Gzip, TEXT), Err(InflateError::Invalid { .. })));
        assert!(matches!(
            plenty(Encoding::Zstd, &zstd::encode_all(TEXT, 3).unwrap()[..9]),
            Err(InflateError::Invalid { .. })
        ));
    }

    #[test]
    fn a_small_body_that_inflates_without_end_is_stopped_at_the_limit() {
        let bomb = gzip(&vec![b' '; 12 << 20]);
        assert!(bomb.len() < 16 << 10, "{} bytes", bomb.len());
        let mut reserved = 0;
        let result = inflate(Encoding::Gzip, &bomb, 1 << 20, |bytes| {
            reserved += bytes;
            true
        });
        assert_eq!(result, Err(InflateError::TooLarge { limit: 1 << 20 }));
        assert!(reserved <= (1 << 20) + STEP);
        assert_eq!(inflate(Encoding::Gzip, &bomb, 64 << 20, |_| false), Err(InflateError::NoRoom));
        assert_eq!(inflate(Encoding::Gzip, &bomb, 12 << 20, |_| true).unwrap().len(), 12 << 20, "just at the limit");
    }

    #[test]
    fn a_zstd_frame_that_demands_a_huge_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(TEXT).unwrap();
        let body = encoder.finish().unwrap();
        let error = plenty(Encoding::Zstd, &body).unwrap_err().to_string();
        assert!(error.contains("memory"), "{error}");
    }
}

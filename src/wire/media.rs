//! What a request's headers say about its body: `Content-Type` and `Content-Encoding`. Inflating is the server's part.

/// How the spans of a native body stand beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One document: an array of spans, `{"spans": […]}`, or one span.
    Json,
    /// One span a line.
    Ndjson,
}

/// How a body was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    /// HTTP's `deflate`, which is zlib's format.
    Deflate,
    Zstd,
}

/// A header that names what is not understood here: the answer is 415.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    #[error("Content-Type is {0}; send application/json or application/x-ndjson")]
    Type(String),
    #[error("Content-Type names the charset {0}; JSON is UTF-8 (RFC 8259)")]
    Charset(String),
    #[error("Content-Encoding is {0}; accepted are gzip, zstd, deflate and identity, one of them")]
    Encoding(String),
}

/// Reads `Content-Type`. A missing one counts as JSON, and so does `application/x-www-form-urlencoded`, which is what
/// `curl -d` says when it is not told otherwise: nobody fills in a form of spans. `text/json` and `…+json` are JSON too;
/// NDJSON is `application/x-ndjson`, `application/ndjson` or `application/jsonl`. Case and parameters do not matter,
/// save a charset.
///
/// # Errors
/// [`MediaError`] for another type, or for a charset other than UTF-8 or its subset US-ASCII.
pub fn framing(content_type: Option<&str>) -> Result<Framing, MediaError> {
    let Some(content_type) = content_type.filter(|value| !value.trim().is_empty()) else {
        return Ok(Framing::Json);
    };
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let framing = match essence.as_str() {
        "application/json" | "text/json" | "application/x-www-form-urlencoded" => Framing::Json,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonl" => Framing::Ndjson,
        other if other.starts_with("application/") && other.ends_with("+json") => Framing::Json,
        _ => return Err(MediaError::Type(super::json::excerpt(content_type))),
    };
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        let is_utf8 = ["utf-8", "utf8", "us-ascii"].iter().any(|known| known.eq_ignore_ascii_case(value));
        if name.trim().eq_ignore_ascii_case("charset") && !is_utf8 {
            return Err(MediaError::Charset(super::json::excerpt(value)));
        }
    }
    Ok(framing)
}

/// Reads `Content-Encoding`; a missing or empty one is [`Encoding::Identity`].
///
/// # Errors
/// [`MediaError::Encoding`] for another token and for several of them.
pub fn encoding(content_encoding: Option<&str>) -> Result<Encoding, MediaError> {
    let text = content_encoding.unwrap_or_default().trim();
    match text.to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Encoding::Identity),
        "gzip" | "x-gzip" => Ok(Encoding::Gzip),
        "deflate" => Ok(Encoding::Deflate),
        "zstd" => Ok(Encoding::Zstd),
        _ => Err(MediaError::Encoding(super::json::excerpt(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_read_without_regard_to_case_and_parameters() {
        for (text, expected) in [
            ("application/json", Framing::Json),
            ("Application/JSON; charset=UTF-8", Framing::Json),
            ("application/json;charset=\"utf-8\";v=1", Framing::Json),
            ("application/json; charset=us-ascii", Framing::Json),
            ("application/vnd.beacon.spans+json", Framing::Json),
            ("application/x-www-form-urlencoded", Framing::Json),
            ("", Framing::Json),
            ("application/x-ndjson", Framing::Ndjson),
            ("application/NDJSON; charset=utf8", Framing::Ndjson),
            ("application/jsonl", Framing::Ndjson),
        ] {
            assert_eq!(framing(Some(text)), Ok(expected), "{text}");
        }
        assert_eq!(framing(None), Ok(Framing::Json));
    }

    #[test]
    fn a_wrong_type_or_charset_says_what_to_send() {
        let message = |text| framing(Some(text)).unwrap_err().to_string();
        assert_eq!(
            message("application/xml; charset=utf-8"),
            "Content-Type is \"application/xml; charset=utf-8\"; send application/json or application/x-ndjson"
        );
        assert!(message("text/plain").contains("send application/json"));
        assert!(message("json").contains("send application/json"));
        assert_eq!(
            message("application/json; charset=iso-8859-1"),
            "Content-Type names the charset \"iso-8859-1\"; JSON is UTF-8 (RFC 8259)"
        );
        assert!(message(&"x".repeat(10_000)).len() < 200);
    }

    #[test]
    fn content_encodings_are_single_tokens() {
        for (text, expected) in [
            (None, Encoding::Identity),
            (Some(" Identity "), Encoding::Identity),
            (Some("GZIP"), Encoding::Gzip),
            (Some("x-gzip"), Encoding::Gzip),
            (Some("deflate"), Encoding::Deflate),
            (Some("zstd"), Encoding::Zstd),
        ] {
            assert_eq!(encoding(text), Ok(expected));
        }
        for text in ["br", "gzip, gzip", "gzip;q=1"] {
            assert!(encoding(Some(text)).unwrap_err().to_string().contains("accepted are gzip"), "{text}");
        }
    }
}

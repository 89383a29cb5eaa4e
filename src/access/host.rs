//! The Host rule of a server on loopback: it answers only requests that were addressed to loopback by name.
//!
//! A web page can make its own host name resolve to 127.0.0.1 (DNS rebinding) and then read this server as its own
//! origin; the Host header still tells the name that the page used.

/// Whether a request to a server on loopback may be served, by its Host header (or HTTP/2's `:authority`): `localhost`,
/// `127.0.0.1` or `[::1]`, in any case, with any port or none. A missing header and every other spelling are refused.
pub fn is_allowed(host_header: Option<&str>) -> bool {
    let Some(authority) = host_header else { return false };
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|host| {
        authority
            .get(..host.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(host) && is_port_or_nothing(&authority[host.len()..]))
    })
}

fn is_port_or_nothing(rest: &str) -> bool {
    match rest.strip_prefix(':') {
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
        None => rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn loopback_names_are_allowed_with_any_port() {
        for host in ["localhost", "LOCALHOST", "LocalHost:4318", "127.0.0.1", "127.0.0.1:0", "[::1]", "[::1]:65535"] {
            assert!(is_allowed(Some(host)), "{host}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        assert!(!is_allowed(None));
        for host in [
            "",
            " ",
            "localhost.",
            "localhost.:4318",
            "localhost:",
            "localhost:65536",
            "localhost:+80",
            "localhost: 80",
            "localhost:80:80",
            " localhost",
            "localhost ",
            "localhost/",
            "localhost,evil.example",
            "localhost.evil.example",
            "evil.example",
            "evil-localhost",
            "localhost@evil.example",
            "evil.example@localhost",
            "user:pass@127.0.0.1:4318",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "127.1",
            "127.0.0.2",
            "0.0.0.0",
            "0x7f.0.0.1",
            "2130706433",
            "127.0.0.1.",
            "::1",
            "[::1",
            "[::1]evil.example",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "ＬＯＣＡＬＨＯＳＴ",
            "localhos\u{0442}",
            "http://localhost",
        ] {
            assert!(!is_allowed(Some(host)), "{host}");
        }
    }

    proptest! {
        #[test]
        fn only_the_three_names_ever_pass(host in "\\PC{0,24}") {
            let lower = host.to_ascii_lowercase();
            let named = ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| lower.starts_with(name));
            prop_assert!(named || !is_allowed(Some(&host)));
        }
    }
}

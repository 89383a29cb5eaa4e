//! The rules that hold unless they are switched off: names and shapes that are secrets nearly everywhere, and as few
//! others as possible.

/// A name whose value is a secret.
pub(super) struct KeyRule {
    pub name: &'static str,
    /// Bytes that a text has at least, to be one.
    pub least: usize,
}

const fn key(name: &'static str) -> KeyRule {
    KeyRule { name, least: 1 }
}

pub(super) const DEFAULT_KEYS: &[KeyRule] = &[
    key("authorization"),
    key("proxy_authorization"),
    key("cookie"),
    key("set_cookie"),
    key("*password"),
    key("password_hash"),
    key("*passwd"),
    key("*passphrase"),
    key("*secret"),
    key("*secret_key"),
    key("*secret_access_key"),
    key("*api_key"),
    key("*access_key"),
    key("*private_key"),
    key("*signing_key"),
    key("*encryption_key"),
    key("*access_token"),
    key("*refresh_token"),
    key("*auth_token"),
    key("*session_token"),
    key("*security_token"),
    key("*csrf_token"),
    key("*xsrf_token"),
    key("*api_token"),
    key("*bearer_token"),
    key("id_token"),
    key("jwt"),
    // A model's token is a word; a secret is longer.
    KeyRule { name: "token", least: 16 },
];

/// A shape that is a secret: what its first group matches, or all of it.
pub(super) struct PatternRule {
    pub name: &'static str,
    pub expression: &'static str,
    /// Texts one of which is in everything that it matches.
    pub literals: &'static [&'static str],
    /// Whether those are in lower case, and the pattern is compared without regard to case.
    pub any_case: bool,
}

pub(super) const DEFAULT_PATTERNS: &[PatternRule] = &[
    PatternRule {
        name: "private key",
        // A text that was cut has no end line.
        expression: r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----|$)",
        literals: &["-----BEGIN"],
        any_case: false,
    },
    PatternRule {
        name: "AWS key",
        expression: r"\b((?:AKIA|ASIA)[A-Z2-7]{16})\b",
        literals: &["AKIA", "ASIA"],
        any_case: false,
    },
    PatternRule {
        name: "JWT",
        expression: r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",
        literals: &[".eyJ"],
        any_case: false,
    },
    PatternRule {
        name: "sk key",
        // Behind a word it is the end of one: task-, disk-.
        expression: r#"(?:^|[\s"'=:,(\[{/>])(sk-[A-Za-z0-9_-]{16,})"#,
        literals: &[
            "\nsk-", " sk-", "\"sk-", "'sk-", "=sk-", ":sk-", ",sk-", "(sk-", "[sk-", "{sk-", "/sk-", ">sk-", "\tsk-",
            "\rsk-", "\\nsk-", "\\tsk-", "\\rsk-",
        ],
        any_case: false,
    },
    PatternRule {
        name: "service key",
        expression: r"\b((?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{20,}|xox[abprs]-[A-Za-z0-9-]{20,}|AIza[A-Za-z0-9_-]{35}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,})",
        literals: &[
            "ghp_",
            "gho_",
            "ghu_",
            "ghs_",
            "ghr_",
            "github_pat_",
            "glpat-",
            "xoxa-",
            "xoxb-",
            "xoxp-",
            "xoxr-",
            "xoxs-",
            "AIza",
            "k_live_",
            "k_test_",
        ],
        any_case: false,
    },
    PatternRule {
        name: "bearer token",
        expression: r"\b(?i-u:bearer)\s+([A-Za-z0-9._~+/-]{16,}=*)",
        literals: &["bearer"],
        any_case: true,
    },
    PatternRule {
        name: "password in a URL",
        expression: r#"://[^/\s:@"']{0,256}:([^@\s/"']{1,256})@"#,
        // And a colon and an at sign: see the sieve.
        literals: &[],
        any_case: false,
    },
    PatternRule {
        name: "assigned secret",
        expression: r#"(?i-u:passwd|password|secret|secret_key|api[-_]?key|access_token|refresh_token|auth_token)(?:=|"\s*:\s*")([^\s"'&;,\\]{3,})"#,
        literals: &[
            "passwd=",
            "password=",
            "secret=",
            "secret_key=",
            "api_key=",
            "api-key=",
            "apikey=",
            "access_token=",
            "refresh_token=",
            "auth_token=",
            "passwd\\\"",
            "password\\\"",
            "secret\\\"",
            "secret_key\\\"",
            "api_key\\\"",
            "api-key\\\"",
            "apikey\\\"",
            "_token\\\"",
            "password\"",
            "passwd\"",
            "secret\"",
            "secret_key\"",
            "api_key\"",
            "api-key\"",
            "apikey\"",
            "_token\"",
        ],
        any_case: true,
    },
];

//! What the settings say that works and is probably not meant, each with the setting as it should be.

use super::{Finding, Fix, State};
use crate::settings::{DatabaseUrl, Settings};

pub(super) fn judge(settings: &Settings) -> Vec<Finding> {
    let warnings = settings.warnings();
    if warnings.is_empty() {
        return vec![Finding::new("settings", State::Ok, "nothing is doubtful", "no warning")];
    }
    let finding = |key: &str, text: &str| {
        Finding::new("settings", State::Warn, format!("{key} {text}"), "no warning")
            .about(key)
            .fix(fix(settings, key, text))
    };
    warnings.iter().map(|warning| finding(&warning.key, &warning.text)).collect()
}

/// By what the warnings of [`Settings::warnings`] are about.
fn fix(settings: &Settings, key: &str, text: &str) -> Option<Fix> {
    let store = &settings.store;
    let url = match key {
        "store.url" => store.url.as_ref(),
        "store.write_url" => store.write_url.as_ref(),
        "store.read_url" => store.read_url.as_ref(),
        "store.admin_url" => store.admin_url.as_ref(),
        "journal.fsync" => return Fix::setting("store.sqlite.synchronous", "full"),
        _ => None,
    };
    let Some(url) = url.map(DatabaseUrl::to_string) else {
        return Fix::words("the warning says it; tracefall config check shows whether it is gone");
    };
    if text.contains("channel_binding") {
        return Fix::setting(key, &without_parameter(&url, "channel_binding"));
    }
    if text.contains("sslmode") {
        return Fix::setting(key, &with_parameter(&url, "sslmode=require"));
    }
    if text.contains("is not used") {
        return Fix::shell(format!("unset TRACEFALL__{}", key.replace('.', "__").to_ascii_uppercase()));
    }
    Fix::setting("store.write_url", &direct(&url))
}

/// What begins such a URL: its password is not known here.
fn without_parameter(url: &str, name: &str) -> String {
    let Some((place, parameters)) = url.split_once('?') else { return url.to_owned() };
    let kept: Vec<&str> = parameters.split('&').filter(|parameter| parameter.split('=').next() != Some(name)).collect();
    if kept.is_empty() { place.to_owned() } else { format!("{place}?{}", kept.join("&")) }
}

fn with_parameter(url: &str, parameter: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameter}")
}

/// Neon names the direct host like the pooler's; elsewhere nobody knows it from here.
fn direct(url: &str) -> String {
    match url.split_once("-pooler.") {
        Some((endpoint, rest)) => without_parameter(&format!("{endpoint}.{rest}"), "channel_binding"),
        None => {
            let (before, after) = url.rsplit_once('@').unwrap_or(("postgres://…", url));
            let database = after.split_once('/').map_or("", |(_, database)| database);
            format!("{before}@<the direct host>/{database}")
        }
    }
}

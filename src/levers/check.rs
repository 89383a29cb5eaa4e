//! What somebody wants the levers to be, read from JSON: every fault is found, and says where it is.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Action, HOLDS_AFTER_NS, MAX_NAME, MAX_RULES, MAX_TEXT, Pattern, Rule};
use crate::model::time::UnixNanos;

/// What is to change. What is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    pub enabled: Option<bool>,
    /// With `enabled: false` only.
    pub until: Option<UnixNanos>,
    /// All rules, in the place of those there are.
    pub rules: Option<Vec<Rule>>,
    /// Why, for the record.
    pub note: Option<String>,
}

/// What is wrong with a wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Fault {
    /// The rule, counted from 0; absent where it is none's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// The member; empty for the whole.
    pub field: String,
    /// What it is, and what is accepted.
    pub reason: String,
}

const MEMBERS: &str = "accepted are enabled, until, for_secs, rules, note";
const RULE_MEMBERS: &str =
    "accepted are name, service, operation, region, action, fraction, duration_ms, until, for_secs, since";
const ACTIONS: &str = "accepted are off, keep_fraction, minimum_duration";
/// The longest that a lever may be pulled for: ten years.
const MAX_SECS: u64 = 315_360_000;

/// Reads a wish: `{"enabled": false, "for_secs": 3600, "rules": […], "note": "…"}`. New rules hold from
/// [`HOLDS_AFTER_NS`] after `now` on, and `for_secs` of a rule counts from there; a rule's `since` is ignored, so that what was
/// read may be sent back.
///
/// # Errors
/// All that is wrong with it.
pub fn wish(body: &[u8], now: UnixNanos) -> Result<Wish, Vec<Fault>> {
    let whole = |reason: String| vec![Fault { rule: None, field: String::new(), reason }];
    let value: Value = serde_json::from_slice(body).map_err(|error| whole(format!("is not JSON: {error}")))?;
    let Value::Object(members) = &value else {
        return Err(whole("is no object; send {\"enabled\": …, \"rules\": […]}".to_owned()));
    };
    let mut reader = Reader { members, rule: None, faults: Vec::new() };
    reader.only(&["enabled", "until", "for_secs", "rules", "note"], MEMBERS);
    let enabled = reader.switch("enabled");
    let until = reader.until(now, now);
    let note = reader.text("note").filter(|note| !note.is_empty());
    if until.is_some() && enabled != Some(false) {
        reader.fault("until", "goes with \"enabled\": false only".to_owned());
    }
    let mut faults = reader.faults;
    let rules = members.get("rules").map(|list| rules(list, now, &mut faults));
    if enabled.is_none() && rules.is_none() && faults.is_empty() {
        faults = whole(format!("changes nothing; {MEMBERS}"));
    }
    match faults.is_empty() {
        true => Ok(Wish { enabled, until, rules, note }),
        false => Err(faults),
    }
}

fn rules(list: &Value, now: UnixNanos, faults: &mut Vec<Fault>) -> Vec<Rule> {
    let fault = |reason: String| Fault { rule: None, field: "rules".into(), reason };
    let Value::Array(items) = list else {
        faults.push(fault("is no list; accepted is a list of rules".to_owned()));
        return Vec::new();
    };
    if items.len() > MAX_RULES {
        faults.push(fault(format!("holds {} rules; accepted are at most {MAX_RULES}", items.len())));
        return Vec::new();
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let Value::Object(members) = item else {
            let reason = format!("is no object; {RULE_MEMBERS}");
            faults.push(Fault { rule: Some(index), field: String::new(), reason });
            continue;
        };
        let mut reader = Reader { members, rule: Some(index), faults: Vec::new() };
        let rule = reader.rule(now);
        if !rule.name.is_empty() && rules.iter().any(|other| other.name == rule.name) {
            reader.fault("name", format!("is {:?}, as is another rule's", rule.name));
        }
        faults.append(&mut reader.faults);
        rules.push(rule);
    }
    name_the_nameless(&mut rules);
    rules
}

/// `rule-1` and so on, the first that is free.
fn name_the_nameless(rules: &mut [Rule]) {
    for at in 0..rules.len() {
        if rules[at].name.is_empty() {
            let free =
                (1..).map(|number| format!("rule-{number}")).find(|name| rules.iter().all(|it| it.name != *name));
            rules[at].name = free.unwrap_or_default();
        }
    }
}

/// Reads an object's members, and collects what is wrong.
struct Reader<'a> {
    members: &'a Map<String, Value>,
    rule: Option<usize>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, field: &str, reason: String) {
        self.faults.push(Fault { rule: self.rule, field: field.to_owned(), reason });
    }

    fn rule(&mut self, now: UnixNanos) -> Rule {
        self.only(
            &[
                "name",
                "service",
                "operation",
                "region",
                "action",
                "fraction",
                "duration_ms",
                "until",
                "for_secs",
                "since",
            ],
            RULE_MEMBERS,
        );
        let since = now.plus(HOLDS_AFTER_NS);
        Rule {
            name: self.name(),
            service: self.pattern("service"),
            operation: self.pattern("operation"),
            region: self.pattern("region"),
            action: self.action(),
            since,
            until: self.until(now, since),
        }
    }

    /// Complains of members that are not known: what is misspelt must not be ignored.
    fn only(&mut self, known: &[&str], accepted: &str) {
        let unknown: Vec<String> =
            self.members.keys().filter(|name| !known.contains(&name.as_str())).cloned().collect();
        for name in unknown {
            let shown: String = name.chars().take(MAX_NAME).collect();
            self.fault(&shown, format!("is not known; {accepted}"));
        }
    }

    fn given(&self, name: &str) -> Option<&Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    fn switch(&mut self, name: &str) -> Option<bool> {
        match self.given(name)? {
            Value::Bool(on) => Some(*on),
            other => {
                let reason = format!("is {}; accepted is true or false", shown(other));
                self.fault(name, reason);
                None
            }
        }
    }

    fn text(&mut self, name: &str) -> Option<String> {
        match self.given(name)? {
            Value::String(text) if text.len() <= MAX_TEXT => Some(text.clone()),
            other => {
                let reason = format!("is {}; accepted is a text of at most {MAX_TEXT} bytes", shown(other));
                self.fault(name, reason);
                None
            }
        }
    }

    /// Empty where there is none.
    fn name(&mut self) -> String {
        let name = self.text("name").unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.len() > MAX_NAME || !name.bytes().all(is_plain) {
            self.fault(
                "name",
                format!("is {:?}; accepted are letters, digits, - _ and ., at most {MAX_NAME} of them", name),
            );
        }
        name
    }

    fn pattern(&mut self, name: &str) -> Pattern {
        let parsed = match self.given(name) {
            None => return Pattern::Any,
            Some(Value::String(text)) => Pattern::parse(text),
            Some(other) => Err(format!("is {}; accepted is a text", shown(other))),
        };
        parsed.unwrap_or_else(|reason| {
            self.fault(name, reason);
            Pattern::Any
        })
    }

    fn action(&mut self) -> Action {
        let named = match self.given("action") {
            Some(Value::String(text)) => text.clone(),
            Some(other) => {
                let reason = format!("is {}; {ACTIONS}", shown(other));
                self.fault("action", reason);
                return Action::Off;
            }
            None => {
                self.fault("action", format!("is missing; {ACTIONS}"));
                return Action::Off;
            }
        };
        let (action, of_it) = match named.as_str() {
            "off" => (Action::Off, ""),
            "keep_fraction" => (Action::KeepFraction { fraction: self.number("fraction", 0.0, 1.0) }, "fraction"),
            "minimum_duration" => {
                let duration_ms = self.number("duration_ms", 0.001, 86_400_000.0);
                (Action::MinimumDuration { duration_ms }, "duration_ms")
            }
            other => {
                self.fault("action", format!("is {:?}; {ACTIONS}", other.chars().take(MAX_NAME).collect::<String>()));
                return Action::Off;
            }
        };
        for member in ["fraction", "duration_ms"] {
            if member != of_it && self.given(member).is_some() {
                self.fault(member, format!("does not go with the action {named}"));
            }
        }
        action
    }

    fn number(&mut self, name: &str, least: f64, most: f64) -> f64 {
        let accepted = format!("accepted is a number from {least} to {most}");
        let (number, found) = match self.given(name) {
            None => (None, "missing".to_owned()),
            Some(value) => (value.as_f64(), shown(value)),
        };
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => number,
            None => {
                self.fault(name, format!("is {found}; {accepted}"));
                most
            }
        }
    }

    /// `until`, or `for_secs` counted from `since`.
    fn until(&mut self, now: UnixNanos, since: UnixNanos) -> Option<UnixNanos> {
        let at = self.given("until").map(|value| match value {
            Value::String(text) => UnixNanos::parse_rfc3339(text).map_err(|error| format!("{error}")),
            other => Err(format!("is {}; accepted is an RFC 3339 time", shown(other))),
        });
        let secs = self.given("for_secs").map(|value| match value.as_u64() {
            Some(secs @ 1..=MAX_SECS) => Ok(since.plus(i64::try_from(secs * 1_000_000_000).unwrap_or(i64::MAX))),
            _ => Err(format!("is {}; accepted are 1 to {MAX_SECS} seconds", shown(value))),
        });
        let (field, instant) = match (at, secs) {
            (None, None) => return None,
            (Some(_), Some(_)) => ("for_secs", Err("goes without until".to_owned())),
            (Some(at), None) => ("until", at),
            (None, Some(secs)) => ("for_secs", secs),
        };
        match instant {
            Ok(instant) if instant <= now => {
                self.fault(field, format!("is {instant}, which is over; it is {now}"));
                None
            }
            Ok(instant) => Some(instant),
            Err(reason) => {
                self.fault(field, reason);
                None
            }
        }
    }
}

/// A value for a complaint: never at length.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.len() <= MAX_NAME => format!("{text:?}"),
        Value::String(text) => format!("a text of {} bytes", text.len()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

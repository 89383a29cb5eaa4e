//! Resources and scopes as the JSON objects that `normalize` reads: `{"attributes": {…}, "schema_url": …}`.

use super::values;

/// What is told of a resource or a scope.
#[derive(Default)]
pub(super) struct Origin<'a> {
    /// Plain texts by their names; an empty one is left out.
    pub texts: [(&'static str, &'a str); 3],
    /// A JSON object, or nothing.
    pub attributes: &'a str,
    pub dropped_attributes: u32,
}

impl Origin<'_> {
    /// Writes it; nothing if nothing is told.
    pub fn write(&self, into: &mut String) {
        into.clear();
        let mut texts = self.texts.iter().filter(|(_, text)| !text.is_empty()).peekable();
        if texts.peek().is_none() && self.attributes.is_empty() && self.dropped_attributes == 0 {
            return;
        }
        // Always there: by it the whole is known from a plain object of attributes.
        into.push_str("{\"attributes\":");
        into.push_str(if self.attributes.is_empty() { "{}" } else { self.attributes });
        for (name, text) in texts {
            values::display(into, format_args!(",\"{name}\":"));
            values::string(into, text);
        }
        if self.dropped_attributes > 0 {
            values::display(into, format_args!(",\"dropped_attributes\":{}", self.dropped_attributes));
        }
        into.push('}');
    }
}

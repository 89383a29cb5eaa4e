//! Tokens and money of a trace, each counted once.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::money;
use crate::model::span::Span;
use crate::model::trace::Trace;

use super::tree::Tree;

/// What was spent. A part that nobody reported is absent; 0 means that nothing was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    /// 1e-12 USD.
    pub cost_pico: Option<i64>,
}

/// Tokens read and written by a model. A count that was not reported is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tokens {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<i64>,
}

impl Usage {
    /// What the span itself reports.
    pub fn of(span: &Span) -> Self {
        Self { input_tokens: span.input_tokens(), output_tokens: span.output_tokens(), cost_pico: span.cost_pico() }
    }

    pub fn tokens(&self) -> Option<Tokens> {
        let tokens = Tokens { input: self.input_tokens, output: self.output_tokens };
        (tokens.input.is_some() || tokens.output.is_some()).then_some(tokens)
    }

    /// The cost as a decimal number of US dollars.
    pub fn cost_usd(&self) -> Option<String> {
        self.cost_pico.map(money::usd)
    }
}

/// The sums over the trace. Agent frameworks repeat on a parent what its children spent, so of each quantity a span
/// counts only if no span below it reports that quantity; a span whose `cost_role` is `own` always counts. Sums are
/// held at the ends of i64.
pub fn total(trace: &Trace, tree: &Tree) -> Usage {
    let sum = |quantity: fn(&Span) -> Option<i64>| {
        let mut reported_below = vec![false; tree.node_count()];
        let mut sum: Option<i64> = None;
        for &node in tree.pre_order().iter().rev().filter(|node| !tree.is_placeholder(**node)) {
            let span = &trace.spans[node];
            let value = quantity(span);
            if let Some(value) = value
                && (!reported_below[node] || span.cost_role() == Some("own"))
            {
                sum = Some(sum.unwrap_or(0).saturating_add(value));
            }
            if let Some(parent) = tree.parent(node) {
                reported_below[parent] |= reported_below[node] || value.is_some();
            }
        }
        sum
    };
    Usage {
        input_tokens: sum(Span::input_tokens),
        output_tokens: sum(Span::output_tokens),
        cost_pico: sum(Span::cost_pico),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sketch;

    #[test]
    fn what_a_parent_repeats_is_counted_once() {
        let usage = |input, output, cost| Usage { input_tokens: input, output_tokens: output, cost_pico: cost };
        for (sketch, expected) in [
            ("a[0..9](b[1..2])", usage(None, None, None)),
            ("a{input_tokens=30}(b{input_tokens=10} c{input_tokens=20})", usage(Some(30), None, None)),
            ("a{input_tokens=30}(x(b{input_tokens=10} c{input_tokens=20}))", usage(Some(30), None, None)),
            // Tokens on the calls, the cost only on the agent.
            ("agent{cost_pico=7 cost_role=aggregate}(llm{output_tokens=5})", usage(None, Some(5), Some(7))),
            ("agent{cost_pico=7 cost_role=aggregate}(llm{cost_pico=3})", usage(None, None, Some(3))),
            ("llm{cost_pico=7 cost_role=own}(llm{cost_pico=3 cost_role=own})", usage(None, None, Some(10))),
            ("a{cost_pico=9}(b{cost_pico=0})", usage(None, None, Some(0))),
            ("a^f{cost_pico=9223372036854775807} b^f{cost_pico=5}", usage(None, None, Some(i64::MAX))),
        ] {
            let trace = sketch::trace(sketch).unwrap();
            assert_eq!(total(&trace, &Tree::new(&trace)), expected, "{sketch}");
        }
    }
}

//! The shape of a trace: who called whom, whatever was sent.
//!
//! Owns links between spans: orphans, self-parents, cycles, several roots, order. Leaves times and their oddities to
//! [`super::timeline`]. Nothing here recurses, so depth costs no stack.

use std::collections::HashMap;

use crate::model::ids::SpanId;
use crate::model::span::Span;
use crate::model::trace::Trace;

use super::timeline::is_start_suspect;

/// The spans of a trace as a forest. Nodes `0..span_count` are the spans, by their place in the trace; the nodes after
/// them are placeholders, one for each parent id that no span has. Every node is in the forest exactly once.
#[derive(Debug, Clone)]
pub struct Tree {
    span_count: usize,
    /// Ids of the placeholders: node `span_count + i` is `missing[i]`.
    missing: Vec<SpanId>,
    parents: Vec<Option<usize>>,
    /// Children of node `n` are `children[first_child[n]..first_child[n + 1]]`.
    children: Vec<usize>,
    first_child: Vec<usize>,
    roots: Vec<usize>,
    pre_order: Vec<usize>,
    depths: Vec<u32>,
    cuts: Vec<Cut>,
}

/// A link that was left out because it closed a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The span whose parent was ignored: the first of the circle in sibling order. It is a root of the forest.
    pub node: usize,
    /// The spans of the circle, each followed by its parent, `node` first. One span alone is its own parent.
    pub circle: Vec<usize>,
}

/// Siblings are ordered by start (spans whose start is not known by their end, those without any time last), then id.
type OrderKey = (bool, u64, SpanId);

impl Tree {
    /// Links the spans of `trace`. Costs O(n log n), by the sorting of siblings.
    ///
    /// The parent of a span is the span with that id; or, for a 64-bit parent id, the only span whose 128-bit id has it
    /// as one of its halves (a tracer in between could carry no more). Of a span that client and server share
    /// ([`SpanId::server_half`]) the server's half is the client's child, or without a client that of the parent it names;
    /// who names the shared id belongs to the half of its own service, else to the server's. A span whose parent is not among the spans is an
    /// orphan, and orphans that name the same parent hang together under a placeholder. Of a circle, the link of its
    /// first span in sibling order is cut, so the same spans give the same tree in whatever order they come.
    pub fn new(trace: &Trace) -> Self {
        let spans = &trace.spans;
        let keys: Vec<OrderKey> = spans.iter().map(order_key).collect();
        let (mut parents, missing) = link(spans);
        let cuts = cut_circles(&mut parents, &keys);
        let (children, first_child) = group_children(&parents, &keys);
        let mut tree = Self {
            span_count: spans.len(),
            missing,
            depths: vec![0; parents.len()],
            pre_order: Vec::with_capacity(parents.len()),
            roots: Vec::new(),
            parents,
            children,
            first_child,
            cuts,
        };
        tree.roots = tree.ordered_roots(spans, &keys);
        tree.walk();
        tree
    }

    /// Number of spans; nodes from this number on are placeholders.
    pub fn span_count(&self) -> usize {
        self.span_count
    }

    /// Number of spans and placeholders.
    pub fn node_count(&self) -> usize {
        self.parents.len()
    }

    /// The nodes without a parent: true roots first, then placeholders, then the spans at which circles were cut; each
    /// in sibling order, spans whose clock is suspect last. The first is the trace's root.
    pub fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// The span that stands for the whole trace: its earliest true root, or without one the earliest orphan, or else
    /// the span at which a circle was cut. `None` in an empty trace.
    pub fn root_span(&self) -> Option<usize> {
        let root = *self.roots.first()?;
        if self.is_placeholder(root) { self.children(root).first().copied() } else { Some(root) }
    }

    /// Whether the trace's root came: a span that names no parent.
    pub fn has_true_root(&self) -> bool {
        self.roots.first().is_some_and(|root| !self.is_placeholder(*root) && !self.is_cut(*root))
    }

    pub fn parent(&self, node: usize) -> Option<usize> {
        self.parents[node]
    }

    /// In sibling order: start, then span id.
    pub fn children(&self, node: usize) -> &[usize] {
        &self.children[self.first_child[node]..self.first_child[node + 1]]
    }

    /// Every node once, parents before their children, siblings in order. Reversed, children come before parents.
    pub fn pre_order(&self) -> &[usize] {
        &self.pre_order
    }

    /// 0 for roots.
    pub fn depth(&self, node: usize) -> u32 {
        self.depths[node]
    }

    /// The id that spans gave as their parent's and that no span has, if the node is a placeholder.
    pub fn missing_id(&self, node: usize) -> Option<SpanId> {
        self.missing.get(node.checked_sub(self.span_count)?).copied()
    }

    pub fn is_placeholder(&self, node: usize) -> bool {
        node >= self.span_count
    }

    /// Whether the span named a parent that is not among the trace's spans.
    pub fn is_orphan(&self, node: usize) -> bool {
        self.parents[node].is_some_and(|parent| self.is_placeholder(parent))
    }

    /// Links that were cut, in sibling order of the spans they were cut at.
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    fn is_cut(&self, node: usize) -> bool {
        self.cuts.iter().any(|cut| cut.node == node)
    }

    fn ordered_roots(&self, spans: &[Span], keys: &[OrderKey]) -> Vec<usize> {
        let mut cut = vec![false; self.node_count()];
        for Cut { node, .. } in &self.cuts {
            cut[*node] = true;
        }
        let key = |node: usize| {
            let span = if self.is_placeholder(node) { self.children(node)[0] } else { node };
            let class = if self.is_placeholder(node) { 1 } else { 2 * u8::from(cut[node]) };
            (class, is_start_suspect(&spans[span]), keys[span])
        };
        let mut roots: Vec<usize> = (0..self.node_count()).filter(|node| self.parents[*node].is_none()).collect();
        roots.sort_by_cached_key(|node| key(*node));
        roots
    }

    fn walk(&mut self) {
        let mut stack: Vec<usize> = self.roots.iter().rev().copied().collect();
        while let Some(node) = stack.pop() {
            self.pre_order.push(node);
            if let Some(parent) = self.parents[node] {
                self.depths[node] = self.depths[parent] + 1;
            }
            stack.extend(self.children(node).iter().rev());
        }
    }
}

fn order_key(span: &Span) -> OrderKey {
    let at = span.started_at.or(span.ended_at());
    (at.is_none(), at.unwrap_or_default().as_u64(), span.span_id)
}

/// The parent of every span and of every placeholder (which has none), and the ids of the placeholders.
fn link(spans: &[Span]) -> (Vec<Option<usize>>, Vec<SpanId>) {
    let mut by_id = HashMap::with_capacity(spans.len());
    let mut by_half: HashMap<SpanId, Option<usize>> = HashMap::new();
    let mut server_halves: HashMap<SpanId, usize> = HashMap::new();
    for (node, span) in spans.iter().enumerate() {
        by_id.entry(span.span_id).or_insert(node);
        if let Some(shared) = span.span_id.shared_id() {
            server_halves.insert(shared, node);
        } else if span.span_id.is_long() {
            for half in span.span_id.halves().into_iter().flatten() {
                let only = by_half.entry(half).or_insert(Some(node));
                if *only != Some(node) {
                    *only = None;
                }
            }
        }
    }

    let mut missing = Vec::new();
    let mut placeholders = HashMap::new();
    let mut parents = Vec::with_capacity(spans.len());
    // Whom a span of this service means by an id.
    let meant = |id: SpanId, service: Option<&str>| match (by_id.get(&id), server_halves.get(&id)) {
        (Some(&client), Some(&server)) => {
            let is_clients = service == spans[client].service() && service != spans[server].service();
            Some(if is_clients { client } else { server })
        }
        (Some(&node), None) | (None, Some(&node)) => Some(node),
        (None, None) => by_half.get(&id).copied().flatten(),
    };
    for span in spans {
        let client = span.span_id.shared_id().and_then(|shared| by_id.get(&shared)).copied();
        let named = span.parent_span_id.filter(|_| client.is_none()).map(|id| {
            meant(id, span.service()).unwrap_or_else(|| {
                *placeholders.entry(id).or_insert_with(|| {
                    missing.push(id);
                    spans.len() + missing.len() - 1
                })
            })
        });
        parents.push(client.or(named));
    }
    parents.resize(spans.len() + missing.len(), None);
    (parents, missing)
}

/// Removes one link of every circle. A node has one parent at most, so each walk towards the root either ends, meets an
/// earlier walk, or closes a circle; every node is walked over once.
fn cut_circles(parents: &mut [Option<usize>], keys: &[OrderKey]) -> Vec<Cut> {
    let mut walked_by = vec![usize::MAX; parents.len()];
    let mut cuts = Vec::new();
    for from in 0..parents.len() {
        let mut node = from;
        let meeting = loop {
            if walked_by[node] != usize::MAX {
                break (walked_by[node] == from).then_some(node);
            }
            walked_by[node] = from;
            match parents[node] {
                Some(parent) => node = parent,
                None => break None,
            }
        };
        let Some(meeting) = meeting else { continue };
        let mut circle = vec![meeting];
        while let Some(parent) = parents[circle[circle.len() - 1]].filter(|parent| *parent != meeting) {
            circle.push(parent);
        }
        let first = (0..circle.len()).min_by_key(|at| keys[circle[*at]]).unwrap_or_default();
        circle.rotate_left(first);
        parents[circle[0]] = None;
        cuts.push(Cut { node: circle[0], circle });
    }
    cuts.sort_by_key(|cut| keys[cut.node]);
    cuts
}

/// Children of all nodes, grouped by parent and each group in order, with the place where each group begins.
fn group_children(parents: &[Option<usize>], keys: &[OrderKey]) -> (Vec<usize>, Vec<usize>) {
    let mut first_child = vec![0; parents.len() + 1];
    for parent in parents.iter().flatten() {
        first_child[parent + 1] += 1;
    }
    for node in 0..parents.len() {
        first_child[node + 1] += first_child[node];
    }
    let mut next = first_child.clone();
    let mut children = vec![0; first_child[parents.len()]];
    for (node, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            children[next[*parent]] = node;
            next[*parent] += 1;
        }
    }
    for node in 0..parents.len() {
        // Only spans have parents, so every child has a key.
        children[first_child[node]..first_child[node + 1]].sort_by_key(|child| keys[*child]);
    }
    (children, first_child)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sketch;

    /// The tree as text: operations in pre-order, children in parentheses, placeholders as `?id`.
    fn shape(sketch: &str) -> String {
        let trace = sketch::trace(sketch).unwrap();
        let tree = Tree::new(&trace);
        let mut text = String::new();
        let mut open = 0;
        for node in tree.pre_order() {
            let depth = tree.depth(*node) as usize;
            match depth.cmp(&open) {
                std::cmp::Ordering::Greater => text.push('('),
                _ => (0..open - depth).for_each(|_| text.push(')')),
            }
            if !text.is_empty() && !text.ends_with('(') {
                text.push(' ');
            }
            open = depth;
            match tree.missing_id(*node) {
                Some(id) => text.push_str(&format!("?{}", id.to_string().trim_start_matches('0'))),
                None => text.push_str(trace.spans[*node].operation().unwrap_or_default()),
            }
        }
        (0..open).for_each(|_| text.push(')'));
        text
    }

    #[test]
    fn spans_find_their_parents() {
        for (sketch, expected) in [
            ("", ""),
            ("a[0..9](c[5..6] b[1..2](d[1..2]))", "a(b(d) c)"),
            ("a[0..9](b[3..4] c[3..4])", "a(b c)"),
            ("a[0..9](later[..5] b[1..2] timeless)", "a(b later timeless)"),
            ("b^f0[5..6] a[0..9](x[1..2]) c^f0[3..4] d^e[4..5]", "a(x) ?f0(c b) ?e(d)"),
            ("second[5..9] first[1..2]", "first second"),
            ("a#1^1[0..9] b^1[1..2]", "a(b)"),
            ("a#1^3[0..9] b#2^1[1..9] c#3^2[2..9](d[3..4])", "a(b(c(d)))"),
            ("c#3^2[2..9] x#9[5..6] b#2^1[1..9] a#1^3[0..9]", "x a(b(c))"),
            (
                "a#7f3c0a1b2c3d4e5f60718293a4b5c6d7[0..9] low^60718293a4b5c6d7[1..2] high^7f3c0a1b2c3d4e5f[2..3]",
                "a(low high)",
            ),
            (
                "a#10000000000000000000000000000002[0..9] b#30000000000000000000000000000002[1..9] c^2[2..3]",
                "a b ?2(c)",
            ),
            ("a#10000000000000021000000000000002[0..9] c^1000000000000002[2..3]", "a(c)"),
            ("a#10000000000000000000000000000002^2[0..9]", "a"),
        ] {
            assert_eq!(shape(sketch), expected, "{sketch}");
        }
    }

    #[test]
    fn a_cut_names_its_circle_from_the_span_it_was_cut_at() {
        let trace = sketch::trace("c#3^2[2..9] b#2^1[1..9] a#1^3[0..9] s#4^4[5..6]").unwrap();
        let tree = Tree::new(&trace);
        let names = |cut: &Cut| cut.circle.iter().filter_map(|node| trace.spans[*node].operation()).collect::<String>();
        assert_eq!(tree.cuts().iter().map(names).collect::<Vec<_>>(), ["acb", "s"]);
        assert!(!tree.has_true_root());
        assert_eq!(tree.root_span().and_then(|node| trace.spans[node].operation()), Some("a"));
    }
}

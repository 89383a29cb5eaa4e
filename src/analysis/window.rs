//! Which rows of a waterfall to show when not all fit.

use super::tree::Tree;

/// The nodes to show, at most `max_rows`, by node. With a node its ancestors are shown too.
///
/// In this order, as far as they fit: the root and the error's origin; half of the room for the heaviest spans of the
/// critical path; failed spans; the rest of the path; all others from the top of the tree downward. O(n log n).
pub fn choose(tree: &Tree, origin: Option<usize>, critical_ns: &[i64], failed: &[bool], max_rows: usize) -> Vec<bool> {
    if tree.node_count() <= max_rows {
        return vec![true; tree.node_count()];
    }
    let mut rank: Vec<u8> = (0..tree.node_count())
        .map(|node| match node {
            _ if tree.roots().first() == Some(&node) || origin == Some(node) => 0,
            _ if failed[node] => 2,
            _ if critical_ns[node] > 0 => 3,
            _ => 4,
        })
        .collect();
    let mut path: Vec<usize> = tree.pre_order().iter().copied().filter(|node| critical_ns[*node] > 0).collect();
    path.sort_by_key(|node| std::cmp::Reverse(critical_ns[*node]));
    path.iter().take(max_rows / 2).for_each(|node| rank[*node] = rank[*node].min(1));

    // A parent ranks no lower and weighs no less than anything below it, and comes first among equals: so it is chosen
    // before its children.
    let mut weight = critical_ns.to_vec();
    for &node in tree.pre_order().iter().rev() {
        if let Some(parent) = tree.parent(node) {
            rank[parent] = rank[parent].min(rank[node]);
            weight[parent] = weight[parent].max(weight[node]);
        }
    }
    let mut order = tree.pre_order().to_vec();
    order.sort_by_key(|node| (rank[*node], std::cmp::Reverse(weight[*node]), tree.depth(*node)));
    let mut chosen = vec![false; tree.node_count()];
    order.into_iter().take(max_rows).for_each(|node| chosen[node] = true);
    chosen
}

/// Of every shown node, how many nodes are not shown below it, up to the next shown node above them.
pub fn left_out(tree: &Tree, chosen: &[bool]) -> Vec<u32> {
    let mut hidden = vec![0_u32; tree.node_count()];
    for &node in tree.pre_order().iter().rev().filter(|node| !chosen[**node]) {
        if let Some(parent) = tree.parent(node) {
            hidden[parent] += hidden[node] + 1;
        }
    }
    hidden
}

//! Chains that Python's `tibet-core` walks wrongly: long, circular, and with ends missing.
#![allow(clippy::unwrap_used, reason = "helpers outside #[test] functions")]

mod common;

use common::{signed_log, time};
use tibet_core::{Chain, Draft, MAX_TREE_DEPTH, MemoryStore, Minter, Parent, Token, TokenStore, TreeNode};

fn store(tokens: &[Token]) -> MemoryStore {
    let mut store = MemoryStore::new();
    for token in tokens {
        store.append(token).unwrap();
    }
    store
}

fn unsigned_log(count: u32) -> Vec<Token> {
    let mut minter = Minter::new("jis:hub");
    (0..count).map(|n| minter.mint(Draft::new("step"), time(n.into()), n.to_be_bytes())).collect()
}

/// Two tokens that name each other as parents, with right hashes.
fn circle() -> Vec<Token> {
    let mut minter = Minter::new("jis:hub");
    let id = |n: u8| format!("tibet_2026010203040500000{n}_0000000{n}");
    let parent = |n| Parent::Of { token_id: id(n), content_hash: String::new() };
    let log: Vec<Token> = [(0, 1), (1, 0)]
        .map(|(n, other)| minter.mint(Draft::new("x").parent(parent(other)), time(n), [0, 0, 0, n as u8]))
        .into();
    assert_eq!((log[0].token_id.clone(), log[1].token_id.clone()), (id(0), id(1)));
    log
}

#[test]
fn tampering_beyond_the_hundredth_token_is_seen() {
    let mut log = unsigned_log(250);
    let newest = log[249].token_id.clone();
    let whole = store(&log);
    let chain = Chain::new(&whole);
    assert!(chain.verify(&newest).unwrap());
    assert_eq!(chain.trace(&newest).count(), 250);
    assert_eq!(chain.root(&newest).unwrap().as_ref(), Some(&log[0]));
    assert_eq!(chain.summary(&newest).unwrap().unwrap().length, 250);

    log[3].erachter.push('!');
    assert!(!Chain::new(&store(&log)).verify(&newest).unwrap());
}

#[test]
fn an_exchanged_parent_breaks_the_chain_even_with_a_right_hash() {
    let mut log = signed_log(3);
    let mut minter = Minter::new("jis:home:hub");
    let other = minter.mint(Draft::new("other"), time(1), 1u32.to_be_bytes());
    assert_eq!(other.token_id, log[1].token_id);
    log[1] = other;
    assert!(log[1].verify_hash(None));
    let newest = log[2].token_id.clone();
    assert!(!Chain::new(&store(&log)).verify(&newest).unwrap());
}

#[test]
fn a_chain_without_its_beginning_is_not_whole() {
    let log = unsigned_log(3);
    let rest = store(&log[1..]);
    let chain = Chain::new(&rest);
    assert!(!chain.verify(&log[2].token_id).unwrap());
    assert!(!chain.summary(&log[2].token_id).unwrap().unwrap().valid);
    assert_eq!(chain.root(&log[2].token_id).unwrap().as_ref(), Some(&log[1]), "the oldest there is");
    assert!(!chain.verify("unknown").unwrap());
}

#[test]
fn a_circle_ends_and_does_not_verify() {
    let log = circle();
    let store = store(&log);
    let chain = Chain::new(&store);
    assert_eq!(chain.trace(&log[0].token_id).count(), 2);
    assert!(!chain.verify(&log[0].token_id).unwrap());
    let tree = chain.tree(&log[0].token_id, 10).unwrap();
    let TreeNode::Token { children, .. } = tree else { panic!("{tree:?}") };
    let TreeNode::Token { children, .. } = &children[0] else { panic!("{children:?}") };
    assert_eq!(children[..], [TreeNode::Repeated { id: log[0].token_id.clone() }]);
}

fn depth(node: &TreeNode) -> usize {
    let TreeNode::Token { children, .. } = node else { return 0 };
    1 + children.first().map_or(0, depth)
}

#[test]
fn a_tree_is_as_deep_as_asked_and_never_deeper_than_the_limit() {
    let log = unsigned_log(100);
    let store = store(&log);
    let tree = |max| Chain::new(&store).tree(&log[0].token_id, max).unwrap();
    assert_eq!(depth(&tree(0)), 1, "the root alone");
    assert_eq!(depth(&tree(2)), 3);
    assert_eq!(depth(&tree(usize::MAX)), MAX_TREE_DEPTH + 1);
    let TreeNode::Token { children, .. } = tree(0) else { panic!("no token") };
    assert_eq!(children, [TreeNode::Truncated { id: log[1].token_id.clone() }]);
    assert_eq!(Chain::new(&store).tree("unknown", 3).unwrap(), TreeNode::Missing { id: "unknown".into() });
}

#[test]
fn children_are_found_in_order() {
    let mut log = unsigned_log(2);
    let mut minter = Minter::new("jis:hub");
    log.push(minter.mint(Draft::new("b").parent(Parent::of(&log[0])), time(9), [0; 4]));
    let store = store(&log);
    assert_eq!(Chain::new(&store).children(&log[0].token_id).unwrap(), log[1..]);
    assert!(Chain::new(&store).children(&log[2].token_id).unwrap().is_empty());
}

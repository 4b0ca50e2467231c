//! The rules of the house, over `cargo metadata`: who may depend on whom, licences, versions.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Licences that may be in the product; one alternative of every expression must be among them.
const ALLOWED: [&str; 11] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "MIT-0",
    "Unlicense",
];

/// Listed in the lock file through a feature of libp2p that is off; never compiled.
const NOT_COMPILED: [&str; 1] = ["attohttpc"];

/// Versions below which there are known holes.
const AT_LEAST: [(&str, (u64, u64, u64)); 4] = [
    ("quinn-proto", (0, 11, 15)),
    ("libp2p-gossipsub", (0, 49, 4)),
    ("yamux", (0, 13, 10)),
    ("libp2p-quic", (0, 13, 1)),
];

/// Two versions of one of these would be two worlds that do not fit together.
const SINGLE: [&str; 6] =
    ["ed25519-dalek", "quinn-proto", "rustls", "libp2p-core", "libp2p-swarm", "libp2p-identity"];

fn metadata() -> Metadata {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).other_options(["--locked".into()]).exec().unwrap()
}

/// Normal and build dependencies of a workspace member, by name.
fn dependencies(package: &Package) -> BTreeSet<&str> {
    let kept =
        package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
    kept.map(|dependency| dependency.name.as_str()).collect()
}

#[test]
fn members_depend_only_on_whom_they_may() {
    let metadata = metadata();
    let members: BTreeMap<String, Package> =
        metadata.workspace_packages().into_iter().map(|p| (p.name.to_string(), p.clone())).collect();
    let forbidden: [(&str, &[&str]); 3] = [
        (
            "driftless-protocol",
            &["driftless-compute", "driftless", "tokio", "libp2p", "quinn", "wgpu", "sled", "rand", "rayon"],
        ),
        ("driftless-compute", &["driftless-protocol", "driftless", "tokio", "libp2p", "quinn", "sled"]),
        ("driftless-sim", &["driftless", "tokio", "libp2p", "quinn", "sled"]),
    ];
    for (member, names) in forbidden {
        let found = dependencies(&members[member]);
        for name in names {
            assert!(!found.contains(name), "{member} must not depend on {name}");
        }
    }
}

#[test]
fn members_take_every_dependency_from_the_version_table() {
    for package in metadata().workspace_packages() {
        let text = std::fs::read_to_string(&package.manifest_path).unwrap();
        let sections = text.split("\n[").filter(|section| section.contains("dependencies]"));
        for line in sections.flat_map(|section| section.lines().skip(1)).filter(|line| line.contains('=')) {
            assert!(line.contains("workspace"), "{}: `{line}` has a version of its own", package.name);
        }
    }
}

#[test]
fn every_licence_is_allowed() {
    for package in metadata().packages {
        if NOT_COMPILED.contains(&package.name.as_str()) {
            continue;
        }
        let expression = package.license.clone().unwrap_or_default();
        assert!(is_allowed(&expression), "{} {}: {expression}", package.name, package.version);
    }
}

/// An expression of SPDX with AND, OR, WITH and parentheses; `/` is an old form of OR.
fn is_allowed(expression: &str) -> bool {
    let text = expression.replace('/', " OR ");
    let text = text.trim();
    match split(text, " AND ").as_slice() {
        [_] => {}
        parts => return parts.iter().all(|part| is_allowed(part)),
    }
    match split(text, " OR ").as_slice() {
        [_] => {}
        parts => return parts.iter().any(|part| is_allowed(part)),
    }
    match text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        Some(inner) => is_allowed(inner),
        // Data files of Unicode; the same terms as Unicode-3.0 in an older wording.
        None => ALLOWED.contains(&text) || text == "Unicode-DFS-2016",
    }
}

/// Splits at an operator outside of parentheses.
fn split<'a>(text: &'a str, operator: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ if depth == 0 && text[at..].starts_with(operator) => {
                parts.push(text[from..at].trim());
                from = at + operator.len();
            }
            _ => {}
        }
    }
    parts.push(text[from..].trim());
    parts
}

#[test]
fn known_holes_are_not_in_the_lock_file_and_worlds_are_single() {
    let mut versions: BTreeMap<String, Vec<(u64, u64, u64)>> = BTreeMap::new();
    let metadata = metadata();
    let resolved: BTreeSet<_> =
        metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|n| &n.id).collect();
    for package in metadata.packages.iter().filter(|package| resolved.contains(&package.id)) {
        let version = (package.version.major, package.version.minor, package.version.patch);
        versions.entry(package.name.to_string()).or_default().push(version);
    }
    for (name, minimum) in AT_LEAST {
        let found = versions.get(name).unwrap_or_else(|| panic!("{name} is gone: mend this list"));
        assert!(found.iter().all(|version| *version >= minimum), "{name} {found:?} is below {minimum:?}");
    }
    for name in SINGLE {
        assert_eq!(versions.get(name).map(Vec::len), Some(1), "{name} must be there once");
    }
    assert!(versions["bincode"].iter().all(|version| version.0 == 2), "bincode 3.0.0 is a tombstone");
}

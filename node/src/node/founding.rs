//! Founding: a session's folder with its files, and its genesis state.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use driftless_protocol::Hash;
use driftless_protocol::charter::Charter;
use driftless_protocol::manifest::{Data, Origin, SignedManifest};
use driftless_protocol::state::{PAGE_VALUES, Page, State};

use super::{Node, NodeError};
use crate::blobs::BlobStore;
use crate::store::{Options as StoreOptions, SessionStore, StoreReader};

/// What a founder brings beside the manifest. Everything becomes blobs, so that joiners can fetch it.
#[derive(Debug, Clone, Default)]
pub struct FoundingFiles {
    /// The texts, in the manifest's order.
    pub data: Vec<PathBuf>,
    /// The tokenizer.
    pub tokenizer: Option<PathBuf>,
    /// The pages that the manifest's origin names: an imported model's, or another session's.
    pub pages: Vec<Page>,
}

impl Node {
    /// Makes the folder of a session that is founded or joined here.
    pub fn found(&self, manifest: &SignedManifest, files: &FoundingFiles) -> Result<Hash, NodeError> {
        let charter = Charter::new(manifest.manifest().clone())?;
        let folder = self.inner.folder.session(charter.session);
        let blobs = BlobStore::open(folder.blobs())?;
        insert_data(&charter, &blobs, &files.data)?;
        if let (Some(file), Some(path)) = (&charter.manifest.tokenizer, &files.tokenizer) {
            insert(&blobs, path, &file.name, file.root)?;
        }
        for page in &files.pages {
            blobs.insert(page.bytes())?;
        }
        drop(blobs);
        let store = SessionStore::create(&self.inner.folder, manifest, &charter, StoreOptions::default())?;
        store.close()?;
        Ok(charter.session)
    }
}

fn insert_data(charter: &Charter, blobs: &BlobStore, paths: &[PathBuf]) -> Result<(), NodeError> {
    match &charter.manifest.data {
        Data::Public { files, .. } => {
            if files.len() != paths.len() {
                return Err(NodeError::FileCount { expected: files.len(), found: paths.len() });
            }
            files.iter().zip(paths).try_for_each(|(file, path)| insert(blobs, path, &file.name, file.root))
        }
        Data::Private { .. } if paths.is_empty() => Err(NodeError::PrivateData),
        Data::Private { .. } => {
            // Private texts are only remembered by name: they never become blobs. `run` may be
            // typed in another folder.
            let absolute = |path: &PathBuf| Ok(std::path::absolute(path)?.display().to_string());
            let list: Result<Vec<String>, std::io::Error> = paths.iter().map(absolute).collect();
            let file = private_list(blobs);
            list.and_then(|list| std::fs::write(&file, list.join("\n")))
                .map_err(|source| NodeError::Store(crate::store::StoreError::Io { path: file, source }))
        }
    }
}

/// Where the names of private texts are kept: beside the blobs, never among them.
fn private_list(blobs: &BlobStore) -> PathBuf {
    blobs.folder().parent().unwrap_or(Path::new(".")).join("private-data")
}

fn insert(blobs: &BlobStore, path: &Path, name: &str, expected: Hash) -> Result<(), NodeError> {
    let found = blobs.insert_file(path)?;
    if found == expected {
        return Ok(());
    }
    blobs.remove(&found)?;
    Err(NodeError::WrongFile { path: path.to_owned(), name: name.to_owned(), expected, found })
}

/// The files that a session trains on, as they lie in its folder.
pub(super) fn data_paths(charter: &Charter, reader: &StoreReader) -> Result<Vec<PathBuf>, NodeError> {
    match &charter.manifest.data {
        Data::Private { .. } => {
            let list = std::fs::read_to_string(private_list(reader.blobs()));
            list.map(|list| list.lines().map(PathBuf::from).collect()).map_err(|_| NodeError::PrivateData)
        }
        Data::Public { files, .. } => files
            .iter()
            .map(|file| match reader.has_blob(&file.root) {
                true => Ok(reader.blobs().path(&file.root)),
                false => Err(NodeError::MissingData { name: file.name.clone(), root: file.root }),
            })
            .collect(),
    }
}

/// The blobs that a session's manifest names: joiners will ask for them as long as it lives.
pub(super) fn named_blobs(charter: &Charter) -> BTreeSet<Hash> {
    let manifest = &charter.manifest;
    let texts = match &manifest.data {
        Data::Public { files, .. } => files.as_slice(),
        Data::Private { .. } => &[],
    };
    let files = texts.iter().chain(&manifest.tokenizer).map(|file| file.root);
    files.chain(manifest.origin.pages().iter().copied()).collect()
}

/// The genesis state, checked against the manifest's digest.
pub fn genesis_state(
    charter: &Charter,
    read: impl FnMut(&Hash) -> Result<Vec<u8>, String>,
) -> Result<State, NodeError> {
    let state = match &charter.manifest.origin {
        Origin::Seed => charter.genesis_state(),
        Origin::Imported(roots) => charter.genesis_with(imported_outer(charter, roots, read)?),
        Origin::Session(parent) => inherited(charter, &parent.pages, read)?,
    };
    let (expected, found) = (charter.manifest.genesis, state.digest());
    if found == expected { Ok(state) } else { Err(NodeError::Genesis { expected, found }) }
}

/// The genesis state with another session's arrays, from their pages.
fn inherited(
    charter: &Charter,
    roots: &[Hash],
    mut read: impl FnMut(&Hash) -> Result<Vec<u8>, String>,
) -> Result<State, NodeError> {
    let mut failed = None;
    let page = |root: Hash, values: usize| {
        let bytes = read(&root).unwrap_or_else(|reason| {
            failed = Some(reason);
            Vec::new()
        });
        Page::from_bytes(root, &bytes, values)
    };
    let state = charter.genesis_of_pages(roots, page).map_err(|error| error.to_string());
    failed.map_or(state, Err).map_err(NodeError::Inherited)
}

/// An imported model's outer parameters from its pages, fragment by fragment.
fn imported_outer(
    charter: &Charter,
    roots: &[Hash],
    mut read: impl FnMut(&Hash) -> Result<Vec<u8>, String>,
) -> Result<Vec<Vec<f32>>, NodeError> {
    let mut roots = roots.iter();
    let mut outer = Vec::with_capacity(charter.lengths.len());
    for length in &charter.lengths {
        let mut values = Vec::with_capacity(*length);
        while values.len() < *length {
            let root = roots.next().ok_or_else(|| NodeError::Imported("pages are missing".into()))?;
            let bytes = read(root).map_err(NodeError::Imported)?;
            let page = Page::from_bytes(*root, &bytes, (length - values.len()).min(PAGE_VALUES))
                .map_err(|error| NodeError::Imported(error.to_string()))?;
            values.extend_from_slice(page.values());
        }
        outer.push(values);
    }
    match roots.next() {
        None => Ok(outer),
        Some(_) => Err(NodeError::Imported("there are more pages than the model has".into())),
    }
}

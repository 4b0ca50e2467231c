//! Every file of `pages/`, `blobs/` and `chain/`: what it is, and whether its bytes are what its name
//! says.

use std::fs;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use driftless_protocol::Hash;
use driftless_protocol::charter::Charter;
use driftless_protocol::election::Committees;

use super::{Problem, Step, Verified};
use crate::blobs::outboard_of;
use crate::offline::OfflineError;
use crate::store::{
    SessionFolder, StoreError, check_reset, check_taking, plain, read_committees, read_listing,
    snapshot_heights, snapshot_path,
};

/// What a file is, by its name.
enum Kind {
    /// Named by the hash of its bytes.
    Blob(Hash),
    /// The inner nodes of a large blob's hash tree.
    Outboard(Hash),
    /// Half-written or half-fetched: checked group by group when it goes on.
    Unfinished,
    /// Read by somebody else here.
    Record,
    Unknown,
}

pub(super) fn check(
    folder: &SessionFolder,
    charter: &Charter,
    verified: &mut Verified,
    told: &mut dyn FnMut(Step),
) -> Result<(), OfflineError> {
    check_snapshots(folder, charter, verified)?;
    let mut files = Vec::new();
    for path in [folder.chain(), folder.pages(), folder.blobs()] {
        files.extend(list(&path)?);
    }
    let all = files.iter().map(|(_, length)| length).sum();
    let mut done = 0;
    for (path, length) in files {
        if let Some(problem) = check_file(&path)? {
            verified.problem(problem);
        }
        done += length;
        told(Step::Bytes(done, all));
    }
    verified.bytes = done;
    Ok(())
}

/// Every snapshot's record, and that its pages are here.
fn check_snapshots(
    folder: &SessionFolder,
    charter: &Charter,
    verified: &mut Verified,
) -> Result<(), OfflineError> {
    let committees = read_committees(folder, charter).unwrap_or_else(|_| Committees::founding(charter));
    for height in snapshot_heights(folder)? {
        match read_listing(folder, charter.session, height) {
            Ok(listing) => {
                if !listing.is_certified(charter, &committees) {
                    let reason = "no quorum signed its state";
                    verified.problem(Problem::at(&snapshot_path(folder, height), reason).of_height(height));
                }
                let paths =
                    listing.pages.into_iter().map(|root| (root, folder.pages().join(root.to_string())));
                for (root, path) in paths.filter(|(_, path)| !path.is_file()) {
                    let reason = "the snapshot's page is not here";
                    verified.problem(Problem::at(&path, reason).of_height(height).of_root(root));
                }
            }
            Err(error) => verified.problem(Problem::from_store(error, folder).of_height(height)),
        }
    }
    let others = [check_taking(folder, charter.session), check_reset(folder, charter.session)];
    for error in others.into_iter().filter_map(Result::err) {
        verified.problem(Problem::from_store(error, folder));
    }
    Ok(())
}

/// The entries of a folder, with their lengths; a link is not followed.
fn list(folder: &Path) -> Result<Vec<(PathBuf, u64)>, StoreError> {
    let failed = |error| StoreError::Io { path: folder.to_owned(), source: error };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        // Gone since the folder was listed.
        let Ok(metadata) = entry.metadata() else { continue };
        files.push((entry.path(), metadata.len()));
    }
    files.sort_unstable();
    Ok(files)
}

fn check_file(path: &Path) -> Result<Option<Problem>, OfflineError> {
    // Opening a pipe would wait for whoever writes into it.
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Ok(Some(Problem::at(path, "it is not a plain file")));
    }
    let checked = match kind_of(path) {
        Kind::Record | Kind::Unfinished => Ok(None),
        Kind::Unknown => Ok(Some(Problem::at(path, "no file of this name belongs here"))),
        Kind::Blob(root) => hash(path).map(|found| {
            let reason = format!("its bytes hash to {found}");
            (found != root).then(|| Problem::at(path, reason).of_root(root))
        }),
        Kind::Outboard(root) => check_outboard(path, root),
    };
    match checked {
        // A running node deleted it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Ok(Some(Problem::at(path, error.to_string()))),
        Ok(problem) => Ok(problem),
    }
}

fn kind_of(path: &Path) -> Kind {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("tmp-") || name.ends_with(".tmp") {
        return Kind::Unfinished;
    }
    let (stem, suffix) = name.split_once('.').unwrap_or((&name, ""));
    let is_number = !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit());
    match (Hash::from_hex(stem), suffix) {
        (Some(root), "") => Kind::Blob(root),
        (Some(root), "obao4") => Kind::Outboard(root),
        (Some(_), "part" | "part.obao4") => Kind::Unfinished,
        (_, "blocks" | "snapshot" | "seats") if is_number => Kind::Record,
        _ if name == "taking" => Kind::Record,
        _ => Kind::Unknown,
    }
}

fn hash(path: &Path) -> io::Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(BufReader::with_capacity(1 << 20, plain::open(path)?))?;
    Ok(hasher.finalize().into())
}

fn check_outboard(path: &Path, root: Hash) -> io::Result<Option<Problem>> {
    let blob = path.with_extension("");
    let right = outboard_of(&blob)?;
    let reason = "it is not the hash tree of its blob";
    let same = plain::read(path, right.len() as u64).is_ok_and(|found| found == right);
    Ok((!same).then(|| Problem::at(path, reason).of_root(root)))
}

//! Everything that happened below a folder, in order.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::tree::{Inode, Node, Tree};

/// One change, or a barrier.
#[derive(Debug, Clone)]
pub enum Change {
    Write {
        file: Inode,
        offset: u64,
        bytes: Vec<u8>,
    },
    Length {
        file: Inode,
        length: u64,
    },
    /// A new file or folder gets its first name. Its inode is the next number.
    Made {
        folder: Inode,
        name: OsString,
        inode: Inode,
        is_folder: bool,
    },
    Moved {
        folder: Inode,
        from: OsString,
        to: OsString,
        inode: Inode,
    },
    Removed {
        folder: Inode,
        name: OsString,
    },
    /// What was written to this file, or which names are in this folder, is on the disk.
    Synced {
        inode: Inode,
    },
    /// The test's own: what came before is to be compared with its entry of this number.
    Mark(usize),
}

/// Everything that happened, and what was there before.
#[derive(Debug, Clone)]
pub struct Recording {
    pub before: Tree,
    pub changes: Vec<Change>,
}

impl Recording {
    /// The path of every inode when it was made, from the watched folder on.
    pub fn paths(&self) -> Vec<PathBuf> {
        let mut paths = vec![PathBuf::new(); self.before.nodes.len()];
        let mut folders = vec![0];
        while let Some(folder) = folders.pop() {
            for (name, inode) in self.before.entries(folder) {
                paths[*inode] = paths[folder].join(name);
                if matches!(self.before.nodes[*inode], Node::Folder(_)) {
                    folders.push(*inode);
                }
            }
        }
        for change in &self.changes {
            if let Change::Made { folder, name, .. } = change {
                paths.push(paths[*folder].join(name));
            }
        }
        paths
    }

    /// The same as if nobody had waited for what `forgets` names.
    pub fn without_barriers(mut self, forgets: impl Fn(&Path) -> bool) -> Recording {
        let paths = self.paths();
        self.changes.retain(|change| !matches!(change, Change::Synced { inode } if forgets(&paths[*inode])));
        self
    }
}

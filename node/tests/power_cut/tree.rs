//! A folder with everything in it, in memory: what lies on a disk.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Number of a file or folder in its tree; the topmost folder is 0.
pub type Inode = usize;

/// A file or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, Inode>),
}

/// All files and folders, also such as have no name (any more).
#[derive(Debug, Clone)]
pub struct Tree {
    pub nodes: Vec<Node>,
}

impl Tree {
    pub fn empty() -> Tree {
        Tree { nodes: vec![Node::Folder(BTreeMap::new())] }
    }

    pub fn read(path: &Path) -> Tree {
        let mut tree = Tree::empty();
        tree.read_folder(path, 0);
        tree
    }

    fn read_folder(&mut self, path: &Path, folder: Inode) {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let inode = self.nodes.len();
            if entry.file_type().unwrap().is_dir() {
                self.nodes.push(Node::Folder(BTreeMap::new()));
                self.read_folder(&entry.path(), inode);
            } else {
                self.nodes.push(Node::File(fs::read(entry.path()).unwrap()));
            }
            self.entries_mut(folder).insert(entry.file_name(), inode);
        }
    }

    pub fn write(&self, path: &Path) {
        self.write_folder(path, 0);
    }

    fn write_folder(&self, path: &Path, folder: Inode) {
        fs::create_dir_all(path).unwrap();
        for (name, inode) in self.entries(folder) {
            let path = path.join(name);
            match &self.nodes[*inode] {
                Node::File(bytes) => fs::write(path, bytes).unwrap(),
                Node::Folder(_) => self.write_folder(&path, *inode),
            }
        }
    }

    /// Every file by its path.
    pub fn files(&self) -> BTreeMap<OsString, &Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![(OsString::new(), 0)];
        while let Some((above, folder)) = folders.pop() {
            for (name, inode) in self.entries(folder) {
                let mut path = above.clone();
                path.push("/");
                path.push(name);
                match &self.nodes[*inode] {
                    Node::File(bytes) => drop(files.insert(path, bytes)),
                    Node::Folder(_) => folders.push((path, *inode)),
                }
            }
        }
        files
    }

    pub fn entries(&self, folder: Inode) -> &BTreeMap<OsString, Inode> {
        match &self.nodes[folder] {
            Node::Folder(entries) => entries,
            Node::File(_) => panic!("{folder} is a file"),
        }
    }

    fn entries_mut(&mut self, folder: Inode) -> &mut BTreeMap<OsString, Inode> {
        match &mut self.nodes[folder] {
            Node::Folder(entries) => entries,
            Node::File(_) => panic!("{folder} is a file"),
        }
    }
}

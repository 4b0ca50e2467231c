//! Writes down, in order, everything that happens to the files below one folder.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::{c_int, ssize_t};

use super::recording::{Change, Recording};
use super::tree::{Inode, Node, Tree};

/// What a call does when a fault is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The disk is full for one call, after half a write.
    Full,
    /// The process is as good as dead: nothing that it does has any effect. It hears that writes
    /// and barriers succeed, because sled may wait for ever after one that failed.
    Dead,
}

/// The folder that is watched.
pub struct Watch {
    root: PathBuf,
    /// Names and kinds as the process sees them; contents are not kept.
    live: Tree,
    open: BTreeMap<c_int, Inode>,
    /// Files that a dead process still holds.
    stale: BTreeMap<c_int, Inode>,
    /// Files of sled, which are never full: the store keeps free space for them.
    databases: BTreeSet<Inode>,
    changes: Vec<Change>,
    before: Tree,
    due: Option<(u64, Fault)>,
    full_next: bool,
    dead: bool,
}

static WATCHING: AtomicBool = AtomicBool::new(false);
static WATCH: Mutex<Option<Watch>> = Mutex::new(None);
static TURN: Mutex<()> = Mutex::new(());

/// What `call` makes of the watched folder, if one is watched.
pub fn with_watch<T>(call: impl FnOnce(&mut Watch) -> T) -> Option<T> {
    if !WATCHING.load(Ordering::Acquire) {
        return None;
    }
    WATCH.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(call)
}

impl Watch {
    pub fn is_below(&self, path: &Path) -> bool {
        path.starts_with(&self.root) && path != self.root
    }

    pub fn is_watched(&self, fd: c_int) -> bool {
        self.open.contains_key(&fd) || self.stale.contains_key(&fd)
    }

    pub fn open(&mut self, path: &Path, flags: c_int, call: impl FnOnce() -> c_int) -> c_int {
        if !path.starts_with(&self.root) {
            return call();
        }
        let known = self.find(path);
        let makes = known.is_none() && flags & libc::O_CREAT != 0;
        let cuts = known.is_some() && flags & libc::O_TRUNC != 0;
        if (makes || cuts) && self.fails() {
            return failed();
        }
        let fd = call();
        if fd < 0 {
            return fd;
        }
        assert!(flags & libc::O_APPEND == 0, "the recorder does not know O_APPEND");
        let inode = known.or_else(|| makes.then(|| self.make(path, false)));
        let inode = inode.unwrap_or_else(|| panic!("{} came from nowhere", path.display()));
        if cuts {
            self.changes.push(Change::Length { file: inode, length: 0 });
        }
        if path.ends_with("sled/db") {
            self.databases.insert(inode);
        }
        self.open.insert(fd, inode);
        fd
    }

    pub fn close(&mut self, fd: c_int) {
        self.open.remove(&fd);
        self.stale.remove(&fd);
    }

    pub fn write(
        &mut self,
        fd: c_int,
        bytes: &[u8],
        offset: u64,
        call: impl FnOnce(usize) -> ssize_t,
    ) -> Option<ssize_t> {
        let file = self.file(fd)?;
        let mut count = bytes.len();
        let fails =
            if self.databases.contains(&file.unwrap_or_default()) { self.may_die() } else { self.fails() };
        let (Ok(file), false) = (file, self.dead) else { return Some(count as ssize_t) };
        if fails {
            if count < 2 {
                return Some(failed() as ssize_t);
            }
            // As a full disk does it: half of it, and an error the next time.
            (self.full_next, count) = (true, count / 2);
        }
        let written = call(count);
        if written > 0 {
            self.changes.push(Change::Write { file, offset, bytes: bytes[..written as usize].to_vec() });
        }
        Some(written)
    }

    pub fn set_length(&mut self, fd: c_int, length: u64, call: impl FnOnce() -> c_int) -> Option<c_int> {
        let file = self.file(fd)?;
        let fails = self.fails();
        let (Ok(file), false) = (file, self.dead) else { return Some(0) };
        if fails {
            return Some(failed());
        }
        let result = call();
        if result == 0 {
            self.changes.push(Change::Length { file, length });
        }
        Some(result)
    }

    /// The barrier is written down and not waited for: the folder is a test's.
    pub fn sync(&mut self, fd: c_int) -> Option<c_int> {
        let inode = self.file(fd)?;
        self.may_die();
        if let (Ok(inode), false) = (inode, self.dead) {
            self.changes.push(Change::Synced { inode });
        }
        Some(0)
    }

    pub fn rename(&mut self, from: &Path, to: &Path, call: impl FnOnce() -> c_int) -> Option<c_int> {
        if !self.is_below(from) && !self.is_below(to) {
            return None;
        }
        assert_eq!(from.parent(), to.parent(), "the recorder knows renames within a folder only");
        if self.fails() {
            return Some(failed());
        }
        let result = call();
        if result == 0 {
            let folder = self.find(to.parent().unwrap()).unwrap();
            let (from, to) = (name(from), name(to));
            let inode = self.entries(folder).remove(&from).unwrap();
            self.entries(folder).insert(to.clone(), inode);
            self.changes.push(Change::Moved { folder, from, to, inode });
        }
        Some(result)
    }

    pub fn unlink(&mut self, path: &Path, call: impl FnOnce() -> c_int) -> Option<c_int> {
        if !self.is_below(path) {
            return None;
        }
        self.may_die();
        if self.dead {
            return Some(failed());
        }
        let result = call();
        if result == 0 {
            let folder = self.find(path.parent().unwrap()).unwrap();
            let name = name(path);
            self.entries(folder).remove(&name).unwrap();
            self.changes.push(Change::Removed { folder, name });
        }
        Some(result)
    }

    pub fn mkdir(&mut self, path: &Path, call: impl FnOnce() -> c_int) -> Option<c_int> {
        if !self.is_below(path) {
            return None;
        }
        if self.fails() {
            return Some(failed());
        }
        let result = call();
        if result == 0 {
            self.make(path, true);
        }
        Some(result)
    }

    fn make(&mut self, path: &Path, is_folder: bool) -> Inode {
        let folder = self.find(path.parent().unwrap()).expect("its folder is known");
        let inode = self.live.nodes.len();
        self.live.nodes.push(if is_folder { Node::Folder(BTreeMap::new()) } else { Node::File(Vec::new()) });
        let name = name(path);
        self.entries(folder).insert(name.clone(), inode);
        self.changes.push(Change::Made { folder, name, inode, is_folder });
        inode
    }

    fn find(&self, path: &Path) -> Option<Inode> {
        let below = path.strip_prefix(&self.root).ok()?;
        below.iter().try_fold(0, |folder, name| match &self.live.nodes[folder] {
            Node::Folder(entries) => entries.get(name).copied(),
            Node::File(_) => None,
        })
    }

    fn entries(&mut self, folder: Inode) -> &mut BTreeMap<OsString, Inode> {
        match &mut self.live.nodes[folder] {
            Node::Folder(entries) => entries,
            Node::File(_) => panic!("{folder} is a file"),
        }
    }

    /// The watched file behind a descriptor; an error if its process died.
    fn file(&self, fd: c_int) -> Option<Result<Inode, ()>> {
        match self.open.get(&fd) {
            Some(inode) => Some(Ok(*inode)),
            None => self.stale.contains_key(&fd).then_some(Err(())),
        }
    }

    /// A full disk fails no barrier and no removal, but a process may die before one.
    fn may_die(&mut self) -> bool {
        matches!(self.due, Some((_, Fault::Dead))) && self.fails()
    }

    /// Whether this call is one that has to fail.
    fn fails(&mut self) -> bool {
        if self.dead || std::mem::take(&mut self.full_next) {
            return true;
        }
        let Some((left, fault)) = self.due else { return false };
        if left > 0 {
            self.due = Some((left - 1, fault));
            return false;
        }
        self.due = None;
        self.dead = fault == Fault::Dead;
        true
    }
}

fn failed() -> c_int {
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = libc::ENOSPC };
    -1
}

fn name(path: &Path) -> OsString {
    path.file_name().unwrap().to_owned()
}

/// Watches a folder as long as it lives; one at a time.
pub struct Recorder {
    _turn: MutexGuard<'static, ()>,
}

impl Recorder {
    /// Watches the folder at `root`, of which everything is on the disk.
    pub fn start(root: &Path) -> Recorder {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let before = Tree::read(root);
        let mut live = before.clone();
        for node in &mut live.nodes {
            if let Node::File(bytes) = node {
                *bytes = Vec::new();
            }
        }
        let watch = Watch {
            root: root.to_owned(),
            live,
            open: BTreeMap::new(),
            stale: BTreeMap::new(),
            databases: BTreeSet::new(),
            changes: Vec::new(),
            before,
            due: None,
            full_next: false,
            dead: false,
        };
        *WATCH.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
        WATCHING.store(true, Ordering::Release);
        Recorder { _turn: turn }
    }

    pub fn mark(&self, number: usize) {
        with_watch(|watch| watch.changes.push(Change::Mark(number)));
    }

    /// The disk is full once, after `calls` more changes.
    pub fn fill_after(&self, calls: u64) {
        with_watch(|watch| watch.due = Some((calls, Fault::Full)));
    }

    /// The process dies after `calls` more changes or barriers: nothing has any effect from then on.
    pub fn die_after(&self, calls: u64) {
        with_watch(|watch| watch.due = Some((calls, Fault::Dead)));
    }

    /// Whether the process is dead.
    pub fn is_dead(&self) -> bool {
        with_watch(|watch| watch.dead) == Some(true)
    }

    /// A new process. What the dead one held open stays dead.
    pub fn revive(&self) {
        with_watch(|watch| {
            (watch.dead, watch.due) = (false, None);
            let mut open = std::mem::take(&mut watch.open);
            watch.stale.append(&mut open);
        });
    }

    pub fn stop(self) -> Recording {
        WATCHING.store(false, Ordering::Release);
        let watch = WATCH.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap();
        Recording { before: watch.before, changes: watch.changes }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        WATCHING.store(false, Ordering::Release);
        WATCH.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

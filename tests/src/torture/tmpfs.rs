//! Disks that can be full: a small file system in memory for a peer's folder, and a file that fills it.
//!
//! They are mounted in a mount namespace of this process, so they are gone when it ends.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Room for the history of some hundred blocks; only what is used takes memory.
const SIZE: &str = "size=512m";

/// Gives this process mounts and networks of its own, as root or in a user namespace. Call it while
/// there is one thread.
pub fn own_namespaces() -> Result<(), Failure> {
    // SAFETY: plain system calls.
    let (user, group) = unsafe { (libc::getuid(), libc::getgid()) };
    match unshare(libc::CLONE_NEWNS) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)
                .and_then(|()| std::fs::write("/proc/self/setgroups", "deny"))
                .and_then(|()| std::fs::write("/proc/self/uid_map", format!("0 {user} 1")))
                .and_then(|()| std::fs::write("/proc/self/gid_map", format!("0 {group} 1")))
                .map_err(Failure::system("a user namespace"))?;
        }
        Err(error) => return Err(Failure::system("a mount namespace")(error)),
    }
    // What is mounted here is nobody else's.
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, None)
        .map_err(Failure::system("private mounts"))
}

/// Mounts a small disk.
pub fn mount_disk(at: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(at)
        .and_then(|()| mount(Some("none"), at, Some("tmpfs"), 0, Some(SIZE)))
        .map_err(Failure::system(format!("a small disk at {}", at.display())))
}

/// Takes a small disk away, and what is on it.
pub fn unmount_disk(at: &Path) -> Result<(), Failure> {
    let what = || at.display().to_string();
    let path =
        CString::new(at.as_os_str().as_bytes()).map_err(|error| Failure::system(what())(error.into()))?;
    // SAFETY: the pointer is to a string that lives until the call returns.
    match unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) } {
        0 => Ok(()),
        _ => Err(Failure::system(what())(io::Error::last_os_error())),
    }
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: a plain system call.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn mount(
    source: Option<&str>,
    at: &Path,
    kind: Option<&str>,
    flags: libc::c_ulong,
    data: Option<&str>,
) -> io::Result<()> {
    let text = |text: Option<&str>| text.map(CString::new).transpose();
    let (source, kind, data) = (text(source)?, text(kind)?, text(data)?);
    let at = CString::new(at.as_os_str().as_bytes())?;
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    // SAFETY: all pointers are null or to strings that live until the call returns.
    let result =
        unsafe { libc::mount(pointer(&source), at.as_ptr(), pointer(&kind), flags, pointer(&data).cast()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A file that takes all the space that is left.
pub struct Filler {
    path: PathBuf,
    file: File,
}

impl Filler {
    /// Begins to fill the disk of `folder`.
    pub fn new(folder: &Path) -> Result<Filler, Failure> {
        let path = folder.join("filler");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(Failure::system(path.display().to_string()))?;
        Ok(Filler { path, file })
    }

    /// Takes the space that is left now, to the last byte.
    pub fn fill(&mut self) -> Result<(), Failure> {
        let chunk = [0; 1 << 16];
        let mut length = chunk.len();
        while length > 0 {
            match self.file.write_all(&chunk[..length]) {
                Ok(()) => {}
                // What fitted was written; then try less.
                Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::WriteZero) => {
                    length /= 2
                }
                Err(error) => return Err(Failure::system(self.path.display().to_string())(error)),
            }
        }
        Ok(())
    }

    /// Gives all of it back.
    pub fn remove(self) -> Result<(), Failure> {
        std::fs::remove_file(&self.path).map_err(Failure::system(self.path.display().to_string()))
    }
}

//! The C library's file functions, in place of the library's own in this test binary.
//!
//! The standard library and sled call these by name, and a definition in the executable wins over
//! one in a shared library. Each does its system call, so nothing changes but that the recorder
//! sees it. A function that changes files in a way the recorder does not know ends the process
//! when it is used below the watched folder.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::{c_char, c_int, c_uint, c_void, iovec, mode_t, off64_t, size_t, ssize_t};

use super::recorder::with_watch;

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let call = || (unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) }) as c_int;
    with_watch(|watch| watch.open(as_path(path), flags, call)).unwrap_or_else(call)
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    unsafe { open64(path, flags, mode) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    let call = || (unsafe { libc::syscall(libc::SYS_close, fd) }) as c_int;
    with_watch(|watch| {
        watch.close(fd);
        call()
    })
    .unwrap_or_else(call)
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    let call = |count: usize| (unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) }) as ssize_t;
    let seen = with_watch(|watch| {
        let offset =
            watch.is_watched(fd).then(|| unsafe { libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) })?;
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count) };
        watch.write(fd, bytes, offset as u64, call)
    });
    seen.flatten().unwrap_or_else(|| call(count))
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    fd: c_int,
    bytes: *const c_void,
    count: size_t,
    offset: off64_t,
) -> ssize_t {
    let call =
        |count: usize| (unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, count, offset) }) as ssize_t;
    let seen = with_watch(|watch| {
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count) };
        watch.write(fd, bytes, offset as u64, call)
    });
    seen.flatten().unwrap_or_else(|| call(count))
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, count: size_t, offset: off64_t) -> ssize_t {
    unsafe { pwrite64(fd, bytes, count, offset) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, length: off64_t) -> c_int {
    let call = || (unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) }) as c_int;
    with_watch(|watch| watch.set_length(fd, length as u64, call)).flatten().unwrap_or_else(call)
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate(fd: c_int, length: off64_t) -> c_int {
    unsafe { ftruncate64(fd, length) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    let call = || (unsafe { libc::syscall(libc::SYS_fsync, fd) }) as c_int;
    with_watch(|watch| watch.sync(fd)).flatten().unwrap_or_else(call)
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    let call = || (unsafe { libc::syscall(libc::SYS_fdatasync, fd) }) as c_int;
    with_watch(|watch| watch.sync(fd)).flatten().unwrap_or_else(call)
}

/// No barrier: the disk's own cache and the file's length are not waited for.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sync_file_range(fd: c_int, from: off64_t, count: off64_t, flags: c_uint) -> c_int {
    let call = || (unsafe { libc::syscall(libc::SYS_sync_file_range, fd, from, count, flags) }) as c_int;
    with_watch(|watch| watch.is_watched(fd).then_some(0)).flatten().unwrap_or_else(call)
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let call = || {
        (unsafe { libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) }) as c_int
    };
    with_watch(|watch| watch.rename(as_path(from), as_path(to), call)).flatten().unwrap_or_else(call)
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let call = || (unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) }) as c_int;
    with_watch(|watch| watch.unlink(as_path(path), call)).flatten().unwrap_or_else(call)
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    let call = || (unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) }) as c_int;
    with_watch(|watch| watch.mkdir(as_path(path), call)).flatten().unwrap_or_else(call)
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    unknown_path("rmdir", path);
    (unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, libc::AT_REMOVEDIR) }) as c_int
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn link(from: *const c_char, to: *const c_char) -> c_int {
    unknown_path("link", from);
    (unsafe { libc::syscall(libc::SYS_linkat, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) }) as c_int
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    unknown_file("writev", fd);
    (unsafe { libc::syscall(libc::SYS_writev, fd, parts, count) }) as ssize_t
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev64(fd: c_int, parts: *const iovec, count: c_int, offset: off64_t) -> ssize_t {
    unknown_file("pwritev64", fd);
    (unsafe { libc::syscall(libc::SYS_pwritev, fd, parts, count, offset, 0) }) as ssize_t
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fallocate64(fd: c_int, mode: c_int, offset: off64_t, length: off64_t) -> c_int {
    unknown_file("fallocate64", fd);
    (unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, offset, length) }) as c_int
}

fn as_path<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: the caller of a C function gives a C string that outlives the call.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn unknown_path(function: &str, path: *const c_char) {
    if with_watch(|watch| watch.is_below(as_path(path))) == Some(true) {
        give_up(function);
    }
}

fn unknown_file(function: &str, fd: c_int) {
    if with_watch(|watch| watch.is_watched(fd)) == Some(true) {
        give_up(function);
    }
}

fn give_up(function: &str) {
    eprintln!("the recorder does not know {function}");
    std::process::abort();
}

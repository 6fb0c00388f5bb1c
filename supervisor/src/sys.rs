//! System calls with Rust types around them: owned descriptors, errors as values, nothing more.

use alloc::ffi::CString;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{c_int, CStr};
use core::fmt;

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

pub type Result<T> = core::result::Result<T, Errno>;

impl fmt::Display for Errno {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        // `strerror` would bring the C library's locales along.
        let text = match self.0 {
            libc::EPERM => "operation not permitted",
            libc::ENOENT => "no such file or directory",
            libc::EIO => "input/output error",
            libc::E2BIG => "argument list too long",
            libc::ENOEXEC => "exec format error",
            libc::EAGAIN => "resource temporarily unavailable",
            libc::ENOMEM => "out of memory",
            libc::EACCES => "permission denied",
            libc::EEXIST => "file exists",
            libc::ENOTDIR => "not a directory",
            libc::EISDIR => "is a directory",
            libc::EMFILE => "too many open files",
            libc::EINVAL => "invalid argument",
            libc::ETXTBSY => "text file busy",
            libc::EFBIG => "file too large",
            libc::ENOSPC => "no space left on device",
            libc::EROFS => "read-only file system",
            libc::EPIPE => "broken pipe",
            libc::ENAMETOOLONG => "file name too long",
            libc::ENOTEMPTY => "directory not empty",
            libc::ELOOP => "too many symbolic links",
            libc::EADDRINUSE => "address already in use",
            libc::ECONNREFUSED => "connection refused",
            libc::ECONNRESET => "connection reset",
            libc::EDQUOT => "disk quota exceeded",
            number => return write!(out, "error {number}"),
        };
        out.write_str(text)
    }
}

/// The error number of the call that failed last.
pub fn errno() -> Errno {
    // SAFETY: the C library's own variable of this thread.
    Errno(unsafe { *libc::__errno_location() })
}

/// A result of a system call: negative means that `errno` says why.
pub fn check(result: c_int) -> Result<c_int> {
    if result < 0 {
        return Err(errno());
    }
    Ok(result)
}

fn check_size(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| errno())
}

pub fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Errno(libc::EINVAL))
}

/// A descriptor that is closed when its owner goes.
#[derive(Debug)]
pub struct Fd(pub c_int);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: this value is the only owner of the descriptor.
        unsafe { libc::close(self.0) };
    }
}

impl Fd {
    pub fn read(&self, into: &mut [u8]) -> Result<usize> {
        // SAFETY: the buffer is as long as said.
        check_size(unsafe { libc::read(self.0, into.as_mut_ptr().cast(), into.len()) })
    }

    pub fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize> {
        let at = libc::off_t::try_from(offset).map_err(|_| Errno(libc::EINVAL))?;
        // SAFETY: the buffer is as long as said.
        check_size(unsafe { libc::pread(self.0, into.as_mut_ptr().cast(), into.len(), at) })
    }

    pub fn write(&self, data: &[u8]) -> Result<usize> {
        // SAFETY: the data is as long as said.
        check_size(unsafe { libc::write(self.0, data.as_ptr().cast(), data.len()) })
    }

    /// All of it, for files and pipes that may block.
    pub fn write_all(&self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            match self.write(data) {
                Ok(0) => return Err(Errno(libc::EIO)),
                Ok(count) => data = data.get(count..).unwrap_or_default(),
                Err(Errno(libc::EINTR)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub fn stat(&self) -> Result<libc::stat> {
        // SAFETY: zeros are a valid value of this plain structure.
        let mut found: libc::stat = unsafe { core::mem::zeroed() };
        // SAFETY: the structure lives through the call.
        check(unsafe { libc::fstat(self.0, &mut found) })?;
        Ok(found)
    }
}

/// Opens with close-on-exec. Never waits: a FIFO without a writer is opened all the same.
pub fn open(path: &str, flags: c_int) -> Result<Fd> {
    create(path, flags | libc::O_NONBLOCK, 0)
}

pub fn create(path: &str, flags: c_int, mode: libc::mode_t) -> Result<Fd> {
    let name = c_string(path)?;
    // SAFETY: the name is ended by a null byte.
    check(unsafe { libc::open(name.as_ptr(), flags | libc::O_CLOEXEC, mode) }).map(Fd)
}

pub fn is_regular(found: &libc::stat) -> bool {
    found.st_mode & libc::S_IFMT == libc::S_IFREG
}

/// A small file as a whole, or an error when it is longer than `limit` bytes.
pub fn read_small(file: &Fd, limit: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let count = file.read(&mut chunk)?;
        let Some(data) = chunk.get(..count).filter(|data| !data.is_empty()) else {
            return Ok(all);
        };
        if all.len() + data.len() > limit {
            return Err(Errno(libc::EFBIG));
        }
        all.extend_from_slice(data);
    }
}

pub fn read_link(path: &str) -> Result<String> {
    let name = c_string(path)?;
    let mut text = [0_u8; 4096];
    // SAFETY: the name is ended by a null byte, the buffer is as long as said.
    let count =
        check_size(unsafe { libc::readlink(name.as_ptr(), text.as_mut_ptr().cast(), text.len()) })?;
    let link = text.get(..count).unwrap_or_default();
    core::str::from_utf8(link)
        .map(String::from)
        .map_err(|_| Errno(libc::EINVAL))
}

/// The names in a directory, without `.` and `..`; names that are not UTF-8 are left out.
pub fn list(path: &str) -> Result<Vec<String>> {
    let name = c_string(path)?;
    // SAFETY: the name is ended by a null byte.
    let stream = unsafe { libc::opendir(name.as_ptr()) };
    if stream.is_null() {
        return Err(errno());
    }
    let mut names = Vec::new();
    loop {
        // SAFETY: the stream is open; the entry is valid until the next call on it.
        let entry = unsafe { libc::readdir(stream) };
        if entry.is_null() {
            break;
        }
        // SAFETY: the kernel ends the name by a null byte.
        let name = unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) };
        match name.to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.into()),
        }
    }
    // SAFETY: the stream is open and not used again.
    unsafe { libc::closedir(stream) };
    Ok(names)
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure lives through the call.
    unsafe { libc::clock_gettime(id, &mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
}

/// Microseconds of the clock that never jumps.
pub fn now_us() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    clock(libc::CLOCK_REALTIME) / 1000
}

/// Signals a process, or a group when `pid` is negative. That it is gone already is no error.
pub fn kill(pid: c_int, signal: c_int) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid, signal) };
}

pub fn poll_entry(fd: c_int, events: i16) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// Waits until one of the descriptors has something or the time is over; the entries say which.
pub fn poll(entries: &mut [libc::pollfd], timeout_us: u64) {
    let time = libc::timespec {
        tv_sec: (timeout_us / 1_000_000) as libc::time_t,
        tv_nsec: (timeout_us % 1_000_000 * 1000) as _,
    };
    let count = entries.len() as libc::nfds_t;
    // SAFETY: the array is as long as said, no signal mask is given.
    let result = unsafe { libc::ppoll(entries.as_mut_ptr(), count, &time, core::ptr::null()) };
    if result < 0 {
        entries.iter_mut().for_each(|entry| entry.revents = 0);
    }
}

/// One line on standard error, the pipe of panics, left out when the reader of the container's log is so far behind
/// that writing would block PID 1. (A pipe that polls writable has room for 4096 bytes.)
pub fn say(line: &str) {
    let mut text: Vec<u8> = line.bytes().take(2000).collect();
    text.push(b'\n');
    let mut entry = [poll_entry(2, libc::POLLOUT)];
    poll(&mut entry, 0);
    if entry.iter().any(|entry| entry.revents & libc::POLLOUT != 0) {
        // SAFETY: the data is as long as said.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }
}

/// One line on standard output: the answer to a question.
pub fn answer(line: &str) {
    // SAFETY: the data is as long as said.
    unsafe {
        libc::write(1, line.as_ptr().cast(), line.len());
        libc::write(1, c"\n".as_ptr().cast(), 1);
    }
}

/// One line on standard error.
pub fn complain(line: &str) {
    // SAFETY: the data is as long as said.
    unsafe {
        libc::write(2, line.as_ptr().cast(), line.len());
        libc::write(2, c"\n".as_ptr().cast(), 1);
    }
}

pub fn rename(from: &str, to: &str) -> Result<()> {
    let (from, to) = (c_string(from)?, c_string(to)?);
    // SAFETY: both names are ended by a null byte.
    check(unsafe { libc::rename(from.as_ptr(), to.as_ptr()) }).map(drop)
}

pub fn symlink(target: &str, path: &str) -> Result<()> {
    let (target, path) = (c_string(target)?, c_string(path)?);
    // SAFETY: both names are ended by a null byte.
    check(unsafe { libc::symlink(target.as_ptr(), path.as_ptr()) }).map(drop)
}

pub fn make_folder(path: &str, mode: libc::mode_t) -> Result<()> {
    let name = c_string(path)?;
    // SAFETY: the name is ended by a null byte.
    check(unsafe { libc::mkdir(name.as_ptr(), mode) }).map(drop)
}

/// Removes a file, or an empty folder with `AT_REMOVEDIR`.
pub fn unlink(path: &str, flags: c_int) -> Result<()> {
    let name = c_string(path)?;
    // SAFETY: the name is ended by a null byte.
    check(unsafe { libc::unlinkat(libc::AT_FDCWD, name.as_ptr(), flags) }).map(drop)
}

/// Descriptors 0 to 2 are taken from the start, so that none of ours can become one of them, and
/// what was inherited beyond them does not reach the app.
pub fn settle_descriptors() {
    while let Ok(fd) = create("/dev/null", libc::O_RDWR, 0) {
        if fd.0 > 2 {
            break;
        }
        core::mem::forget(fd);
    }
    let on_exec = 1 << 2;
    // SAFETY: no memory is involved. A kernel without this call leaves things as they are.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, on_exec) };
}

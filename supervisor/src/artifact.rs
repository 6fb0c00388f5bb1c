//! An artifact on disk: opened once, checked on that descriptor, run from that descriptor.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};

use sha2::{Digest, Sha256};

use crate::sys::{self, Errno, Fd};

/// Bytes hashed between two looks at everything else: about half a millisecond.
const TURN: u64 = 1 << 20;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

const EXECUTABLE: u16 = 2;
const POSITION_INDEPENDENT: u16 = 3;
const HEADER: usize = 64;
const PROGRAM_HEADER: u64 = 56;
const INTERPRETER: u32 = 3;

/// Opens and checks all but the digest. `size` is the one that is promised, if one is; an artifact
/// of the directory is never reached through a symbolic link.
pub fn open(path: &str, size: Option<u64>) -> Result<(Fd, u64), String> {
    let follow = if size.is_some() { libc::O_NOFOLLOW } else { 0 };
    let file = sys::open(path, libc::O_RDONLY | follow).map_err(|error| match error {
        Errno(libc::ENOENT) => format!("missing: {path}"),
        Errno(libc::ELOOP) => format!("is a symbolic link: {path}"),
        error => format!("cannot open {path}: {error}"),
    })?;
    let found = file.stat().map_err(|error| format!("{path}: {error}"))?;
    if !sys::is_regular(&found) {
        return Err(format!("not a regular file: {path}"));
    }
    let length = u64::try_from(found.st_size).unwrap_or(0);
    match size {
        Some(size) if length < size => {
            return Err(format!("truncated: {length} of {size} bytes: {path}"));
        }
        Some(size) if length > size => {
            return Err(format!(
                "too long: {length} instead of {size} bytes: {path}"
            ));
        }
        _ => {}
    }
    if found.st_mode & 0o111 == 0 {
        return Err(format!(
            "not executable: mode {:o}: {path}",
            found.st_mode & 0o777
        ));
    }
    if is_noexec(&file) {
        return Err(format!("not executable: mounted with noexec: {path}"));
    }
    check_elf(&file).map_err(|reason| format!("{reason}: {path}"))?;
    Ok((file, length))
}

fn is_noexec(file: &Fd) -> bool {
    // SAFETY: zeros are a valid value of this plain structure, which lives through the call.
    let mut found: libc::statvfs = unsafe { core::mem::zeroed() };
    let told = unsafe { libc::fstatvfs(file.0, &mut found) } == 0;
    told && found.f_flag & libc::ST_NOEXEC != 0
}

fn check_elf(file: &Fd) -> Result<(), String> {
    let mut header = [0_u8; HEADER];
    let count = file
        .read_at(&mut header, 0)
        .map_err(|error| error.to_string())?;
    if count < HEADER || !header.starts_with(b"\x7fELF") {
        return Err("not an ELF program".to_string());
    }
    let [.., class, order, _] = number::<7>(&header, 0);
    let kind = u16::from_le_bytes(number(&header, 16));
    let machine = u16::from_le_bytes(number(&header, 18));
    if class != 2 || order != 1 || machine != MACHINE {
        return Err(format!(
            "wrong architecture: ELF class {class}, machine {machine} instead of 2, {MACHINE}"
        ));
    }
    if kind != EXECUTABLE && kind != POSITION_INDEPENDENT {
        return Err(format!("not a program: ELF type {kind}"));
    }
    check_interpreter(file, &header)
}

/// A dynamically linked program whose loader is not in the image would only fail at its start,
/// after the old process was stopped, with a misleading "no such file".
fn check_interpreter(file: &Fd, header: &[u8; HEADER]) -> Result<(), String> {
    let start = u64::from_le_bytes(number(header, 32));
    let count = u16::from_le_bytes(number(header, 56)).min(64);
    for index in 0..u64::from(count) {
        let mut entry = [0_u8; PROGRAM_HEADER as usize];
        let at = start.saturating_add(index * PROGRAM_HEADER);
        if file.read_at(&mut entry, at) != Ok(entry.len()) {
            return Err("truncated: its program headers are missing".to_string());
        }
        if u32::from_le_bytes(number(&entry, 0)) != INTERPRETER {
            continue;
        }
        let mut path = [0_u8; 256];
        let offset = u64::from_le_bytes(number(&entry, 8));
        let count = file.read_at(&mut path, offset).unwrap_or(0);
        let text = path.get(..count).unwrap_or_default();
        let loader = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let loader = core::str::from_utf8(loader).unwrap_or_default();
        if let Err(error) = sys::open(loader, libc::O_PATH) {
            return Err(format!(
                "linked against {loader}, which the image does not have ({error}); link it \
                 statically"
            ));
        }
    }
    Ok(())
}

/// The bytes at an offset; zeros where there are none.
pub fn number<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    let slice = data.get(at..at + N).unwrap_or_default();
    slice.try_into().unwrap_or([0; N])
}

/// The SHA-256 of a descriptor, taken in turns, so that PID 1 does its other work meanwhile.
pub struct Hashing {
    pub file: Rc<Fd>,
    pub size: u64,
    offset: u64,
    state: Sha256,
}

impl Hashing {
    pub fn new(file: Rc<Fd>, size: u64) -> Self {
        Hashing {
            file,
            size,
            offset: 0,
            state: Sha256::new(),
        }
    }

    /// One turn; the digest when all is read. `buffer` holds nothing between two turns.
    pub fn step(&mut self, buffer: &mut [u8]) -> Result<Option<String>, String> {
        let end = self.size.min(self.offset + TURN);
        while self.offset < end {
            let most = usize::try_from(end - self.offset).unwrap_or(usize::MAX);
            let most = most.min(buffer.len());
            let part = buffer.get_mut(..most).unwrap_or_default();
            let count = match self.file.read_at(part, self.offset) {
                Ok(0) => return Err(format!("truncated at {} bytes while read", self.offset)),
                Ok(count) => count,
                Err(Errno(libc::EINTR)) => continue,
                Err(error) => return Err(format!("cannot be read: {error}")),
            };
            self.state.update(part.get(..count).unwrap_or_default());
            self.offset += count as u64;
        }
        if self.offset < self.size {
            return Ok(None);
        }
        let length = self.file.stat().map(|found| u64::try_from(found.st_size));
        if length != Ok(Ok(self.size)) {
            return Err("changed its size while read".to_string());
        }
        Ok(Some(hex(&self.state.finalize_reset())))
    }
}

pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

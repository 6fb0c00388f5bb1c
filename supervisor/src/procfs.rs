//! What /proc says: who descends from whom, who listens on a port, whose socket it is.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::sys::{self, Fd};

const LISTEN: &str = "0A";

/// A socket that listens.
#[derive(Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    pub inode: u64,
}

/// The sockets of this network namespace that listen on a TCP port; without one, on any. For where
/// the kernel has no `sock_diag`: to find the end of the table it goes through its whole hash of
/// connections, which takes milliseconds.
pub fn listeners(port: Option<u16>) -> Vec<Listener> {
    let mut all = Vec::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // Without IPv6 the second file is not there.
        if let Ok(file) = sys::open(path, libc::O_RDONLY) {
            read_listeners(&file, port, &mut all);
        }
    }
    all
}

/// The kernel lists listening sockets first, so reading ends at the first that is not: thousands of
/// connections in TIME_WAIT cost nothing.
fn read_listeners(file: &Fd, port: Option<u16>, all: &mut Vec<Listener>) {
    let mut chunk = [0_u8; 4096];
    let mut text = Vec::new();
    loop {
        let count = file.read(&mut chunk).unwrap_or(0);
        text.extend_from_slice(chunk.get(..count).unwrap_or_default());
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let line = core::str::from_utf8(&line).unwrap_or_default();
            match entry(line) {
                Some((_, state)) if state != LISTEN => return,
                Some((found, _)) if port.is_none_or(|it| found.address.port() == it) => {
                    all.push(found)
                }
                _ => {}
            }
        }
        if count == 0 {
            return;
        }
    }
}

/// A line of the table: the local address and inode, and the state. None for the heading.
fn entry(line: &str) -> Option<(Listener, &str)> {
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = SocketAddr::new(ip(address)?, port);
    Some((Listener { address, inode }, state))
}

/// The kernel prints an address as 32-bit words in the machine's own byte order.
fn ip(text: &str) -> Option<IpAddr> {
    let mut bytes = [0_u8; 16];
    let words = text.len() / 8;
    for (index, target) in bytes.chunks_exact_mut(4).enumerate().take(words) {
        let word = text.get(index * 8..index * 8 + 8)?;
        let word = u32::from_str_radix(word, 16).ok()?;
        target.copy_from_slice(&word.to_ne_bytes());
    }
    match words {
        1 => {
            let [a, b, c, d, ..] = bytes;
            Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        4 => Some(IpAddr::V6(Ipv6Addr::from(bytes))),
        _ => None,
    }
}

/// Where a process holds a socket: its `fd` link, to be read again for a quick second look.
pub fn holder(pid: i32, inode: u64) -> Option<String> {
    let folder = format!("/proc/{pid}/fd");
    sys::list(&folder)
        .unwrap_or_default()
        .into_iter()
        .map(|name| format!("{folder}/{name}"))
        .find(|link| is_socket(link, inode))
}

pub fn is_socket(link: &str, inode: u64) -> bool {
    let target = sys::read_link(link).unwrap_or_default();
    let number = target
        .strip_prefix("socket:[")
        .and_then(|rest| rest.strip_suffix(']'));
    number.and_then(|number| number.parse().ok()) == Some(inode)
}

/// Every process that descends from this one, nearest first. What was started from outside
/// (`kubectl exec`) has no parent in here and is not among them.
pub fn descendants() -> Vec<i32> {
    let processes: Vec<(i32, i32)> = sys::list("/proc")
        .unwrap_or_default()
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    // SAFETY: no memory is involved.
    below(unsafe { libc::getpid() }, &processes)
}

fn below(root: i32, processes: &[(i32, i32)]) -> Vec<i32> {
    let mut found = Vec::from([root]);
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = processes
            .iter()
            .filter(|(pid, of)| *of == parent && *pid != parent);
        let new: Vec<i32> = children
            .map(|(pid, _)| *pid)
            .filter(|pid| !found.contains(pid))
            .collect();
        found.extend(new);
        next += 1;
    }
    found.remove(0);
    found
}

fn parent(pid: i32) -> Option<i32> {
    let file = sys::open(&format!("/proc/{pid}/stat"), libc::O_RDONLY).ok()?;
    let text = sys::read_small(&file, 4096).ok()?;
    parent_in(&text)
}

/// The second field after the name, which may itself hold spaces and brackets.
fn parent_in(stat: &[u8]) -> Option<i32> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = core::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table() {
        let line =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     \
                    0        0 24681 1 0000000000000000 100 0 0 10 0\n";
        let (found, state) = entry(line).unwrap();
        assert_eq!(
            (found.address, state),
            ("127.0.0.1:8080".parse().unwrap(), "0A")
        );
        assert_eq!(found.inode, 24681);
        assert!(entry("  sl  local_address rem_address   st tx_queue rx_queue tr").is_none());
        assert!(entry("").is_none());
    }

    #[test]
    fn addresses_are_words_in_machine_order() {
        assert_eq!(ip("00000000000000000000000001000000"), "::1".parse().ok());
        assert_eq!(ip("00000000"), "0.0.0.0".parse().ok());
        assert_eq!((ip(""), ip("0"), ip("é0000000")), (None, None, None));
    }

    #[test]
    fn a_name_may_hold_brackets() {
        assert_eq!(parent_in(b"7 (a) S 1) R 3 7 7"), Some(3));
        assert_eq!(parent_in(b"7 (a"), None);
    }

    #[test]
    fn only_what_descends_is_found() {
        let processes = [(1, 0), (5, 1), (6, 5), (9, 0), (10, 9), (7, 1)];
        assert_eq!(below(1, &processes), [5, 7, 6]);
    }

    #[test]
    fn a_socket_of_this_process_is_found() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let found = listeners(Some(address.port()));
        assert_eq!(found[0].address, address);
        let me = std::process::id() as i32;
        let link = holder(me, found[0].inode).unwrap();
        drop(server);
        assert!(!is_socket(&link, found[0].inode));
    }
}

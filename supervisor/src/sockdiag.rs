//! Who listens on a port, asked of the kernel's `sock_diag`: tens of microseconds, however many
//! connections there are.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::artifact::number;
use crate::procfs::Listener;
use crate::sys::{check, Errno, Fd, Result};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const STATE_LISTEN: u32 = 1 << 10;
const HEADER: usize = 16;
const MESSAGE: usize = 72;

/// The sockets of this network namespace that listen on a TCP port; without one, on any.
pub fn listeners(port: Option<u16>) -> Result<Vec<Listener>> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG) })?;
    let fd = Fd(fd);
    let mut all = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        fd.write(&request(family as u8, port.unwrap_or(0)))?;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            // The kernel has made the answer by now, so an empty queue is a mistake, not a wait.
            let count = fd.read(&mut buffer)?;
            if !read_messages(buffer.get(..count).unwrap_or_default(), port, &mut all)? {
                break;
            }
        }
    }
    Ok(all)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(family: u8, port: u16) -> Vec<u8> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut text = Vec::with_capacity(MESSAGE);
    text.extend_from_slice(&(MESSAGE as u32).to_ne_bytes());
    text.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    text.extend_from_slice(&flags.to_ne_bytes());
    text.extend_from_slice(&[0; 8]);
    text.extend_from_slice(&[family, libc::IPPROTO_TCP as u8, 0, 0]);
    text.extend_from_slice(&STATE_LISTEN.to_ne_bytes());
    text.extend_from_slice(&port.to_be_bytes());
    text.resize(MESSAGE, 0);
    text
}

/// False after the last one.
fn read_messages(mut data: &[u8], port: Option<u16>, all: &mut Vec<Listener>) -> Result<bool> {
    while data.len() >= HEADER {
        let length = u32::from_ne_bytes(number(data, 0)) as usize;
        let kind = i32::from(u16::from_ne_bytes(number(data, 4)));
        let body = data.get(HEADER..length).ok_or(Errno(libc::EIO))?;
        match kind {
            libc::NLMSG_DONE => return Ok(false),
            libc::NLMSG_ERROR => return Err(Errno(-i32::from_ne_bytes(number(body, 0)))),
            _ => all.extend(
                listener(body).filter(|found| port.is_none_or(|it| found.address.port() == it)),
            ),
        }
        data = data.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

/// `struct inet_diag_msg`.
fn listener(body: &[u8]) -> Option<Listener> {
    let port = u16::from_be_bytes(number(body, 4));
    let ip = match i32::from(*body.first()?) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(number::<4>(body, 8))),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(number::<16>(body, 8))),
        _ => return None,
    };
    Some(Listener {
        address: SocketAddr::new(ip, port),
        inode: u64::from(u32::from_ne_bytes(number(body, 68))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_proc() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(server) = std::net::TcpListener::bind(address) else {
                continue;
            };
            let port = server.local_addr().unwrap().port();
            let found = listeners(Some(port)).unwrap();
            assert_eq!(found, crate::procfs::listeners(Some(port)));
            let every = listeners(None).unwrap();
            assert!(every.contains(&found[0]), "{every:?}");
            assert_eq!(found[0].address, server.local_addr().unwrap());
        }
    }

    #[test]
    fn half_an_answer_is_an_error() {
        let mut all = Vec::new();
        let mut data = request(2, 80);
        assert_eq!(
            read_messages(&data[..40], Some(80), &mut all),
            Err(Errno(libc::EIO))
        );
        data[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        data[16..20].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(
            read_messages(&data, Some(80), &mut all),
            Err(Errno(libc::ENOENT))
        );
        assert!(all.is_empty());
    }
}

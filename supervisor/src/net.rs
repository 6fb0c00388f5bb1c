//! TCP sockets that never block.

use alloc::format;
use alloc::string::String;
use core::mem::size_of;
use core::net::{IpAddr, SocketAddr};

use crate::sys::{check, errno, Errno, Fd, Result};

const BACKLOG: i32 = 64;

/// An address as the kernel takes it; the larger of the two structures holds either.
fn raw(address: SocketAddr) -> (libc::sockaddr_in6, libc::socklen_t) {
    // SAFETY: zeros are a valid value of this plain structure.
    let mut target: libc::sockaddr_in6 = unsafe { core::mem::zeroed() };
    match address.ip() {
        IpAddr::V6(ip) => {
            target.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            target.sin6_port = address.port().to_be();
            target.sin6_addr.s6_addr = ip.octets();
            (target, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
        }
        IpAddr::V4(ip) => {
            let small: *mut libc::sockaddr_in = core::ptr::from_mut(&mut target).cast();
            // SAFETY: the smaller structure fits, and is aligned, within the larger.
            unsafe {
                (*small).sin_family = libc::AF_INET as libc::sa_family_t;
                (*small).sin_port = address.port().to_be();
                (*small).sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
            }
            (target, size_of::<libc::sockaddr_in>() as libc::socklen_t)
        }
    }
}

fn stream(address: SocketAddr) -> Result<Fd> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is involved.
    check(unsafe { libc::socket(family, kind, 0) }).map(Fd)
}

/// A connection under way: it is there, or failed, when the socket polls writable.
pub fn connect(address: SocketAddr) -> Result<Fd> {
    let fd = stream(address)?;
    let (target, length) = raw(address);
    // SAFETY: the structure is as long as said.
    let result = unsafe { libc::connect(fd.0, core::ptr::from_ref(&target).cast(), length) };
    if result < 0 && errno() != Errno(libc::EINPROGRESS) {
        return Err(errno());
    }
    Ok(fd)
}

/// A listening socket, and the port it got.
pub fn listen(address: SocketAddr) -> core::result::Result<(Fd, u16), String> {
    let open = || -> Result<(Fd, u16)> {
        let fd = stream(address)?;
        let (mut target, mut length) = raw(address);
        let on: i32 = 1;
        // SAFETY: every structure lives through its call and is as long as said.
        unsafe {
            let size = size_of::<i32>() as libc::socklen_t;
            let value = core::ptr::from_ref(&on).cast();
            libc::setsockopt(fd.0, libc::SOL_SOCKET, libc::SO_REUSEADDR, value, size);
            check(libc::bind(
                fd.0,
                core::ptr::from_ref(&target).cast(),
                length,
            ))?;
            check(libc::listen(fd.0, BACKLOG))?;
            let found = core::ptr::from_mut(&mut target).cast();
            check(libc::getsockname(fd.0, found, &mut length))?;
        }
        // The port stands at the same place in both structures.
        Ok((fd, u16::from_be(target.sin6_port)))
    };
    open().map_err(|error| format!("cannot listen on {address}: {error}"))
}

pub fn accept(listener: &Fd) -> Result<Fd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let nobody = core::ptr::null_mut();
    // SAFETY: the address is not asked for.
    check(unsafe { libc::accept4(listener.0, nobody, core::ptr::null_mut(), flags) }).map(Fd)
}

/// As much as the kernel takes now; a peer that is gone is an error, not a signal.
pub fn send(fd: &Fd, data: &[u8]) -> Result<usize> {
    // SAFETY: the data is as long as said.
    let sent = unsafe { libc::send(fd.0, data.as_ptr().cast(), data.len(), libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| errno())
}

/// Says that nothing more comes; the peer may still send.
pub fn finish(fd: &Fd) {
    // SAFETY: no memory is involved.
    unsafe { libc::shutdown(fd.0, libc::SHUT_WR) };
}

/// Reads away what has come, up to 64 KiB. False when the peer has ended.
pub fn discard(fd: &Fd) -> bool {
    let mut chunk = [0_u8; 4096];
    for _ in 0..16 {
        match fd.read(&mut chunk) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(Errno(libc::EAGAIN | libc::EINTR)) => return true,
            Err(_) => return false,
        }
    }
    true
}

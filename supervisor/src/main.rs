//! PID 1 of a swappable container. It runs the artifact that `want.json` names, replaces it when
//! the pointer changes, reaps every orphan and reports over HTTP what runs.
//!
//! One thread, one `ppoll`: signals, the directory's events, the child, the clients of the server
//! and every timer are turns of the same loop, so nothing needs a lock and nothing can block.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]
#![cfg_attr(
    test,
    allow(
        dead_code,
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

extern crate alloc;

mod artifact;
mod child;
mod core_state;
mod delivery;
mod events;
mod fate;
mod http;
mod lifecycle;
mod model;
mod net;
mod probe;
mod procfs;
mod receive;
mod request;
#[cfg(not(test))]
mod rt;
mod settings;
mod sockdiag;
mod sys;
mod unpack;
mod view;
mod want;

use alloc::ffi::CString;
use alloc::vec::Vec;

use crate::settings::Command;

/// The program: arguments and environment as the kernel gave them, the exit code back.
pub fn run(args: Vec<CString>, env: Vec<CString>) -> i32 {
    match settings::read(args, env) {
        Ok(Command::Version) => {
            sys::answer(concat!("supervisor ", env!("CARGO_PKG_VERSION")));
            0
        }
        Ok(Command::Receive { dir }) => receive::run(&dir),
        Ok(Command::Supervise(settings)) => match events::Loop::new(*settings) {
            Ok(mut running) => running.run(),
            Err(reason) => {
                sys::say(&alloc::format!("kindloop: {reason}"));
                1
            }
        },
        Err(reason) => {
            sys::complain(&alloc::format!("supervisor: {reason}\n{}", settings::USAGE));
            2
        }
    }
}

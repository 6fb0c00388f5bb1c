//! The app as a process: started from a verified descriptor, signalled as a group, reaped.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{c_char, c_int};

use crate::procfs;
use crate::sys::{self, check, errno, Errno, Fd, Result};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Code(i32),
    Signal(i32),
}

impl End {
    pub fn exit_code(self) -> i32 {
        match self {
            End::Code(code) => code,
            End::Signal(signal) => 128 + signal,
        }
    }

    pub fn text(self) -> String {
        match self {
            End::Code(code) => format!("exit code {code}"),
            End::Signal(signal) => format!("signal {signal}{}", name(signal)),
        }
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        libc::SIGILL => " (ILL)",
        libc::SIGABRT => " (ABRT)",
        libc::SIGBUS => " (BUS)",
        libc::SIGFPE => " (FPE)",
        libc::SIGKILL => " (KILL; out of memory?)",
        libc::SIGSEGV => " (SEGV)",
        libc::SIGTERM => " (TERM)",
        _ => "",
    }
}

/// Starts the program behind a descriptor in a process group of its own, with no signal blocked or
/// ignored. Returns when the kernel has taken it over, or why it did not.
pub fn spawn(program: &Fd, args: &[CString], env: &[CString]) -> Result<i32> {
    let argv = pointers(args);
    let envp = pointers(env);
    let (told, tell) = pipe()?;
    // SAFETY: one thread, so the child may go on with all of this memory.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        // SAFETY: only system calls from here on, with memory made ready before the fork.
        unsafe {
            let Errno(number) = become_program(program, &argv, &envp);
            libc::write(tell.0, number.to_ne_bytes().as_ptr().cast(), 4);
            libc::_exit(127);
        }
    }
    // Both sides set the group: whichever runs first, a signal to the group finds it.
    // SAFETY: no memory is involved.
    unsafe { libc::setpgid(pid, pid) };
    drop(tell);
    let mut number = [0_u8; 4];
    loop {
        match told.read(&mut number) {
            Ok(4) => return Err(Errno(i32::from_ne_bytes(number))),
            Err(Errno(libc::EINTR)) => {}
            // Closed by the kernel when the program took over.
            _ => return Ok(pid),
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    let end = core::iter::once(core::ptr::null());
    strings.iter().map(|one| one.as_ptr()).chain(end).collect()
}

fn pipe() -> Result<(Fd, Fd)> {
    let mut ends = [-1; 2];
    // SAFETY: the array has room for both ends.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let [read, write] = ends;
    Ok((Fd(read), Fd(write)))
}

unsafe fn become_program(program: &Fd, argv: &[*const c_char], envp: &[*const c_char]) -> Errno {
    libc::setpgid(0, 0);
    for signal in 1..=64 {
        // Not `signal`: the C library keeps two numbers for itself and would leave them ignored
        // when they were so from birth. All zeros: the default, no flags, no mask.
        let action = [0_usize; 4];
        let none = core::ptr::null_mut::<usize>();
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            action.as_ptr(),
            none,
            8_usize,
        );
    }
    let mut none: libc::sigset_t = core::mem::zeroed();
    libc::sigemptyset(&mut none);
    libc::sigprocmask(libc::SIG_SETMASK, &none, core::ptr::null_mut());
    libc::syscall(
        libc::SYS_execveat,
        program.0,
        c"".as_ptr(),
        argv.as_ptr(),
        envp.as_ptr(),
        libc::AT_EMPTY_PATH,
    );
    let first = errno();
    if first != Errno(libc::ENOSYS) && first != Errno(libc::EPERM) {
        return first;
    }
    // A sandbox without that call: the C library goes through /proc/self/fd.
    libc::fexecve(program.0, argv.as_ptr(), envp.as_ptr());
    errno()
}

/// The next child that has ended, still to be reaped: its pid cannot have been given away yet.
pub fn ended() -> Ended {
    // SAFETY: zeros are a valid value of this plain structure, which lives through the call.
    unsafe {
        let mut info: libc::siginfo_t = core::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        match libc::waitid(libc::P_ALL, 0, &mut info, flags) {
            0 if info.si_pid() != 0 => Ended::Process(info.si_pid()),
            0 => Ended::NoneYet,
            _ if errno() == Errno(libc::EINTR) => Ended::NoneYet,
            _ => Ended::NoChildren,
        }
    }
}

pub enum Ended {
    Process(i32),
    NoneYet,
    NoChildren,
}

pub fn reap(pid: i32) -> End {
    let mut status: c_int = 0;
    // SAFETY: the status lives through the call.
    unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) };
    if libc::WIFSIGNALED(status) {
        End::Signal(libc::WTERMSIG(status))
    } else {
        End::Code(libc::WEXITSTATUS(status))
    }
}

/// Kills whatever descends from this process. `hard`: those in here that do not descend from it
/// too, which only PID 1 may do, and only when the gentle way did not help (a process that forks
/// faster than /proc is read): it also ends a `kubectl exec` that is under way.
pub fn kill_rest(hard: bool) {
    // SAFETY: no memory is involved.
    if hard && unsafe { libc::getpid() } == 1 {
        sys::kill(-1, libc::SIGKILL);
        return;
    }
    for pid in procfs::descendants() {
        sys::kill(pid, libc::SIGKILL);
    }
}

/// Orphans come to this process even when it is not PID 1.
pub fn adopt_orphans() {
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

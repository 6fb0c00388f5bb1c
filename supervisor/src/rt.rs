//! What a program without std has to bring: the entry point, the allocator, the panic handler.

use alloc::ffi::CString;
use alloc::format;
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_char, c_int, CStr};
use core::panic::PanicInfo;

use crate::sys;

struct Malloc;

// SAFETY: malloc gives memory aligned for every type of this program (16 bytes); a layout that asks
// for more gets none, which is an allocation failure, not undefined behaviour.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > 16 {
            return core::ptr::null_mut();
        }
        libc::malloc(layout.size()).cast()
    }

    unsafe fn dealloc(&self, pointer: *mut u8, _: Layout) {
        libc::free(pointer.cast());
    }

    unsafe fn realloc(&self, pointer: *mut u8, _: Layout, size: usize) -> *mut u8 {
        libc::realloc(pointer.cast(), size).cast()
    }
}

#[global_allocator]
static MALLOC: Malloc = Malloc;

#[panic_handler]
fn panicked(info: &PanicInfo) -> ! {
    sys::complain(&format!("kindloop: supervisor panicked: {info}"));
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

/// # Safety
/// Called by the C library with the two arrays that the kernel gave, each ended by a null pointer.
#[no_mangle]
pub unsafe extern "C" fn main(
    _count: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) -> c_int {
    crate::run(strings(arguments), strings(environment))
}

unsafe fn strings(mut array: *const *const c_char) -> Vec<CString> {
    let mut all = Vec::new();
    while !array.is_null() && !(*array).is_null() {
        all.push(CStr::from_ptr(*array).into());
        array = array.add(1);
    }
    all
}

// Nothing unwinds here, but the prebuilt objects of the C library and of `alloc` name the unwinder.
// Without these three the linker would want libgcc_eh, or the whole of std.
#[no_mangle]
extern "C" fn _Unwind_Resume() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

#[no_mangle]
extern "C" fn rust_eh_personality() {}

#[no_mangle]
extern "C" fn __gcc_personality_v0() {}

//! Read errors of maps. The kernel reports them by SIGBUS; here they become a note of the map.
//!
//! The handler puts a page of zeroes where a mapped page could not be read, so that the thread goes on. What it read is
//! worth nothing: a caller asks [`Watch::has_faulted`] before it trusts what it made of a view.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::param::page_size;

/// Maps at once, more than a filesystem has devices. An image that finds no slot is not mapped.
const SLOTS: usize = 1024;

static TABLE: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];

/// What had the signal before; and that the handler is installed.
static PREVIOUS: OnceLock<Option<libc::sigaction>> = OnceLock::new();

/// A range of addresses that the handler may mend.
#[derive(Debug)]
struct Slot {
    is_taken: AtomicBool,
    /// 0 while there is no map. The handler reads `end` only where it has seen `start`.
    start: AtomicUsize,
    end: AtomicUsize,
    has_faulted: AtomicBool,
}

impl Slot {
    const fn new() -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            has_faulted: AtomicBool::new(false),
        }
    }
}

/// Faults of one map are noted while this is there. It has to be dropped before the map is.
#[derive(Debug)]
pub struct Watch(&'static Slot);

impl Watch {
    /// Watches `length` bytes of a map from the address `start`. Nothing if the handler cannot be installed, or if too many
    /// maps are watched: such a map must not be read.
    pub fn new(start: usize, length: usize) -> Option<Self> {
        PREVIOUS.get_or_init(install).as_ref()?;
        let is_mine = |slot: &&Slot| !slot.is_taken.swap(true, Ordering::Acquire);
        let slot = TABLE.iter().find(is_mine)?;
        slot.has_faulted.store(false, Ordering::Relaxed);
        slot.end.store(start.checked_add(length)?, Ordering::Relaxed);
        slot.start.store(start, Ordering::Release);
        Some(Self(slot))
    }

    /// Whether any page of the map could not be read since it is watched.
    pub fn has_faulted(&self) -> bool {
        self.0.has_faulted.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Release);
        self.0.is_taken.store(false, Ordering::Release);
    }
}

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Installs the handler. `signal-hook-registry` does not do here: it calls the former handler first, and that of Rust's
/// runtime takes every fault that is no overflow of a stack for the end of the process.
#[expect(unsafe_code, reason = "the call has no safe form")]
fn install() -> Option<libc::sigaction> {
    let handler: Handler = on_fault;
    // SAFETY: a `sigaction` is numbers and pointers, for all of which zero is a value.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as usize;
    // The alternative stack is the one that Rust's runtime makes for its threads.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    let mut previous = action;
    // SAFETY: both pointers are to `sigaction`s that live until the call returns. The handler makes calls alone that may be
    // made in a signal handler: atomic operations, mmap(2), sigaction(2) and raise(3).
    let status = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, &raw mut previous) };
    (status == 0).then_some(previous)
}

#[expect(unsafe_code, reason = "the kernel hands over a pointer")]
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel hands over a valid `siginfo_t`, whose address is set for SIGBUS.
    let (address, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
    // Positive codes are the kernel's own. Others are sent by processes, and have no address.
    if code <= 0 || !mend(address) {
        pass_on(signal, info, context);
    }
}

/// Puts a page of zeroes at an address of a watched map. Whether it is one, and was mended.
#[expect(unsafe_code, reason = "the call has no safe form")]
fn mend(address: usize) -> bool {
    let holds = |slot: &&Slot| {
        let start = slot.start.load(Ordering::Acquire);
        start != 0 && (start..slot.end.load(Ordering::Relaxed)).contains(&address)
    };
    let Some(slot) = TABLE.iter().find(holds) else { return false };
    slot.has_faulted.store(true, Ordering::Release);
    let length = page_size();
    let page = (address - address % length) as *mut c_void;
    let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
    // The interrupted code may be about to read the error of another call.
    let error = io::Error::last_os_error();
    // SAFETY: the page lies in a map of this process that only `Map` has, which is there while its slot has an address; what
    // is replaced was never read. Views see a page of zeroes, which is as valid as any other bytes.
    let mended = unsafe { libc::mmap(page, length, protection, flags, -1, 0) } != libc::MAP_FAILED;
    // SAFETY: the pointer is to the error number of this thread.
    unsafe { *libc::__errno_location() = error.raw_os_error().unwrap_or_default() };
    mended
}

/// Gives the signal to what had it before. Where that is nothing, or gives the signal up as the handler of Rust's runtime does, the
/// process ends as it would have.
#[expect(unsafe_code, reason = "the calls have no safe form")]
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS.get().and_then(Option::as_ref);
    let previous = previous.filter(|previous| ![libc::SIG_DFL, libc::SIG_IGN].contains(&previous.sa_sigaction));
    // SAFETY: an action of zeroes is SIG_DFL without flags, and the pointers are to actions that live until the calls return. The
    // address of the former handler was given to sigaction(2) as one with the signature that its flags tell. A raised signal
    // waits until this handler has returned.
    unsafe {
        let default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        let mut present = default;
        match previous {
            Some(previous) if previous.sa_flags & libc::SA_SIGINFO == 0 => {
                std::mem::transmute::<usize, extern "C" fn(c_int)>(previous.sa_sigaction)(signal);
                libc::sigaction(signal, ptr::null(), &raw mut present);
            }
            Some(previous) => {
                std::mem::transmute::<usize, Handler>(previous.sa_sigaction)(signal, info, context);
                libc::sigaction(signal, ptr::null(), &raw mut present);
            }
            None => {
                libc::sigaction(signal, &raw const default, ptr::null_mut());
            }
        }
        if present.sa_sigaction == libc::SIG_DFL {
            libc::raise(signal);
        }
    }
}

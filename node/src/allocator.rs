//! The heap of every node: one choice for all binaries that link this crate.
//!
//! Thousands of clients come and go in one heap. It must be small while they are idle, and small again when a crowd has
//! gone: *measured* after floods, glibc kept 34 MB and mimalloc 54 MB, jemalloc less than 4 MB.
//!
//! Nothing outside of the binary has a say in this: that threads of the allocator's own give memory back is built in
//! (`background_threads` in `Cargo.toml`), the rest is set when the process starts.

use tikv_jemalloc_ctl::{Access as _, AsName as _};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// How long freed pages are kept for whoever wants some next, in milliseconds. jemalloc's own 10 s add up to more when
/// one crowd follows the other; a second is longer than any turn of an event loop.
const KEPT_FOR: isize = 1_000;

/// Where it is set: for arenas that come later, and for the one that this thread has used already.
const KEYS: [&[u8]; 2] = [b"arenas.dirty_decay_ms\0", b"arena.0.dirty_decay_ms\0"];

/// Sets how soon memory is given back.
///
/// # Errors
/// The allocator does not know the setting, and works as it was built.
pub(crate) fn set_up() -> Result<(), tikv_jemalloc_ctl::Error> {
    KEYS.iter().try_for_each(|key| key.name().write(KEPT_FOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_after_a_second_by_threads_of_the_allocator() {
        set_up().expect("jemalloc knows it");
        for key in KEYS {
            let kept_for: isize = key.name().read().expect("jemalloc knows it");
            assert_eq!(kept_for, KEPT_FOR);
        }
        assert_eq!(tikv_jemalloc_ctl::background_thread::read(), Ok(true), "built in");
    }
}

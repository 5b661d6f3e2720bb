//! Advice to the system about its page cache. Nothing here changes what is stored; where the system knows no such advice it is left out.

use std::fs::File;

/// Asks the kernel to begin writing `length` bytes at `offset` to the disk, without waiting, so that the `fsync` of a large file finds
/// little left to do while the dump is still being made.
pub(super) fn start_write_back(file: &File, offset: u64, length: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else {
            return;
        };
        // SAFETY: a plain system call on a descriptor that `file` keeps open; it takes no pointers.
        // The answer is left unread on purpose: some file systems do not know the call, and a failure to write is reported by `fsync`,
        // which `commit` never leaves out.
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    }
    #[cfg(not(target_os = "linux"))]
    let (_, _, _) = (file, offset, length);
}

/// Asks the kernel to forget bytes of a file that are on the disk already: a backup of hundreds of gigabytes must not drive the
/// database's own pages out of memory. Those still on their way to the disk stay.
pub(super) fn forget_written(file: &File, offset: u64, length: u64) {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    {
        // Advice only; a length of 0 would mean "to the end".
        let _refused = rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(length), rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let (_, _, _) = (file, offset, length);
}

/// Asks the kernel to forget what it remembers of a file whose bytes are on the disk already, and to read it from its beginning to its
/// end: a read-back must see the disk, not our own writes. Pages not yet written stay; on tmpfs there is nothing but the cache.
pub(super) fn forget_and_read_on(file: &File) {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    {
        use rustix::fs::{Advice, fadvise};
        // Advice only: where a file system refuses it, the read is as right as before, only less telling.
        let _refused = fadvise(file, 0, None, Advice::DontNeed).and_then(|()| fadvise(file, 0, None, Advice::Sequential));
    }
    #[cfg(target_vendor = "apple")]
    {
        // Advice only, as above: from here on this descriptor neither fills nor trusts the cache.
        let _refused = rustix::fs::fcntl_nocache(file, true);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple")))]
    let _ = file;
}

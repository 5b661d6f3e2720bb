//! What the system's answers mean for a destination that is a folder.

use std::io;

use coffre_model::error::{Code, Error};
use rustix::io::Errno;

/// Turns the system's answer into an error with the code that a caller acts on. `place` is the root folder as it was given, `at` the
/// key (or nothing for the root itself), `doing` what was attempted, in English, for the log.
pub(super) fn fault(errno: Errno, place: &str, at: &str, doing: &'static str) -> Error {
    // EDQUOT is a full disk for this user alone. EFBIG comes from `ulimit -f` or from a file system without large files.
    let (code, text) = match errno {
        Errno::NOSPC => (Code::DestFull, "dest_full"),
        Errno::DQUOT => (Code::DestFull, "dest_quota"),
        Errno::FBIG => (Code::DestFull, "dest_file_limit"),
        Errno::ROFS => (Code::DestAuth, "dest_read_only"),
        Errno::ACCESS | Errno::PERM => (Code::DestAuth, "dest_denied"),
        Errno::IO
        | Errno::NOTCONN
        | Errno::STALE
        | Errno::NXIO
        | Errno::NODEV
        | Errno::TIMEDOUT
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NETDOWN
        | Errno::NETUNREACH
        | Errno::CONNRESET
        | Errno::CONNABORTED
        | Errno::CONNREFUSED
        | Errno::SHUTDOWN => (Code::DestUnreachable, "dest_io"),
        _ => {
            return Error::internal(doing, io::Error::from(errno))
                .with("place", place)
                .with("key", at);
        }
    };
    let error = Error::new(code, text)
        .with("place", place)
        .with("cause", io::Error::from(errno).to_string());
    if at.is_empty() { error } else { error.with("key", at) }
}

/// The same for an error of `std::io`, which may already carry one of ours.
pub(super) fn io_fault(error: io::Error, place: &str, at: &str, doing: &'static str) -> Error {
    coffre_model::error::from_io(error, |error| match Errno::from_io_error(&error) {
        Some(errno) => fault(errno, place, at, doing),
        None => Error::internal(doing, error).with("place", place).with("key", at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_that_callers_act_on() {
        for (errno, code) in [
            (Errno::NOSPC, Code::DestFull),
            (Errno::DQUOT, Code::DestFull),
            (Errno::FBIG, Code::DestFull),
            (Errno::ROFS, Code::DestAuth),
            (Errno::ACCESS, Code::DestAuth),
            (Errno::IO, Code::DestUnreachable),
            (Errno::NOTCONN, Code::DestUnreachable),
            (Errno::STALE, Code::DestUnreachable),
            (Errno::MFILE, Code::Internal),
        ] {
            assert_eq!(fault(errno, "/p", "k", "test").code(), code);
            assert_eq!(io_fault(errno.into(), "/p", "k", "test").code(), code);
        }
    }
}

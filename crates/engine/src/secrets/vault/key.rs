//! Where the vault's key comes from: a key file, or a descriptor that the parent process handed down.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use age::secrecy::SecretString;
use coffre_model::{Result, Secret};
use zeroize::Zeroizing;

use super::{Opener, unavailable};
use crate::keys;

/// No key is longer. Guards against a key file that is really a disk image.
pub(super) const KEY_MAX: u64 = 64 * 1024;
/// Reads a key file: an age identity, else its whole text as a passphrase.
pub(super) fn read_key_file(path: &Path) -> Result<Opener> {
    let say = |text: &'static str| unavailable(text).with("path", path.to_string_lossy());
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => say("vault_key_missing"),
        _ => say("vault_key_unreadable").with("cause", error.to_string()),
    };
    let mut file = File::open(path).map_err(failed)?;
    // Judged on the open file: a path could be exchanged between the look and the read.
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().map_err(failed)?);
        if mode & 0o077 != 0 {
            return Err(say("vault_key_open").with("mode", format!("{:04o}", mode & 0o7777)));
        }
    }
    let text = key_text(&mut file).map_err(|error| error.or_with("path", path.to_string_lossy()))?;
    if !keys::looks_like_key(text.expose()) {
        return Ok(Opener::Passphrase(SecretString::from(text.expose())));
    }
    match keys::import(text.expose()) {
        Ok(keys::Imported::Pair { secret, .. }) => {
            let identity = secret.expose().parse().map_err(|_| say("vault_key_unusable"))?;
            Ok(Opener::Pair(Box::new(identity)))
        }
        Ok(keys::Imported::Passphrase(text)) => Ok(Opener::Passphrase(SecretString::from(text.expose()))),
        // Something that was meant as a key, damaged or of another kind. To take its text as a passphrase would hide the mistake.
        Err(error) => Err(say("vault_key_unusable").with("reason", error.text())),
    }
}

/// Reads a passphrase or a key to its end, without the one line feed that editors and `echo` add.
fn key_text(from: &mut impl Read) -> Result<Secret> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_MAX as usize + 1));
    from.take(KEY_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unavailable("vault_key_unreadable").with("cause", error.to_string()))?;
    if bytes.len() as u64 > KEY_MAX {
        return Err(unavailable("vault_key_long").with("max", KEY_MAX));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| unavailable("vault_key_text"))?;
    let text = text
        .strip_suffix('\n')
        .map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.trim().is_empty() {
        return Err(unavailable("vault_key_empty"));
    }
    Ok(Secret::new(text))
}

/// A descriptor that the parent process handed down, with a passphrase behind it.
#[cfg(unix)]
pub(super) struct Inherited(std::os::fd::OwnedFd);

#[cfg(unix)]
impl Inherited {
    /// Takes the descriptor over, before any child process could inherit it.
    pub(super) fn take(number: &str) -> Result<Self> {
        use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};
        use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

        let wrong = || unavailable("vault_fd").with("given", number);
        let raw: i32 = number.parse().map_err(|_| wrong())?;
        // 1 and 2 are where answers go.
        if raw < 0 || raw == 1 || raw == 2 {
            return Err(wrong());
        }
        // SAFETY: only asked for its flags, which answers EBADF for a number that is no open descriptor; `raw` is not -1.
        let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
        if raw == 0 {
            // Standard input stays open, because the number must not be given to another file.
            let copy = fcntl_dupfd_cloexec(borrowed, 3).map_err(|_| wrong())?;
            return Ok(Inherited(copy));
        }
        let flags = fcntl_getfd(borrowed).map_err(|_| wrong())?;
        // Everything that this process opened by itself is close-on-exec, and what was inherited cannot be. So a wrong number never
        // reads, and closes, our own catalogue.
        if flags.contains(FdFlags::CLOEXEC) {
            return Err(wrong());
        }
        fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC).map_err(|_| wrong())?;
        // SAFETY: open (it has flags), inherited and therefore owned by nobody in this process; marked above, so taken only once.
        Ok(Inherited(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// Reads to the end, once, and closes it.
    pub(super) fn read(self) -> Result<Secret> {
        key_text(&mut Patient(File::from(self.0)))
    }
}

/// Reads a descriptor without waiting for ever on a parent that forgot to close its end.
#[cfg(unix)]
struct Patient(File);

#[cfg(unix)]
impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
        let mut waited = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut waited, Some(&limit)) {
            Ok(0) => Err(ErrorKind::TimedOut.into()),
            Ok(_) => self.0.read(buffer),
            Err(rustix::io::Errno::INTR) => Err(ErrorKind::Interrupted.into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Other systems have no inherited descriptors by number.
#[cfg(not(unix))]
pub(super) struct Inherited;

#[cfg(not(unix))]
impl Inherited {
    pub(super) fn take(number: &str) -> Result<Self> {
        Err(unavailable("vault_fd").with("given", number))
    }

    pub(super) fn read(self) -> Result<Secret> {
        Err(unavailable("vault_fd").with("given", ""))
    }
}

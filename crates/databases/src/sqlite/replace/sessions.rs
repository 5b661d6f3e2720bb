//! Who has a database file open, as far as this user may see: by the files that processes hold open, and by the locks that the kernel
//! lists (<https://man7.org/linux/man-pages/man5/proc_locks.5.html>).

use std::path::Path;

use coffre_model::replace::LiveSession;

/// Everybody but ourselves; nothing where it cannot be told.
#[cfg(target_os = "linux")]
pub(super) fn sessions(file: &Path) -> Option<Vec<LiveSession>> {
    linux::sessions(file)
}

/// Everybody but ourselves: not told by this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn sessions(_: &Path) -> Option<Vec<LiveSession>> {
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use coffre_model::replace::LiveSession;

    use crate::sqlite::reading::suffixed;

    /// Bytes of the shared memory that are locked by who writes (the first) or reads (from the third on), and not by merely having it open.
    const LOG_LOCKS: std::ops::Range<u64> = 120..128;

    pub(super) fn sessions(file: &Path) -> Option<Vec<LiveSession>> {
        let held = locks(file);
        let ourselves = std::process::id();
        let mut found: BTreeMap<u32, bool> = held.iter().map(|lock| (lock.0, false)).collect();
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            if let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok())
                && has_open(process, file)
            {
                found.entry(process).or_default();
            }
        }
        for (process, in_transaction) in held {
            found.entry(process).and_modify(|known| *known |= in_transaction);
        }
        found.remove(&ourselves);
        let session = |(process, in_transaction)| LiveSession {
            program: name(process),
            user: None,
            in_transaction,
        };
        Some(found.into_iter().map(session).collect())
    }

    /// What a process calls itself.
    fn name(process: u32) -> String {
        let comm = fs::read(format!("/proc/{process}/comm")).unwrap_or_default();
        match String::from_utf8_lossy(&comm).trim_end() {
            "" => process.to_string(),
            name => name.to_owned(),
        }
    }

    /// Only what looks like the file by its name is looked at: asking for anything else could wait for a network.
    fn has_open(process: u32, file: &Path) -> bool {
        let (Ok(wanted), Ok(open)) = (fs::metadata(file), fs::read_dir(format!("/proc/{process}/fd"))) else {
            return false; // It ended meanwhile, or is another user's.
        };
        let name = file.file_name().unwrap_or(OsStr::new("")).as_bytes();
        open.flatten().any(|entry| {
            let is_named = fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str().as_bytes().ends_with(name));
            is_named && fs::metadata(entry.path()).is_ok_and(|m| (m.dev(), m.ino()) == (wanted.dev(), wanted.ino()))
        })
    }

    /// Processes with locks on the file or on its shared memory, and whether that lock means a transaction.
    fn locks(file: &Path) -> Vec<(u32, bool)> {
        let key = |path: &Path| {
            let meta = fs::metadata(path).ok()?;
            let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
            Some(format!("{major:02x}:{minor:02x}:{}", meta.ino()))
        };
        let (main, log) = (key(file), key(&suffixed(file, "-shm")));
        let text = fs::read_to_string("/proc/locks").unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                // 1: POSIX  ADVISORY  READ 3568 fd:00:2531452 1073741826 1073742335
                let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "->").collect();
                let &[_, _, _, _, process, place, start, ..] = words.as_slice() else {
                    return None;
                };
                let process = process.parse().ok()?;
                if log.as_deref() == Some(place) {
                    return Some((process, LOG_LOCKS.contains(&start.parse().ok()?)));
                }
                // With a log, everybody who has it open holds a shared lock on the database.
                (main.as_deref() == Some(place)).then_some((process, log.is_none()))
            })
            .collect()
    }
}

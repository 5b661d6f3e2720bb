//! Small disks and limits of file size, to see what happens when there is no room.

#![allow(
    clippy::disallowed_methods,
    reason = "the testkit starts stock tools and servers; it is no part of a program"
)]

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};

use crate::process::{command, is_root};

/// A tmpfs of a few megabytes in a mount namespace of its own: only programs started through [`SmallDisk::prefix`] see it at its
/// path, and it is gone when this is dropped (or the test program dies). The test looks at it through [`SmallDisk::seen`].
pub struct SmallDisk {
    keeper: Child,
    held_open: Option<ChildStdin>,
    pid: u32,
    mount: PathBuf,
}

impl SmallDisk {
    /// Mounts a tmpfs of `megabytes` over the existing folder `mount`.
    pub fn mount(mount: &Path, megabytes: u32) -> SmallDisk {
        const SCRIPT: &str = r#"
            mount -t tmpfs -o "size=${1}m,mode=700" none "$2" || exit 1
            echo $$
            exec >&-
            read -r _
        "#;
        let mut keeper = command("unshare");
        if !is_root() {
            keeper.arg("--map-root-user");
        }
        let mut keeper = keeper
            .args([
                "--mount",
                "--propagation",
                "private",
                "/bin/sh",
                "-c",
                SCRIPT,
                "disk",
                &megabytes.to_string(),
            ])
            .arg(mount)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start unshare: run ./dev setup");
        let held_open = keeper.stdin.take();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("read the keeper's process id");
        let pid = line.trim().parse().unwrap_or_else(|_| {
            panic!(
                "a tmpfs could not be mounted on {}: mount namespaces are needed",
                mount.display()
            )
        });
        SmallDisk {
            keeper,
            held_open,
            pid,
            mount: mount.to_owned(),
        }
    }

    /// What to put before a command line so that the command sees the disk.
    pub fn prefix(&self) -> Vec<OsString> {
        let mut prefix: Vec<OsString> = vec!["nsenter".into(), "--target".into(), self.pid.to_string().into()];
        if !is_root() {
            prefix.extend(["--user".into(), "--preserve-credentials".into()]);
        }
        prefix.extend(["--mount".into(), "--".into()]);
        prefix
    }

    /// Where the test itself sees the disk's content.
    pub fn seen(&self) -> PathBuf {
        let inside = self.mount.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.pid)).join(inside)
    }

    /// Free bytes.
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.seen()).expect("look at the small disk");
        stat.f_bavail * stat.f_frsize
    }

    /// Writes a file `ballast` that leaves about so many bytes free (0: none at all).
    pub fn fill(&self, leave: u64) {
        let size = self.free().saturating_sub(leave);
        let piece = vec![0x2a; 64 * 1024];
        let mut file = std::fs::File::create(self.seen().join("ballast")).expect("make the ballast");
        let mut written = 0;
        while written < size {
            let next = piece.len().min(usize::try_from(size - written).unwrap_or(usize::MAX));
            // The last block may not fit: then the disk is as full as it was to become.
            if std::io::Write::write_all(&mut file, &piece[..next]).is_err() {
                return;
            }
            written += next as u64;
        }
    }

    /// Removes the ballast again.
    pub fn relieve(&self) {
        std::fs::remove_file(self.seen().join("ballast")).expect("remove the ballast");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.held_open.take());
        // It ends as soon as its input does; there is nobody to tell if it cannot be waited for.
        let _ended = self.keeper.wait();
    }
}

/// What to put before a command line so that no file it writes grows beyond so many bytes (rounded up to 512): a write beyond
/// fails with EFBIG. The signal that goes with it is ignored, as a daemon would.
pub fn file_size_limit(bytes: u64) -> Vec<OsString> {
    let blocks = bytes.div_ceil(512);
    [
        "/bin/sh",
        "-c",
        "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"",
        "limit",
        &blocks.to_string(),
    ]
    .map(OsString::from)
    .to_vec()
}

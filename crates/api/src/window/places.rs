//! Places: whether two destinations would be lost together. Two disks of one machine are one place; another machine is another one.
//!
//! Nothing here touches a destination: a network disk whose server is gone would hang whoever looks. Linux tells from its list of mounts
//! what lies where; elsewhere every folder counts as on this machine, which never makes too many places.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use coffre_model::address::Address;
use coffre_model::destination::Destination;

/// File systems whose bytes lie on another machine.
const REMOTE: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "ceph",
    "glusterfs",
    "lustre",
    "afs",
];

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// Where.
    folder: PathBuf,
    /// What: a device, `server:/export`.
    device: String,
    /// `ext4`, `nfs`, …
    kind: String,
}

impl Mount {
    fn is_remote(&self) -> bool {
        REMOTE.contains(&self.kind.as_str()) || self.kind.starts_with("fuse.sshfs")
    }

    /// The machine in `server:/export`, `//server/share`, `user@server:folder`.
    fn server(&self) -> &str {
        let device = self.device.strip_prefix("//").unwrap_or(&self.device);
        let server = device.split(['/', ':']).next().unwrap_or(device);
        server.rsplit_once('@').map_or(server, |(_, server)| server)
    }
}

/// What is mounted where, at one moment.
#[derive(Default)]
pub struct Mounts(Vec<Mount>);

/// Where a destination is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Equal for destinations that would be lost together.
    pub name: String,
    /// Whether it is away from this machine.
    pub offsite: bool,
}

impl Mounts {
    /// What is mounted now.
    pub fn now() -> Mounts {
        match std::fs::read_to_string("/proc/self/mountinfo") {
            Ok(text) => Mounts::parse(&text),
            // Another system: then nothing is known, and folders are one place.
            Err(_) => Mounts::default(),
        }
    }

    /// Reads `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
    fn parse(text: &str) -> Mounts {
        let mount = |line: &str| -> Option<Mount> {
            let (front, back) = line.split_once(" - ")?;
            let folder = front.split(' ').nth(4)?;
            let mut back = back.split(' ');
            let kind = back.next()?.to_owned();
            let device = back.next()?;
            // Without a device, the number of the file system tells it apart.
            let device = match device {
                "none" | "tmpfs" | "overlay" => front.split(' ').nth(2)?,
                named => named,
            };
            Some(Mount {
                folder: PathBuf::from(unescaped(folder)),
                device: unescaped(device),
                kind,
            })
        };
        Mounts(text.lines().filter_map(mount).collect())
    }

    /// The file system that a path lies on: the longest mount above it, the last one mounted there.
    fn above(&self, path: &Path) -> Option<&Mount> {
        let above = self.0.iter().filter(|mount| path.starts_with(&mount.folder));
        above.max_by_key(|mount| mount.folder.components().count())
    }

    /// Where an address is.
    pub fn site(&self, address: &str) -> Site {
        let Ok(address) = Address::parse(address) else {
            return Site {
                name: address.to_owned(),
                offsite: false,
            };
        };
        if address.scheme != "file" {
            // A server, or a bucket behind an endpoint.
            let endpoint = address.query.get("endpoint").map_or("", String::as_str);
            let host = address.host.as_deref().unwrap_or_default();
            return Site {
                name: format!("{}://{host} {endpoint}", address.scheme),
                offsite: true,
            };
        }
        match self.above(Path::new(&address.path)).filter(|mount| mount.is_remote()) {
            Some(mount) => Site {
                name: mount.server().to_owned(),
                offsite: true,
            },
            None => Site {
                name: "here".to_owned(),
                offsite: false,
            },
        }
    }

    /// The different places of some destinations.
    pub fn sites<'a>(&self, destinations: impl IntoIterator<Item = &'a Destination>) -> BTreeSet<Site> {
        destinations
            .into_iter()
            .map(|destination| self.site(&destination.address))
            .collect()
    }

    /// The folder at which the file system of a local destination is mounted.
    pub fn mounted_at(&self, address: &str) -> Option<String> {
        let address = Address::parse(address).ok().filter(|address| address.scheme == "file")?;
        let mount = self.above(Path::new(&address.path))?;
        Some(mount.folder.display().to_string())
    }
}

/// `\040` and its like, as the kernel writes what would break its columns.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)))
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOUNTS: &str = "22 28 0:21 / /proc rw,nosuid - proc proc rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
40 28 254:17 / /media/My\\040Disk rw - ext4 /dev/sdb1 rw
41 28 0:50 / /mnt/nas rw - nfs4 nas.local:/export rw
42 41 0:51 / /mnt/nas/ram rw - tmpfs tmpfs rw
43 28 0:52 / /mnt/second rw - nfs4 nas.local:/second rw
44 28 0:53 / /mnt/office rw - cifs //office/share rw";

    #[test]
    fn another_machine_is_another_place_and_another_disk_is_not() {
        let mounts = Mounts::parse(MOUNTS);
        let site = |address: &str| mounts.site(address);
        assert_eq!(site("file:///srv/a"), site("file:///home/b"));
        assert_eq!(site("file:///srv/a"), site("file:///media/My%20Disk/b"));
        assert_ne!(site("file:///srv/a"), site("file:///mnt/nas/b"));
        // Two exports of one server.
        assert_eq!(site("file:///mnt/nas/b"), site("file:///mnt/second"));
        assert_ne!(site("file:///mnt/nas/b"), site("file:///mnt/office"));
        assert!(site("file:///mnt/nas/coffre").offsite);
        assert!(!site("file:///mnt/nas/ram/x").offsite);
        assert!(!site("file:///srv/a").offsite);
        assert!(site("s3://bucket/a").offsite);
        assert_eq!(site("s3://bucket/a"), site("s3://bucket/b"));
        assert_ne!(site("s3://bucket/a"), site("s3://bucket/a?endpoint=https%3A%2F%2Fminio"));
        assert_eq!(
            mounts.mounted_at("file:///media/My%20Disk/b").as_deref(),
            Some("/media/My Disk")
        );
        let unknown = Mounts::default();
        assert_eq!(unknown.site("file:///a"), unknown.site("file:///b"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,200}") {
            let mounts = Mounts::parse(&text);
            let _whatever = mounts.site(&text);
            let _whatever = unescaped(&text);
        }
    }
}

//! Whether this desktop has file dialogs. Where it has none, the library that shows them answers as if the person had cancelled.

/// Whether a file dialog can be shown. May wait for some seconds: a portal is started when it is first asked.
#[cfg(target_os = "linux")]
pub(crate) fn has_dialogs() -> bool {
    linux::has_zenity(std::env::var_os("PATH").as_deref()) || linux::has_file_chooser(None)
}

/// Part of the system elsewhere.
#[cfg(not(target_os = "linux"))]
pub(crate) fn has_dialogs() -> bool {
    true
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use zbus::blocking::connection::Builder;
    use zbus::zvariant::OwnedValue;

    /// As long as a bus waits for a service that it starts.
    const LIMIT: Duration = Duration::from_secs(25);

    /// The dialogs' fallback: a program.
    pub(super) fn has_zenity(path: Option<&OsStr>) -> bool {
        let folders = path.map(std::env::split_paths).into_iter().flatten();
        folders.map(|folder| folder.join("zenity")).any(|file| {
            let about = std::fs::metadata(file);
            about.is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
        })
    }

    /// Whether the desktop's portal answers, and has a part that shows files: the portal alone, without the part for a desktop, has not.
    /// `bus`: an address in place of the session's.
    pub(super) fn has_file_chooser(bus: Option<&str>) -> bool {
        let ask = || -> zbus::Result<u32> {
            let builder = match bus {
                None => Builder::session()?,
                Some(address) => Builder::address(address)?,
            };
            let connection = builder.method_timeout(LIMIT).build()?;
            // https://flatpak.github.io/xdg-desktop-portal/docs/doc-org.freedesktop.portal.FileChooser.html
            let reply = connection.call_method(
                Some("org.freedesktop.portal.Desktop"),
                "/org/freedesktop/portal/desktop",
                Some("org.freedesktop.DBus.Properties"),
                "Get",
                &("org.freedesktop.portal.FileChooser", "version"),
            )?;
            let version: OwnedValue = reply.body().deserialize()?;
            Ok(u32::try_from(version)?)
        };
        match ask() {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "no portal shows file dialogs");
                false
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use std::io::{BufRead, BufReader};
        use std::process::{Child, Command, Stdio};

        use super::*;

        /// A bus that starts nothing by itself.
        struct Bus {
            daemon: Child,
            address: String,
        }

        impl Bus {
            #[allow(clippy::disallowed_methods, reason = "a bus of the test's own")]
            fn start() -> Bus {
                let empty = tempfile::tempdir().unwrap();
                let mut daemon = Command::new("dbus-daemon")
                    .args(["--session", "--nofork", "--print-address=1"])
                    .env("XDG_DATA_DIRS", empty.path())
                    .env("XDG_DATA_HOME", empty.path())
                    .env("XDG_RUNTIME_DIR", empty.path())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                let mut address = String::new();
                let mut told = BufReader::new(daemon.stdout.take().unwrap());
                told.read_line(&mut address).unwrap();
                Bus {
                    daemon,
                    address: address.trim().to_owned(),
                }
            }
        }

        impl Drop for Bus {
            fn drop(&mut self) {
                // A test that fails has said why already.
                let _ended = self.daemon.kill().and_then(|()| self.daemon.wait());
            }
        }

        struct Chooser;

        #[zbus::interface(name = "org.freedesktop.portal.FileChooser")]
        impl Chooser {
            #[zbus(property, name = "version")]
            fn version(&self) -> u32 {
                4
            }
        }

        struct Other;

        #[zbus::interface(name = "org.freedesktop.portal.Settings")]
        impl Other {
            #[zbus(property, name = "version")]
            fn version(&self) -> u32 {
                2
            }
        }

        #[test]
        fn without_a_bus_or_a_portal_there_are_no_dialogs() {
            assert!(!has_file_chooser(Some("unix:path=/nowhere/bus")));
            assert!(!has_file_chooser(Some("nonsense")));
            let bus = Bus::start();
            assert!(!has_file_chooser(Some(&bus.address)));
        }

        #[test]
        fn a_portal_must_have_a_part_that_shows_files() {
            let bus = Bus::start();
            let portal = || {
                let builder = Builder::address(bus.address.as_str()).unwrap();
                builder.name("org.freedesktop.portal.Desktop").unwrap()
            };
            let path = "/org/freedesktop/portal/desktop";
            let without = portal().serve_at(path, Other).unwrap().build().unwrap();
            assert!(!has_file_chooser(Some(&bus.address)));
            drop(without);
            let _with = portal().serve_at(path, Chooser).unwrap().build().unwrap();
            assert!(has_file_chooser(Some(&bus.address)));
        }

        #[test]
        fn a_program_is_one_that_can_be_started() {
            let folder = tempfile::tempdir().unwrap();
            let path = Some(folder.path().as_os_str());
            assert!(!has_zenity(path) && !has_zenity(None));
            let file = folder.path().join("zenity");
            std::fs::write(&file, "").unwrap();
            assert!(!has_zenity(path));
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
            assert!(has_zenity(path));
        }
    }
}

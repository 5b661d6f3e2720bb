//! Hears from the system that the machine woke. Linux tells through logind; elsewhere, and where there is no bus, the clocks tell a few
//! seconds later ([`super`]'s loop compares them).
//!
//! Interface: <https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.login1.html>, signal `PrepareForSleep(false)`.

use coffre_model::{Error, Result};

/// Calls `woke` whenever the machine woke, on a thread of its own, until it answers `false` or the bus goes away. Without a bus nothing is called.
///
/// # Errors
/// `INTERNAL` where no thread can be started.
pub fn on_wake(woke: impl Fn() -> bool + Send + 'static) -> Result<()> {
    let listening = move || {
        if let Err(error) = linux::listen(None, &|| {}, &woke) {
            // No bus, or nobody on it who tells of sleep: a server, a container.
            tracing::debug!(%error, "listen for the end of sleep");
        }
    };
    let spawned = std::thread::Builder::new().name("wake".into()).spawn(listening);
    spawned.map(drop).map_err(|e| Error::internal("start a thread", e))
}

#[cfg(all(unix, not(target_os = "macos")))]
mod linux {
    use zbus::blocking::MessageIterator;
    use zbus::blocking::connection::Builder;
    use zbus::{MatchRule, Result};

    /// `address`: the bus, where it is not the system's. `ready` is called once it is listened to.
    pub(super) fn listen(address: Option<&str>, ready: &dyn Fn(), woke: &dyn Fn() -> bool) -> Result<()> {
        let bus = match address {
            None => Builder::system()?,
            Some(address) => Builder::address(address)?,
        };
        let bus = bus.build()?;
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender("org.freedesktop.login1")?
            .path("/org/freedesktop/login1")?
            .interface("org.freedesktop.login1.Manager")?
            .member("PrepareForSleep")?
            .build();
        let said = MessageIterator::for_match_rule(rule, &bus, Some(4))?;
        ready();
        for message in said {
            // `true` is said before it sleeps.
            let before: bool = message?.body().deserialize()?;
            if !before && !woke() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
mod linux {
    pub(super) fn listen(_: Option<&str>, _: &dyn Fn(), _: &dyn Fn() -> bool) -> Result<(), &'static str> {
        Err("this system does not tell")
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::sync::mpsc;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a bus of its own for the test")]
    fn the_end_of_sleep_is_heard_and_its_beginning_is_not() {
        let mut bus = std::process::Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("dbus-daemon (./dev setup installs it)");
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        let (ready, is_ready) = mpsc::channel();
        let (woke, has_woken) = mpsc::channel();
        let at = address.clone();
        let listening = std::thread::spawn(move || {
            super::linux::listen(Some(&at), &|| ready.send(()).unwrap(), &|| {
                woke.send(()).unwrap();
                false
            })
        });
        is_ready.recv().unwrap();
        let logind = zbus::blocking::connection::Builder::address(address.as_str())
            .unwrap()
            .name("org.freedesktop.login1")
            .unwrap()
            .build()
            .unwrap();
        let say = |before: bool| {
            let interface = "org.freedesktop.login1.Manager";
            logind
                .emit_signal(None::<&str>, "/org/freedesktop/login1", interface, "PrepareForSleep", &before)
                .unwrap();
        };
        say(true);
        say(false);
        has_woken.recv().unwrap();
        listening.join().unwrap().unwrap();
        assert!(has_woken.try_recv().is_err());
        bus.kill().unwrap();
        bus.wait().unwrap();
        assert!(super::linux::listen(Some(&address), &|| {}, &|| true).is_err());
    }
}

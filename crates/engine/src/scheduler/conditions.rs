//! What a run may have to wait for: the network, mains power, a secret.

use std::net::UdpSocket;
use std::path::Path;

use coffre_model::plan::Plan;
use coffre_model::{Code, Error};

use crate::context::Engine;

/// Where Linux tells of batteries and mains.
const SUPPLIES: &str = "/sys/class/power_supply";

/// What keeps this plan from being run now, by its own choice or because a secret is not within reach.
pub fn waits_for(engine: &Engine, plan: &Plan) -> Option<Error> {
    let chosen = plan.schedule.as_ref()?;
    if chosen.wait_for_network && !has_network() {
        return Some(Error::new(Code::Unreachable, "waits_for_network"));
    }
    if chosen.wait_for_power && on_battery(Path::new(SUPPLIES)) {
        return Some(Error::new(Code::Busy, "waits_for_power"));
    }
    secret_missing(engine, plan)
}

/// Asked before the run: a keychain that is locked all night must not leave a failed backup a minute.
fn secret_missing(engine: &Engine, plan: &Plan) -> Option<Error> {
    let catalogue = &engine.catalogue;
    let mut needed = Vec::new();
    // What is not there fails in the run, which says so.
    if let Ok(source) = catalogue.known_source(&plan.source_id.to_string())
        && source.has_secret
    {
        needed.push((format!("source:{}", source.id), source.name));
    }
    for id in &plan.destination_ids {
        if let Ok(destination) = catalogue.known_destination(&id.to_string())
            && destination.has_secret
        {
            needed.push((format!("destination:{}", destination.id), destination.name));
        }
    }
    if let Some(id) = &plan.key_id
        && let Ok(key) = catalogue.key(&id.to_string())
    {
        needed.push((format!("key:{}", key.id), key.name));
    }
    for (name, shown) in needed {
        // A secret that was never stored is no reason to wait: the run fails, and says which one.
        match engine.secrets.store().and_then(|store| store.get(&name)) {
            Err(error) if error.code() == Code::SecretUnavailable => return Some(error.or_with("name", shown)),
            _ => {}
        }
    }
    None
}

/// Whether the system knows a way out of this machine. Connecting a datagram socket asks the routes and sends nothing.
pub fn has_network() -> bool {
    // Addresses of documentation: nobody has them, so only a default route leads there.
    let reaches = |from: &str, to: &str| UdpSocket::bind(from).and_then(|socket| socket.connect(to)).is_ok();
    reaches("0.0.0.0:0", "192.0.2.1:9") || reaches("[::]:0", "[2001:db8::1]:9")
}

/// Whether this machine lives on its battery.
pub fn mains_are_missing() -> bool {
    on_battery(Path::new(SUPPLIES))
}

/// Whether the machine lives on its battery: it has mains, and none is plugged in. A machine that does not tell is on mains.
pub fn on_battery(supplies: &Path) -> bool {
    let Ok(entries) = fs_entries(supplies) else { return false };
    let mut mains = Vec::new();
    for path in entries {
        let text = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        if matches!(text("type").trim(), "Mains" | "USB") && matches!(text("online").trim(), "0" | "1") {
            mains.push(text("online").trim() == "1");
        }
    }
    !mains.is_empty() && !mains.contains(&true)
}

fn fs_entries(folder: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
    std::fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mains_and_battery() {
        let folder = tempfile::tempdir().unwrap();
        let supply = |name: &str, kind: &str, online: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("type"), format!("{kind}\n")).unwrap();
            std::fs::write(path.join("online"), format!("{online}\n")).unwrap();
        };
        assert!(!on_battery(&folder.path().join("absent")));
        assert!(!on_battery(folder.path()));
        supply("BAT0", "Battery", "");
        assert!(!on_battery(folder.path()));
        supply("AC", "Mains", "0");
        assert!(on_battery(folder.path()));
        supply("ucsi", "USB", "1");
        assert!(!on_battery(folder.path()));
    }
}

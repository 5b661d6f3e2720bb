//! Small facts around a recovery: packages, where a copy lies, and the commands that are not part of the sequence itself.

use coffre_model::Secret;
use coffre_model::address::Address;
use coffre_model::backup::{Backup, Copy};
use coffre_model::key::{Key, KeyKind};
use coffre_model::manifest::Manifest;

use super::Entry;
use super::commands::{KEY_FILE, shell_quote};
use super::wording::visible;

/// How a program is installed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) debian: &'static str,
    pub(super) macos: &'static str,
}

/// The package of a program that is not on every machine.
pub(super) fn package(program: &str) -> Option<Package> {
    let (debian, macos) = match program {
        "age" => ("age", "age"),
        "zstd" => ("zstd", "zstd"),
        "sqlite3" => ("sqlite3", "sqlite"),
        "psql" | "pg_restore" | "createdb" => ("postgresql-client", "libpq"),
        "mariadb" | "mysql" => ("mariadb-client", "mariadb"),
        _ => return None,
    };
    Some(Package { debian, macos })
}

pub(super) fn database(manifest: &Manifest, backup: &Backup) -> String {
    let name = match manifest.database.as_str() {
        "postgres" => "PostgreSQL",
        "sqlite" => "SQLite",
        "mysql" => "MySQL",
        "mongodb" => "MongoDB",
        other => other,
    };
    match &backup.server_version {
        Some(version) => visible(&format!("{name} {version}")),
        None => visible(name),
    }
}

/// Where a copy lies: the path of a file, else the address and the key.
pub(super) fn place(entry: &Entry, copy: &Copy) -> String {
    match (local_path(entry, copy), address(entry, copy)) {
        (Some(path), _) => visible(&path),
        (None, Some(address)) => visible(&format!("{} · {}", address, copy.key)),
        (None, None) => visible(&copy.key),
    }
}

fn address<'a>(entry: &'a Entry, copy: &Copy) -> Option<&'a str> {
    let place = entry
        .places
        .iter()
        .find(|place| place.destination_id == copy.destination_id)?;
    Some(&place.address)
}

fn local_path(entry: &Entry, copy: &Copy) -> Option<String> {
    let address = Address::parse(address(entry, copy)?).ok()?;
    (address.scheme == "file").then(|| format!("{}/{}", address.path.trim_end_matches('/'), copy.key))
}

/// The command that fetches a copy from a folder. A path with control characters cannot be shown as it is, and gets none.
pub(super) fn fetch(entry: &Entry, copy: &Copy) -> Option<String> {
    let path = local_path(entry, copy)?;
    (visible(&path) == path).then(|| format!("cp {} .", shell_quote(&path)))
}

/// The command that exports a key. One without a line feed: a name with control characters is better looked up in `key list`.
pub(super) fn export(key: &Key) -> String {
    let name = key.name.as_str();
    let end = if name.starts_with('-') { "-- " } else { "" };
    let quoted = if visible(name) == name {
        shell_quote(name)
    } else {
        "KEY".to_owned()
    };
    match key.kind {
        KeyKind::Recipient => format!("(umask 077; coffre key export {end}{quoted} > {KEY_FILE})"),
        KeyKind::Passphrase => format!("coffre key export {end}{quoted}"),
    }
}

/// Writes the key file, readable by its owner alone, without changing the shell that it is typed into.
pub(super) fn save_key(secret: &Secret) -> String {
    let line = shell_quote(secret.expose().trim());
    format!("(umask 077; echo {line} > {KEY_FILE})")
}

//! An independent look at a home and its destinations: what must hold whatever happened (`faults.md`, I1 to I10). It asks stock
//! tools and plain files, never Coffre's own code, so that a fault cannot hide in the code that looks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coffre_model::address::Address;
use serde_json::Value;

use crate::coffre::{Coffre, Outcome};
use crate::postgres::{Postgres, Version};
use crate::process::{processes, run, wait_until};

const MANIFEST: &str = ".manifest.json";

/// What is looked at. Call it when nothing is running any more.
pub struct Invariants<'a> {
    home: PathBuf,
    destinations: Vec<PathBuf>,
    identity: Option<PathBuf>,
    secrets: Vec<String>,
    servers: Vec<&'a Postgres>,
    said: Vec<String>,
    patience: Duration,
}

impl<'a> Invariants<'a> {
    /// For a story's home, with the `backups/` in it.
    pub fn of(coffre: &Coffre) -> Self {
        Self::at(&coffre.home())
    }

    /// For any home.
    pub fn at(home: &Path) -> Self {
        Invariants {
            home: home.to_owned(),
            destinations: vec![home.join("backups")],
            identity: None,
            secrets: Vec::new(),
            servers: Vec::new(),
            said: Vec::new(),
            patience: Duration::from_secs(10),
        }
    }

    /// One more destination's folder.
    #[must_use]
    pub fn destination(mut self, folder: &Path) -> Self {
        self.destinations.push(folder.to_owned());
        self
    }

    /// A file with an age identity that opens encrypted artifacts; without one they are not looked into.
    #[must_use]
    pub fn identity(mut self, file: &Path) -> Self {
        self.identity = Some(file.to_owned());
        self
    }

    /// A secret that may stand nowhere.
    #[must_use]
    pub fn secret(mut self, text: impl Into<String>) -> Self {
        self.secrets.push(text.into());
        self
    }

    /// A server on which no session of ours may be left.
    #[must_use]
    pub fn server(mut self, server: &'a Postgres) -> Self {
        self.servers.push(server);
        self
    }

    /// What a command said: no secret may be in it.
    #[must_use]
    pub fn said(mut self, outcome: &Outcome) -> Self {
        self.said.push(format!("{outcome}"));
        self
    }

    /// How long processes and sessions may take to end (10 s, as I4 says).
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Panics with everything that does not hold.
    pub fn assert(&self) {
        let violations = self.violations();
        assert!(violations.is_empty(), "invariants do not hold:\n{}", violations.join("\n"));
    }

    /// Everything that does not hold, a sentence each.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in &self.destinations {
            if folder.is_dir() {
                self.look_at_destination(folder, &mut found);
            }
        }
        self.look_at_catalogue(&mut found);
        self.look_at_what_runs(&mut found);
        self.look_for_secrets(&mut found);
        self.look_at_modes(&mut found);
        found
    }

    /// I1 and I2.
    fn look_at_destination(&self, folder: &Path, found: &mut Vec<String>) {
        let files = files_below(folder);
        for file in &files {
            let name = file_name(file);
            if name.contains(".partial") {
                found.push(format!("I2: {} was left behind", file.display()));
            } else if let Some(artifact) = name.strip_suffix(MANIFEST) {
                let artifact = file.with_file_name(artifact);
                if let Err(why) = self.look_at_artifact(file, &artifact) {
                    found.push(format!("I1: {}: {why}", artifact.display()));
                }
            } else if name.contains("_BKP-") && !files.contains(&with_manifest(file)) {
                found.push(format!("I2: {} has no manifest", file.display()));
            }
        }
    }

    fn look_at_artifact(&self, manifest: &Path, artifact: &Path) -> Result<(), String> {
        let text = std::fs::read_to_string(manifest).map_err(|e| format!("its manifest cannot be read: {e}"))?;
        let manifest: Value = serde_json::from_str(&text).map_err(|e| format!("its manifest is no JSON: {e}"))?;
        let file = artifact.metadata().map_err(|e| format!("it is not there: {e}"))?;
        expect("artifact", &manifest["artifact"], &Value::from(file_name(artifact)))?;
        expect("stored_bytes", &manifest["stored_bytes"], &Value::from(file.len()))?;
        expect("sha256", &manifest["sha256"], &Value::from(sha256(artifact)))?;
        let opened = tempfile::tempdir().map_err(|e| e.to_string())?;
        let Some(plain) = self.open_with_stock_tools(artifact, opened.path())? else {
            return Ok(());
        };
        let size = plain.metadata().map_err(|e| e.to_string())?.len();
        expect("raw_bytes", &manifest["raw_bytes"], &Value::from(size))?;
        expect("raw_sha256", &manifest["raw_sha256"], &Value::from(sha256(&plain)))?;
        look_inside(&plain, &manifest)
    }

    /// Peels off what the extensions say, outermost first. Nothing where it is encrypted and nobody gave the key.
    fn open_with_stock_tools(&self, artifact: &Path, folder: &Path) -> Result<Option<PathBuf>, String> {
        let mut at = artifact.to_owned();
        let mut step = 0;
        loop {
            step += 1;
            let next = folder.join(format!("{step}-{}", at.file_stem().unwrap_or_default().display()));
            let (from, to) = (at.display().to_string(), next.display().to_string());
            let output = match at.extension().and_then(|e| e.to_str()) {
                Some("age") => match &self.identity {
                    Some(identity) => run("age", ["-d", "-i", &identity.display().to_string(), "-o", &to, &from]),
                    None => return Ok(None),
                },
                Some("zst") => run("zstd", ["-q", "-d", "-o", &to, &from]),
                Some("gz") => run("/bin/sh", ["-c", "gunzip -c <\"$1\" >\"$2\"", "gunzip", &from, &to]),
                _ => return Ok(Some(at)),
            };
            if !output.ok() {
                return Err(format!("a stock tool cannot open it: {}", output.stderr.trim()));
            }
            at = next;
        }
    }

    /// I1 once more, from the catalogue's side, and I3.
    fn look_at_catalogue(&self, found: &mut Vec<String>) {
        let Some(catalogue) = Catalogue::copy(&self.home) else {
            return;
        };
        for (what, sql) in [
            (
                "a backup in a live state without a lease",
                "SELECT code || ' ' || state FROM backups WHERE state IN ('running', 'deleting')
                 AND id NOT IN (SELECT run_id FROM leases)",
            ),
            (
                "a restore in a live state without a lease",
                "SELECT id || ' ' || state FROM restores WHERE state = 'running' AND id NOT IN (SELECT run_id FROM leases)",
            ),
            (
                "a copy that is still being written",
                "SELECT key FROM copies JOIN backups ON backups.id = backup_id
                 WHERE copies.state = 'writing' AND backups.state <> 'running'",
            ),
            (
                "a green backup without a green copy",
                "SELECT code FROM backups WHERE state = 'verified'
                 AND id NOT IN (SELECT backup_id FROM copies WHERE state = 'verified')",
            ),
        ] {
            for line in catalogue.ask(sql) {
                found.push(format!("I3: {what}: {line}"));
            }
        }
        let sql = "SELECT json_object('address', address, 'key', key, 'bytes', copies.stored_bytes, 'sha256', copies.sha256)
                   FROM copies JOIN destinations ON destinations.id = destination_id WHERE state = 'verified'";
        for line in catalogue.ask(sql) {
            let copy: Value = serde_json::from_str(&line).expect("sqlite3 answers JSON");
            let address = copy["address"].as_str().and_then(|text| Address::parse(text).ok());
            let Some(address) = address.filter(|address| address.scheme == "file") else {
                continue;
            };
            let file = Path::new(&address.path).join(copy["key"].as_str().unwrap_or_default());
            let bytes = file.metadata().map(|m| m.len()).ok();
            if bytes != copy["bytes"].as_u64() || Some(sha256(&file).as_str()) != copy["sha256"].as_str() {
                found.push(format!(
                    "I1: {} is green in the catalogue and not what it was",
                    file.display()
                ));
            }
            if !with_manifest(&file).is_file() {
                found.push(format!(
                    "I2: {} is green in the catalogue and has no manifest",
                    file.display()
                ));
            }
        }
    }

    /// I4.
    fn look_at_what_runs(&self, found: &mut Vec<String>) {
        let mut left = Vec::new();
        wait_until(self.patience, || {
            left = self.what_runs();
            left.is_empty()
        });
        found.extend(left);
        let runtime = self.home.join("runtime");
        if runtime.is_dir() {
            for file in files_below(&runtime) {
                if !file_name(&file).ends_with(".lock") {
                    found.push(format!("I8: {} was left behind", file.display()));
                }
            }
        }
    }

    fn what_runs(&self) -> Vec<String> {
        let home = self.home.display().to_string();
        let me = std::process::id();
        let mut left = Vec::new();
        for (pid, arguments) in processes() {
            if pid == me {
                continue;
            }
            // Gone between listing and look, or another user's: then there is nothing to see.
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment);
            if arguments.iter().any(|a| a.contains(&home)) || environment.contains(&home) {
                left.push(format!("I4: process {pid} is left: {}", arguments.join(" ")));
            }
        }
        for server in &self.servers {
            for session in server.sessions("coffre") {
                left.push(format!("I4: a session is left on the server: {session}"));
            }
        }
        left
    }

    /// I8.
    fn look_for_secrets(&self, found: &mut Vec<String>) {
        let mut forms = BTreeSet::new();
        for secret in &self.secrets {
            forms.extend(disguises(secret));
        }
        let mut places: Vec<PathBuf> = files_below(&self.home);
        for folder in &self.destinations {
            places.extend(files_below(folder));
        }
        places.sort();
        places.dedup();
        for file in places {
            let bytes = std::fs::read(&file).unwrap_or_default();
            let name = file.display().to_string();
            if forms
                .iter()
                .any(|form| contains(&bytes, form.as_bytes()) || name.contains(form.as_str()))
            {
                found.push(format!("I8: a secret stands in {name}"));
            }
        }
        for said in &self.said {
            if forms.iter().any(|form| said.contains(form.as_str())) {
                found.push(format!("I8: a secret was said:\n{said}"));
            }
        }
    }

    /// Files are for their owner alone (the contract: 0700 and 0600 whatever the umask).
    fn look_at_modes(&self, found: &mut Vec<String>) {
        let mut all = entries_below(&self.home);
        all.push(self.home.clone());
        for folder in &self.destinations {
            all.extend(entries_below(folder));
        }
        for path in all {
            let Ok(entry) = path.symlink_metadata() else { continue };
            let ours =
                path.starts_with(&self.home) || file_name(&path).contains("_BKP-") || file_name(&path).starts_with("coffre-");
            if ours && !entry.is_symlink() && entry.permissions().mode() & 0o077 != 0 {
                found.push(format!(
                    "I8: others may read {} ({:o})",
                    path.display(),
                    entry.permissions().mode() & 0o777
                ));
            }
        }
    }
}

fn expect(what: &str, said: &Value, is: &Value) -> Result<(), String> {
    if said == is {
        Ok(())
    } else {
        Err(format!("its manifest says {what} {said}, it is {is}"))
    }
}

/// The plain dump, read to its end by the database's own tools.
fn look_inside(plain: &Path, manifest: &Value) -> Result<(), String> {
    let path = plain.display().to_string();
    match manifest["format"].as_str() {
        Some("sqlite") => {
            let said = run("sqlite3", ["-readonly", &path, "PRAGMA integrity_check"]);
            if said.stdout.trim() != "ok" {
                return Err(format!("integrity_check: {}{}", said.stdout, said.stderr));
            }
            for count in manifest["table_counts"].as_array().into_iter().flatten() {
                let table = count["table"].as_str().unwrap_or_default();
                let sql = format!("SELECT count(*) FROM {}", crate::postgres::quote_identifier(table));
                let rows = run("sqlite3", ["-readonly", &path, &sql]);
                expect(
                    table,
                    &count["rows"],
                    &Value::from(rows.stdout.trim().parse::<u64>().unwrap_or(u64::MAX)),
                )?;
            }
            Ok(())
        }
        Some("pg_custom") => {
            // The newest reads the archives of all: whole, not only its table of contents.
            let said = run(Version::V18.tool("pg_restore"), ["-f", "/dev/null", &path]);
            if said.ok() {
                Ok(())
            } else {
                Err(format!("pg_restore: {}", said.stderr.trim()))
            }
        }
        Some("sql") => {
            let said = run("tail", ["-c", "512", &path]);
            let whole = said.stdout.contains("database dump complete");
            if whole {
                Ok(())
            } else {
                Err("the SQL has no end marker".to_owned())
            }
        }
        other => Err(format!("a format that nobody knows: {other:?}")),
    }
}

/// A copy of a catalogue, so that looking at it changes nothing.
struct Catalogue {
    folder: tempfile::TempDir,
}

impl Catalogue {
    fn copy(home: &Path) -> Option<Catalogue> {
        if !home.join("catalogue.db").is_file() {
            return None;
        }
        let folder = tempfile::tempdir().expect("make a folder");
        for name in ["catalogue.db", "catalogue.db-wal"] {
            if home.join(name).is_file() {
                std::fs::copy(home.join(name), folder.path().join(name)).expect("copy the catalogue");
            }
        }
        Some(Catalogue { folder })
    }

    fn ask(&self, sql: &str) -> Vec<String> {
        let path = self.folder.path().join("catalogue.db").display().to_string();
        let output = run("sqlite3", [&path, sql]);
        assert!(output.ok(), "sqlite3 cannot read the catalogue: {}", output.stderr);
        output.stdout.lines().map(str::to_owned).collect()
    }
}

/// Asks the catalogue of a home with the stock `sqlite3`, on a copy. One line a row, columns separated by `|`.
pub fn ask_catalogue(home: &Path, sql: &str) -> Vec<String> {
    Catalogue::copy(home).map_or_else(Vec::new, |catalogue| catalogue.ask(sql))
}

/// The files of a folder with their hashes, to be compared later (I5, I10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    files: BTreeMap<PathBuf, String>,
}

impl Snapshot {
    /// Of everything below a folder.
    pub fn of(folder: &Path) -> Snapshot {
        let files = files_below(folder)
            .into_iter()
            .map(|file| (file.clone(), sha256(&file)))
            .collect();
        Snapshot { files }
    }

    /// Whether this file was there.
    pub fn has(&self, file: &Path) -> bool {
        self.files.contains_key(file)
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// I5: every file of then is still there, byte for byte. New ones may have come.
    pub fn assert_kept(&self) {
        for (file, hash) in &self.files {
            assert!(file.is_file(), "I5: {} is gone", file.display());
            assert_eq!(&sha256(file), hash, "I5: {} is not what it was", file.display());
        }
    }
}

/// The forms in which a secret could stand somewhere. Very short ones are not looked for: they would be found everywhere.
fn disguises(secret: &str) -> Vec<String> {
    assert!(secret.len() >= 6, "a secret of fewer than six bytes proves nothing");
    let json = serde_json::to_string(secret).expect("a text is JSON");
    let percent = |upper: bool| -> String {
        let mut made = String::new();
        for byte in secret.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                made.push(char::from(byte));
            } else if upper {
                made.push_str(&format!("%{byte:02X}"));
            } else {
                made.push_str(&format!("%{byte:02x}"));
            }
        }
        made
    };
    vec![
        secret.to_owned(),
        json[1..json.len() - 1].to_owned(),
        percent(true),
        percent(false),
        secret.replace('\'', "''"),
        secret.replace('\\', "\\\\").replace(':', "\\:"),
        secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
    ]
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(bytes, wanted).is_some()
}

fn with_manifest(artifact: &Path) -> PathBuf {
    let mut name = artifact.as_os_str().to_owned();
    name.push(MANIFEST);
    PathBuf::from(name)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn sha256(path: &Path) -> String {
    let output = run("sha256sum", ["--zero", "--", &path.display().to_string()]);
    output.stdout.split(' ').next().unwrap_or_default().to_owned()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = entries_below(folder);
    files.retain(|path| path.symlink_metadata().is_ok_and(|entry| entry.is_file()));
    files
}

/// Everything below a folder, sorted; links are not followed. Nothing where there is no such folder.
fn entries_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(at) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&at) else { continue };
        for entry in entries {
            let entry = entry.expect("an entry of a folder");
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

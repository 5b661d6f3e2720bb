//! Restores: where to, what would come, and then exactly that.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use coffre_engine::foreign_file::ForeignFile;
use coffre_engine::recovery_sheet::shell_quote;
use coffre_model::address::Address;
use coffre_model::backup::{Backup, CopyState};
use coffre_model::database::{DumpFormat, TargetLook};
use coffre_model::error::Details;
use coffre_model::manifest::Manifest;
use coffre_model::restore::{CountComparison, Restore, RestoreMode};
use coffre_model::source::{Source, SourceOptions};
use coffre_model::{Cancel, Code, Error, Id, Result, Secret};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Window;
use super::backups::backup_by_id;
use super::commands::ById;
use super::confirmations::{PlannedRestore, Shown};
use super::running::{About, RunningNoun};
use super::sources::place_of;
use super::wire::SecretText;
use crate::restores::{From, Target};
use crate::{Coffre, sample};

/// The most restores that a list holds.
const LIST_MAX: u32 = 1000;

/// What kind of place a restore can go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A file that does not exist yet.
    NewFile,
    /// A new database on the source's own server.
    NewDatabase,
    /// Any address.
    Address,
    /// In place of the live data.
    Replace,
}

/// A place to restore to, as it is offered.
#[derive(Debug, Serialize, TS)]
pub struct RestoreTargetOption {
    /// What kind.
    pub kind: TargetKind,
    /// What to start from: a path, a database's name, an address.
    pub suggestion: String,
    /// Where it would be: the server of `new_database`.
    pub place: String,
    /// Why it cannot be chosen.
    pub refusal: Option<Error>,
}

/// A place to restore to, as it was chosen.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreTarget {
    kind: TargetKind,
    value: String,
    secret: Option<SecretText>,
}

/// What is asked of a restore.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreRequest {
    /// A backup; or
    backup_id: Option<Id>,
    /// a file from anywhere.
    file: Option<String>,
    target: RestoreTarget,
}

/// The arguments of `restore_targets`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreWhat {
    backup_id: Option<Id>,
    file: Option<String>,
}

/// The arguments of `plan_restore`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanRestore {
    request: RestoreRequest,
}

/// The arguments of `start_restore`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct StartRestore {
    confirmation: String,
    name: String,
}

/// The arguments of `list_restores`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ListRestores {
    limit: u32,
}

/// What was looked at before a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum CheckName {
    /// The backup was read to its end.
    ReadToEnd,
    /// The versions fit.
    Versions,
    /// The user may do it.
    Privileges,
    /// There is room.
    Space,
    /// Nothing is there that could be lost.
    TargetEmpty,
    /// The key that opens it is there.
    Key,
    /// The target can take this format.
    Format,
}

/// One of them.
#[derive(Debug, Serialize, TS)]
pub struct RestoreCheck {
    /// Which: `ui.restore.check.<name>`.
    pub name: CheckName,
    /// Whether it is well.
    pub ok: bool,
    /// Its facts.
    #[ts(type = "Details")]
    pub facts: Details,
    /// Why not.
    pub error: Option<Error>,
}

/// What a restore would do.
#[derive(Debug, Serialize, TS)]
pub struct RestorePlan {
    /// Bound to backup, target and time; `start_restore` carries it out once.
    pub confirmation: String,
    /// Until when.
    pub expires_at: DateTime<Utc>,
    /// What must be typed: the source's name, or the file's.
    pub name: String,
    /// The backup.
    pub backup: Option<Backup>,
    /// The file.
    pub file: Option<String>,
    /// What the plain bytes are; nothing where the file could not be read.
    pub format: Option<DumpFormat>,
    /// The address restored into.
    pub target: String,
    /// How.
    pub mode: RestoreMode,
    /// Rows per table.
    pub counts: Vec<CountComparison>,
    /// Rows in all, where known.
    pub rows: Option<u64>,
    /// What was looked at.
    pub checks: Vec<RestoreCheck>,
    /// How long it took the last time.
    pub estimated_ms: Option<u64>,
    /// False where a check forbids it.
    pub allowed: bool,
    /// The same from a terminal.
    pub command: String,
}

/// What is to be brought back, found.
enum Found {
    Backup(Box<Backup>, Option<Box<Manifest>>),
    File(PathBuf),
}

impl Found {
    fn from(&self) -> From {
        match self {
            Found::Backup(backup, _) => From::Backup(backup.clone()),
            Found::File(path) => From::File(path.clone(), None),
        }
    }

    /// What must be typed.
    fn name(&self) -> String {
        match self {
            Found::Backup(backup, _) => backup.source.clone(),
            Found::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    fn backup(&self) -> Option<&Backup> {
        match self {
            Found::Backup(backup, _) => Some(backup),
            Found::File(_) => None,
        }
    }
}

fn find(coffre: &Coffre, backup_id: Option<&Id>, file: Option<&str>) -> Result<Found> {
    match (backup_id, file) {
        (Some(id), None) => {
            let backup = backup_by_id(coffre, id)?;
            let manifest = coffre.manifest(&backup)?;
            Ok(Found::Backup(Box::new(backup), manifest.map(Box::new)))
        }
        (None, Some(file)) => {
            let path = Path::new(file);
            if file.len() > 4096 || file.contains('\0') || !path.is_absolute() {
                let shown: String = file.chars().take(100).collect();
                return Err(Error::new(Code::Usage, "file_path").with("path", shown));
            }
            Ok(Found::File(path.to_owned()))
        }
        _ => Err(Error::new(Code::Usage, "restore_what")),
    }
}

/// The source of a backup, also a removed one. One that is known from manifests alone has no address.
fn source_of(coffre: &Coffre, backup: &Backup) -> Result<Option<Source>> {
    let source = coffre.engine.catalogue.known_source(&backup.source_id.to_string())?;
    Ok(Some(source).filter(|source| source.id == backup.source_id && !source.address.is_empty()))
}

/// What a dump of this format is loaded into.
fn is_file_format(format: DumpFormat) -> bool {
    format == DumpFormat::Sqlite
}

impl Window {
    /// Where a backup or a file can go.
    pub(super) fn restore_targets(&self, RestoreWhat { backup_id, file }: RestoreWhat) -> Result<Vec<RestoreTargetOption>> {
        let coffre = self.coffre()?;
        let found = find(&coffre, backup_id.as_ref(), file.as_deref())?;
        let (format, source) = match &found {
            Found::Backup(backup, manifest) => {
                let source = source_of(&coffre, backup)?;
                let format = manifest.as_ref().map(|manifest| manifest.format);
                (format, source)
            }
            Found::File(path) => (Some(format_of(&coffre, path)?), None),
        };
        let format = format.ok_or_else(|| nothing_to_restore(found.backup()))?;
        let stamp = super::now().with_timezone(&chrono::Local).format("%Y%m%d");
        let base = match &found {
            Found::Backup(backup, _) => slug(&backup.source),
            Found::File(path) => slug(&path.file_stem().unwrap_or_default().to_string_lossy()),
        };
        let option = |kind, suggestion: String, place: String| RestoreTargetOption {
            kind,
            suggestion,
            place,
            refusal: None,
        };
        let mut options = Vec::new();
        if is_file_format(format) {
            let folder = match (&source, &found) {
                (Some(source), _) => source.parsed().ok().map(|address| PathBuf::from(address.path)),
                (None, Found::File(path)) => Some(path.clone()),
                (None, Found::Backup(..)) => None,
            };
            let beside = folder.as_deref().and_then(Path::parent).filter(|folder| folder.is_dir());
            let folder = beside.unwrap_or(coffre.engine.home.root());
            let path = folder.join(format!("{base}-restored-{stamp}.db"));
            options.push(option(TargetKind::NewFile, path.display().to_string(), String::new()));
        } else {
            let server = match &source {
                Some(source) => Some(source.clone()),
                // A file has no server of its own: any known one that can take it is a good start.
                None => coffre
                    .sources()?
                    .into_iter()
                    .find(|source| takes(&coffre, source, format).unwrap_or(false)),
            };
            let name = format!("{}_{stamp}", base.replace('-', "_"));
            let parsed = server.and_then(|server| server.parsed().ok());
            if let (Some(parsed), true) = (&parsed, source.is_some()) {
                let server = Address {
                    path: String::new(),
                    ..parsed.clone()
                };
                let place = place_of(&server.to_string());
                options.push(option(TargetKind::NewDatabase, name.clone(), place));
            }
            let suggestion = match parsed {
                Some(parsed) => Address { path: name, ..parsed }.to_string(),
                None => format!("postgres://postgres@localhost:5432/{name}"),
            };
            options.push(option(TargetKind::Address, suggestion, String::new()));
        }
        if let Some(source) = &source {
            options.push(RestoreTargetOption {
                kind: TargetKind::Replace,
                suggestion: String::new(),
                place: place_of(&source.address),
                refusal: Some(Error::new(Code::Refused, "replace_later")),
            });
        }
        Ok(options)
    }

    /// Proves the backup and looks at the target; changes neither. Reads the whole backup: it is running work, and can be cancelled.
    pub(super) fn plan_restore(&self, PlanRestore { request }: PlanRestore) -> Result<RestorePlan> {
        let coffre = self.coffre()?;
        let found = find(&coffre, request.backup_id.as_ref(), request.file.as_deref())?;
        if let Found::Backup(backup, None) = &found {
            return Err(nothing_to_restore(Some(backup)));
        }
        let secret = request
            .target
            .secret
            .map(|secret| secret.0)
            .filter(|secret| !secret.is_empty());
        let target = target_of(&coffre, &found, request.target.kind, &request.target.value)?;
        let mut checks = Vec::new();
        let look = look_at(&coffre, &found, &target, secret.clone());
        let needed = found.backup().and_then(|backup| backup.raw_bytes);
        check_target(&look, &target, needed, &mut checks);
        let mut counts = Vec::new();
        // The long reading is for a target that can be had.
        if checks.iter().all(|check| check.ok) {
            counts = self.prove(&coffre, &found, &target, &mut checks)?;
        }
        let format = match &found {
            Found::Backup(_, manifest) => manifest.as_ref().map(|manifest| manifest.format),
            // What is wrong with the file, if anything is, stands in the checks.
            Found::File(path) => format_of(&coffre, path).ok(),
        };
        let last = match found.backup() {
            Some(backup) => coffre.engine.catalogue.last_restore_of_source(&backup.source_id)?,
            None => None,
        };
        let took = last.and_then(|restore| Some(restore.ended_at? - restore.started_at));
        let name = found.name();
        let what = match &found {
            Found::Backup(backup, _) => backup.code.to_string(),
            Found::File(path) => format!("--file {}", shell_quote(&path.display().to_string())),
        };
        let rows = counts.iter().map(|count| count.backup).sum::<Option<u64>>();
        let allowed = checks.iter().all(|check| check.ok);
        let (confirmation, expires_at) = if allowed {
            let shown = Shown::Restore(Box::new(PlannedRestore {
                name: name.clone(),
                from: found.from(),
                target: target.clone(),
                secret,
            }));
            self.lock_confirmations().remember(shown, super::now())
        } else {
            // What may not be carried out has no word for it.
            (String::new(), super::now())
        };
        Ok(RestorePlan {
            confirmation,
            expires_at,
            name,
            backup: found.backup().cloned(),
            file: request.file,
            format,
            command: format!("coffre restore {what} --into {}", shell_quote(&target.address)),
            target: target.address,
            mode: RestoreMode::Into,
            rows: rows.filter(|_| !counts.is_empty()),
            counts,
            checks,
            estimated_ms: took.and_then(|took| u64::try_from(took.num_milliseconds()).ok()),
            allowed,
        })
    }

    /// Reads it to its end. What is wrong with it becomes a check; what says nothing about it is an error.
    fn prove(
        &self,
        coffre: &Coffre,
        found: &Found,
        target: &Source,
        checks: &mut Vec<RestoreCheck>,
    ) -> Result<Vec<CountComparison>> {
        let about = self.about_restore(coffre, found)?;
        let into = Target {
            address: Some(target.address.clone()),
            options: target.options.clone(),
            password: None,
        };
        let proved = self.attend(about, |coffre, observer, cancel| {
            coffre.restore(found.from(), into, true, observer, cancel)
        });
        let key = found.backup().and_then(|backup| backup.encryption.clone());
        let (name, error, counts) = match proved {
            Ok(restore) => (CheckName::ReadToEnd, None, restore.counts),
            Err(error) => match error.code() {
                Code::Cancelled | Code::Interrupted | Code::Busy | Code::Internal | Code::CatalogueCorrupt => return Err(error),
                Code::SecretUnavailable | Code::DecryptFailed => (CheckName::Key, Some(error), Vec::new()),
                Code::Refused if error.text() == "target_other_database" => (CheckName::Format, Some(error), Vec::new()),
                _ => (CheckName::ReadToEnd, Some(error), Vec::new()),
            },
        };
        let ok = error.is_none();
        if ok && let Some(key) = key {
            checks.insert(0, passed(CheckName::Key, [("key", key.into())]));
        }
        let told = match found {
            Found::Backup(backup, _) => {
                // The one that is read first: the best of them.
                let copies = backup.copies.iter();
                let copy = copies.min_by_key(|copy| copy.state != CopyState::Verified);
                vec![
                    ("bytes", backup.stored_bytes.into()),
                    ("destination", copy.map(|copy| copy.destination.clone()).into()),
                ]
            }
            Found::File(path) => vec![("path", path.display().to_string().into())],
        };
        checks.insert(
            0,
            RestoreCheck {
                error,
                ok,
                ..passed(name, told)
            },
        );
        Ok(counts)
    }

    fn about_restore(&self, coffre: &Coffre, found: &Found) -> Result<About> {
        let (source_id, adapter, plan) = match found {
            Found::Backup(backup, manifest) => (
                Some(backup.source_id),
                manifest.as_ref().map(|manifest| manifest.database.clone()),
                backup.plan.clone(),
            ),
            Found::File(path) => {
                // What cannot be recognised is refused by the restore itself, with its reason.
                let database = format_of(coffre, path).ok().map(|format| match format {
                    DumpFormat::Sqlite => "sqlite".to_owned(),
                    DumpFormat::PgCustom | DumpFormat::Sql => "postgres".to_owned(),
                });
                (None, database, None)
            }
        };
        Ok(About {
            noun: RunningNoun::Restore,
            source: found.name(),
            source_id,
            adapter: adapter.unwrap_or_default(),
            plan,
            id: None,
        })
    }

    /// Carries out what a preview showed, once; it goes on after the answer.
    pub(super) fn start_restore(&self, StartRestore { confirmation, name }: StartRestore) -> Result<Restore> {
        let coffre = self.coffre()?;
        let shown = self
            .lock_confirmations()
            .take(&confirmation, super::now(), |shown| match shown {
                Shown::Restore(planned) if planned.name == name => Ok(()),
                Shown::Restore(planned) => {
                    Err(Error::new(Code::Refused, "confirmation_name").with("name", planned.name.as_str()))
                }
                Shown::Delete { .. } => Err(Error::new(Code::Refused, "confirmation_other")),
            })?;
        let Shown::Restore(planned) = shown else {
            return Err(Error::new(Code::Refused, "confirmation_other"));
        };
        let found = match &planned.from {
            From::Backup(shown) => {
                let backup = backup_by_id(&coffre, &shown.id)?;
                // Bound to what was shown: not to whatever has this id now.
                if backup.sha256 != shown.sha256 || backup.state != shown.state {
                    return Err(Error::new(Code::Refused, "confirmation_changed").with("backup", backup.code.as_str()));
                }
                let manifest = coffre.manifest(&backup)?;
                Found::Backup(Box::new(backup), manifest.map(Box::new))
            }
            From::File(path, _) => Found::File(path.clone()),
        };
        let about = self.about_restore(&coffre, &found)?;
        let PlannedRestore {
            from, target, secret, ..
        } = *planned;
        let window = self.clone();
        let named = found.name();
        let id = self.start(about, move |coffre, observer, cancel| {
            let into = Target {
                address: Some(target.address),
                options: target.options,
                password: secret,
            };
            let outcome = coffre.restore(from, into, false, observer, cancel);
            window.tell_restored(&named, &outcome);
            outcome.map(drop)
        })?;
        coffre.restore_row(&id)
    }

    pub(super) fn show_restore(&self, ById { id }: ById) -> Result<Restore> {
        self.coffre()?.restore_row(&id)
    }

    /// The newest restores, previews left out.
    pub(super) fn list_restores(&self, ListRestores { limit }: ListRestores) -> Result<Vec<Restore>> {
        self.coffre()?.engine.catalogue.last_restores(limit.min(LIST_MAX))
    }
}

fn passed(name: CheckName, told: impl IntoIterator<Item = (&'static str, serde_json::Value)>) -> RestoreCheck {
    let told = told.into_iter().filter(|(_, value)| !value.is_null());
    RestoreCheck {
        name,
        ok: true,
        facts: told.map(|(name, value)| (name.to_owned(), value)).collect(),
        error: None,
    }
}

fn nothing_to_restore(backup: Option<&Backup>) -> Error {
    let error = Error::new(Code::Refused, "nothing_to_restore");
    match backup {
        Some(backup) => error
            .with("backup", backup.code.as_str())
            .with("state", backup.state.as_str()),
        None => error,
    }
}

/// Whether a source's kind of database loads this format.
fn takes(coffre: &Coffre, source: &Source, format: DumpFormat) -> Result<bool> {
    let kind = coffre.engine.adapters.database(&source.parsed()?.scheme)?;
    Ok(kind.formats().contains(&format))
}

/// What the plain bytes of a file are.
fn format_of(coffre: &Coffre, path: &Path) -> Result<DumpFormat> {
    let file = ForeignFile::open(path, &coffre.keys_for_file(None)?)?;
    coffre.engine.adapters.recognise(&file.head)
}

/// A name as part of a file's or database's name: small letters, digits, `-`.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase).take(200) {
        if slug.len() >= 40 {
            break;
        }
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    // A database's name that begins with a digit must be quoted wherever it is typed.
    match slug.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => slug.to_owned(),
        Some(_) => format!("db-{slug}"),
        None => "restored".to_owned(),
    }
}

/// The target, checked without connecting.
fn target_of(coffre: &Coffre, found: &Found, kind: TargetKind, value: &str) -> Result<Source> {
    if value.len() > 4096 || value.contains('\0') {
        return Err(Error::new(Code::Usage, "field_long").with("max", 4096));
    }
    let (address, options) = match kind {
        TargetKind::NewFile => {
            let path = Path::new(value);
            if !path.is_absolute() {
                return Err(Error::new(Code::Usage, "field_path_relative").with("field", "value"));
            }
            (sample::address(path)?, SourceOptions::default())
        }
        TargetKind::NewDatabase => {
            let backup = found.backup().ok_or_else(|| Error::new(Code::Usage, "restore_server"))?;
            let source = source_of(coffre, backup)?.ok_or_else(|| Error::new(Code::Usage, "restore_server"))?;
            let parsed = source.parsed()?;
            if parsed.path.starts_with('/') || value.is_empty() {
                return Err(Error::new(Code::Usage, "restore_server"));
            }
            let address = Address {
                path: value.to_owned(),
                ..parsed
            };
            (address.to_string(), options_for_target(&source.options))
        }
        TargetKind::Address => {
            // The choices of a source on the same server hold for this one too.
            let options = same_server(coffre, value)?.map(|source| options_for_target(&source.options));
            (value.to_owned(), options.unwrap_or_default())
        }
        TargetKind::Replace => return Err(Error::new(Code::Refused, "replace_later")),
    };
    coffre.new_source(&address, "restore", options)
}

/// What of a source's options is about reaching it, not about what is dumped.
fn options_for_target(options: &SourceOptions) -> SourceOptions {
    SourceOptions {
        tls: options.tls,
        tool_path: options.tool_path.clone(),
        ..SourceOptions::default()
    }
}

fn same_server(coffre: &Coffre, address: &str) -> Result<Option<Source>> {
    let wanted = Address::parse(address)?;
    let same = |source: &Source| {
        let parsed = source.parsed();
        parsed.is_ok_and(|parsed| {
            (parsed.scheme, parsed.host, parsed.port) == (wanted.scheme.clone(), wanted.host.clone(), wanted.port)
        })
    };
    Ok(coffre.sources()?.into_iter().find(same))
}

/// Looks at the target without making anything.
fn look_at(coffre: &Coffre, found: &Found, target: &Source, secret: Option<Secret>) -> Result<Option<TargetLook>> {
    let kind = coffre.engine.adapters.database(&target.parsed()?.scheme)?;
    if let Found::Backup(_, Some(manifest)) = found
        && !kind.formats().contains(&manifest.format)
    {
        return Err(Error::new(Code::Refused, "target_other_database")
            .with("format", manifest.format.as_str())
            .with("from", manifest.database.as_str())
            .with("to", kind.name()));
    }
    let password = match secret {
        Some(secret) => Some(secret),
        None => coffre.password_of_same_server(target)?,
    };
    let runtime = coffre.engine.home.runtime_dir(&Id::new())?;
    let access = coffre
        .engine
        .access(target, password, runtime.path().to_owned(), &Cancel::new())?;
    kind.open(target, access)?.look_at_target()
}

/// What a look at the target means.
fn check_target(look: &Result<Option<TargetLook>>, target: &Source, needed: Option<u64>, checks: &mut Vec<RestoreCheck>) {
    let place = place_of(&target.address);
    let failed = |name, error: &Error| RestoreCheck {
        ok: false,
        error: Some(error.clone()),
        ..passed(name, [("target", place.clone().into())])
    };
    let look = match look {
        Err(error) => {
            let name = match error.code() {
                Code::Privilege | Code::AuthFailed | Code::SecretUnavailable => CheckName::Privileges,
                Code::Refused if error.text() == "target_other_database" => CheckName::Format,
                Code::Refused if error.text() == "pg_server_too_old" => CheckName::Versions,
                Code::ToolMissing | Code::ToolTooOld | Code::ToolWrong => CheckName::Versions,
                _ => CheckName::TargetEmpty,
            };
            checks.push(failed(name, error));
            return;
        }
        Ok(None) => return,
        Ok(Some(look)) => look,
    };
    if let Some(version) = &look.server_version {
        checks.push(passed(CheckName::Versions, [("server_version", version.clone().into())]));
    }
    checks.push(passed(
        CheckName::TargetEmpty,
        [("target", place.clone().into()), ("exists", look.exists.into())],
    ));
    if let (Some(space), Some(needed)) = (look.space, needed) {
        let told = [("free", space.free.into()), ("needed", needed.into())];
        let mut check = passed(CheckName::Space, told);
        if space.free < needed {
            check.ok = false;
            check.error = Some(
                Error::new(Code::Refused, "restore_space")
                    .with("target", place.as_str())
                    .with("free_bytes", space.free)
                    .with("needed_bytes", needed),
            );
        }
        checks.push(check);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_parts_of_names() {
        assert_eq!(slug("My Shop!"), "my-shop");
        assert_eq!(slug("2026 été"), "db-2026-t");
        assert_eq!(slug("'; DROP"), "drop");
        assert_eq!(slug("…"), "restored");
        assert!(slug(&"x".repeat(10_000)).len() <= 40);
    }
}

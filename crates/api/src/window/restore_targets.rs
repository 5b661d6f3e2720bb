//! Where a restore can go, and what it brings: found and checked without connecting anywhere.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use coffre_engine::foreign_file::ForeignFile;
use coffre_model::address::Address;
use coffre_model::backup::Backup;
use coffre_model::database::DumpFormat;
use coffre_model::manifest::Manifest;
use coffre_model::source::{Source, SourceOptions};
use coffre_model::{Code, Error, Id, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Window;
use super::backups::backup_by_id;
use super::sources::place_of;
use super::wire::SecretText;
use crate::restores::From as What;
use crate::{Coffre, sample};

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
    /// The sources whose live data could be replaced: a backup's own, for a file all that can take it. Empty for other kinds.
    pub sources: Vec<ReplaceableSource>,
    /// Why it cannot be chosen.
    pub refusal: Option<Error>,
}

/// A source whose live data could be replaced.
#[derive(Debug, Serialize, TS)]
pub struct ReplaceableSource {
    /// It.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Where its data lives.
    pub place: String,
}

impl From<&Source> for ReplaceableSource {
    fn from(source: &Source) -> ReplaceableSource {
        ReplaceableSource {
            id: source.id,
            name: source.name.clone(),
            place: place_of(&source.address),
        }
    }
}

/// A place to restore to, as it was chosen.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreTarget {
    pub(super) kind: TargetKind,
    /// As `TargetKind` says; for `replace` the id of a source, where a file replaces its data.
    pub(super) value: String,
    pub(super) secret: Option<SecretText>,
}

/// The arguments of `restore_targets`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreWhat {
    backup_id: Option<Id>,
    file: Option<String>,
}

/// What is to be brought back, found.
pub(super) enum Found {
    Backup(Box<Backup>, Option<Box<Manifest>>),
    File(PathBuf),
}

impl Found {
    pub(super) fn from(&self) -> What {
        match self {
            Found::Backup(backup, _) => What::Backup(backup.clone()),
            Found::File(path) => What::File(path.clone(), None),
        }
    }

    /// What must be typed.
    pub(super) fn name(&self) -> String {
        match self {
            Found::Backup(backup, _) => backup.source.clone(),
            Found::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// Size and time of the file, where it is one that is there.
    pub(super) fn file_facts(&self) -> Option<(u64, Option<SystemTime>)> {
        let Found::File(path) = self else { return None };
        let about = std::fs::metadata(path).ok()?;
        Some((about.len(), about.modified().ok()))
    }

    pub(super) fn backup(&self) -> Option<&Backup> {
        match self {
            Found::Backup(backup, _) => Some(backup),
            Found::File(_) => None,
        }
    }
}

pub(super) fn find(coffre: &Coffre, backup_id: Option<&Id>, file: Option<&str>) -> Result<Found> {
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
            sources: Vec::new(),
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
        options.extend(self.replace_option(&coffre, &found, format)?);
        Ok(options)
    }

    /// In place of live data: of the backup's own source, or of any that can take the file.
    fn replace_option(&self, coffre: &Coffre, found: &Found, format: DumpFormat) -> Result<Option<RestoreTargetOption>> {
        let option = |suggestion: String, place: String, sources, refusal| {
            Some(RestoreTargetOption {
                kind: TargetKind::Replace,
                suggestion,
                place,
                sources,
                refusal,
            })
        };
        if found.backup().is_some() {
            return Ok(match coffre.replaced_source(&found.from(), None) {
                Ok(source) => {
                    let source = ReplaceableSource::from(&source);
                    option(source.id.to_string(), source.place.clone(), vec![source], None)
                }
                Err(error) if error.code() == Code::Refused => option(String::new(), String::new(), Vec::new(), Some(error)),
                Err(error) => return Err(error),
            });
        }
        let mut sources = Vec::new();
        for source in coffre.sources()? {
            if takes(coffre, &source, format)? {
                sources.push(ReplaceableSource::from(&source));
            }
        }
        // None is chosen beforehand: a file does not say whose data it is.
        Ok(option(String::new(), String::new(), sources, None).filter(|option| !option.sources.is_empty()))
    }
}

pub(super) fn nothing_to_restore(backup: Option<&Backup>) -> Error {
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
pub(super) fn format_of(coffre: &Coffre, path: &Path) -> Result<DumpFormat> {
    let file = ForeignFile::open(path, &coffre.keys_for_file(None)?)?;
    coffre.engine.adapters.recognise(&file.head)
}

/// A name as part of a file's or database's name: small letters, digits, `-`.
fn slug(name: &str) -> String {
    let slug = coffre_model::naming::slug(name.chars().take(200));
    // A database's name that begins with a digit must be quoted wherever it is typed.
    match slug.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => slug,
        Some(_) => format!("db-{slug}"),
        None => "restored".to_owned(),
    }
}

/// The target, checked without connecting.
pub(super) fn target_of(coffre: &Coffre, found: &Found, kind: TargetKind, value: &str) -> Result<Source> {
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
        // Live data is not a place to restore into: it is looked at, and replaced, in another way.
        TargetKind::Replace => return Err(Error::new(Code::Usage, "restore_where")),
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

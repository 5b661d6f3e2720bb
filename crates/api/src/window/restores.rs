//! Restores: what would come, and then exactly that.

use chrono::{DateTime, Utc};
use coffre_engine::recovery_sheet::shell_quote;
use coffre_model::backup::{Backup, CopyState};
use coffre_model::database::{DumpFormat, TargetLook};
use coffre_model::error::Details;
use coffre_model::impact::Impact;
use coffre_model::restore::{CountComparison, Restore, RestoreMode};
use coffre_model::source::Source;
use coffre_model::{Cancel, Code, Error, Id, Result, Secret};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Window;
use super::backups::backup_by_id;
use super::commands::ById;
use super::confirmations::{PlannedRestore, Shown};
use super::restore_targets::{Found, RestoreTarget, TargetKind, find, format_of, nothing_to_restore, target_of};
use super::running::{About, RunningNoun};
use super::sources::place_of;
use super::undos::{RestoreDetail, detail};
use crate::Coffre;
use crate::restores::{From, Target};

/// The most restores that a list holds.
const LIST_MAX: u32 = 1000;

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
    /// In place of live data: rows may have come or gone since the preview, because an application keeps writing. False where it is not said.
    #[serde(default)]
    #[ts(optional, as = "Option<bool>")]
    rows_may_differ: bool,
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
    /// The live data can be replaced now.
    Replaceable,
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
    /// What replacing live data would mean; nothing for a new place, and where the backup itself is not good.
    pub impact: Option<Impact>,
    /// For how many days what was live is kept for an undo (the setting). Zero: not at all.
    #[ts(type = "number")]
    pub undo_days: i64,
    /// False where a check forbids it.
    pub allowed: bool,
    /// The same from a terminal.
    pub command: String,
}

impl Window {
    /// Proves the backup and looks at the target; changes neither. Reads the whole backup: it is running work, and can be cancelled.
    pub(super) fn plan_restore(&self, PlanRestore { request }: PlanRestore) -> Result<RestorePlan> {
        let coffre = self.coffre()?;
        let found = find(&coffre, request.backup_id.as_ref(), request.file.as_deref())?;
        if let Found::Backup(backup, None) = &found {
            return Err(nothing_to_restore(Some(backup)));
        }
        if request.target.kind == TargetKind::Replace {
            return self.plan_replace(&coffre, &found, request.file, &request.target.value);
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
            Some(backup) => coffre
                .engine
                .catalogue
                .last_restore_of_source(&backup.source_id, backup.aim.as_deref())?,
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
                file: found.file_facts(),
                target: target.clone(),
                secret,
                replaces: None,
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
            impact: None,
            undo_days: coffre.engine.undo_keep_days()?,
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
        checks.insert(
            0,
            RestoreCheck {
                error,
                ok,
                ..passed(name, what_was_read(found))
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
    pub(super) fn start_restore(&self, asked: StartRestore) -> Result<Restore> {
        let StartRestore {
            confirmation,
            name,
            rows_may_differ,
        } = asked;
        let coffre = self.coffre()?;
        let (until, shown) = self
            .lock_confirmations()
            .take(&confirmation, super::now(), |shown| match shown {
                Shown::Restore(planned) if planned.name == name => Ok(()),
                Shown::Restore(planned) => {
                    Err(Error::new(Code::Refused, "confirmation_name").with("name", planned.name.as_str()))
                }
                Shown::Delete { .. } | Shown::Retention { .. } => Err(Error::new(Code::Refused, "confirmation_other")),
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
            From::File(path, _) => {
                let found = Found::File(path.clone());
                if found.file_facts() != planned.file {
                    return Err(Error::new(Code::Refused, "confirmation_changed").with("backup", found.name()));
                }
                found
            }
        };
        let again = planned.clone();
        let id = if planned.replaces.is_some() {
            self.start_replace(&coffre, *planned, (&confirmation, until), rows_may_differ)
        } else {
            self.start_into(&coffre, &found, *planned)
        };
        let id = id.inspect_err(|error| {
            // Nothing has begun, and nothing is wrong with what was shown: it is still good for another try.
            if matches!(
                error.code(),
                Code::Busy | Code::SecretUnavailable | Code::Unreachable | Code::DestUnreachable | Code::Stalled
            ) {
                let shown = Shown::Restore(again);
                self.lock_confirmations().put_back(confirmation, until, shown);
            }
        })?;
        coffre.restore_row(&id)
    }

    fn start_into(&self, coffre: &Coffre, found: &Found, planned: PlannedRestore) -> Result<Id> {
        let about = self.about_restore(coffre, found)?;
        let PlannedRestore {
            from, target, secret, ..
        } = planned;
        let window = self.clone();
        let named = found.name();
        self.start(about, move |coffre, observer, cancel| {
            let into = Target {
                address: Some(target.address),
                options: target.options,
                password: secret,
            };
            let outcome = coffre.restore(from, into, false, observer, cancel);
            window.tell_restored(&named, &outcome);
            outcome.map(drop)
        })
    }

    pub(super) fn show_restore(&self, ById { id }: ById) -> Result<RestoreDetail> {
        let coffre = self.coffre()?;
        detail(&coffre, coffre.restore_row(&id)?)
    }

    /// The newest restores, previews left out.
    pub(super) fn list_restores(&self, ListRestores { limit }: ListRestores) -> Result<Vec<RestoreDetail>> {
        let coffre = self.coffre()?;
        let restores = coffre.engine.catalogue.last_restores(limit.min(LIST_MAX))?;
        restores.into_iter().map(|restore| detail(&coffre, restore)).collect()
    }
}

/// What was read to its end.
pub(super) fn what_was_read(found: &Found) -> Vec<(&'static str, serde_json::Value)> {
    match found {
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
    }
}

pub(super) fn passed(name: CheckName, told: impl IntoIterator<Item = (&'static str, serde_json::Value)>) -> RestoreCheck {
    let told = told.into_iter().filter(|(_, value)| !value.is_null());
    RestoreCheck {
        name,
        ok: true,
        facts: told.map(|(name, value)| (name.to_owned(), value)).collect(),
        error: None,
    }
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

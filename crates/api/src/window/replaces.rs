//! Restoring in place of live data: what it would mean, and then exactly that.

use chrono::{DateTime, Utc};
use coffre_engine::recovery_sheet::shell_quote;
use coffre_model::impact::Impact;
use coffre_model::restore::RestoreMode;
use coffre_model::source::Source;
use coffre_model::{Code, Error, Id, Result};

use super::Window;
use super::confirmations::{PlannedRestore, Shown};
use super::restore_targets::{Found, format_of};
use super::restores::{CheckName, RestoreCheck, RestorePlan, passed, what_was_read};
use super::running::{About, RunningNoun};
use super::sources::adapter_of;
use crate::Coffre;
use crate::replaces::Agreed;

impl Window {
    /// Proves the backup, looks at the live data, and puts the two side by side; changes neither.
    ///
    /// # Errors
    /// Everything that says nothing about the backup: no source any more, a server that does not answer, … What is wrong with the backup, and what forbids
    /// it otherwise, stands among the checks.
    pub(super) fn plan_replace(&self, coffre: &Coffre, found: &Found, file: Option<String>, chosen: &str) -> Result<RestorePlan> {
        if chosen.len() > 4096 || chosen.contains('\0') {
            return Err(Error::new(Code::Usage, "field_long").with("max", 4096));
        }
        let source = coffre.replaced_source(&found.from(), Some(chosen).filter(|chosen| !chosen.is_empty()))?;
        let from = found.from();
        let seen = self.attend(about(coffre, &source), |coffre, observer, cancel| {
            coffre.preview_replace(&from, &source, observer, cancel)
        });
        let (impact, checks) = match seen {
            Ok((_, impact)) => {
                let checks = checks(&impact, found);
                (Some(impact), checks)
            }
            Err(error) => {
                let name = about_the_backup(&error).ok_or_else(|| error.clone())?;
                let failed = RestoreCheck {
                    ok: false,
                    error: Some(error),
                    ..passed(name, what_was_read(found))
                };
                (None, vec![failed])
            }
        };
        let word = impact.as_ref().and_then(|impact| impact.confirmation);
        let allowed = word.is_some() && checks.iter().all(|check| check.ok);
        let (confirmation, expires_at) = match word {
            Some(word) if allowed => {
                let shown = Shown::Restore(Box::new(PlannedRestore {
                    name: source.name.clone(),
                    from,
                    file: found.file_facts(),
                    target: source.clone(),
                    secret: None,
                    replaces: Some(word),
                }));
                self.lock_confirmations().remember(shown, super::now())
            }
            // What may not be carried out has no word for it.
            _ => (String::new(), super::now()),
        };
        let command = match found {
            Found::Backup(backup, _) => format!("coffre restore {} --replace", backup.code),
            Found::File(path) => {
                let path = shell_quote(&path.display().to_string());
                format!(
                    "coffre restore --file {path} --replace --source {}",
                    shell_quote(&source.name)
                )
            }
        };
        let counts = impact.as_ref().map(|impact| impact.counts.clone()).unwrap_or_default();
        let in_backup = counts.iter().filter_map(|count| count.backup).collect::<Vec<_>>();
        Ok(RestorePlan {
            confirmation,
            expires_at,
            name: source.name,
            backup: found.backup().cloned(),
            file,
            format: match found {
                Found::Backup(_, manifest) => manifest.as_ref().map(|manifest| manifest.format),
                Found::File(path) => format_of(coffre, path).ok(),
            },
            target: source.address,
            mode: RestoreMode::Replace,
            rows: (!in_backup.is_empty()).then(|| in_backup.iter().sum()),
            counts,
            checks,
            estimated_ms: impact.as_ref().and_then(|impact| impact.estimated_ms),
            impact,
            undo_days: coffre.engine.undo_keep_days()?,
            allowed,
            command,
        })
    }

    /// Carries it out; it goes on after the answer. Where it turns out that rows have come or gone since the preview, nothing is done, and the same word is
    /// good for another try that allows it.
    pub(super) fn start_replace(
        &self,
        coffre: &Coffre,
        planned: PlannedRestore,
        (word, until): (&str, DateTime<Utc>),
        rows_may_differ: bool,
    ) -> Result<Id> {
        let source = coffre.replaced_source(&planned.from, Some(&planned.target.id.to_string()))?;
        // Bound to what was shown: not to wherever this source points now.
        if source.address != planned.target.address || source.options != planned.target.options || source.name != planned.name {
            return Err(Error::new(Code::Refused, "confirmation_changed").with("backup", source.name.as_str()));
        }
        let about = about(coffre, &source);
        let (window, word) = (self.clone(), word.to_owned());
        self.start(about, move |coffre, observer, cancel| {
            let agreed = Agreed {
                confirmation: planned.replaces,
                rows_may_differ,
            };
            let outcome = coffre.replace(&planned.from, &source, agreed, observer, cancel);
            match outcome.as_ref().map_err(Error::text) {
                Err("replace_rows_changed") => {
                    let shown = Shown::Restore(Box::new(planned));
                    window.lock_confirmations().put_back(word, until, shown);
                }
                // Asked of whoever just started it.
                Err("replace_target_changed") => {}
                _ => window.tell_restored(&source.name, &outcome),
            }
            outcome.map(drop)
        })
    }
}

fn about(coffre: &Coffre, source: &Source) -> About {
    About {
        noun: RunningNoun::Restore,
        source: source.name.clone(),
        source_id: Some(source.id),
        adapter: adapter_of(coffre, source),
        plan: None,
        id: None,
    }
}

/// Which check an error is the answer to, where it is about the backup and not about reaching the live data.
fn about_the_backup(error: &Error) -> Option<CheckName> {
    match error.code() {
        Code::DecryptFailed => Some(CheckName::Key),
        Code::VerifyMismatch
        | Code::ArchiveUnsafe
        | Code::DumpTruncated
        | Code::DumpEmpty
        | Code::DestUnreachable
        | Code::DestAuth
        | Code::DestIdentity => Some(CheckName::ReadToEnd),
        Code::Refused if error.text() == "target_other_database" => Some(CheckName::Format),
        _ => None,
    }
}

/// What was looked at, and how it is.
fn checks(impact: &Impact, found: &Found) -> Vec<RestoreCheck> {
    let mut checks = vec![passed(CheckName::ReadToEnd, what_was_read(found))];
    if let Some(key) = found.backup().and_then(|backup| backup.encryption.clone()) {
        checks.push(passed(CheckName::Key, [("key", key.into())]));
    }
    if impact.live_version.is_some() || impact.backup_version.is_some() {
        let versions = [
            ("server_version", impact.live_version.clone().into()),
            ("backup_version", impact.backup_version.clone().into()),
        ];
        checks.push(passed(CheckName::Versions, versions));
    }
    let no_room = |error: &&Error| error.code() == Code::DestFull;
    if let (Some(space), Some(needed), true) = (impact.space, impact.backup_bytes, impact.exists) {
        let error = impact.refusals.iter().find(no_room).cloned();
        checks.push(RestoreCheck {
            ok: error.is_none(),
            error,
            ..passed(CheckName::Space, [("free", space.free.into()), ("needed", needed.into())])
        });
    }
    let told = [
        ("way", impact.way.map(|way| way.as_str()).into()),
        ("source", impact.source.clone().into()),
    ];
    let shown = checks.iter().filter_map(|check| check.error.clone()).collect::<Vec<_>>();
    let mut refused = impact.refusals.iter().filter(|error| !shown.contains(error)).peekable();
    if refused.peek().is_none() && shown.is_empty() {
        checks.push(passed(CheckName::Replaceable, told.clone()));
    }
    checks.extend(refused.map(|error| RestoreCheck {
        ok: false,
        error: Some(error.clone()),
        ..passed(
            match error.code() {
                Code::Privilege | Code::AuthFailed => CheckName::Privileges,
                _ => CheckName::Replaceable,
            },
            told.clone(),
        )
    }));
    checks
}

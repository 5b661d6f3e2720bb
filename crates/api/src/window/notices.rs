//! Notifications: a failure, and the first success after one. Never one for each success, unless a person asked for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use coffre_engine::verify::Check;
use coffre_model::backup::{Backup, BackupState};
use coffre_model::drill::{Drill, DrillState};
use coffre_model::notice::Level;
use coffre_model::restore::{Restore, RestoreState};
use coffre_model::source::Source;
use coffre_model::{Code, Error, Id, Result};

use super::Window;
use super::events::Noun;
use super::undos::{RestoreDetail, detail};
use crate::Coffre;
use crate::notifications::{meaning, not_good};

/// What a notification says, in the language of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// One line.
    pub title: String,
    /// What happened, why, and what to do.
    pub body: String,
    /// Whether something is wrong: shown until it is seen.
    pub urgent: bool,
    /// The view that a click opens ([`Window::navigate`]).
    pub route: String,
}

/// What was told last of each source, so that nothing is told twice in a row.
#[derive(Default)]
pub(super) struct Notices {
    told: Mutex<BTreeMap<Id, Id>>,
    /// Why the system did not show the last one.
    unseen: Mutex<Option<Error>>,
}

/// How a backup ended.
pub(super) struct RunEnd<'a> {
    pub(super) source: &'a Source,
    /// The run before it.
    pub(super) before: Option<&'a Backup>,
    pub(super) outcome: &'a Result<Backup>,
}

/// Which setting decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Failure,
    Recovery,
    Success,
}

impl Kind {
    fn setting(self) -> &'static str {
        match self {
            Kind::Failure => "notify_failures",
            Kind::Recovery => "notify_recoveries",
            Kind::Success => "notify_successes",
        }
    }
}

/// How a run stands: its state, and whether every copy of it is good.
#[derive(Clone, Copy)]
struct End {
    state: BackupState,
    whole: bool,
    unusual: bool,
}

impl From<&Backup> for End {
    fn from(backup: &Backup) -> End {
        End {
            state: backup.state,
            whole: not_good(backup).is_none(),
            unusual: backup.is_unusual(),
        }
    }
}

/// What kind of news the end of a run is; nothing for what a person did on purpose, or sees at once.
fn kind(before: Option<End>, outcome: Result<End, Code>) -> Option<Kind> {
    let level = |end: End| meaning(end.state, end.whole).map(|(level, _)| level);
    let was_bad = before
        .is_some_and(|before| before.state != BackupState::Stored && level(before).is_some_and(|level| level > Level::Good));
    match outcome {
        Ok(end) if !end.unusual && level(end) == Some(Level::Good) => Some(if was_bad { Kind::Recovery } else { Kind::Success }),
        // Unusual, written and not proved, or not everywhere where it should be: a success of which nobody hears would be silence.
        Ok(_) => Some(Kind::Failure),
        // Somebody stopped it; or it never began, and whoever asked was told.
        Err(Code::Cancelled | Code::Busy | Code::Usage) => None,
        Err(_) => Some(Kind::Failure),
    }
}

impl Window {
    /// Tells how a backup ended, if anybody wants to know.
    pub(super) fn tell_end(&self, end: RunEnd<'_>) {
        let outcome = match end.outcome {
            Ok(backup) => Ok(End::from(backup)),
            Err(error) => Err(error.code()),
        };
        let Some(kind) = kind(end.before.map(End::from), outcome) else {
            return;
        };
        if !self.is_on(kind.setting()) {
            return;
        }
        let words = self.words();
        let id = match end.outcome {
            Ok(backup) => Some(backup.id),
            Err(error) => error.detail("backup").and_then(|id| id.parse::<Id>().ok()),
        };
        if let Some(id) = id {
            let mut told = self.0.notices.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.insert(end.source.id, id) == Some(id) {
                return;
            }
        }
        let facts = [("source", end.source.name.as_str().into())];
        let (title, body) = match (kind, end.outcome) {
            (Kind::Failure, Err(error)) => (words.say("notice.failed", &facts), self.sentences(error)),
            (Kind::Recovery, _) => (words.say("notice.recovered", &facts), words.text("notice.recovered_body")),
            (Kind::Failure, Ok(backup)) => match not_good(backup).filter(|_| backup.state == BackupState::Verified) {
                Some(copy) => {
                    let facts = [
                        ("source", end.source.name.as_str().into()),
                        ("destination", copy.destination.as_str().into()),
                    ];
                    let why = copy.error.as_ref().map(|error| self.sentences(error));
                    (words.say("notice.copies_missing", &facts), why.unwrap_or_default())
                }
                None if backup.state == BackupState::Verified => {
                    (words.say("notice.unusual", &facts), words.text("notice.unusual_body"))
                }
                // Written and not proved: never told as a success.
                None => (words.say("notice.stored", &facts), words.text("notice.stored_body")),
            },
            (Kind::Success, Ok(backup)) => {
                let numbers = [("rows", backup.rows.into()), ("stored_bytes", backup.stored_bytes.into())];
                let title = words.say("notice.verified", &facts);
                (title, words.say("notice.verified_body", &numbers))
            }
            (Kind::Success, Err(_)) => return,
        };
        self.dialogs().notify(&Notice {
            title,
            body,
            urgent: kind == Kind::Failure,
            route: id.map_or_else(|| format!("/sources/{}", end.source.id), |id| format!("/backups/{id}")),
        });
    }

    /// What became of a notification: shown, or why the system did not show it. What nobody was shown stands in the window's health until
    /// the next one is shown.
    pub fn noticed(&self, outcome: std::result::Result<(), String>) {
        let unseen = outcome
            .err()
            .map(|cause| Error::new(Code::NotFound, "notices_absent").with("cause", cause));
        let mut known = self.0.notices.unseen.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != unseen;
        *known = unseen;
        drop(known);
        if changed {
            self.changed([Noun::Health.into()]);
        }
    }

    /// Why the system did not show the last notification.
    pub(super) fn unseen_notices(&self) -> Option<Error> {
        self.0.notices.unseen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells that a backup is not what it was, or is good again. `backup`: as it was known before.
    pub(super) fn tell_verified(&self, backup: &Backup, outcome: &Result<(Backup, Vec<Check>)>) {
        let bad = match outcome {
            Ok((_, checks)) => checks.iter().find_map(|check| check.error.as_ref()),
            Err(error) => Some(error).filter(|error| !matches!(error.code(), Code::Cancelled | Code::Busy)),
        };
        match (bad, outcome) {
            (Some(error), _) => self.tell_of_backup(Kind::Failure, "notice.not_verified", backup, self.sentences(error)),
            (None, Ok((now, _))) if not_good(backup).is_some() && not_good(now).is_none() => {
                let body = self.words().text("notice.verify_recovered_body");
                self.tell_of_backup(Kind::Recovery, "notice.verify_recovered", backup, body);
            }
            (None, _) => {}
        }
    }

    /// Tells that a rehearsed restore failed, or works again. `before`: the source's last drill before this one.
    pub(super) fn tell_drilled(&self, backup: &Backup, before: Option<&Drill>, outcome: &Result<Drill>) {
        let verdict = match outcome {
            Ok(drill) => crate::drills::verdict(drill),
            Err(error) => Some(error.clone()),
        };
        match verdict {
            Some(error) if matches!(error.code(), Code::Cancelled | Code::Interrupted | Code::Busy) => {}
            Some(error) => self.tell_of_backup(Kind::Failure, "notice.drill_failed", backup, self.sentences(&error)),
            None if before.is_some_and(|before| before.state == DrillState::Failed) => {
                let body = self.words().text("notice.drill_recovered_body");
                self.tell_of_backup(Kind::Recovery, "notice.drill_recovered", backup, body);
            }
            None => {}
        }
    }

    /// Tells something of one backup, if anybody wants to know.
    fn tell_of_backup(&self, kind: Kind, title: &'static str, backup: &Backup, body: String) {
        if !self.is_on(kind.setting()) {
            return;
        }
        let facts = [
            ("backup", backup.code.as_str().into()),
            ("source", backup.source.as_str().into()),
        ];
        self.dialogs().notify(&Notice {
            title: self.words().say(title, &facts),
            body,
            urgent: kind == Kind::Failure,
            route: format!("/backups/{}", backup.id),
        });
    }

    /// Tells of backups whose copies are not where they were. One notification, whatever their number.
    pub(super) fn tell_lost(&self, lost: &[(Backup, Error)]) {
        let Some((backup, error)) = lost.first() else { return };
        if !self.is_on(Kind::Failure.setting()) {
            return;
        }
        let facts = [
            ("source", backup.source.as_str().into()),
            ("backup", backup.code.as_str().into()),
            ("others_count", (lost.len() - 1).into()),
        ];
        let key = if lost.len() > 1 {
            "notice.lost_several"
        } else {
            "notice.lost"
        };
        self.dialogs().notify(&Notice {
            title: self.words().say(key, &facts),
            body: self.sentences(error),
            urgent: true,
            route: format!("/backups/{}", backup.id),
        });
    }

    /// Tells that a restore failed.
    pub(super) fn tell_restored(&self, name: &str, outcome: &Result<Restore>) {
        let Err(error) = outcome else { return };
        if matches!(error.code(), Code::Cancelled | Code::Busy) || !self.is_on(Kind::Failure.setting()) {
            return;
        }
        let id = error.detail("restore");
        self.dialogs().notify(&Notice {
            title: self.words().say("notice.restore_failed", &[("source", name.into())]),
            body: self.sentences(error),
            urgent: true,
            route: id.map_or_else(|| "/backups".to_owned(), |id| format!("/restores/{id}")),
        });
    }

    /// Tells that a restore could not be taken back.
    pub(super) fn tell_undone(&self, name: &str, id: &Id, outcome: &Result<Restore>) {
        let Err(error) = outcome else { return };
        if matches!(error.code(), Code::Cancelled | Code::Busy) || !self.is_on(Kind::Failure.setting()) {
            return;
        }
        self.dialogs().notify(&Notice {
            title: self.words().say("notice.undo_failed", &[("source", name.into())]),
            body: self.sentences(error),
            urgent: true,
            route: format!("/restores/{id}"),
        });
    }

    /// Tells what became of replacements of live data that were cut off: which of the two it is now must not be left to be found out.
    pub(super) fn tell_settled(&self, coffre: &Coffre, cut_off: &[Restore]) {
        for before in cut_off {
            let Ok(RestoreDetail { restore, source, .. }) = coffre.restore_row(&before.id).and_then(|row| detail(coffre, row))
            else {
                // Said by every command that needs it.
                continue;
            };
            let (key, error) = match (before.state, restore.state) {
                (RestoreState::Done, _) => continue,
                (_, RestoreState::Done) => ("notice.replace_finished", restore.remarks.last()),
                (RestoreState::Running, RestoreState::Interrupted) => ("notice.replace_taken_back", restore.error.as_ref()),
                _ => continue,
            };
            if !self.is_on(Kind::Failure.setting()) {
                return;
            }
            let name = source.unwrap_or_else(|| restore.target.clone());
            self.dialogs().notify(&Notice {
                title: self.words().say(key, &[("source", name.into())]),
                body: error.map(|error| self.sentences(error)).unwrap_or_default(),
                urgent: true,
                route: format!("/restores/{}", restore.id),
            });
        }
    }

    fn sentences(&self, error: &Error) -> String {
        let (message, hint) = self.words().error_in_window(error);
        if hint.is_empty() {
            message
        } else {
            format!("{message}\n{hint}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_news() {
        use BackupState::{Failed, Interrupted, Stored, Verified};
        let end = |state| End {
            state,
            whole: true,
            unusual: false,
        };
        let partly = End {
            whole: false,
            ..end(Verified)
        };
        let odd = End {
            unusual: true,
            ..end(Verified)
        };
        assert_eq!(kind(Some(end(Verified)), Ok(odd)), Some(Kind::Failure));
        assert_eq!(kind(None, Ok(end(Verified))), Some(Kind::Success));
        assert_eq!(kind(Some(end(Verified)), Ok(end(Verified))), Some(Kind::Success));
        assert_eq!(kind(Some(end(Failed)), Ok(end(Verified))), Some(Kind::Recovery));
        assert_eq!(kind(Some(end(Interrupted)), Ok(end(Verified))), Some(Kind::Recovery));
        assert_eq!(kind(Some(partly), Ok(end(Verified))), Some(Kind::Recovery));
        for before in [None, Some(end(Verified)), Some(end(Failed))] {
            assert_eq!(kind(before, Ok(end(Stored))), Some(Kind::Failure));
            assert_eq!(kind(before, Ok(partly)), Some(Kind::Failure));
        }
        assert_eq!(kind(Some(end(Failed)), Err(Code::DestFull)), Some(Kind::Failure));
        assert_eq!(kind(None, Err(Code::Cancelled)), None);
        assert_eq!(kind(None, Err(Code::Busy)), None);
    }
}

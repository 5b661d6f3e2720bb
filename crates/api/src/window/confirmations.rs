//! Previews that a person has seen, and may now have carried out: each once, for a quarter of an hour, and exactly as it was shown.

use std::collections::BTreeMap;
use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Utc};
use coffre_model::source::Source;
use coffre_model::{Code, Error, Id, Result, Secret};

use crate::restores::From;

/// How long a preview may lie before what it showed counts as old.
const LIFE: TimeDelta = TimeDelta::minutes(15);
/// More than this, and the oldest go: nobody has so many previews open.
const MAX: usize = 100;

/// What was shown, and can be carried out.
pub(super) enum Shown {
    /// A restore.
    Restore(Box<PlannedRestore>),
    /// What a plan's retention would choose.
    Retention {
        /// The plan.
        plan: Id,
        /// These backups, in the order of their ids.
        ids: Vec<Id>,
    },
    /// Deletions.
    Delete {
        /// Of these backups, in the order of their ids.
        ids: Vec<Id>,
    },
}

/// A restore as it was shown.
#[derive(Clone)]
pub(super) struct PlannedRestore {
    /// What must be typed.
    pub(super) name: String,
    pub(super) from: From,
    /// Size and time of the file that was shown, where it is one.
    pub(super) file: Option<(u64, Option<SystemTime>)>,
    /// Where to; or the source whose live data goes.
    pub(super) target: Source,
    pub(super) secret: Option<Secret>,
    /// The engine's own word for it, where live data is replaced: it knows what that looked like.
    pub(super) replaces: Option<Id>,
}

/// Every preview that is still good.
#[derive(Default)]
pub(super) struct Confirmations {
    shown: BTreeMap<String, (DateTime<Utc>, Shown)>,
}

impl Confirmations {
    /// Remembers a preview; answers the word that stands for it, and until when.
    pub(super) fn remember(&mut self, shown: Shown, now: DateTime<Utc>) -> (String, DateTime<Utc>) {
        self.shown.retain(|_, (until, _)| *until > now);
        while self.shown.len() >= MAX {
            // Words begin with the time at which they were made: the first is the oldest.
            self.shown.pop_first();
        }
        let word = Id::new().to_string();
        let until = now + LIFE;
        self.shown.insert(word.clone(), (until, shown));
        (word, until)
    }

    /// Takes a preview out, to carry it out now, if `fits` finds nothing against it. What does not fit stays: the person may correct it.
    ///
    /// # Errors
    /// `REFUSED` for a word that is unknown, was used, or is too old; what `fits` says. Answers until when it was good, too.
    pub(super) fn take(
        &mut self,
        word: &str,
        now: DateTime<Utc>,
        fits: impl FnOnce(&Shown) -> Result<()>,
    ) -> Result<(DateTime<Utc>, Shown)> {
        self.shown.retain(|_, (until, _)| *until > now);
        let gone = || Error::new(Code::Refused, "confirmation_old");
        let (_, shown) = self.shown.get(word).ok_or_else(gone)?;
        fits(shown)?;
        self.shown.remove(word).ok_or_else(gone)
    }

    /// Puts back what was taken and not carried out, until the moment that was told with it.
    pub(super) fn put_back(&mut self, word: String, until: DateTime<Utc>, shown: Shown) {
        self.shown.insert(word, (until, shown));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-21T08:00:00Z".parse().unwrap()
    }

    fn shown() -> Shown {
        Shown::Delete { ids: vec![Id::new()] }
    }

    #[test]
    fn each_is_good_once_and_for_a_quarter_of_an_hour() {
        let mut all = Confirmations::default();
        let (word, until) = all.remember(shown(), now());
        assert_eq!(until, now() + LIFE);
        assert!(
            all.take(&word, now(), |_| Err(Error::new(Code::Refused, "confirmation_name")))
                .is_err()
        );
        assert!(all.take(&word, now(), |_| Ok(())).is_ok());
        assert_eq!(all.take(&word, now(), |_| Ok(())).err().unwrap().text(), "confirmation_old");
        let (word, _) = all.remember(shown(), now());
        let (until, taken) = all.take(&word, now(), |_| Ok(())).unwrap();
        all.put_back(word.clone(), until, taken);
        assert!(all.take(&word, now() + LIFE, |_| Ok(())).is_err());
        assert!(all.take("", now(), |_| Ok(())).is_err());
    }

    #[test]
    fn they_do_not_pile_up() {
        let mut all = Confirmations::default();
        let (first, _) = all.remember(shown(), now());
        for _ in 0..MAX {
            all.remember(shown(), now());
        }
        assert_eq!(all.shown.len(), MAX);
        assert!(all.take(&first, now(), |_| Ok(())).is_err());
    }
}

//! Whether a source is protected: decided from what was proved, never from what was attempted.
//!
//! Pure: the time is an argument. The one rule above all others: without a verified backup nothing is `protected`. How old a backup may
//! be follows from the moments at which its plans are due ([`Due`]): a plan for working days asks for nothing on Sunday. All of it is
//! told in docs/protection.md.

use chrono::{DateTime, TimeDelta, Utc};

use crate::backup::{BackupState, BackupType, words};

words! {
    /// How safe a source is.
    ProtectionState {
        /// A fresh verified backup, as many copies as wanted, and nothing failed since.
        Protected = "protected",
        /// There is a verified backup, but something is not as it should be.
        AtRisk = "at_risk",
        /// There is no verified backup, or only an old one.
        Unprotected = "unprotected",
    }
}

words! {
    /// Why a source is not protected, or will not stay so.
    ProtectionCause {
        /// No plan makes backups of it.
        NoPlan = "no_plan",
        /// There never was a verified backup.
        Never = "never",
        /// There are verified backups, all of another database: the source points elsewhere since.
        Moved = "moved",
        /// The last verified backup is too old.
        Stale = "stale",
        /// A plan was due twice, and no verified backup of the source at its destinations came of it.
        SlotsMissed = "slots_missed",
        /// The newest verified backup is unusual (`flags`), and nobody has said yet that this is right.
        Unusual = "unusual",
        /// The last rehearsed restore found that the backup does not hold, or could not be carried out.
        DrillFailed = "drill_failed",
        /// Fewer verified copies than there should be.
        FewCopies = "few_copies",
        /// The last run failed.
        LastFailed = "last_failed",
        /// Its plans are paused.
        Paused = "paused",
        /// No restore was ever rehearsed, and there was time enough for it.
        NeverDrilled = "never_drilled",
    }
}

/// How old the last verified backup may be where no plan says how often there should be one.
pub const FRESH: TimeDelta = TimeDelta::hours(48);
/// How old it may be at most, likewise, before the source counts as unprotected.
pub const TOO_OLD: TimeDelta = TimeDelta::days(7);
/// How long a run may take, or be waited for, before its moment counts as one that nothing came of.
pub const GRACE: TimeDelta = TimeDelta::minutes(15);
/// How many moments a decision needs to know ([`Due`]): the last of them makes a backup too old.
pub const MOMENTS: usize = 8;
/// How long a source may be there before somebody should have rehearsed a restore.
pub const DRILL_WITHIN: TimeDelta = TimeDelta::days(14);
/// A time further in the future than this is no time to rely on: a clock was wrong, then or now.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::hours(24);

/// The newest verified backup of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The moment that its data is from: when the run began.
    pub at: DateTime<Utc>,
    /// How many of its copies are verified and, as far as is known, within reach.
    pub copies: usize,
    /// Further verified copies, at destinations that did not answer when they were last asked. They may be as good as ever, and nobody
    /// knows: they keep the source from being unprotected, and never make it protected.
    pub silent: usize,
    /// How many there should be: the destinations of its plan.
    pub wanted: usize,
}

/// The last run of a source that came to an end of its own (neither skipped nor cancelled by a person).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// When it began.
    pub at: DateTime<Utc>,
    /// How it ended.
    pub state: BackupState,
}

/// The first [`MOMENTS`] moments at which a plan with a schedule is due, those to come included, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// After the newest verified backup that lies at all of its destinations.
    pub own: Vec<DateTime<Utc>>,
    /// After the newest verified backup of the source, wherever that lies.
    pub any: Vec<DateTime<Utc>>,
}

/// What one plan asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Its interval; nothing for one that is run whenever somebody likes.
    pub every: Option<BackupType>,
    /// When it is due by itself; nothing where a person starts it.
    pub due: Option<Due>,
}

/// What rehearsed restores showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drilled {
    /// None was ever made; the source is there since then.
    Never(DateTime<Utc>),
    /// The last one found everything right.
    Done,
    /// The last one did not.
    Failed,
}

/// Everything that the decision rests on.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The source's plans that are not paused.
    pub plans: Vec<Asked>,
    /// How many of its plans are paused.
    pub paused: usize,
    /// The newest verified backup of what the source points to now.
    pub proved: Option<Proved>,
    /// Whether there are verified backups of what it pointed to before.
    pub elsewhere: bool,
    /// The last run against what it points to now.
    pub last: Option<LastRun>,
    /// Whether the newest verified backup is unusual, and nobody has said that this is right.
    pub unusual: bool,
    /// What rehearsed restores showed.
    pub drilled: Drilled,
}

/// The decision and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// How safe the source is.
    pub state: ProtectionState,
    /// Why it is not safer; nothing for `protected`.
    pub cause: Option<ProtectionCause>,
}

/// How long an interval is; nothing for `manual`.
pub fn interval(every: BackupType) -> Option<TimeDelta> {
    match every {
        BackupType::Hourly => Some(TimeDelta::hours(1)),
        BackupType::Daily => Some(TimeDelta::days(1)),
        BackupType::Weekly => Some(TimeDelta::days(7)),
        BackupType::Monthly => Some(TimeDelta::days(31)),
        BackupType::Manual => None,
    }
}

/// Until what age a verified backup is fresh, and from what age on it protects no more.
///
/// Fresh is what is younger than twice the shortest interval (48 hours without one). Too old is what is older than eight
/// intervals, but never more than a week older than fresh: with monthly backups nobody should wait for eight months.
pub fn ages(plans: &[Option<BackupType>]) -> (TimeDelta, TimeDelta) {
    match plans.iter().flatten().filter_map(|every| interval(*every)).min() {
        Some(interval) => (interval * 2, (interval * 8).min(interval * 2 + TimeDelta::days(7))),
        None => (FRESH, TOO_OLD),
    }
}

/// From when on the newest proof is not fresh any more, and why; and from when on it protects no more.
fn limits(evidence: &Evidence, proved: DateTime<Utc>) -> ((DateTime<Utc>, ProtectionCause), DateTime<Utc>) {
    let by_hand: Vec<Option<BackupType>> = evidence
        .plans
        .iter()
        .filter(|plan| plan.due.is_none())
        .map(|plan| plan.every)
        .collect();
    let dues = || evidence.plans.iter().filter_map(|plan| plan.due.as_ref());
    let second = |moments: &[DateTime<Utc>]| moments.get(1).map(|at| *at + GRACE);
    let (fresh, old) = ages(&by_hand);
    let coarse = by_hand.iter().any(|every| every.and_then(interval).is_some());
    let mut stale = dues()
        .filter_map(|due| second(&due.own))
        .min()
        .map(|at| (at, ProtectionCause::SlotsMissed));
    let last = |due: &Due| due.any.get(MOMENTS - 1).map(|at| *at + GRACE);
    let week = |due: &Due| second(&due.any).map(|at| at + TimeDelta::days(7));
    let mut too_old = dues().flat_map(|due| [last(due), week(due)]).flatten().min();
    // Without any plan that says how often, what is usual counts.
    if coarse || stale.is_none() {
        let at = (proved + fresh, ProtectionCause::Stale);
        stale = Some(stale.map_or(at, |known| if at.0 < known.0 { at } else { known }));
    }
    if coarse || too_old.is_none() {
        too_old = Some(too_old.map_or(proved + old, |known| known.min(proved + old)));
    }
    let never = DateTime::<Utc>::MAX_UTC;
    (stale.unwrap_or((never, ProtectionCause::Stale)), too_old.unwrap_or(never))
}

/// Decides.
pub fn judge(evidence: &Evidence, now: DateTime<Utc>) -> Judgement {
    use ProtectionCause::{DrillFailed, FewCopies, LastFailed, Moved, Never, NeverDrilled, NoPlan, Paused, Stale, Unusual};
    use ProtectionState::{AtRisk, Protected, Unprotected};
    let because = |state, cause| Judgement {
        state,
        cause: Some(cause),
    };
    let has_plan = !evidence.plans.is_empty() || evidence.paused > 0;
    let Some(proved) = evidence.proved.filter(|p| p.copies + p.silent > 0) else {
        let cause = match (evidence.elsewhere, has_plan) {
            // Before everything else: whoever looks remembers good backups, and must hear why they count no more.
            (true, _) => Moved,
            (false, true) => Never,
            (false, false) => NoPlan,
        };
        return because(Unprotected, cause);
    };
    let ((stale, why_stale), too_old) = limits(evidence, proved.at);
    if now > too_old {
        return because(Unprotected, Stale);
    }
    // What failed before the proof is over; what failed at the same moment is not.
    let failed = evidence.last.is_some_and(|last| {
        last.at >= proved.at
            && matches!(
                last.state,
                BackupState::Failed | BackupState::Interrupted | BackupState::Missed
            )
    });
    if failed {
        return because(AtRisk, LastFailed);
    }
    if now > stale {
        return because(AtRisk, why_stale);
    }
    if now - proved.at < -CLOCKS_DIFFER {
        return because(AtRisk, Stale);
    }
    if evidence.unusual {
        return because(AtRisk, Unusual);
    }
    if evidence.drilled == Drilled::Failed {
        return because(AtRisk, DrillFailed);
    }
    if proved.copies < proved.wanted.max(1) {
        return because(AtRisk, FewCopies);
    }
    if evidence.plans.is_empty() {
        return because(AtRisk, if evidence.paused > 0 { Paused } else { NoPlan });
    }
    if let Drilled::Never(since) = evidence.drilled
        && now - since > DRILL_WITHIN
    {
        return because(AtRisk, NeverDrilled);
    }
    Judgement {
        state: Protected,
        cause: None,
    }
}

#[cfg(test)]
mod tests;

//! Whether a source is protected: decided from what was proved, never from what was attempted.
//!
//! Pure: the time is an argument. The one rule above all others: without a verified backup nothing is `protected`.

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
        /// Fewer verified copies than there should be.
        FewCopies = "few_copies",
        /// The last run failed.
        LastFailed = "last_failed",
        /// The last rehearsed restore found its backup not to hold.
        DrillFailed = "drill_failed",
        /// Its plans are paused.
        Paused = "paused",
    }
}

/// How old the last verified backup may be where no plan says how often there should be one.
pub const FRESH: TimeDelta = TimeDelta::hours(48);
/// How old it may be at most, likewise, before the source counts as unprotected.
pub const TOO_OLD: TimeDelta = TimeDelta::days(7);
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

/// Everything that the decision rests on.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The intervals of the source's plans that are not paused; a plan without one runs by hand.
    pub plans: Vec<Option<BackupType>>,
    /// How many of its plans are paused.
    pub paused: usize,
    /// The newest verified backup of what the source points to now.
    pub proved: Option<Proved>,
    /// Whether there are verified backups of what it pointed to before.
    pub elsewhere: bool,
    /// The last run against what it points to now.
    pub last: Option<LastRun>,
    /// Whether the last drill of what it points to now found its backup not to hold.
    pub drill_failed: bool,
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

/// Decides.
pub fn judge(evidence: &Evidence, now: DateTime<Utc>) -> Judgement {
    use ProtectionCause::{DrillFailed, FewCopies, LastFailed, Moved, Never, NoPlan, Paused, Stale};
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
    let (fresh, too_old) = ages(&evidence.plans);
    let age = now - proved.at;
    if age > too_old {
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
    if evidence.drill_failed {
        return because(AtRisk, DrillFailed);
    }
    if age > fresh || age < -CLOCKS_DIFFER {
        return because(AtRisk, Stale);
    }
    if proved.copies < proved.wanted.max(1) {
        return because(AtRisk, FewCopies);
    }
    if evidence.plans.is_empty() {
        return because(AtRisk, if evidence.paused > 0 { Paused } else { NoPlan });
    }
    Judgement {
        state: Protected,
        cause: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> DateTime<Utc> {
        "2026-11-21T08:00:00Z".parse().unwrap()
    }

    fn proved(hours: i64) -> Option<Proved> {
        Some(Proved {
            at: now() - TimeDelta::hours(hours),
            copies: 1,
            silent: 0,
            wanted: 1,
        })
    }

    fn state(evidence: &Evidence) -> (ProtectionState, Option<ProtectionCause>) {
        let judgement = judge(evidence, now());
        (judgement.state, judgement.cause)
    }

    #[test]
    fn the_usual_cases() {
        use ProtectionCause::{FewCopies, LastFailed, Moved, Never, NoPlan, Paused, Stale};
        use ProtectionState::{AtRisk, Protected, Unprotected};
        let daily = Evidence {
            plans: vec![Some(BackupType::Daily)],
            proved: proved(7),
            ..Evidence::default()
        };
        assert_eq!(state(&daily), (Protected, None));
        assert_eq!(state(&Evidence::default()), (Unprotected, Some(NoPlan)));
        let rehearsed = Evidence {
            drill_failed: true,
            ..daily.clone()
        };
        assert_eq!(state(&rehearsed), (AtRisk, Some(ProtectionCause::DrillFailed)));
        let never = Evidence {
            proved: None,
            ..daily.clone()
        };
        assert_eq!(state(&never), (Unprotected, Some(Never)));
        let moved = Evidence {
            elsewhere: true,
            ..never
        };
        assert_eq!(state(&moved), (Unprotected, Some(Moved)));
        let moved_and_backed_up = Evidence {
            elsewhere: true,
            ..daily.clone()
        };
        assert_eq!(state(&moved_and_backed_up), (Protected, None));
        let failed = |hours, state| Evidence {
            last: Some(LastRun {
                at: now() - TimeDelta::hours(hours),
                state,
            }),
            ..daily.clone()
        };
        assert_eq!(state(&failed(1, BackupState::Failed)), (AtRisk, Some(LastFailed)));
        assert_eq!(state(&failed(1, BackupState::Missed)), (AtRisk, Some(LastFailed)));
        assert_eq!(state(&failed(8, BackupState::Failed)), (Protected, None));
        assert_eq!(state(&failed(1, BackupState::Verified)), (Protected, None));
        for (hours, expected) in [
            (48, (Protected, None)),
            (49, (AtRisk, Some(Stale))),
            (8 * 24, (AtRisk, Some(Stale))),
            (8 * 24 + 1, (Unprotected, Some(Stale))),
            (-25, (AtRisk, Some(Stale))),
        ] {
            let aged = Evidence {
                proved: proved(hours),
                ..daily.clone()
            };
            assert_eq!(state(&aged), expected, "{hours} h");
        }
        let few = Evidence {
            proved: proved(7).map(|p| Proved { wanted: 2, ..p }),
            ..daily.clone()
        };
        assert_eq!(state(&few), (AtRisk, Some(FewCopies)));
        let by_hand = Evidence {
            plans: vec![],
            ..daily.clone()
        };
        assert_eq!(state(&by_hand), (AtRisk, Some(NoPlan)));
        let paused = Evidence { paused: 1, ..by_hand };
        assert_eq!(state(&paused), (AtRisk, Some(Paused)));
        let lost = Evidence {
            proved: proved(1).map(|p| Proved { copies: 0, ..p }),
            ..daily.clone()
        };
        assert_eq!(state(&lost), (Unprotected, Some(Never)));
        for (copies, silent, wanted) in [(0, 1, 1), (0, 1, 0), (1, 1, 2)] {
            let silent = Evidence {
                proved: proved(1).map(|p| Proved {
                    copies,
                    silent,
                    wanted,
                    ..p
                }),
                ..daily.clone()
            };
            assert_eq!(state(&silent), (AtRisk, Some(FewCopies)));
        }
    }

    #[test]
    fn the_shortest_interval_counts_and_months_are_not_waited_for() {
        let both = [Some(BackupType::Weekly), None, Some(BackupType::Hourly)];
        assert_eq!(ages(&both), (TimeDelta::hours(2), TimeDelta::hours(8)));
        assert_eq!(ages(&[Some(BackupType::Monthly)]), (TimeDelta::days(62), TimeDelta::days(69)));
        assert_eq!(ages(&[None, Some(BackupType::Manual)]), (FRESH, TOO_OLD));
        assert_eq!(ages(&[]), (FRESH, TOO_OLD));
    }

    fn any_state() -> impl Strategy<Value = BackupState> {
        prop::sample::select(BackupState::ALL)
    }

    fn any_evidence() -> impl Strategy<Value = Evidence> {
        let every = prop::option::of(prop::sample::select(BackupType::ALL));
        let proved = prop::option::of((-100_000_i64..100_000, 0_usize..4, 0_usize..3, 0_usize..4));
        let last = prop::option::of((-100_000_i64..100_000, any_state()));
        let plans = prop::collection::vec(every, 0..4);
        (plans, 0_usize..3, proved, last, any::<bool>(), any::<bool>()).prop_map(
            |(plans, paused, proved, last, elsewhere, drill_failed)| Evidence {
                drill_failed,
                plans,
                paused,
                elsewhere,
                proved: proved.map(|(minutes, copies, silent, wanted)| Proved {
                    at: now() - TimeDelta::minutes(minutes),
                    copies,
                    silent,
                    wanted,
                }),
                last: last.map(|(minutes, state)| LastRun {
                    at: now() - TimeDelta::minutes(minutes),
                    state,
                }),
            },
        )
    }

    proptest! {
        #[test]
        fn never_protected_without_proof(evidence in any_evidence()) {
            let judgement = judge(&evidence, now());
            prop_assert_eq!(judgement.cause.is_none(), judgement.state == ProtectionState::Protected);
            if judgement.state == ProtectionState::Protected {
                let proved = evidence.proved.unwrap();
                prop_assert!(proved.copies >= 1 && proved.copies >= proved.wanted);
                prop_assert!(now() - proved.at <= ages(&evidence.plans).0);
                prop_assert!(!evidence.plans.is_empty());
                prop_assert!(evidence.last.is_none_or(|last| last.state != BackupState::Failed || last.at < proved.at));
            }
            if evidence.proved.is_none() {
                prop_assert_eq!(judgement.state, ProtectionState::Unprotected);
            }
        }

        #[test]
        fn time_alone_never_makes_it_better(evidence in any_evidence(), minutes in 0_i64..200_000) {
            // From a clock that can be trusted on: a time in the future becomes believable as the clock reaches it.
            prop_assume!(evidence.proved.is_none_or(|p| p.at <= now()));
            let rank = |state| ProtectionState::ALL.iter().position(|s| *s == state);
            let later = judge(&evidence, now() + TimeDelta::minutes(minutes));
            prop_assert!(rank(later.state) >= rank(judge(&evidence, now()).state));
        }

        #[test]
        fn another_verified_copy_never_makes_it_worse(evidence in any_evidence()) {
            let rank = |state| ProtectionState::ALL.iter().position(|s| *s == state);
            let mut more = evidence.clone();
            if let Some(proved) = &mut more.proved {
                proved.copies += 1;
            }
            prop_assert!(rank(judge(&more, now()).state) <= rank(judge(&evidence, now()).state));
        }
    }
}

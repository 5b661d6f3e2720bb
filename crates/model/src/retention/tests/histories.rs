//! What must hold for any history of two plans on one source, whatever their rules.

use chrono_tz::Europe::Paris;
use chrono_tz::{America, UTC};
use proptest::prelude::*;

use super::{good, now, question};
use crate::retention::*;

/// The recipe of a history: everything by number, so that a failure can be made smaller.
type Recipe = (i64, usize, usize, usize, u8, u8, Option<prop::sample::Index>, Vec<bool>);

fn any_backup() -> impl Strategy<Value = Recipe> {
    (
        // Minutes ago: two years, and a little of the future.
        -3_000_i64..1_000_000,
        0_usize..3,
        0_usize..BackupState::ALL.len() * 2,
        0_usize..3,
        any::<u8>(),
        any::<u8>(),
        prop::option::weighted(0.2, any::<prop::sample::Index>()),
        prop::collection::vec(any::<bool>(), 2),
    )
}

fn any_rules() -> impl Strategy<Value = Retention> {
    let rule = || prop::option::weighted(0.35, 0_u32..9);
    (
        rule(),
        prop::option::weighted(0.35, 0_u32..700),
        rule(),
        rule(),
        rule(),
        rule(),
        rule(),
        prop::option::of(0_u32..4),
    )
        .prop_map(|(last, days, hourly, daily, weekly, monthly, yearly, min)| Retention {
            keep_last: last,
            keep_days: days,
            keep_hourly: hourly,
            keep_daily: daily,
            keep_weekly: weekly,
            keep_monthly: monthly,
            keep_yearly: yearly,
            keep_min: min,
        })
}

#[derive(Clone, Debug)]
struct History {
    plans: [Id; 2],
    places: [Id; 2],
    backups: Vec<Candidate>,
    rules: [Retention; 2],
    zone: Tz,
}

impl History {
    fn question(&self, which: usize) -> Question<'_> {
        Question {
            zone: self.zone,
            places: &self.places,
            ..question(self.plans[which], &self.rules[which], &self.backups)
        }
    }
}

fn any_history() -> impl Strategy<Value = History> {
    let zones = [
        UTC,
        Paris,
        America::New_York,
        chrono_tz::Australia::Lord_Howe,
        chrono_tz::Pacific::Apia,
    ];
    let recipes = prop::collection::vec(any_backup(), 0..40);
    (recipes, any_rules(), any_rules(), prop::sample::select(zones.to_vec())).prop_map(|(recipes, first, second, zone)| {
        let (plans, places) = ([Id::new(), Id::new()], [Id::new(), Id::new()]);
        let ids: Vec<Id> = recipes.iter().map(|_| Id::new()).collect();
        let backups = recipes
            .iter()
            .zip(&ids)
            .map(|((minutes, plan, state, aim, marks, more, base, at), id)| {
                let began = now() - TimeDelta::minutes(*minutes);
                // Half of them verified, the others in any state.
                let state = *BackupState::ALL.get(*state).unwrap_or(&BackupState::Verified);
                Candidate {
                    id: *id,
                    plan: plans.get(*plan).copied(),
                    trigger: if more % 16 == 0 { Trigger::Guard } else { Trigger::Scheduled },
                    aim: ["here", "elsewhere"].get(*aim).map(|aim| (*aim).to_owned()),
                    state,
                    pinned: marks % 8 == 0,
                    unusual: marks % 8 == 1,
                    leaving: (marks % 8 == 2).then(now),
                    asked: (marks % 8 == 3).then_some(7),
                    base: base.as_ref().map(|base| *base.get(&ids)).filter(|base| base != id),
                    has_bytes: more & 16 == 0,
                    places: places
                        .iter()
                        .zip(at)
                        .filter(|(_, at)| **at)
                        .map(|(place, _)| *place)
                        .collect(),
                    ..good(plans[0], began)
                }
            })
            .collect();
        History {
            plans,
            places,
            backups,
            rules: [first, second],
            zone,
        }
    })
}

/// Carries a decision out: what leaves is in the bin, what stays is not.
fn carried_out(backups: &[Candidate], verdicts: &[Verdict]) -> Vec<Candidate> {
    let mut after = backups.to_vec();
    for verdict in verdicts {
        after[verdict.index].leaving = (!verdict.fate.stays()).then(now);
    }
    after
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// I6, whatever the plans and in whatever order they are looked at: every source that had a verified backup still has one, and one of
    /// what it points to now, and one that counts, and each destination has one.
    #[test]
    fn the_last_proof_never_leaves(mut history in any_history(), order in any::<bool>()) {
        let before = history.backups.clone();
        let mut is_mine = Vec::new();
        for which in if order { [0, 1] } else { [1, 0] } {
            let verdicts = decide(&history.question(which));
            is_mine.extend(verdicts.iter().map(|v| v.index));
            history.backups = carried_out(&history.backups, &verdicts);
        }
        is_mine.sort_unstable();
        let gone = |at: usize| is_mine.binary_search(&at).is_ok() && history.backups[at].leaving.is_some();
        let left: Vec<&Candidate> = (0..before.len()).filter(|at| !gone(*at)).map(|at| &before[at]).collect();
        type Is<'a> = &'a dyn Fn(&Candidate) -> bool;
        let here = |b: &Candidate| b.aim.as_deref() == Some("here");
        let proofs: [Is<'_>; 4] = [
            &|b| b.is_proof(),
            &|b| b.is_proof() && here(b),
            &|b| b.counts(now()),
            &|b| b.counts(now()) && here(b),
        ];
        for (n, is) in proofs.iter().enumerate() {
            prop_assert!(!before.iter().any(is) || left.iter().any(|b| is(b)), "proof {}", n);
        }
        for plan in history.plans {
            for place in &history.places {
                let is = |b: &Candidate| b.plan == Some(plan) && b.counts(now()) && b.places.contains(place);
                prop_assert!(!before.iter().any(is) || left.iter().any(|b| is(b)));
            }
        }
        // What builds on something still has it, as far as it was there.
        for backup in &left {
            let needs = !matches!(backup.state, BackupState::Skipped | BackupState::Missed | BackupState::Deleting | BackupState::Deleted);
            let planned = backup.plan.is_some() || backup.leaving.is_none();
            if let Some(base) = backup.base.filter(|_| needs && planned)
                && let Some(at) = before.iter().position(|b| b.id == base)
            {
                prop_assert!(!gone(at), "{:?} needs {:?}", backup, before[at]);
            }
        }
    }

    #[test]
    fn what_must_never_leave_stays(history in any_history()) {
        let question = history.question(0);
        let verdicts = decide(&question);
        for verdict in &verdicts {
            let backup = &history.backups[verdict.index];
            prop_assert_eq!(backup.plan, Some(history.plans[0]));
            let never = backup.pinned || matches!(backup.state, BackupState::Running | BackupState::Stored)
                || backup.is_proof() && (backup.unusual || backup.at > now() + SLACK)
                || matches!(backup.trigger, Trigger::Guard | Trigger::Safety)
                || question.rules.is_empty() && backup.asked.is_none();
            prop_assert!(verdict.fate.stays() || !never, "{:?}: {:?}", backup, verdict.fate);
            if let Fate::Keep(reasons) = &verdict.fate {
                prop_assert!(!reasons.is_empty());
            }
        }
        // Every one of the plan that exists, once, newest first.
        let exists = |b: &&Candidate| !matches!(b.state, BackupState::Deleting | BackupState::Deleted);
        let mine = history.backups.iter().filter(exists).filter(|b| b.plan == Some(history.plans[0]));
        prop_assert_eq!(mine.count(), verdicts.len());
        prop_assert!(verdicts.windows(2).all(|w| history.backups[w[0].index].at >= history.backups[w[1].index].at));
        let fewest = question.rules.keep_min.unwrap_or(1).max(1) as usize;
        let counting = verdicts.iter().filter(|v| history.backups[v.index].counts(now()));
        prop_assert!(counting.take(fewest).all(|v| v.fate.stays()));
    }

    /// Asked again after it was carried out, and also after what left is gone: the same answer.
    #[test]
    fn the_decision_stands(mut history in any_history()) {
        let first = decide(&history.question(0));
        history.backups = carried_out(&history.backups, &first);
        let second = decide(&history.question(0));
        prop_assert_eq!(&first, &second);
        let kept: Vec<Id> = first.iter().filter(|v| v.fate.stays()).map(|v| history.backups[v.index].id).collect();
        let leaves: Vec<Id> = first.iter().filter(|v| !v.fate.stays()).map(|v| history.backups[v.index].id).collect();
        history.backups.retain(|b| !leaves.contains(&b.id));
        let third: Vec<Verdict> = decide(&history.question(0));
        prop_assert!(third.iter().all(|v| v.fate.stays()));
        prop_assert_eq!(third.iter().map(|v| history.backups[v.index].id).collect::<Vec<_>>(), kept);
    }

    /// Pinning one more keeps that one, and lets nothing else go.
    #[test]
    fn a_pin_never_costs_another(mut history in any_history(), which in any::<prop::sample::Index>()) {
        prop_assume!(!history.backups.is_empty());
        let before: Vec<Id> = decide(&history.question(0)).iter().filter(|v| v.fate.stays()).map(|v| history.backups[v.index].id).collect();
        let at = which.index(history.backups.len());
        history.backups[at].pinned = true;
        let after: Vec<Id> = decide(&history.question(0)).iter().filter(|v| v.fate.stays()).map(|v| history.backups[v.index].id).collect();
        let pinned = history.backups[at].id;
        // A proof of the source that was kept for want of another may go once there is that other.
        let lost: Vec<&Id> = before.iter().filter(|id| !after.contains(id)).collect();
        let was_last = |id: &&Id| decide(&History { backups: { let mut b = history.backups.clone(); b[at].pinned = false; b }, ..history.clone() }.question(0))
            .iter().any(|v| history.backups[v.index].id == **id && matches!(&v.fate, Fate::Keep(r) if r.iter().all(|r| matches!(r.rule, Rule::LastOfSource | Rule::Base))));
        prop_assert!(lost.iter().all(was_last), "{lost:?}");
        let mine = history.backups[at].plan == Some(history.plans[0]);
        let exists = !matches!(history.backups[at].state, BackupState::Deleting | BackupState::Deleted);
        prop_assert!(!(mine && exists) || after.contains(&pinned));
    }

    /// More generous rules never keep less.
    #[test]
    fn a_larger_number_never_keeps_less(mut history in any_history()) {
        let rules_before = history.rules[0].clone();
        prop_assume!(!rules_before.is_empty());
        let before: Vec<usize> = decide(&history.question(0)).iter().filter(|v| matches!(&v.fate, Fate::Keep(r) if !r.iter().all(|r| matches!(r.rule, Rule::LastOfSource | Rule::Base)))).map(|v| v.index).collect();
        let more = |rule: Option<u32>| rule.map(|n| if n > 0 { n + 2 } else { 0 });
        history.rules[0] = Retention {
            keep_last: more(rules_before.keep_last),
            keep_days: more(rules_before.keep_days),
            keep_hourly: more(rules_before.keep_hourly),
            keep_daily: more(rules_before.keep_daily),
            keep_weekly: more(rules_before.keep_weekly),
            keep_monthly: more(rules_before.keep_monthly),
            keep_yearly: more(rules_before.keep_yearly),
            keep_min: more(rules_before.keep_min),
        };
        let after: Vec<usize> = decide(&history.question(0)).iter().filter(|v| v.fate.stays()).map(|v| v.index).collect();
        prop_assert!(before.iter().all(|at| after.contains(at)));
    }
}

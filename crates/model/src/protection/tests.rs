use super::*;
use proptest::prelude::*;

/// A source of which nothing is known, and no rehearsal is asked for.
fn nothing() -> Evidence {
    Evidence {
        plans: Vec::new(),
        paused: 0,
        proved: None,
        elsewhere: false,
        last: None,
        unusual: false,
        drilled: Drilled::Done,
    }
}

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

fn by_hand(every: Option<BackupType>) -> Asked {
    Asked { every, due: None }
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
        plans: vec![by_hand(Some(BackupType::Daily))],
        proved: proved(7),
        ..nothing()
    };
    assert_eq!(state(&daily), (Protected, None));
    assert_eq!(state(&nothing()), (Unprotected, Some(NoPlan)));
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
    let unplanned = Evidence {
        plans: vec![],
        ..daily.clone()
    };
    assert_eq!(state(&unplanned), (AtRisk, Some(NoPlan)));
    let paused = Evidence { paused: 1, ..unplanned };
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

/// A plan that is due so many minutes before now.
fn asked(every: Option<BackupType>, due: Option<(Vec<i64>, Vec<i64>)>) -> Asked {
    let moments = |mut minutes: Vec<i64>| {
        minutes.sort_unstable_by(|a, b| b.cmp(a));
        minutes.truncate(MOMENTS);
        minutes
            .into_iter()
            .map(|minutes| now() - TimeDelta::minutes(minutes))
            .collect()
    };
    Asked {
        every,
        due: due.map(|(own, any)| Due {
            own: moments(own),
            any: moments(any),
        }),
    }
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    let every = prop::option::of(prop::sample::select(BackupType::ALL));
    let proved = prop::option::of((-100_000_i64..100_000, 0_usize..4, 0_usize..3, 0_usize..4));
    let last = prop::option::of((-100_000_i64..100_000, any_state()));
    let moments = || prop::collection::vec(-100_000_i64..100_000, 0..10);
    let due = prop::option::of((moments(), moments()));
    let plans = prop::collection::vec((every, due), 0..4);
    let drilled = prop_oneof![
        (-100_000_i64..100_000).prop_map(|minutes| Drilled::Never(now() - TimeDelta::minutes(minutes))),
        Just(Drilled::Done),
        Just(Drilled::Failed),
    ];
    let rest = (any::<bool>(), any::<bool>(), drilled);
    (plans, 0_usize..3, proved, last, rest).prop_map(|(plans, paused, proved, last, (elsewhere, unusual, drilled))| Evidence {
        plans: plans.into_iter().map(|(every, due)| asked(every, due)).collect(),
        unusual,
        drilled,
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
    })
}

fn due(after: &str, cron: &str) -> Option<Due> {
    let schedule = crate::schedule::Schedule::new(cron, "Europe/Paris").unwrap();
    let moments = schedule.between(after.parse().unwrap(), DateTime::<Utc>::MAX_UTC, MOMENTS);
    Some(Due {
        own: moments.clone(),
        any: moments,
    })
}

/// The judgement at a time, of a source whose one plan has a schedule, with its last proof at `proved`.
fn at(proved: &str, cron: &str, now: &str) -> (ProtectionState, Option<ProtectionCause>) {
    let evidence = Evidence {
        plans: vec![Asked {
            every: Some(BackupType::Daily),
            due: due(proved, cron),
        }],
        proved: Some(Proved {
            at: proved.parse().unwrap(),
            copies: 1,
            silent: 0,
            wanted: 1,
        }),
        ..nothing()
    };
    let judgement = judge(&evidence, now.parse().unwrap());
    (judgement.state, judgement.cause)
}

#[test]
fn what_a_schedule_asks_for_is_fresh_and_two_slots_without_a_backup_are_not() {
    use ProtectionCause::{SlotsMissed, Stale};
    use ProtectionState::{AtRisk, Protected, Unprotected};
    // Friday 20 November 2026, 03:00 in Paris. Nothing is asked for on Saturday and Sunday.
    let (friday, working_days) = ("2026-11-20T02:00:03Z", "0 3 * * 1-5");
    for (now, expected) in [
        ("2026-11-22T22:00:00Z", (Protected, None)),
        ("2026-11-23T12:00:00Z", (Protected, None)),
        // Monday's and Tuesday's brought nothing; a run may take its time.
        ("2026-11-24T02:10:00Z", (Protected, None)),
        ("2026-11-24T02:20:00Z", (AtRisk, Some(SlotsMissed))),
        ("2026-12-01T02:10:00Z", (AtRisk, Some(SlotsMissed))),
        // A week later than that, or with the eighth slot.
        ("2026-12-01T02:20:00Z", (Unprotected, Some(Stale))),
    ] {
        assert_eq!(at(friday, working_days, now), expected, "{now}");
    }
    let hourly = |now| at("2026-11-20T10:00:02Z", "0 * * * *", now);
    assert_eq!(hourly("2026-11-20T12:14:00Z"), (Protected, None));
    assert_eq!(hourly("2026-11-20T12:16:00Z"), (AtRisk, Some(SlotsMissed)));
    assert_eq!(hourly("2026-11-20T18:16:00Z"), (Unprotected, Some(Stale)));
    // Once a month: nobody waits for eight months.
    let monthly = |now| at("2026-09-01T01:00:02Z", "0 3 1 * *", now);
    assert_eq!(monthly("2026-10-31T12:00:00Z"), (Protected, None));
    assert_eq!(monthly("2026-11-01T03:00:00Z"), (AtRisk, Some(SlotsMissed)));
    assert_eq!(monthly("2026-11-08T03:00:00Z"), (Unprotected, Some(Stale)));
}

#[test]
fn a_plan_that_brings_nothing_is_not_hidden_by_another_one() {
    let far = Asked {
        every: Some(BackupType::Daily),
        due: Some(Due {
            own: due("2026-11-10T02:00:00Z", "0 3 * * *").unwrap().own,
            any: due("2026-11-21T07:00:00Z", "0 3 * * *").unwrap().any,
        }),
    };
    let near = Asked {
        every: Some(BackupType::Hourly),
        due: due("2026-11-21T07:00:00Z", "0 * * * *"),
    };
    let both = Evidence {
        plans: vec![near, far],
        proved: proved(1),
        ..nothing()
    };
    assert_eq!(state(&both), (ProtectionState::AtRisk, Some(ProtectionCause::SlotsMissed)));
}

#[test]
fn drills_and_what_is_unusual() {
    use ProtectionCause::{DrillFailed, NeverDrilled, Unusual};
    use ProtectionState::{AtRisk, Protected};
    let daily = Evidence {
        plans: vec![by_hand(Some(BackupType::Daily))],
        proved: proved(7),
        ..nothing()
    };
    let drilled = |drilled| {
        state(&Evidence {
            drilled,
            ..daily.clone()
        })
    };
    // A new source has two weeks.
    assert_eq!(drilled(Drilled::Never(now() - TimeDelta::days(14))), (Protected, None));
    assert_eq!(
        drilled(Drilled::Never(now() - TimeDelta::days(15))),
        (AtRisk, Some(NeverDrilled))
    );
    assert_eq!(drilled(Drilled::Done), (Protected, None));
    assert_eq!(drilled(Drilled::Failed), (AtRisk, Some(DrillFailed)));
    let unusual = Evidence { unusual: true, ..daily };
    assert_eq!(state(&unusual), (AtRisk, Some(Unusual)));
}

proptest! {
    #[test]
    fn never_protected_without_proof(evidence in any_evidence()) {
        let judgement = judge(&evidence, now());
        prop_assert_eq!(judgement.cause.is_none(), judgement.state == ProtectionState::Protected);
        if judgement.state == ProtectionState::Protected {
            let proved = evidence.proved.unwrap();
            prop_assert!(proved.copies >= 1 && proved.copies >= proved.wanted);
            prop_assert!(!evidence.plans.is_empty() && !evidence.unusual && evidence.drilled != Drilled::Failed);
            // No plan was due twice without a proof; where none says when, the proof is no older than usual.
            for due in evidence.plans.iter().filter_map(|plan| plan.due.as_ref()) {
                prop_assert!(due.own.iter().filter(|at| **at + GRACE < now()).count() < 2);
            }
            if evidence.plans.iter().all(|plan| plan.due.is_none()) {
                let every: Vec<_> = evidence.plans.iter().map(|plan| plan.every).collect();
                prop_assert!(now() - proved.at <= ages(&every).0);
            }
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

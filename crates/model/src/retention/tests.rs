//! What the rules keep, by example; in `histories`, by ten thousand random ones.

mod histories;

use chrono_tz::Europe::Paris;
use chrono_tz::{America, UTC};

use super::*;
use crate::backup::BackupType;

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    time("2026-11-21T08:00:00Z")
}

fn good(plan: Id, at: DateTime<Utc>) -> Candidate {
    Candidate {
        id: Id::new(),
        plan: Some(plan),
        trigger: Trigger::Scheduled,
        at,
        ended_at: Some(at),
        state: BackupState::Verified,
        aim: Some("here".to_owned()),
        pinned: false,
        unusual: false,
        base: None,
        leaving: None,
        asked: None,
        has_bytes: true,
        proved_at: Some(at),
        places: Vec::new(),
        bytes: 1,
    }
}

/// One a day at three in the morning, newest first, beginning today.
fn daily(plan: Id, days: i64) -> Vec<Candidate> {
    (0..days)
        .map(|day| good(plan, time("2026-11-21T03:00:00Z") - TimeDelta::days(day)))
        .collect()
}

fn question<'a>(plan: Id, rules: &'a Retention, backups: &'a [Candidate]) -> Question<'a> {
    Question {
        now: now(),
        zone: Paris,
        plan,
        rules,
        failed_keep_days: 30,
        aim: Some("here"),
        places: &[],
        backups,
    }
}

/// The fates in the order of the backups that were given.
fn fates(question: &Question<'_>) -> Vec<Option<Fate>> {
    let mut found = vec![None; question.backups.len()];
    for verdict in decide(question) {
        assert!(found[verdict.index].replace(verdict.fate).is_none(), "decided twice");
    }
    found
}

fn kept(question: &Question<'_>) -> Vec<usize> {
    let stays = |fate: &Option<Fate>| fate.as_ref().is_some_and(Fate::stays);
    (0..)
        .zip(fates(question))
        .filter(|(_, fate)| stays(fate))
        .map(|(at, _)| at)
        .collect()
}

fn reasons(question: &Question<'_>, index: usize) -> String {
    match fates(question)[index].clone().unwrap() {
        Fate::Leave(reason) => format!("leaves {}", reason.rule),
        Fate::Keep(reasons) => {
            let say = |r: &Reason| r.period.as_ref().map_or(r.rule.to_string(), |p| format!("{} {p}", r.rule));
            reasons.iter().map(say).collect::<Vec<_>>().join(", ")
        }
    }
}

#[test]
fn without_rules_nothing_leaves() {
    let plan = Id::new();
    let mut backups = daily(plan, 40);
    backups[30].state = BackupState::Failed;
    for rules in [
        Retention::default(),
        Retention {
            keep_daily: Some(0),
            keep_last: Some(0),
            ..Retention::default()
        },
    ] {
        assert_eq!(kept(&question(plan, &rules, &backups)).len(), 40);
    }
}

#[test]
fn the_presets() {
    let plan = Id::new();
    let backups = daily(plan, 500);
    let count = |name| kept(&question(plan, &Retention::preset(name).unwrap(), &backups)).len();
    assert_eq!(count("none"), 500);
    assert_eq!(count("last-30"), 30);
    assert_eq!(count("30-days"), 30);
    // Seven days; of four weeks one is this one's; of twelve months one is this one's, and none is a kept week's.
    assert_eq!(count("7d-4w-12m"), 7 + 2 + 11);
    assert!(crate::plan::PRESETS.iter().all(|name| Retention::preset(name).is_some()));
    assert!(Retention::preset("everything").is_none());
}

#[test]
fn each_backup_says_why() {
    let plan = Id::new();
    let backups = daily(plan, 100);
    let rules = Retention::preset("7d-4w-12m").unwrap();
    let question = question(plan, &rules, &backups);
    assert_eq!(reasons(&question, 0), "daily 2026-11-21, weekly 2026-W47, monthly 2026-11");
    assert_eq!(reasons(&question, 6), "daily 2026-11-15, weekly 2026-W46");
    assert_eq!(reasons(&question, 7), "leaves no_rule_keeps_it");
    assert_eq!(reasons(&question, 13), "weekly 2026-W45");
    assert_eq!(reasons(&question, 21), "monthly 2026-10");
}

#[test]
fn weeks_and_years_are_those_of_the_calendar_and_the_zone() {
    assert_eq!(bucket(Rule::Weekly, time("2027-01-01T12:00:00Z"), UTC), "2026-W53");
    assert_eq!(bucket(Rule::Weekly, time("2024-12-30T12:00:00Z"), UTC), "2025-W01");
    assert_eq!(bucket(Rule::Yearly, time("2026-12-31T23:30:00Z"), Paris), "2027");
    assert_eq!(bucket(Rule::Daily, time("2026-11-21T23:30:00Z"), Paris), "2026-11-22");
    assert_eq!(
        bucket(Rule::Monthly, time("2026-03-01T02:00:00Z"), America::New_York),
        "2026-02"
    );
}

#[test]
fn an_hour_that_comes_twice_is_two_hours() {
    let first = time("2026-10-25T00:30:00Z");
    let names: Vec<String> = (0..3)
        .map(|hour| bucket(Rule::Hourly, first + TimeDelta::hours(hour), Paris))
        .collect();
    assert_eq!(
        names,
        ["2026-10-25 02 +02:00", "2026-10-25 02 +01:00", "2026-10-25 03 +01:00"]
    );
    // A day of 23 and a day of 25 hours are one day each.
    for (from, hours) in [("2026-03-28T23:00:00Z", 23), ("2026-10-24T22:00:00Z", 25)] {
        let days: BTreeSet<String> = (0..hours)
            .map(|hour| bucket(Rule::Daily, time(from) + TimeDelta::hours(hour), Paris))
            .collect();
        assert_eq!(days.len(), 1, "{days:?}");
        let next = bucket(Rule::Daily, time(from) + TimeDelta::hours(hours), Paris);
        assert!(!days.contains(&next));
    }
}

#[test]
fn age_does_not_take_the_last_ones() {
    let plan = Id::new();
    let mut backups = daily(plan, 5);
    for backup in &mut backups {
        backup.at -= TimeDelta::days(400);
    }
    let rules = Retention {
        keep_days: Some(30),
        ..Retention::default()
    };
    assert_eq!(kept(&question(plan, &rules, &backups)), [0]);
    let rules = Retention {
        keep_min: Some(3),
        ..rules
    };
    assert_eq!(kept(&question(plan, &rules, &backups)), [0, 1, 2]);
}

#[test]
fn what_failed_counts_for_nothing_and_stays_for_a_while() {
    let plan = Id::new();
    let mut backups = daily(plan, 60);
    for at in [0, 1, 40] {
        backups[at].state = BackupState::Failed;
        (backups[at].has_bytes, backups[at].proved_at) = (false, None);
    }
    let rules = Retention {
        keep_last: Some(2),
        ..Retention::default()
    };
    let question = question(plan, &rules, &backups);
    assert_eq!(kept(&question), [0, 1, 2, 3]);
    assert_eq!(reasons(&question, 40), "leaves failed_long_ago");
}

#[test]
fn a_damaged_one_stays_while_there_is_nothing_better() {
    let plan = Id::new();
    let mut backups = vec![good(plan, now() - TimeDelta::days(90))];
    backups[0].state = BackupState::Failed;
    let rules = Retention::preset("last-30").unwrap();
    assert_eq!(reasons(&question(plan, &rules, &backups), 0), "nothing_better");
    backups.push(good(plan, now() - TimeDelta::days(1)));
    assert_eq!(reasons(&question(plan, &rules, &backups), 0), "leaves failed_long_ago");
}

#[test]
fn unusual_ones_push_nothing_out_until_somebody_looked() {
    let plan = Id::new();
    let mut backups = daily(plan, 10);
    let rules = Retention {
        keep_last: Some(3),
        ..Retention::default()
    };
    backups[0].unusual = true;
    backups[1].unusual = true;
    assert_eq!(
        kept(&question(plan, &rules, &backups)).len(),
        10,
        "the newest is unusual: nothing leaves"
    );
    assert_eq!(reasons(&question(plan, &rules, &backups), 9), "newest_unusual");
    backups[0].unusual = false;
    assert_eq!(
        kept(&question(plan, &rules, &backups)),
        [0, 1, 2, 3],
        "the second is kept, and does not count"
    );
    backups[1].unusual = false;
    assert_eq!(kept(&question(plan, &rules, &backups)), [0, 1, 2]);
}

#[test]
fn each_destination_and_what_the_source_points_to_keep_theirs() {
    let (plan, nas) = (Id::new(), Id::new());
    let mut backups = daily(plan, 10);
    backups[6].places = vec![nas];
    backups[8].places = vec![nas];
    for backup in &mut backups[..5] {
        backup.aim = Some("elsewhere".to_owned());
    }
    let rules = Retention {
        keep_last: Some(1),
        ..Retention::default()
    };
    let places = [nas];
    let question = Question {
        places: &places,
        ..question(plan, &rules, &backups)
    };
    assert_eq!(
        kept(&question),
        [0, 6],
        "the one at the nas is also of what the source points to"
    );
    assert_eq!(reasons(&question, 6), "last_at_destination");
    let question = Question { places: &[], ..question };
    assert_eq!(reasons(&question, 5), "last_of_source");
}

#[test]
fn another_plan_is_counted_on_unless_its_own_is_leaving() {
    let (plan, other) = (Id::new(), Id::new());
    let mut backups = daily(plan, 2);
    backups[0].aim = Some("elsewhere".to_owned());
    backups.push(good(other, now() - TimeDelta::days(9)));
    let rules = Retention {
        keep_last: Some(1),
        ..Retention::default()
    };
    assert_eq!(reasons(&question(plan, &rules, &backups), 1), "leaves no_rule_keeps_it");
    backups[2].leaving = Some(now());
    assert_eq!(reasons(&question(plan, &rules, &backups), 1), "last_of_source");
}

#[test]
fn what_others_build_on_stays() {
    let plan = Id::new();
    let mut backups = daily(plan, 10);
    backups[0].base = Some(backups[3].id);
    backups[3].base = Some(backups[7].id);
    backups[8].base = Some(backups[9].id);
    let rules = Retention {
        keep_last: Some(1),
        ..Retention::default()
    };
    assert_eq!(kept(&question(plan, &rules, &backups)), [0, 3, 7]);
}

#[test]
fn the_implausible() {
    let plan = Id::new();
    let mut backups = daily(plan, 8);
    let keep = |n| Retention {
        keep_last: Some(n),
        ..Retention::default()
    };
    let judge = |rules: &Retention, backups: &[Candidate]| {
        let question = question(plan, rules, backups);
        implausible(&question, &decide(&question)).map(|found| (found.leaving, found.verified))
    };
    assert_eq!(judge(&keep(3), &backups), Some((5, 8)));
    assert_eq!(judge(&keep(4), &backups), None, "half is not more than half");
    assert_eq!(judge(&keep(1), &backups[..4]), None, "three are few");
    for backup in &mut backups[4..] {
        backup.leaving = Some(now());
    }
    assert_eq!(judge(&keep(3), &backups), None, "what was chosen before is not chosen again");
}

#[test]
fn when_the_clock_is_doubted() {
    let clock = |latest: &str, before: &str| Clock {
        now: now(),
        latest: Some(time(latest)),
        before: Some(time(before)),
        usual: TimeDelta::days(2),
    };
    let today = "2026-11-21T07:00:00Z";
    assert_eq!(doubt(&clock(today, today)), None);
    assert_eq!(doubt(&clock("2026-11-21T08:04:00Z", today)), None);
    let later = "2028-01-01T00:00:00Z";
    assert_eq!(doubt(&clock(later, today)), Some(Doubt::Back(time(later))));
    assert_eq!(doubt(&clock(today, "2026-11-19T09:00:00Z")), None);
    let earlier = "2026-11-19T07:00:00Z";
    assert_eq!(doubt(&clock(today, earlier)), Some(Doubt::Jumped(time(earlier))));
    let nothing = Clock {
        latest: None,
        before: None,
        ..clock(today, today)
    };
    assert_eq!(doubt(&nothing), None);
}

#[test]
fn a_simulation_says_what_goes_and_when() {
    let plan = Id::new();
    let backups = daily(plan, 3);
    let rules = Retention {
        keep_last: Some(3),
        ..Retention::default()
    };
    let simulation = Simulation {
        start: question(plan, &rules, &backups),
        until: now() + TimeDelta::days(10),
        bin: TimeDelta::days(3),
    };
    let next = |after| after_interval(BackupType::Daily, backups[0].at, Paris, after);
    let gone = simulate(&simulation, next);
    let said: Vec<_> = gone
        .iter()
        .map(|d| (d.id.is_some(), d.made_at.to_string(), d.leaves_at.to_string()))
        .collect();
    assert_eq!(said.len(), 7, "{said:#?}");
    assert_eq!(
        said[0],
        (true, "2026-11-19 03:00:00 UTC".into(), "2026-11-25 03:00:00 UTC".into())
    );
    assert_eq!(
        said[3],
        (false, "2026-11-22 03:00:00 UTC".into(), "2026-11-28 03:00:00 UTC".into())
    );
    assert!(simulate(&simulation, |_| None).is_empty(), "without a run nothing is chosen");
}

#[test]
fn an_interval_stays_at_its_hour() {
    let due = |every, from: &str, after: &str| after_interval(every, time(from), Paris, time(after)).unwrap().to_string();
    let winter = "2026-10-24T01:30:00Z";
    assert_eq!(due(BackupType::Daily, winter, winter), "2026-10-25 02:30:00 UTC");
    assert_eq!(
        due(BackupType::Daily, "2026-10-24T00:30:00Z", "2026-10-24T01:00:00Z"),
        "2026-10-25 00:30:00 UTC"
    );
    assert_eq!(
        due(BackupType::Daily, "2026-03-28T01:30:00Z", "2026-03-28T02:00:00Z"),
        "2026-03-29 01:30:00 UTC"
    );
    assert_eq!(
        due(BackupType::Hourly, winter, "2026-10-25T01:00:00Z"),
        "2026-10-25 01:30:00 UTC"
    );
    assert_eq!(
        due(BackupType::Monthly, "2026-01-31T12:00:00Z", "2026-02-27T00:00:00Z"),
        "2026-02-28 12:00:00 UTC"
    );
    assert_eq!(
        due(BackupType::Weekly, "2026-01-05T12:00:00Z", "2026-11-21T08:00:00Z"),
        "2026-11-23 12:00:00 UTC"
    );
    assert!(after_interval(BackupType::Manual, now(), Paris, now()).is_none());
}

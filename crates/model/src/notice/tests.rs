//! What a channel hears, over any history.

use super::*;
use proptest::prelude::*;

fn start() -> DateTime<Utc> {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn at(minutes: i64) -> DateTime<Utc> {
    start() + TimeDelta::minutes(minutes)
}

fn standing(id: Id, level: Level, fact: &str, minutes: i64) -> Standing {
    let what = match level {
        Level::Good => What::BackupVerified,
        _ => What::BackupFailed,
    };
    Standing {
        about: About::Backup,
        id,
        level,
        fact: fact.to_owned(),
        retrying: false,
        event: Event::new(what, at(minutes), level),
        recovery: Some(What::BackupRecovered),
        success: true,
        said_by: Vec::new(),
    }
}

/// A channel that remembers.
#[derive(Default)]
struct Listener {
    wants: Wants,
    told: BTreeMap<String, Told>,
    heard: Vec<(i64, Tell)>,
}

impl Listener {
    fn hear(&mut self, standings: &[Standing], minutes: i64) -> Vec<What> {
        let decision = decide(&self.wants, &self.told, standings, &[], start(), at(minutes));
        self.told.extend(decision.told);
        decision.gone.iter().for_each(|topic| drop(self.told.remove(topic)));
        self.heard.extend(decision.tells.iter().cloned().map(|tell| (minutes, tell)));
        decision.tells.iter().map(|tell| tell.event.what).collect()
    }
}

#[test]
fn once_when_it_fails_and_once_when_it_is_over() {
    let id = Id::new();
    let mut listener = Listener::default();
    assert_eq!(listener.hear(&[standing(id, Level::Good, "a", 1)], 1), []);
    assert_eq!(listener.hear(&[standing(id, Level::Bad, "b", 2)], 2), [What::BackupFailed]);
    assert_eq!(listener.hear(&[standing(id, Level::Bad, "c", 3)], 3), [], "it still fails");
    assert_eq!(listener.hear(&[standing(id, Level::Bad, "d", 60 * 24)], 60 * 24), []);
    assert_eq!(
        listener.hear(&[standing(id, Level::Bad, "d", 60 * 24)], 60 * 24 + 2),
        [What::BackupFailed]
    );
    assert!(listener.heard[1].1.event.reminder);
    assert_eq!(
        listener.hear(&[standing(id, Level::Good, "e", 1500)], 1500),
        [What::BackupRecovered]
    );
    assert_eq!(listener.hear(&[standing(id, Level::Good, "f", 1501)], 1501), []);
}

#[test]
fn a_patient_channel_waits_for_the_last_try() {
    let id = Id::new();
    let mut listener = Listener::default();
    listener.wants.patient = true;
    let trying = Standing {
        retrying: true,
        ..standing(id, Level::Bad, "b", 2)
    };
    assert_eq!(listener.hear(std::slice::from_ref(&trying), 2), []);
    assert_eq!(
        listener.hear(&[standing(id, Level::Good, "c", 3)], 3),
        [],
        "a glitch that nobody hears of"
    );
    assert_eq!(listener.hear(&[trying], 4), []);
    assert_eq!(listener.hear(&[standing(id, Level::Bad, "d", 5)], 5), [What::BackupFailed]);
}

#[test]
fn one_fact_is_told_in_one_message() {
    let source = Named {
        id: Id::new(),
        name: "shop".into(),
    };
    let of = |mut standing: Standing| {
        standing.event.source = Some(source.clone());
        standing
    };
    let risk = |level, what| Standing {
        about: About::Protection,
        recovery: Some(What::SourceProtected),
        event: Event::new(what, at(1), level),
        ..standing(source.id, level, "x", 1)
    };
    let mut listener = Listener::default();
    let bad = [
        of(standing(Id::new(), Level::Bad, "b", 1)),
        of(risk(Level::Warning, What::SourceAtRisk)),
    ];
    assert_eq!(listener.hear(&bad, 1), [What::BackupFailed]);
    let good = [
        of(standing(bad[0].id, Level::Good, "c", 2)),
        of(risk(Level::Good, What::SourceProtected)),
    ];
    assert_eq!(listener.hear(&good, 2), [What::BackupRecovered]);
}

#[test]
fn what_a_drill_says_is_not_said_again_as_a_risk() {
    let source = Id::new();
    let drill = |level, fact: &str, minutes| Standing {
        about: About::Drill,
        recovery: Some(What::DrillRecovered),
        success: false,
        event: Event::new(What::DrillFailed, at(minutes), level),
        ..standing(source, level, fact, minutes)
    };
    let risk = |level, said_by: Vec<String>, minutes| Standing {
        about: About::Protection,
        recovery: Some(What::SourceProtected),
        success: false,
        event: Event::new(What::SourceAtRisk, at(minutes), level),
        said_by,
        ..standing(source, level, "x", minutes)
    };
    let by = || vec![drill(Level::Bad, "a", 1).topic()];
    let mut listener = Listener::default();
    let day = 60 * 24;
    assert_eq!(
        listener.hear(&[drill(Level::Good, "a", 0), risk(Level::Good, Vec::new(), 0)], 0),
        [],
        "nothing was wrong"
    );
    let bad = |fact: &str, minutes| [drill(Level::Bad, fact, minutes), risk(Level::Warning, by(), minutes)];
    assert_eq!(listener.hear(&bad("b", 1), 1), [What::DrillFailed]);
    assert_eq!(listener.hear(&bad("c", 2), 2), [], "the next one failed too");
    assert_eq!(listener.hear(&bad("c", 2), day + 2), [What::DrillFailed]);
    assert!(listener.heard[1].1.event.reminder);
    let good = [drill(Level::Good, "d", day + 3), risk(Level::Good, Vec::new(), day + 3)];
    assert_eq!(listener.hear(&good, day + 3), [What::DrillRecovered]);
    assert_eq!(listener.hear(&good, 2 * day), []);

    // Whoever does not hear of the drill hears of the risk.
    let mut limited = Listener::default();
    assert_eq!(limited.hear(&[risk(Level::Warning, by(), 1)], 1), [What::SourceAtRisk]);
    assert_eq!(limited.hear(&[risk(Level::Good, Vec::new(), 2)], 2), [What::SourceProtected]);

    // What was told before for another reason is over in one message with it.
    let mut before = Listener::default();
    assert_eq!(before.hear(&[risk(Level::Warning, Vec::new(), 1)], 1), [What::SourceAtRisk]);
    assert_eq!(before.hear(&bad("b", 2), 2), [What::DrillFailed]);
    let good: Vec<Standing> = [drill(Level::Good, "d", 3), risk(Level::Good, Vec::new(), 3)]
        .into_iter()
        .map(|mut standing| {
            standing.event.source = Some(Named {
                id: source,
                name: "shop".into(),
            });
            standing
        })
        .map(|standing| match standing.about {
            About::Protection => Standing {
                event: Event {
                    what: What::SourceProtected,
                    ..standing.event.clone()
                },
                ..standing
            },
            _ => standing,
        })
        .collect();
    assert_eq!(before.hear(&good, 3), [What::DrillRecovered]);
}

#[test]
fn an_outside_monitor_hears_each_run_once() {
    let id = Id::new();
    let mut told = BTreeMap::new();
    let mut ping = |failures, standing: Standing| {
        let decision = pings(failures, false, &told, &[standing], start());
        told.extend(decision.told);
        decision.tells.len()
    };
    assert_eq!(ping(true, standing(id, Level::Good, "a", -5)), 0, "before it listened");
    assert_eq!(ping(true, standing(id, Level::Good, "b", 1)), 1);
    assert_eq!(ping(true, standing(id, Level::Good, "b", 1)), 0);
    assert_eq!(ping(true, standing(id, Level::Bad, "c", 2)), 1);
    assert_eq!(ping(false, standing(id, Level::Bad, "d", 3)), 0, "silence tells");
}

#[test]
fn a_storm_becomes_one_message_now_and_then() {
    assert!(!is_storm(STORM - 1, Some(at(0)), at(1)));
    assert!(is_storm(STORM, Some(at(0)), at(9)));
    assert!(!is_storm(STORM, Some(at(0)), at(10)));
    assert!(
        !is_storm(STORM, Some(at(5)), at(1)),
        "a clock that was set back silences nobody"
    );
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![Just(Level::Good), Just(Level::Warning), Just(Level::Bad)]
}

proptest! {
    #[test]
    fn nothing_is_told_twice_and_nothing_bad_is_silent(
        steps in proptest::collection::vec((0..3_usize, level(), 0..3_u8, 1..2000_i64, any::<bool>()), 1..60),
        reminder_hours in 0..30_u32,
        recoveries in any::<bool>(),
        patient in any::<bool>(),
    ) {
        let ids = [Id::new(), Id::new(), Id::new()];
        let mut now = 0;
        let wants = Wants { reminder_hours, recoveries, patient, ..Wants::default() };
        let mut listener = Listener { wants, ..Listener::default() };
        let mut present: BTreeMap<Id, Standing> = BTreeMap::new();
        let mut run = 0;
        for (which, level, fails, pause, retrying) in steps {
            now += pause;
            run += 1;
            let mut next = standing(ids[which], level, &format!("run{run}"), now);
            next.retrying = retrying && level != Level::Good && fails > 0;
            present.insert(ids[which], next);
            let all: Vec<Standing> = present.values().cloned().collect();
            listener.hear(&all, now);
            // Asked again at the same time, by this process or another one: silence.
            prop_assert_eq!(listener.hear(&all, now), Vec::<What>::new());
            for standing in &all {
                let told = listener.told.get(&standing.topic());
                // What stands badly was told, or is still being tried and the channel is patient.
                let heard = told.is_some_and(|told| told.told_at.is_some());
                prop_assert!(standing.level == Level::Good || heard || (patient && standing.retrying));
                prop_assert!(!(standing.level == Level::Good && heard));
            }
        }
        let mut keys = BTreeSet::new();
        for (_, tell) in &listener.heard {
            prop_assert!(keys.insert(tell.key.clone()), "{} twice", tell.key);
        }
        // Of each topic: a recovery only after a failure, and reminders no closer than asked for.
        for id in ids {
            let prefix = format!("backup:{id}:");
            let (mut open, mut last) = (false, None::<i64>);
            for (minute, tell) in listener.heard.iter().filter(|(_, tell)| tell.key.starts_with(&prefix)) {
                if tell.event.what == What::BackupRecovered {
                    prop_assert!(open && recoveries);
                    open = false;
                } else if tell.event.reminder {
                    let distance = minute - last.unwrap_or(i64::MIN / 2);
                    prop_assert!(open && reminder_hours > 0 && distance >= i64::from(reminder_hours) * 60);
                    last = Some(*minute);
                } else {
                    open = true;
                    last = Some(*minute);
                }
            }
        }
    }
}

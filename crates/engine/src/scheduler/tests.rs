use std::cell::RefCell;

use coffre_model::backup::{BackupType, Kind};
use coffre_model::compression::Compression;
use coffre_model::plan::Retention;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn plan(name: &str, cron: &str, zone: &str, created: &str) -> Plan {
    Plan {
        id: Id::new(),
        name: name.to_owned(),
        source_id: Id::new(),
        source: name.to_owned(),
        destination_ids: vec![],
        destinations: vec![],
        kind: Kind::Full,
        every: Some(BackupType::Daily),
        compression: Compression::default(),
        encryption: None,
        key_id: None,
        retention: Retention::default(),
        schedule: Some(PlanSchedule {
            cron: cron.to_owned(),
            time_zone: zone.to_owned(),
            wait_for_network: false,
            wait_for_power: false,
        }),
        hooks: None,
        paused_at: None,
        created_at: at(created),
    }
}

/// A ledger in memory, by the rules of the catalogue's rows; and how often each slot ran.
#[derive(Default)]
struct World {
    plans: Vec<(Plan, Schedule)>,
    rows: BTreeMap<(Id, DateTime<Utc>), Slot>,
    runs: Vec<(Id, DateTime<Utc>, Trigger)>,
    waits: RefCell<Option<Error>>,
    paused: bool,
    lanes: usize,
}

impl World {
    fn new(plans: Vec<Plan>) -> World {
        let read = |plan: Plan| {
            let schedule = Schedule::of(plan.schedule.as_ref().unwrap()).unwrap();
            (plan, schedule)
        };
        World {
            plans: plans.into_iter().map(read).collect(),
            lanes: 100,
            ..World::default()
        }
    }

    /// What one process decides; another may do the same before anything of it is carried out.
    fn decided(&self, now: DateTime<Utc>) -> Vec<Action> {
        let views: Vec<View<'_>> = self
            .plans
            .iter()
            .map(|(plan, schedule)| {
                let settled = self.rows.range((plan.id, DateTime::<Utc>::MIN_UTC)..=(plan.id, now));
                let last = settled.map(|((_, at), _)| *at).next_back();
                // Nothing stays open longer than that in these stories.
                let since = now - TimeDelta::days(40);
                let recent = self.rows.range((plan.id, since)..=(plan.id, DateTime::<Utc>::MAX_UTC));
                View {
                    plan,
                    schedule: Some(schedule),
                    floor: plan.created_at.max(last.unwrap_or(plan.created_at)),
                    next: None,
                    open: recent
                        .map(|(_, slot)| slot)
                        .filter(|slot| matches!(slot.state, SlotState::Due | SlotState::Running))
                        .cloned()
                        .collect(),
                }
            })
            .collect();
        decide(now, &views, self.paused, self.lanes, &|_| self.waits.borrow().clone())
    }

    /// Carries actions out as the catalogue does: rows that exist stay, and a slot is claimed once. Answers the runs begun.
    fn carry_out(&mut self, actions: Vec<Action>) -> Vec<Start> {
        let mut begun = Vec::new();
        for action in actions {
            match action {
                Action::Add(slot) => drop(self.rows.entry((slot.plan_id, slot.at)).or_insert(slot)),
                Action::Settle { from, slot } => {
                    let row = self.rows.get_mut(&(slot.plan_id, slot.at)).unwrap();
                    if row.state == from {
                        *row = slot;
                    }
                }
                Action::Start(start) => {
                    let row = self.rows.get_mut(&(start.plan.id, start.slot.at)).unwrap();
                    if row.state == SlotState::Due {
                        row.state = SlotState::Running;
                        row.tries += 1;
                        self.runs.push((start.plan.id, start.slot.at, start.trigger));
                        begun.push(*start);
                    }
                }
            }
        }
        begun
    }

    fn end(&mut self, start: &Start, outcome: &Result<Backup>, stopping: bool, now: DateTime<Utc>) {
        let row = self.rows.get_mut(&(start.plan.id, start.slot.at)).unwrap();
        *row = after_run(row, outcome, stopping, now);
    }

    /// A tick in which every run begun ends well.
    fn tick(&mut self, now: DateTime<Utc>) -> usize {
        self.rows
            .retain(|(_, at), slot| *at <= now || !matches!(slot.state, SlotState::Due | SlotState::Skipped | SlotState::Missed));
        self.carried(now)
    }

    /// The same where no clock was ever ahead.
    fn carried(&mut self, now: DateTime<Utc>) -> usize {
        let begun = self.carry_out(self.decided(now));
        for start in &begun {
            let row = self.rows.get_mut(&(start.plan.id, start.slot.at)).unwrap();
            row.state = SlotState::Verified;
            row.ended_at = Some(now);
        }
        begun.len()
    }

    fn count(&self, state: SlotState) -> usize {
        self.rows.values().filter(|slot| slot.state == state).count()
    }

    fn only(&self, state: SlotState) -> &Slot {
        let mut found = self.rows.values().filter(|slot| slot.state == state);
        let first = found.next().unwrap();
        assert!(found.next().is_none());
        first
    }
}

fn failed(code: Code, text: &'static str) -> Result<Backup> {
    Err(Error::new(code, text))
}

#[test]
fn four_hundred_days_in_three_zones_each_slot_exactly_once() {
    let created = "2026-09-01T00:00:30Z";
    let mut world = World::new(vec![
        plan("paris", "30 2 * * *", "Europe/Paris", created),
        plan("york", "0 * * * *", "America/New_York", created),
        plan("howe", "15 2 * * 0", "Australia/Lord_Howe", created),
    ]);
    let until = at(created) + TimeDelta::days(400);
    let mut now = at(created);
    // As the loop does: from one moment to the next, a few seconds late.
    while let Some(next) = world.plans.iter().filter_map(|(_, schedule)| schedule.next_after(now)).min() {
        if next > until {
            break;
        }
        now = next + TimeDelta::seconds(7);
        world.carried(now);
    }
    for (plan, schedule) in &world.plans {
        let expected = schedule.between(plan.created_at, until, 100_000);
        let ran: Vec<_> = world.runs.iter().filter(|run| run.0 == plan.id).map(|run| run.1).collect();
        assert_eq!(ran, expected, "{}", plan.name);
    }
    assert!(world.runs.iter().all(|run| run.2 == Trigger::Scheduled));
    assert_eq!(world.count(SlotState::Verified), world.rows.len());
}

#[test]
fn closed_for_three_days_one_catch_up_and_the_others_missed() {
    let mut world = World::new(vec![plan("shop", "0 3 * * *", "UTC", "2026-11-17T12:00:00Z")]);
    assert_eq!(world.tick(at("2026-11-18T03:00:00Z")), 1);
    assert_eq!(world.tick(at("2026-11-21T09:00:00Z")), 1);
    assert_eq!(world.runs.last().unwrap().1, at("2026-11-21T03:00:00Z"));
    assert_eq!(world.runs.last().unwrap().2, Trigger::CatchUp);
    assert_eq!((world.count(SlotState::Missed), world.count(SlotState::Verified)), (2, 2));
    assert!(
        world
            .rows
            .values()
            .filter(|slot| slot.state == SlotState::Missed)
            .all(|slot| slot.reason.is_some())
    );
    assert_eq!(world.tick(at("2026-11-21T09:00:01Z")), 0);
    assert_eq!(world.tick(at("2026-11-22T03:00:00Z")), 1);
    assert_eq!(world.runs.last().unwrap().2, Trigger::Scheduled);
}

#[test]
fn a_clock_that_jumps_by_years_makes_no_storm_and_loses_no_slot() {
    let mut world = World::new(vec![plan("shop", "0 * * * *", "UTC", "2026-11-21T08:30:00Z")]);
    assert_eq!(world.tick(at("2026-11-21T09:00:00Z")), 1);
    // Four years ahead: one catch-up, and not forty thousand rows.
    assert_eq!(world.tick(at("2030-11-21T09:10:00Z")), 1);
    assert!(world.rows.len() < 1_100, "{}", world.rows.len());
    let shared = world
        .rows
        .values()
        .find_map(|slot| slot.reason.as_ref()?.detail(COUNT))
        .unwrap();
    assert!(shared.parse::<u64>().unwrap() > 8_000);
    // And back: what never ran in that future is still to come, and what was settled is not run again.
    assert_eq!(world.tick(at("2026-11-21T09:20:00Z")), 0);
    assert_eq!(world.count(SlotState::Missed), 0);
    for hour in 10..20 {
        assert_eq!(world.tick(at(&format!("2026-11-21T{hour}:00:05Z"))), 1, "{hour}");
    }
    // Back by a few hours: nothing runs twice.
    assert_eq!(world.tick(at("2026-11-21T15:30:00Z")), 0);
    assert_eq!(world.tick(at("2026-11-21T16:00:10Z")), 0);
    assert_eq!(world.tick(at("2026-11-21T20:00:10Z")), 1);
}

#[test]
fn two_processes_run_each_slot_once() {
    let mut world = World::new(vec![plan("shop", "0 * * * *", "UTC", "2026-11-21T08:30:00Z")]);
    for hour in 9..20 {
        let now = at(&format!("2026-11-21T{hour:02}:00:01Z"));
        // Both decide on what both saw.
        let (one, two) = (world.decided(now), world.decided(now + TimeDelta::seconds(1)));
        let begun = world.carry_out(one).len() + world.carry_out(two).len();
        assert_eq!(begun, 1);
        for slot in world.rows.values_mut().filter(|slot| slot.state == SlotState::Running) {
            slot.state = SlotState::Verified;
        }
    }
    assert_eq!(world.runs.len(), 11);
}

#[test]
fn a_run_longer_than_its_interval_skips_and_says_so() {
    let mut world = World::new(vec![plan("shop", "*/5 * * * *", "UTC", "2026-11-21T08:58:00Z")]);
    let begun = world.carry_out(world.decided(at("2026-11-21T09:00:00Z")));
    assert_eq!(begun.len(), 1);
    for now in ["2026-11-21T09:05:00Z", "2026-11-21T09:10:00Z"] {
        assert_eq!(world.carry_out(world.decided(at(now))).len(), 0);
    }
    let skipped: Vec<_> = world.rows.values().filter(|slot| slot.state == SlotState::Skipped).collect();
    assert_eq!(skipped.len(), 2);
    assert!(
        skipped
            .iter()
            .all(|slot| slot.reason.as_ref().unwrap().text() == "slot_still_running")
    );
    world.end(&begun[0], &failed(Code::Privilege, "x"), false, at("2026-11-21T09:12:00Z"));
    assert_eq!(world.tick(at("2026-11-21T09:15:00Z")), 1);
}

#[test]
fn what_can_pass_is_tried_again_and_what_cannot_is_not() {
    let plans = || vec![plan("shop", "0 3 * * *", "UTC", "2026-11-21T00:00:00Z")];
    for (code, tries) in [
        (Code::Unreachable, 4),
        (Code::Stalled, 4),
        (Code::DestUnreachable, 4),
        (Code::Privilege, 1),
        (Code::ToolTooOld, 1),
        (Code::Usage, 1),
        (Code::AuthFailed, 1),
        (Code::DestFull, 1),
        (Code::Cancelled, 1),
    ] {
        let mut world = World::new(plans());
        let mut now = at("2026-11-21T03:00:00Z");
        while now < at("2026-11-21T08:00:00Z") {
            for start in world.carry_out(world.decided(now)) {
                world.end(&start, &failed(code, "x"), false, now);
            }
            now += TimeDelta::seconds(10);
        }
        assert_eq!(world.runs.len(), tries, "{code}");
        assert_eq!(world.only(SlotState::Failed).reason.as_ref().unwrap().code(), code);
    }
    // Work of others on the same source, a locked secret, and the end of Coffre itself take no try away.
    for (code, stopping) in [(Code::Busy, false), (Code::SecretUnavailable, false), (Code::Cancelled, true)] {
        let mut world = World::new(plans());
        let mut now = at("2026-11-21T03:00:00Z");
        while now < at("2026-11-21T08:00:00Z") {
            for start in world.carry_out(world.decided(now)) {
                world.end(&start, &failed(code, "x"), stopping, now);
            }
            now += TimeDelta::seconds(10);
        }
        assert_eq!(world.count(SlotState::Due), 1, "{code}");
        assert!(world.runs.len() > 10);
    }
}

#[test]
fn it_waits_says_why_and_goes_on() {
    let mut world = World::new(vec![plan("shop", "0 3 * * *", "UTC", "2026-11-21T00:00:00Z")]);
    *world.waits.borrow_mut() = Some(Error::new(Code::Unreachable, "waits_for_network"));
    assert_eq!(world.tick(at("2026-11-21T03:00:00Z")), 0);
    assert_eq!(
        world.only(SlotState::Due).reason.as_ref().unwrap().text(),
        "waits_for_network"
    );
    // Nothing to write while nothing changes.
    assert!(world.decided(at("2026-11-21T03:05:00Z")).is_empty());
    *world.waits.borrow_mut() = None;
    assert_eq!(world.tick(at("2026-11-21T05:00:00Z")), 1);
    // It was seen in time, and only waited.
    assert_eq!(world.runs[0].2, Trigger::Scheduled);
    *world.waits.borrow_mut() = Some(Error::new(Code::Busy, "waits_for_power"));
    assert_eq!(world.tick(at("2026-11-22T03:00:00Z")), 0);
    assert_eq!(world.tick(at("2026-11-23T03:00:00Z")), 0);
    let missed = world.only(SlotState::Missed).reason.clone().unwrap();
    assert_eq!(missed.text(), "slot_superseded");
    assert_eq!(missed.also().next().unwrap().1.text(), "waits_for_power");
}

#[test]
fn a_pause_ends_what_waits_and_nothing_starts() {
    let mut world = World::new(vec![plan("shop", "0 * * * *", "UTC", "2026-11-21T00:30:00Z")]);
    *world.waits.borrow_mut() = Some(Error::new(Code::Busy, "waits_for_power"));
    world.tick(at("2026-11-21T01:00:00Z"));
    world.paused = true;
    assert_eq!(world.tick(at("2026-11-21T01:30:00Z")), 0);
    assert_eq!(world.only(SlotState::Skipped).reason.as_ref().unwrap().text(), "slot_paused");
    assert_eq!(world.tick(at("2026-11-21T05:30:00Z")), 0);
    assert_eq!(world.rows.len(), 1);
}

#[test]
fn only_so_many_start_at_once_the_others_wait_for_their_turn() {
    let plans = (0..5).map(|n| plan(&format!("p{n}"), "0 3 * * *", "UTC", "2026-11-21T00:00:00Z"));
    let mut world = World::new(plans.collect());
    world.lanes = 2;
    assert_eq!(world.carry_out(world.decided(at("2026-11-21T03:00:00Z"))).len(), 2);
    assert_eq!(world.count(SlotState::Due), 3);
    let told = |slot: &&Slot| slot.reason.as_ref().is_some_and(|reason| reason.text() == "slot_waits_turn");
    assert_eq!(world.rows.values().filter(told).count(), 3);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever the clock does, no slot runs twice, a look starts one run of a plan at most, and what was due last has its row.
    #[test]
    fn any_walk_of_the_clock(steps in proptest::collection::vec(-3_000_i64..6_000, 1..60)) {
        let mut world = World::new(vec![plan("shop", "7 * * * *", "Europe/Paris", "2026-10-24T00:00:00Z")]);
        let mut now = at("2026-10-24T00:00:00Z");
        for minutes in steps {
            now = (now + TimeDelta::minutes(minutes)).max(at("2026-10-24T00:00:00Z"));
            proptest::prop_assert!(world.tick(now) <= 1);
        }
        let mut ran: Vec<_> = world.runs.iter().map(|run| run.1).collect();
        let all = ran.len();
        ran.sort();
        ran.dedup();
        proptest::prop_assert_eq!(all, ran.len());
        let (_, schedule) = &world.plans[0];
        let due = schedule.between(at("2026-10-24T00:00:00Z"), now, 1_000_000);
        if let Some(last) = due.last() {
            // Run, or missed in favour of one that ran while the clock was ahead.
            let state = world.rows.get(&(world.plans[0].0.id, *last)).map(|slot| slot.state);
            proptest::prop_assert!(matches!(state, Some(SlotState::Verified | SlotState::Missed)), "{:?}", state);
        }
    }
}

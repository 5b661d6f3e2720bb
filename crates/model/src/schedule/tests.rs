use std::collections::HashSet;

use chrono::{Datelike, NaiveDate};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn schedule(text: &str, zone: &str) -> Schedule {
    Schedule::new(text, zone).unwrap()
}

fn local(schedule: &Schedule, from: &str, until: &str) -> Vec<String> {
    let slots = schedule.between(at(from), at(until), 1_000);
    let text = |slot: DateTime<Utc>| slot.with_timezone(&schedule.zone).format("%m-%d %H:%M %:z").to_string();
    slots.into_iter().map(text).collect()
}

#[test]
fn names_and_presets() {
    let next = |text: &str| {
        schedule(text, "UTC")
            .next_after(at("2026-11-21T12:00:00Z"))
            .unwrap()
            .to_rfc3339()
    };
    for (text, expected) in [
        ("@hourly", "2026-11-21T13:00:00"),
        ("@daily", "2026-11-22T03:00:00"),
        // A Monday.
        ("@weekly", "2026-11-23T03:00:00"),
        ("@monthly", "2026-12-01T03:00:00"),
        ("@YEARLY", "2027-01-01T03:00:00"),
        ("0 3 * * mon-fri", "2026-11-23T03:00:00"),
        ("0 3 * * 1-5", "2026-11-23T03:00:00"),
        ("0 3 * * 0", "2026-11-22T03:00:00"),
        ("0 3 * * 7", "2026-11-22T03:00:00"),
        ("0 3 * * SUN", "2026-11-22T03:00:00"),
        ("0 13 * * fri-sun", "2026-11-21T13:00:00"),
        ("0 3 * * 6-7", "2026-11-22T03:00:00"),
        ("30 4 1 jan *", "2027-01-01T04:30:00"),
        ("0 0 29 2 *", "2028-02-29T00:00:00"),
        ("*/15 * * * *", "2026-11-21T12:15:00"),
        ("5-59/20 12 * * *", "2026-11-21T12:05:00"),
        ("10/30 12 * * *", "2026-11-21T12:10:00"),
        ("  0   3  * *\t* ", "2026-11-22T03:00:00"),
        // Either day.
        ("0 3 30 * mon", "2026-11-23T03:00:00"),
        ("0 3 22 * mon", "2026-11-22T03:00:00"),
        // An impossible day of month beside a weekday: the weekday counts.
        ("0 3 31 2 mon", "2027-02-01T03:00:00"),
        // Both, where one begins with a star.
        ("0 3 */2 * mon", "2026-11-23T03:00:00"),
    ] {
        assert_eq!(next(text), format!("{expected}+00:00"), "{text}");
    }
}

#[test]
fn what_is_refused_and_why() {
    for (text, key) in [
        ("", "cron_fields"),
        ("* * * *", "cron_fields"),
        ("0 0 3 * * *", "cron_seconds"),
        ("* * * * * *", "cron_seconds"),
        ("0 0 3 * * * 2027", "cron_seconds"),
        ("0 0 31 2 *", "cron_never"),
        ("0 0 30 feb *", "cron_never"),
        ("0 0 31 4,6,9,11 *", "cron_never"),
        ("0 0 31 */2 *", ""),
        ("60 * * * *", "cron_value"),
        ("* 24 * * *", "cron_value"),
        ("* * 0 * *", "cron_value"),
        ("* * 32 * *", "cron_value"),
        ("* * * 13 *", "cron_value"),
        ("* * * * 8", "cron_value"),
        ("* * * * lun", "cron_value"),
        ("*/0 * * * *", "cron_value"),
        ("*/-1 * * * *", "cron_value"),
        ("+5 * * * *", "cron_value"),
        ("1,,2 * * * *", "cron_value"),
        ("1- * * * *", "cron_value"),
        ("? * * * *", "cron_value"),
        ("* * L * *", "cron_value"),
        ("* * * * 5#2", "cron_value"),
        ("99999999999999999999 * * * *", "cron_value"),
        ("5-1 * * * *", "cron_backwards"),
        ("@reboot", "cron_name"),
        ("@every 5m", "cron_name"),
    ] {
        let told = Schedule::new(text, "UTC");
        match key {
            "" => assert!(told.is_ok(), "{text}"),
            key => {
                let error = told.unwrap_err();
                assert_eq!((error.text(), error.code()), (key, Code::Usage), "{text}");
            }
        }
    }
    for zone in ["Europe/Pariss", "", "paris", "CET+1", "../etc/passwd"] {
        assert_eq!(
            Schedule::new("@daily", zone).unwrap_err().text(),
            "time_zone_unknown",
            "{zone}"
        );
    }
    assert!(Schedule::new(&"1,".repeat(200), "UTC").is_err());
}

#[test]
fn a_time_that_spring_leaves_out_comes_once_and_one_that_autumn_repeats_comes_once() {
    let daily = schedule("30 2 * * *", "Europe/Paris");
    assert_eq!(
        local(&daily, "2027-03-27T00:00:00Z", "2027-03-29T12:00:00Z"),
        ["03-27 02:30 +01:00", "03-28 03:00 +02:00", "03-29 02:30 +02:00"]
    );
    assert_eq!(
        local(&daily, "2026-10-24T00:00:00Z", "2026-10-26T12:00:00Z"),
        ["10-24 02:30 +02:00", "10-25 02:30 +02:00", "10-26 02:30 +01:00"]
    );
    // Everything that was left out comes due together, once, also where its end is a slot itself.
    let often = schedule("*/20 2-3 * * *", "Europe/Paris");
    assert_eq!(
        local(&often, "2027-03-28T00:00:00Z", "2027-03-28T12:00:00Z"),
        ["03-28 03:00 +02:00", "03-28 03:20 +02:00", "03-28 03:40 +02:00"]
    );
    // In the second of the two hours nothing is due again.
    assert_eq!(daily.next_after(at("2026-10-25T01:10:00Z")), Some(at("2026-10-26T01:30:00Z")));
    // Half an hour is left out; a whole day is.
    let howe = schedule("15 2 * * *", "Australia/Lord_Howe");
    assert_eq!(
        local(&howe, "2026-10-03T12:00:00Z", "2026-10-04T00:00:00Z"),
        ["10-04 02:30 +11:00"]
    );
    let apia = schedule("0 12 * * *", "Pacific/Apia");
    assert_eq!(
        local(&apia, "2011-12-29T12:00:00Z", "2011-12-31T12:00:00Z"),
        ["12-29 12:00 -10:00", "12-31 00:00 +14:00", "12-31 12:00 +14:00"]
    );
    // Midnight itself is left out.
    let beirut = schedule("0 0 * * *", "Asia/Beirut");
    assert_eq!(
        local(&beirut, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"),
        ["03-29 01:00 +03:00"]
    );
}

#[test]
fn every_hour_goes_by_elapsed_time() {
    for (zone, from, until) in [
        ("Europe/Paris", "2027-03-27T12:00:00Z", "2027-03-28T12:00:00Z"),
        ("Europe/Paris", "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"),
        ("America/New_York", "2026-10-31T12:00:00Z", "2026-11-01T12:00:00Z"),
    ] {
        let slots = schedule("0 * * * *", zone).between(at(from), at(until), 100);
        assert_eq!(slots.len(), 24, "{zone}");
        assert!(slots.windows(2).all(|pair| pair[1] - pair[0] == TimeDelta::hours(1)));
        let slots = schedule("*/15 * * * *", zone).between(at(from), at(until), 100);
        assert_eq!(slots.len(), 96, "{zone}");
    }
    // On the days named alone.
    let sundays = schedule("0 * * * sun", "Europe/Paris");
    let slots = sundays.between(at("2026-10-24T12:00:00Z"), at("2026-10-27T00:00:00Z"), 100);
    assert_eq!(slots.len(), 25);
}

#[test]
fn a_slot_after_a_change_of_clock_says_so() {
    let daily = schedule("0 3 * * *", "Europe/Paris");
    let remarks = |from: &str| daily.upcoming(at(from), 5).iter().map(|slot| slot.remark).collect::<Vec<_>>();
    let forward = Some(ClockChange::Forward);
    assert_eq!(remarks("2027-03-26T12:00:00Z"), [None, forward, None, None, None]);
    assert_eq!(
        remarks("2026-10-22T12:00:00Z"),
        [None, None, Some(ClockChange::Back), None, None]
    );
    assert_eq!(remarks("2026-11-21T12:00:00Z"), [None; 5]);
}

#[test]
fn the_interval_of_an_expression() {
    let from = at("2026-11-21T12:00:00Z");
    for (text, every) in [
        ("* * * * *", BackupType::Hourly),
        ("@hourly", BackupType::Hourly),
        ("0 3,15 * * *", BackupType::Daily),
        ("@daily", BackupType::Daily),
        ("0 3 * * 1-5", BackupType::Daily),
        ("@weekly", BackupType::Weekly),
        ("0 3 * * 1,4", BackupType::Weekly),
        ("0 3 1,15 * *", BackupType::Weekly),
        ("@monthly", BackupType::Monthly),
        ("@yearly", BackupType::Monthly),
    ] {
        assert_eq!(schedule(text, "Europe/Paris").backup_type(from), every, "{text}");
    }
}

#[test]
fn what_an_expression_says() {
    let said = |text: &str| schedule(text, "UTC").explanation();
    let explained = |times, days| Explanation {
        times,
        days,
        months: vec![],
    };
    assert_eq!(said("*/15 * * * *"), explained(Times::Minutes(15), Days::Every));
    assert_eq!(said("* * * * *"), explained(Times::Minutes(1), Days::Every));
    assert_eq!(said("@hourly"), explained(Times::Hourly(vec![0]), Days::Every));
    assert_eq!(said("5,35 * * * *"), explained(Times::Hourly(vec![5, 35]), Days::Every));
    assert_eq!(said("30 */6 * * *"), explained(Times::Hours(6, 30), Days::Every));
    assert_eq!(said("0 3 * * 1-5"), explained(Times::At(vec![(3, 0)]), Days::Working));
    assert_eq!(
        said("0 3 * * 0,6"),
        explained(Times::At(vec![(3, 0)]), Days::OfWeek(vec![6, 0]))
    );
    assert_eq!(
        said("0 3,15 1 * mon"),
        explained(Times::At(vec![(3, 0), (15, 0)]), Days::Either(vec![1], vec![1]))
    );
    assert_eq!(said("0 3 1-31 * *").days, Days::Every);
    assert_eq!(said("0 3 1-31 * mon").days, Days::Every);
    assert_eq!(said("0 3 1 1,7 *").months, [1, 7]);
    assert_eq!(said("*/5 8-18 * * *").times, Times::Between(5, (8, 0), (18, 55)));
    assert_eq!(said("* 8-9 * * *").times, Times::Between(1, (8, 0), (9, 59)));
    assert_eq!(said("15 8-18 * * *").times, Times::Between(60, (8, 15), (18, 15)));
    assert!(matches!(said("*/5 8-10,12 * * *").times, Times::Within(..)));
    assert!(matches!(said("1,7 8-18 * * *").times, Times::Within(..)));
    assert!(matches!(said("*/5 8 * * *").times, Times::Within(..)));
}

/// One year and more in three zones, with both changes of clock: against a walk through every minute of real time.
#[test]
fn four_hundred_days_each_slot_exactly_once() {
    for zone in ["Europe/Paris", "America/New_York", "Australia/Lord_Howe"] {
        for text in [
            "30 2 * * *",
            "0 1-3 * * *",
            "*/30 2 * * *",
            "0 3 * * 1",
            "15 * * * *",
            "0 0 1 * *",
        ] {
            let schedule = schedule(text, zone);
            let (from, until) = (at("2026-09-01T00:00:00Z"), at("2027-10-06T00:00:00Z"));
            let slots = schedule.between(from, until, 100_000);
            assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "{zone} {text}");
            let mut expected = Vec::new();
            let mut seen = HashSet::new();
            let mut owed = false;
            let mut before = (from + schedule.offset(from)).naive_utc();
            let mut now = from;
            while now < until {
                now += TimeDelta::minutes(1);
                let wall = (now + schedule.offset(now)).naive_utc();
                // Clocks went forward: what lies between was left out.
                let mut left_out = before + TimeDelta::minutes(1);
                while left_out < wall {
                    owed |= !schedule.fields.every_hour() && due(&schedule, left_out) && seen.insert(left_out);
                    left_out += TimeDelta::minutes(1);
                }
                let is_due = due(&schedule, wall) && (schedule.fields.every_hour() || seen.insert(wall));
                if is_due || owed {
                    expected.push(now);
                }
                owed = false;
                before = before.max(wall);
                if schedule.fields.every_hour() {
                    before = wall;
                }
            }
            assert_eq!(slots, expected, "{zone} {text}");
        }
    }
}

fn due(schedule: &Schedule, wall: NaiveDateTime) -> bool {
    let fields = &schedule.fields;
    fields.minutes.contains(&wall.minute()) && fields.hours.contains(&wall.hour()) && names_day(fields, wall.date())
}

fn any_number(low: u32, high: u32) -> impl Strategy<Value = String> {
    let one = (low..=high).prop_map(|n| n.to_string());
    let range = (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    let stepped = (low..=high, low..=high, 1..=high).prop_map(|(a, b, n)| format!("{}-{}/{n}", a.min(b), a.max(b)));
    let part = prop_oneof![3 => one, 1 => range, 1 => stepped];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join(","))
}

fn or_star(low: u32, high: u32) -> impl Strategy<Value = String> {
    prop_oneof![1 => Just("*".to_owned()), 1 => any_number(low, high)]
}

fn any_expression() -> impl Strategy<Value = String> {
    (
        any_number(0, 59),
        or_star(0, 23),
        or_star(1, 31),
        or_star(1, 12),
        or_star(0, 7),
    )
        .prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
}

fn any_instant() -> impl Strategy<Value = DateTime<Utc>> {
    (0_i64..10 * 366 * 24 * 60).prop_map(|minutes| at("2024-01-01T00:00:00Z") + TimeDelta::minutes(minutes))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The oracle: an implementation of another hand. In UTC, where no clock changes.
    #[test]
    fn agrees_with_croner(text in any_expression(), from in any_instant()) {
        match Schedule::new(&text, "UTC") {
            Ok(schedule) => {
                let oracle = croner::Cron::from_str(&text).unwrap();
                let mut expected = from;
                let mut found = from;
                for _ in 0..5 {
                    expected = oracle.find_next_occurrence(&expected, false).unwrap();
                    found = schedule.next_after(found).unwrap();
                    prop_assert_eq!(found, expected, "{}", text);
                }
            }
            Err(error) => prop_assert_eq!(error.text(), "cron_never", "{}", text),
        }
    }

    /// Likewise in zones whose clocks change, for given hours. (Croner does not add what lies in the middle of a longer list.)
    #[test]
    fn agrees_with_croner_where_clocks_change(
        minute in 0_u32..60, hour in 0_u32..24, from in any_instant(),
        zone in prop::sample::select(vec!["Europe/Paris", "America/New_York", "Africa/Cairo"]),
    ) {
        let text = format!("{minute} {hour} * * *");
        let schedule = Schedule::new(&text, zone).unwrap();
        let oracle = croner::Cron::from_str(&text).unwrap();
        let expected = oracle.find_next_occurrence(&from.with_timezone(&schedule.zone), false).unwrap();
        prop_assert_eq!(schedule.next_after(from), Some(expected.with_timezone(&Utc)), "{} {}", text, zone);
    }

    #[test]
    fn what_is_next_is_after_and_nothing_lies_between(text in any_expression(), from in any_instant(),
        zone in prop::sample::select(vec!["Europe/Paris", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu"])) {
        if let Ok(schedule) = Schedule::new(&text, zone) {
            let next = schedule.next_after(from).unwrap();
            prop_assert!(next > from);
            let middle = from + (next - from) / 2;
            prop_assert_eq!(schedule.next_after(middle), Some(next));
            prop_assert_eq!(schedule.next_after(next - TimeDelta::milliseconds(1)), Some(next));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}", zone in "\\PC{0,20}") {
        // Whether it is understood does not matter here.
        let _any = Schedule::new(&text, &zone).map(|s| s.next_after(at("2026-11-21T12:00:00Z")));
        let _any = Schedule::new(&text, "UTC").map(|s| s.explanation());
    }
}

#[test]
fn a_day_is_a_day() {
    let fields = schedule("0 3 13 * fri", "UTC").fields;
    let day = NaiveDate::from_ymd_opt(2026, 11, 13).unwrap();
    assert!(names_day(&fields, day) && day.weekday().num_days_from_sunday() == 5);
}

//! Schedules: five Unix fields and a time zone, and the instants at which they are due. Pure: the time is an argument.
//!
//! The `cron` crate finds the days and times; what it does otherwise than Unix, or not at all, is decided here: five fields, 0 and 7 are
//! Sunday, day of month **or** day of week, changes of clock, and expressions that never come due. It is asked in wall-clock time without
//! a zone, and the answer is put into the zone here.
//!
//! # Changes of clock
//! A schedule with given hours (`30 2 * * *`) is due once a wall-clock time: what falls into the hour that is left out in spring comes
//! due at the first instant after it, once; in the hour that comes twice in autumn the first one counts. A schedule of every hour
//! (`*/15 * * * *`) goes by elapsed time: nothing is added in spring, and the hour that comes twice has its slots twice, at different
//! instants.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use crate::backup::{BackupType, words};
use crate::error::{Code, Error, Result};
use crate::plan::PlanSchedule;

mod explain;
mod fields;

pub use explain::{Days, Explanation, Times};
use fields::Fields;

/// The longest expression that is read.
const LONGEST: usize = 256;

words! {
    /// What is odd about a slot.
    ClockChange {
        /// Clocks go forward between the slot before and this one.
        Forward = "clock_forward",
        /// Clocks go back between the slot before and this one.
        Back = "clock_back",
    }
}

/// A slot to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upcoming {
    /// When.
    pub at: DateTime<Utc>,
    /// Whether clocks change before it.
    pub remark: Option<ClockChange>,
}

/// When something is due: an expression that was understood, in a time zone that exists.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    zone: Tz,
    fields: Fields,
    /// One for each way in which a day can be due: day of month and day of week together, or each alone.
    crons: Vec<cron::Schedule>,
}

/// The expression of an interval, at Coffre's usual time. Nothing for `manual`.
pub fn preset(every: BackupType) -> Option<&'static str> {
    match every {
        BackupType::Hourly => Some("0 * * * *"),
        BackupType::Daily => Some("0 3 * * *"),
        BackupType::Weekly => Some("0 3 * * 1"),
        BackupType::Monthly => Some("0 3 1 * *"),
        BackupType::Manual => None,
    }
}

fn named(name: &str) -> Option<&'static str> {
    match name.to_ascii_lowercase().as_str() {
        "@hourly" => preset(BackupType::Hourly),
        "@daily" => preset(BackupType::Daily),
        "@weekly" => preset(BackupType::Weekly),
        "@monthly" => preset(BackupType::Monthly),
        "@yearly" | "@annually" => Some("0 3 1 1 *"),
        "@midnight" => Some("0 0 * * *"),
        _ => None,
    }
}

/// The time zone of this name.
///
/// # Errors
/// `USAGE` for one that is not among the IANA names.
pub fn time_zone(name: &str) -> Result<Tz> {
    Tz::from_str(name).map_err(|_| {
        let given: String = name.chars().take(100).collect();
        Error::new(Code::Usage, "time_zone_unknown").with("given", given)
    })
}

impl Schedule {
    /// Reads five fields (minute, hour, day of month, month, day of week) or one of `@hourly @daily @weekly @monthly @yearly @midnight`,
    /// meant in an IANA time zone.
    ///
    /// # Errors
    /// `USAGE` with the reason: not five fields, a value out of range, a date that never comes, an unknown zone.
    pub fn new(expression: &str, zone: &str) -> Result<Schedule> {
        let zone = time_zone(zone)?;
        let given = expression.trim();
        let shown: String = given.chars().take(100).collect();
        if given.len() > LONGEST || given.is_empty() {
            return Err(Error::new(Code::Usage, "cron_fields").with("given", shown).with("found", 0));
        }
        let text = match named(given) {
            Some(text) => text.to_owned(),
            None if given.starts_with('@') => return Err(Error::new(Code::Usage, "cron_name").with("given", shown)),
            None => given.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        let fields = Fields::parse(&text)?;
        let crons = fields
            .expressions()
            .iter()
            .map(|text| cron::Schedule::from_str(text).map_err(|e| Error::internal("read a schedule", e)))
            .collect::<Result<Vec<_>>>()?;
        let schedule = Schedule {
            text,
            zone,
            fields,
            crons,
        };
        if schedule.fields.never() {
            return Err(Error::new(Code::Usage, "cron_never").with("given", shown));
        }
        Ok(schedule)
    }

    /// The schedule of a plan.
    ///
    /// # Errors
    /// `USAGE`, where the zone has vanished since, or the expression is not one.
    pub fn of(plan: &PlanSchedule) -> Result<Schedule> {
        Schedule::new(&plan.cron, &plan.time_zone)
    }

    /// The five fields.
    pub fn expression(&self) -> &str {
        &self.text
    }

    /// The name of the time zone.
    pub fn zone_name(&self) -> &'static str {
        self.zone.name()
    }

    /// The time zone.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The first instant after `after` at which it is due. Nothing at the end of the calendar (the year 2100).
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.fields.every_hour() {
            self.next_elapsed(after)
        } else {
            self.next_on_the_wall(after)
        }
    }

    /// Every instant after `after` up to `until` at which it is due, in order: the first `limit` of them.
    pub fn between(&self, after: DateTime<Utc>, until: DateTime<Utc>, limit: usize) -> Vec<DateTime<Utc>> {
        let mut found = Vec::new();
        let mut at = after;
        while found.len() < limit {
            match self.next_after(at) {
                Some(next) if next <= until => {
                    found.push(next);
                    at = next;
                }
                _ => break,
            }
        }
        found
    }

    /// The next `count` slots after `after`, with a remark where clocks change before one of them.
    pub fn upcoming(&self, after: DateTime<Utc>, count: usize) -> Vec<Upcoming> {
        let mut before = after;
        let slots = self.between(after, DateTime::<Utc>::MAX_UTC, count);
        let remark = |at: DateTime<Utc>| {
            let (was, is) = (self.offset(before), self.offset(at));
            before = at;
            let remark = match is.cmp(&was) {
                std::cmp::Ordering::Greater => Some(ClockChange::Forward),
                std::cmp::Ordering::Less => Some(ClockChange::Back),
                std::cmp::Ordering::Equal => None,
            };
            Upcoming { at, remark }
        };
        slots.into_iter().map(remark).collect()
    }

    /// The interval that its backups stand for: the longest one that is no longer than the usual time between two slots.
    pub fn backup_type(&self, from: DateTime<Utc>) -> BackupType {
        let slots = self.between(from, DateTime::<Utc>::MAX_UTC, 33);
        let mut gaps: Vec<TimeDelta> = slots.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort();
        // The one in the middle: neither a week-end nor a change of clock makes a daily plan something else.
        match gaps.get(gaps.len() / 2) {
            Some(gap) if *gap <= TimeDelta::hours(2) => BackupType::Hourly,
            Some(gap) if *gap <= TimeDelta::hours(49) => BackupType::Daily,
            Some(gap) if *gap <= TimeDelta::days(15) => BackupType::Weekly,
            _ => BackupType::Monthly,
        }
    }

    /// What it says, as structure: the words are made elsewhere.
    pub fn explanation(&self) -> Explanation {
        self.fields.explanation()
    }

    fn offset(&self, at: DateTime<Utc>) -> TimeDelta {
        let seconds = self.zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc();
        TimeDelta::seconds(seconds.into())
    }

    /// The first wall-clock time after `after` that the fields name.
    fn next_naive(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        // The crate is asked in UTC, which has no changes of clock: what it answers is a wall-clock time.
        let after = after.and_utc();
        let next = |cron: &cron::Schedule| cron.after(&after).next();
        self.crons.iter().filter_map(next).min().map(|at| at.naive_utc())
    }

    fn next_on_the_wall(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut naive = after.with_timezone(&self.zone).naive_local();
        // Wall-clock times become instants in the same order; those of the hour that comes twice lie behind us in its second half.
        loop {
            naive = self.next_naive(naive)?;
            let at = self.first_instant(naive)?;
            if at > after {
                return Some(at);
            }
        }
    }

    /// The instant of a wall-clock time: the first of two, the first one after it where there is none.
    fn first_instant(&self, naive: NaiveDateTime) -> Option<DateTime<Utc>> {
        let mut at = naive;
        // The longest time that clocks ever left out is a day (Samoa, 2011).
        for _ in 0..=2 * 24 * 60 {
            if let Some(instant) = self.zone.from_local_datetime(&at).earliest() {
                return Some(instant.with_timezone(&Utc));
            }
            at = at.checked_add_signed(TimeDelta::minutes(1))?;
        }
        None
    }

    fn next_elapsed(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut from = after;
        let mut offset = self.offset(after);
        // One turn for each change of clock before the next slot; nobody changes clocks so often.
        for _ in 0..1_000 {
            let naive = self.next_naive(from.naive_utc().checked_add_signed(offset)?)?;
            let at = naive.checked_sub_signed(offset)?.and_utc();
            match self.first_change(from, at, offset) {
                None => return Some(at),
                Some(change) => {
                    // The change itself may be a slot.
                    from = change.checked_sub_signed(TimeDelta::seconds(1))?;
                    offset = self.offset(change);
                }
            }
        }
        None
    }

    /// The first instant after `from`, `until` included, at which the offset is not `offset`.
    fn first_change(&self, from: DateTime<Utc>, until: DateTime<Utc>, offset: TimeDelta) -> Option<DateTime<Utc>> {
        let mut low = from;
        while low < until {
            let mut high = low.checked_add_signed(TimeDelta::hours(12))?.min(until);
            if self.offset(high) != offset {
                // `from` may lie a second before a change that has been seen: what counts is the next one.
                low = low.max(from + TimeDelta::seconds(1));
                while high - low > TimeDelta::seconds(1) {
                    let middle = low + TimeDelta::seconds((high - low).num_seconds() / 2);
                    if self.offset(middle) == offset {
                        low = middle;
                    } else {
                        high = middle;
                    }
                }
                return Some(high.with_nanosecond(0).unwrap_or(high));
            }
            low = high;
        }
        None
    }
}

/// The longest month of each number.
fn days_in(month: u32) -> u32 {
    match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Numbers of a field.
type Set = BTreeSet<u32>;

/// Whether a wall-clock day is named by the fields; for tests.
#[cfg(test)]
fn names_day(fields: &Fields, day: chrono::NaiveDate) -> bool {
    use chrono::Datelike;
    let weekday = day.weekday().num_days_from_sunday();
    let (of_month, of_week) = (fields.days.contains(&day.day()), fields.weekdays.contains(&weekday));
    let named = if fields.either {
        of_month || of_week
    } else {
        of_month && of_week
    };
    named && fields.months.contains(&day.month())
}

#[cfg(test)]
mod tests;

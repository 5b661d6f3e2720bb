//! What an expression says, as structure: words in both languages are made from it elsewhere.

use serde::{Deserialize, Serialize};

use super::Set;
use super::fields::Fields;

/// How many times of day are named one by one.
const NAMED: usize = 6;

/// An expression explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The times of a day.
    pub times: Times,
    /// The days.
    pub days: Days,
    /// The months, where they are not all: 1 is January.
    pub months: Vec<u32>,
}

/// The times of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// Every so many minutes, from the full hour on.
    Minutes(u32),
    /// Every so many hours from midnight on, at this minute.
    Hours(u32, u32),
    /// In every hour, at these minutes.
    Hourly(Vec<u32>),
    /// At these times, hour and minute.
    At(Vec<(u32, u32)>),
    /// Every so many minutes (60: every hour), from one time of day to another, both included.
    Between(u32, (u32, u32), (u32, u32)),
    /// At these minutes of these hours.
    Within(Vec<u32>, Vec<u32>),
}

/// The days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Days {
    /// All.
    Every,
    /// Monday to Friday.
    Working,
    /// These, Monday first; 0 is Sunday.
    OfWeek(Vec<u32>),
    /// These days of the month.
    OfMonth(Vec<u32>),
    /// Those of the month, and those of the week.
    Either(Vec<u32>, Vec<u32>),
    /// Those of the month that are also of the week.
    Both(Vec<u32>, Vec<u32>),
}

/// `n` where the set is 0, n, 2n, … up to `end`, and n divides it.
fn step(set: &Set, end: u32) -> Option<u32> {
    let n = end / u32::try_from(set.len()).ok()?;
    let steps = n > 0 && end.is_multiple_of(n) && set.iter().copied().eq((0..end).step_by(n as usize));
    steps.then_some(n)
}

/// A stretch of the day: hours without a gap, and minutes that go on from one hour to the next.
fn between(minutes: &[u32], step: Option<u32>, hours: &[u32]) -> Option<Times> {
    let (&first, &last) = (hours.first()?, hours.last()?);
    if last == first || (last - first) as usize + 1 != hours.len() {
        return None;
    }
    match (minutes, step) {
        (&[minute], _) => Some(Times::Between(60, (first, minute), (last, minute))),
        (_, Some(n)) => Some(Times::Between(n, (first, 0), (last, 60 - n))),
        _ => None,
    }
}

impl Fields {
    pub(super) fn explanation(&self) -> Explanation {
        Explanation {
            times: self.times(),
            days: self.explained_days(),
            months: match self.months.len() {
                12 => Vec::new(),
                _ => self.months.iter().copied().collect(),
            },
        }
    }

    fn times(&self) -> Times {
        let minutes: Vec<u32> = self.minutes.iter().copied().collect();
        let hours: Vec<u32> = self.hours.iter().copied().collect();
        match (minutes.as_slice(), step(&self.minutes, 60), step(&self.hours, 24)) {
            (_, Some(n), Some(1)) if n < 60 => Times::Minutes(n),
            (_, _, Some(1)) => Times::Hourly(minutes),
            (&[minute], _, Some(n)) if n < 24 => Times::Hours(n, minute),
            _ if minutes.len() * hours.len() <= NAMED => {
                let times = hours.iter().flat_map(|hour| minutes.iter().map(|minute| (*hour, *minute)));
                Times::At(times.collect())
            }
            _ => between(&minutes, step(&self.minutes, 60), &hours).unwrap_or(Times::Within(minutes, hours)),
        }
    }

    fn explained_days(&self) -> Days {
        let mut week: Vec<u32> = self.weekdays.iter().copied().collect();
        week.sort_by_key(|day| (day + 6) % 7);
        let month: Vec<u32> = self.days.iter().copied().collect();
        match (month.len(), week.len()) {
            // Either of two, and one of them is all.
            (31, _) | (_, 7) if self.either => Days::Every,
            _ if self.either => Days::Either(month, week),
            (31, 7) => Days::Every,
            (31, _) if week == [1, 2, 3, 4, 5] => Days::Working,
            (31, _) => Days::OfWeek(week),
            (_, 7) => Days::OfMonth(month),
            _ => Days::Both(month, week),
        }
    }
}

//! The five fields: read as Unix does, written as the `cron` crate wants them.

use super::{Set, days_in};
use crate::error::{Code, Error, Result};

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What an expression names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) minutes: Set,
    pub(super) hours: Set,
    pub(super) days: Set,
    pub(super) months: Set,
    /// 0 is Sunday.
    pub(super) weekdays: Set,
    /// A day is due by its number **or** by its weekday: both are given, and neither begins with `*`.
    pub(super) either: bool,
}

/// A field: its place in the expression, what it may hold, and the names it knows.
struct Kind {
    number: u32,
    low: u32,
    high: u32,
    names: &'static [&'static str],
    /// What the first name means.
    first: u32,
}

const KINDS: [Kind; 5] = [
    Kind {
        number: 1,
        low: 0,
        high: 59,
        names: &[],
        first: 0,
    },
    Kind {
        number: 2,
        low: 0,
        high: 23,
        names: &[],
        first: 0,
    },
    Kind {
        number: 3,
        low: 1,
        high: 31,
        names: &[],
        first: 0,
    },
    Kind {
        number: 4,
        low: 1,
        high: 12,
        names: &MONTHS,
        first: 1,
    },
    // 7 is Sunday as well.
    Kind {
        number: 5,
        low: 0,
        high: 7,
        names: &WEEKDAYS,
        first: 0,
    },
];

impl Kind {
    fn wrong(&self, part: &str) -> Error {
        let given: String = part.chars().take(40).collect();
        Error::new(Code::Usage, "cron_value")
            .with("field", self.number)
            .with("given", given)
            .with("low", self.low)
            .with("high", self.high)
    }

    fn value(&self, text: &str, part: &str) -> Result<u32> {
        let name = text.to_ascii_lowercase();
        if let Some(at) = (self.first..).zip(self.names).find(|(_, known)| **known == name) {
            return Ok(at.0);
        }
        // `+5` and the like are numbers to Rust, not to cron.
        let digits = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u32>() {
            Ok(value) if digits && (self.low..=self.high).contains(&value) => Ok(value),
            _ => Err(self.wrong(part)),
        }
    }

    fn parse(&self, text: &str) -> Result<Set> {
        let mut set = Set::new();
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (part, None),
            };
            let (low, high) = match (range, range.split_once('-')) {
                // `*` of weekdays is seven days, not eight.
                ("*", _) => (self.low, if self.number == 5 { 6 } else { self.high }),
                (_, Some((low, high))) => {
                    let (low, high) = (self.value(low, part)?, self.value(high, part)?);
                    // `fri-sun`: Sunday at the end of a week.
                    let high = if self.number == 5 && high == 0 && low > 0 { 7 } else { high };
                    if low > high {
                        let given: String = part.chars().take(40).collect();
                        return Err(Error::new(Code::Usage, "cron_backwards")
                            .with("field", self.number)
                            .with("given", given));
                    }
                    (low, high)
                }
                (_, None) => {
                    let low = self.value(range, part)?;
                    (low, if step.is_some() { self.high } else { low })
                }
            };
            let step = match step {
                None => 1,
                Some(step) if !step.is_empty() && step.len() <= 3 && step.bytes().all(|b| b.is_ascii_digit()) => {
                    match step.parse::<usize>() {
                        Ok(step) if step >= 1 => step,
                        _ => return Err(self.wrong(part)),
                    }
                }
                Some(_) => return Err(self.wrong(part)),
            };
            for value in (low..=high).step_by(step) {
                set.insert(if self.number == 5 { value % 7 } else { value });
            }
        }
        Ok(set)
    }
}

impl Fields {
    pub(super) fn parse(text: &str) -> Result<Fields> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let &[minutes, hours, days, months, weekdays] = parts.as_slice() else {
            let shown: String = text.chars().take(100).collect();
            let key = if matches!(parts.len(), 6 | 7) {
                "cron_seconds"
            } else {
                "cron_fields"
            };
            return Err(Error::new(Code::Usage, key).with("given", shown).with("found", parts.len()));
        };
        let [minute, hour, day, month, weekday] = &KINDS;
        Ok(Fields {
            minutes: minute.parse(minutes)?,
            hours: hour.parse(hours)?,
            either: !days.starts_with('*') && !weekdays.starts_with('*'),
            days: day.parse(days)?,
            months: month.parse(months)?,
            weekdays: weekday.parse(weekdays)?,
        })
    }

    /// Whether it is due in every hour of its days.
    pub(super) fn every_hour(&self) -> bool {
        self.hours.len() == 24
    }

    /// Whether no calendar has a day for it.
    pub(super) fn never(&self) -> bool {
        let by_number = self
            .months
            .iter()
            .any(|month| self.days.iter().any(|day| *day <= days_in(*month)));
        // Every month has every weekday.
        !(by_number || self.either)
    }

    /// What the crate is asked: seconds first, weekdays by name (its numbers begin at 1), and two questions where either kind of day
    /// counts (it would want both).
    pub(super) fn expressions(&self) -> Vec<String> {
        let list = |set: &Set| set.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let (minutes, hours, days, months) = (list(&self.minutes), list(&self.hours), list(&self.days), list(&self.months));
        let names: Vec<&str> = self
            .weekdays
            .iter()
            .filter_map(|day| WEEKDAYS.get(*day as usize).copied())
            .collect();
        let weekdays = if names.len() == 7 { "*".to_owned() } else { names.join(",") };
        if self.either {
            return vec![
                format!("0 {minutes} {hours} {days} {months} *"),
                format!("0 {minutes} {hours} * {months} {weekdays}"),
            ];
        }
        vec![format!("0 {minutes} {hours} {days} {months} {weekdays}")]
    }
}

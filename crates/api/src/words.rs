//! Words in both languages, from the one pair of files that the window uses too (`ui/src/i18n/{en,fr}.json`), and the writing of
//! numbers, sizes, times and durations in each.

use std::sync::LazyLock;

use chrono::{DateTime, Local, Utc};
use coffre_model::error::{Details, Error};
use coffre_model::schedule::{Days, Explanation, Times};
use serde_json::{Value, json};

static EN: LazyLock<Value> = LazyLock::new(|| parse(include_str!("../../../ui/src/i18n/en.json")));
static FR: LazyLock<Value> = LazyLock::new(|| parse(include_str!("../../../ui/src/i18n/fr.json")));

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("a catalogue of words is not JSON: {e}"))
}

/// A language that Coffre speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    En,
    /// Français.
    Fr,
}

impl Language {
    /// The language of a locale's name (`fr_FR.UTF-8`); English for all that is not French.
    pub fn of_locale(locale: &str) -> Self {
        if locale.to_ascii_lowercase().starts_with("fr") {
            Language::Fr
        } else {
            Language::En
        }
    }

    /// `en` or `fr`.
    pub fn code(self) -> &'static str {
        match self {
            Language::En => "en",
            Language::Fr => "fr",
        }
    }
}

/// The words of one language.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Which one.
    pub language: Language,
}

fn look<'a>(tree: &'a Value, key: &str) -> Option<&'a str> {
    key.split('.').try_fold(tree, |at, part| at.get(part))?.as_str()
}

impl Words {
    /// The words of `language`.
    pub fn new(language: Language) -> Self {
        Words { language }
    }

    /// The text behind a key, if there is one. English stands in where the other language has none (a test forbids that).
    pub fn find(&self, key: &str) -> Option<&'static str> {
        let tree: &'static Value = match self.language {
            Language::En => &EN,
            Language::Fr => &FR,
        };
        look(tree, key).or_else(|| look(&EN, key))
    }

    /// The text behind a key; the key itself where there is none.
    pub fn text(&self, key: &str) -> String {
        self.find(key).unwrap_or(key).to_owned()
    }

    /// The names of the entries of a group (`errors`, `journal`) in whose words a text appears, whatever its capitals.
    pub fn entries_saying(&self, group: &str, text: &str) -> Vec<String> {
        fn says(entry: &Value, text: &str) -> bool {
            match entry {
                Value::String(words) => words.to_lowercase().contains(text),
                Value::Object(parts) => parts.values().any(|part| says(part, text)),
                _ => false,
            }
        }
        let tree: &Value = match self.language {
            Language::En => &EN,
            Language::Fr => &FR,
        };
        let text = text.to_lowercase();
        let entries = tree.get(group).and_then(Value::as_object);
        let entries = entries.into_iter().flatten().filter(|(_, entry)| says(entry, &text));
        entries.map(|(name, _)| name.clone()).collect()
    }

    /// A text with its `{name}` places filled from facts, and its `{name|one|many}` places with number and noun (`{rows|row|rows}`). A
    /// place without a fact is shown as `–`.
    pub fn fill(&self, key: &str, facts: &Details) -> String {
        self.fill_text(self.find(key).unwrap_or(key), facts)
    }

    /// [`Words::fill`] with facts given in place: `say("list.none", &[("source", "shop".into())])`.
    pub fn say(&self, key: &str, facts: &[(&str, Value)]) -> String {
        let facts: Details = facts.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        self.fill(key, &facts)
    }

    fn fill_text(&self, text: &str, facts: &Details) -> String {
        let mut out = String::with_capacity(text.len() + 32);
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            let after = &rest[open + 1..];
            match after.find('}') {
                Some(close) if after[..close].chars().all(|c| c.is_alphanumeric() || "_|- ".contains(c)) => {
                    let (name, forms) = after[..close].split_once('|').unwrap_or((&after[..close], ""));
                    out.push_str(&facts.get(name).map_or_else(|| "–".to_owned(), |v| self.value(name, v)));
                    if let Some((one, many)) = forms.split_once('|') {
                        out.push(' ');
                        out.push_str(if self.is_one(facts.get(name)) { one } else { many });
                    }
                    rest = &after[close + 1..];
                }
                _ => {
                    out.push('{');
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// Whether a number takes the singular: 1, and in French 0 too.
    fn is_one(&self, value: Option<&Value>) -> bool {
        match value.and_then(Value::as_u64) {
            Some(0) => self.language == Language::Fr,
            n => n == Some(1),
        }
    }

    /// A fact in words: names that end in `bytes` are sizes, in `rows`, `tables` or `count` are grouped numbers, in `ms` durations.
    fn value(&self, name: &str, value: &Value) -> String {
        match value {
            Value::Number(n) => match n.as_u64() {
                Some(n) if name.ends_with("bytes") => self.size(n),
                Some(n) if ["rows", "tables", "count"].iter().any(|s| name.ends_with(s)) => self.number(n),
                Some(n) if name.ends_with("_ms") => self.duration(n),
                _ => n.to_string(),
            },
            Value::String(text) if name.ends_with("_at") => match DateTime::parse_from_rfc3339(text) {
                Ok(at) => self.moment(at.to_utc()),
                Err(_) => text.clone(),
            },
            Value::String(text) => text.clone(),
            Value::Array(list) => list.iter().map(|v| self.value(name, v)).collect::<Vec<_>>().join(", "),
            Value::Null => "–".to_owned(),
            other => other.to_string(),
        }
    }

    /// An error as a person reads it: what happened and why (and what went wrong on top of it), and what to do next.
    pub fn error(&self, error: &Error) -> (String, String) {
        self.error_with(error, &["hint"])
    }

    /// The same in front of a window: where the next step is a command of the terminal, the window's own way stands in its place.
    pub fn error_in_window(&self, error: &Error) -> (String, String) {
        self.error_with(error, &["hint_window", "hint"])
    }

    fn error_with(&self, error: &Error, hints: &[&str]) -> (String, String) {
        let key = error.text();
        let mut message = match self.find(&format!("errors.{key}.message")) {
            Some(text) => self.fill_text(text, error.details()),
            None => error.to_string(),
        };
        for (name, also) in error.also() {
            let (cause, _) = self.error(&also);
            let mut facts = error.details().clone();
            facts.insert("cause".to_owned(), cause.into());
            // A fact at its end may be empty.
            message.truncate(message.trim_end().len());
            message.push(' ');
            message.push_str(&self.fill(&format!("also.{name}"), &facts));
        }
        let hint = hints
            .iter()
            .find_map(|hint| self.find(&format!("errors.{key}.{hint}")))
            .map(|t| self.fill_text(t, error.details()))
            .unwrap_or_default();
        (message, hint)
    }

    /// An error as the contract's JSON.
    pub fn error_json(&self, error: &Error) -> Value {
        let (message, hint) = self.error(error);
        let mut details = error.details().clone();
        for (name, also) in error.also() {
            details.insert(name.to_owned(), self.error_json(&also));
        }
        json!({"code": error.code().as_str(), "message": message, "hint": hint, "details": details})
    }

    /// A number with its thousands apart: `1,284`, `1 284` (narrow no-break space).
    pub fn number(&self, n: u64) -> String {
        let digits = n.to_string();
        let mut out = String::new();
        for (i, c) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                out.push(if self.language == Language::Fr { '\u{202f}' } else { ',' });
            }
            out.push(c);
        }
        out
    }

    /// A size in decimal units: `1.2 GB`, `1,2 Go`.
    pub fn size(&self, bytes: u64) -> String {
        let units = match self.language {
            Language::En => ["B", "kB", "MB", "GB", "TB", "PB"],
            Language::Fr => ["o", "ko", "Mo", "Go", "To", "Po"],
        };
        let mut value = bytes as f64;
        let mut unit = 0;
        while value >= 999.5 && unit < units.len() - 1 {
            value /= 1000.0;
            unit += 1;
        }
        let number = if unit == 0 || value >= 99.95 {
            format!("{value:.0}")
        } else {
            format!("{value:.1}")
        };
        match self.language {
            Language::En => format!("{number} {}", units[unit]),
            Language::Fr => format!("{}\u{202f}{}", number.replace('.', ","), units[unit]),
        }
    }

    /// A duration: `27 ms`, `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`.
    pub fn duration(&self, ms: u64) -> String {
        let seconds = ms / 1000;
        let text = match seconds {
            0 if ms < 100 => format!("{ms} ms"),
            0..=9 => format!("{:.1} s", ms as f64 / 1000.0),
            10..=59 => format!("{seconds} s"),
            60..=3599 => format!("{} min {:02} s", seconds / 60, seconds % 60),
            _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        };
        if self.language == Language::Fr {
            text.replace('.', ",")
        } else {
            text
        }
    }

    /// A schedule in words: `every day at 03:00 (Europe/Paris)`.
    pub fn schedule(&self, explained: &Explanation, zone: &str) -> String {
        let list = |key: &str, numbers: &[u32]| self.listed(numbers.iter().map(|n| self.text(&format!("schedule.{key}.{n}"))));
        let plain = |numbers: &[u32]| self.listed(numbers.iter().map(u32::to_string));
        let time = |(hour, minute): &(u32, u32)| format!("{hour:02}:{minute:02}");
        let times = match &explained.times {
            Times::Minutes(1) => self.text("schedule.each_minute"),
            Times::Minutes(n) => self.say("schedule.minutes", &[("n", (*n).into())]),
            Times::Hours(n, minute) => self.say(
                "schedule.hours",
                &[("n", (*n).into()), ("minute", format!("{minute:02}").into())],
            ),
            Times::Hourly(minutes) if minutes.as_slice() == [0] => self.text("schedule.hourly"),
            Times::Hourly(minutes) => self.say("schedule.hourly_at", &[("minutes", plain(minutes).into())]),
            Times::At(times) => self.say("schedule.at", &[("times", self.listed(times.iter().map(time)).into())]),
            Times::Between(n, from, to) => {
                let key = match n {
                    1 => "schedule.each_minute_between",
                    60 => "schedule.hourly_between",
                    _ => "schedule.minutes_between",
                };
                self.say(
                    key,
                    &[("n", (*n).into()), ("from", time(from).into()), ("to", time(to).into())],
                )
            }
            Times::Within(minutes, hours) => self.say(
                "schedule.within",
                &[("minutes", plain(minutes).into()), ("hours", plain(hours).into())],
            ),
        };
        let with = |key: &str, month: &[u32], week: &[u32]| {
            self.say(key, &[("month", plain(month).into()), ("week", list("weekday", week).into())])
        };
        let days = match &explained.days {
            Days::Every => self.text("schedule.every_day"),
            Days::Working => self.text("schedule.working_days"),
            Days::OfWeek(week) => with("schedule.of_week", &[], week),
            Days::OfMonth(month) => with("schedule.of_month", month, &[]),
            Days::Either(month, week) => with("schedule.either", month, week),
            Days::Both(month, week) => with("schedule.both", month, week),
        };
        let months = match explained.months.as_slice() {
            [] => String::new(),
            months => self.say("schedule.in_months", &[("months", list("month", months).into())]),
        };
        let facts = [
            ("days", days.into()),
            ("times", times.into()),
            ("months", months.into()),
            ("zone", zone.into()),
        ];
        self.say("schedule.whole", &facts)
    }

    /// `a, b and c`.
    fn listed(&self, parts: impl Iterator<Item = String>) -> String {
        let mut parts: Vec<String> = parts.collect();
        match (parts.pop(), parts.is_empty()) {
            (None, _) => String::new(),
            (Some(last), true) => last,
            (Some(last), false) => self.say("schedule.and", &[("first", parts.join(", ").into()), ("last", last.into())]),
        }
    }

    /// A moment in the machine's own time zone: `2026-11-21 08:30:05`. The same in both languages: it sorts and cannot be misread.
    pub fn moment(&self, at: DateTime<Utc>) -> String {
        at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// Text from elsewhere, made safe for a terminal: control characters, and the marks that turn the direction of writing, are shown
/// as `\u{…}` instead of being obeyed.
pub fn plain(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}' | '\u{feff}')
    };
    if !text.contains(hidden) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| {
            if hidden(c) {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_in_both_languages() {
        let (en, fr) = (Words::new(Language::En), Words::new(Language::Fr));
        assert_eq!(
            (en.number(1_284_000), fr.number(1_284)),
            ("1,284,000".into(), "1\u{202f}284".into())
        );
        assert_eq!(
            (en.size(999), en.size(1_234_567), fr.size(1_234_567_890)),
            ("999 B".into(), "1.2 MB".into(), "1,2\u{202f}Go".into())
        );
        assert_eq!((en.size(999_999), en.size(213_000_000)), ("1.0 MB".into(), "213 MB".into()));
        assert_eq!(
            (en.duration(430), fr.duration(430), en.duration(185_000)),
            ("0.4 s".into(), "0,4 s".into(), "3 min 05 s".into())
        );
    }

    #[test]
    fn facts_are_filled_in_and_never_read_again() {
        let en = Words::new(Language::En);
        let facts: Details = [("a".to_owned(), json!("{b}")), ("b".to_owned(), json!("x"))].into();
        assert_eq!(en.fill_text("{a} {b} {c} {", &facts), "{b} x – {");
        let facts: Details = [("rows".to_owned(), json!(1)), ("tables".to_owned(), json!(4000))].into();
        assert_eq!(
            en.fill_text("{rows|row|rows}, {tables|table|tables}", &facts),
            "1 row, 4,000 tables"
        );
    }

    #[test]
    fn a_terminal_obeys_no_name() {
        assert_eq!(plain("shop\u{1b}[31m\u{202e}\n"), "shop\\u{1b}[31m\\u{202e}\\n");
    }
}

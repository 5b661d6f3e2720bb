//! How facts are written: numbers, sizes and times, texts with facts in them, and names that could hide something.

use chrono::{DateTime, Utc};

/// A number with its digits in groups of three.
pub(super) fn number(language: &str, number: u64) -> String {
    // U+202F, the narrow no-break space.
    let separator = if language == "fr" { '\u{202f}' } else { ',' };
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(separator);
        }
        text.push(digit);
    }
    text
}

/// `213.4 MB (213,400,112 bytes)`: round to talk about, exact to compare.
pub(super) fn bytes(language: &str, units: &str, bytes: u64) -> String {
    let units: Vec<&str> = units.split_whitespace().collect();
    let unit = |i: usize| units.get(i).copied().unwrap_or("");
    let exact = format!("{}\u{a0}{}", number(language, bytes), unit(0));
    let mut size = bytes;
    let mut at = 0;
    while size >= 1_000_000 && at + 2 < units.len() {
        size /= 1000;
        at += 1;
    }
    if bytes < 1000 {
        return exact;
    }
    let point = if language == "fr" { ',' } else { '.' };
    format!("{}{point}{}\u{a0}{} ({exact})", size / 1000, size % 1000 / 100, unit(at + 1))
}

/// Fills `{name}` where `value` knows it. What was filled in is not searched again: a name may contain braces.
pub(super) fn fill(words: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut text = String::new();
    let mut rest = words;
    while let Some(start) = rest.find('{') {
        text.push_str(&rest[..start]);
        rest = &rest[start..];
        let known = rest.find('}').and_then(|end| Some((end, value(&rest[1..end])?)));
        let (end, filled) = known.unwrap_or((0, "{".to_owned()));
        text.push_str(&filled);
        rest = &rest[end + 1..];
    }
    text + rest
}

/// 2026-11-05 10:00 UTC: read the same way in every country and every year.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M\u{a0}UTC").to_string()
}

/// Makes visible what would otherwise move or hide other text: control characters, and marks that turn the direction of writing.
pub(super) fn visible(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_filled_once() {
        let value = |name: &str| (name == "a").then(|| "{a} {b}".to_owned());
        assert_eq!(fill("x {a} y {b} {", value), "x {a} {b} y {b} {");
        assert_eq!(fill("é{a}", value), "é{a} {b}");
    }
}

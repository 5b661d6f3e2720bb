//! The sentinel: whether a new backup is what backups of its source usually are.
//!
//! Pure: figures in, findings out. What **fell** far below what is usual ([`Finding::blocks`]) must not push good backups out, and counts
//! for nothing until a person has said that it is right. What **grew**, or took long, is a remark. Compared are backups of one database
//! that were themselves usual, or found to be right by a person.
//!
//! Levels are compared by their ratios from one backup to the next, with median and median deviation: a source that grows or shrinks
//! steadily does what it always does, and one odd backup in the history moves neither. The thresholds are told in docs/retention.md.

use std::collections::BTreeMap;

/// How many earlier backups are looked at.
pub const HISTORY: usize = 12;
/// Fewer than this say nothing about what is usual.
const ENOUGH: usize = 6;
/// Rows that must have gone; ten times as many must have come.
const ROWS: u64 = 20;
/// Bytes, likewise.
const BYTES: u64 = 1_000_000;
/// How many usual deviations a change may be away from the usual change.
const FAR: f64 = 5.0;
/// The smallest deviation that is taken for usual (of a logarithm: four per cent).
const LEAST_DEVIATION: f64 = 0.04;
/// What makes a median of deviations comparable to a standard deviation.
const NORMAL: f64 = 1.4826;
/// Rows that a table had which counts as emptied where the history is short, and that a table must have lost.
const TABLE_ROWS: u64 = 1_000;
/// How much longer a run must have taken, in milliseconds.
const SLOWER: f64 = 60_000.0;

/// The figures of one backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Rows in all tables.
    pub rows: Option<u64>,
    /// Size of the plain dump.
    pub bytes: Option<u64>,
    /// How long the run took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Rows of each table.
    pub tables: BTreeMap<String, u64>,
}

/// What is not as usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Rows or bytes fell far.
    Shrunk,
    /// A table that always had rows has none.
    Emptied(String),
    /// A table lost most of its rows.
    TableShrunk(String),
    /// Rows or bytes rose far.
    Grew,
    /// The run took much longer.
    Slow,
}

impl Finding {
    /// The flag that a backup carries for it.
    pub fn flag(&self) -> &'static str {
        match self {
            Finding::Shrunk => "shrunk",
            Finding::Emptied(_) => "table_emptied",
            Finding::TableShrunk(_) => "table_shrunk",
            Finding::Grew => "grew",
            Finding::Slow => "slow",
        }
    }

    /// The table that it is about.
    pub fn table(&self) -> Option<&str> {
        match self {
            Finding::Emptied(table) | Finding::TableShrunk(table) => Some(table),
            _ => None,
        }
    }

    /// Whether the backup counts for nothing until a person has said that it is right.
    pub fn blocks(&self) -> bool {
        !matches!(self, Finding::Grew | Finding::Slow)
    }
}

/// Compares. `history`: newest first, usual ones of the same database alone.
pub fn compare(history: &[Figures], now: &Figures) -> Vec<Finding> {
    let history = &history[..history.len().min(HISTORY)];
    let mut found = Vec::new();
    let levels = |of: fn(&Figures) -> Option<u64>| -> Vec<u64> { history.iter().map_while(of).collect() };
    let rows = (levels(|figures| figures.rows), now.rows, ROWS);
    let bytes = (levels(|figures| figures.bytes), now.bytes, BYTES);
    let both = [rows, bytes];
    if both.iter().any(|(before, now, least)| fell(before, *now, *least)) {
        found.push(Finding::Shrunk);
    } else if both.iter().any(|(before, now, least)| rose(before, *now, *least)) {
        found.push(Finding::Grew);
    }
    found.extend(tables(history, now));
    let durations = levels(|figures| figures.duration_ms);
    if now.duration_ms.is_some_and(|now| took_long(&durations, now)) {
        found.push(Finding::Slow);
    }
    found
}

/// Below half of what it was; or far below what its changes usually are, and by a fifth at least.
fn fell(before: &[u64], now: Option<u64>, least: u64) -> bool {
    let (Some(last), Some(now)) = (before.first().copied(), now) else {
        return false;
    };
    if now >= last || last - now < least {
        return false;
    }
    let far = || unusual_change(before, now).is_some_and(|by| by < -FAR) && now < last - last / 5;
    now < last / 2 || far()
}

/// More than double, and far above what its changes usually are.
fn rose(before: &[u64], now: Option<u64>, least: u64) -> bool {
    let (Some(last), Some(now)) = (before.first().copied(), now) else {
        return false;
    };
    now / 2 > last && now - last >= least * 10 && unusual_change(before, now).is_some_and(|by| by > FAR)
}

/// By how many usual deviations the change from the last level differs from the usual change. Nothing where the history is too short.
fn unusual_change(before: &[u64], now: u64) -> Option<f64> {
    if before.len() < ENOUGH {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "a ratio of sizes; the last digits do not matter")]
    let logarithm = |level: u64| (level as f64 + 1.0).ln();
    let ratio = |to: u64, from: u64| logarithm(to) - logarithm(from);
    let changes: Vec<f64> = before.windows(2).map(|pair| ratio(pair[0], pair[1])).collect();
    let usual = median(&changes);
    let deviation = (deviation(&changes, usual) * NORMAL).max(LEAST_DEVIATION);
    Some((ratio(now, before[0]) - usual) / deviation)
}

/// Tables that lost everything or nearly so, and never were like that. One that is not there any more was dropped by somebody who meant it.
fn tables(history: &[Figures], now: &Figures) -> Vec<Finding> {
    let mut found = Vec::new();
    for (table, rows) in &now.tables {
        let before: Vec<u64> = history
            .iter()
            .map_while(|figures| figures.tables.get(table).copied())
            .collect();
        let (Some(last), Some(least)) = (before.first().copied(), before.iter().min().copied()) else {
            continue;
        };
        let filled = if before.len() < 3 { TABLE_ROWS } else { ROWS };
        if *rows == 0 && least > 0 && last >= filled {
            found.push(Finding::Emptied(table.clone()));
        } else if before.len() >= ENOUGH && *rows < least / 10 && last - rows >= TABLE_ROWS {
            found.push(Finding::TableShrunk(table.clone()));
        }
    }
    found
}

/// Three times as long as usual, and far outside of what varies.
fn took_long(before: &[u64], now: u64) -> bool {
    if before.len() < ENOUGH {
        return false;
    }
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a run")]
    let (times, now): (Vec<f64>, f64) = (before.iter().map(|ms| *ms as f64).collect(), now as f64);
    let usual = median(&times);
    let longer = now - usual;
    longer > usual * 2.0 && longer >= SLOWER && longer > FAR * NORMAL * deviation(&times, usual)
}

/// The median distance from the middle.
fn deviation(values: &[f64], middle: f64) -> f64 {
    median(&values.iter().map(|value| (value - middle).abs()).collect::<Vec<_>>())
}

/// The one in the middle, or between the two in the middle. Zero of nothing.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => 0.0,
        (1, Some(value)) => *value,
        (_, Some(value)) => f64::midpoint(sorted[middle - 1], *value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(rows: u64) -> Figures {
        Figures {
            rows: Some(rows),
            ..Figures::default()
        }
    }

    /// `levels`: oldest first.
    fn found(levels: &[u64], now: u64) -> Vec<Finding> {
        let history: Vec<Figures> = levels.iter().rev().map(|level| rows(*level)).collect();
        compare(&history, &rows(now))
    }

    #[test]
    fn what_falls_far_is_unusual_and_what_grows_is_a_remark() {
        assert_eq!(found(&[1000], 50), [Finding::Shrunk]);
        assert_eq!(found(&[1000], 600), []);
        assert_eq!(found(&[10], 1), [], "twenty rows come and go");
        assert_eq!(found(&[], 0), []);
        // A quarter less, where nothing ever changed by more than a hundredth.
        let steady = [1000, 1003, 1001, 1005, 1004, 1009, 1010];
        assert_eq!(found(&steady, 750), [Finding::Shrunk]);
        assert_eq!(found(&steady, 900), []);
        assert_eq!(found(&steady[..4], 750), [], "too few to know what is usual");
        // A source whose rows come and go is not unusual when they do.
        let restless = [1000, 1400, 900, 1500, 1000, 1300, 900, 1600];
        assert_eq!(found(&restless, 1000), []);
        assert_eq!(found(&restless, 700), [Finding::Shrunk], "but below half of the last it is");
        assert_eq!(found(&steady, 5000), [Finding::Grew]);
        assert!(!Finding::Grew.blocks() && !Finding::Slow.blocks() && Finding::Shrunk.blocks());
        // One odd backup in the history changes nothing.
        let odd = [1000, 1000, 1000, 5000, 1000, 1000, 1000, 1000];
        assert_eq!(found(&odd, 700), [Finding::Shrunk]);
        let bytes = |bytes| Figures {
            bytes: Some(bytes),
            ..Figures::default()
        };
        assert_eq!(compare(&[bytes(10_000_000)], &bytes(500_000)), [Finding::Shrunk]);
        assert_eq!(compare(&[bytes(4096)], &bytes(512)), []);
        assert_eq!(compare(&[Figures::default()], &rows(0)), []);
    }

    #[test]
    fn tables_that_lose_their_rows() {
        let figures = |orders: u64, queue: u64| Figures {
            rows: Some(1_000_000),
            tables: [("orders".to_owned(), orders), ("queue".to_owned(), queue)].into(),
            ..Figures::default()
        };
        let emptied = Finding::Emptied("orders".to_owned());
        assert_eq!(compare(&[figures(5000, 30)], &figures(0, 0)), std::slice::from_ref(&emptied));
        let three = [figures(30, 30), figures(31, 0), figures(29, 40)];
        assert_eq!(compare(&three, &figures(0, 0)), [emptied], "a queue is empty now and then");
        assert_eq!(compare(&three[..1], &figures(0, 0)), []);
        let many: Vec<Figures> = (0..8).map(|n| figures(50_000 + n, 9)).collect();
        assert_eq!(
            compare(&many, &figures(4_000, 0)),
            [Finding::TableShrunk("orders".to_owned())]
        );
        // Dropped, or called otherwise: a person's doing.
        assert_eq!(compare(&many, &rows(1_000_000)), []);
    }

    #[test]
    fn a_run_that_takes_much_longer() {
        let took = |ms: u64| Figures {
            duration_ms: Some(ms),
            ..Figures::default()
        };
        let usual: Vec<Figures> = [60_000, 63_000, 58_000, 61_000, 60_500, 62_000].map(took).into();
        assert_eq!(compare(&usual, &took(200_000)), [Finding::Slow]);
        assert_eq!(compare(&usual, &took(150_000)), []);
        assert_eq!(compare(&usual, &took(1_000)), []);
        let short: Vec<Figures> = [1_000; 8].map(took).into();
        assert_eq!(compare(&short, &took(30_000)), [], "half a minute is not much");
    }

    proptest! {
        #[test]
        fn steady_growth_is_never_unusual(start in 0_u64..1_000_000, per_cent in 0_u64..90, more in 0_u64..1_000, length in 0_usize..30) {
            let mut levels = vec![start];
            for _ in 0..length {
                let last = *levels.last().unwrap();
                levels.push(last + last * per_cent / 100 + more);
            }
            for at in 1..levels.len() {
                let findings = found(&levels[..at], levels[at]);
                prop_assert!(findings.iter().all(|finding| !finding.blocks()), "{:?}", &levels[..=at]);
            }
        }

        /// A source that loses the same share each time does what it always does.
        #[test]
        fn steady_decline_is_usual(start in 1_000_000_u64..100_000_000, per_cent in 1_u64..40) {
            let mut levels = vec![start];
            for _ in 0..12 {
                let last = *levels.last().unwrap();
                levels.push(last - last * per_cent / 100);
            }
            prop_assert_eq!(found(&levels[..12], levels[12]), []);
        }

        #[test]
        fn less_is_never_less_unusual(levels in prop::collection::vec(0_u64..1_000_000, 0..14), now in 0_u64..1_000_000, less in 0_u64..1_000_000) {
            let blocks = |now| found(&levels, now).iter().any(Finding::blocks);
            prop_assert!(!blocks(now) || blocks(now.saturating_sub(less)));
        }

        #[test]
        fn what_did_not_fall_never_blocks(levels in prop::collection::vec(0_u64..1_000_000, 1..14), more in 0_u64..u64::MAX / 2) {
            let now = levels.last().unwrap() + more;
            prop_assert!(found(&levels, now).iter().all(|finding| !finding.blocks()));
        }

        #[test]
        fn any_figures_are_compared(all in prop::collection::vec(prop::array::uniform4(prop::option::of(any::<u64>())), 1..14)) {
            let figures = |[rows, bytes, duration_ms, table]: [Option<u64>; 4]| Figures {
                rows,
                bytes,
                duration_ms,
                tables: table.map(|rows| ("t".to_owned(), rows)).into_iter().collect(),
            };
            let all: Vec<Figures> = all.into_iter().map(figures).collect();
            compare(&all[1..], &all[0]);
        }
    }
}

//! A plan: source, destinations, kind, compression, encryption, retention.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::{BackupType, Kind};
use crate::compression::Compression;
use crate::hook::Hooks;
use crate::id::Id;

/// How many backups a plan keeps ([`crate::retention`]). Without a rule nothing ever leaves by itself; zero is no rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Retention {
    /// The last N.
    pub keep_last: Option<u32>,
    /// Those younger than N days.
    pub keep_days: Option<u32>,
    /// One an hour, N times.
    pub keep_hourly: Option<u32>,
    /// One a day, N times.
    pub keep_daily: Option<u32>,
    /// One a week, N times.
    pub keep_weekly: Option<u32>,
    /// One a month, N times.
    pub keep_monthly: Option<u32>,
    /// One a year, N times.
    pub keep_yearly: Option<u32>,
    /// Never fewer verified ones than this, whatever the rules say; 1 where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub keep_min: Option<u32>,
}

impl Retention {
    /// Whether no rule says what may leave: then nothing does.
    pub fn is_empty(&self) -> bool {
        let rules = [
            self.keep_last,
            self.keep_days,
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        ];
        rules.iter().all(|rule| rule.unwrap_or(0) == 0)
    }

    /// A set of rules by its name: `last-30`, `30-days`, `7d-4w-12m` (days, weeks, months), `none`.
    pub fn preset(name: &str) -> Option<Retention> {
        let none = Retention::default();
        match name {
            "none" => Some(none),
            "last-30" => Some(Retention {
                keep_last: Some(30),
                ..none
            }),
            "30-days" => Some(Retention {
                keep_days: Some(30),
                ..none
            }),
            "7d-4w-12m" => Some(Retention {
                keep_daily: Some(7),
                keep_weekly: Some(4),
                keep_monthly: Some(12),
                ..none
            }),
            _ => None,
        }
    }
}

/// The names that [`Retention::preset`] knows.
pub const PRESETS: [&str; 4] = ["none", "last-30", "30-days", "7d-4w-12m"];

/// When a plan is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct PlanSchedule {
    /// Five fields of cron: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// The IANA time zone in which they are meant.
    pub time_zone: String,
    /// Wait for the network (a destination or source that is reached over it).
    #[serde(default)]
    pub wait_for_network: bool,
    /// Wait for mains power.
    #[serde(default)]
    pub wait_for_power: bool,
}

/// What is backed up, where to, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Plan {
    /// Identity.
    pub id: Id,
    /// The name a person gave it.
    pub name: String,
    /// The source's id.
    pub source_id: Id,
    /// The source's name.
    pub source: String,
    /// The destinations' ids, in the order in which they were given.
    pub destination_ids: Vec<Id>,
    /// The destinations' names, likewise.
    pub destinations: Vec<String>,
    /// How much each backup holds.
    pub kind: Kind,
    /// The interval, where one is set: decides the type of the backups.
    pub every: Option<BackupType>,
    /// Compression.
    pub compression: Compression,
    /// The name of the key, if backups are encrypted.
    pub encryption: Option<String>,
    /// The key's id.
    pub key_id: Option<Id>,
    /// What is kept.
    pub retention: Retention,
    /// When it is due by itself; nothing for a plan that a person starts.
    pub schedule: Option<PlanSchedule>,
    /// Commands before and after each of its runs.
    #[serde(default)]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub hooks: Option<Hooks>,
    /// Since when it is not started by itself.
    pub paused_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl Plan {
    /// The type of the backups that this plan makes, also when started by hand. Without an interval: manual.
    pub fn backup_type(&self) -> BackupType {
        self.every.unwrap_or(BackupType::Manual)
    }
}

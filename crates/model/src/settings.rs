//! Settings of the whole application. Each can be overridden by `COFFRE_<KEY>` in the environment.

use crate::error::{Code, Error, Result};

/// One setting: its key, its default, what it may be.
pub struct Setting {
    /// The key, also of `COFFRE_<KEY>` in upper case.
    pub key: &'static str,
    /// What holds when nobody set it.
    pub default: &'static str,
    /// What it may be.
    pub kind: SettingKind,
}

/// What a setting may be.
pub enum SettingKind {
    /// A whole number in a range.
    Number(u64, u64),
    /// One of some words.
    Choice(&'static [&'static str]),
    /// Folders, joined as in `PATH`.
    Folders,
    /// `on` or `off`.
    Switch,
}

/// What `undo_keep_days` is when nobody set it.
pub const UNDO_KEEP_DAYS: i64 = 7;

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    // No bytes from a tool or a storage for so long ends the run as STALLED. Never a limit on the whole.
    Setting {
        key: "stall_seconds",
        default: "300",
        kind: SettingKind::Number(1, 86_400),
    },
    Setting {
        key: "lease_seconds",
        default: "60",
        kind: SettingKind::Number(2, 3_600),
    },
    Setting {
        key: "lock_wait_seconds",
        default: "60",
        kind: SettingKind::Number(1, 86_400),
    },
    // How long the receiver of a message may take for one answer.
    Setting {
        key: "notify_seconds",
        default: "30",
        kind: SettingKind::Number(1, 600),
    },
    Setting {
        key: "max_parallel_runs",
        default: "2",
        kind: SettingKind::Number(1, 64),
    },
    Setting {
        key: "language",
        default: "system",
        kind: SettingKind::Choice(&["system", "en", "fr"]),
    },
    Setting {
        key: "failed_keep_days",
        default: "30",
        kind: SettingKind::Number(1, 36_500),
    },
    // How long what retention has chosen can still be taken back.
    Setting {
        key: "bin_days",
        default: "3",
        kind: SettingKind::Number(0, 365),
    },
    Setting {
        key: "undo_keep_days",
        default: "7",
        kind: SettingKind::Number(0, 365),
    },
    // How often the newest backup of each source is rehearsed without being asked for.
    Setting {
        key: "drill_every",
        default: "weekly",
        kind: SettingKind::Choice(&["off", "daily", "weekly", "monthly"]),
    },
    // For so long nothing may have gone on before.
    Setting {
        key: "drill_idle_seconds",
        default: "300",
        kind: SettingKind::Number(0, 86_400),
    },
    Setting {
        key: "tool_paths",
        default: "",
        kind: SettingKind::Folders,
    },
    // The window's own.
    Setting {
        key: "theme",
        default: "system",
        kind: SettingKind::Choice(&["system", "light", "dark"]),
    },
    Setting {
        key: "shortcuts",
        default: "on",
        kind: SettingKind::Switch,
    },
    Setting {
        key: "notify_failures",
        default: "on",
        kind: SettingKind::Switch,
    },
    Setting {
        key: "notify_recoveries",
        default: "on",
        kind: SettingKind::Switch,
    },
    Setting {
        key: "notify_successes",
        default: "off",
        kind: SettingKind::Switch,
    },
    Setting {
        key: "close_to_tray",
        default: "on",
        kind: SettingKind::Switch,
    },
    Setting {
        key: "start_at_login",
        default: "off",
        kind: SettingKind::Switch,
    },
];

/// Finds a setting by its key.
pub fn find(key: &str) -> Result<&'static Setting> {
    SETTINGS.iter().find(|s| s.key == key).ok_or_else(|| {
        let known: Vec<_> = SETTINGS.iter().map(|s| s.key).collect();
        Error::new(Code::Usage, "setting_unknown")
            .with("key", key)
            .with("known", known.join(", "))
    })
}

impl Setting {
    /// Checks a value.
    ///
    /// # Errors
    /// `USAGE`, naming what is allowed.
    pub fn check(&self, value: &str) -> Result<()> {
        let allowed = match self.kind {
            SettingKind::Number(low, high) => match value.parse::<u64>() {
                Ok(n) if (low..=high).contains(&n) => return Ok(()),
                _ => format!("{low}–{high}"),
            },
            SettingKind::Choice(words) if words.contains(&value) => return Ok(()),
            SettingKind::Choice(words) => words.join(", "),
            SettingKind::Folders if !value.contains('\0') => return Ok(()),
            SettingKind::Folders => "PATH".to_owned(),
            SettingKind::Switch if matches!(value, "on" | "off") => return Ok(()),
            SettingKind::Switch => "on, off".to_owned(),
        };
        Err(Error::new(Code::Usage, "setting_value")
            .with("key", self.key)
            .with("given", value)
            .with("allowed", allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_an_undo_has_one_default() {
        assert_eq!(find("undo_keep_days").unwrap().default, UNDO_KEEP_DAYS.to_string());
    }
}

//! Settings as the window edits them.

use coffre_model::Result;
use coffre_model::settings::{SETTINGS, Setting, SettingKind, find};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::commands::Nothing;
use super::events::Noun;
use super::{Window, tags};
use crate::Coffre;

/// What a setting may be.
#[derive(Debug, Serialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
#[ts(rename = "SettingKind")]
pub enum Kind {
    /// A whole number in a range.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// One of some words.
    Choice {
        /// Which.
        choices: &'static [&'static str],
    },
    /// Folders, joined as in `PATH`.
    Folders,
    /// `on` or `off`.
    Switch,
}

/// A setting as it stands.
#[derive(Debug, Serialize, TS)]
pub struct SettingRow {
    /// The key.
    pub key: &'static str,
    /// What holds.
    pub value: String,
    /// What holds when nobody set it.
    pub default: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Set by `COFFRE_<KEY>` in the environment: shown, not editable.
    pub overridden: bool,
}

/// The arguments of `set_setting`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct SetSetting {
    key: String,
    value: String,
}

fn row(coffre: &Coffre, setting: &Setting) -> Result<SettingRow> {
    let stands = coffre.setting(setting.key)?;
    Ok(SettingRow {
        key: setting.key,
        value: stands.value,
        default: setting.default,
        kind: match setting.kind {
            SettingKind::Number(min, max) => Kind::Number { min, max },
            SettingKind::Choice(choices) => Kind::Choice { choices },
            SettingKind::Folders => Kind::Folders,
            SettingKind::Switch => Kind::Switch,
        },
        overridden: stands.origin == "environment",
    })
}

impl Window {
    pub(super) fn list_settings(&self, _: Nothing) -> Result<Vec<SettingRow>> {
        let coffre = self.coffre()?;
        SETTINGS.iter().map(|setting| row(&coffre, setting)).collect()
    }

    pub(super) fn set_setting(&self, SetSetting { key, value }: SetSetting) -> Result<SettingRow> {
        let coffre = self.coffre()?;
        let shown: String = key.chars().take(100).collect();
        let setting = find(&shown)?;
        if value.len() > 100_000 {
            return Err(coffre_model::Error::new(coffre_model::Code::Usage, "field_long").with("max", 100_000));
        }
        coffre.set_setting(setting.key, &value)?;
        if setting.key == "tool_paths" {
            self.forget_tools();
            self.changed(tags(&[Noun::Tools]));
        }
        if setting.key.starts_with("drill_") {
            self.wake_clockwork();
        }
        // The language is in every sentence that was read.
        if setting.key == "language" {
            self.changed(tags(&Noun::ALL));
        }
        self.changed(tags(&[Noun::Settings, Noun::Journal]));
        row(&coffre, setting)
    }

    /// A setting, for the shell: `close_to_tray`, `start_at_login`, `theme`, …. When it changes, `settings` is invalidated.
    ///
    /// # Errors
    /// `USAGE` for a setting that does not exist; why the catalogue cannot be read.
    pub fn setting(&self, key: &str) -> Result<String> {
        self.coffre()?.engine.setting(key)
    }

    /// Whether a switch among the settings is on; its default where the catalogue cannot be read.
    pub fn is_on(&self, key: &str) -> bool {
        match self.setting(key) {
            Ok(value) => value == "on",
            Err(_) => find(key).is_ok_and(|setting| setting.default == "on"),
        }
    }
}

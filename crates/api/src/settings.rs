//! Settings: list, get, set.

use coffre_engine::context::Subject;
use coffre_model::{Result, settings};
use serde::Serialize;

use crate::Coffre;

/// A setting as it stands.
#[derive(Debug, Serialize)]
pub struct SettingValue {
    /// The key.
    pub key: &'static str,
    /// What holds.
    pub value: String,
    /// What holds when nobody set it.
    pub default: &'static str,
    /// `default`, `set`, or `environment`.
    pub origin: &'static str,
}

impl Coffre {
    /// Every setting.
    pub fn settings(&self) -> Result<Vec<SettingValue>> {
        settings::SETTINGS.iter().map(|s| self.setting(s.key)).collect()
    }

    /// One setting.
    pub fn setting(&self, key: &str) -> Result<SettingValue> {
        let setting = settings::find(key)?;
        let origin = match ((self.engine.overrides)(key), self.engine.catalogue.setting(key)?) {
            (Some(_), _) => "environment",
            (None, Some(_)) => "set",
            (None, None) => "default",
        };
        Ok(SettingValue {
            key: setting.key,
            value: self.engine.setting(key)?,
            default: setting.default,
            origin,
        })
    }

    /// Sets a setting, once its value is allowed.
    pub fn set_setting(&self, key: &str, value: &str) -> Result<SettingValue> {
        settings::find(key)?.check(value)?;
        self.engine.catalogue.set_setting(key, value)?;
        self.engine.record(
            "settings.set",
            Subject {
                kind: "setting",
                id: None,
                name: key,
            },
            None,
        )?;
        self.setting(key)
    }
}

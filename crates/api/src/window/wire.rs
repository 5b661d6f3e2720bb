//! Errors as the window gets them, and secrets as it gives them.

use coffre_model::{Code, Error, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Window;
use crate::words::{Language, Words};

/// An error in words: `text` is the key of its words, for a window that says it in words of its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WireError {
    /// The stable code.
    pub code: Code,
    /// The key of its words, below `errors.`.
    pub text: String,
    /// What happened and why.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// The facts.
    pub details: Value,
}

impl WireError {
    /// An error in the words of one language.
    pub fn new(error: &Error, words: &Words) -> WireError {
        let (message, hint) = words.error_in_window(error);
        let facts = error.details().iter().map(|(name, value)| (name.clone(), value.clone()));
        WireError {
            code: error.code(),
            text: error.text().to_owned(),
            message,
            hint,
            details: Value::Object(facts.collect()),
        }
    }
}

/// A secret on its way in: it goes from the arguments to where it is kept or used, and never back.
pub(super) struct SecretText(pub(super) Secret);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text itself becomes the secret, which wipes it when it is dropped: no copy stays behind.
        String::deserialize(deserializer).map(|text| SecretText(Secret::new(text)))
    }
}

impl ts_rs::TS for SecretText {
    type WithoutGenerics = Self;
    type OptionInnerType = Self;

    fn name(_: &ts_rs::Config) -> String {
        "string".to_owned()
    }

    fn inline(_: &ts_rs::Config) -> String {
        "string".to_owned()
    }
}

impl Window {
    /// The words of the language of the settings.
    pub fn words(&self) -> Words {
        let set = self.coffre().and_then(|coffre| coffre.engine.setting("language"));
        Words::new(match set.as_deref() {
            Ok("en") => Language::En,
            Ok("fr") => Language::Fr,
            // `system`; or a setting that cannot be read, which its own command tells.
            _ => self.system_language(),
        })
    }

    pub(super) fn in_words(&self, error: &Error) -> WireError {
        WireError::new(error, &self.words())
    }
}

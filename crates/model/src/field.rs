//! Settings forms as data: an adapter says which fields it has, every shell draws them without knowing the adapter.

use serde::Serialize;

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub enum FieldKind {
    /// One line of text.
    Text,
    /// A whole number.
    Number,
    /// Yes or no.
    Switch,
    /// One of the field's `choices`.
    Choice,
    /// A file on this machine.
    File,
    /// A folder on this machine.
    Folder,
    /// Several lines, one value each.
    Lines,
    /// Write-only; goes to the keychain or the vault.
    Secret,
}

/// One field of a settings form. Labels and hints are `fields.<adapter>.<name>.{label,hint}` in the catalogues of words.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Field {
    /// The name in the settings, and the last part of the text key.
    pub name: &'static str,
    /// What it takes.
    pub kind: FieldKind,
    /// Whether it must be given.
    pub required: bool,
    /// The allowed values of a choice.
    pub choices: &'static [&'static str],
    /// What is meant when it is left empty.
    pub default: Option<&'static str>,
    /// Where it goes: a part of the address (`host`, `path`, …) or the options.
    pub part: FieldPart,
}

/// Where the value of a field is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub enum FieldPart {
    /// `user` of the address.
    User,
    /// `host` of the address.
    Host,
    /// `port` of the address.
    Port,
    /// `path` of the address.
    Path,
    /// An entry of the options, under the field's name.
    Option,
    /// The secret store.
    Secret,
}

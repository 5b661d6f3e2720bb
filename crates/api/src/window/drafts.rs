//! What a form holds, and the way between it and an address with options. The adapters describe their fields as data; nothing here
//! knows any of them by name.

use std::collections::BTreeMap;
use std::path::Path;

use coffre_model::address::Address;
use coffre_model::field::{Field, FieldKind, FieldPart};
use coffre_model::source::{SourceOptions, check_name};
use coffre_model::{Code, Error, Id, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ts_rs::TS;

use super::wire::SecretText;

/// The longest text that a field takes.
const TEXT_MAX: usize = 4096;
/// The most lines that a field takes.
const LINES_MAX: usize = 1000;

/// The value of one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(untagged)]
pub enum FieldValue {
    /// On or off.
    Switch(bool),
    /// A number.
    Number(#[ts(type = "number")] serde_json::Number),
    /// A text.
    Text(String),
    /// Several lines.
    Lines(Vec<String>),
}

/// What a form holds: the values of an adapter's fields by name, without the secret. The address is built from it here.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// The name.
    pub name: String,
    /// The kind of database or storage.
    pub adapter: String,
    /// The values.
    #[ts(type = "Record<string, FieldValue | null>")]
    pub values: BTreeMap<String, Option<FieldValue>>,
}

/// What happens to the secret kept for a source or destination. The value goes one way: to the store, never back.
#[derive(Deserialize, TS)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum SecretChange {
    /// It stays as it is.
    Keep {},
    /// It is replaced.
    Set {
        /// By this.
        value: SecretText,
    },
    /// It is forgotten.
    Forget {},
}

/// Messages by the name of the field (`name` for the name itself); empty when all is well.
#[derive(Debug, Default, Serialize, TS)]
#[ts(type = "Record<string, CoffreError>")]
pub struct DraftErrors(pub BTreeMap<String, Error>);

impl DraftErrors {
    pub(super) fn add(&mut self, field: &str, error: Error) {
        // The first one says most: later ones may follow from it.
        self.0.entry(field.to_owned()).or_insert(error);
    }

    /// Says so where the name belongs to another than the one that is edited.
    pub(super) fn check_taken<'a>(&mut self, name: &str, id: Option<&Id>, mut known: impl Iterator<Item = (&'a Id, &'a str)>) {
        if known.any(|(other, taken)| taken == name && Some(other) != id) {
            self.add("name", Error::new(Code::Refused, "name_taken").with("name", name));
        }
    }

    /// What was read; where something is wrong, the first error as the answer of a command that cannot be carried out.
    pub(super) fn accept<T>(self, read: Option<T>) -> Result<T> {
        match self.0.into_iter().next() {
            None => read.ok_or_else(|| Error::internal("read a form", "nothing is wrong with it")),
            Some((field, error)) => Err(error.or_with("field", field)),
        }
    }
}

/// The arguments of `check_source` and `check_destination`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckDraft {
    pub(super) id: Option<Id>,
    pub(super) draft: Draft,
}

/// The arguments of `test_source` and `test_destination`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct TestDraft {
    pub(super) id: Option<Id>,
    pub(super) draft: Draft,
    pub(super) secret: SecretChange,
}

/// The arguments of `add_source` and `add_destination`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct AddDraft {
    pub(super) draft: Draft,
    pub(super) secret: SecretChange,
}

/// The arguments of `edit_source` and `edit_destination`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct EditDraft {
    pub(super) id: Id,
    pub(super) draft: Draft,
    pub(super) secret: SecretChange,
}

/// A form, as an adapter describes it.
pub(super) struct Form {
    pub(super) fields: Vec<Field>,
    pub(super) scheme: &'static str,
}

/// A draft, read: the canonical address, and the options by name.
#[derive(Debug, PartialEq)]
pub(super) struct Filled {
    pub(super) address: Address,
    pub(super) options: Map<String, Value>,
}

fn wrong(text: &'static str) -> Error {
    Error::new(Code::Usage, text)
}

impl Form {
    /// The form of a kind of database or storage, from what it says of itself.
    pub(super) fn of(fields: Vec<Field>, schemes: &[&'static str], name: &'static str) -> Form {
        Form {
            fields,
            scheme: schemes.first().copied().unwrap_or(name),
        }
    }

    /// The field with the path: what is wrong with an address as a whole is said there.
    pub(super) fn main_field(&self) -> &'static str {
        let path = self.fields.iter().find(|field| field.part == FieldPart::Path);
        path.map_or("name", |field| field.name)
    }

    /// Reads a draft. Nothing where something is wrong; `errors` says what.
    pub(super) fn fill(&self, draft: &Draft, errors: &mut DraftErrors) -> Option<Filled> {
        if let Err(error) = check_name(&draft.name) {
            errors.add("name", error);
        }
        for name in draft.values.keys() {
            let known = self
                .fields
                .iter()
                .any(|field| field.name == name && field.part != FieldPart::Secret);
            if !known {
                // The name of a field that does not exist is not worth repeating at length; a value is never repeated.
                let shown: String = name.chars().take(100).collect();
                errors.add(&shown, wrong("field_unknown"));
            }
        }
        let mut filled = Filled {
            address: Address {
                scheme: self.scheme.to_owned(),
                user: None,
                host: None,
                port: None,
                path: String::new(),
                query: BTreeMap::new(),
            },
            options: Map::new(),
        };
        for field in self.fields.iter().filter(|field| field.part != FieldPart::Secret) {
            let given = draft.values.get(field.name).and_then(Option::as_ref);
            match value_of(field, given) {
                Ok(Some(value)) => {
                    if let Err(error) = put(&mut filled, field, value) {
                        errors.add(field.name, error);
                    }
                }
                Ok(None) if field.required && field.default.is_none() => errors.add(field.name, wrong("field_required")),
                Ok(None) => {
                    if let (true, Some(default)) = (field.required, field.default)
                        && let Err(error) = put(&mut filled, field, Value::from(default))
                    {
                        errors.add(field.name, error);
                    }
                }
                Err(error) => errors.add(field.name, error),
            }
        }
        if !errors.0.is_empty() {
            return None;
        }
        // Written and read once more: what comes back is what every later run will read.
        match Address::parse(&filled.address.to_string()) {
            Ok(address) if address == filled.address => Some(filled),
            // A host that cannot be written so that it means the same when it is read.
            Ok(_) => {
                errors.add(self.main_field(), wrong("address_host"));
                None
            }
            Err(error) => {
                errors.add(self.main_field(), error);
                None
            }
        }
    }

    /// The way back, to fill the form again; never with a secret.
    pub(super) fn values(&self, address: &Address, options: &Map<String, Value>) -> BTreeMap<String, Option<FieldValue>> {
        let value = |field: &Field| -> Option<FieldValue> {
            let text = |text: &Option<String>| text.clone().map(FieldValue::Text);
            match field.part {
                FieldPart::User => text(&address.user),
                FieldPart::Host => text(&address.host),
                FieldPart::Port => address.port.map(|port| FieldValue::Number(port.into())),
                FieldPart::Path => Some(address.path.clone())
                    .filter(|path| !path.is_empty())
                    .map(FieldValue::Text),
                FieldPart::Option => match options.get(field.name)? {
                    Value::Null => None,
                    // What a form cannot show (there is no such option) is left out rather than shown wrongly.
                    other => serde_json::from_value(other.clone()).ok(),
                },
                FieldPart::Secret => None,
            }
        };
        let shown = self.fields.iter().filter(|field| field.part != FieldPart::Secret);
        shown.map(|field| (field.name.to_owned(), value(field))).collect()
    }
}

/// The value of a field as its kind wants it; nothing where it was left empty.
fn value_of(field: &Field, given: Option<&FieldValue>) -> Result<Option<Value>> {
    let text = |text: &str| -> Result<Option<String>> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > TEXT_MAX {
            return Err(wrong("field_long").with("max", TEXT_MAX));
        }
        if text.contains('\0') {
            return Err(wrong("field_nul"));
        }
        Ok(Some(text.to_owned()))
    };
    let Some(given) = given else { return Ok(None) };
    match (field.kind, given) {
        (FieldKind::Switch, FieldValue::Switch(on)) => Ok(Some(Value::Bool(*on))),
        (FieldKind::Number, FieldValue::Number(number)) => Ok(Some(Value::from(number.to_string()))),
        (FieldKind::Number | FieldKind::Text, FieldValue::Text(given)) => Ok(text(given)?.map(Value::from)),
        (FieldKind::Choice, FieldValue::Text(given)) => match text(given)? {
            Some(word) if !field.choices.contains(&word.as_str()) => {
                Err(wrong("field_choice").with("allowed", field.choices.join(", ")))
            }
            word => Ok(word.map(Value::from)),
        },
        (FieldKind::File | FieldKind::Folder, FieldValue::Text(given)) => match text(given)? {
            Some(path) if !Path::new(&path).is_absolute() => Err(wrong("field_path_relative")),
            path => Ok(path.map(Value::from)),
        },
        (FieldKind::Lines, FieldValue::Lines(lines)) => {
            if lines.len() > LINES_MAX {
                return Err(wrong("field_lines").with("max", LINES_MAX));
            }
            let mut kept = Vec::new();
            for line in lines {
                kept.extend(text(line.trim())?.map(Value::from));
            }
            Ok((!kept.is_empty()).then_some(Value::Array(kept)))
        }
        _ => Err(wrong("field_kind")),
    }
}

fn put(filled: &mut Filled, field: &Field, value: Value) -> Result<()> {
    let as_text = || match &value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let address = &mut filled.address;
    match field.part {
        FieldPart::User => address.user = Some(as_text()),
        FieldPart::Host => address.host = Some(as_text()),
        FieldPart::Port => {
            let port = as_text().parse().ok().filter(|port: &u16| *port > 0);
            address.port = Some(port.ok_or_else(|| wrong("field_port"))?);
        }
        FieldPart::Path => address.path = as_text(),
        FieldPart::Option if value == Value::Bool(false) => {}
        FieldPart::Option => drop(filled.options.insert(field.name.to_owned(), value)),
        FieldPart::Secret => {}
    }
    Ok(())
}

/// The options of a source.
///
/// # Errors
/// `INTERNAL`, where an adapter describes a field that no source has.
pub(super) fn source_options(options: Map<String, Value>) -> Result<SourceOptions> {
    serde_json::from_value(Value::Object(options)).map_err(|e| Error::internal("read the options of a source", e))
}

/// The options of a source by name, as a form shows them.
///
/// # Errors
/// `INTERNAL`: a fault of ours.
pub(super) fn options_of(options: &SourceOptions) -> Result<Map<String, Value>> {
    match serde_json::to_value(options) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::internal("show the options of a source", "no object")),
        Err(e) => Err(Error::internal("show the options of a source", e)),
    }
}

/// The field that an adapter's refusal is about. Where none is named, the one with the path.
pub(super) fn field_of(form: &Form, error: &Error) -> &'static str {
    let named = match error.text() {
        "pg_host" | "address_host" => "host",
        "address_port" => "port",
        "pg_socket_tls" => "tls",
        "pg_format" => "format",
        "tool_path_relative" => "tool_path",
        "glob_empty" => "include",
        "name_empty" | "name_nul" | "name_long" | "name_taken" => return "name",
        _ => return form.main_field(),
    };
    let known = form.fields.iter().find(|field| field.name == named);
    known.map_or_else(|| form.main_field(), |field| field.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn postgres() -> Form {
        Form {
            fields: coffre_databases::find("postgres").unwrap().fields(),
            scheme: "postgres",
        }
    }

    fn draft(values: Value) -> Draft {
        serde_json::from_value(serde_json::json!({"name": "shop", "adapter": "postgres", "values": values})).unwrap()
    }

    fn errors(values: Value) -> Vec<(String, String)> {
        let mut errors = DraftErrors::default();
        let filled = postgres().fill(&draft(values), &mut errors);
        assert_eq!(filled.is_some(), errors.0.is_empty());
        errors
            .0
            .into_iter()
            .map(|(field, error)| (field, error.text().to_owned()))
            .collect()
    }

    #[test]
    fn a_form_becomes_an_address_and_back() {
        let values = serde_json::json!({"host": "db.example", "port": 5433, "database": "a/b", "user": "jo:e", "tls": "require",
            "include": ["public.*", " "], "no_owner": true, "no_privileges": false, "format": "", "tool_path": null});
        let mut none = DraftErrors::default();
        let filled = postgres().fill(&draft(values), &mut none).unwrap();
        assert_eq!(filled.address.to_string(), "postgres://jo%3Ae@db.example:5433/a%2Fb");
        let options = source_options(filled.options.clone()).unwrap();
        assert_eq!(options.include, ["public.*"]);
        assert!(options.no_owner && !options.no_privileges);
        let back = postgres().values(&filled.address, &options_of(&options).unwrap());
        let again = Draft {
            name: "shop".into(),
            adapter: "postgres".into(),
            values: back,
        };
        assert_eq!(postgres().fill(&again, &mut none).unwrap(), filled);
        assert!(!again.values.contains_key("password"));
    }

    #[test]
    fn what_is_wrong_is_said_at_its_field() {
        let one = |field: &str, text: &str| vec![(field.to_owned(), text.to_owned())];
        assert_eq!(errors(serde_json::json!({"host": "h"})), one("database", "field_required"));
        for (field, value, text) in [
            ("port", serde_json::json!(0), "field_port"),
            ("port", serde_json::json!(99999), "field_port"),
            ("port", serde_json::json!("x"), "field_port"),
            ("port", serde_json::json!(1.5), "field_port"),
            ("tls", serde_json::json!("maybe"), "field_choice"),
            ("tool_path", serde_json::json!("bin"), "field_path_relative"),
            ("host", serde_json::json!(true), "field_kind"),
            ("host", serde_json::json!("a\u{0}b"), "field_nul"),
            ("host", serde_json::json!("x".repeat(5000)), "field_long"),
            ("include", serde_json::json!("x"), "field_kind"),
            ("no_owner", serde_json::json!("yes"), "field_kind"),
            ("password", serde_json::json!("hunter2"), "field_unknown"),
            ("other", serde_json::json!(1), "field_unknown"),
        ] {
            let mut values = serde_json::json!({"database": "shop"});
            values[field] = value.clone();
            assert_eq!(errors(values), one(field, text), "{field} {value}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_as_it_was_given(host in "[^\\x00/]{1,30}", database in "[^\\x00]{1,60}", user in "[^\\x00]{1,30}") {
            let values = serde_json::json!({"host": host, "database": database, "user": user});
            let mut errors = DraftErrors::default();
            if let Some(filled) = postgres().fill(&draft(values), &mut errors) {
                let parsed = Address::parse(&filled.address.to_string()).unwrap();
                prop_assert_eq!(parsed.path, database);
                prop_assert_eq!(parsed.user, Some(user));
            }
        }
    }
}

//! The JSON that leaves Coffre (`contract.md`, "JSON"): the model's shapes, with errors put into words.

use coffre_model::Error;
use coffre_model::error::Code;
use serde::Serialize;
use serde_json::Value;

use crate::words::Words;

/// Any of the model's nouns as JSON, every error inside it in the words of one language.
///
/// # Errors
/// `INTERNAL`, if something cannot be written as JSON (a fault of ours).
pub fn json(noun: &impl Serialize, words: &Words) -> Result<Value, Error> {
    let mut value = serde_json::to_value(noun).map_err(|e| Error::internal("write JSON", e))?;
    put_into_words(&mut value, &|error| words.error_json(error));
    Ok(value)
}

/// Like [`json`], for a window: an error keeps the key of its text beside its words, so that the window can say it in its own.
///
/// # Errors
/// `INTERNAL`, if something cannot be written as JSON (a fault of ours).
pub fn window_json(noun: &impl Serialize, words: &Words) -> Result<Value, Error> {
    let mut value = serde_json::to_value(noun).map_err(|e| Error::internal("write JSON", e))?;
    put_into_words(&mut value, &|error| {
        let mut said = words.error_json(error);
        said["text"] = error.text().into();
        said
    });
    Ok(value)
}

/// An error inside a noun is `{code, text, details}`; outside it is `{code, message, hint, details}`.
fn put_into_words(value: &mut Value, say: &dyn Fn(&Error) -> Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|v| put_into_words(v, say)),
        Value::Object(fields) => {
            let is_error = fields.get("text").is_some_and(Value::is_string)
                && fields
                    .get("code")
                    .and_then(Value::as_str)
                    .is_some_and(|c| Code::ALL.iter().any(|known| known.as_str() == c));
            if is_error && let Ok(error) = serde_json::from_value::<Error>(Value::Object(fields.clone())) {
                *value = say(&error);
                return;
            }
            fields.values_mut().for_each(|v| put_into_words(v, say));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Language;

    #[test]
    fn errors_inside_become_words() {
        let error = Error::new(Code::Usage, "name_empty");
        let value = json(&serde_json::json!({"backups": [{"error": error}]}), &Words::new(Language::En)).unwrap();
        let inner = &value["backups"][0]["error"];
        assert_eq!(inner["code"], "USAGE");
        assert!(inner["message"].is_string() && inner.get("text").is_none());
    }
}

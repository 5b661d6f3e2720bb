//! `coffre key …` and `coffre vault …`

use std::io::Write;
use std::path::Path;

use coffre_api::Coffre;
use coffre_api::model::{Code, Error, Result, Secret};
use serde_json::{Value, json};

use super::source::read_secret;
use crate::args;
use crate::output::Out;

fn name_of<'a>(one: &'a Option<String>, name: &'a Option<String>) -> Result<&'a str> {
    one.as_deref()
        .or(name.as_deref())
        .ok_or_else(|| Error::new(Code::Usage, "name_empty"))
}

pub(super) fn run(coffre: &Coffre, command: &args::Key, out: &Out) -> Result<()> {
    match command {
        args::Key::Create {
            one,
            name,
            passphrase_stdin,
        } => {
            let passphrase = passphrase_stdin.then(read_secret).transpose()?;
            let (key, remarks) = coffre.create_key(name_of(one, name)?, passphrase)?;
            out.say(
                "cli.key_created",
                &[("name", json!(key.name)), ("recipient", json!(key.recipient))],
            );
            // A key that lies on this machine alone is lost with it.
            out.say_aside("cli.key_export_it", &[("name", json!(key.name))]);
            out.remarks(&remarks);
            out.document(&[("key", &key)])
        }
        args::Key::List => {
            let keys = coffre.keys()?;
            if keys.is_empty() {
                out.say("cli.key_none", &[]);
            } else {
                let rows = keys
                    .iter()
                    .map(|k| {
                        let exported = k.exported_at.map_or_else(|| "–".to_owned(), |at| out.words.moment(at));
                        vec![
                            k.name.clone(),
                            out.words.text(&format!("key.{}", k.kind)),
                            k.recipient.clone().unwrap_or_else(|| "–".to_owned()),
                            exported,
                        ]
                    })
                    .collect();
                out.table(&["name", "kind", "recipient", "exported"], rows);
            }
            out.document(&[("keys", &keys)])
        }
        args::Key::Export { one, name, to } => {
            let key = coffre.key(name_of(one, name)?)?;
            let text = coffre.export_key(&key)?;
            let identity = match to {
                Some(path) => {
                    coffre.write_private(path, text.expose().as_bytes())?;
                    out.say(
                        "cli.key_exported",
                        &[("name", json!(key.name)), ("path", json!(path.display().to_string()))],
                    );
                    Value::Null
                }
                None if out.json => json!(text.expose()),
                None => {
                    drop(std::io::stdout().lock().write_all(text.expose().as_bytes()));
                    Value::Null
                }
            };
            let key = coffre.key(&key.id.to_string())?;
            out.document(&[("key", &key), ("identity", &identity), ("path", &to)])
        }
        args::Key::Import {
            one,
            name,
            from,
            passphrase,
        } => {
            let text = match from {
                Some(path) => read_file(path)?,
                None => read_secret()?,
            };
            let key = coffre.import_key(name_of(one, name)?, text, *passphrase)?;
            out.say(
                "cli.key_imported",
                &[("name", json!(key.name)), ("recipient", json!(key.recipient))],
            );
            out.document(&[("key", &key)])
        }
    }
}

fn read_file(path: &Path) -> Result<Secret> {
    let unreadable = |e: std::io::Error| {
        Error::new(Code::Usage, "file_unreadable")
            .with("path", path.display().to_string())
            .with("cause", e.to_string())
    };
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if about.len() > 64 << 10 {
        return Err(Error::new(Code::Usage, "file_unreadable")
            .with("path", path.display().to_string())
            .with("cause", "> 64 KiB"));
    }
    std::fs::read_to_string(path).map(Secret::new).map_err(unreadable)
}

pub(super) fn vault(coffre: &Coffre, command: &args::Vault, out: &Out) -> Result<()> {
    match command {
        args::Vault::Init => {
            let made = coffre.init_vault()?;
            out.say("cli.vault_made", &[("path", json!(made.path.display().to_string()))]);
            if let (true, Some(file)) = (made.key_file_made, &made.key_file) {
                out.say_aside("cli.vault_key_made", &[("path", json!(file.display().to_string()))]);
            }
            out.remarks(&made.remarks);
            let vault = json!({"kind": "vault", "path": made.path, "exists": true, "key_file": made.key_file, "key_file_made": made.key_file_made, "recipient": made.recipient});
            out.document(&[("vault", &vault)])
        }
        args::Vault::Status => {
            let status = coffre.secrets_status()?;
            let key = match (status.exists, status.unlocked) {
                (false, _) => "cli.secrets_absent",
                (true, false) => "cli.secrets_locked",
                (true, true) => "cli.secrets_open",
            };
            let path = status.path.as_ref().map(|p| p.display().to_string());
            out.say(
                key,
                &[
                    ("kind", json!(out.words.text(&format!("secrets.{}", status.kind)))),
                    ("path", json!(path)),
                    ("entries_count", json!(status.entries)),
                ],
            );
            out.remarks(status.error.as_slice());
            out.document(&[("vault", &status)])
        }
    }
}

//! `coffre demo`: the whole job on a sample database, in a folder of its own: protect, back up, verify, restore beside, compare.

use std::path::PathBuf;

use coffre_api::backups::{By, Manual};
use coffre_api::model::backup::Trigger;
use coffre_api::model::compression::Compression;
use coffre_api::model::source::SourceOptions;
use coffre_api::model::{Cancel, Code, Error, Result};
use coffre_api::restores::{From, Target};
use coffre_api::{Coffre, sample};
use serde_json::json;

use crate::args;
use crate::output::Out;
use crate::progress::Bar;

pub(super) fn run(coffre: &Coffre, given: &args::Demo, out: &Out, cancel: &Cancel) -> Result<()> {
    let folder = match &given.dir {
        Some(dir) => std::path::absolute(dir).map_err(|e| Error::internal("find a folder", e))?,
        None => coffre.engine.home.root().join("demo"),
    };
    let file = sample::make_shop(&folder)?;
    let head = |step: u8, key: &str, facts: &[(&str, serde_json::Value)]| {
        out.line("");
        out.line(&out.bold(&format!("{step}. {}", out.words.say(key, facts))));
    };

    head(1, "demo.sample", &[("path", json!(file.path)), ("rows", json!(file.rows))]);
    let source = match coffre.source("sample-shop") {
        Ok(source) => source,
        Err(error) if error.code() == Code::NotFound => {
            coffre.add_source(&file.address, "sample-shop", SourceOptions::default(), None)?
        }
        Err(error) => return Err(error),
    };
    let source = if source.address == file.address {
        source
    } else {
        let change = coffre_api::sources::Change {
            address: Some(file.address.clone()),
            ..Default::default()
        };
        coffre.edit_source(&source, change)?
    };

    head(2, "demo.backup", &[("source", json!(source.name))]);
    let bar = Bar::new(out.words, out.quiet || out.json);
    let manual = Manual {
        source: source.clone(),
        destinations: Vec::new(),
        compression: Compression::default(),
        key: None,
    };
    let backup = coffre.back_up(By::Manual(Box::new(manual)), Trigger::Manual, "", false, &bar, cancel);
    bar.clear();
    let backup = backup?;
    out.say(
        "cli.backup_holds",
        &[
            ("tables", json!(backup.tables)),
            ("rows", json!(backup.rows)),
            ("raw_bytes", json!(backup.raw_bytes)),
            ("stored_bytes", json!(backup.stored_bytes)),
            ("duration_ms", json!(backup.duration_ms)),
        ],
    );

    head(3, "demo.verify", &[("backup", json!(backup.code))]);
    let (backup, checks) = coffre.verify(&backup, None, &bar, cancel)?;
    bar.clear();
    if let Some(error) = checks.iter().find_map(|c| c.error.clone()) {
        return Err(error);
    }
    for check in &checks {
        let line = out
            .words
            .say("cli.verified", &[("backup", json!(backup.code)), ("copy", json!(check.copy))]);
        out.line(&out.proved(&format!("✓ {line}")));
    }

    let into = beside(&file.path, &backup);
    head(4, "demo.restore", &[("path", json!(into.display().to_string()))]);
    let address = sample::address(&into)?;
    let target = Target {
        address: Some(address),
        options: SourceOptions::default(),
        password: None,
    };
    let restored = coffre.restore(From::Backup(Box::new(backup.clone())), target, false, &bar, cancel);
    bar.clear();
    let restored = restored?;
    super::restore::show(&restored, out);

    head(5, "demo.next", &[]);
    out.say(
        "demo.next_commands",
        &[("home", json!(coffre.engine.home.root().display().to_string()))],
    );
    out.document(&[
        ("source", &source),
        ("backup", &backup),
        ("checks", &checks),
        ("restore", &restored),
    ])
}

/// A name beside the sample that no earlier demonstration took.
fn beside(path: &std::path::Path, backup: &coffre_api::model::backup::Backup) -> PathBuf {
    path.with_file_name(format!(
        "shop-restored-{}.db",
        backup.code.as_str().rsplit('-').next().unwrap_or("1")
    ))
}

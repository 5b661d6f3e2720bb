//! `coffre verify`

use coffre_api::Coffre;
use coffre_api::model::{Cancel, Code, Error, Result};
use coffre_api::words::plain;
use serde_json::{Value, json};

use crate::args;
use crate::output::{Out, erased::Json};
use crate::progress::Bar;

pub(super) fn run(coffre: &Coffre, given: &args::Verify, out: &Out, cancel: &Cancel) -> Result<()> {
    let bar = Bar::new(out.words, out.quiet || out.json);
    let Some(reference) = &given.backup else {
        return all(coffre, given, out, cancel, &bar);
    };
    let backup = coffre.backup(reference, given.source.as_deref())?;
    let verified = coffre.verify(&backup, given.copy.as_deref(), &bar, cancel);
    bar.clear();
    let (backup, checks) = verified?;
    for check in &checks {
        let code = backup.code.as_str();
        match &check.error {
            None => {
                let line = out
                    .words
                    .say("cli.verified", &[("backup", json!(code)), ("copy", json!(check.copy))]);
                out.line(&out.proved(&format!("✓ {}", plain(&line))));
            }
            Some(error) => out.line(&format!(
                "✗ {code}  {}  {}",
                plain(&check.copy),
                plain(&out.words.error(error).0)
            )),
        }
    }
    match worst(checks.iter().filter_map(|c| c.error.as_ref())) {
        None => out.document(&[("backup", &backup), ("checks", &checks)]),
        Some(error) => out.failed(&[("backup", &backup), ("checks", &checks)], error),
    }
}

fn all(coffre: &Coffre, given: &args::Verify, out: &Out, cancel: &Cancel, bar: &Bar) -> Result<()> {
    let mut results: Vec<Value> = Vec::new();
    let mut errors: Vec<Error> = Vec::new();
    let mut whole = 0_u64;
    for backup in coffre.verifiable()? {
        let here = |name: &str| {
            backup
                .copies
                .iter()
                .any(|c| c.destination == name || c.destination_id.to_string() == name)
        };
        if given.copy.as_deref().is_some_and(|name| !here(name)) {
            continue;
        }
        let result = match coffre.verify(&backup, given.copy.as_deref(), bar, cancel) {
            Ok((backup, checks)) => {
                let failed: Vec<Error> = checks.iter().filter_map(|c| c.error.clone()).collect();
                whole += u64::from(failed.is_empty());
                for error in &failed {
                    bar.clear();
                    out.line(&format!("✗ {}  {}", backup.code, plain(&out.words.error(error).0)));
                }
                errors.extend(failed);
                json!({"backup": backup.json(&out.words)?, "checks": checks.json(&out.words)?})
            }
            Err(error) if matches!(error.code(), Code::Cancelled | Code::Interrupted) => return Err(error),
            Err(error) => {
                out.line(&format!("✗ {}  {}", backup.code, plain(&out.words.error(&error).0)));
                let result = json!({"backup": backup.json(&out.words)?, "checks": [], "error": out.words.error_json(&error)});
                errors.push(error);
                result
            }
        };
        results.push(result);
    }
    bar.clear();
    out.say(
        "cli.verified_all",
        &[
            ("whole_count", json!(whole)),
            ("failed_count", json!(results.len() as u64 - whole)),
        ],
    );
    let document: &[(&str, &dyn Json)] = &[
        ("results", &results),
        ("verified", &whole),
        ("failed", &(results.len() as u64 - whole)),
    ];
    match worst(errors.iter()) {
        None => out.document(document),
        Some(error) => out.failed(document, error),
    }
}

/// The error that decides the exit status: damage before everything else. A copy that is not there has failed its verification.
fn worst<'a>(errors: impl Iterator<Item = &'a Error>) -> Option<Error> {
    let weight = |e: &Error| match e.code() {
        Code::VerifyMismatch | Code::DecryptFailed => 0,
        Code::NotFound => 1,
        Code::SecretUnavailable => 2,
        _ => 3,
    };
    let worst = errors.min_by_key(|e| weight(e))?.clone();
    if worst.code() == Code::NotFound {
        let mut missing = Error::new(Code::VerifyMismatch, "copy_missing");
        for (name, value) in worst.details() {
            missing = missing.with(name, value.clone());
        }
        return Some(missing);
    }
    Some(worst)
}

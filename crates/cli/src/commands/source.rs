//! `coffre source …`

use std::io::Read;

use coffre_api::Coffre;
use coffre_api::model::protection::ProtectionCause;
use coffre_api::model::source::{Source, SourceOptions, Tls};
use coffre_api::model::{Cancel, Code, Error, Result, Secret};
use coffre_api::sources::Change;
use coffre_api::window::protection::{ProtectedSource, Protection};
use serde_json::json;

use crate::args::{self, Password};
use crate::output::Out;

pub(super) fn run(coffre: &Coffre, command: &args::Source, out: &Out, cancel: &Cancel) -> Result<()> {
    match command {
        args::Source::Add {
            address,
            name,
            password,
            options: given,
        } => {
            let options = options(given, SourceOptions::default())?;
            let source = coffre.add_source(address, name, options, read_password(password)?)?;
            out.say(
                "cli.source_added",
                &[("name", json!(source.name)), ("address", json!(source.address))],
            );
            out.document(&[("source", &source)])
        }
        args::Source::Test(one) => {
            let source = coffre.source(&one.one)?;
            let probe = coffre.test_source(&source, cancel)?;
            out.say(
                "cli.source_tested",
                &[
                    ("name", json!(source.name)),
                    ("server_version", json!(probe.server_version)),
                    ("tool", json!(probe.tool.name)),
                    ("tool_version", json!(probe.tool.version)),
                    ("tables", json!(probe.tables)),
                    ("bytes", json!(probe.estimated_bytes)),
                ],
            );
            out.remarks(&probe.remarks);
            out.document(&[("source", &source), ("ok", &true), ("probe", &probe)])
        }
        args::Source::List => {
            let sources: Vec<Source> = coffre.sources()?;
            let sources = coffre.with_protection(sources)?;
            if sources.is_empty() {
                out.say("cli.source_none", &[]);
            } else {
                let row = |s: &ProtectedSource| {
                    let source = &s.source.source;
                    vec![source.name.clone(), source.address.clone(), how_safe(&s.protection, out)]
                };
                out.table(&["name", "address", "protection"], sources.iter().map(row).collect());
            }
            super::channel::say_unheard(&coffre.unheard()?, out);
            out.document(&[("sources", &sources)])
        }
        args::Source::Show(one) => {
            let source = coffre.source(&one.one)?;
            show(&source, out);
            let source = coffre.with_protection(vec![source])?.into_iter().next();
            if let Some(source) = &source {
                facts(out, vec![("protection", how_safe(&source.protection, out))]);
            }
            out.document(&[("source", &source)])
        }
        args::Source::Edit {
            one,
            name,
            address,
            password,
            options: given,
        } => {
            let source = coffre.source(one)?;
            let change = Change {
                name: name.clone(),
                address: address.clone(),
                options: Some(options(given, source.options.clone())?),
                password: read_password(password)?,
            };
            let source = coffre.edit_source(&source, change)?;
            show(&source, out);
            out.document(&[("source", &source)])
        }
        args::Source::Remove(one) => {
            let source = coffre.source(&one.one)?;
            coffre.remove_source(&source)?;
            out.say("cli.source_removed", &[("name", json!(source.name))]);
            out.document(&[("source", &source), ("removed", &true)])
        }
    }
}

/// How safe a source is and why it is no safer: `at risk: 3 runs missed since 2026-11-17 03:00`.
fn how_safe(protection: &Protection, out: &Out) -> String {
    let state = out.words.text(&format!("protection.{}", protection.state));
    let Some(cause) = protection.cause else { return state };
    let why = match &protection.behind {
        Some(behind) if matches!(cause, ProtectionCause::SlotsMissed | ProtectionCause::Stale) => {
            let counts = [
                ("protection.missed", behind.missed),
                ("protection.failed", behind.failed),
                ("protection.skipped", behind.skipped),
            ];
            let parts = counts.iter().filter(|(_, count)| *count > 0);
            let parts: Vec<String> = parts
                .map(|(key, count)| out.words.say(key, &[("runs_count", json!(count))]))
                .collect();
            let facts = [
                ("what", json!(parts.join(", "))),
                ("when", json!(out.words.moment(behind.since))),
            ];
            out.words.say("protection.since", &facts)
        }
        _ => out.words.text(&format!("protection.cause.{cause}")),
    };
    let facts = [("state", json!(state)), ("why", json!(why))];
    out.words.say("protection.because", &facts)
}

fn show(source: &Source, out: &Out) {
    let yes_no = |yes: bool| out.words.text(if yes { "cli.yes" } else { "cli.no" });
    let mut rows = vec![
        ("name", source.name.clone()),
        ("address", source.address.clone()),
        ("id", source.id.to_string()),
        ("password", yes_no(source.has_secret)),
        ("created", out.words.moment(source.created_at)),
    ];
    let options = &source.options;
    let words = |list: &[String]| (!list.is_empty()).then(|| list.join(", "));
    for (key, value) in [
        ("format", options.format.clone()),
        ("tls", options.tls.map(|t| t.to_string())),
        ("tool_path", options.tool_path.clone()),
        ("include", words(&options.include)),
        ("exclude", words(&options.exclude)),
        ("no_owner", options.no_owner.then(|| yes_no(true))),
        ("no_privileges", options.no_privileges.then(|| yes_no(true))),
        ("no_large_objects", options.no_large_objects.then(|| yes_no(true))),
    ] {
        rows.extend(value.map(|v| (key, v)));
    }
    facts(out, rows);
}

/// Facts, one a line: the name from `cli.fact`, the value.
pub(super) fn facts(out: &Out, rows: Vec<(&str, String)>) {
    for (key, value) in rows {
        let name = out.words.text(&format!("cli.fact.{key}"));
        let value = coffre_api::words::plain(&value);
        out.line(&format!("{name:<16} {value}"));
    }
}

/// The options as given over what was there. What Coffre cannot honour yet is refused, never stored and forgotten.
pub(super) fn options(given: &args::SourceOptions, before: SourceOptions) -> Result<SourceOptions> {
    for (flag, used) in [
        ("--attach", !given.attach.is_empty()),
        ("--health-url", given.health_url.is_some()),
        ("--stop-command", given.stop_command.is_some()),
        ("--start-command", given.start_command.is_some()),
    ] {
        if used {
            return Err(Error::new(Code::Refused, "not_yet").with("what", flag));
        }
    }
    let list = |new: &Vec<String>, old: Vec<String>| if new.is_empty() { old } else { new.clone() };
    Ok(SourceOptions {
        format: given.format.clone().or(before.format),
        tls: tls(given.tls.as_deref()).or(before.tls),
        tool_path: given.tool_path.clone().map(absolute).transpose()?.or(before.tool_path),
        include: list(&given.include, before.include),
        exclude: list(&given.exclude, before.exclude),
        no_owner: given.no_owner || before.no_owner,
        no_privileges: given.no_privileges || before.no_privileges,
        no_large_objects: given.no_large_objects || before.no_large_objects,
    })
}

pub(super) fn tls(word: Option<&str>) -> Option<Tls> {
    word.and_then(Tls::parse)
}

/// A folder as an absolute path: what is stored must mean the same from everywhere.
pub(super) fn absolute(path: String) -> Result<String> {
    let absolute = std::path::absolute(&path).map_err(|_| crate::localise::wrong("--tool-path", &path))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|_| crate::localise::wrong("--tool-path", &path))
}

/// The password from standard input (without the line break that ends it) or from a variable.
pub(super) fn read_password(given: &Password) -> Result<Option<Secret>> {
    if let Some(name) = &given.password_env {
        let value = std::env::var(name).map_err(|_| Error::new(Code::Usage, "password_env").with("variable", name.as_str()))?;
        return Ok(Some(Secret::new(value)));
    }
    if given.password_stdin {
        return read_secret().map(Some);
    }
    Ok(None)
}

/// A secret from standard input, at most 64 KiB.
pub(super) fn read_secret() -> Result<Secret> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(64 << 10).read_to_string(&mut text);
    read.map_err(|_| Error::new(Code::Usage, "password_stdin"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.contains('\0') {
        return Err(Error::new(Code::Usage, "password_stdin"));
    }
    Ok(Secret::new(text))
}

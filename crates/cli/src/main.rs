//! `coffre`: the terminal. It parses, opens, asks the API, prints; it decides nothing.

mod args;
mod commands;
mod localise;
mod output;
mod progress;
mod signals;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use coffre_api::catalogues::set_aside_if_damaged;
use coffre_api::model::journal::Author;
use coffre_api::model::{Cancel, Result};
use coffre_api::words::{Language, Words};
use coffre_api::{Coffre, Opening, start};

use crate::args::{Cli, Command, Lang};
use crate::output::Out;

fn main() -> ExitCode {
    start::prepare();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let words = Words::new(language(&arguments));
    let json = arguments.iter().skip(1).take_while(|a| *a != "--").any(|a| a == "--json");
    let cli = match localise::parse(&arguments, &words) {
        Ok(cli) => cli,
        Err(stop) => return stop.show(json, &words),
    };
    let mut out = Out::new(cli.global.json, cli.global.quiet, words);
    if let Command::Completions(completions) = &cli.command {
        return out.end(commands::completions(&out, completions));
    }
    if let Err(error) = start::choose_tls() {
        return out.end(Err(error));
    }
    let cancel = Cancel::new();
    if let Err(error) = signals::watch(&cancel) {
        return out.end(Err(error));
    }
    let outcome = work(&cli, &mut out, &cancel);
    out.end(outcome)
}

/// The language: `--lang`, then `COFFRE_LANGUAGE`, then the locale. The stored setting is read where the catalogue is open already.
fn language(arguments: &[OsString]) -> Language {
    let mut given = None;
    let mut rest = arguments.iter().skip(1).take_while(|a| *a != "--");
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--lang") => given = rest.next().and_then(|v| v.to_str()).map(str::to_owned),
            Some(text) => {
                if let Some(value) = text.strip_prefix("--lang=") {
                    given = Some(value.to_owned());
                }
            }
            None => {}
        }
    }
    given
        .map(|given| Language::of_locale(&given))
        .or_else(start::language_of_environment)
        .unwrap_or(Language::En)
}

/// Opens, sweeps, carries the command out. `out` speaks the language of the settings from the moment that they are known, also for what
/// is said at the end.
fn work(cli: &Cli, out: &mut Out, cancel: &Cancel) -> Result<()> {
    let home = home(cli)?;
    let opening = || Opening {
        home: home.clone(),
        author: Author::Cli,
        actor: start::actor(),
    };
    if let Command::Catalogue(_) = &cli.command
        && let Some(aside) = set_aside_if_damaged(&opening())?
    {
        out.say_aside("cli.set_aside", &[("path", aside.display().to_string().into())]);
    }
    let coffre = Arc::new(Coffre::open(opening())?);
    let _log = start::log_to(&home)?;
    tracing::info!(arguments = ?cli.command.name(), "start");
    if cli.global.lang.is_none() && std::env::var_os("COFFRE_LANGUAGE").is_none() {
        match coffre.setting("language")?.value.as_str() {
            "en" => out.words = Words::new(Language::En),
            "fr" => out.words = Words::new(Language::Fr),
            _ => {}
        }
    }
    let outcome = coffre.sweep(cancel).and_then(|swept| {
        out.swept(&swept);
        commands::run(&coffre, &cli.command, out, cancel)
    });
    if let Err(error) = &outcome {
        tracing::error!(%error, "end");
    }
    // Whoever stopped it does not wait for a mail server; the next process tells.
    if cli.command.brings_news() && !cancel.is_cancelled() {
        commands::tell(&coffre, out, cancel);
    }
    // A catalogue that cannot be closed cleanly is worth knowing, but not more than why the work failed.
    let closed = coffre.engine.catalogue.clone().close();
    outcome.and(closed)
}

fn home(cli: &Cli) -> Result<PathBuf> {
    coffre_api::open::home(cli.global.home.as_deref())
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::En => Language::En,
            Lang::Fr => Language::Fr,
        }
    }
}

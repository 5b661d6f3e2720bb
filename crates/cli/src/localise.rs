//! Help and usage errors in both languages: the command line's structure is in `args.rs`, every word of it in the catalogues of words.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};
use coffre_api::model::address::without_password;
use coffre_api::model::{Code, Error};
use coffre_api::words::{Words, plain};
use serde_json::json;

use crate::args::Cli;

/// Why parsing ended without a command to carry out.
pub(crate) enum Stop {
    /// Help or version was asked for.
    Asked(StyledStr),
    /// The command is wrong; what is wrong, and how it is used.
    Usage { message: String, usage: String },
}

impl Stop {
    /// Prints, and answers the exit status.
    pub(crate) fn show(self, as_json: bool, words: &Words) -> ExitCode {
        match self {
            Stop::Asked(text) => {
                drop(write!(std::io::stdout().lock(), "{text}"));
                ExitCode::SUCCESS
            }
            Stop::Usage { message, usage } => {
                let hint = words.say("usage.hint", &[]);
                if as_json {
                    let error =
                        json!({"error": {"code": "USAGE", "message": message, "hint": hint, "details": {"usage": usage}}});
                    drop(writeln!(std::io::stdout().lock(), "{error:#}"));
                } else {
                    let mut stderr = std::io::stderr().lock();
                    drop(writeln!(
                        stderr,
                        "{} {}",
                        words.text("cli.error"),
                        message.lines().map(plain).collect::<Vec<_>>().join("\n")
                    ));
                    if !usage.is_empty() {
                        drop(writeln!(stderr, "\n{usage}\n"));
                    }
                    drop(writeln!(stderr, "{hint}\n[{}]", Code::Usage));
                }
                ExitCode::from(2)
            }
        }
    }
}

/// The command line with its words.
pub(crate) fn command(words: &Words) -> Command {
    with_words(Cli::command(), "coffre", words)
}

fn with_words(command: Command, path: &str, words: &Words) -> Command {
    let command_path = path.to_owned();
    let about = words.text(&format!("help.{path}.about"));
    let help_flag = Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::Help)
        .help(words.text("help.common.help"));
    let has_version = command.get_version().is_some();
    let mut command = command
        .about(about)
        .disable_help_flag(true)
        .arg(help_flag)
        .help_template(format!(
            "{{about-with-newline}}\n{} {{usage}}\n\n{{all-args}}\n",
            words.text("help.heading.usage")
        ))
        .subcommand_help_heading(words.text("help.heading.commands"))
        .mut_args(|arg| describe(arg, &command_path, words));
    if has_version {
        let flag = Arg::new("version")
            .short('V')
            .long("version")
            .action(ArgAction::Version)
            .help(words.text("help.common.version"));
        command = command
            .disable_version_flag(true)
            .arg(flag.help_heading(words.text("help.heading.options")));
    }
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        let path = if path == "coffre" {
            name.clone()
        } else {
            format!("{path}_{name}")
        };
        command = command.mut_subcommand(&name, |sub| with_words(sub, &path, words));
    }
    command
}

fn describe(arg: Arg, path: &str, words: &Words) -> Arg {
    let id = arg.get_id().to_string();
    let own = words
        .find(&format!("help.{path}.{id}"))
        .or_else(|| words.find(&format!("help.common.{id}")));
    let heading = if arg.is_positional() {
        "help.heading.arguments"
    } else {
        "help.heading.options"
    };
    let arg = arg.help_heading(words.text(heading));
    let values: Vec<String> = match arg.get_action().takes_values() {
        true => arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect(),
        false => Vec::new(),
    };
    match own {
        Some(text) if values.is_empty() => arg.help(text),
        // clap writes this list in English only.
        Some(text) => arg.hide_possible_values(true).help(format!("{text} [{}]", values.join(", "))),
        None => arg,
    }
}

/// Parses the arguments.
pub(crate) fn parse(arguments: &[OsString], words: &Words) -> Result<Cli, Stop> {
    let matches = command(words).try_get_matches_from(arguments).map_err(|e| stop(&e, words))?;
    Cli::from_arg_matches(&matches).map_err(|e| stop(&e, words))
}

fn stop(error: &clap::Error, words: &Words) -> Stop {
    let usage = || match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(text)) => text.to_string().replacen("Usage:", &words.text("help.heading.usage"), 1),
        _ => String::new(),
    };
    let value = context(error, &[ContextKind::InvalidValue]);
    let key = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return Stop::Asked(error.render()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return Stop::Usage {
                message: words.text("usage.missing_command"),
                usage: error.render().to_string(),
            };
        }
        ErrorKind::InvalidValue if value.is_empty() => "usage.missing_value",
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if error.get(ContextKind::ValidValue).is_none() => {
            "usage.invalid_value_bare"
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => "usage.invalid_value",
        ErrorKind::UnknownArgument if !has_suggestion(error) => "usage.unknown_argument_bare",
        ErrorKind::UnknownArgument => "usage.unknown_argument",
        ErrorKind::InvalidSubcommand if !has_suggestion(error) => "usage.unknown_command_bare",
        ErrorKind::InvalidSubcommand => "usage.unknown_command",
        ErrorKind::MissingRequiredArgument => "usage.missing_argument",
        ErrorKind::MissingSubcommand => "usage.missing_command",
        ErrorKind::ArgumentConflict => "usage.conflict",
        ErrorKind::NoEquals | ErrorKind::TooFewValues | ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues => {
            "usage.values"
        }
        ErrorKind::InvalidUtf8 => "usage.utf8",
        _ => "usage.other",
    };
    let facts = [
        (
            "argument",
            context(error, &[ContextKind::InvalidArg, ContextKind::InvalidSubcommand]),
        ),
        ("value", value),
        ("other", context(error, &[ContextKind::PriorArg])),
        (
            "allowed",
            context(
                error,
                &[
                    ContextKind::ValidValue,
                    ContextKind::SuggestedArg,
                    ContextKind::SuggestedSubcommand,
                ],
            ),
        ),
    ];
    let facts: Vec<(&str, serde_json::Value)> = facts.iter().map(|(n, v)| (*n, json!(v))).collect();
    Stop::Usage {
        message: words.say(key, &facts),
        usage: usage(),
    }
}

/// Whether something is like what was written.
fn has_suggestion(error: &clap::Error) -> bool {
    [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand]
        .iter()
        .any(|kind| error.get(*kind).is_some())
}

fn context(error: &clap::Error, kinds: &[ContextKind]) -> String {
    let value = kinds.iter().find_map(|k| error.get(*k));
    let text = match value {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(list)) => list.join(", "),
        Some(ContextValue::StyledStr(text)) => text.to_string(),
        Some(ContextValue::Number(n)) => n.to_string(),
        _ => "–".to_owned(),
    };
    without_password(&text).into_owned()
}

/// What a program that embeds the parser needs to know of a wrong value.
pub(crate) fn wrong(argument: &str, value: &str) -> Error {
    Error::new(Code::Usage, "argument")
        .with("argument", argument)
        .with("given", value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffre_api::words::Language;

    fn walk(command: &Command, path: &str, words: &Words, missing: &mut Vec<String>) {
        let about = format!("help.{path}.about");
        if words.find(&about).is_none() {
            missing.push(about);
        }
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            if words
                .find(&format!("help.{path}.{id}"))
                .or_else(|| words.find(&format!("help.common.{id}")))
                .is_none()
            {
                missing.push(format!("help.{path}.{id}"));
            }
        }
        for sub in command.get_subcommands() {
            let path = if path == "coffre" {
                sub.get_name().to_owned()
            } else {
                format!("{path}_{}", sub.get_name())
            };
            walk(sub, &path, words, missing);
        }
    }

    #[test]
    fn every_command_and_argument_has_words() {
        let mut missing = Vec::new();
        walk(&Cli::command(), "coffre", &Words::new(Language::En), &mut missing);
        assert!(missing.is_empty(), "{missing:#?}");
    }

    #[test]
    fn the_command_line_is_sound_in_both_languages() {
        for language in [Language::En, Language::Fr] {
            command(&Words::new(language)).debug_assert();
        }
    }
}

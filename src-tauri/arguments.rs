//! The command line: `coffre-desktop [--home FOLDER] [--hidden]`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the one place that speaks to a terminal"
)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use coffre_api::model::{Code, Error};
use coffre_api::words::Words;

/// Starts in the tray, without showing the window: how a start at login begins.
pub(crate) const HIDDEN: &str = "--hidden";

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The home folder, where it is not the usual one.
    pub(crate) home: Option<PathBuf>,
    /// Whether to start in the tray.
    pub(crate) hidden: bool,
}

/// Why nothing is started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Something was asked and answered.
    Answered(String),
    /// The command line makes no sense.
    Wrong(String),
}

impl Arguments {
    /// Reads the command line (without the program's name).
    ///
    /// # Errors
    /// What to print instead of starting.
    pub(crate) fn parse(given: impl IntoIterator<Item = OsString>, words: &Words) -> Result<Arguments, Stop> {
        let mut arguments = Arguments::default();
        let mut given = given.into_iter();
        while let Some(argument) = given.next() {
            match argument.to_str() {
                Some(HIDDEN) => arguments.hidden = true,
                Some("--home") => match given.next().filter(|folder| !folder.is_empty()) {
                    Some(folder) => arguments.home = Some(folder.into()),
                    None => return Err(wrong("--home", words)),
                },
                Some(text) if text.starts_with("--home=") && text.len() > "--home=".len() => {
                    arguments.home = Some(text["--home=".len()..].into());
                }
                Some("--version" | "-V") => return Err(Stop::Answered(format!("coffre-desktop {}", env!("CARGO_PKG_VERSION")))),
                Some("--help" | "-h") => return Err(Stop::Answered(words.text("desktop.help"))),
                _ => return Err(wrong(&argument.to_string_lossy(), words)),
            }
        }
        Ok(arguments)
    }
}

fn wrong(argument: &str, words: &Words) -> Stop {
    let error = Error::new(Code::Usage, "desktop_argument").with("argument", argument);
    let (message, hint) = words.error(&error);
    Stop::Wrong(format!("{message}\n{hint}"))
}

impl Stop {
    /// Prints it; the exit status is that of the contract.
    pub(crate) fn show(&self) -> ExitCode {
        match self {
            Stop::Answered(text) => {
                println!("{text}");
                ExitCode::SUCCESS
            }
            Stop::Wrong(text) => {
                tell(text);
                ExitCode::from(Code::Usage.exit_status())
            }
        }
    }
}

/// Says something where no window can.
pub(crate) fn tell(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use coffre_api::words::Language;

    use super::*;

    fn parse(given: &[&str]) -> Result<Arguments, Stop> {
        Arguments::parse(given.iter().map(OsString::from), &Words::new(Language::En))
    }

    #[test]
    fn what_is_understood() {
        assert_eq!(parse(&[]), Ok(Arguments::default()));
        let hidden = Arguments {
            home: Some("/x y".into()),
            hidden: true,
        };
        assert_eq!(parse(&["--hidden", "--home", "/x y"]), Ok(hidden));
        assert_eq!(parse(&["--home=/a=b"]).unwrap().home, Some("/a=b".into()));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for given in [&["--home"][..], &["--home="], &["--home", ""], &["--nonsense"], &["file.db"]] {
            match parse(given) {
                Err(Stop::Wrong(text)) => assert!(text.contains(given[0]), "{text}"),
                other => panic!("{given:?}: {other:?}"),
            }
        }
    }
}

//! The programs of PostgreSQL: where they are, which version they are, and which of them fits.
//!
//! A program is judged by the version that it prints when it is executed, never by its name or folder. A dump tool is never older than
//! the server; a restore tool is never older than the archive.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coffre_model::backup::Tool;
use coffre_model::database::FoundProgram;
use coffre_model::{Cancel, Code, Error, Result};

use crate::process::{self, Invocation};

/// How long a program may take to say its version.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// The first major version whose `pg_restore` sets `transaction_timeout`, which older servers do not know.
const SETS_TRANSACTION_TIMEOUT: Series = Series(17, 0);

/// The part of a version that decides what fits: `(15, 0)` for 15.18, `(9, 6)` for 9.6.24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series(pub(crate) u32, pub(crate) u32);

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Series(major, 0) => write!(f, "{major}"),
            Series(major, minor) => write!(f, "{major}.{minor}"),
        }
    }
}

/// A version as a program or a server says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// What decides.
    pub(crate) series: Series,
    /// As it was said, without what packagers add: `15.18`, `18beta1`.
    pub(crate) text: String,
}

impl Version {
    /// Reads `15.18 (Debian 15.18-0+deb12u1)`, `9.6.24`, `18beta1`.
    pub(crate) fn parse(said: &str) -> Option<Version> {
        let text = said.split_whitespace().next()?;
        let number = |part: &str| -> Option<u32> {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        };
        let mut parts = text.split('.');
        let major = number(parts.next()?)?;
        let minor = parts.next().and_then(number).unwrap_or(0);
        // Until 9.6 the first two numbers were the major version.
        let series = if major >= 10 { Series(major, 0) } else { Series(major, minor) };
        Some(Version {
            series,
            text: text.to_owned(),
        })
    }
}

/// A program that was found, executed, and is what its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// `pg_dump` or `pg_restore`.
    pub(crate) name: &'static str,
    /// Its absolute path.
    pub(crate) path: PathBuf,
    /// What it printed.
    pub(crate) version: Version,
}

impl Program {
    /// For the record.
    pub(crate) fn tool(&self) -> Tool {
        Tool {
            name: self.name.to_owned(),
            path: Some(self.path.to_string_lossy().into_owned()),
            version: self.version.text.clone(),
        }
    }
}

/// What executing a file of the right name showed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Judged {
    /// It is what its name says, of this version.
    Is(Version),
    /// It runs, but is something else; what it said.
    Other(String),
    /// It does not run; why.
    Broken(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    path: PathBuf,
    /// The place in the list of preferred folders; none for the usual places, which are all equal.
    preferred: Option<usize>,
    judged: Judged,
}

/// Where to look.
pub(crate) struct Search<'a> {
    /// The source's own folder. What lies there is used or refused, never passed over.
    pub(crate) own: Option<&'a Path>,
    /// Folders of the settings, best first.
    pub(crate) folders: &'a [PathBuf],
    /// A private folder to run programs in.
    pub(crate) runtime: &'a Path,
    /// Ends a program that does not answer.
    pub(crate) cancel: &'a Cancel,
}

/// Everything that was found under one name.
pub(crate) struct Found {
    name: &'static str,
    candidates: Vec<Candidate>,
    looked: Vec<PathBuf>,
}

impl Search<'_> {
    /// Finds and executes every program of this name.
    ///
    /// # Errors
    /// `CANCELLED` alone: a program that does not run is a finding.
    pub(crate) fn find(&self, name: &'static str) -> Result<Found> {
        if let Some(folder) = self.own
            && let Some(path) = program_in(folder, name)
        {
            let candidate = Candidate {
                judged: self.judge(name, &path)?,
                path,
                preferred: Some(0),
            };
            return Ok(Found {
                name,
                candidates: vec![candidate],
                looked: vec![folder.to_owned()],
            });
        }
        let mut seen = HashSet::new();
        let mut candidates = Vec::new();
        let mut looked: Vec<PathBuf> = self.own.map(Path::to_owned).into_iter().collect();
        let preferred = self.folders.iter().cloned().enumerate().map(|(at, f)| (Some(at), f));
        let usual = usual_folders().into_iter().map(|f| (None, f));
        for (preferred, folder) in preferred.chain(usual) {
            if looked.contains(&folder) {
                continue;
            }
            if let Some(path) = program_in(&folder, name)
                && seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone()))
            {
                candidates.push(Candidate {
                    judged: self.judge(name, &path)?,
                    path,
                    preferred,
                });
            }
            looked.push(folder);
        }
        Ok(Found {
            name,
            candidates,
            looked,
        })
    }

    fn judge(&self, name: &str, path: &Path) -> Result<Judged> {
        let invocation = Invocation::new(path, self.runtime).arg("--version");
        let answer = match process::ask(&invocation, VERSION_LIMIT, self.cancel) {
            Ok(answer) => answer,
            Err(error) if error.code() == Code::Stalled => {
                return Ok(Judged::Other(format!("no answer within {} s", VERSION_LIMIT.as_secs())));
            }
            Err(error) if error.code() == Code::ToolMissing => {
                return Ok(Judged::Broken(error.detail("cause").unwrap_or_default()));
            }
            Err(error) => return Err(error),
        };
        let said = answer.stdout.lines().next().unwrap_or_default().trim();
        let version = said
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(" (PostgreSQL) "))
            .and_then(Version::parse);
        Ok(match version {
            Some(version) if answer.ended.success() => Judged::Is(version),
            _ if answer.ended.success() => Judged::Other(shortened(said)),
            _ => {
                let words = answer.ended.stderr.last_lines();
                Judged::Other(shortened(format!("{} {words}", answer.ended.status()).trim()))
            }
        })
    }
}

impl Found {
    /// The program that should dump a server of this version: never older; the same major version, else the nearest newer one. A folder
    /// of the settings goes before the usual places.
    ///
    /// # Errors
    /// `TOOL_MISSING`, `TOOL_WRONG`, `TOOL_TOO_OLD`.
    pub(crate) fn choose_dump(&self, server: &Version) -> Result<Program> {
        self.best(|version| (version.series >= server.series).then_some((Rank::Fits, version.series)))
            .ok_or_else(|| self.refusal(server.series))
    }

    /// The server program for a throw-away server that takes what a server of this version had: the same major version, else the nearest newer
    /// one; the newest where the version is not known.
    ///
    /// # Errors
    /// `TOOL_MISSING`, `TOOL_WRONG`, `TOOL_TOO_OLD`.
    pub(crate) fn choose_server(&self, wanted: Option<&Version>) -> Result<Program> {
        match wanted {
            Some(version) => self.choose_dump(version),
            None => {
                let newest = |version: &Version| (Rank::Fits, Series(u32::MAX - version.series.0, u32::MAX - version.series.1));
                self.best(|version| Some(newest(version)))
                    .ok_or_else(|| self.refusal(Series(10, 0)))
            }
        }
    }

    /// The program that should load an archive, which no program older than `archive` can read, into a server of this version: the
    /// server's own, else the nearest newer one that still speaks to it, else the newest older one. A `pg_restore` that is too new to
    /// speak to the server comes last; it can still turn the archive into SQL ([`speaks_to`]).
    ///
    /// # Errors
    /// `TOOL_MISSING`, `TOOL_WRONG`, `TOOL_TOO_OLD`.
    pub(crate) fn choose_restore(&self, server: &Version, archive: Series) -> Result<Program> {
        self.best(|version| {
            let series = version.series;
            if series < archive {
                None
            } else if !speaks_to(series, server.series) {
                Some((Rank::TooNew, series))
            } else if series >= server.series {
                Some((Rank::Fits, series))
            } else {
                // Of the older ones the newest: turned round so that the smallest is the best.
                Some((Rank::Older, Series(u32::MAX - series.0, u32::MAX - series.1)))
            }
        })
        .ok_or_else(|| self.refusal(archive))
    }

    /// Every one, for a list.
    pub(crate) fn all(&self) -> Vec<FoundProgram> {
        let described = |candidate: &Candidate| {
            let path = candidate.path.to_string_lossy().into_owned();
            let wrong = |code, text| Error::new(code, text).with("tool", self.name).with("path", path.as_str());
            let (version, error) = match &candidate.judged {
                Judged::Is(version) => (version.text.clone(), None),
                Judged::Other(said) => (
                    String::new(),
                    Some(wrong(Code::ToolWrong, "tool_other").with("found", said.as_str())),
                ),
                Judged::Broken(cause) => (
                    String::new(),
                    Some(wrong(Code::ToolMissing, "tool_broken").with("cause", cause.as_str())),
                ),
            };
            FoundProgram {
                tool: Tool {
                    name: self.name.to_owned(),
                    path: Some(path.clone()),
                    version,
                },
                error,
            }
        };
        self.candidates.iter().map(described).collect()
    }

    fn versions(&self) -> impl Iterator<Item = (&Candidate, &Version)> {
        self.candidates.iter().filter_map(|candidate| match &candidate.judged {
            Judged::Is(version) => Some((candidate, version)),
            _ => None,
        })
    }

    /// The smallest rank, in the first preferred folder that has any; the earliest found of equal ones.
    fn best(&self, rank: impl Fn(&Version) -> Option<(Rank, Series)>) -> Option<Program> {
        self.versions()
            .filter_map(|(candidate, version)| {
                let folder = candidate.preferred.unwrap_or(usize::MAX);
                Some(((folder, rank(version)?), candidate, version))
            })
            .min_by_key(|(key, ..)| *key)
            .map(|(_, candidate, version)| Program {
                name: self.name,
                path: candidate.path.clone(),
                version: version.clone(),
            })
    }

    /// Why nothing fits. The newest of the too old ones says most; then what is something else; then what does not run.
    fn refusal(&self, needed: Series) -> Error {
        let needed = needed.to_string();
        if let Some((candidate, version)) = self.versions().max_by_key(|(_, version)| version.series) {
            return Error::new(Code::ToolTooOld, "pg_tool_too_old")
                .with("tool", self.name)
                .with("path", candidate.path.to_string_lossy())
                .with("found", version.text.clone())
                .with("needed", needed);
        }
        for candidate in &self.candidates {
            if let Judged::Other(said) = &candidate.judged {
                return Error::new(Code::ToolWrong, "pg_tool_wrong")
                    .with("tool", self.name)
                    .with("path", candidate.path.to_string_lossy())
                    .with("found", said.clone())
                    .with("needed", needed);
            }
        }
        for candidate in &self.candidates {
            if let Judged::Broken(cause) = &candidate.judged {
                return Error::new(Code::ToolMissing, "pg_tool_broken")
                    .with("tool", self.name)
                    .with("path", candidate.path.to_string_lossy())
                    .with("cause", cause.clone())
                    .with("needed", needed);
            }
        }
        let looked: Vec<_> = self.looked.iter().map(|folder| folder.display().to_string()).collect();
        Error::new(Code::ToolMissing, "pg_tool_missing")
            .with("tool", self.name)
            .with("needed", needed)
            .with("looked", looked.join(", "))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Fits,
    Older,
    TooNew,
}

/// Whether a `pg_restore` can load into a server: since 17 it begins with `SET transaction_timeout`, at which older servers fail.
pub(crate) fn speaks_to(restore: Series, server: Series) -> bool {
    restore < SETS_TRANSACTION_TIMEOUT || server >= SETS_TRANSACTION_TIMEOUT
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

/// The program of this name in a folder, if a file is there. Debian's `pg_wrapper` is passed over: it is a script that chooses a version by
/// files and variables that we clear, and what it would choose is found anyway.
fn program_in(folder: &Path, name: &str) -> Option<PathBuf> {
    let path = std::path::absolute(folder.join(name)).ok()?;
    let is_file = path.metadata().is_ok_and(|meta| meta.is_file());
    let is_wrapper = || {
        path.canonicalize()
            .is_ok_and(|real| real.file_name() == Some(OsStr::new("pg_wrapper")))
    };
    (is_file && !is_wrapper()).then_some(path)
}

/// The folders of `PATH`, then those where packages put PostgreSQL. Only those that exist.
fn usual_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .filter(|folder| folder.is_absolute())
        .collect();
    for (parent, prefix, rest) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/usr/local/pgsql", "bin", ""),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/opt/homebrew/opt", "libpq", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "libpq", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ] {
        let Ok(entries) = std::fs::read_dir(parent) else {
            // A place that this machine does not have.
            continue;
        };
        let mut here: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
            })
            .map(|path| if rest.is_empty() { path } else { path.join(rest) })
            .collect();
        here.sort();
        folders.extend(here);
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(versions: &[(Option<usize>, &str)]) -> Found {
        let candidates = versions.iter().enumerate().map(|(at, (preferred, text))| Candidate {
            path: format!("/tools/{at}/pg_dump").into(),
            preferred: *preferred,
            judged: Judged::Is(Version::parse(text).unwrap()),
        });
        Found {
            name: "pg_dump",
            candidates: candidates.collect(),
            looked: vec!["/usr/bin".into()],
        }
    }

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn versions_read() {
        for (said, series, text) in [
            ("15.18 (Debian 15.18-0+deb12u1)", Series(15, 0), "15.18"),
            ("9.6.24", Series(9, 6), "9.6.24"),
            ("18beta1", Series(18, 0), "18beta1"),
            ("17devel", Series(17, 0), "17devel"),
        ] {
            let version = version(said);
            assert_eq!((version.series, version.text.as_str()), (series, text));
        }
        assert_eq!(Version::parse("devel"), None);
        assert_eq!(Series(9, 6).to_string(), "9.6");
        assert_eq!(Series(15, 0).to_string(), "15");
    }

    #[test]
    fn the_same_major_version_goes_before_a_newer_one() {
        let found = found(&[(None, "18.1"), (None, "15.2"), (None, "16.0"), (None, "14.9")]);
        assert_eq!(found.choose_dump(&version("15.9")).unwrap().version.text, "15.2");
        assert_eq!(found.choose_dump(&version("17.0")).unwrap().version.text, "18.1");
        let error = found.choose_dump(&version("19.1")).unwrap_err();
        assert_eq!(error.code(), Code::ToolTooOld);
        assert_eq!(error.detail("found").unwrap(), "18.1");
        assert_eq!(error.detail("needed").unwrap(), "19");
    }

    #[test]
    fn a_folder_of_the_settings_goes_before_the_usual_places() {
        let found = found(&[(Some(0), "14.1"), (Some(1), "18.1"), (None, "15.2")]);
        assert_eq!(found.choose_dump(&version("15.9")).unwrap().version.text, "18.1");
        assert_eq!(found.choose_dump(&version("14.9")).unwrap().version.text, "14.1");
    }

    #[test]
    fn a_restore_tool_reads_the_archive_and_speaks_to_the_server() {
        let found = found(&[(None, "15.2"), (None, "16.1"), (None, "18.1")]);
        let choose = |server: &str, archive| found.choose_restore(&version(server), archive);
        assert_eq!(choose("15.9", Series(12, 0)).unwrap().version.text, "15.2");
        assert_eq!(choose("15.9", Series(16, 0)).unwrap().version.text, "16.1");
        assert_eq!(choose("14.9", Series(12, 0)).unwrap().version.text, "15.2");
        assert_eq!(choose("17.2", Series(12, 0)).unwrap().version.text, "18.1");
        assert_eq!(choose("19.2", Series(12, 0)).unwrap().version.text, "18.1");
        let too_new = choose("15.9", Series(17, 0)).unwrap().version;
        assert_eq!(too_new.text, "18.1");
        assert!(!speaks_to(too_new.series, Series(15, 0)) && speaks_to(too_new.series, Series(17, 0)));
        assert_eq!(choose("19.1", Series(19, 0)).unwrap_err().code(), Code::ToolTooOld);
    }

    #[test]
    fn nothing_at_all_names_where_was_looked() {
        let error = found(&[]).choose_dump(&version("15.1")).unwrap_err();
        assert_eq!((error.code(), error.text()), (Code::ToolMissing, "pg_tool_missing"));
        assert_eq!(error.detail("looked").unwrap(), "/usr/bin");
    }

    proptest! {
        #[test]
        fn a_dump_tool_is_never_older_and_never_newer_than_need_be(server in 10u32..25, tools in proptest::collection::vec(10u32..25, 0..6)) {
            let texts: Vec<_> = tools.iter().map(|t| format!("{t}.1")).collect();
            let all: Vec<_> = texts.iter().map(|t| (None, t.as_str())).collect();
            let nearest = tools.iter().copied().filter(|t| *t >= server).min();
            let chosen = found(&all).choose_dump(&version(&format!("{server}.3")));
            prop_assert_eq!(chosen.ok().map(|p| p.version.series.0), nearest);
        }

        #[test]
        fn no_words_panic(said in ".{0,40}") {
            let _whatever_it_is = Version::parse(&said);
        }
    }
}

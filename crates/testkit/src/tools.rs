//! Fake tools: small shell scripts with the names of real programs, that misbehave in a chosen way. Each call is recorded with its
//! arguments and environment, so that a test can look for secrets in them.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::process::PATH;

/// How a fake behaves when it is asked to work. Asked for its version it answers like the real tool, except where said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Works as the real one does.
    Real,
    /// Gives the whole output, then exits with this status.
    ExitAfterFull(u8),
    /// Gives the whole output, then dies of a signal (`SEGV`, `KILL`).
    DieAfterFull(&'static str),
    /// Gives half of the output and exits with 0.
    ExitZeroAfterHalf,
    /// Gives this many bytes of the output and exits with 0.
    ExitZeroAfter(u64),
    /// Gives nothing and exits with 0; reads nothing.
    Nothing,
    /// Reads its whole input, does nothing with it, exits with 0.
    Swallow,
    /// Writes this many bytes to standard error, then works as the real one.
    NoisyStderr(u64),
    /// Writes these words to standard error and exits with this status, without output.
    Complain(&'static str, u8),
    /// Gives nothing and never ends; has a child that never ends either; ignores SIGTERM and SIGINT.
    Never,
    /// Gives this many bytes of the output, then never ends.
    NeverAfter(u64),
    /// Works as the real one, but calls itself this version (`14.2`).
    Version(&'static str),
    /// Answers exactly this when asked for its version, and works as the real one.
    VersionText(&'static str),
    /// Never answers when asked for its version.
    VersionNever,
    /// Exits with this status when asked for its version.
    VersionFails(u8),
    /// Gives 64 KiB that are no dump, and exits with 0.
    Garbage,
    /// The file is not executable.
    NotExecutable,
    /// The file is executable, but of a format that no system runs.
    NotAProgram,
}

/// A folder of fake tools, to be put first in the tool path. Gone when dropped.
pub struct FakeTools {
    folder: tempfile::TempDir,
}

/// One call of a fake.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its arguments, without the program's name.
    pub arguments: Vec<String>,
    /// Its environment, as `NAME=value`.
    pub environment: Vec<String>,
}

impl FakeTools {
    /// An empty folder.
    #[allow(clippy::new_without_default, reason = "it makes a folder: not something a default does")]
    pub fn new() -> FakeTools {
        let folder = tempfile::Builder::new()
            .prefix("coffre-tools-")
            .tempdir()
            .expect("make the folder of fake tools");
        std::fs::create_dir(folder.path().join("calls")).expect("make the folder of calls");
        FakeTools { folder }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a fake with the real tool's name (`…/pg_dump` → `pg_dump`) into the folder, in place of an earlier one. Answers its path.
    pub fn put(&self, real: &Path, behaviour: &Behaviour) -> PathBuf {
        let name = real
            .file_name()
            .expect("a program has a name")
            .to_str()
            .expect("a plain name");
        let path = self.folder.path().join(name);
        let text = match behaviour {
            Behaviour::NotAProgram => "\u{1}\u{2}\u{3} no program\n".to_owned(),
            _ => self.script(name, real, behaviour),
        };
        // A new file each time: writing into a script that still runs would change what that one does ("text file busy" at best).
        let fresh = self.folder.path().join(format!(".{name}.new"));
        std::fs::write(&fresh, text).expect("write a fake tool");
        let mode = if *behaviour == Behaviour::NotExecutable {
            0o644
        } else {
            0o755
        };
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode)).expect("set the mode of a fake tool");
        std::fs::rename(&fresh, &path).expect("put a fake tool in place");
        path
    }

    /// The calls of a fake so far, in order, those that only asked for its version included.
    pub fn calls(&self, name: &str) -> Vec<Call> {
        let mut calls = Vec::new();
        let mut entries: Vec<_> = std::fs::read_dir(self.folder.path().join("calls"))
            .expect("list the calls")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| {
                let file = path.file_name().and_then(|f| f.to_str()).unwrap_or_default();
                file.strip_suffix(".arguments")
                    .and_then(|f| f.rsplit_once('.'))
                    .is_some_and(|(of, _)| of == name)
            })
            .collect();
        entries.sort();
        for path in entries {
            calls.push(Call {
                arguments: zero_separated(&path),
                environment: zero_separated(&path.with_extension("environment")),
            });
        }
        calls
    }

    fn script(&self, name: &str, real: &Path, behaviour: &Behaviour) -> String {
        let calls = quote(&self.folder.path().join("calls").join(name).display().to_string());
        let work = quote(&self.folder.path().join(name).display().to_string());
        let real_name = quote(&real.display().to_string());
        let version = match behaviour {
            Behaviour::Version(version) => format!("echo {}; exit 0", quote(&format!("{name} (PostgreSQL) {version}"))),
            Behaviour::VersionText(text) => format!("printf %s {}; exit 0", quote(text)),
            Behaviour::VersionNever => "sleep 86400".to_owned(),
            Behaviour::VersionFails(status) => format!("exit {status}"),
            _ => "exec \"$real\" --version".to_owned(),
        };
        let half = "out=$(mktemp \"$work.XXXXXX\"); \"$real\" \"$@\" >\"$out\"; size=$(wc -c <\"$out\")\n";
        let work_lines = match behaviour {
            Behaviour::ExitAfterFull(status) => format!("\"$real\" \"$@\"\nexit {status}"),
            Behaviour::DieAfterFull(signal) => format!("\"$real\" \"$@\"\nkill -s {signal} $$"),
            Behaviour::ExitZeroAfterHalf => format!("{half}head -c $((size / 2)) <\"$out\"; rm -f \"$out\"; exit 0"),
            Behaviour::ExitZeroAfter(bytes) => format!("\"$real\" \"$@\" | head -c {bytes}\nexit 0"),
            Behaviour::Nothing => "exit 0".to_owned(),
            Behaviour::Swallow => "cat >/dev/null; exit 0".to_owned(),
            Behaviour::NoisyStderr(bytes) => {
                format!("yes 'a word too many, said over and over' | head -c {bytes} >&2\nexec \"$real\" \"$@\"")
            }
            Behaviour::Complain(words, status) => format!("printf '%s\\n' {} >&2\nexit {status}", quote(words)),
            Behaviour::Never => "trap '' TERM INT\nsleep 86400 &\nwait\nsleep 86400".to_owned(),
            Behaviour::NeverAfter(bytes) => {
                // The pipe stays open: whoever reads it sees neither bytes nor an end.
                format!("\"$real\" \"$@\" | head -c {bytes}\nsleep 86400")
            }
            Behaviour::Garbage => "yes 'this is no dump' | head -c 65536\nexit 0".to_owned(),
            _ => "exec \"$real\" \"$@\"".to_owned(),
        };
        let mut script = String::from("#!/bin/sh\n# A fake, made by a test.\n");
        write!(
            script,
            "call={calls}.$(date +%s%N)-$$\nreal={real_name}\nwork={work}\n\
             cat /proc/$$/environ >\"$call.environment\"\n\
             export PATH={PATH}\n\
             : >\"$call.arguments\"\n\
             [ $# -eq 0 ] || printf '%s\\0' \"$@\" >\"$call.arguments\"\n\
             for argument in \"$@\"; do case $argument in --version | -V)\n{version}\n;; esac; done\n\
             {work_lines}\n"
        )
        .expect("write to a string");
        // The record needs its tools before PATH is set: use the absolute ones.
        script
            .replace("$(date ", "$(/bin/date ")
            .replace("\ncat /proc", "\n/bin/cat /proc")
    }
}

fn zero_separated(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    let mut parts: Vec<String> = bytes
        .split(|b| *b == 0)
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect();
    parts.pop();
    parts
}

/// `'text'`, as a shell reads any text.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

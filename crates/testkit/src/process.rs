//! Starting programs for tests: short commands with their output, and servers that cannot outlive the test program.

#![allow(
    clippy::disallowed_methods,
    reason = "the testkit starts stock tools and servers; it is no part of a program"
)]

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// What a finished command said.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status; nothing where a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Whether it exited with 0.
    pub fn ok(&self) -> bool {
        self.status == Some(0)
    }
}

/// A command with a clean environment: only `PATH` and a UTF-8 locale without a language.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8");
    command
}

/// Where Debian has its programs, `ip` and `mount` among them.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Runs a stock program to its end. Panics with "run ./dev setup" where it is not installed.
pub fn run<I, S>(program: impl AsRef<OsStr>, arguments: I) -> Output
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    finish(command(program.as_ref()).args(arguments))
}

/// Runs a command line behind a prefix (of [`crate::disk`] or [`crate::strace`]) to its end.
pub fn run_under<I, S>(prefix: &[OsString], line: I) -> Output
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut words = prefix.to_vec();
    words.extend(line.into_iter().map(|word| word.as_ref().to_owned()));
    run(&words[0], &words[1..])
}

/// Runs a prepared command to its end.
pub(crate) fn finish(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!(
            "{} cannot be started ({error}): run ./dev setup",
            command.get_program().display()
        )
    });
    Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until `condition` holds, looking every 20 ms. Answers whether it came true within `limit`.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server and its folder. When this is dropped, and also when the whole test program is killed, the server is ended and the
/// folder removed.
///
/// A small shell stands between: it waits on a pipe whose other end only the test program holds. However that ends, the pipe
/// closes and the shell cleans up. (A parent-death signal would not do: it is sent when the *thread* that started the child
/// ends, and tests run in threads of their own.)
pub(crate) struct Server {
    shell: Child,
    held_open: Option<ChildStdin>,
    pid: u32,
    folder: PathBuf,
}

impl Server {
    /// Starts `arguments` with its output appended to `log`. `signal` is what ends it; `folder` is removed afterwards.
    pub(crate) fn start(folder: &Path, log: &Path, signal: &str, arguments: &[OsString]) -> Server {
        const SCRIPT: &str = r#"
            folder=$1 log=$2 signal=$3
            shift 3
            "$@" </dev/null >>"$log" 2>&1 &
            server=$!
            echo "$server"
            exec >&- 2>&-
            read -r _
            kill -s CONT "$server"
            kill -s "$signal" "$server"
            wait "$server"
            rm -rf -- "$folder"
        "#;
        let mut shell = command("/bin/sh")
            .args(["-c", SCRIPT, "server"])
            .args([folder.as_os_str(), log.as_os_str(), OsStr::new(signal)])
            .args(arguments)
            // Out of the terminal's foreground group: Ctrl-C ends the test program, and that ends the server in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the shell that looks after a server");
        let held_open = shell.stdin.take();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("read the server's process id");
        let pid = line.trim().parse().unwrap_or_else(|_| panic!("no process id but {line:?}"));
        Server {
            shell,
            held_open,
            pid,
            folder: folder.to_owned(),
        }
    }

    /// The server's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the server's process is still there.
    pub(crate) fn is_alive(&self) -> bool {
        process_state(self.pid).is_some_and(|state| state != 'Z')
    }

    /// The server's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.held_open.take());
        // The shell ends after its server; there is nobody to tell if even that cannot be waited for.
        let _ended = self.shell.wait();
    }
}

/// The state letter of a process (`R`, `S`, `Z`, …), nothing where there is none.
pub(crate) fn process_state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may itself hold any character, so look behind the last one.
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// The parent of a process, nothing where there is no such process.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Every process that runs now: its id and its arguments (lossy).
pub(crate) fn processes() -> Vec<(u32, Vec<String>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("list /proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process may end between the listing and the look: then it is none.
        let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
            continue;
        };
        let arguments = line
            .split(|b| *b == 0)
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect();
        found.push((pid, arguments));
    }
    found
}

/// Sends a signal to a process, or to a whole group where `pid` is negative. Answers whether there was one.
pub fn send_signal(pid: i32, signal: i32) -> bool {
    // SAFETY: kill(2) takes two integers and touches no memory of ours.
    unsafe { libc::kill(pid, signal) == 0 }
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

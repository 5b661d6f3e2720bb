//! Faults in system calls, through strace: a kill at the third fsync, a full disk at the tenth write.
//!
//! strace counts `when` for each thread and process on its own, and threads begin at 1. Programs run about ten times slower in it.

use std::ffi::OsString;
use std::path::Path;

/// What happens at the chosen calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// The call is not made and answers this error (`ENOSPC`, `EIO`, `EINTR`).
    Error(&'static str),
    /// The program is killed (SIGKILL) as it enters the call: what the call was to do has not happened.
    KillBefore,
    /// The call is not made and answers this number (0: "done", or "nothing written").
    Pretend(u32),
    /// The call is made so many milliseconds late.
    Delay(u32),
}

/// The calls that make data durable or visible, the places where a crash is most telling.
pub const DURABILITY: &str = "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,link,linkat";
/// The calls that write.
pub const WRITES: &str = "write,pwrite64,writev,pwritev,pwritev2,copy_file_range";

/// What to put before a command line so that `calls` (a list as for `strace -e`) suffer `injection`.
///
/// `when` is strace's: `3` the third only, `3+` from the third on, `2+5` every fifth from the second.
pub fn inject(calls: &str, injection: Injection, when: &str) -> Vec<OsString> {
    let what = match injection {
        Injection::Error(name) => format!("error={name}"),
        Injection::KillBefore => "signal=KILL".to_owned(),
        Injection::Pretend(answer) => format!("retval={answer}"),
        Injection::Delay(milliseconds) => format!("delay_enter={}", u64::from(milliseconds) * 1000),
    };
    prefix(
        "/dev/null".as_ref(),
        calls,
        &["-e".into(), format!("inject={calls}:{what}:when={when}").into()],
    )
}

/// The same, but only for calls on this path (file or folder itself, not what is in it).
pub fn inject_at(path: &Path, calls: &str, injection: Injection, when: &str) -> Vec<OsString> {
    let mut made = inject(calls, injection, when);
    let end = made.len() - 1;
    made.splice(end..end, ["-P".into(), path.as_os_str().to_owned()]);
    made
}

/// What to put before a command line so that every one of `calls` becomes a line in `log`: `PID call(arguments) = answer`.
pub fn trace(log: &Path, calls: &str) -> Vec<OsString> {
    prefix(log, calls, &[])
}

/// How many lines of a trace are calls of one of these names.
pub fn count(log: &Path, calls: &str) -> usize {
    let text = String::from_utf8_lossy(&std::fs::read(log).expect("read the trace")).into_owned();
    let is_one = |line: &str| {
        let call = line
            .trim_start()
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .trim_start();
        calls
            .split(',')
            .any(|name| call.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')))
    };
    text.lines().filter(|line| is_one(line)).count()
}

fn prefix(log: &Path, calls: &str, more: &[OsString]) -> Vec<OsString> {
    let mut prefix: Vec<OsString> = ["strace", "-f", "-qq", "-s", "256", "-o"].map(OsString::from).to_vec();
    prefix.push(log.as_os_str().to_owned());
    prefix.extend([
        "-e".into(),
        format!("trace={calls}").into(),
        "-e".into(),
        "signal=none".into(),
    ]);
    prefix.extend(more.iter().cloned());
    prefix.push("--".into());
    prefix
}

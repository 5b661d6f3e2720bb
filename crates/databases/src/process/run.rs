//! Running a person's own command: to its end or its limit, with the last of what it says. Whatever it starts in its group ends with it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use coffre_model::{Cancel, Error, Result};

use super::{Child, Ended, FOLDERS, Invocation, tail};

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status or signal.
    pub ended: Ended,
    /// It had not ended at its limit, and was ended.
    pub timed_out: bool,
    /// The last lines of what it said on both outputs, in their order.
    pub output: String,
}

/// Runs a program until it ends, for `limit` at most. Its input is empty; both outputs are one pipe that is drained all the time, so that
/// it never waits for us, and that is left alone as soon as the program has ended, whoever still holds it open.
///
/// # Errors
/// `TOOL_MISSING` if it cannot be started; that of `cancel`, after its group was ended.
pub fn run(invocation: &Invocation, limit: Duration, cancel: &Cancel) -> Result<Ran> {
    cancel.check()?;
    let cannot = |e: io::Error| Error::internal("make a pipe", e);
    let (reader, writer) = io::pipe().map_err(cannot)?;
    let mut command = invocation.command()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(cannot)?)
        .stderr(writer);
    let mut child = Child::start(invocation, command)?;
    let said = tail::Drain::start(OwnedFd::from(reader), Vec::new())?;
    let in_time = match child.wait(limit, Some(cancel)) {
        Ok(in_time) => in_time,
        Err(error) => {
            child.stop();
            said.end();
            return Err(error);
        }
    };
    let ended = if in_time { child.reap() } else { child.stop() };
    Ok(Ran {
        ended,
        timed_out: !in_time,
        output: said.end().last_lines(),
    })
}

/// Where a program is: itself, if it is an absolute path, else the first executable of that name in the usual folders.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program));
    }
    let runs = |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    FOLDERS.split(':').map(|folder| Path::new(folder).join(program)).find(runs)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use coffre_model::cancel::Reason;

    fn sh(script: &str) -> Invocation {
        Invocation::new(Path::new("/bin/sh"), Path::new("/")).arg("-c").arg(script)
    }

    fn ran(script: &str) -> Ran {
        run(&sh(script), Duration::from_secs(20), &Cancel::new()).unwrap()
    }

    #[test]
    fn what_it_says_in_its_order_and_how_it_ended() {
        let fine = ran("echo one; echo two >&2; echo three");
        assert_eq!((fine.output.as_str(), fine.ended.code), ("one\ntwo\nthree", Some(0)));
        assert_eq!(ran("exit 3").ended.status(), "exit status 3");
        assert_eq!(ran("kill -9 $$").ended.status(), "signal 9");
        let missing = run(
            &Invocation::new(Path::new("/nowhere/x"), Path::new("/")),
            Duration::MAX,
            &Cancel::new(),
        );
        assert_eq!(missing.unwrap_err().text(), "tool_cannot_start");
    }

    #[test]
    fn what_hangs_is_ended_with_everything_in_its_group() {
        let began = Instant::now();
        let hung = run(
            &sh("sleep 1000 & echo $!; sleep 1000"),
            Duration::from_millis(300),
            &Cancel::new(),
        )
        .unwrap();
        assert!(hung.timed_out && began.elapsed() < Duration::from_secs(10));
        let child = format!("/proc/{}/stat", hung.output.trim());
        let gone = || std::fs::read_to_string(&child).map_or(true, |stat| stat.contains(") Z"));
        assert!((0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            gone()
        }));
    }

    #[test]
    fn a_grandchild_that_holds_the_pipe_holds_nobody_up_and_gigabytes_are_not_kept() {
        let began = Instant::now();
        // In a session of its own: no signal to the group reaches it.
        let left = ran("setsid sleep 8 & echo done");
        assert_eq!((left.output.as_str(), left.timed_out), ("done", false));
        assert!(began.elapsed() < Duration::from_secs(5));
        let much = ran("head -c 300000000 /dev/zero | tr '\\0' 'x' | fold -w 100; echo last");
        assert!(much.output.ends_with("last") && much.output.len() < 5000);
    }

    #[test]
    fn cancelled() {
        let cancel = Cancel::new();
        let raised = cancel.clone();
        let raising = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            raised.cancel(Reason::Interrupt);
        });
        let began = Instant::now();
        assert!(run(&sh("sleep 1000"), Duration::from_secs(100), &cancel).is_err());
        assert!(began.elapsed() < Duration::from_secs(5));
        raising.join().unwrap();
    }

    #[test]
    fn its_environment_is_what_it_was_given() {
        let given = sh("env").env("HOME", "/somewhere").env("COFFRE_PLAN", "a b");
        let mut lines: Vec<String> = run(&given, Duration::from_secs(20), &Cancel::new())
            .unwrap()
            .output
            .lines()
            .filter(|line| !line.starts_with("PWD=") && !line.starts_with("_=") && !line.starts_with("SHLVL="))
            .map(str::to_owned)
            .collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "COFFRE_PLAN=a b",
                "HOME=/somewhere",
                "LC_ALL=C",
                "PATH=/usr/local/bin:/usr/bin:/bin"
            ]
        );
    }
}

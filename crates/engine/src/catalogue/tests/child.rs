//! The test program starting itself again: a real second process that can be killed, stopped and made to wait.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What a child finds in its environment; its absence makes a child's test function do nothing in the usual run.
const ARGUMENT: &str = "COFFRE_TEST_CHILD";

/// The argument of the child function `name`, if this process is that child.
pub(crate) fn argument(name: &str) -> Option<String> {
    let value = std::env::var(ARGUMENT).ok()?;
    let (for_whom, argument) = value.split_once('\n')?;
    (for_whom == name).then(|| argument.to_owned())
}

/// A line to the parent.
pub(crate) fn say(line: &str) {
    // Whatever the test runner wrote into the same line stands before the mark.
    println!("@@{line}");
}

/// Waits for a line (or the end) from the parent.
pub(crate) fn wait() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// The command that runs the test function `name` (its full path in the crate) as a child, below `before` (a program and its arguments).
pub(crate) fn command(before: &[&str], name: &str, argument: &str) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match before.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    };
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ARGUMENT, format!("{name}\n{argument}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// A child that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(name: &str, argument: &str) -> Running {
        Running::with(command(&[], name, argument))
    }

    pub(crate) fn with(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        Running {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// The next line that it said; nothing at its end.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some((_, said)) = line.split_once("@@") {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    /// Lets it go on from its [`wait`].
    pub(crate) fn go(&mut self) {
        let input = self.input.as_mut().unwrap();
        input.write_all(b"\n").unwrap();
        input.flush().unwrap();
    }

    /// Closes its input and waits for its end; answers whether that was a good one.
    pub(crate) fn end(&mut self) -> bool {
        drop(self.input.take());
        self.child.wait().unwrap().success()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone, or to be gone: a failed test leaves no child behind.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

//! Children: the one place where another program is started.
//!
//! What lives here: starting a program without a shell (argument array, absolute path, cleared environment, own process group), reading
//! its output or writing its input under a stall limit, keeping the last of what it says, and making sure that it and everything that it
//! started is gone afterwards. What does not: which program, with which arguments, and what its words mean.
//!
//! Only for systems with process groups and signals; Windows needs job objects and comes with its own issue.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the home of `Command::new` that the ban names"
)]

mod input;
mod output;
mod resident;
mod run;
mod tail;

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use coffre_model::{Cancel, Code, Error, Result, Secret};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

pub use input::{Alive, ChildInput};
pub use output::ChildOutput;
pub use resident::Resident;
pub use run::{Ran, find, run};
pub use tail::Tail;

/// How long a wait lasts before the cancel flag and the child are looked at again.
const SLICE: Duration = Duration::from_millis(100);
/// How long a child gets to end by itself after SIGTERM: `pg_dump` uses it to cancel its query at the server.
const GRACE: Duration = Duration::from_secs(1);
/// How long a killed child may take to disappear before it is left to a thread of its own (a process in uninterruptible sleep).
const REAP: Duration = Duration::from_secs(3);
/// Size of the pipes to and from a child. The default of 64 KiB makes both sides wake up sixteen times as often.
const PIPE_BYTES: usize = 1 << 20;

/// Where programs are found that are given by their names alone.
const FOLDERS: &str = "/usr/local/bin:/usr/bin:/bin";

/// What to start, and with what.
pub struct Invocation {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    home: PathBuf,
    secrets: Vec<Secret>,
    user: Option<(u32, u32)>,
}

impl Invocation {
    /// A program by its absolute path. `home` becomes its working folder and its `HOME`: nothing of the user's own settings is found there.
    pub fn new(program: &Path, home: &Path) -> Self {
        Invocation {
            program: program.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            home: home.to_owned(),
            secrets: Vec::new(),
            user: None,
        }
    }

    /// Runs it as another user and group, without any further group. Only root can do that.
    #[must_use]
    pub fn user(mut self, user: u32, group: u32) -> Self {
        self.user = Some((user, group));
        self
    }

    /// Adds one argument. It reaches the program as it is.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds one variable to the otherwise nearly empty environment, or replaces one of those few.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Names a secret that the program knows. It is blotted out of whatever the program says.
    #[must_use]
    pub fn secret(mut self, secret: &Secret) -> Self {
        self.secrets.push(secret.clone());
        self
    }

    /// The program's path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The program's file name, for messages.
    fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        name.to_string_lossy().into_owned()
    }

    fn command(&self) -> Result<Command> {
        self.command_dying_of(Signal::KILL)
    }

    /// `death`: what the system sends it when we die.
    fn command_dying_of(&self, death: Signal) -> Result<Command> {
        let mut command = Command::new(&self.program);
        // Only what fails before `exec`, and messages, see these; the child gets what `Image` holds.
        command
            .current_dir(&self.home)
            // A group of its own: a terminal's Ctrl-C reaches us alone, and one signal reaches everything that the child starts.
            .process_group(0)
            .stderr(Stdio::piped());
        if let Some((user, group)) = self.user {
            // The standard library also drops all further groups then, before anything of `pre_exec` runs.
            command.gid(group).uid(user);
        }
        let us = rustix::process::getpid();
        let image = Image::new(self)?;
        let become_it = move || {
            die_with(us, death)?;
            Err(image.exec())
        };
        // SAFETY: between fork and exec only async-signal-safe calls are allowed. `prctl`, `getppid` and `execve` are plain system calls;
        // nothing here allocates or takes a lock, for `Image` was made before the fork.
        unsafe {
            command.pre_exec(become_it);
        }
        Ok(command)
    }
}

/// Asks the system to send this process a signal when its parent `us` dies in whatever way, where it can (Linux).
fn die_with(us: Pid, death: Signal) -> io::Result<()> {
    #[cfg(not(target_os = "linux"))]
    let _cannot = death;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(death))?;
    // The parent may have died before the line above; then nobody is left to send the signal.
    if rustix::process::getppid() == Some(us) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::ESRCH))
    }
}

/// A program with its arguments and its whole environment, ready for `execve`.
///
/// The standard library uses `execvp`, which hands a file of unknown format to `/bin/sh`. No shell is ever used here.
struct Image {
    program: CString,
    texts: Vec<CString>,
    args: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
}

// SAFETY: the pointers point into `texts`, which lives as long, is never changed, and is only read.
unsafe impl Send for Image {}
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Image {
    fn new(invocation: &Invocation) -> Result<Image> {
        let text = |text: Vec<u8>| CString::new(text).map_err(|_| Error::new(Code::Usage, "name_nul"));
        let variable = |name: &OsStr, value: &OsStr| text([name.as_bytes(), b"=", value.as_bytes()].concat());
        let mut image = Image {
            program: text(invocation.program.as_os_str().as_bytes().to_owned())?,
            texts: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
        };
        let fixed = [
            ("PATH", OsStr::new(FOLDERS)),
            ("HOME", invocation.home.as_os_str()),
            // English messages without grouping of digits, so that they can be recognised.
            ("LC_ALL", OsStr::new("C")),
        ];
        image.args.push(image.program.as_ptr());
        for arg in &invocation.args {
            let arg = text(arg.as_bytes().to_owned())?;
            image.args.push(arg.as_ptr());
            image.texts.push(arg);
        }
        let replaced = |name: &str| invocation.env.iter().any(|(given, _)| given == name);
        let fixed = fixed
            .iter()
            .filter(|(name, _)| !replaced(name))
            .map(|(name, value)| (OsStr::new(name), *value));
        let own = invocation
            .env
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        for (name, value) in fixed.chain(own) {
            let pair = variable(name, value)?;
            image.env.push(pair.as_ptr());
            image.texts.push(pair);
        }
        image.args.push(std::ptr::null());
        image.env.push(std::ptr::null());
        Ok(image)
    }

    /// Becomes the program; comes back only with the reason why not.
    fn exec(&self) -> io::Error {
        // SAFETY: `program` is a C string, `args` and `env` are arrays of C strings that end with a null pointer; all live in `self`.
        unsafe {
            libc::execve(self.program.as_ptr(), self.args.as_ptr(), self.env.as_ptr());
        }
        io::Error::last_os_error()
    }
}

type Started = io::Result<std::process::Child>;

/// Starts a child from the one thread that never ends: the parent-death signal is bound to the *thread* that forked, so a child started
/// by a short-lived thread would be killed when that thread ends.
fn start(command: Command) -> Started {
    type Job = (Command, mpsc::Sender<Started>);
    static STARTER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (send, jobs) = mpsc::channel::<Job>();
        let start_each = move || {
            for (command, answer) in jobs {
                // The asker waits for the answer. Were it gone, nobody would ever end the child.
                if let Err(mpsc::SendError(Ok(mut orphan))) = answer.send(spawn(command)) {
                    drop(orphan.kill().and_then(|()| orphan.wait()));
                }
            }
        };
        // If the thread cannot be started, the channel is closed, and every start says so.
        drop(thread::Builder::new().name("children".into()).spawn(start_each));
        Mutex::new(send)
    });
    let gone = || io::Error::other("the thread that starts children does not run");
    let (send, answer) = mpsc::channel();
    starter
        .lock()
        .map_err(|_| gone())?
        .send((command, send))
        .map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// A program file that was written a moment ago can be busy: a fork of any thread in between inherits the open file until its exec.
fn spawn(mut command: Command) -> Started {
    for _ in 0..20 {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => thread::sleep(Duration::from_millis(25)),
            other => return other,
        }
    }
    command.spawn()
}

/// How long to wait, and when to give up.
#[derive(Clone)]
pub struct Limits {
    /// No bytes for so long ends the child as `STALLED`.
    pub stall: Duration,
    /// Ends the child when raised.
    pub cancel: Cancel,
}

/// Turns a failed end into the error that says what it means.
pub type Judge = Box<dyn Fn(&Ended) -> Error + Send>;

/// How a child ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit status, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The last that it said.
    pub stderr: Tail,
}

impl Ended {
    /// Whether it ended by itself with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// The status in words that fit into a message: `exit status 1`, `signal 9`.
    pub fn status(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "unknown status".to_owned(),
        }
    }
}

/// A started program. Dropping it kills its whole group and reaps it.
struct Child {
    process: Option<std::process::Child>,
    pid: Pid,
    name: String,
    stderr: Option<tail::Drain>,
    ended: Option<Ended>,
}

impl Child {
    fn start(invocation: &Invocation, command: Command) -> Result<Child> {
        let cannot = |error: io::Error| {
            Error::new(Code::ToolMissing, "tool_cannot_start")
                .with("path", invocation.program.to_string_lossy())
                .with("cause", error.to_string())
        };
        let mut process = start(command).map_err(cannot)?;
        let pid = Pid::from_child(&process);
        let stderr = process.stderr.take().map(OwnedFd::from);
        let mut child = Child {
            process: Some(process),
            pid,
            name: invocation.name(),
            stderr: None,
            ended: None,
        };
        // From here on a failure drops `child`, which kills it.
        if let Some(stderr) = stderr {
            child.stderr = Some(tail::Drain::start(stderr, invocation.secrets.clone())?);
        }
        Ok(child)
    }

    fn take_stdout(&mut self) -> Option<OwnedFd> {
        self.process.as_mut()?.stdout.take().map(OwnedFd::from)
    }

    fn take_stdin(&mut self) -> Option<OwnedFd> {
        self.process.as_mut()?.stdin.take().map(OwnedFd::from)
    }

    /// Whether the program itself has ended. It is not reaped: its id, which is also the group's, stays taken until [`Child::reap`].
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match rustix::process::waitid(WaitId::Pid(self.pid), options) {
            Ok(status) => status.is_some(),
            Err(rustix::io::Errno::INTR) => false,
            // Somebody else reaped it: it has ended, and how is unknown.
            Err(_) => true,
        }
    }

    /// Waits until the program has ended, for `limit` at most. Answers whether it has.
    fn wait(&self, limit: Duration, cancel: Option<&Cancel>) -> Result<bool> {
        let began = Instant::now();
        let mut nap = Duration::from_millis(1);
        loop {
            if self.has_ended() {
                return Ok(true);
            }
            cancel.map_or(Ok(()), Cancel::check)?;
            if began.elapsed() >= limit {
                return Ok(false);
            }
            thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(50));
        }
    }

    fn signal_group(&self, signal: Signal) {
        // The group can be gone already, and that is what is wanted.
        let _gone_already = rustix::process::kill_process_group(self.pid, signal);
    }

    /// Ends what the program left behind, reaps it and gathers its last words. The program itself must have ended.
    fn reap(&mut self) -> Ended {
        if let Some(ended) = &self.ended {
            return ended.clone();
        }
        // Before reaping, while the group's id cannot belong to anybody else.
        self.signal_group(Signal::KILL);
        let status = self.process.take().and_then(|mut process| process.wait().ok());
        let ended = Ended {
            code: status.and_then(|s| s.code()),
            signal: status.and_then(|s| s.signal()),
            stderr: self.stderr.take().map(tail::Drain::end).unwrap_or_default(),
        };
        self.ended.insert(ended).clone()
    }

    /// Ends the program and everything that it started, and reaps it. Takes at most about [`GRACE`] and [`REAP`].
    fn stop(&mut self) -> Ended {
        if let Some(ended) = &self.ended {
            return ended.clone();
        }
        if !self.has_ended() {
            self.signal_group(Signal::TERM);
            if !matches!(self.wait(GRACE, None), Ok(true)) {
                self.signal_group(Signal::KILL);
                if !matches!(self.wait(REAP, None), Ok(true)) {
                    return self.abandon();
                }
            }
        }
        self.reap()
    }

    /// Leaves a killed process that the system does not let go of to a thread which reaps it whenever it ends.
    fn abandon(&mut self) -> Ended {
        if let Some(mut process) = self.process.take() {
            // If there is no thread to be had, the process is reaped when we end.
            drop(thread::Builder::new().name("reaper".into()).spawn(move || process.wait()));
        }
        let ended = Ended {
            code: None,
            signal: Some(Signal::KILL.as_raw()),
            stderr: self.stderr.take().map(tail::Drain::end).unwrap_or_default(),
        };
        self.ended.insert(ended).clone()
    }

    /// Ends the program, which gave no sign of life for `limit`.
    fn stalled(&mut self, limit: Duration) -> Error {
        let ended = self.stop();
        Error::new(Code::Stalled, "tool_stalled")
            .with("tool", self.name.clone())
            .with("seconds", limit.as_secs())
            .with("stderr", ended.stderr.last_lines())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a short question to a program brought.
pub struct Answer {
    /// How it ended.
    pub ended: Ended,
    /// The first 64 KiB of its output.
    pub stdout: String,
}

/// Runs a program to its end and reads the little that it says, such as its version.
///
/// # Errors
/// `TOOL_MISSING` if it cannot be started, `STALLED` if it does not end within `limit`, `CANCELLED`.
pub fn ask(invocation: &Invocation, limit: Duration, cancel: &Cancel) -> Result<Answer> {
    let mut command = invocation.command()?;
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Child::start(invocation, command)?;
    // Its output is drained just like its words: whatever it writes, and however much, it never waits for us.
    let stdout = match child.take_stdout() {
        Some(fd) => Some(tail::Drain::start_keeping_first(fd)?),
        None => None,
    };
    if !child.wait(limit, Some(cancel))? {
        return Err(child.stalled(limit));
    }
    let ended = child.reap();
    let stdout = stdout.map(tail::Drain::end).unwrap_or_default();
    Ok(Answer {
        ended,
        stdout: stdout.text(),
    })
}

#[cfg(test)]
mod tests;

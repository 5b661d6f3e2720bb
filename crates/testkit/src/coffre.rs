//! Drives the real program `coffre`, as a person in a terminal or a script would: own home, own vault, a cleared environment, a
//! time limit for everything.

#![allow(
    clippy::disallowed_methods,
    reason = "the testkit starts the program under test; it is no part of it"
)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{command, processes, send_signal, wait_until};

/// The program `coffre` of this build: `$COFFRE_TEST_PROGRAM`, else beside the running test program. Only a test in `crates/cli`
/// may say `env!("CARGO_BIN_EXE_coffre")`, which also has it built; elsewhere it must be there already.
pub fn program() -> PathBuf {
    if let Some(given) = std::env::var_os("COFFRE_TEST_PROGRAM") {
        return given.into();
    }
    let test = std::env::current_exe().expect("the path of the test program");
    // target/debug/deps/test-1234 → target/debug/coffre
    let built = test.ancestors().nth(2).expect("a target folder").join("coffre");
    assert!(built.is_file(), "{} is not built: cargo build -p coffre-cli", built.display());
    built
}

/// One person's Coffre: a home, a vault, an environment. Everything lies in one folder that is gone when this is dropped.
pub struct Coffre {
    program: PathBuf,
    folder: tempfile::TempDir,
    environment: BTreeMap<OsString, OsString>,
    prefix: Vec<OsString>,
    limit: Duration,
}

impl Coffre {
    /// A new home with an open vault.
    pub fn new(program: impl Into<PathBuf>) -> Coffre {
        let coffre = Self::without_vault(program);
        coffre.ok(["vault", "init"]);
        coffre
    }

    /// A new home whose vault was never made: secrets are not to be had. The home itself does not exist yet.
    pub fn without_vault(program: impl Into<PathBuf>) -> Coffre {
        let folder = tempfile::Builder::new()
            .prefix("coffre-story-")
            .tempdir()
            .expect("make a folder for the story");
        for name in ["user", "work"] {
            std::fs::create_dir(folder.path().join(name)).expect("make a folder for the story");
        }
        let user = folder.path().join("user");
        let mut coffre = Coffre {
            program: program.into(),
            folder,
            environment: BTreeMap::new(),
            prefix: Vec::new(),
            limit: Duration::from_secs(120),
        };
        coffre.set("HOME", user);
        coffre.set("COFFRE_SECRETS", "vault");
        coffre.set("COFFRE_VAULT_KEY_FILE", coffre.vault_key_file());
        coffre
    }

    /// The home (`--home`).
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The file that opens the vault; it lies outside of the home.
    pub fn vault_key_file(&self) -> PathBuf {
        self.folder.path().join("vault-key.txt")
    }

    /// The folder that holds everything of this story.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path for whatever the story needs, in a folder that exists.
    pub fn work(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    /// Makes a folder for a destination and answers its path.
    pub fn destination_folder(&self, name: &str) -> PathBuf {
        let path = self.work(name);
        std::fs::create_dir(&path).expect("make a destination's folder");
        path
    }

    /// Sets a variable of the environment for every later command.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> &mut Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Takes a variable away again.
    pub fn unset(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.environment.remove(name.as_ref());
        self
    }

    /// Puts words before every later command line ([`crate::disk`], [`crate::strace`]); none: as usual again.
    pub fn under(&mut self, prefix: Vec<OsString>) -> &mut Self {
        self.prefix = prefix;
        self
    }

    /// How long a command may take before the test fails (two minutes).
    pub fn limit(&mut self, limit: Duration) -> &mut Self {
        self.limit = limit;
        self
    }

    /// Runs a command to its end.
    pub fn run<I, S>(&self, arguments: I) -> Outcome
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.spawn(arguments).wait()
    }

    /// Runs a command that reads these bytes from its standard input.
    pub fn run_with_input<I, S>(&self, arguments: I, input: &[u8]) -> Outcome
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut running = self.start(arguments, Stdio::piped());
        let mut pipe = running.input.take().expect("piped");
        let input = input.to_vec();
        // Beside the waiting. A program that does not read to the end closes the pipe: its own answer tells what that means.
        let writer = std::thread::spawn(move || drop(pipe.write_all(&input)));
        let outcome = running.wait();
        writer.join().expect("write to the program");
        outcome
    }

    /// Runs a command that must succeed.
    pub fn ok<I, S>(&self, arguments: I) -> Outcome
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let outcome = self.run(arguments);
        assert_eq!(outcome.status, Some(0), "{outcome}");
        outcome
    }

    /// Runs a command with `--json` that must succeed, and answers the document.
    pub fn json<I, S>(&self, arguments: I) -> Value
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let outcome = self.run(with_json(arguments));
        assert_eq!(outcome.status, Some(0), "{outcome}");
        outcome.json()
    }

    /// Runs a command with `--json` that must fail with this code and exit status.
    pub fn fails<I, S>(&self, arguments: I, code: &str, status: i32) -> Outcome
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let outcome = self.run(with_json(arguments));
        assert_eq!(
            (outcome.error_code().as_str(), outcome.status),
            (code, Some(status)),
            "{outcome}"
        );
        outcome
    }

    /// Starts a command and lets it run.
    pub fn spawn<I, S>(&self, arguments: I) -> Running
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.start(arguments, Stdio::null())
    }

    fn start<I, S>(&self, arguments: I, input: Stdio) -> Running
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut line = self.prefix.clone();
        line.push(self.program.clone().into_os_string());
        line.extend(["--home".into(), self.home().into_os_string()]);
        line.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        let mut started = command(&line[0]);
        started
            .args(&line[1..])
            .env("LC_ALL", "C.UTF-8")
            .envs(&self.environment)
            .current_dir(self.folder.path())
            // A group of its own: strace and what else stands before it can be ended together with it.
            .process_group(0)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = started
            .spawn()
            .unwrap_or_else(|error| panic!("{line:?} cannot be started: {error}"));
        Running {
            line: line.join(OsStr::new(" ")).to_string_lossy().into_owned(),
            input: child.stdin.take(),
            stdout: Collector::start(child.stdout.take().expect("piped")),
            stderr: Collector::start(child.stderr.take().expect("piped")),
            began: Instant::now(),
            limit: self.limit,
            child,
            ended: None,
        }
    }
}

fn with_json<I, S>(arguments: I) -> Vec<OsString>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut line = vec![OsString::from("--json")];
    line.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
    line
}

/// Reads a pipe to its end on a thread of its own.
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    fn start(mut pipe: impl Read + Send + 'static) -> Collector {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            // An error here is the end as well: the pipe is gone.
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                shared.lock().expect("collected output").extend_from_slice(&buffer[..read]);
            }
        });
        Collector {
            bytes,
            thread: Some(thread),
        }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("collected output")).into_owned()
    }

    /// Everything. A child left behind may hold the pipe open for ever: then what is there after some seconds.
    fn finish(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            if wait_until(Duration::from_secs(5), || thread.is_finished()) {
                thread.join().expect("collect output");
            } else {
                return format!("{}\n(somebody still holds this output open)", self.so_far());
            }
        }
        self.so_far()
    }
}

/// A command that runs. Dropping it kills it with its whole process group.
pub struct Running {
    line: String,
    child: Child,
    input: Option<ChildStdin>,
    stdout: Collector,
    stderr: Collector,
    began: Instant,
    limit: Duration,
    ended: Option<ExitStatus>,
}

impl Running {
    /// The process id of the first word of the command line (`coffre`, or what stands before it).
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn is_finished(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("look at the program");
        }
        self.ended.is_some()
    }

    /// Standard error so far.
    pub fn stderr_so_far(&self) -> String {
        self.stderr.so_far()
    }

    /// Sends a signal (`libc::SIGTERM`) to the program alone.
    pub fn signal(&self, signal: i32) {
        assert!(
            send_signal(self.child.id().cast_signed(), signal),
            "{} has ended already",
            self.line
        );
    }

    /// Kills the program alone, as the kernel does when memory is short: its children are not told.
    pub fn kill(mut self) -> Outcome {
        self.signal(libc::SIGKILL);
        self.finish()
    }

    /// Waits for its end, within the limit.
    pub fn wait(mut self) -> Outcome {
        self.input = None;
        let limit = self.limit;
        if !wait_until(limit, || self.is_finished()) {
            self.kill_group();
            let said = (self.stdout.so_far(), self.stderr.so_far());
            panic!("{} took more than {limit:?}\n{}\n{}", self.line, said.0, said.1);
        }
        self.finish()
    }

    /// Every process that descends from it now, itself not included: id and arguments.
    pub fn descendants(&self) -> Vec<(u32, Vec<String>)> {
        let all = processes();
        let mut family = vec![self.child.id()];
        let mut found = Vec::new();
        let mut at = 0;
        while at < family.len() {
            for (pid, arguments) in &all {
                if crate::process::parent_of(*pid) == Some(family[at]) && !family.contains(pid) {
                    family.push(*pid);
                    found.push((*pid, arguments.clone()));
                }
            }
            at += 1;
        }
        found
    }

    fn finish(&mut self) -> Outcome {
        let status = match self.ended {
            Some(status) => status,
            None => self.child.wait().expect("wait for the program"),
        };
        self.ended = Some(status);
        let outcome = Outcome {
            line: std::mem::take(&mut self.line),
            status: status.code(),
            signal: status.signal(),
            took: self.began.elapsed(),
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
        };
        // Where words are missing their key is shown: never to a person.
        let said = outcome.stdout.lines().chain(outcome.stderr.lines());
        let key = said
            .flat_map(str::split_whitespace)
            .find(|word| word.starts_with("cli.") && word.len() > 4);
        assert!(key.is_none(), "words are missing: {outcome}");
        outcome
    }

    fn kill_group(&self) {
        send_signal(-self.child.id().cast_signed(), libc::SIGKILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill_group();
            // Killed: this does not take long, and nobody asks how it ended.
            let _ended = self.child.wait();
        }
    }
}

/// How a command ended and what it said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The command line.
    pub line: String,
    /// Exit status; nothing where a signal ended it.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How long it took.
    pub took: Duration,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Standard output as the one JSON document that the contract promises.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not one JSON document ({error}): {self}"))
    }

    /// The code of the error in the JSON document; empty where there is none.
    pub fn error_code(&self) -> String {
        let document: Value = serde_json::from_str(&self.stdout).unwrap_or(Value::Null);
        document["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\nended with {:?} (signal {:?}) after {:?}\n── stdout\n{}\n── stderr\n{}",
            self.line, self.status, self.signal, self.took, self.stdout, self.stderr
        )
    }
}

/// Writes a file that only its owner may read, such as a password or a key for the story.
pub fn write_private(path: &Path, content: &str) {
    std::fs::write(path, content).expect("write a private file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("close a private file");
}

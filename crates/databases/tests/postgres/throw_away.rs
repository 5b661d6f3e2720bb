//! Throw-away servers: private, and gone, also when what made them never got to end them.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use coffre_databases::postgres::Postgres as Kind;
use coffre_model::database::{Access, DatabaseKind, DumpFormat};
use coffre_model::throw_away::{Need, ThrowAway};
use coffre_model::{Cancel, Code};
use coffre_testkit::postgres::Version;
use coffre_testkit::{is_root, run, send_signal, wait_until};

fn access(runtime: &Path, tools: &[PathBuf]) -> Access {
    Access {
        password: None,
        runtime: runtime.to_owned(),
        tool_paths: tools.to_vec(),
        stall: Duration::from_secs(30),
        lock_wait: Duration::from_secs(5),
        cancel: Cancel::new(),
    }
}

fn need(version: &str) -> Need {
    Need {
        format: DumpFormat::PgCustom,
        server_version: Some(version.to_owned()),
    }
}

fn private() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("coffre-runtime-").tempdir().unwrap()
}

fn start(runtime: &Path) -> Box<dyn ThrowAway> {
    let made = Kind.throw_away(&need("15.1"), access(runtime, &[])).unwrap();
    made.unwrap_or_else(|why| panic!("{why}"))
}

/// The folder of its socket.
fn sockets(server: &dyn ThrowAway) -> PathBuf {
    server.source().parsed().unwrap().host.unwrap().into()
}

/// The process that serves it, and the number of its shared memory.
fn process(sockets: &Path) -> (i32, String) {
    let text = std::fs::read_to_string(sockets.join("data/postmaster.pid")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    (
        lines[0].parse().unwrap(),
        lines[6].split_whitespace().nth(1).unwrap().to_owned(),
    )
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Attached to a server's shared memory, until it is dropped.
struct Straggler(*const libc::c_void);

impl Straggler {
    fn of(memory: &str) -> Self {
        // SAFETY: attached for reading, at a place that the system chooses; nothing is read.
        let at = unsafe { libc::shmat(memory.parse().unwrap(), std::ptr::null(), libc::SHM_RDONLY) };
        assert_ne!(at as isize, -1, "{}", std::io::Error::last_os_error());
        Straggler(at)
    }
}

impl Drop for Straggler {
    fn drop(&mut self) {
        // SAFETY: it was attached there, and nobody keeps a reference into it.
        assert_eq!(unsafe { libc::shmdt(self.0) }, 0);
    }
}

fn has_memory(number: &str) -> bool {
    run("ipcs", ["-m"])
        .stdout
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some(number))
}

#[test]
fn a_server_is_private_and_goes_with_its_value() {
    let runtime = private();
    let server = start(runtime.path());
    let folder = sockets(server.as_ref());
    assert!(server.version().starts_with("15."));
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_ne!(folder.metadata().unwrap().uid(), 0, "it does not run as root");
    let (pid, memory) = process(&folder);
    assert!(is_alive(pid) && has_memory(&memory));
    let listening = run("ss", ["-tlnpH"]).stdout;
    assert!(!listening.contains(&format!("pid={pid},")), "{listening}");
    drop(server);
    assert!(!is_alive(pid) && !folder.exists() && !has_memory(&memory));
    assert_eq!(std::fs::read_dir(runtime.path()).unwrap().count(), 0);
}

#[test]
fn what_outlived_its_process_is_ended_at_the_next_start() {
    for killed in [false, true] {
        let runtime = private();
        let server = start(runtime.path());
        let folder = sockets(server.as_ref());
        let (pid, memory) = process(&folder);
        // As where the system does not tell a server that we died.
        std::mem::forget(server);
        if killed {
            send_signal(pid, libc::SIGKILL);
            assert!(wait_until(Duration::from_secs(10), || !is_alive(pid)));
            assert!(has_memory(&memory), "a killed server leaves its memory");
        }
        // A process of a killed server that takes a moment longer than it.
        let straggler = killed.then(|| Straggler::of(&memory));
        Kind.sweep_throw_away(runtime.path()).unwrap();
        assert!(wait_until(Duration::from_secs(10), || !is_alive(pid)), "{killed}");
        drop(straggler);
        assert!(wait_until(Duration::from_secs(10), || !has_memory(&memory)), "{killed}");
        assert!(!is_root() || !folder.exists());
        // A second sweep finds nothing to do.
        Kind.sweep_throw_away(runtime.path()).unwrap();
    }
}

#[test]
fn the_sweep_touches_nothing_else() {
    let (runtime, other) = (private(), private());
    let precious = other.path().join("precious");
    std::fs::create_dir_all(precious.join("data")).unwrap();
    // Somebody's process id in a file that looks like a server's: our own.
    let us = std::process::id();
    std::fs::write(precious.join("data/postmaster.pid"), format!("{us}\n")).unwrap();
    symlink(&precious, runtime.path().join("outside-1")).unwrap();
    let ours = other.path().join("coffre-0123");
    std::fs::create_dir_all(ours.join("data")).unwrap();
    std::fs::write(ours.join("data/postmaster.pid"), format!("{us}\n")).unwrap();
    symlink(&ours, runtime.path().join("outside-2")).unwrap();
    symlink(&precious, other.path().join("coffre-link")).unwrap();
    symlink(other.path().join("coffre-link"), runtime.path().join("outside-3")).unwrap();
    symlink("coffre-relative", runtime.path().join("outside-4")).unwrap();
    Kind.sweep_throw_away(runtime.path()).unwrap();
    assert!(precious.join("data/postmaster.pid").exists());
    assert!(!ours.exists(), "a folder of ours goes");
    Kind.sweep_throw_away(&runtime.path().join("absent")).unwrap();
}

#[test]
fn a_version_that_does_not_fit_says_why_and_the_nearest_newer_one_serves() {
    let runtime = private();
    let why = Kind
        .throw_away(&need("99.1"), access(runtime.path(), &[]))
        .unwrap()
        .err()
        .unwrap();
    assert_eq!((why.code(), why.text()), (Code::ToolTooOld, "pg_server_too_old"), "{why}");
    assert_eq!(why.detail("needed").unwrap(), "99");
    let tools = [Version::V18.bin(), Version::V16.bin()];
    let newer = Kind.throw_away(&need("16.0"), access(runtime.path(), &tools)).unwrap();
    // The first folder of the settings goes before a version that is nearer.
    assert!(newer.unwrap_or_else(|why| panic!("{why}")).version().starts_with("18"));
    assert_eq!(std::fs::read_dir(runtime.path()).unwrap().count(), 0);
}

#[test]
fn a_cancelled_start_leaves_nothing() {
    for after in [0, 50, 300, 700] {
        let runtime = private();
        let access = access(runtime.path(), &[]);
        let cancel = access.cancel.clone();
        let raised = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(after));
            cancel.cancel(coffre_model::cancel::Reason::Interrupt);
        });
        let made = Kind.throw_away(&need("15.1"), access);
        raised.join().unwrap();
        match made {
            Err(error) => assert_eq!(error.code(), Code::Cancelled, "{error}"),
            Ok(made) => drop(made),
        }
        assert_eq!(std::fs::read_dir(runtime.path()).unwrap().count(), 0, "after {after} ms");
    }
}

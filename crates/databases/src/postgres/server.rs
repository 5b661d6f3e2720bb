//! A server of our own, made from the programs found on this machine: private folder, a socket and nothing else, gone with the value.
//!
//! **Nobody else gets in.** It listens on no network, and its socket lies in a folder (0700) that only the user it runs as, and root, can enter.
//!
//! **Nothing is left.** Ended in order, the server takes its shared memory along and the folder is removed. If this process is killed, the system sends
//! the server SIGQUIT at once (Linux), at which PostgreSQL ends itself and all its children; the next start removes the folder, ends a server
//! that is still there, and gives back shared memory that a killed server left ([`sweep`]). What lies outside of the run's private folder is
//! known from a link in it that is made first.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coffre_model::database::Access;
use coffre_model::{Code, Error, Id, Result};
use rustix::process::{Pid, Signal};

use super::tools::{Program, Search, Version};
use crate::process::{self, Invocation, Resident};

/// What our servers call themselves. Nothing else does: it decides only whether roles that a dump names are made there.
pub(super) const CLUSTER: &str = "coffre throw-away";
/// The port is part of the socket's name alone.
pub(super) const PORT: u16 = 5432;
/// Who makes the server and looks after it. Nothing that a dump holds is ever run as this one.
pub(super) const KEEPER: &str = "coffre_keeper";
/// As whom a dump is loaded and looked into: no superuser.
pub(super) const LOADER: &str = "coffre_loader";
/// How folders outside of the private one are called, and the links that lead to them.
const OUTSIDE: &str = "coffre-";
const LINK: &str = "outside-";
/// The address of a socket has 107 bytes at most; `/.s.PGSQL.5432` must fit as well.
const SOCKET_FOLDER_MAX: usize = 107 - 15;
/// How long a server that was left behind may take to end.
const LEAVE: Duration = Duration::from_secs(8);
/// Users that a server can run as where we are root, which it refuses.
const STAND_INS: [&str; 2] = ["postgres", "nobody"];

/// A running server.
pub(super) struct PrivateServer {
    // Dropped first.
    resident: Resident,
    data: PathBuf,
    sockets: PathBuf,
    version: Version,
    bin: PathBuf,
    folders: Vec<Folder>,
}

/// A folder of ours, removed when dropped, and the link that leads to it.
struct Folder {
    path: PathBuf,
    link: Option<PathBuf>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now is found through the link at the next start.
        if gone(fs::remove_dir_all(&self.path)).is_ok()
            && let Some(link) = &self.link
        {
            let _with_the_private_folder = fs::remove_file(link);
        }
    }
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whom a server runs as.
#[derive(Clone, Copy)]
pub(super) struct User {
    id: u32,
    group: u32,
}

/// The user to run as; nothing where that is ourselves.
fn user() -> Result<std::result::Result<Option<User>, Error>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Ok(None));
    }
    let known = fs::read_to_string("/etc/passwd").map_err(|e| Error::internal("read the users of this machine", e))?;
    let entry = |wanted: &str| {
        known.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            match fields.as_slice() {
                [name, _, id, group, ..] if *name == wanted => Some(User {
                    id: id.parse().ok()?,
                    group: group.parse().ok()?,
                }),
                _ => None,
            }
        })
    };
    Ok(STAND_INS
        .iter()
        .find_map(|name| entry(name))
        .map(Some)
        .ok_or_else(|| Error::new(Code::ToolMissing, "pg_server_root").with("users", STAND_INS.join(", "))))
}

/// What a server for this version would be started from, and as whom; the inner error says why there can be none.
pub(super) fn find(wanted: Option<&str>, access: &Access) -> Result<std::result::Result<(Program, Option<User>), Error>> {
    let search = Search {
        own: None,
        folders: &access.tool_paths,
        runtime: &access.runtime,
        cancel: &access.cancel,
    };
    let chosen = search
        .find("postgres")?
        .choose_server(wanted.and_then(Version::parse).as_ref());
    let program = match chosen {
        Ok(program) => program,
        Err(why) => return Ok(Err(about_servers(why))),
    };
    Ok(user()?.map(|user| (program, user)))
}

impl PrivateServer {
    /// Makes and starts a server that can take what a server of this version had: the same major version, else the nearest newer one. The inner
    /// error says why there can be none.
    ///
    /// # Errors
    /// `CANCELLED`, `STALLED`, `HOME_FULL`.
    pub(super) fn start(wanted: Option<&str>, access: &Access) -> Result<std::result::Result<PrivateServer, Error>> {
        let (program, user) = match find(wanted, access)? {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let mut folders = Vec::new();
        let place = match user {
            None => inside(access, &mut folders)?,
            // Root's folders are closed to others.
            Some(user) => outside(access, user_base(), Some(user), &mut folders)?,
        };
        let sockets = if fits_a_socket(&place) {
            place.clone()
        } else {
            outside(access, PathBuf::from("/tmp"), user, &mut folders)?
        };
        let data = place.join("data");
        // The program's own folder, behind links: beside it lie the files that it was made with.
        let real = program.path.canonicalize().unwrap_or_else(|_| program.path.clone());
        let bin = real.parent().unwrap_or(Path::new("/")).to_owned();
        if let Err(why) = initialise(&bin, &place, &data, user, access)? {
            return Ok(Err(why.or_with("path", bin.join("initdb").to_string_lossy())));
        }
        let resident = Resident::start(&invocation(&real, &place, &data, &sockets, user), Signal::QUIT)?;
        let mut server = PrivateServer {
            resident,
            data,
            sockets,
            version: program.version,
            bin,
            folders,
        };
        Ok(server.wait_until_ready(&program.path, access)?.map(|()| server))
    }

    fn wait_until_ready(&mut self, path: &Path, access: &Access) -> Result<std::result::Result<(), Error>> {
        let began = Instant::now();
        let mark = self.data.join("postmaster.pid");
        loop {
            if fs::read_to_string(&mark).is_ok_and(|text| text.contains("\nready")) {
                return Ok(Ok(()));
            }
            let ended = self.resident.has_ended(Duration::from_millis(10), &access.cancel)?;
            if ended || began.elapsed() > access.stall {
                let said = self.resident.end();
                return Ok(Err(Error::new(Code::ToolWrong, "pg_server_failed")
                    .with("path", path.to_string_lossy())
                    .with("status", said.status())
                    .with("stderr", said.stderr.last_lines())));
            }
        }
    }

    /// The folder of its socket.
    pub(super) fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// Its version.
    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    /// A program that came with it, if it is there.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        Some(self.bin.join(name)).filter(|path| path.is_file())
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.resident.end();
        free_shared_memory(&self.data);
        self.folders.clear();
    }
}

/// A folder in the run's private one.
fn inside(access: &Access, folders: &mut Vec<Folder>) -> Result<PathBuf> {
    let path = access.runtime.join(format!("throw-away-{}", Id::new().short()));
    make(&path)?;
    folders.push(Folder {
        path: path.clone(),
        link: None,
    });
    Ok(path)
}

/// A folder elsewhere, of a user's own. Its link is made first, so that there is no moment at which nobody would find it.
fn outside(access: &Access, base: PathBuf, user: Option<User>, folders: &mut Vec<Folder>) -> Result<PathBuf> {
    let name = Id::new().short();
    let path = base.join(format!("{OUTSIDE}{name}"));
    let link = access.runtime.join(format!("{LINK}{name}"));
    symlink(&path, &link).map_err(|e| Error::writing_home("make a link", &link, &e))?;
    make(&path)?;
    folders.push(Folder {
        path: path.clone(),
        link: Some(link),
    });
    if let Some(user) = user {
        std::os::unix::fs::chown(&path, Some(user.id), Some(user.group))
            .map_err(|e| Error::internal("hand a folder to the server's user", e))?;
    }
    Ok(path)
}

/// Makes a folder that was not there, 0700.
fn make(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .map_err(|e| Error::writing_home("make a private folder", path, &e))
}

/// Where another user's data can lie: rather not in a folder that is kept in memory.
fn user_base() -> PathBuf {
    let usable = |path: &&PathBuf| fs::metadata(path).is_ok_and(|m| m.is_dir() && m.mode() & 0o1 != 0);
    [PathBuf::from("/var/tmp"), std::env::temp_dir(), PathBuf::from("/tmp")]
        .iter()
        .find(usable)
        .cloned()
        .unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// Whether a socket can lie there: short enough, and nothing in the path that the server's list of folders would read as something else.
fn fits_a_socket(folder: &Path) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    folder
        .to_str()
        .is_some_and(|text| text.len() <= SOCKET_FOLDER_MAX && text.chars().all(plain))
}

fn as_user(invocation: Invocation, user: Option<User>) -> Invocation {
    match user {
        Some(user) => invocation.user(user.id, user.group),
        None => invocation,
    }
}

/// Runs `initdb`. Text of every kind fits into UTF-8; its letters have cases where the machine can tell.
fn initialise(
    bin: &Path,
    place: &Path,
    data: &Path,
    user: Option<User>,
    access: &Access,
) -> Result<std::result::Result<(), Error>> {
    let mut last = None;
    for locale in ["C.UTF-8", "C"] {
        let call = Invocation::new(&bin.join("initdb"), place)
            .arg("--pgdata")
            .arg(data.to_owned())
            .args(["--username", KEEPER, "--auth=trust", "--encoding=UTF8", "--no-sync"])
            .arg(format!("--locale={locale}"));
        let answer = match process::ask(&as_user(call, user), access.stall, &access.cancel) {
            Ok(answer) => answer,
            Err(error) if error.code() == Code::ToolMissing => return Ok(Err(error)),
            Err(error) => return Err(error),
        };
        if answer.ended.success() {
            return Ok(Ok(()));
        }
        last = Some(
            Error::new(Code::ToolWrong, "pg_server_failed")
                .with("status", answer.ended.status())
                .with("stderr", answer.ended.stderr.last_lines()),
        );
        // It cleans up after itself; what it could not remove would stop the second try.
        gone(fs::remove_dir_all(data)).map_err(|e| Error::internal("remove an unfinished folder", e))?;
    }
    Ok(Err(
        last.unwrap_or_else(|| Error::internal("make a server", "it was not tried"))
    ))
}

/// Words about a missing program, in terms of a server that need not run.
fn about_servers(why: Error) -> Error {
    let text = match why.text() {
        "pg_tool_missing" => "pg_server_missing",
        "pg_tool_too_old" => "pg_server_too_old",
        _ => return why,
    };
    let details = why.details().iter();
    details.fold(Error::new(why.code(), text), |error, (name, value)| {
        error.with(name, value.clone())
    })
}

/// The server: no network, nothing kept safe against a power cut (it is thrown away), no helpers that would only disturb.
fn invocation(program: &Path, place: &Path, data: &Path, sockets: &Path, user: Option<User>) -> Invocation {
    let sockets = sockets.to_string_lossy();
    let settings = [
        "listen_addresses=".to_owned(),
        format!("unix_socket_directories={sockets}"),
        "unix_socket_permissions=0700".to_owned(),
        format!("port={PORT}"),
        format!("cluster_name={CLUSTER}"),
        "max_connections=20".to_owned(),
        "fsync=off".to_owned(),
        "synchronous_commit=off".to_owned(),
        "full_page_writes=off".to_owned(),
        // Rows of a table that was made in the same transaction are not written twice then.
        "wal_level=minimal".to_owned(),
        "max_wal_senders=0".to_owned(),
        "checkpoint_timeout=1h".to_owned(),
        "autovacuum=off".to_owned(),
        "shared_buffers=128MB".to_owned(),
        "maintenance_work_mem=128MB".to_owned(),
        // Lies in the data folder, and goes with it.
        "dynamic_shared_memory_type=mmap".to_owned(),
        "logging_collector=off".to_owned(),
        "log_destination=stderr".to_owned(),
        "lc_messages=C".to_owned(),
    ];
    let mut call = Invocation::new(program, place).arg("-D").arg(data.to_owned());
    for setting in settings {
        call = call.arg("-c").arg(setting);
    }
    as_user(call, user)
}

/// Ends and removes what a run whose process is gone left, where `runtime` was its private folder.
///
/// # Errors
/// Where something of it cannot be removed.
pub(super) fn sweep(runtime: &Path) -> Result<()> {
    let entries = match fs::read_dir(runtime) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(e) => return Err(Error::internal("look for what was left", e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::internal("look for what was left", e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(LINK) {
            let Ok(place) = fs::read_link(entry.path()) else { continue };
            // The private folder is ours alone; still, nothing but such a folder is ever removed.
            let ours = place.is_absolute()
                && place
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(OUTSIDE));
            if ours && fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir()) {
                end_left_behind(&place.join("data"));
                gone(fs::remove_dir_all(&place))
                    .map_err(|e| Error::internal("remove a throw-away server", e).with("path", place.to_string_lossy()))?;
            }
        } else if name.starts_with("throw-away-") {
            end_left_behind(&entry.path().join("data"));
        }
    }
    Ok(())
}

/// Ends the server of this folder, if it still runs.
fn end_left_behind(data: &Path) {
    let running = || -> Option<Pid> {
        let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
        is_server_of(pid, data).then_some(pid)
    };
    let began = Instant::now();
    let mut signal = Signal::QUIT;
    while let Some(pid) = running() {
        // It may have ended in this very moment.
        let _gone_already = rustix::process::kill_process(pid, signal);
        if began.elapsed() > LEAVE {
            signal = Signal::KILL;
        }
        if began.elapsed() > LEAVE * 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    free_shared_memory(data);
}

/// Whether a process works in this folder: a server makes its data folder its working folder. A process id alone could be anybody's by now.
fn is_server_of(pid: Pid, data: &Path) -> bool {
    let process = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
    if Path::new("/proc/self/cwd").exists() {
        return fs::read_link(process.join("cwd")).is_ok_and(|folder| fs::canonicalize(data).is_ok_and(|data| data == folder));
    }
    // Where there is no such list of processes, the socket's lock must name it too.
    let lock = data
        .parent()
        .map(|place| place.join(format!(".s.PGSQL.{PORT}.lock")))
        .unwrap_or_default();
    fs::read_to_string(lock).is_ok_and(|text| text.lines().next() == Some(&pid.as_raw_nonzero().to_string()))
        && rustix::process::test_kill_process(pid).is_ok()
}

/// Key and number of the shared memory that the lock file of a server names (line 7: `miscadmin.h`, LOCK_FILE_LINE_SHMEM_KEY). The server writes
/// both as unsigned numbers of the machine's width, also a key that is negative.
fn shared_memory(lock_file: &str) -> Option<(i32, i32)> {
    let mut words = lock_file.lines().nth(6)?.split_whitespace();
    let mut number = || i32::try_from(words.next()?.parse::<u64>().ok()?.cast_signed()).ok();
    Some((number()?, number()?))
}

/// Gives back the piece of shared memory by which a server that was killed would have known that it is the only one.
fn free_shared_memory(data: &Path) {
    // A server that ended in order has removed this file, and its memory.
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return;
    };
    let Some((key, number)) = shared_memory(&text) else { return };
    #[cfg(target_os = "linux")]
    {
        // SAFETY: all-zero bytes are a valid `shmid_ds`.
        let mut about: libc::shmid_ds = unsafe { std::mem::zeroed() };
        // SAFETY: `IPC_STAT` writes one `shmid_ds`.
        let found = unsafe { libc::shmctl(number, libc::IPC_STAT, &raw mut about) } == 0;
        // The number could be another's by now; the key is made of our server's own folder. Processes that outlive a killed server for
        // a moment may still be attached: the system takes the memory away with the last of them.
        if found && about.shm_perm.__key == key {
            // SAFETY: `IPC_RMID` takes no buffer.
            let _freed_by_somebody_else = unsafe { libc::shmctl(number, libc::IPC_RMID, std::ptr::null_mut()) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _fields_differ = (key, number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_the_memory_also_by_a_negative_key() {
        let file = |line: &str| format!("1\n/d\n2\n3\n/s\n\n{line}\nready\n");
        assert_eq!(shared_memory(&file("  1234567         5")), Some((1_234_567, 5)));
        assert_eq!(
            shared_memory(&file("18446744071562068068         0")),
            Some((-2_147_483_548, 0))
        );
        for none in ["", "12", "99999999999 1", "x 1"] {
            assert_eq!(shared_memory(&file(none)), None, "{none}");
        }
    }

    #[test]
    fn a_socket_needs_a_short_and_plain_path() {
        for (path, fits) in [
            ("/home/joe/.local/share/coffre/runtime/x", true),
            ("/home/joe/a b", false),
            ("/home/joe/a,b", false),
            ("/home/joe/\"x\"", false),
            ("/home/josé", false),
        ] {
            assert_eq!(fits_a_socket(Path::new(path)), fits, "{path}");
        }
        let folder = |bytes: usize| PathBuf::from(format!("/{}", "x".repeat(bytes - 1)));
        assert!(fits_a_socket(&folder(SOCKET_FOLDER_MAX)) && !fits_a_socket(&folder(SOCKET_FOLDER_MAX + 1)));
        let socket = folder(SOCKET_FOLDER_MAX).join(format!(".s.PGSQL.{PORT}"));
        assert!(socket.as_os_str().len() <= 107, "{}", socket.as_os_str().len());
    }
}

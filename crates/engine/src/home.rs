//! The home: the one folder that holds everything Coffre knows on this machine.
//!
//! `catalogue.db`, `logs/`, `runtime/`, and `backups/` (made by others, on first use). Folders are 0700 and files 0600, whatever
//! the umask. Below `runtime/`:
//!
//! - `<owner>.lock`: one for each process that works; an exclusive lock on it is held for as long as the process lives, so that
//!   everybody sees at once when it is gone (the system gives the lock back, also after `kill -9`; no process id is compared).
//! - `<owner>/<id>/`: the private folders of that process's runs (credential files), removed at their end, and by
//!   [`Home::sweep`] where the process could not.
//! - `open.lock`, `catalogue.lock`: see `catalogue`.
//!
//! Not here: what is inside the catalogue, and which program uses which home (that is the shell's).

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use coffre_model::{Code, Error, Id, Result};

/// The home folder, made and checked. Cloning shares it; the lock that shows this process as living goes with the last clone.
#[derive(Clone)]
pub struct Home {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    owner: Mutex<Option<Owner>>,
    /// The fences of the leases that this process holds: a lease row of ours that is not among them was left behind.
    fences: Mutex<HashSet<i64>>,
}

/// The lock that says: this process lives.
struct Owner {
    name: String,
    lock: PathBuf,
    folder: PathBuf,
    /// Held, never read: closing it gives the lock back.
    _file: File,
}

/// A private folder (0700) of one piece of work; removed with everything in it on drop.
pub struct RuntimeDir {
    path: PathBuf,
    _home: Home,
}

/// The platforms whose data folders differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Linux and the other Unixes.
    Unix,
    /// macOS.
    MacOs,
    /// Windows.
    Windows,
}

impl Platform {
    /// The platform that this program was built for.
    pub fn current() -> Self {
        if cfg!(target_os = "macos") {
            Platform::MacOs
        } else if cfg!(windows) {
            Platform::Windows
        } else {
            Platform::Unix
        }
    }
}

/// Where the home is: `--home`, else `COFFRE_HOME`, else the platform's data folder. `env` looks a variable up. An empty variable
/// counts as not set; a relative `XDG_DATA_HOME` is ignored, as its specification demands.
///
/// # Errors
/// `USAGE` where `--home` is empty, or where there is nothing to go by.
pub fn locate(flag: Option<&Path>, platform: Platform, env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    if let Some(path) = flag {
        if path.as_os_str().is_empty() {
            return Err(Error::new(Code::Usage, "home_empty"));
        }
        return Ok(path.to_owned());
    }
    let folder = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = folder("COFFRE_HOME") {
        return Ok(path);
    }
    let home = || folder("HOME").filter(|path| path.is_absolute());
    let base = match platform {
        Platform::Windows => folder("LOCALAPPDATA").or_else(|| folder("USERPROFILE").map(|p| p.join("AppData").join("Local"))),
        Platform::Unix | Platform::MacOs => {
            folder("XDG_DATA_HOME")
                .filter(|path| path.is_absolute())
                .or_else(|| match platform {
                    Platform::MacOs => home().map(|p| p.join("Library").join("Application Support")),
                    _ => home().map(|p| p.join(".local").join("share")),
                })
        }
    };
    base.map(|path| path.join("coffre"))
        .ok_or_else(|| Error::new(Code::Usage, "home_unknown"))
}

/// How the names of files in a home begin that nobody else writes.
const OWN_FILES: [&str; 3] = ["catalogue.", "catalogue-", "vault."];
/// Folders of a home in which nobody else writes.
const OWN_FOLDERS: [&str; 4] = ["backups", "catalogue-copies", "logs", "runtime"];

impl Home {
    /// Makes what is missing of the home's folders and checks that they can be used. A home that exists and holds things keeps its
    /// own mode (it may be a folder that others share); what is made here, and an empty folder, becomes 0700.
    ///
    /// # Errors
    /// `USAGE` where it is not a folder, `PRIVILEGE` where it may not be written, `INTERNAL` for a read-only or full disk.
    pub fn open(path: &Path) -> Result<Home> {
        let root = std::path::absolute(path).map_err(|e| fault(path, &e))?;
        let fresh = make_folders(&root)?;
        if fresh || fs::read_dir(&root).map_err(|e| fault(&root, &e))?.next().is_none() {
            private(&root, 0o700).map_err(|e| fault(&root, &e))?;
        }
        check_writable(&root)?;
        for name in ["logs", "runtime"] {
            let folder = root.join(name);
            match fs::create_dir(&folder) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(fault(&folder, &e)),
            }
            // Not through a link: what is written into `runtime/` must lie in a folder that is ours.
            let found = fs::symlink_metadata(&folder).map_err(|e| fault(&folder, &e))?;
            if !found.is_dir() {
                return Err(not_a_folder(&folder));
            }
            private(&folder, 0o700).map_err(|e| fault(&folder, &e))?;
            check_writable(&folder)?;
        }
        Ok(Home {
            inner: Arc::new(Inner {
                root,
                owner: Mutex::new(None),
                fences: Mutex::new(HashSet::new()),
            }),
        })
    }

    /// The folder itself, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The file of the catalogue.
    pub fn catalogue(&self) -> PathBuf {
        self.inner.root.join("catalogue.db")
    }

    /// Where log files lie.
    pub fn logs(&self) -> PathBuf {
        self.inner.root.join("logs")
    }

    /// Where locks and credential files of running work lie.
    pub fn runtime(&self) -> PathBuf {
        self.inner.root.join("runtime")
    }

    /// The default local destination; made by whoever uses it first.
    pub fn backups(&self) -> PathBuf {
        self.inner.root.join("backups")
    }

    /// Makes sure that a file which is to be written for somebody does not lie where Coffre keeps its own: what is in `runtime/` is removed at the
    /// next start, and a catalogue that is replaced while it is in use has forgotten what was done since.
    ///
    /// # Errors
    /// `REFUSED` for the catalogue, the vault and what belongs to them, and anywhere in one of the home's own folders.
    pub fn refuse_inside(&self, path: &Path) -> Result<()> {
        let root = fs::canonicalize(self.root()).map_err(|e| fault(self.root(), &e))?;
        let absolute = std::path::absolute(path).map_err(|e| fault(path, &e))?;
        // What a link leads to counts; a file that is not there yet lies where its folder does.
        let folder = absolute.parent().map(fs::canonicalize);
        let place = match (fs::canonicalize(&absolute), folder) {
            (Ok(place), _) => place,
            (Err(_), Some(Ok(folder))) => folder.join(absolute.file_name().unwrap_or_default()),
            // Not there at all: whoever writes says so in better words.
            (Err(_), _) => return Ok(()),
        };
        let Ok(below) = place.strip_prefix(&root) else {
            return Ok(());
        };
        let first = below.components().next().map(|part| part.as_os_str().to_string_lossy());
        let is_ours = |name: &str| OWN_FOLDERS.contains(&name) || OWN_FILES.iter().any(|own| name.starts_with(own));
        if first.is_none_or(|first| is_ours(&first)) {
            return Err(Error::new(Code::Refused, "target_in_home")
                .with("path", path.display().to_string())
                .with("home", self.root().display().to_string()));
        }
        Ok(())
    }

    /// Bytes that are free where it lies.
    ///
    /// # Errors
    /// Why the system does not tell.
    pub fn room(&self) -> Result<u64> {
        let room = rustix::fs::statvfs(self.root()).map_err(|e| Error::internal("ask for the room left", e))?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }

    /// A fresh private folder for the work `id`, removed when the answer is dropped. Its files belong to this process: once it is
    /// gone, [`Home::sweep`] removes them.
    ///
    /// # Errors
    /// `INTERNAL` where it cannot be made, or where this process has one for `id` already.
    pub fn runtime_dir(&self, id: &Id) -> Result<RuntimeDir> {
        let folder = self.with_owner(|owner| owner.folder.clone())?;
        let path = folder.join(id.to_string());
        let make = |path: &Path| fs::create_dir(path).and_then(|()| private(path, 0o700));
        match make(&folder) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(fault(&folder, &e)),
        }
        make(&path).map_err(|e| fault(&path, &e))?;
        Ok(RuntimeDir {
            path,
            _home: self.clone(),
        })
    }

    /// Removes what processes that are gone left in `runtime/`: their locks and the credential files of their runs. Answers how
    /// many such processes there were.
    ///
    /// # Errors
    /// `INTERNAL` where something cannot be removed.
    pub fn sweep(&self) -> Result<usize> {
        self.sweep_after(&mut |_| Ok(()))
    }

    /// As [`Home::sweep`]; `before` is handed each run's private folder before that is removed, so that what it leads to goes as well. Where that
    /// fails, the folder stays for the next start.
    ///
    /// # Errors
    /// As [`Home::sweep`], and the first of `before`, after everything else was swept.
    pub fn sweep_after(&self, before: &mut dyn FnMut(&Path) -> Result<()>) -> Result<usize> {
        let mut failed = None;
        let runtime = self.runtime();
        let mut swept = 0;
        for entry in fs::read_dir(&runtime).map_err(|e| fault(&runtime, &e))? {
            let entry = entry.map_err(|e| fault(&runtime, &e))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let owner = name.strip_suffix(".lock").unwrap_or(name);
            // Only names that we make; whatever else a person put there stays.
            if owner.parse::<Id>().is_err() {
                continue;
            }
            let lock = self.owner_lock(owner);
            // The shared lock proves that nobody lives under this name, and no new process ever takes an old name.
            let held = match open_if_there(&lock)? {
                Some(file) => match file.try_lock_shared() {
                    Ok(()) => Some(file),
                    Err(TryLockError::WouldBlock) => continue,
                    Err(TryLockError::Error(e)) => return Err(lock_fault(&lock, &e)),
                },
                None => None,
            };
            let folder = runtime.join(owner);
            let runs = match fs::read_dir(&folder) {
                Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
                // Nothing in it, or nothing at all.
                Err(_) => Vec::new(),
            };
            if let Some(error) = runs.iter().find_map(|run: &PathBuf| before(run).err()) {
                failed.get_or_insert(error);
                continue;
            }
            gone(fs::remove_dir_all(&folder)).map_err(|e| fault(&folder, &e))?;
            gone(fs::remove_file(&lock)).map_err(|e| fault(&lock, &e))?;
            swept += usize::from(held.is_some());
        }
        match failed {
            None => Ok(swept),
            Some(error) => Err(error),
        }
    }

    /// The name under which this process holds leases; takes its lock at the first call.
    pub(crate) fn owner(&self) -> Result<String> {
        self.with_owner(|owner| owner.name.clone())
    }

    /// Whether `owner` is this very process.
    pub(crate) fn is_owner(&self, owner: &str) -> bool {
        let slot = self.inner.owner.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().is_some_and(|ours| ours.name == owner)
    }

    /// Whether the process that called itself `owner` still lives.
    pub(crate) fn owner_alive(&self, owner: &str) -> Result<bool> {
        // A damaged row must not lead out of the folder.
        if owner.parse::<Id>().is_err() {
            return Ok(false);
        }
        let lock = self.owner_lock(owner);
        let Some(file) = open_if_there(&lock)? else {
            return Ok(false);
        };
        // Shared, so that several observers never take each other for the owner, who holds it exclusively.
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(e)) => Err(lock_fault(&lock, &e)),
        }
    }

    /// The fences of the leases that this process holds through this home.
    pub(crate) fn fences(&self) -> std::sync::MutexGuard<'_, HashSet<i64>> {
        // A set of numbers is whole after any panic.
        self.inner.fences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owner_lock(&self, owner: &str) -> PathBuf {
        self.runtime().join(format!("{owner}.lock"))
    }

    fn with_owner<T>(&self, look: impl FnOnce(&Owner) -> T) -> Result<T> {
        // `None` or a whole `Owner` after any panic.
        let mut slot = self.inner.owner.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(self.take_owner()?);
        }
        match slot.as_ref() {
            Some(owner) => Ok(look(owner)),
            None => Err(Error::internal("owner", "no owner")),
        }
    }

    fn take_owner(&self) -> Result<Owner> {
        // Somebody's sweep can look at the new file before it is locked, take it for a dead one and remove it; then another name is
        // tried. Once it is locked and still there, nobody removes it.
        for _ in 0..100 {
            let name = Id::new().to_string();
            let lock = self.owner_lock(&name);
            let file = create_private(&lock)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(e)) => return Err(lock_fault(&lock, &e)),
            }
            if lock.exists() {
                return Ok(Owner {
                    folder: self.runtime().join(&name),
                    name,
                    lock,
                    _file: file,
                });
            }
        }
        Err(Error::internal("owner", "no lock could be taken"))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Nobody is left to be told; whatever stays is removed by the next sweep, since the lock goes with this process.
        let _swept_later = fs::remove_dir(&self.folder);
        let _swept_later = fs::remove_file(&self.lock);
    }
}

impl RuntimeDir {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it now, and says whether that worked.
    ///
    /// # Errors
    /// `INTERNAL`; the next sweep tries again.
    pub fn remove(self) -> Result<()> {
        gone(fs::remove_dir_all(&self.path)).map_err(|e| fault(&self.path, &e))
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        // A drop has nobody to tell; what stays is removed by the sweep once this process is gone.
        let _swept_later = fs::remove_dir_all(&self.path);
    }
}

/// Creates a file that only its owner reads and writes (0600, whatever the umask). It must not exist.
///
/// # Errors
/// `INTERNAL`, `PRIVILEGE`.
pub fn create_private(path: &Path) -> Result<File> {
    open_private(path, OpenOptions::new().read(true).write(true).create_new(true))
}

/// Opens a file of the home, or makes it, with mode 0600.
pub(crate) fn open_or_create_private(path: &Path) -> Result<File> {
    open_private(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))
}

fn open_private(path: &Path, options: &mut OpenOptions) -> Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    let file = options.open(path).map_err(|e| fault(path, &e))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A umask can take rights away from the 0600 asked for, and a file that was there can have more.
        let mode = file.metadata().map_err(|e| fault(path, &e))?.permissions().mode() & 0o7777;
        if mode != 0o600 {
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .map_err(|e| fault(path, &e))?;
        }
    }
    Ok(file)
}

/// Gives a file or folder its mode, if it has another.
pub(crate) fn private(path: &Path, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let found = fs::metadata(path)?.permissions().mode() & 0o7777;
        if found != mode {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
    }
    #[cfg(not(unix))]
    let _inherited = (path, mode);
    Ok(())
}

/// An absent thing is as good as a removed one.
pub(crate) fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What went wrong with a file of the home, in its precise words.
pub(crate) fn fault(path: &Path, error: &io::Error) -> Error {
    let (code, text) = match error.kind() {
        ErrorKind::PermissionDenied => (Code::Privilege, "home_not_writable"),
        ErrorKind::ReadOnlyFilesystem => (Code::Internal, "home_read_only"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (Code::HomeFull, "home_full"),
        ErrorKind::NotADirectory => (Code::Usage, "home_not_folder"),
        _ => (Code::Internal, "home_fault"),
    };
    Error::new(code, text)
        .with("path", path.display().to_string())
        .with("cause", error.to_string())
}

/// A lock that the disk does not give.
pub(crate) fn lock_fault(path: &Path, error: &io::Error) -> Error {
    Error::new(Code::Internal, "home_lock")
        .with("path", path.display().to_string())
        .with("cause", error.to_string())
}

fn not_a_folder(path: &Path) -> Error {
    Error::new(Code::Usage, "home_not_folder").with("path", path.display().to_string())
}

fn open_if_there(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(fault(path, &e)),
    }
}

/// Makes a folder and those above it that are missing, one by one (a strict umask would lock us out of a parent otherwise).
/// Answers whether the last one was made here.
fn make_folders(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(false),
        Ok(_) => return Err(not_a_folder(path)),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(fault(path, &e)),
    }
    if let Some(parent) = path.parent() {
        make_folders(parent)?;
    }
    match fs::create_dir(path) {
        Ok(()) => {
            private(path, 0o700).map_err(|e| fault(path, &e))?;
            Ok(true)
        }
        // Another process made it meanwhile; a link that leads nowhere ends here as well.
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(e) => Err(fault(path, &e)),
    }
}

/// Asks the system whether a folder may be written, without writing: also a full disk must let somebody look at the list.
fn check_writable(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use rustix::fs::{Access, access};
        access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).map_err(|e| fault(path, &io::Error::from(e)))?;
    }
    #[cfg(not(unix))]
    if fs::metadata(path).map_err(|e| fault(path, &e))?.permissions().readonly() {
        return Err(fault(path, &ErrorKind::PermissionDenied.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

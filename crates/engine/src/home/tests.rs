use std::collections::HashMap;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::catalogue::tests::child::{Running, argument, say, wait};

fn at(vars: &[(&str, &str)], flag: Option<&str>, platform: Platform) -> Result<PathBuf> {
    let vars: HashMap<_, _> = vars.iter().copied().collect();
    locate(flag.map(Path::new), platform, |name| vars.get(name).map(OsString::from))
}

#[test]
fn the_place_of_the_home() {
    let all = [
        ("COFFRE_HOME", "/c"),
        ("XDG_DATA_HOME", "/x"),
        ("HOME", "/h"),
        ("LOCALAPPDATA", "/l"),
    ];
    let place = |vars: &[(&str, &str)], flag, platform| at(vars, flag, platform).unwrap().display().to_string();
    assert_eq!(place(&all, Some("/f"), Platform::Unix), "/f");
    assert_eq!(place(&all, Some("relative"), Platform::Unix), "relative");
    assert_eq!(place(&all, None, Platform::Unix), "/c");
    assert_eq!(place(&all[1..], None, Platform::Unix), "/x/coffre");
    assert_eq!(place(&all[2..], None, Platform::Unix), "/h/.local/share/coffre");
    assert_eq!(
        place(&all[2..], None, Platform::MacOs),
        "/h/Library/Application Support/coffre"
    );
    assert_eq!(place(&all[1..], None, Platform::Windows), "/l/coffre");
    assert_eq!(
        place(&[("USERPROFILE", "/u")], None, Platform::Windows),
        "/u/AppData/Local/coffre"
    );
    // Empty counts as not set, and a relative XDG_DATA_HOME is ignored.
    let odd = [("COFFRE_HOME", ""), ("XDG_DATA_HOME", "x"), ("HOME", "/h")];
    assert_eq!(place(&odd, None, Platform::Unix), "/h/.local/share/coffre");
    assert_eq!(at(&[], None, Platform::Unix).unwrap_err().text(), "home_unknown");
    assert_eq!(
        at(&[("HOME", "relative")], None, Platform::Unix).unwrap_err().text(),
        "home_unknown"
    );
    assert_eq!(at(&all, Some(""), Platform::Unix).unwrap_err().text(), "home_empty");
}

#[test]
fn what_is_no_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"mine").unwrap();
    let link = dir.path().join("link");
    symlink("/nowhere/at/all", &link).unwrap();
    for path in [file.clone(), file.join("below"), file.join("far/below")] {
        let error = Home::open(&path).err().unwrap();
        assert_eq!(
            (error.code(), error.text()),
            (Code::Usage, "home_not_folder"),
            "{}",
            path.display()
        );
    }
    assert!(Home::open(&link).is_err());
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    // A link to a folder is a folder; a link in place of ours is not.
    let real = dir.path().join("real");
    fs::create_dir(&real).unwrap();
    let through = dir.path().join("through");
    symlink(&real, &through).unwrap();
    Home::open(&through).unwrap();
    fs::remove_dir(real.join("runtime")).unwrap();
    symlink("/tmp", real.join("runtime")).unwrap();
    assert_eq!(Home::open(&through).err().unwrap().text(), "home_not_folder");
}

#[test]
fn a_folder_that_others_use_keeps_its_mode_and_an_empty_one_becomes_private() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("theirs"), b"").unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    Home::open(&shared).unwrap();
    assert_eq!(mode(&shared), 0o1777);
    assert_eq!((mode(&shared.join("runtime")), mode(&shared.join("logs"))), (0o700, 0o700));
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o755)).unwrap();
    Home::open(&empty).unwrap();
    assert_eq!(mode(&empty), 0o700);
    // Loosened folders are made private again.
    fs::set_permissions(empty.join("runtime"), fs::Permissions::from_mode(0o777)).unwrap();
    Home::open(&empty).unwrap();
    assert_eq!(mode(&empty.join("runtime")), 0o700);
}

#[test]
fn a_runtime_folder_is_private_and_goes_with_its_guard() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let id = Id::new();
    let guard = home.runtime_dir(&id).unwrap();
    let path = guard.path().to_owned();
    assert!(path.starts_with(home.runtime()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    assert!(home.runtime_dir(&id).is_err(), "one for each work");
    let second = home.runtime_dir(&Id::new()).unwrap();
    fs::write(path.join("pgpass"), b"secret").unwrap();
    fs::create_dir(path.join("sub")).unwrap();
    drop(guard);
    assert!(!path.exists() && second.path().exists());
    second.remove().unwrap();
    assert!(create_private(&dir.path().join("x")).is_ok() && create_private(&dir.path().join("x")).is_err());
    drop(home);
    assert_eq!(
        fs::read_dir(dir.path().join("runtime")).unwrap().count(),
        0,
        "the lock goes with the process"
    );
}

#[test]
fn leaving_child() {
    let Some(path) = argument("home::tests::leaving_child") else {
        return;
    };
    let home = Home::open(Path::new(&path)).unwrap();
    let guard = home.runtime_dir(&Id::new()).unwrap();
    fs::write(guard.path().join("pgpass"), b"secret").unwrap();
    say(&home.owner().unwrap());
    wait();
}

#[test]
fn what_a_killed_process_left_is_swept_and_what_a_living_one_uses_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let argument = dir.path().to_str().unwrap();
    let mut killed = Running::start("home::tests::leaving_child", argument);
    let mut living = Running::start("home::tests::leaving_child", argument);
    let (dead, alive) = (killed.hear().unwrap(), living.hear().unwrap());
    let mine = home.runtime_dir(&Id::new()).unwrap();
    fs::write(home.runtime().join("somebody's note"), b"").unwrap();
    assert!(home.owner_alive(&dead).unwrap() && home.owner_alive(&alive).unwrap());
    assert_eq!(home.sweep().unwrap(), 0);
    killed.kill();
    assert!(!home.owner_alive(&dead).unwrap() && home.owner_alive(&alive).unwrap());
    // Looking does not take: another look says the same.
    assert!(!home.owner_alive(&dead).unwrap());
    assert_eq!(home.sweep().unwrap(), 1);
    assert!(!home.runtime().join(&dead).exists() && !home.runtime().join(format!("{dead}.lock")).exists());
    assert!(home.runtime().join(&alive).join("").is_dir() && mine.path().exists());
    assert!(home.runtime().join("somebody's note").exists());
    assert_eq!(home.sweep().unwrap(), 0);
    living.go();
    assert!(living.end());
    assert!(!home.runtime().join(&alive).exists());
    // Names that are not ours lead nowhere.
    assert!(!home.owner_alive("../../etc/passwd").unwrap());
}

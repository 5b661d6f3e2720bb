//! The keychain against a real Secret Service (GNOME's), in private sessions of its own.
//!
//! The library keeps one connection a process, so each scene is this very test program again, inside `dbus-run-session`: the tests
//! under `scenes` are ignored, and run by the ones below with the session that they need.
#![allow(
    clippy::disallowed_methods,
    reason = "sessions and keychains are started for the tests, and stopped by them"
)]

use std::process::{Command, Output};

use tempfile::TempDir;

use super::*;

/// Runs a scene in a shell prepared by `script`, which gets the scene as `"$@"`.
fn play(scene: &str, launcher: &[&str], script: &str) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["run", "home", "data"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let config = folder.path().join("bus.conf");
    let policy = r#"<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>
        <policy context="default"><allow send_destination="*"/><allow own="*"/><allow eavesdrop="true"/>RULE</policy></busconfig>"#;
    let rule = if scene == "the_bus_refuses" {
        r#"<deny send_destination="org.freedesktop.secrets"/>"#
    } else {
        ""
    };
    std::fs::write(&config, policy.replace("RULE", rule)).unwrap();
    let shell = format!(
        r#"set -eu
        start() {{
            input=$1; shift
            gnome-keyring-daemon --components=secrets --foreground "$@" < "$input" > keyring.log 2>&1 & keyring=$!
            trap 'kill -CONT $keyring; kill $keyring; wait $keyring || true' EXIT
            gdbus wait --session --timeout 20 org.freedesktop.secrets
        }}
        export KEYRING=0
        {script}"#
    );
    let launcher: Vec<String> = launcher
        .iter()
        .map(|word| word.replace("CONFIG", &config.to_string_lossy()))
        .collect();
    let mut words = launcher
        .into_iter()
        .chain(["sh".to_owned(), "-c".to_owned(), shell, "sh".to_owned()]);
    let output = Command::new(words.next().unwrap())
        .args(words)
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("secrets::keychain::tests::scenes::{scene}"))
        .current_dir(folder.path())
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env("HOME", folder.path().join("home"))
        .env("XDG_DATA_HOME", folder.path().join("data"))
        .env("XDG_RUNTIME_DIR", folder.path().join("run"))
        .env("COFFRE_TEST_SCENE", scene)
        .output()
        .unwrap();
    let said = words_of(&output);
    assert!(output.status.success(), "{scene}: {said}");
    assert!(said.contains("1 passed"), "{scene} did not play: {said}");
}

fn words_of(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

const SESSION: &[&str] = &["dbus-run-session", "--"];
const BARE_BUS: &[&str] = &["dbus-run-session", "--config-file=CONFIG", "--"];
const UNLOCKED: &str = r#"printf pass > pass
    start pass --unlock
    export KEYRING=$keyring; "$@""#;

#[test]
fn an_unlocked_keychain_keeps_everything() {
    play("it_keeps_everything", SESSION, UNLOCKED);
}

#[test]
fn a_keychain_that_is_locked_and_unlocked_again() {
    play("it_locks_and_unlocks", SESSION, UNLOCKED);
}

#[test]
fn a_keychain_that_does_not_answer() {
    play("it_is_silent", SESSION, UNLOCKED);
}

#[test]
fn a_keychain_without_a_default_keyring() {
    let script = r#"start /dev/null; "$@""#;
    play("it_was_never_set_up", SESSION, script);
}

#[test]
fn a_default_keyring_in_memory_only() {
    let script = r#"start /dev/null
        gdbus call --session -d org.freedesktop.secrets -o /org/freedesktop/secrets -m org.freedesktop.Secret.Service.SetAlias \
            default /org/freedesktop/secrets/collection/session; "$@""#;
    play("it_would_forget", SESSION, script);
}

#[test]
fn a_machine_without_a_session_bus() {
    play("there_is_none", &[], r#""$@""#);
    let script = r#"DBUS_SESSION_BUS_ADDRESS=unix:path=/nowhere/bus "$@""#;
    play("there_is_none", &[], script);
    // A bus without anything on it, and nothing that it could start.
    play("there_is_none", BARE_BUS, r#""$@""#);
}

#[test]
fn a_bus_that_refuses() {
    let script = r#"start /dev/null; "$@""#;
    play("the_bus_refuses", BARE_BUS, script);
}

#[test]
fn a_person_who_is_asked() {
    play("a_person_answers", BARE_BUS, r#""$@""#);
}

/// Played inside a session by the tests above.
mod scenes {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn keychain(home: &TempDir) -> Keychain {
        // Only inside its own session: never on a developer's real keychain.
        assert!(std::env::var_os("COFFRE_TEST_SCENE").is_some(), "played by the tests above");
        Keychain::new(home.path(), &Environment::default())
    }

    fn home() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    fn refusal<T>(result: Result<T>) -> String {
        let error = result.err().expect("must be refused");
        assert_eq!(error.code(), Code::SecretUnavailable, "{error}");
        error.text().to_owned()
    }

    fn all_say(expected: &str) {
        let home = home();
        let keychain = keychain(&home);
        assert_eq!(refusal(keychain.set("source:1", &Secret::new("x"))), expected);
        assert_eq!(refusal(keychain.get("source:1")), expected);
        assert_eq!(refusal(keychain.remove("source:1")), expected);
        let status = keychain.status();
        assert!(!status.exists && !status.unlocked);
        assert_eq!(status.error.unwrap().text(), expected);
    }

    fn run(program: &str, arguments: &[&str]) -> Output {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {}", words_of(&output));
        output
    }

    fn lock() {
        let path = "/org/freedesktop/secrets";
        let method = "org.freedesktop.Secret.Service.Lock";
        let collection = r#"[objectpath "/org/freedesktop/secrets/collection/login"]"#;
        run(
            "gdbus",
            &[
                "call",
                "--session",
                "-d",
                "org.freedesktop.secrets",
                "-o",
                path,
                "-m",
                method,
                collection,
            ],
        );
    }

    /// As the login does it, with the password and without a dialog.
    fn unlock() {
        use zbus::zvariant::{OwnedValue, Value};
        let bus = zbus::blocking::Connection::session().unwrap();
        let (name, root) = (Some("org.freedesktop.secrets"), "/org/freedesktop/secrets");
        let plain = ("plain", Value::from(""));
        let opened = bus
            .call_method(name, root, Some("org.freedesktop.Secret.Service"), "OpenSession", &plain)
            .unwrap();
        let (_, session): (OwnedValue, Path) = opened.body().deserialize().unwrap();
        let secret = (session, Vec::<u8>::new(), b"pass".to_vec(), "text/plain");
        bus.call_method(
            name,
            root,
            Some("org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface"),
            "UnlockWithMasterPassword",
            &(path("/org/freedesktop/secrets/collection/login"), secret),
        )
        .unwrap();
    }

    #[test]
    #[ignore = "played inside a session by an_unlocked_keychain_keeps_everything"]
    fn it_keeps_everything() {
        let (home, other) = (home(), home());
        let keychain = keychain(&home);
        assert!(keychain.get("source:1").unwrap().is_none());
        assert!(!keychain.remove("source:1").unwrap());
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "reading writes nothing");

        let long = "x'\"\\é".repeat(205);
        let nasty = [
            ":\\'\"$#%@/ -",
            "-leading",
            "line\nfeed\n",
            "\0nul",
            "é漢字🔑\u{202e}",
            "$(id)`id`",
            " ",
            "",
            long.as_str(),
        ];
        for (i, text) in nasty.iter().enumerate() {
            keychain.set(&format!("source:{i}"), &Secret::new(*text)).unwrap();
        }
        // Again, as another process of the same home would.
        let again = Keychain::new(home.path(), &Environment::default());
        for (i, text) in nasty.iter().enumerate() {
            assert_eq!(again.get(&format!("source:{i}")).unwrap().unwrap().expose(), *text);
        }
        keychain.set("source:0", &Secret::new("second")).unwrap();
        assert_eq!(again.get("source:0").unwrap().unwrap().expose(), "second");

        let second = Keychain::new(other.path(), &Environment::default());
        assert!(second.get("source:0").unwrap().is_none());
        second.set("source:0", &Secret::new("of the other")).unwrap();
        assert_eq!(keychain.get("source:0").unwrap().unwrap().expose(), "second");

        let status = keychain.status();
        assert_eq!(
            (status.kind, status.exists, status.unlocked, status.entries, status.error),
            ("keychain", true, true, Some(nasty.len() as u64), None)
        );
        assert!(keychain.remove("source:0").unwrap());
        assert!(!keychain.remove("source:0").unwrap());
        assert!(again.get("source:0").unwrap().is_none());
        assert_eq!(second.status().entries, Some(1));

        // The user's own tool sees it too.
        let user = format!("{}/source:0", home_id(other.path()).unwrap().unwrap());
        let seen = run("secret-tool", &["lookup", "service", "coffre", "username", &user]);
        assert_eq!(seen.stdout, b"of the other");

        // From inside an asynchronous runtime, where the library itself would panic, and from several threads at once.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { second.set("key:1", &Secret::new("k")).unwrap() });
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(second.get("key:1").unwrap().unwrap().expose(), "k"));
            }
        });
    }

    #[test]
    #[ignore = "played inside a session by a_keychain_that_is_locked_and_unlocked_again"]
    fn it_locks_and_unlocks() {
        let home = home();
        let keychain = keychain(&home);
        keychain.set("source:1", &Secret::new("kept")).unwrap();
        lock();
        assert_eq!(refusal(keychain.get("source:1")), "keychain_locked");
        assert_eq!(refusal(keychain.set("source:1", &Secret::new("new"))), "keychain_locked");
        assert_eq!(refusal(keychain.set("source:2", &Secret::new("new"))), "keychain_locked");
        assert_eq!(refusal(keychain.remove("source:1")), "keychain_locked");
        let status = keychain.status();
        assert!(status.exists && !status.unlocked);
        assert_eq!((status.entries, status.error.unwrap().text()), (Some(1), "keychain_locked"));

        // A person may be asked, but there is no display for the question.
        let asks = Environment {
            may_ask: true,
            ..Environment::default()
        };
        assert_eq!(refusal(Keychain::new(home.path(), &asks).get("source:1")), "keychain_refused");

        // The login unlocks it: the same process goes on.
        unlock();
        assert_eq!(keychain.get("source:1").unwrap().unwrap().expose(), "kept");
        keychain.set("source:2", &Secret::new("new")).unwrap();
    }

    #[test]
    #[ignore = "played inside a session by a_keychain_that_does_not_answer"]
    fn it_is_silent() {
        let home = home();
        let mut keychain = keychain(&home);
        keychain.set("source:1", &Secret::new("kept")).unwrap();
        let daemon = std::env::var("KEYRING").unwrap();
        run("kill", &["-STOP", &daemon]);
        keychain.limits.answer = Duration::from_secs(1);
        assert_eq!(refusal(keychain.get("source:1")), "keychain_silent");
        assert_eq!(keychain.status().error.unwrap().text(), "keychain_silent");
        run("kill", &["-CONT", &daemon]);
        keychain.limits = LIMITS;
        assert_eq!(keychain.get("source:1").unwrap().unwrap().expose(), "kept");
    }

    #[test]
    #[ignore = "played inside a session by a_keychain_without_a_default_keyring"]
    fn it_was_never_set_up() {
        all_say("keychain_empty");
    }

    #[test]
    #[ignore = "played inside a session by a_default_keyring_in_memory_only"]
    fn it_would_forget() {
        all_say("keychain_fleeting");
    }

    #[test]
    #[ignore = "played inside a session by a_machine_without_a_session_bus"]
    fn there_is_none() {
        all_say("keychain_absent");
    }

    #[test]
    #[ignore = "played inside a session by a_bus_that_refuses"]
    fn the_bus_refuses() {
        all_say("keychain_refused");
    }

    /// A Secret Service that knows how to be unlocked, and nothing else.
    struct Pretender {
        /// What the person does: `Some(dismissed)`, or nothing at all.
        person: Option<bool>,
        locked: Arc<AtomicBool>,
        dismissed: Arc<AtomicBool>,
        /// GNOME's daemon denies its default collection to a new caller now and then, and knows better a moment later.
        knows_better: AtomicBool,
    }

    type Path = zbus::zvariant::OwnedObjectPath;

    fn path(text: &str) -> Path {
        Path::try_from(text).unwrap()
    }

    #[zbus::interface(name = "org.freedesktop.Secret.Service")]
    impl Pretender {
        fn read_alias(&self, _name: &str) -> Path {
            path(if self.knows_better.swap(true, Ordering::SeqCst) {
                "/collection"
            } else {
                "/"
            })
        }

        fn unlock(&self, objects: Vec<Path>) -> (Vec<Path>, Path) {
            assert_eq!(objects, [path("/collection")]);
            (Vec::new(), path("/prompt"))
        }
    }

    struct Collection(Arc<AtomicBool>);

    #[zbus::interface(name = "org.freedesktop.Secret.Collection")]
    impl Collection {
        #[zbus(property)]
        fn locked(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    struct Prompt(Pretender);

    #[zbus::interface(name = "org.freedesktop.Secret.Prompt")]
    impl Prompt {
        async fn prompt(&self, _window: &str, #[zbus(connection)] connection: &zbus::Connection) {
            let Some(dismissed) = self.0.person else { return };
            self.0.locked.store(dismissed, Ordering::SeqCst);
            let answer = (dismissed, zbus::zvariant::Value::from(""));
            let interface = "org.freedesktop.Secret.Prompt";
            connection
                .emit_signal(None::<&str>, "/prompt", interface, "Completed", &answer)
                .await
                .unwrap();
        }

        fn dismiss(&self) {
            self.0.dismissed.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    #[ignore = "played inside a session by a_person_who_is_asked"]
    fn a_person_answers() {
        assert!(std::env::var_os("COFFRE_TEST_SCENE").is_some(), "played by the tests above");
        let limits = Limits {
            answer: Duration::from_secs(10),
            person: Duration::from_millis(300),
        };
        for (person, expected) in [
            (Some(false), None),
            (Some(true), Some("keychain_refused")),
            (None, Some("keychain_locked")),
        ] {
            let locked = Arc::new(AtomicBool::new(true));
            let dismissed = Arc::new(AtomicBool::new(false));
            let pretend = || Pretender {
                person,
                locked: Arc::clone(&locked),
                dismissed: Arc::clone(&dismissed),
                knows_better: AtomicBool::new(false),
            };
            let served = zbus::blocking::connection::Builder::session()
                .and_then(|b| b.serve_at("/org/freedesktop/secrets", pretend()))
                .and_then(|b| b.serve_at("/collection", Collection(Arc::clone(&locked))))
                .and_then(|b| b.serve_at("/prompt", Prompt(pretend())))
                .and_then(|b| b.name("org.freedesktop.secrets"))
                .and_then(zbus::blocking::connection::Builder::build)
                .unwrap();
            let asked = AtomicBool::new(false);
            assert_eq!(refusal(make_ready(false, limits, &|| unreachable!())), "keychain_locked");
            let result = make_ready(true, limits, &|| asked.store(true, Ordering::SeqCst));
            assert_eq!(result.err().map(|error| error.text().to_owned()).as_deref(), expected);
            assert!(asked.load(Ordering::SeqCst));
            assert_eq!(
                dismissed.load(Ordering::SeqCst),
                person.is_none(),
                "a question nobody answered is taken away"
            );
            drop(served);
        }
    }
}

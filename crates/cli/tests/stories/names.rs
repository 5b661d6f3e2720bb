//! Classes "secrets" and "injection": whatever a person or an attacker calls things, it is only a name; and no secret is anywhere.

use std::path::Path;

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::Invariants;
use coffre_testkit::strace::trace;

use crate::program;
use crate::shop::{address, back_up, content, protected, small, text};

/// Names that mean something to a shell, a terminal, a path, a format string, a page or a right-to-left reader.
fn hostile() -> Vec<String> {
    let mut names: Vec<String> = [
        "; touch pwned",
        "$(touch pwned)",
        "`touch pwned`",
        "--help",
        "-rf",
        "../../../pwned",
        "..",
        "/etc/passwd",
        "a/b\\c",
        "line\nbreak\ttab",
        "100% %s %n {0} {name}",
        "<script>alert(1)</script>",
        "\u{1b}[31mred\u{1b}[0m\u{7}",
        "\u{202e}gpj.exe",
        "\u{200b}zero\u{feff}width",
        "' OR 1=1; DROP TABLE backups; --",
        "\"quoted\" 'twice'",
        "é\u{301}ñ 漢字 🗝",
        " leading and trailing ",
        "latest",
        "NUL.txt",
        "*?[a-z]",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(255));
    names.push("é".repeat(127));
    names
}

#[test]
fn names_come_back_unchanged_and_do_nothing() {
    let coffre = Coffre::new(program());
    let surroundings = coffre.work("");
    let db = coffre.work("shop.db");
    small(&db);
    let disk = coffre.destination_folder("disk");
    let mut refused = Vec::new();
    let mut last = None;
    for (n, name) in hostile().iter().enumerate() {
        let added = coffre.run(["--json", "source", "add", &address(&db), "--name", name]);
        if added.status != Some(0) {
            // A name may be refused, in words, but never changed or half accepted.
            assert_eq!((added.status, added.error_code().as_str()), (Some(2), "USAGE"), "{added}");
            refused.push(name.clone());
            continue;
        }
        assert_eq!(text(&added.json()["source"], "name"), name, "{added}");
        let folder = disk.join(n.to_string());
        std::fs::create_dir(&folder).unwrap();
        let destination = coffre.json(["destination", "add", &format!("file://{}", folder.display()), "--name", name]);
        assert_eq!(text(&destination["destination"], "name"), name);
        let plan = coffre.json(["plan", "add", "--name", name, "--source", name, "--to", name]);
        assert_eq!(
            (text(&plan["plan"], "name"), text(&plan["plan"], "source")),
            (name.as_str(), name.as_str())
        );
        let mut line = vec!["--json", "backup", "--source", name, "--to", name, "--note", name];
        // Not for every name: opening the vault is slow on purpose.
        let with_key = n % 5 == 0;
        if with_key {
            let key = coffre.json(["key", "create", "--name", name]);
            assert_eq!(text(&key["key"], "name"), name);
            line.extend(["--encrypt", name]);
        }
        let made = coffre.ok(line).json();
        let backup = &made["backup"];
        for field in ["source", "note"] {
            assert_eq!(text(backup, field), name, "{made:#}");
        }
        assert_eq!(backup["encryption"].as_str(), with_key.then_some(name.as_str()));
        assert_eq!(text(&backup["copies"][0], "destination"), name);
        let key = text(&backup["copies"][0], "key");
        assert!(
            key.len() < 400 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b)),
            "{key}"
        );
        assert!(!key.contains("..") && !key.starts_with(['/', '-', '.']), "{key}");
        let by_plan = coffre.json(["backup", "--plan", name]);
        assert_eq!(text(&by_plan["backup"], "plan"), name);
        if n % 4 == 0 {
            coffre.ok([
                "restore",
                "latest",
                "--source",
                name,
                "--into",
                &address(&coffre.work("back.db")),
            ]);
            assert_eq!(content(&coffre.work("back.db")), content(&db));
            std::fs::remove_file(coffre.work("back.db")).unwrap();
        }
        last = Some(text(backup, "code").to_owned());
    }
    assert!(refused.len() <= 12, "{refused:?}");
    // On a terminal they are text: no control character, no mark that turns the line round.
    let code = last.unwrap();
    for line in [
        vec!["list"],
        vec!["source", "list"],
        vec!["destination", "list"],
        vec!["plan", "list"],
        vec!["key", "list"],
        vec!["journal", "--limit", "1000"],
        vec!["show", &code],
        vec!["show", "\u{1b}[31m\u{202e}nobody\r\n"],
        vec!["backup", "--source", "\u{1b}[31m\u{202e}nobody"],
        vec!["\u{1b}[31m\u{202e}frobnicate"],
        vec!["list", "--state", "\u{1b}[31m\u{202e}"],
        vec!["source", "add", "sqlite:///\u{1b}[31m", "--name", "n", "--tls", "\u{1b}[2J"],
    ] {
        let outcome = coffre.run(&line);
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        let bad: Vec<char> = said
            .chars()
            .filter(|c| (c.is_control() && *c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
            .collect();
        assert!(bad.is_empty(), "{bad:?}: {outcome}");
    }
    for folder in [coffre.folder(), &surroundings, &coffre.home()] {
        assert!(!folder.join("pwned").exists());
    }
    let html = coffre.work("sheet.html");
    coffre.ok(["recovery-sheet", "--to", html.to_str().unwrap()]);
    assert!(!std::fs::read_to_string(&html).unwrap().contains("<script>alert"));
    let mut invariants = Invariants::of(&coffre);
    for n in 0..hostile().len() {
        invariants = invariants.destination(&disk.join(n.to_string()));
    }
    invariants.assert();
}

#[test]
fn names_of_files_are_only_names() {
    let coffre = Coffre::new(program());
    for (n, name) in [
        "a b;c.db",
        "$(touch pwned).db",
        "`id`.db",
        "-rf.db",
        "%41 100%.db",
        "new\nline.db",
        "?mode=memory.db",
        "file:x?vfs=y.db",
        "🗝 é.db",
    ]
    .iter()
    .enumerate()
    {
        let db = coffre.work(name);
        small(&db);
        let encoded: String = db
            .to_str()
            .unwrap()
            .bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() || b"/-_.".contains(&b) {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect();
        let source = format!("s{n}");
        coffre.ok(["source", "add", &format!("sqlite://{encoded}"), "--name", &source]);
        back_up(&coffre, &source);
        let into = format!("sqlite://{encoded}.back");
        coffre.ok(["restore", "latest", "--source", &source, "--into", &into]);
        let back = Path::new(db.parent().unwrap()).join(format!("{name}.back"));
        assert!(back.exists(), "{name:?}");
        assert_eq!(std::fs::read(&back).unwrap().len(), std::fs::read(&db).unwrap().len());
        let to = coffre.work(&format!("{name}.zst"));
        if name.contains('\n') {
            // What a folder of backups may not hold is refused as a file's name too, in words.
            let outcome = coffre.fails(
                ["download", "latest", "--source", &source, "--to", to.to_str().unwrap()],
                "USAGE",
                2,
            );
            assert!(
                !outcome.json()["error"]["message"].as_str().unwrap().contains("USAGE"),
                "{outcome}"
            );
            continue;
        }
        coffre.ok(["download", "latest", "--source", &source, "--to", to.to_str().unwrap()]);
        assert!(to.exists());
        coffre.ok(["restore", "--file", to.to_str().unwrap(), "--into", &format!("{into}2")]);
    }
    assert!(!coffre.work("pwned").exists() && !coffre.folder().join("pwned").exists());
    Invariants::of(&coffre).assert();
}

#[test]
fn a_sqlite_backup_starts_no_other_program() {
    let (mut coffre, _) = protected();
    let log = coffre.work("trace");
    coffre.under(trace(&log, "execve"));
    back_up(&coffre, "shop");
    coffre.under(Vec::new());
    assert_eq!(coffre_testkit::strace::count(&log, "execve"), 1, "only itself");
}

#[test]
fn a_password_in_an_address_is_refused_and_nowhere_kept() {
    let coffre = Coffre::new(program());
    let secret = "Tr0ub4dor-and-3";
    for place in [
        format!("postgres://me:{secret}@localhost/db"),
        format!("postgres://me:{secret}@localhost:5432/db?x=y"),
        format!("postgresql://me:12{secret}/34@localhost/db"),
        format!("postgres://me:12/{secret}@localhost/db"),
        format!("postgres://me:12?{secret}@localhost/db"),
        format!("postgres://me:{secret}#@localhost/db"),
        format!("postgres://localhost/db?password={secret}"),
        format!("postgres://localhost/db?user=me&PASSWORD={secret}"),
        format!("sqlite://me:{secret}@/tmp/x.db"),
        format!("me:{secret}@localhost/db"),
    ] {
        for line in [
            vec!["source", "add", &place, "--name", "crm"],
            vec!["--json", "source", "add", &place, "--name", "crm"],
            vec!["--json", "restore", "--file", "/dev/null", "--into", &place],
        ] {
            let outcome = coffre.run(&line);
            assert_eq!(outcome.status, Some(2), "{outcome}");
            let words = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(!words.contains(secret), "it is repeated: {words}");
        }
    }
    assert_eq!(coffre.json(["source", "list"])["sources"].as_array().unwrap().len(), 0);
    Invariants::of(&coffre).secret(secret).assert();
}

#[test]
fn secrets_are_in_the_vault_alone() {
    let (mut coffre, _) = protected();
    let (password, phrase) = ("pä: \\ ' \" $ # % @ / sesame", "open the third door slowly");
    let added = coffre.run_with_input(
        [
            "source",
            "add",
            "postgres://me@127.0.0.1:1/db",
            "--name",
            "crm",
            "--password-stdin",
        ],
        password.as_bytes(),
    );
    assert_eq!(added.status, Some(0), "{added}");
    let made = coffre.run_with_input(["key", "create", "phrase", "--passphrase-stdin"], phrase.as_bytes());
    assert_eq!(made.status, Some(0), "{made}");
    coffre.ok(["key", "create", "pair"]);
    let exported = coffre.work("pair.txt");
    coffre.ok(["key", "export", "pair", "--to", exported.to_str().unwrap()]);
    let identity = std::fs::read_to_string(&exported)
        .unwrap()
        .lines()
        .find(|l| l.starts_with("AGE-SECRET-KEY-1"))
        .unwrap()
        .to_owned();
    coffre.set("COFFRE_LOG", "trace");
    for key in ["phrase", "pair"] {
        coffre.ok(["backup", "--source", "shop", "--encrypt", key]);
    }
    coffre.ok(["verify", "--all"]);
    assert_eq!(coffre.run(["backup", "--source", "crm"]).status, Some(1));
    coffre.ok(["recovery-sheet", "--to", coffre.work("sheet.txt").to_str().unwrap()]);
    for line in [
        vec!["source", "show", "crm"],
        vec!["key", "list"],
        vec!["journal"],
        vec!["list"],
    ] {
        let outcome = coffre.ok([&["--json"], line.as_slice()].concat());
        for secret in [password, phrase, identity.as_str()] {
            assert!(!outcome.stdout.contains(secret), "{outcome}");
        }
    }
    Invariants::of(&coffre)
        .secret(password)
        .secret(phrase)
        .secret(identity.clone())
        .assert();
    let sheet = std::fs::read_to_string(coffre.work("sheet.txt")).unwrap();
    assert!(!sheet.contains(&identity) && !sheet.contains(phrase));
}

#[test]
fn without_a_vault_what_needs_no_secret_goes_on() {
    let mut coffre = Coffre::without_vault(program());
    let db = coffre.work("shop.db");
    small(&db);
    coffre.ok(["source", "add", &address(&db), "--name", "shop"]);
    back_up(&coffre, "shop");
    coffre.fails(["key", "create", "main"], "SECRET_UNAVAILABLE", 6);
    let added = coffre.run_with_input(
        [
            "--json",
            "source",
            "add",
            "postgres://me@127.0.0.1:1/db",
            "--name",
            "crm",
            "--password-stdin",
        ],
        b"sesame-open",
    );
    assert_eq!(
        (added.status, added.error_code().as_str()),
        (Some(6), "SECRET_UNAVAILABLE"),
        "{added}"
    );
    // Not half added either.
    assert_eq!(coffre.json(["source", "list"])["sources"].as_array().unwrap().len(), 1);
    // A key that comes from nowhere else: an ambient passphrase in the environment opens nothing.
    coffre.set("COFFRE_VAULT_PASSPHRASE", "guess");
    coffre.fails(["key", "create", "main"], "SECRET_UNAVAILABLE", 6);
    coffre.ok(["vault", "init"]);
    coffre.ok(["key", "create", "main"]);
    coffre.ok(["backup", "--source", "shop", "--encrypt", "main"]);
    Invariants::of(&coffre).secret("sesame-open").assert();
}

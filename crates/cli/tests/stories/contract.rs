//! The contract, from outside: one JSON document for every command, also on failure; exit statuses; quiet pipes; two languages.

use coffre_testkit::coffre::{Coffre, Outcome};
use coffre_testkit::invariants::Invariants;
use serde_json::Value;

use crate::program;
use crate::shop::{address, artifact, back_up, protected, text};

/// Whether an object has these fields.
fn has(value: &Value, fields: &str, what: &str) {
    for field in fields.split_whitespace() {
        assert!(value.get(field).is_some(), "{what}: no field {field} in {value:#}");
    }
}

const BACKUP: &str = "id code source plan trigger type kind base_id state started_at ended_at duration_ms raw_bytes stored_bytes sha256 \
    raw_sha256 compression encryption tables rows tool server_version flags error note pinned copies";
const COPY: &str = "destination key state stored_bytes sha256 verified_at";
const RESTORE: &str = "id backup_id target mode state safety_backup_id steps counts";

/// Runs with `--json` before the command, expects this status, and answers the one document on standard output. What changes nothing
/// is run with `--json` behind it, too.
fn document(coffre: &Coffre, line: &[&str], status: i32) -> Value {
    let outcome = coffre.run([&["--json"], line].concat());
    assert_eq!(outcome.status, Some(status), "{outcome}");
    check_error(&outcome, status);
    if matches!(line.first(), Some(&("list" | "show" | "journal"))) {
        let behind = coffre.run([line, &["--json"]].concat());
        assert_eq!(behind.stdout, outcome.stdout);
    }
    outcome.json()
}

fn check_error(outcome: &Outcome, status: i32) {
    let document = outcome.json();
    assert!(document.is_object(), "{outcome}");
    assert!(outcome.stdout.ends_with("}\n"), "{outcome}");
    assert!(
        !outcome.stdout.contains('\u{1b}') && !outcome.stderr.contains('\u{1b}'),
        "no colours in a pipe: {outcome}"
    );
    if status == 0 {
        assert!(document.get("error").is_none(), "{outcome}");
        return;
    }
    let error = &document["error"];
    has(error, "code message hint details", &outcome.line);
    let code = text(error, "code");
    assert!(code.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{outcome}");
    for field in ["message", "hint"] {
        let words = text(error, field);
        assert!(!words.is_empty() || field == "hint", "{outcome}");
        assert!(!words.starts_with(code), "an error without words: {outcome}");
        assert!(
            !words.contains('{') && !words.contains("error."),
            "words with a hole: {outcome}"
        );
    }
    assert!(error["details"].is_object(), "{outcome}");
    assert!(
        !error["details"].as_object().unwrap().keys().any(|k| k.starts_with("__")),
        "{outcome}"
    );
    let expected = match code {
        "USAGE" => 2,
        "VERIFY_MISMATCH" | "DECRYPT_FAILED" => 3,
        "REFUSED" | "DEST_IDENTITY" | "ARCHIVE_UNSAFE" => 4,
        "BUSY" => 5,
        "SECRET_UNAVAILABLE" => 6,
        _ => 1,
    };
    assert_eq!(status, expected, "{outcome}");
}

#[test]
fn every_command_answers_one_document() {
    let (coffre, _) = protected();
    let disk = coffre.destination_folder("disk");
    let disk_address = format!("file://{}", disk.display());
    let work = |name: &str| coffre.work(name).display().to_string();
    let run = |line: &[&str]| document(&coffre, line, 0);
    let source = "id name address has_secret created_at";

    has(&run(&["source", "list"])["sources"][0], source, "source list");
    has(&run(&["source", "show", "shop"])["source"], source, "source show");
    let test = run(&["source", "test", "shop"]);
    has(
        &test["probe"],
        "server_version tool estimated_bytes tables remarks",
        "source test",
    );
    assert_eq!(test["ok"], true);
    has(
        &run(&["source", "edit", "shop", "--name", "shop"])["source"],
        source,
        "source edit",
    );
    let destination = "id name address created_at";
    has(
        &run(&["destination", "add", &disk_address, "--name", "disk"])["destination"],
        destination,
        "destination add",
    );
    has(
        &run(&["destination", "test", "disk"])["test"],
        "exists place free_bytes",
        "destination test",
    );
    has(
        &run(&["destination", "list"])["destinations"][0],
        destination,
        "destination list",
    );
    has(
        &run(&["destination", "show", "disk"])["destination"],
        destination,
        "destination show",
    );
    has(
        &run(&["key", "create", "main"])["key"],
        "id name kind recipient created_at",
        "key create",
    );
    let exported = run(&["key", "export", "main", "--to", &work("main.key")]);
    has(&exported["key"], "id name kind recipient", "key export");
    assert!(
        !exported.to_string().contains("AGE-SECRET-KEY-"),
        "written to a file, not told"
    );
    has(&run(&["key", "list"])["keys"][0], "id name kind recipient", "key list");
    has(
        &run(&["key", "import", "again", "--from", &work("main.key")])["key"],
        "id name",
        "key import",
    );
    let plan = "id name source destinations every kind compression encryption retention";
    let line = [
        "plan",
        "add",
        "--name",
        "nightly",
        "--source",
        "shop",
        "--to",
        "disk",
        "--every",
        "daily",
        "--keep-daily",
        "7",
    ];
    has(&run(&line)["plan"], plan, "plan add");
    has(&run(&["plan", "list"])["plans"][0], plan, "plan list");
    has(&run(&["plan", "show", "nightly"])["plan"], plan, "plan show");
    has(
        &run(&["plan", "edit", "nightly", "--compression", "gzip:9", "--encrypt", "main"])["plan"],
        plan,
        "plan edit",
    );

    let made = run(&["backup", "--plan", "nightly", "--note", "a note", "--pin"]);
    let backup = &made["backup"];
    has(backup, BACKUP, "backup");
    has(&backup["copies"][0], COPY, "backup's copy");
    has(&backup["tool"], "name path version", "backup's tool");
    assert_eq!(
        (text(backup, "type"), text(backup, "plan"), text(backup, "trigger")),
        ("daily", "nightly", "manual")
    );
    assert_eq!(
        (text(backup, "compression"), text(backup, "encryption"), text(backup, "note")),
        ("gzip:9", "main", "a note")
    );
    assert_eq!(backup["pinned"], true);
    assert!(text(backup, "started_at").ends_with('Z'));
    let (id, code) = (text(backup, "id").to_owned(), text(backup, "code").to_owned());
    assert_eq!(code.len(), "BKP-20260205211302-IWD8".len());
    let listed = run(&["list"]);
    has(&listed, "backups total page per_page stats", "list");
    has(
        &listed["stats"],
        "stored_bytes verified failed last_verified_at",
        "list's stats",
    );
    has(&listed["backups"][0], BACKUP, "list");
    for reference in [&id, &code] {
        has(&run(&["show", reference])["backup"], BACKUP, "show");
    }
    has(
        &run(&["show", "latest", "--source", "shop"])["manifest"],
        "schema artifact database format scope table_counts parts recovery sha256 raw_sha256 copies",
        "manifest",
    );
    let verified = run(&["verify", &code]);
    has(&verified["backup"], BACKUP, "verify");
    has(&verified["checks"][0], "copy level ok error", "verify");
    has(&run(&["verify", "--all"]), "results verified failed", "verify --all");
    has(
        &run(&["verify", &code, "--copy", "disk"])["checks"][0],
        "copy level ok error",
        "verify --copy",
    );
    let back = address(&coffre.work("back.db"));
    let restored = run(&["restore", &code, "--into", &back]);
    has(&restored["restore"], RESTORE, "restore");
    has(
        &restored["restore"]["steps"][0],
        "name state started_at ended_at",
        "restore's steps",
    );
    has(
        &restored["restore"]["counts"][0],
        "table before after backup",
        "restore's counts",
    );
    assert_eq!(text(&restored["restore"], "state"), "done");
    let planned = run(&["restore", "latest", "--source", "shop", "--dry-run"]);
    assert_eq!(text(&planned["restore"], "state"), "planned");
    has(
        &run(&["download", &code, "--to", &work("stored")])["download"],
        "path bytes sha256 raw",
        "download",
    );
    has(&run(&["unpin", &code])["backup"], BACKUP, "unpin");
    has(&run(&["pin", &code])["backup"], BACKUP, "pin");
    assert_eq!(run(&["note", &code, "another"])["backup"]["note"], "another");
    has(
        &run(&["recovery-sheet", "--to", &work("sheet.txt")])["sheet"],
        "path backups",
        "recovery-sheet",
    );
    has(
        &run(&["journal"])["entries"][0],
        "at author action subject result error",
        "journal",
    );
    has(
        &run(&["settings", "list"])["settings"][0],
        "key value origin",
        "settings list",
    );
    assert_eq!(run(&["settings", "get", "stall_seconds"])["setting"]["value"], "300");
    has(
        &run(&["settings", "set", "max_parallel_runs", "3"])["setting"],
        "key value",
        "settings set",
    );
    has(&run(&["vault", "status"])["vault"], "kind exists unlocked", "vault status");
    has(
        &run(&["catalogue", "rebuild", "--from", "disk"])["rebuilt"][0],
        "destination backups copies known unusable",
        "rebuild",
    );
    run(&["unpin", &code]);
    run(&["backup", "--source", "shop"]);
    assert_eq!(run(&["delete", &code, "--yes"])["backup"]["state"], "deleted");
    has(&run(&["plan", "remove", "nightly"]), "plan removed", "plan remove");
    has(
        &run(&["destination", "remove", "disk"]),
        "destination removed",
        "destination remove",
    );
    has(&run(&["source", "remove", "shop"]), "source removed", "source remove");
    run(&["completions", "bash"]);
    Invariants::of(&coffre).destination(&disk).assert();
}

#[test]
fn every_failure_answers_one_document_and_its_status() {
    let (coffre, db) = protected();
    coffre.ok(["key", "create", "main"]);
    let code = text(&back_up(&coffre, "shop"), "code").to_owned();
    let code = code.as_str();
    let exists = coffre.work("exists");
    std::fs::write(&exists, "mine").unwrap();
    let (exists, taken) = (exists.display().to_string(), address(&db));
    let nowhere = address(&coffre.work("no/such/folder.db"));
    let fails: Vec<(i32, &str, Vec<&str>)> = vec![
        (2, "USAGE", vec![]),
        (2, "USAGE", vec!["frobnicate"]),
        (2, "USAGE", vec!["source"]),
        (2, "USAGE", vec!["source", "add"]),
        (2, "USAGE", vec!["backup"]),
        (2, "USAGE", vec!["backup", "--source", "shop", "--compression", "lzma"]),
        (2, "USAGE", vec!["backup", "--source", "shop", "--compression", "zstd:99"]),
        (2, "USAGE", vec!["backup", "--source", "shop", "--compression", "gzip:0"]),
        (2, "USAGE", vec!["backup", "--source", "shop", "--plan", "p"]),
        (2, "USAGE", vec!["list", "--page", "0"]),
        (2, "USAGE", vec!["list", "--state", "green"]),
        (2, "USAGE", vec!["show", "latest"]),
        (2, "USAGE", vec!["verify"]),
        (2, "USAGE", vec!["restore", code]),
        (2, "USAGE", vec!["restore", "--file", "/no/such/file", "--into", &nowhere]),
        (2, "USAGE", vec!["source", "add", "nonsense", "--name", "n"]),
        (2, "USAGE", vec!["source", "add", "oracle://host/db", "--name", "n"]),
        (2, "USAGE", vec!["source", "add", "sqlite://relative.db", "--name", "n"]),
        (2, "USAGE", vec!["source", "add", &taken, "--name", ""]),
        (2, "USAGE", vec!["settings", "set", "stall_seconds", "soon"]),
        (2, "USAGE", vec!["settings", "get", "no_such_setting"]),
        (2, "USAGE", vec!["settings", "set", "language", "de"]),
        (2, "USAGE", vec!["--lang", "de", "list"]),
        (1, "NOT_FOUND", vec!["show", "BKP-20200101000000-AAAA"]),
        (1, "NOT_FOUND", vec!["show", "nothing at all"]),
        (1, "NOT_FOUND", vec!["verify", "../../etc/passwd"]),
        (1, "NOT_FOUND", vec!["show", "latest", "--source", "nobody"]),
        (1, "NOT_FOUND", vec!["backup", "--source", "nobody"]),
        (1, "NOT_FOUND", vec!["backup", "--plan", "nobody"]),
        (1, "NOT_FOUND", vec!["backup", "--source", "shop", "--to", "nowhere"]),
        (1, "NOT_FOUND", vec!["backup", "--source", "shop", "--encrypt", "nokey"]),
        (1, "NOT_FOUND", vec!["verify", code, "--copy", "nowhere"]),
        (1, "NOT_FOUND", vec!["list", "--source", "nobody"]),
        (1, "NOT_FOUND", vec!["source", "remove", "nobody"]),
        (1, "NOT_FOUND", vec!["catalogue", "rebuild", "--from", "nowhere"]),
        (4, "REFUSED", vec!["restore", code, "--replace"]),
        (4, "REFUSED", vec!["restore", code, "--into", &taken]),
        (4, "REFUSED", vec!["delete", code]),
        (4, "REFUSED", vec!["delete", code, "--yes"]),
        (4, "REFUSED", vec!["download", code, "--to", &exists]),
        (4, "REFUSED", vec!["recovery-sheet", "--to", &exists]),
        (4, "REFUSED", vec!["key", "export", "main", "--to", &exists]),
        (4, "REFUSED", vec!["source", "add", &taken, "--name", "s", "--attach", "/etc"]),
        (1, "UNREACHABLE", vec!["restore", code, "--into", &nowhere]),
    ];
    for (status, expected, line) in &fails {
        let document = document(&coffre, line, *status);
        assert_eq!(text(&document["error"], "code"), *expected, "{line:?}: {document:#}");
        // The same as text: on standard error alone, with its code.
        let outcome = coffre.run(line);
        assert_eq!(outcome.status, Some(*status), "{outcome}");
        assert!(
            outcome.stdout.is_empty() || line.contains(&"restore"),
            "an error is no answer: {outcome}"
        );
        assert!(outcome.stderr.contains(&format!("[{expected}]")), "{outcome}");
    }
    assert_eq!(std::fs::read_to_string(&exists).unwrap(), "mine");
    // A source whose file is gone or is no database.
    std::fs::rename(&db, coffre.work("moved.db")).unwrap();
    let gone = document(&coffre, &["backup", "--source", "shop"], 1);
    assert_eq!(text(&gone["backup"], "state"), "failed", "{gone:#}");
    std::fs::write(&db, "no database").unwrap();
    let wrong = document(&coffre, &["backup", "--source", "shop"], 1);
    assert_eq!(text(&wrong["backup"], "state"), "failed", "{wrong:#}");
    std::fs::write(&db, "").unwrap();
    let empty = document(&coffre, &["backup", "--source", "shop"], 1);
    assert_eq!(text(&empty["error"], "code"), "DUMP_EMPTY", "{empty:#}");
    // Every failed run has one line in the journal.
    let journal = coffre.json(["journal", "--limit", "1000"]);
    let of = |id: &Value| {
        journal["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["subject_id"] == *id && e["action"] == "backup.run")
            .count()
    };
    for failed in coffre.json(["list", "--state", "failed", "--per-page", "1000"])["backups"]
        .as_array()
        .unwrap()
    {
        assert_eq!(of(&failed["id"]), 1, "I9: {failed:#}");
    }
    coffre.ok(["verify", code]);
    Invariants::of(&coffre).assert();
}

/// A password that somebody wrote where a name belongs stands in no answer and in no log.
#[test]
fn an_address_with_a_password_is_never_repeated() {
    let (coffre, _) = protected();
    for address in [
        "postgres://joe:s3kr!t@127.0.0.1:1/db",
        "postgres://joe:s3kr!t/?#@h/db",
        "postgres://joe@h/db?password=s3kr!t",
        "postgres://joe:s3kr!t",
    ] {
        for line in [
            vec!["source", "test", address],
            vec!["source", "add", "--name", "x", address],
            vec!["source", "add", address, address, "--name", "x"],
            vec!["list", "--source", address],
            vec!["restore", address, "--dry-run"],
            vec!["restore", "latest", "--source", address, "--replace"],
            vec!["restore", "latest", "--source", "shop", "--into", address],
            vec!["destination", "add", address, "--name", "x"],
            vec!["undo", address],
            vec![address],
        ] {
            for json in [true, false] {
                let mut line = line.clone();
                if json {
                    line.insert(0, "--json");
                }
                let outcome = coffre.run(&line);
                assert_ne!(outcome.status, Some(0), "{outcome}");
                assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains("s3kr"), "{outcome}");
            }
        }
    }
    Invariants::of(&coffre).secret("s3kr!t").assert();
}

/// A disk that is full where the answer goes: a script must not take nothing for an answer.
#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let (mut coffre, _) = protected();
    coffre.under(["sh", "-c", "exec \"$@\" >/dev/full", "sh"].map(Into::into).to_vec());
    for line in [vec!["--json", "source", "list"], vec!["source", "list"]] {
        let outcome = coffre.run(&line);
        assert_eq!(outcome.status, Some(1), "{outcome}");
        assert!(outcome.stderr.contains("standard output"), "{outcome}");
    }
    coffre.under(["sh", "-c", "\"$@\" | true", "sh"].map(Into::into).to_vec());
    assert_eq!(
        coffre.ok(["source", "list"]).stderr,
        "",
        "a reader that went away has what it wanted"
    );
}

#[test]
fn a_pipe_is_quiet_and_french_is_french() {
    let (mut coffre, _) = protected();
    let outcome = coffre.ok(["backup", "--source", "shop"]);
    assert!(outcome.stderr.is_empty(), "progress in a pipe: {outcome}");
    assert!(!outcome.stdout.contains(['\u{1b}', '\r']), "{outcome}");
    let english = coffre.ok(["list"]);
    let by_flag = coffre.ok(["--lang", "fr", "list"]);
    assert_ne!(english.stdout, by_flag.stdout);
    let failed = coffre.run(["show", "latest"]);
    let french = coffre.run(["--lang", "fr", "show", "latest"]);
    assert_ne!(failed.stderr, french.stderr, "{failed}\n{french}");
    for locale in ["fr_FR.UTF-8", "fr_CA", "fr"] {
        coffre.set("LC_ALL", locale);
        assert_eq!(coffre.ok(["list"]).stdout, by_flag.stdout, "{locale}");
        assert_eq!(coffre.ok(["--lang", "en", "list"]).stdout, english.stdout);
        let help = coffre.ok(["backup", "--help"]);
        assert!(
            help.stdout.contains("Sauvegarde") || help.stdout.contains("sauvegarde"),
            "{help}"
        );
        for heading in ["Usage:", "Commands:", "[default", "Print help"] {
            assert!(!help.stdout.contains(heading), "{heading}: {help}");
        }
        let usage = coffre.run(["backup", "--frobnicate"]);
        assert_eq!(usage.status, Some(2));
        for english in ["unexpected", "Usage:", "For more", "tip:"] {
            assert!(!usage.stderr.contains(english), "{english}: {usage}");
        }
    }
    coffre.set("LC_ALL", "de_DE.UTF-8");
    assert_eq!(coffre.ok(["list"]).stdout, english.stdout, "an unknown language is English");
    coffre.set("LC_ALL", "C.UTF-8");
    coffre.ok(["settings", "set", "language", "fr"]);
    assert_eq!(coffre.ok(["list"]).stdout, by_flag.stdout, "the setting");
    // JSON has the same keys in every language.
    let error = coffre.fails(["show", "nobody"], "NOT_FOUND", 1);
    assert!(
        error.json()["error"]["message"].as_str().unwrap().contains("sauvegarde"),
        "{error}"
    );
}

#[test]
fn lists_are_filtered_and_paged() {
    let (coffre, _) = protected();
    let other = coffre.work("other.db");
    crate::shop::small(&other);
    coffre.ok(["source", "add", &address(&other), "--name", "other"]);
    coffre.ok([
        "plan", "add", "--name", "hourly", "--source", "shop", "--to", "local", "--every", "hourly",
    ]);
    let mut codes: Vec<String> = (0..3).map(|_| text(&back_up(&coffre, "shop"), "code").to_owned()).collect();
    codes.push(text(&coffre.json(["backup", "--plan", "hourly"])["backup"], "code").to_owned());
    let of_other = text(&back_up(&coffre, "other"), "code").to_owned();
    std::fs::rename(&other, coffre.work("moved.db")).unwrap();
    assert_eq!(coffre.run(["backup", "--source", "other"]).status, Some(1));
    let total = |line: &[&str]| coffre.json([&["list"], line].concat())["total"].as_u64().unwrap();
    assert_eq!(total(&[]), 6);
    assert_eq!(total(&["--source", "shop"]), 4);
    assert_eq!(total(&["--plan", "hourly"]), 1);
    assert_eq!(total(&["--type", "hourly"]), 1);
    assert_eq!(total(&["--type", "manual", "--source", "shop"]), 3);
    assert_eq!((total(&["--state", "verified"]), total(&["--state", "failed"])), (5, 1));
    let mut paged = Vec::new();
    for page in ["1", "2", "3", "4"] {
        let found = coffre.json(["list", "--per-page", "2", "--page", page]);
        assert_eq!(
            (found["page"].as_u64(), found["per_page"].as_u64()),
            (page.parse().ok(), Some(2))
        );
        paged.extend(
            found["backups"]
                .as_array()
                .unwrap()
                .iter()
                .map(|b| text(b, "code").to_owned()),
        );
        assert_eq!(
            (found["stats"]["verified"].as_u64(), found["stats"]["failed"].as_u64()),
            (Some(5), Some(1))
        );
    }
    assert_eq!(paged.len(), 6);
    let newest_first: Vec<String> = crate::shop::backups(&coffre)
        .iter()
        .map(|b| text(b, "code").to_owned())
        .collect();
    assert_eq!(paged, newest_first);
    assert_eq!(
        coffre.json(["show", "latest", "--source", "other"])["backup"]["code"],
        of_other,
        "the latest that is green"
    );
    assert_eq!(
        coffre.json(["show", "latest", "--source", "shop"])["backup"]["code"],
        codes[3]
    );
    let stored: u64 = crate::shop::backups(&coffre)
        .iter()
        .flat_map(|b| b["copies"].as_array().unwrap().clone())
        .filter_map(|c| c["stored_bytes"].as_u64())
        .sum();
    assert_eq!(coffre.json(["list"])["stats"]["stored_bytes"].as_u64(), Some(stored));
}

#[test]
fn what_may_be_deleted() {
    let (coffre, _) = protected();
    let one = text(&back_up(&coffre, "shop"), "code").to_owned();
    coffre.fails(["delete", &one, "--yes"], "REFUSED", 4);
    let two = text(&coffre.json(["backup", "--source", "shop", "--pin"])["backup"], "code").to_owned();
    coffre.fails(["delete", &two, "--yes"], "REFUSED", 4);
    coffre.fails(["delete", &one], "REFUSED", 4);
    coffre.ok(["delete", &one, "--yes"]);
    coffre.fails(["delete", &one, "--yes"], "NOT_FOUND", 1);
    coffre.fails(["verify", &one], "REFUSED", 4);
    coffre.fails(["restore", &one, "--into", &address(&coffre.work("b.db"))], "REFUSED", 4);
    coffre.fails(["download", &one, "--to", coffre.work("f").to_str().unwrap()], "REFUSED", 4);
    coffre.ok(["unpin", &two]);
    coffre.fails(["delete", &two, "--yes"], "REFUSED", 4);
    // The row stays as a record.
    assert_eq!(coffre.json(["show", &one])["backup"]["state"], "deleted");
    // A bad copy does not count as another verified one.
    let three = back_up(&coffre, "shop");
    std::fs::write(artifact(&coffre, &three), "").unwrap();
    coffre.fails(["verify", text(&three, "code")], "VERIFY_MISMATCH", 3);
    coffre.fails(["delete", &two, "--yes"], "REFUSED", 4);
    coffre.ok(["delete", text(&three, "code"), "--yes"]);
    Invariants::of(&coffre).assert();
}

#[test]
fn settings_can_be_overridden() {
    let (mut coffre, _) = protected();
    coffre.ok(["settings", "set", "stall_seconds", "100"]);
    assert_eq!(coffre.json(["settings", "get", "stall_seconds"])["setting"]["value"], "100");
    coffre.set("COFFRE_STALL_SECONDS", "7");
    let setting = coffre.json(["settings", "get", "stall_seconds"])["setting"].clone();
    assert_eq!((text(&setting, "value"), text(&setting, "origin")), ("7", "environment"));
    coffre.set("COFFRE_STALL_SECONDS", "never");
    coffre.fails(["backup", "--source", "shop"], "USAGE", 2);
    coffre.unset("COFFRE_STALL_SECONDS");
    back_up(&coffre, "shop");
}

#[test]
fn an_older_home_without_anything_answers() {
    let coffre = Coffre::without_vault(program());
    for line in [
        vec!["list"],
        vec!["source", "list"],
        vec!["journal"],
        vec!["verify", "--all"],
        vec!["vault", "status"],
    ] {
        coffre.json(line);
    }
    coffre.fails(["key", "create", "k"], "SECRET_UNAVAILABLE", 6);
}

//! The sheet's commands are carried out by a shell with stock tools; what it says is checked for what must never be in it.
#![allow(
    clippy::disallowed_methods,
    reason = "stock tools are started to prove that the printed commands work"
)]

use std::path::Path;
use std::process::{Command, Output};

use coffre_model::backup::{BackupState, BackupType, Copy, CopyState, Kind, Tool, Trigger};
use coffre_model::compression::Compression;
use coffre_model::database::{DumpFormat, TableCount};
use coffre_model::manifest::{Manifest, Part, SCHEMA, Scope};
use coffre_model::{BackupCode, Code, Error};
use proptest::prelude::*;

use super::*;
use crate::keys;

const LOAD: &[&str] = &["sqlite3 <file> 'PRAGMA quick_check'", "sqlite3 <target> '.restore <file>'"];

fn now() -> DateTime<Utc> {
    "2026-11-05T10:00:00Z".parse().unwrap()
}

/// Answers every key with itself, and the facts that a text may have.
fn key_words(key: &str) -> String {
    format!("<{key}> {{time}} {{what}} {{file}} {{version}} {{cause}}")
}

fn words() -> Words<'static> {
    Words {
        language: "en",
        look_up: &key_words,
    }
}

fn load() -> Vec<String> {
    LOAD.iter().map(|line| (*line).to_owned()).collect()
}

fn manifest(compression: Compression, key: Option<&Key>) -> Manifest {
    let id = Id::new();
    let code = BackupCode::new(now(), &id);
    let encrypted = if key.is_some() { ".age" } else { "" };
    let artifact = format!(
        "shop-1234abcd_2026-11-05_10-00-00_{code}.db{}{encrypted}",
        compression.extension()
    );
    let destination_id = Id::new();
    let backup = Backup {
        id,
        code,
        source: "shop".into(),
        source_id: Id::new(),
        aim: None,
        plan: None,
        plan_id: None,
        trigger: Trigger::Manual,
        backup_type: BackupType::Manual,
        kind: Kind::Full,
        base_id: None,
        state: BackupState::Verified,
        started_at: now(),
        ended_at: Some(now()),
        duration_ms: Some(1200),
        raw_bytes: Some(1_234_567),
        stored_bytes: Some(999),
        sha256: Some("a".repeat(64)),
        raw_sha256: Some("b".repeat(64)),
        compression,
        encryption: key.map(|key| key.name.clone()),
        tables: Some(2),
        rows: Some(1_234_568),
        tool: Some(Tool {
            name: "sqlite".into(),
            path: None,
            version: "3.51.0".into(),
        }),
        server_version: Some("3.51.0".into()),
        flags: Vec::new(),
        error: None,
        note: String::new(),
        pinned: false,
        leaves_at: None,
        acknowledged_at: None,
        copies: vec![Copy {
            destination: "local".into(),
            destination_id,
            key: format!("shop-1234abcd/2026/{artifact}"),
            state: CopyState::Verified,
            stored_bytes: 999,
            sha256: Some("a".repeat(64)),
            verified_at: Some(now()),
            error: None,
        }],
    };
    Manifest {
        schema: SCHEMA,
        coffre_version: "0.1.0".into(),
        backup,
        artifact,
        database: "sqlite".into(),
        format: DumpFormat::Sqlite,
        scope: Scope::default(),
        table_counts: [("orders", 1_234_567), (r#""odd ""name'""#, 1)]
            .map(|(table, rows)| TableCount {
                table: table.into(),
                rows,
            })
            .to_vec(),
        parts: vec![Part {
            name: "database".into(),
            format: DumpFormat::Sqlite,
            raw_bytes: 1_234_567,
            raw_sha256: "b".repeat(64),
        }],
        remarks: Vec::new(),
        recipient: key.and_then(|key| key.recipient.clone()),
        recovery: Vec::new(),
    }
}

fn entry(manifest: Manifest, folder: &str) -> Entry {
    let address = format!("file://{}", percent(folder));
    Entry {
        backup: manifest.backup.clone(),
        places: vec![Place {
            destination_id: manifest.backup.copies[0].destination_id,
            address,
        }],
        manifest: Some(manifest),
        stock_load: load(),
    }
}

fn percent(path: &str) -> String {
    path.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b == b'/' {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

fn sheet(entries: Vec<Entry>, keys: Vec<SheetKey>) -> Sheet {
    Sheet {
        made_at: now(),
        coffre_version: "0.1.0".into(),
        entries,
        keys,
    }
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn hash(folder: &Path, file: &str) -> String {
    String::from_utf8(run(folder, "sha256sum", &[file]).stdout).unwrap()[..64].to_owned()
}

const COUNTS: &str = r#"select (select count(*) from orders) || ',' || (select count(*) from "odd ""name'")"#;

/// Makes a small database and its artifact with stock tools, below a folder whose name a shell could stumble over.
fn store(root: &Path, compression: Compression, key: Option<&Key>) -> (Manifest, String) {
    let mut manifest = manifest(compression, key);
    let folder = root.join(r#"back ups/it's "$(id)" $HOME `x` \ é; -rf"#);
    let under = folder.join("shop-1234abcd/2026");
    std::fs::create_dir_all(&under).unwrap();
    let sql = r#"create table orders(id integer primary key, text); create table "odd ""name'"(x);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 500) insert into orders select i, hex(i) from n;
        insert into "odd ""name'" values (1);"#;
    run(&under, "sqlite3", &["plain.db", sql]);
    manifest.backup.raw_sha256 = Some(hash(&under, "plain.db"));
    match compression {
        Compression::Zstd(_) => run(&under, "zstd", &["-q", "plain.db", "-o", "packed"]),
        Compression::Gzip(_) => run(&under, "sh", &["-c", "gzip -c plain.db > packed"]),
        Compression::None => run(&under, "cp", &["plain.db", "packed"]),
    };
    match key.and_then(|key| key.recipient.as_deref()) {
        Some(recipient) => run(&under, "age", &["-r", recipient, "-o", &manifest.artifact, "packed"]),
        None => run(&under, "cp", &["packed", &manifest.artifact]),
    };
    manifest.backup.sha256 = Some(hash(&under, &manifest.artifact));
    (manifest, folder.to_str().unwrap().to_owned())
}

const COMPRESSIONS: [Compression; 3] = [Compression::Zstd(3), Compression::Gzip(6), Compression::None];

#[test]
fn the_manifests_commands_work_as_one_sequence_in_an_empty_folder() {
    for compression in COMPRESSIONS {
        for key in [None, Some(keys::create("nightly", now()).unwrap())] {
            let root = tempfile::tempdir().unwrap();
            let (manifest, folder) = store(root.path(), compression, key.as_ref().map(|(key, _)| key));
            let place = root.path().join("empty");
            std::fs::create_dir(&place).unwrap();
            std::fs::copy(
                Path::new(&folder).join(&manifest.backup.copies[0].key),
                place.join(&manifest.artifact),
            )
            .unwrap();
            if let Some((key, secret)) = &key {
                let exported = keys::export(key, secret, now()).unwrap();
                std::fs::write(place.join("key.txt"), exported.expose()).unwrap();
            }
            let script = commands(&manifest, &load()).join("\n");
            run(&place, "sh", &["-e", "-c", &script]);
            assert_eq!(run(&place, "sqlite3", &["target", COUNTS]).stdout, b"500,1\n", "{script}");
        }
    }
}

/// What a reader would type: the indented lines below the steps, up to the query.
fn typed(text: &str) -> (String, String) {
    let steps = text.split_once("<sheet.steps>").expect("steps").1;
    let lines: Vec<&str> = steps.lines().filter_map(|line| line.strip_prefix("      ")).collect();
    let is_query = |line: &&str| line.starts_with("SELECT") || line.starts_with("UNION");
    let shell: Vec<&str> = lines.iter().copied().filter(|line| !is_query(line)).collect();
    let query: Vec<&str> = lines.iter().copied().filter(is_query).collect();
    (shell.join("\n"), query.join("\n"))
}

#[test]
fn the_printed_sheet_with_its_key_is_enough() {
    for compression in COMPRESSIONS {
        let (key, secret) = keys::create("nightly", now()).unwrap();
        let root = tempfile::tempdir().unwrap();
        let (manifest, folder) = store(root.path(), compression, Some(&key));
        let key = SheetKey {
            key,
            secret: Some(secret),
        };
        let printed = text(&sheet(vec![entry(manifest, &folder)], vec![key]), words());
        let place = root.path().join("empty");
        std::fs::create_dir(&place).unwrap();
        let (shell, query) = typed(&printed);
        run(&place, "sh", &["-e", "-c", &shell]);
        assert!(!place.join("key.txt").exists(), "removed by the last step");
        let counts = run(&place, "sqlite3", &["target", &query]).stdout;
        assert_eq!(String::from_utf8(counts).unwrap(), "orders|500\n\"odd \"\"name'\"|1\n");
    }
}

#[test]
fn a_damaged_artifact_stops_the_sequence() {
    let root = tempfile::tempdir().unwrap();
    let (manifest, folder) = store(root.path(), Compression::Zstd(3), None);
    let file = Path::new(&folder).join(&manifest.backup.copies[0].key);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let place = root.path().join("empty");
    std::fs::create_dir(&place).unwrap();
    let (shell, _) = typed(&text(&sheet(vec![entry(manifest, &folder)], Vec::new()), words()));
    let output = Command::new("sh")
        .args(["-e", "-c", &shell])
        .current_dir(&place)
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(!place.join("target").exists(), "nothing was loaded");
}

#[test]
fn the_steps_say_what_belongs_to_the_backup() {
    let pair = keys::create("pair", now()).unwrap().0;
    let passphrase = keys::from_passphrase("words", &Secret::new("twelve letters"), now())
        .unwrap()
        .0;
    let with_key = commands(&manifest(Compression::Zstd(3), Some(&pair)), &load());
    assert!(
        with_key[1].starts_with("age -d -i ./key.txt -o ./shop-1234abcd_"),
        "{with_key:?}"
    );
    assert!(
        with_key[2].starts_with("zstd -d ./shop-") && with_key[2].ends_with(".db"),
        "{with_key:?}"
    );
    let asks = commands(&manifest(Compression::Gzip(6), Some(&passphrase)), &load());
    assert!(asks[1].starts_with("age -d -o ./shop-"), "{asks:?}");
    assert!(
        asks[2].starts_with("gunzip -k ./shop-") && asks[2].ends_with(".db.gz"),
        "{asks:?}"
    );
    let plain = commands(&manifest(Compression::None, None), &load());
    assert_eq!(plain.len(), 1 + LOAD.len(), "one check is enough for one file: {plain:?}");
    assert!(plain[0].starts_with(&format!("echo \"{}  ./shop-", "a".repeat(64))));
}

#[test]
fn no_commands_are_made_of_names_that_are_not_ours() {
    for artifact in [
        "",
        "../etc/passwd.db.zst",
        "a b.db.zst",
        "$(id).db.zst",
        "x.db.zst; rm -rf",
        "x.db\n.zst",
        "x.db.gz",
        ".zst",
        "..zst",
        "x.db.zst.age",
    ] {
        let mut manifest = manifest(Compression::Zstd(3), None);
        manifest.artifact = artifact.into();
        assert!(commands(&manifest, &load()).is_empty(), "{artifact}");
        let printed = text(&sheet(vec![entry(manifest, "/b")], Vec::new()), words());
        assert!(printed.contains("<sheet.no_steps>"), "{printed}");
    }
    let mut manifest = manifest(Compression::Zstd(3), None);
    manifest.backup.sha256 = Some("\"; id; \"".into());
    assert!(!commands(&manifest, &load()).join("\n").contains("id;"));
}

#[test]
fn private_keys_are_printed_only_when_asked() {
    let (key, secret) = keys::create("nightly", now()).unwrap();
    let manifest = manifest(Compression::Zstd(3), Some(&key));
    let recipient = key.recipient.clone().unwrap();
    let without = sheet(
        vec![entry(manifest, "/b")],
        vec![SheetKey {
            key: key.clone(),
            secret: None,
        }],
    );
    for printed in [text(&without, words()), html(&without, words())] {
        assert!(printed.contains(&recipient));
        assert!(!printed.contains("AGE-SECRET-KEY-1"));
        let words = printed.replace("<span>", "").replace("</span>", "");
        assert!(words.contains("coffre key export nightly"));
        assert!(printed.contains("sheet.key_place") && !printed.contains("sheet.secret_title"));
    }
    let with = Sheet {
        keys: vec![SheetKey {
            key,
            secret: Some(secret.clone()),
        }],
        ..without
    };
    for printed in [text(&with, words()), html(&with, words())] {
        assert_eq!(
            printed.matches(secret.expose()).count(),
            2,
            "beside the key, and in the step that saves it"
        );
        assert!(printed.contains("sheet.secret_title"));
    }
}

#[test]
fn a_key_is_found_by_its_public_half_and_never_confused() {
    let (used, _) = keys::create("nightly", now()).unwrap();
    let (namesake, other) = keys::create("nightly", now()).unwrap();
    let sheet = sheet(
        vec![entry(manifest(Compression::None, Some(&used)), "/b")],
        vec![SheetKey {
            key: namesake,
            secret: Some(other.clone()),
        }],
    );
    let printed = text(&sheet, words());
    assert!(printed.contains("<sheet.key_unknown>"));
    assert!(!printed.contains(other.expose()));
}

#[test]
fn backups_that_cannot_be_restored_say_so() {
    let failed = |change: &dyn Fn(&mut Entry)| {
        let mut entry = entry(manifest(Compression::Zstd(3), None), "/b");
        change(&mut entry);
        text(&sheet(vec![entry], Vec::new()), words())
    };
    let printed = failed(&|entry| {
        entry.manifest = None;
        entry.backup.copies.clear();
        entry.backup.state = BackupState::Failed;
        entry.backup.error = Some(Error::new(Code::DumpFailed, "dump_failed").with("cause", "<b>\u{1b}[31m"));
    });
    assert!(
        printed.contains("<errors.dump_failed.message>") && printed.contains("<b>\\u{1b}[31m"),
        "{printed}"
    );
    assert!(
        printed.contains("(DUMP_FAILED)") && printed.contains("<sheet.no_manifest>") && printed.contains("<sheet.copies_none>")
    );
    for state in [
        CopyState::Missing,
        CopyState::Corrupt,
        CopyState::Deleting,
        CopyState::Deleted,
    ] {
        let printed = failed(&|entry| entry.backup.copies[0].state = state);
        assert!(
            printed.contains("<sheet.no_copy>") && !printed.contains("sha256sum"),
            "{printed}"
        );
    }
    let printed = failed(&|entry| entry.backup.state = BackupState::Stored);
    assert!(
        printed.contains("!!! <sheet.backup_state.stored>") && printed.contains("zstd -d"),
        "{printed}"
    );
    assert!(text(&sheet(Vec::new(), Vec::new()), words()).contains("<sheet.nothing>"));
}

#[test]
fn places_that_are_not_folders_are_named_but_not_fetched() {
    let mut entry = entry(manifest(Compression::Zstd(3), None), "/b");
    entry.places[0].address = "s3://bucket/prefix?endpoint=https%3A%2F%2Fs3.example".into();
    let printed = text(&sheet(vec![entry], Vec::new()), words());
    assert!(
        printed.contains("s3://bucket/prefix") && !printed.contains("\n      cp "),
        "{printed}"
    );
}

/// The parts of a page between its tags, which must hold nothing that a browser would take for one.
fn assert_inert(page: &str) {
    let allowed = [
        "!DOCTYPE", "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "h3", "h4", "p", "dl", "dt",
        "dd", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "div", "strong", "span", "pre", "section", "footer",
        "bdi", "code",
    ];
    for tag in page.split('<').skip(1) {
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '!')
            .collect();
        assert!(allowed.contains(&name.as_str()), "<{tag}");
        let inside = tag.split('>').next().unwrap();
        assert!(
            !inside.contains(" on") && !inside.contains("href") && !inside.contains(" src"),
            "<{inside}>"
        );
    }
    for word in ["@import", "url(", "http://", "https://", "javascript:"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn hostile_names_stay_text() {
    let nasty = "<script>alert(1)</script>\"'&</style>\u{202e}\u{1b}[2J\n}*{background:url(x)}";
    let (mut key, _) = keys::create("k", now()).unwrap();
    key.name = nasty.into();
    let mut manifest = manifest(Compression::Zstd(3), Some(&key));
    manifest.backup.source = nasty.into();
    manifest.backup.note = nasty.into();
    manifest.backup.copies[0].destination = nasty.into();
    manifest.backup.copies[0].key = nasty.into();
    manifest.backup.server_version = Some(nasty.into());
    manifest.coffre_version = nasty.into();
    manifest.scope.excluded_tables = vec![nasty.into()];
    manifest.table_counts.push(TableCount {
        table: nasty.into(),
        rows: 1,
    });
    let entries = vec![entry(manifest.clone(), nasty), entry(manifest, "/b")];
    let sheet = sheet(entries, vec![SheetKey { key, secret: None }]);
    let plain_words = |key: &str| key.to_owned();
    let words = Words {
        language: "fr",
        look_up: &plain_words,
    };
    let page = html(&sheet, words);
    // The style is ours; what is escaped in the text may well speak of url().
    let (head, rest) = page.split_once("<style>").unwrap();
    let (style, body) = rest.split_once("</style>").unwrap();
    assert_inert(&format!("{head}<style>{style}</style>"));
    assert_inert(&body.replace("url(x)", ""));
    let printed = text(&sheet, words);
    for (what, drawn) in [("page", &page), ("text", &printed)] {
        assert!(!drawn.contains(['\u{202e}', '\u{1b}']), "{what}");
        assert!(!drawn.contains("\n}*{"), "{what}");
    }
    assert!(!printed.contains("count(*) FROM <script>"));
}

#[test]
fn numbers_are_written_as_the_language_does() {
    let sheet = sheet(vec![entry(manifest(Compression::None, None), "/b")], Vec::new());
    let units = |key: &str| {
        if key == "sheet.units" {
            "B KB MB GB".into()
        } else {
            key.to_owned()
        }
    };
    let draw = |language| {
        text(
            &sheet,
            Words {
                language,
                look_up: &units,
            },
        )
    };
    assert!(draw("en").contains("1.2\u{a0}MB (1,234,567\u{a0}B)"));
    assert!(draw("fr").contains("1,2\u{a0}MB (1\u{202f}234\u{202f}567\u{a0}B)"));
    assert!(draw("en").contains("  999\u{a0}B\n"));
}

#[test]
fn many_tables_are_listed_without_a_query() {
    let mut manifest = manifest(Compression::None, None);
    manifest.table_counts = (0..200)
        .map(|i| TableCount {
            table: format!("t{i}"),
            rows: i,
        })
        .collect();
    let printed = text(&sheet(vec![entry(manifest, "/b")], Vec::new()), words());
    assert!(printed.contains("t199") && printed.contains("<sheet.step.compare_list>") && !printed.contains("UNION"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A shell gives back every word as it was.
    #[test]
    fn quoting_is_exact(list in proptest::collection::vec("([^\\x00]{0,12}|['\"\\\\$`!*~#&;|<>() \n-]{0,8})", 1..12)) {
        let quoted: Vec<String> = list.iter().map(|word| shell_quote(word)).collect();
        let script = format!("printf '%s\\0' {}", quoted.join(" "));
        let output = Command::new("sh").args(["-e", "-c", &script]).output().unwrap();
        prop_assert!(output.status.success(), "{}", script);
        let back: Vec<&[u8]> = output.stdout.strip_suffix(b"\0").unwrap().split(|b| *b == 0).collect();
        let list: Vec<&[u8]> = list.iter().map(|word| word.as_bytes()).collect();
        prop_assert_eq!(back, list);
    }

    #[test]
    fn whatever_the_names_the_page_is_inert(name in any::<String>(), folder in "/[^\\x00]{0,20}", table in any::<String>()) {
        let mut manifest = manifest(Compression::Gzip(6), None);
        manifest.backup.source = name.clone();
        manifest.backup.note = name;
        manifest.table_counts.push(TableCount { table, rows: 3 });
        let sheet = sheet(vec![entry(manifest, &folder)], Vec::new());
        let plain_words = |key: &str| key.to_owned();
        let page = html(&sheet, Words { language: "en", look_up: &plain_words });
        let body = page.split_once("</style>").unwrap().1;
        // The words that a browser acts on could be anywhere in a name; as text they do nothing.
        for tag in body.split('<').skip(1) {
            let name: String = tag.trim_start_matches('/').chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
            prop_assert!(!["script", "img", "a", "iframe", "link"].contains(&name.as_str()), "<{}", tag);
        }
        let words = Words { language: "fr", look_up: &plain_words };
        prop_assert!(text(&sheet, words).len() > 500);
    }
}

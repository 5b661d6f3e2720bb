//! The contract of what leaves Coffre as a file: downloads and recovery sheets.

use std::path::Path;

use coffre_testkit::run;

use crate::shop::{artifact, back_up, content, protected, sqlite, text};

#[test]
fn downloads_are_whole_or_not_there() {
    let (coffre, db) = protected();
    coffre.ok(["key", "create", "main"]);
    let backup = coffre.json(["backup", "--source", "shop", "--encrypt", "main"])["backup"].clone();
    let code = text(&backup, "code");
    let stored = coffre.work("stored.age");
    coffre.ok(["download", code, "--to", stored.to_str().unwrap()]);
    assert_eq!(
        std::fs::read(&stored).unwrap(),
        std::fs::read(artifact(&coffre, &backup)).unwrap()
    );
    let raw = coffre.work("raw.db");
    let answer = coffre.json(["download", code, "--raw", "--to", raw.to_str().unwrap()]);
    assert_eq!(answer["download"]["bytes"], backup["raw_bytes"]);
    assert_eq!(content(&raw), content(&db));
    for path in [&stored, &raw] {
        let before = std::fs::read(path).unwrap();
        coffre.fails(["download", code, "--to", path.to_str().unwrap()], "REFUSED", 4);
        assert_eq!(std::fs::read(path).unwrap(), before);
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777,
            0o600
        );
    }
    // A bad copy leaves no file behind.
    let path = artifact(&coffre, &backup);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    for raw in [false, true] {
        let to = coffre.work("bad");
        let mut line = vec!["download", code, "--to", to.to_str().unwrap()];
        line.extend(raw.then_some("--raw"));
        coffre.fails(line, "VERIFY_MISMATCH", 3);
        assert!(!to.exists());
    }
    std::fs::write(&path, &whole).unwrap();
    coffre.ok(["verify", code]);
    let left: Vec<_> = crate::shop::files(coffre.work("").as_path())
        .into_iter()
        .filter(|f| f.contains("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What a person reads on a page.
fn without_tags(page: &str) -> String {
    let mut text = String::new();
    for piece in page.split('<') {
        text.push_str(piece.split_once('>').map_or(piece, |(_, after)| after));
    }
    for (entity, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")] {
        text = text.replace(entity, character);
    }
    text
}

/// Carries the stock commands of a sheet out, in a folder with the downloaded artifact.
fn follow(folder: &Path, commands: &[String]) {
    let script = format!("cd '{}' && set -e\n{}", folder.display(), commands.join("\n"));
    let done = run("sh", ["-ec", &script]);
    assert!(done.ok(), "{script}\n{done:?}");
}

#[test]
fn recovery_sheets_in_both_languages() {
    let (coffre, db) = protected();
    let backup = back_up(&coffre, "shop");
    let code = text(&backup, "code");
    let recovery: Vec<String> = coffre.json(["show", code])["manifest"]["recovery"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap().to_owned())
        .collect();
    let mut sheets = Vec::new();
    for language in ["en", "fr"] {
        for extension in ["txt", "html"] {
            let path = coffre.work(&format!("sheet-{language}.{extension}"));
            coffre.ok(["--lang", language, "recovery-sheet", code, "--to", path.to_str().unwrap()]);
            let sheet = std::fs::read_to_string(&path).unwrap();
            assert!(sheet.contains(code) && sheet.contains(text(&backup, "sha256")), "{sheet}");
            let words = if extension == "html" {
                without_tags(&sheet)
            } else {
                sheet.clone()
            };
            for line in &recovery {
                assert!(words.contains(line), "{line}\n{words}");
            }
            assert!(!sheet.contains("sheet."), "a word is missing: {}", path.display());
            sheets.push(sheet);
        }
    }
    assert_ne!(sheets[0], sheets[2]);
    let folder = coffre.work("elsewhere");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(
        artifact(&coffre, &backup),
        folder.join(artifact(&coffre, &backup).file_name().unwrap()),
    )
    .unwrap();
    follow(&folder, &recovery);
    let made: Vec<_> = crate::shop::files(&folder);
    assert!(
        made.iter()
            .any(|f| run("sqlite3", [folder.join(f).to_str().unwrap(), "PRAGMA quick_check"])
                .stdout
                .trim()
                == "ok"
                && sqlite(&folder.join(f), "SELECT count(*) FROM customers") == sqlite(&db, "SELECT count(*) FROM customers")),
        "{made:?}"
    );
}

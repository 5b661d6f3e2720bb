//! The journal is searched by what, whom, which source and when, and taken away without becoming a formula.

use coffre_testkit::coffre::Coffre;
use serde_json::{Value, json};

use crate::program;
use crate::shop::{address, text};

fn entries(coffre: &Coffre, more: &[&str]) -> Vec<Value> {
    let mut line = vec!["journal"];
    line.extend(more);
    coffre.json(line)["entries"].as_array().unwrap().clone()
}

#[test]
fn what_happened_is_found_and_written_out() {
    let coffre = Coffre::new(program());
    let db = coffre.work("shop.db");
    crate::shop::small(&db);
    coffre.ok(["source", "add", &address(&db), "--name", "shop"]);
    coffre.ok([
        "source",
        "add",
        &address(&coffre.work("x.db")),
        "--name",
        "=cmd|' /C calc'!A0",
    ]);
    let disk = coffre.destination_folder("disk");
    coffre.ok(["destination", "add", &format!("file://{}", disk.display()), "--name", "disk"]);
    coffre.ok([
        "plan", "add", "--name", "nightly", "--source", "shop", "--to", "disk", "--every", "daily",
    ]);
    let code = text(&coffre.json(["backup", "--plan", "nightly"])["backup"], "code").to_owned();
    coffre.ok(["pin", &code]);

    let whole = entries(&coffre, &[]).len();
    assert!(whole >= 6, "{whole}");
    assert_eq!(entries(&coffre, &["--limit", "2"]).len(), 2);
    assert_eq!(entries(&coffre, &["--action", "backup"]).len(), 2);
    assert_eq!(entries(&coffre, &["--action", "backup.pin"])[0]["subject"], code.as_str());
    assert_eq!(entries(&coffre, &["--author", "schedule"]), Vec::<Value>::new());
    assert_eq!(
        entries(&coffre, &["--source", "shop"]).len(),
        4,
        "itself, its plan, its backup, its pin"
    );
    // Also in the words of the language.
    assert_eq!(entries(&coffre, &["--search", "épinglée", "--lang", "fr"]).len(), 1);
    assert_eq!(entries(&coffre, &["--since", "2100-01-01"]), Vec::<Value>::new());
    assert_eq!(
        entries(&coffre, &["--since", "2020-01-01", "--until", "2099-12-31"]).len(),
        whole
    );
    coffre.fails(["journal", "--since", "yesterday"], "USAGE", 2);
    coffre.fails(["journal", "--author", "nobody"], "USAGE", 2);
    coffre.fails(["journal", "--format", "csv"], "USAGE", 2);
    coffre.fails(["journal", "--source", "nothing"], "NOT_FOUND", 1);

    let csv = coffre.work("journal.csv");
    let csv_name = csv.to_str().unwrap();
    let told = coffre.json(["journal", "--export", csv_name, "--action", "source"]);
    assert_eq!(told, json!({"export": {"path": csv_name, "format": "csv", "entries": 2}}));
    let written = std::fs::read_to_string(&csv).unwrap();
    let lines: Vec<&str> = written.trim_end().split("\r\n").collect();
    assert!(lines[0].starts_with("id,at,author,actor,action,"), "{written}");
    assert!(
        lines[1].contains(",'=cmd|' /C calc'!A0,ok,,"),
        "newest first, and no formula: {written}"
    );
    assert_eq!(lines.len(), 3);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&csv).unwrap().permissions().mode() & 0o777, 0o600);
    }
    coffre.fails(["journal", "--export", csv_name], "REFUSED", 4);
    assert_eq!(std::fs::read_to_string(&csv).unwrap(), written, "what was there stays");
    let path = coffre.work("journal.json");
    coffre.ok(["journal", "--export", path.to_str().unwrap()]);
    let all: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let all = all["entries"].as_array().unwrap();
    assert_eq!((all.len(), &all[0]["action"]), (whole + 1, &json!("journal.export")));
    // The second export is a line too, written after the file.
    assert_eq!(all[..], entries(&coffre, &[])[1..]);
    coffre.fails(["journal", "--export", "/nowhere/at/all.csv"], "USAGE", 2);
}

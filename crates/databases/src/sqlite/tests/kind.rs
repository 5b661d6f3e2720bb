//! What a source of this kind may say.

use std::path::Path;

use coffre_model::Code;
use coffre_model::database::{DatabaseKind, DumpFormat};
use coffre_model::source::{Source, SourceOptions, Tls};

use super::common::{Ground, source};
use crate::sqlite::Sqlite;

#[test]
fn options_without_meaning_are_refused_by_name() {
    let with = |change: fn(&mut SourceOptions)| -> Source {
        let mut source = source(Path::new("/data/shop.db"));
        change(&mut source.options);
        source
    };
    for (option, source) in [
        ("format", with(|o| o.format = Some("plain".to_owned()))),
        ("tls", with(|o| o.tls = Some(Tls::Require))),
        ("tool-path", with(|o| o.tool_path = Some("/x".to_owned()))),
        ("include", with(|o| o.include = vec!["a*".to_owned()])),
        ("exclude", with(|o| o.exclude = vec!["a*".to_owned()])),
        ("no-owner", with(|o| o.no_owner = true)),
        ("no-privileges", with(|o| o.no_privileges = true)),
        ("no-large-objects", with(|o| o.no_large_objects = true)),
    ] {
        let error = Sqlite.validate(&source).unwrap_err();
        assert_eq!((error.code(), error.text()), (Code::Usage, "sqlite_option"));
        assert_eq!(error.detail("option").as_deref(), Some(option));
    }
    let mut secret = source(Path::new("/data/shop.db"));
    secret.has_secret = true;
    assert_eq!(Sqlite.validate(&secret).unwrap_err().text(), "sqlite_password");
}

#[test]
fn addresses() {
    let of = |address: &str| Source {
        address: address.to_owned(),
        ..source(Path::new("/x"))
    };
    for (address, text) in [
        ("sqlite:///data/", "sqlite_path_folder"),
        ("sqlite:///data/.", "sqlite_path_folder"),
        ("sqlite:///data/..", "sqlite_path_folder"),
        ("sqlite:///data/x.db?mode=ro", "sqlite_address_parts"),
        ("sqlite://:80/data/x.db", "sqlite_address_parts"),
        ("file:///data/x.db", "sqlite_scheme"),
    ] {
        let error = Sqlite.validate(&of(address)).unwrap_err();
        assert_eq!((error.code(), error.text()), (Code::Usage, text), "{address}");
    }
    let long = format!("sqlite:///{}", "d/".repeat(300) + "x");
    assert_eq!(Sqlite.validate(&of(&long)).unwrap_err().text(), "sqlite_path_long");
    Sqlite.validate(&of("sqlite:///data/file%3Aevil%3Fmode%3Dmemory")).unwrap();
}

#[test]
fn what_it_says_about_itself() {
    assert_eq!((Sqlite.name(), Sqlite.schemes()), ("sqlite", ["sqlite"].as_slice()));
    assert_eq!(Sqlite.fields().len(), 1);
    assert!(!Sqlite.capability().needs_tools && Sqlite.capability().consistent_counts);
    assert_eq!(Sqlite.formats(), [DumpFormat::Sqlite]);
    assert!(
        Sqlite
            .stock_load(DumpFormat::Sqlite)
            .iter()
            .all(|line| line.contains("<target>"))
    );
    let ground = Ground::new();
    let mut database = ground.open(&ground.file("new.db"));
    database.prepare_target().unwrap();
    assert_eq!(database.load(DumpFormat::Sql).err().unwrap().code(), Code::Usage);
}

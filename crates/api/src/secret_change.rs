//! A secret and the row that it belongs to: both change, or neither.

use coffre_engine::context::Engine;
use coffre_engine::secrets::SecretStore;
use coffre_model::{Result, Secret};

/// Keeps a new secret under `name` (an empty one forgets it; nothing leaves it as it is) and writes the row. The store and the catalogue
/// have no common transaction: where the row cannot be written, the secret is taken back. Only a crash between the two can part them.
///
/// # Errors
/// `SECRET_UNAVAILABLE`, and then nothing has changed; what the row says, with `secret_not_taken_back` where that failed too.
pub(crate) fn with_row(
    engine: &Engine,
    name: &str,
    change: Option<&Secret>,
    write_row: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let Some(secret) = change else { return write_row() };
    let store = engine.secrets.store()?;
    // One that cannot be read cannot be brought back; but that may be the very reason why somebody sets a new one.
    let before = store.get(name).ok().flatten();
    put(store, name, Some(secret).filter(|secret| !secret.is_empty()))?;
    write_row().map_err(|error| match put(store, name, before.as_ref()) {
        Ok(()) => error,
        Err(also) => error.with("secret_not_taken_back", also.to_string()),
    })
}

fn put(store: &dyn SecretStore, name: &str, secret: Option<&Secret>) -> Result<()> {
    match secret {
        Some(secret) => store.set(name, secret),
        None => store.remove(name).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use coffre_engine::context::Secrets;
    use coffre_engine::secrets::{Status, source_secret};
    use coffre_model::journal::Author;
    use coffre_model::source::{Source, SourceOptions};
    use coffre_model::{Code, Error};

    use super::*;
    use crate::sources::Change;
    use crate::{Coffre, Opening};

    /// A store in memory.
    #[derive(Default)]
    struct Memory(Mutex<BTreeMap<String, String>>);

    impl SecretStore for Memory {
        fn get(&self, name: &str) -> Result<Option<Secret>> {
            Ok(self.0.lock().unwrap().get(name).map(|text| Secret::new(text.clone())))
        }
        fn set(&self, name: &str, secret: &Secret) -> Result<()> {
            let kept = secret.expose().to_owned();
            // Like a keychain that is locked in between.
            if kept == "refused" {
                return Err(Error::new(Code::SecretUnavailable, "keychain_locked"));
            }
            self.0.lock().unwrap().insert(name.to_owned(), kept);
            Ok(())
        }
        fn remove(&self, name: &str) -> Result<bool> {
            Ok(self.0.lock().unwrap().remove(name).is_some())
        }
        fn kind(&self) -> &'static str {
            "vault"
        }
        fn status(&self) -> Status {
            Status {
                kind: "vault",
                path: None,
                exists: true,
                unlocked: true,
                entries: None,
                error: None,
            }
        }
    }

    impl Secrets for Memory {
        fn store(&self) -> Result<&dyn SecretStore> {
            Ok(self)
        }
    }

    struct Desk {
        home: tempfile::TempDir,
        coffre: Coffre,
    }

    impl Desk {
        fn new() -> Desk {
            let home = tempfile::tempdir().unwrap();
            let opening = Opening {
                home: home.path().to_owned(),
                author: Author::Cli,
                actor: None,
            };
            let mut coffre = Coffre::open(opening).unwrap();
            coffre.engine.secrets = Box::new(Memory::default());
            Desk { home, coffre }
        }

        fn add(&self, name: &str, password: Option<&str>) -> Source {
            let options = SourceOptions::default();
            let password = password.map(Secret::new);
            self.coffre
                .add_source("postgres://joe@h:5433/shop", name, options, password)
                .unwrap()
        }

        /// The row says so, and this is kept.
        fn holds(&self, source: &Source) -> (bool, Option<String>) {
            let row = self.coffre.source(&source.id.to_string()).unwrap();
            let store = self.coffre.engine.secrets.store().unwrap();
            let kept = store.get(&source_secret(&source.id)).unwrap();
            (row.has_secret, kept.map(|kept| kept.expose().to_owned()))
        }

        /// From here on the catalogue cannot change a source.
        fn break_rows(&self) {
            let raw = rusqlite::Connection::open(self.home.path().join("catalogue.db")).unwrap();
            raw.execute_batch("CREATE TRIGGER broken BEFORE UPDATE ON sources BEGIN SELECT RAISE(ABORT, 'broken'); END")
                .unwrap();
        }
    }

    fn to(password: &str) -> Change {
        Change {
            password: Some(Secret::new(password)),
            ..Change::default()
        }
    }

    #[test]
    fn a_row_that_cannot_be_written_leaves_the_secret_as_it_was() {
        let desk = Desk::new();
        let (with, without) = (desk.add("with", Some("old")), desk.add("without", None));
        // The name is another's: refused by the catalogue, after the secret was kept.
        let change = Change {
            name: Some("without".into()),
            ..to("new")
        };
        assert_eq!(desk.coffre.edit_source(&with, change).unwrap_err().text(), "name_taken");
        assert_eq!(desk.holds(&with), (true, Some("old".into())));
        desk.break_rows();
        for password in ["new", ""] {
            assert!(desk.coffre.edit_source(&with, to(password)).is_err());
            assert_eq!(desk.holds(&with), (true, Some("old".into())), "{password}");
            assert!(desk.coffre.edit_source(&without, to(password)).is_err());
            assert_eq!(desk.holds(&without), (false, None), "{password}");
        }
    }

    #[test]
    fn a_secret_that_cannot_be_kept_leaves_the_row_as_it_was() {
        let desk = Desk::new();
        let source = desk.add("shop", Some("old"));
        let change = Change {
            address: Some("postgres://joe@other/shop".into()),
            ..to("refused")
        };
        let error = desk.coffre.edit_source(&source, change).unwrap_err();
        assert_eq!(error.code(), Code::SecretUnavailable);
        assert_eq!(desk.holds(&source), (true, Some("old".into())));
        assert_eq!(desk.coffre.source("shop").unwrap().address, source.address);
    }

    #[test]
    fn both_change_together() {
        let desk = Desk::new();
        let source = desk.add("shop", Some("old"));
        desk.coffre.edit_source(&source, to("new")).unwrap();
        assert_eq!(desk.holds(&source), (true, Some("new".into())));
        desk.coffre.edit_source(&source, to("")).unwrap();
        assert_eq!(desk.holds(&source), (false, None));
    }
}

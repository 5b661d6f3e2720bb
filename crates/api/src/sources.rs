//! Sources: add, test, list, show, edit, remove.

use coffre_engine::context::Subject;
use coffre_engine::secrets::source_secret;
use coffre_model::database::Probe;
use coffre_model::source::{Source, SourceOptions, check_name};
use coffre_model::{Cancel, Code, Error, Id, Result, Secret};

use crate::Coffre;
use crate::secret_change::with_row;

/// What `edit` changes; nothing stays as it is.
#[derive(Default)]
pub struct Change {
    /// A new name.
    pub name: Option<String>,
    /// A new address.
    pub address: Option<String>,
    /// New options, whole.
    pub options: Option<SourceOptions>,
    /// A new password; an empty one removes it.
    pub password: Option<Secret>,
}

impl Coffre {
    /// Adds a source. Does not connect.
    ///
    /// # Errors
    /// `USAGE` for a wrong name, address or option; `REFUSED` for a name that is taken; `SECRET_UNAVAILABLE` for a password that
    /// cannot be kept, and then nothing was added.
    pub fn add_source(&self, address: &str, name: &str, options: SourceOptions, password: Option<Secret>) -> Result<Source> {
        check_name(name)?;
        let source = self.new_source(address, name, options)?;
        let password = password.filter(|p| !p.is_empty());
        let source = Source {
            has_secret: password.is_some(),
            ..source
        };
        // The row first: it may take the place (and the id) of a source that is known from manifests alone.
        let source = self.engine.catalogue.add_source(&source)?;
        if let Some(password) = &password
            && let Err(error) = self
                .engine
                .secrets
                .store()
                .and_then(|s| s.set(&source_secret(&source.id), password))
        {
            self.engine.catalogue.remove_source(&source.id, (self.engine.now)())?;
            return Err(error);
        }
        self.record_source("source.add", &source)?;
        Ok(source)
    }

    /// A source that is not (yet) in the catalogue, checked.
    pub fn new_source(&self, address: &str, name: &str, options: SourceOptions) -> Result<Source> {
        let parsed = coffre_model::address::Address::parse(address)?;
        let source = Source {
            id: Id::new(),
            name: name.to_owned(),
            address: parsed.to_string(),
            options,
            has_secret: false,
            created_at: (self.engine.now)(),
        };
        self.engine.adapters.database(&parsed.scheme)?.validate(&source)?;
        Ok(source)
    }

    /// One source, by name or id.
    pub fn source(&self, name: &str) -> Result<Source> {
        self.engine.catalogue.source(name)
    }

    /// Every source.
    pub fn sources(&self) -> Result<Vec<Source>> {
        self.engine.catalogue.sources()
    }

    /// Connects and looks.
    pub fn test_source(&self, source: &Source, cancel: &Cancel) -> Result<Probe> {
        let kind = self.engine.adapters.database(&source.parsed()?.scheme)?;
        let runtime = self.engine.home.runtime_dir(&Id::new())?;
        let access = self.engine.access(source, None, runtime.path().to_owned(), cancel)?;
        kind.open(source, access)?.probe()
    }

    /// Changes a source. Its row and its password change together.
    ///
    /// # Errors
    /// `USAGE`, `REFUSED` for a name that is taken or another kind of database, `SECRET_UNAVAILABLE`.
    pub fn edit_source(&self, source: &Source, change: Change) -> Result<Source> {
        let mut edited = source.clone();
        if let Some(name) = change.name
            && name != source.name
        {
            check_name(&name)?;
            edited.name = name;
        }
        if let Some(address) = change.address {
            let parsed = coffre_model::address::Address::parse(&address)?;
            // Another kind of database under the same name would make the old backups look like its own.
            if parsed.scheme != source.parsed()?.scheme {
                return Err(Error::new(Code::Refused, "source_other_kind").with("name", source.name.as_str()));
            }
            edited.address = parsed.to_string();
        }
        if let Some(options) = change.options {
            edited.options = options;
        }
        self.engine.adapters.database(&edited.parsed()?.scheme)?.validate(&edited)?;
        if let Some(password) = &change.password {
            edited.has_secret = !password.is_empty();
        }
        let secret = source_secret(&source.id);
        with_row(&self.engine, &secret, change.password.as_ref(), || {
            self.engine.catalogue.update_source(&edited)
        })?;
        self.record_source("source.edit", &edited)?;
        Ok(edited)
    }

    /// Removes a source. Its backups stay, and stay restorable.
    ///
    /// # Errors
    /// `REFUSED` while a plan uses it.
    pub fn remove_source(&self, source: &Source) -> Result<()> {
        self.engine.catalogue.remove_source(&source.id, (self.engine.now)())?;
        if source.has_secret {
            self.engine.secrets.store()?.remove(&source_secret(&source.id))?;
        }
        self.record_source("source.remove", source)
    }

    fn record_source(&self, action: &str, source: &Source) -> Result<()> {
        self.engine.record(
            action,
            Subject {
                kind: "source",
                id: Some(&source.id),
                name: &source.name,
            },
            None,
        )
    }
}

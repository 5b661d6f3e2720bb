//! Destinations: add, test, list, show, remove; and the default one below the home.

use coffre_engine::context::Subject;
use coffre_engine::place;
use coffre_engine::secrets::destination_secret;
use coffre_model::address::Address;
use coffre_model::destination::Destination;
use coffre_model::source::check_name;
use coffre_model::storage::Space;
use coffre_model::{Cancel, Code, Error, Id, Result, Secret};
use serde::Serialize;

use crate::Coffre;

/// What a look at a destination found.
#[derive(Debug, Serialize)]
pub struct DestinationTest {
    /// Where it is.
    pub place: String,
    /// Whether it is there already; if not, it is made on first use.
    pub exists: bool,
    /// Whether an identity was there (from its first use on).
    pub identified: bool,
    /// Free bytes, where the storage can tell.
    pub free_bytes: Option<u64>,
    /// All bytes, where the storage can tell.
    pub total_bytes: Option<u64>,
}

/// The name of the destination below the home, made on first use.
pub const DEFAULT_DESTINATION: &str = "local";

impl Coffre {
    /// Adds a destination. Does not connect, does not create anything there.
    ///
    /// # Errors
    /// `USAGE`, `REFUSED` for a name that is taken or a place that is a destination already, `SECRET_UNAVAILABLE`.
    pub fn add_destination(&self, address: &str, name: &str, secret: Option<Secret>) -> Result<Destination> {
        check_name(name)?;
        let parsed = Address::parse(address)?;
        let destination = Destination {
            id: Id::new(),
            name: name.to_owned(),
            address: parsed.to_string(),
            has_secret: secret.is_some(),
            identity: None,
            created_at: (self.engine.now)(),
        };
        self.engine.adapters.storage(&parsed.scheme)?.validate(&destination)?;
        // Two destinations in one place would count one copy as two.
        if let Some(same) = self.destinations()?.iter().find(|d| d.address == destination.address) {
            return Err(Error::new(Code::Refused, "destination_twice")
                .with("name", same.name.as_str())
                .with("address", same.address.as_str()));
        }
        let destination = self.engine.catalogue.add_destination(&destination)?;
        if let Some(secret) = &secret
            && let Err(error) = self
                .engine
                .secrets
                .store()
                .and_then(|s| s.set(&destination_secret(&destination.id), secret))
        {
            self.engine
                .catalogue
                .remove_destination(&destination.id, (self.engine.now)())?;
            return Err(error);
        }
        self.record_destination("destination.add", &destination)?;
        Ok(destination)
    }

    /// One destination, by name or id.
    pub fn destination(&self, name: &str) -> Result<Destination> {
        match self.engine.catalogue.destination(name) {
            Err(error) if error.code() == Code::NotFound && name == DEFAULT_DESTINATION => self.default_destination(),
            other => other,
        }
    }

    /// The destination `local`: the folder `backups/` of the home. Added when it is first asked for.
    pub fn default_destination(&self) -> Result<Destination> {
        if let Ok(found) = self.engine.catalogue.destination(DEFAULT_DESTINATION) {
            return Ok(found);
        }
        self.add_destination(&self.default_address()?, DEFAULT_DESTINATION, None)
    }

    /// The address of the folder `backups/` of the home.
    pub(crate) fn default_address(&self) -> Result<String> {
        let folder = self.engine.home.backups();
        let path = folder
            .to_str()
            .ok_or_else(|| Error::new(Code::Usage, "file_path").with("path", folder.display().to_string()))?;
        let address = Address {
            scheme: "file".to_owned(),
            user: None,
            host: None,
            port: None,
            path: path.to_owned(),
            query: std::collections::BTreeMap::new(),
        };
        Ok(address.to_string())
    }

    /// Every destination.
    pub fn destinations(&self) -> Result<Vec<Destination>> {
        self.engine.catalogue.destinations()
    }

    /// Opens a destination and looks: whether it is the place that it was, whether it can be written, and how much room it has.
    pub fn test_destination(&self, destination: &Destination, cancel: &Cancel) -> Result<DestinationTest> {
        let place = place::open(&self.engine, destination, cancel)?;
        // An object that is begun and given up leaves nothing, and proves that one can be written.
        let exists = match place.storage.begin(&format!("coffre-write-test-{}", Id::new())) {
            Ok(_given_up) => true,
            Err(error) if error.code() == Code::DestUnreachable && destination.identity.is_none() => false,
            Err(error) => return Err(error),
        };
        let space: Option<Space> = if exists { place.storage.space()? } else { None };
        Ok(DestinationTest {
            place: place.storage.place(),
            exists,
            identified: destination.identity.is_some(),
            free_bytes: space.map(|s| s.free),
            total_bytes: space.map(|s| s.total),
        })
    }

    /// Removes a destination from the catalogue. What lies there stays.
    ///
    /// # Errors
    /// `REFUSED` while a plan uses it.
    pub fn remove_destination(&self, destination: &Destination) -> Result<()> {
        self.engine
            .catalogue
            .remove_destination(&destination.id, (self.engine.now)())?;
        if destination.has_secret {
            self.engine.secrets.store()?.remove(&destination_secret(&destination.id))?;
        }
        self.record_destination("destination.remove", destination)
    }

    fn record_destination(&self, action: &str, destination: &Destination) -> Result<()> {
        self.engine.record(
            action,
            Subject {
                kind: "destination",
                id: Some(&destination.id),
                name: &destination.name,
            },
            None,
        )
    }
}

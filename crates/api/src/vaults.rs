//! The secret store: the vault's making, and how the store stands.

use coffre_engine::context::Subject;
use coffre_engine::secrets::Status;
use coffre_engine::secrets::vault::{Initialised, Vault};
use coffre_model::Result;

use crate::Coffre;

impl Coffre {
    /// Makes the vault of this home.
    ///
    /// # Errors
    /// `REFUSED` where there is one; `SECRET_UNAVAILABLE` without something to lock it with.
    pub fn init_vault(&self) -> Result<Initialised> {
        let vault = Vault::new(self.engine.home.root(), &crate::open::secret_environment());
        let made = vault.init((self.engine.now)())?;
        self.engine.record(
            "vault.init",
            Subject {
                kind: "vault",
                id: None,
                name: &made.path.display().to_string(),
            },
            None,
        )?;
        Ok(made)
    }

    /// How the secret store stands. Tells no secret.
    pub fn secrets_status(&self) -> Result<Status> {
        Ok(self.engine.secrets.store()?.status())
    }
}

//! Restores: into a new place, or only looked at.

use std::path::PathBuf;

use coffre_engine::decrypt;
use coffre_engine::pipeline::Decryption;
use coffre_engine::restore::{Job, What, restore};
use coffre_engine::secrets::source_secret;
use coffre_model::backup::Backup;
use coffre_model::progress::Observer;
use coffre_model::restore::Restore;
use coffre_model::source::{Source, SourceOptions};
use coffre_model::{Cancel, Code, Error, Id, Result, Secret};

use crate::Coffre;

/// What to bring back.
#[derive(Clone)]
pub enum From {
    /// A backup of the catalogue.
    Backup(Box<Backup>),
    /// Any dump, with the name of the key that opens it (else every key is tried).
    File(PathBuf, Option<String>),
}

/// Where to.
pub struct Target {
    /// The address of the new place. Nothing (only with `dry_run`): where the backup came from.
    pub address: Option<String>,
    /// Its options.
    pub options: SourceOptions,
    /// Its password. Without one, that of the source with the same server and user.
    pub password: Option<Secret>,
}

impl Coffre {
    /// Restores into a new place, or only proves and shows (`dry_run`).
    pub fn restore(
        &self,
        from: From,
        target: Target,
        dry_run: bool,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Restore> {
        let (source, password) = if dry_run {
            self.target_without_password(&from, target)?
        } else {
            self.target_of(&from, target)?
        };
        let what = match from {
            From::Backup(backup) => What::Backup(backup),
            From::File(path, key) => What::File(path, self.keys_for_file(key.as_deref())?),
        };
        restore(
            &self.engine,
            &Job {
                what,
                target: source,
                password,
                dry_run,
            },
            observer,
            cancel,
        )
    }

    /// The target as a source of its own, with its password or that of the source on the same server.
    pub(crate) fn target_of(&self, from: &From, target: Target) -> Result<(Source, Option<Secret>)> {
        let (source, password) = self.target_without_password(from, target)?;
        let password = match password {
            Some(given) => Some(given),
            None => self.password_of_same_server(&source)?,
        };
        Ok((source, password))
    }

    /// As [`Coffre::target_of`], with no other password than the one that was given.
    fn target_without_password(&self, from: &From, target: Target) -> Result<(Source, Option<Secret>)> {
        let address = match (&target.address, from) {
            (Some(address), _) => address.clone(),
            (None, From::Backup(backup)) => self.engine.catalogue.known_source(&backup.source_id.to_string())?.address,
            (None, From::File(..)) => return Err(Error::new(Code::Usage, "restore_where")),
        };
        let options = self.with_habits_of(from, &address, target.options)?;
        Ok((self.new_source(&address, "restore", options)?, target.password))
    }

    /// What was not said of the target is taken from the source of the backup: its folder of tools, and its TLS where it is the same server.
    fn with_habits_of(&self, from: &From, address: &str, mut options: SourceOptions) -> Result<SourceOptions> {
        let From::Backup(backup) = from else { return Ok(options) };
        let source = self.engine.catalogue.known_source(&backup.source_id.to_string())?;
        // A source that is known from manifests alone has no address.
        let Ok(known) = source.parsed() else { return Ok(options) };
        let target = coffre_model::address::Address::parse(address)?;
        if known.scheme == target.scheme {
            options.tool_path = options.tool_path.or(source.options.tool_path);
            if (&known.host, known.port) == (&target.host, target.port) {
                options.tls = options.tls.or(source.options.tls);
            }
        }
        Ok(options)
    }

    /// The password of a source with the same user on the same server: most restores go beside their source.
    pub(crate) fn password_of_same_server(&self, target: &Source) -> Result<Option<Secret>> {
        let wanted = target.parsed()?;
        for source in self.sources()?.into_iter().filter(|s| s.has_secret) {
            let parsed = source.parsed()?;
            if (&parsed.scheme, &parsed.host, parsed.port, &parsed.user)
                == (&wanted.scheme, &wanted.host, wanted.port, &wanted.user)
            {
                return self.engine.secret(&source_secret(&source.id), &source.name).map(Some);
            }
        }
        Ok(None)
    }

    /// The keys to try on a file. Without any key the store is not asked: most files need none.
    pub(crate) fn keys_for_file(&self, name: Option<&str>) -> Result<Vec<Decryption>> {
        let keys = match name {
            Some(name) => vec![self.engine.catalogue.key(name)?],
            None => self.engine.catalogue.keys()?,
        };
        let mut found = Vec::new();
        for key in keys {
            match decrypt::decryption(&self.engine, &key) {
                Ok(decryption) => found.push(decryption),
                // A locked store matters only if the file turns out to be encrypted; then no key fits, and that is said.
                Err(error) if name.is_none() && error.code() == Code::SecretUnavailable => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Every restore, newest first.
    pub fn restores(&self) -> Result<Vec<Restore>> {
        self.engine.catalogue.restores()
    }

    /// One restore.
    pub fn restore_row(&self, id: &Id) -> Result<Restore> {
        self.engine.catalogue.restore(&id.to_string())
    }
}

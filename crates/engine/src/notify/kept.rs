//! Channels beside the catalogue: a catalogue that is lost and made anew must not silence everybody.
//!
//! `channels.json` in the home holds what the table holds, never a secret (those lie under the channels' ids, and are found again). It is
//! read in one case alone: the catalogue is new and knows of no channel, not even of a removed one.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use coffre_model::channel::Channel;
use coffre_model::{Error, Result};

use crate::context::Engine;

fn path(engine: &Engine) -> PathBuf {
    engine.home.root().join("channels.json")
}

/// Writes every channel down: whole or not at all.
///
/// # Errors
/// `HOME_FULL`, or why the home cannot be written.
pub fn keep(engine: &Engine) -> Result<()> {
    let path = path(engine);
    let fault = |e: &std::io::Error| Error::writing_home("keep the channels", &path, e);
    let text =
        serde_json::to_string_pretty(&engine.catalogue.channels()?).map_err(|e| Error::internal("keep the channels", e))?;
    // 0600, as every temporary file of this crate.
    let mut file = tempfile::NamedTempFile::new_in(engine.home.root()).map_err(|e| fault(&e))?;
    file.write_all(text.as_bytes()).map_err(|e| fault(&e))?;
    file.as_file().sync_all().map_err(|e| fault(&e))?;
    file.persist(&path).map_err(|e| fault(&e.error))?;
    Ok(())
}

/// Brings the channels back into a catalogue that is new. Answers how many. Limits to plans are lifted: those plans are not there, and a
/// channel that hears too much is better than one that hears nothing.
///
/// # Errors
/// The catalogue's own; `INTERNAL` where the file cannot be read.
pub fn bring_back(engine: &Engine) -> Result<usize> {
    if engine.catalogue.knew_channels()? {
        return Ok(0);
    }
    let path = path(engine);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(Error::internal("read the channels", e).with("path", path.display().to_string())),
    };
    let channels: Vec<Channel> = serde_json::from_str(&text)
        .map_err(|e| Error::internal("read the channels", e).with("path", path.display().to_string()))?;
    let mut back = 0;
    for channel in channels {
        let channel = Channel {
            plan_ids: Vec::new(),
            created_at: (engine.now)(),
            ..channel
        };
        engine.catalogue.add_channel(&channel)?;
        back += 1;
    }
    Ok(back)
}

//! A proved backup, loaded into a throw-away database: what a drill and a look inside have in common.

use std::time::{Duration, Instant};

use coffre_model::backup::Backup;
use coffre_model::database::Database;
use coffre_model::progress::Observer;
use coffre_model::restore::CountComparison;
use coffre_model::source::Source;
use coffre_model::throw_away::{DrillLevel, Need, ThrowAway};
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::context::Engine;
use crate::home::RuntimeDir;
use crate::proof::{Proved, count_and_compare, differences, load};

/// Tables that differ and are told one by one, beside the first.
const DIFFERENCES: usize = 50;

/// What was reached, also where it ended with an error.
#[derive(Default)]
pub(crate) struct Reached {
    /// The deepest level that was found right.
    pub(crate) level: Option<DrillLevel>,
    /// The version of what served the database.
    pub(crate) server_version: Option<String>,
    /// What was counted.
    pub(crate) counts: Vec<CountComparison>,
    /// What a person should know.
    pub(crate) remarks: Vec<Error>,
    /// How long making the throw-away database took: no part of a real restore.
    pub(crate) making: Duration,
}

/// A throw-away database with a backup in it. Dropping it leaves nothing.
pub(crate) struct Rehearsed {
    // Before the folder that it lies in.
    pub(crate) throw_away: Box<dyn ThrowAway>,
    _runtime: RuntimeDir,
}

/// Makes a throw-away database, loads what was proved and compares every table's rows. The inner error says why this machine has no place for
/// it; that says nothing about the backup.
///
/// # Errors
/// `VERIFY_MISMATCH` where other rows arrived than were counted in the dump's own snapshot; what loading can bring; `CANCELLED`.
pub(crate) fn rehearse(
    engine: &Engine,
    backup: &Backup,
    proved: &Proved<'_>,
    id: Id,
    reached: &mut Reached,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<std::result::Result<Rehearsed, Error>> {
    let runtime = engine.home.runtime_dir(&id)?;
    // Of the source only its folder of tools is needed: nothing here reaches it, and its password stays where it is.
    let known = Source {
        has_secret: false,
        ..engine.catalogue.known_source(&backup.source_id.to_string())?
    };
    let access = engine.access(&known, None, runtime.path().to_owned(), cancel)?;
    let need = Need {
        format: proved.format,
        server_version: backup.server_version.clone(),
    };
    let began = Instant::now();
    let made = proved.kind.throw_away(&need, access)?;
    reached.making = began.elapsed();
    let throw_away = match made {
        Ok(throw_away) => throw_away,
        Err(why) => return Ok(Err(why)),
    };
    let rehearsed = Rehearsed {
        throw_away,
        _runtime: runtime,
    };
    reached.server_version = Some(rehearsed.throw_away.version());
    let mut database = proved
        .kind
        .open(&rehearsed.throw_away.source(), rehearsed.throw_away.access())?;
    let loaded = fill(engine, proved, id, database.as_mut(), reached, observer, cancel);
    reached.remarks.extend(database.remarks());
    drop(database);
    match loaded {
        Ok(()) => Ok(Ok(rehearsed)),
        Err(why) if is_of_this_machine(&why) => Ok(Err(why)),
        // What is loaded here is nobody's superuser, on purpose. Whether it could be loaded as one, nobody knows.
        Err(why) if why.code() == Code::Privilege => {
            let said = why.detail("stderr").or_else(|| why.detail("server")).unwrap_or_default();
            Ok(Err(Error::new(Code::Privilege, "drill_needs_superuser").with("said", said)))
        }
        Err(error) => Err(error),
    }
}

fn fill(
    engine: &Engine,
    proved: &Proved<'_>,
    id: Id,
    database: &mut dyn Database,
    reached: &mut Reached,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    database.prepare_target()?;
    load(engine, proved, id, database, observer, cancel)?;
    reached.level = Some(DrillLevel::Restored);
    let compared = count_and_compare(proved, id, database, &mut reached.counts, observer);
    if compared.is_err() {
        // The error names the first table; the others are as much worth knowing.
        let others = differences(&reached.counts, proved).into_iter().skip(1).take(DIFFERENCES);
        reached.remarks.extend(others);
    }
    compared?;
    database.settle_target()
}

/// Whether a load ended because of what is (not) installed here: a program, or an extension of the database. It says nothing about the backup.
fn is_of_this_machine(error: &Error) -> bool {
    // What must be there when a server starts (TimescaleDB) is no more here than an extension that is not installed.
    let preloaded = |text: String| text.contains("shared_preload_libraries") || text.contains("must be preloaded");
    matches!(error.code(), Code::ToolMissing | Code::ToolTooOld | Code::ToolWrong)
        || error.text() == "pg_extension_missing"
        || ["stderr", "server", "server_hint"]
            .into_iter()
            .filter_map(|name| error.detail(name))
            .any(preloaded)
}

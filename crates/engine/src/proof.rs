//! What every way of bringing a backup back has in common: prove the artifact to its end, load it, compare what arrived. Each way
//! (into a new place, over live data, into a throw-away database) puts its own steps around these.

use std::io::Write;

use coffre_model::backup::{Backup, CopyState};
use coffre_model::compression::Compression;
use coffre_model::database::{Database, DatabaseKind, DumpFormat, Load, Parsed, TableCount};
use coffre_model::error::from_io;
use coffre_model::manifest::Manifest;
use coffre_model::progress::{Observer, Step};
use coffre_model::replace::TableShape;
use coffre_model::restore::CountComparison;
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::check::{as_mismatch, with_place};
use crate::context::Engine;
use crate::decrypt;
use crate::foreign_file::ForeignFile;
use crate::lease::Lease;
use crate::pipeline::{Decryption, Expect, ReadBack, read_back};
use crate::place::{self, Place};
use crate::restore::What;
use crate::stream::News;
use crate::verify::{check_copy, judge, record};

/// The artifact, proved whole, with what is needed to read it a second time.
pub(crate) struct Proved<'a> {
    storage: Option<Place>,
    key: String,
    file: Option<ForeignFile>,
    pub(crate) bytes: ReadBack,
    decryption: &'a Decryption,
    compression: Compression,
    pub(crate) format: DumpFormat,
    pub(crate) kind: &'static dyn DatabaseKind,
    pub(crate) counts: Vec<TableCount>,
    /// What its tables are made of, where the format tells.
    pub(crate) shapes: Option<Vec<TableShape>>,
    /// The version of the server that it came from, where known.
    pub(crate) server_version: Option<String>,
    stored_total: Option<u64>,
}

impl Proved<'_> {
    /// Whether it is a backup of ours: then every table and row of it is known.
    pub(crate) fn is_ours(&self) -> bool {
        self.file.is_none()
    }
}

/// Proves what is to be brought back.
///
/// # Errors
/// `VERIFY_MISMATCH`, `DECRYPT_FAILED`, what the storage says; `REFUSED` for a backup that has nothing, or a file of another database.
#[allow(
    clippy::too_many_arguments,
    reason = "one restore's whole surroundings; a struct would only rename them"
)]
pub(crate) fn prove<'a>(
    engine: &Engine,
    what: &What,
    kind: &'static dyn DatabaseKind,
    decryption: &'a mut Decryption,
    id: Id,
    lease: Option<&Lease>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Proved<'a>> {
    match what {
        What::Backup(backup) => {
            // As it is now that nobody else can change it.
            let backup = engine.catalogue.backup(&backup.id.to_string())?;
            let proved = prove_backup(engine, &backup, decryption, id, lease, observer, cancel)?;
            if !kind.formats().contains(&proved.format) {
                return Err(other_database(proved.format, proved.kind.name(), kind));
            }
            Ok(proved)
        }
        What::File(path, keys) => prove_file(engine, path, keys, kind, decryption, id, observer, cancel),
    }
}

/// Counts what was loaded and puts it beside what was counted in the dump's own snapshot.
///
/// # Errors
/// `VERIFY_MISMATCH` (`restored_rows_differ`) for the first table that is not there with exactly its rows; the comparison is written to `counts` also then.
pub(crate) fn count_and_compare(
    proved: &Proved<'_>,
    id: Id,
    database: &mut dyn Database,
    counts: &mut Vec<CountComparison>,
    observer: &dyn Observer,
) -> Result<()> {
    News::new(observer, Some(id), Step::Comparing, None, false);
    let after = database.counts()?;
    *counts = compare(&proved.counts, Some(&after));
    assert_same(counts, proved)
}

/// # Errors
/// `VERIFY_MISMATCH` (`restored_rows_differ`) for the first table that is not there with exactly its rows.
pub(crate) fn assert_same(counts: &[CountComparison], proved: &Proved<'_>) -> Result<()> {
    differences(counts, proved).into_iter().next().map_or(Ok(()), Err)
}

/// Every table that is not there with exactly its rows, as an error each (`restored_rows_differ`), by name.
pub(crate) fn differences(counts: &[CountComparison], proved: &Proved<'_>) -> Vec<Error> {
    let wrong = counts.iter().filter(|c| differs(c, proved.is_ours()));
    wrong
        .map(|wrong| {
            Error::new(Code::VerifyMismatch, "restored_rows_differ")
                .with("table", wrong.table.as_str())
                .with("expected_rows", wrong.backup)
                .with("found_rows", wrong.after)
        })
        .collect()
}

/// For a backup of ours every table must be there with exactly its rows, and no other; of a file from elsewhere only the rows that its
/// format let us count are known.
pub(crate) fn differs(count: &CountComparison, exact: bool) -> bool {
    match (count.backup, count.after) {
        (Some(backup), Some(after)) => backup != after,
        (Some(_), None) => true,
        (None, Some(_)) => exact,
        (None, None) => false,
    }
}

/// Backup and target side by side, sorted by table. The target was empty before, so `before` is nothing everywhere.
pub(crate) fn compare(backup: &[TableCount], after: Option<&[TableCount]>) -> Vec<CountComparison> {
    let mut rows = std::collections::BTreeMap::<&str, CountComparison>::new();
    fn blank(table: &str) -> CountComparison {
        CountComparison {
            table: table.to_owned(),
            before: None,
            after: None,
            backup: None,
        }
    }
    for count in backup {
        rows.entry(&count.table).or_insert_with(|| blank(&count.table)).backup = Some(count.rows);
    }
    for count in after.unwrap_or_default() {
        rows.entry(&count.table).or_insert_with(|| blank(&count.table)).after = Some(count.rows);
    }
    rows.into_values().collect()
}

/// The second reading, into the database. The last bytes are handed over only after all hashes were found right again, so that
/// nothing can be committed that was changed between the two readings.
pub(crate) fn load(
    engine: &Engine,
    proved: &Proved<'_>,
    id: Id,
    database: &mut dyn Database,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let sink = database.load(proved.format)?;
    load_into(engine, proved, id, sink, observer, cancel)
}

/// Likewise, into a sink that was begun already.
pub(crate) fn load_into(
    engine: &Engine,
    proved: &Proved<'_>,
    id: Id,
    mut sink: Box<dyn Load>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let mut news = News::new(observer, Some(id), Step::Loading, proved.stored_total, false);
    let expect = Expect {
        compression: proved.compression,
        decryption: proved.decryption,
        stored_bytes: Some(proved.bytes.stored_bytes),
        stored_sha256: Some(&proved.bytes.stored_sha256),
        raw_bytes: Some(proved.bytes.raw_bytes),
        raw_sha256: Some(&proved.bytes.raw_sha256),
    };
    let (reader, place) = match (&proved.file, &proved.storage) {
        (Some(file), _) => (file.reader()?, file.shown()),
        (None, Some(place)) => (place.storage.open(&proved.key)?, place.storage.place()),
        (None, None) => return Err(Error::internal("restore", "neither file nor copy")),
    };
    read_back(
        reader,
        &expect,
        true,
        cancel,
        engine.stall()?,
        &mut |n| news.tell(n),
        &mut |bytes| {
            sink.write_all(bytes)
                .map_err(|e| from_io(e, |e| Error::internal("load a dump", e)))
        },
    )
    .map_err(|e| with_place(e, || place))?;
    sink.finish()
}

/// Proves one copy of a backup, the best one first. A copy that turns out to be bad is recorded, and the next one is tried.
pub(crate) fn prove_backup<'a>(
    engine: &Engine,
    backup: &Backup,
    decryption: &'a mut Decryption,
    id: Id,
    lease: Option<&Lease>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Proved<'a>> {
    let manifest = engine.manifest(&backup.id)?;
    let mut copies: Vec<_> = backup
        .copies
        .iter()
        .filter(|c| !matches!(c.state, CopyState::Deleting | CopyState::Deleted))
        .collect();
    copies.sort_by_key(|c| c.state != CopyState::Verified);
    let Some(manifest) = manifest.filter(|_| !copies.is_empty()) else {
        return Err(Error::new(Code::Refused, "nothing_to_restore")
            .with("backup", backup.code.as_str())
            .with("state", backup.state.as_str()));
    };
    *decryption = decrypt::for_backup(engine, backup, Some(&manifest))?;
    let mut first = None;
    for copy in copies {
        match prove_copy(engine, backup, &manifest, copy, id, observer, cancel) {
            Ok((place, parsed)) => return proved(engine, backup, manifest, copy.key.clone(), place, parsed, decryption),
            Err(error) if matches!(error.code(), Code::Cancelled | Code::Interrupted) => return Err(error),
            Err(error) => {
                if let (Some(state), Some(lease)) = (judge(&error), lease) {
                    record(engine, backup, copy, state, Some(error.clone()), lease)?;
                }
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| Error::internal("restore", "no copy")))
}

fn prove_copy(
    engine: &Engine,
    backup: &Backup,
    manifest: &Manifest,
    copy: &coffre_model::backup::Copy,
    id: Id,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(Place, Parsed)> {
    let follow = Follow { observer, id };
    let parsed = check_copy(engine, backup, Some(manifest), copy, &follow, cancel)?;
    let destination = engine.catalogue.known_destination(&copy.destination_id.to_string())?;
    Ok((place::open(engine, &destination, cancel)?, parsed))
}

/// Hands news of a part of the work on under the id of the whole.
pub(crate) struct Follow<'a> {
    pub(crate) observer: &'a dyn Observer,
    pub(crate) id: Id,
}

impl Observer for Follow<'_> {
    fn progress(&self, progress: &coffre_model::progress::Progress) {
        self.observer.progress(&coffre_model::progress::Progress {
            id: Some(self.id),
            ..progress.clone()
        });
    }
}

fn proved<'a>(
    engine: &Engine,
    backup: &Backup,
    manifest: Manifest,
    key: String,
    place: Place,
    parsed: Parsed,
    decryption: &'a Decryption,
) -> Result<Proved<'a>> {
    let missing = || {
        Error::new(Code::VerifyMismatch, "manifest_unreadable")
            .with("key", key.as_str())
            .with("cause", "no size or hash")
    };
    Ok(Proved {
        bytes: ReadBack {
            stored_bytes: backup.stored_bytes.ok_or_else(missing)?,
            stored_sha256: backup.sha256.clone().ok_or_else(missing)?,
            raw_bytes: backup.raw_bytes.ok_or_else(missing)?,
            raw_sha256: backup.raw_sha256.clone().ok_or_else(missing)?,
        },
        storage: Some(place),
        key,
        file: None,
        decryption,
        compression: backup.compression,
        format: manifest.format,
        kind: engine.adapters.database_named(&manifest.database)?,
        counts: manifest.table_counts,
        shapes: parsed.shapes,
        server_version: backup.server_version.clone(),
        stored_total: backup.stored_bytes,
    })
}

#[allow(
    clippy::too_many_arguments,
    reason = "one restore's whole surroundings; a struct would only rename them"
)]
pub(crate) fn prove_file<'a>(
    engine: &Engine,
    path: &std::path::Path,
    keys: &[Decryption],
    kind: &'static dyn DatabaseKind,
    decryption: &'a Decryption,
    id: Id,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Proved<'a>> {
    let file = ForeignFile::open(path, keys)?;
    let format = engine.adapters.recognise(&file.head)?;
    if !kind.formats().contains(&format) {
        return Err(other_database(format, format.as_str(), kind));
    }
    let mut checker = engine.adapters.foreign_checker(kind, format);
    // The layers are off already: what the pipeline reads is the plain dump itself.
    let expect = Expect {
        compression: Compression::None,
        decryption,
        stored_bytes: None,
        stored_sha256: None,
        raw_bytes: None,
        raw_sha256: None,
    };
    let shown = || path.display().to_string();
    let mut news = News::new(observer, Some(id), Step::Verifying, None, false);
    let bytes = read_back(
        file.reader()?,
        &expect,
        false,
        cancel,
        engine.stall()?,
        &mut |n| news.tell(n),
        &mut |b| checker.feed(b),
    )
    .map_err(|e| with_place(as_mismatch(e).or_with("key", shown()), shown))?;
    let parsed = checker.finish().map_err(|e| as_mismatch(e).or_with("key", shown()))?;
    Ok(Proved {
        storage: None,
        key: String::new(),
        stored_total: Some(bytes.raw_bytes),
        compression: Compression::None,
        file: Some(file),
        bytes,
        decryption,
        format,
        kind,
        counts: parsed.counts,
        shapes: parsed.shapes,
        server_version: None,
    })
}

pub(crate) fn other_database(format: DumpFormat, from: &str, to: &dyn DatabaseKind) -> Error {
    Error::new(Code::Refused, "target_other_database")
        .with("format", format.as_str())
        .with("from", from)
        .with("to", to.name())
}

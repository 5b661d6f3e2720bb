//! What every `model::database::Database` must do, asked of real databases.
//!
//! ```ignore
//! #[test]
//! fn conforms() {
//!     let server = Postgres::shared(Version::V15);
//!     conformance::database::check(&Subject {
//!         kind: &kind,
//!         filled: &|| Case::new(source(&server, fill(server.create_database()))),   // a database with tables and rows
//!         target: &|| Case::new(source(&server, "does not exist yet")),
//!         absent: &|| Case::new(source_of_a_port_where_nobody_listens()),
//!     });
//! }
//! ```

mod checker;

use std::any::Any;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::DateTime;
use coffre_model::cancel::Reason;
use coffre_model::database::{Access, Database, DatabaseKind, DumpFacts, DumpFormat, Parsed, TableCount};
use coffre_model::error::from_io;
use coffre_model::source::{Source, SourceOptions};
use coffre_model::{Cancel, Code, Error, Id, Secret};

use super::{Broken, Held, ask, assert_all, broken, ensure};

/// A database for one question, with what keeps it alive.
pub struct Case {
    /// How to reach it.
    pub source: Source,
    /// Its password, if it has one.
    pub password: Option<Secret>,
    /// Where its tools are searched first.
    pub tool_paths: Vec<PathBuf>,
    /// Whatever must live as long as the question: a temporary folder, a server.
    pub keep: Box<dyn Any>,
}

impl Case {
    /// A source without a password, with the usual tools.
    pub fn new(source: Source) -> Case {
        Case {
            source,
            password: None,
            tool_paths: Vec::new(),
            keep: Box::new(()),
        }
    }

    /// Keeps something alive with the case.
    #[must_use]
    pub fn keep(mut self, thing: impl Any) -> Case {
        self.keep = Box::new((self.keep, thing));
        self
    }
}

/// A source for tests, from its address alone.
pub fn source(address: impl Into<String>, options: SourceOptions) -> Source {
    Source {
        id: Id::new(),
        name: "conformance".to_owned(),
        address: address.into(),
        options,
        has_secret: false,
        created_at: DateTime::UNIX_EPOCH,
    }
}

/// A kind of database, and how to make what the questions need.
pub struct Subject<'a> {
    /// The kind.
    pub kind: &'a dyn DatabaseKind,
    /// Makes a new source with some tables and rows, more than 100 kB of dump, that nobody else writes to.
    pub filled: &'a dyn Fn() -> Case,
    /// A new place that does not exist, or is empty: a restore's target.
    pub target: &'a dyn Fn() -> Case,
    /// A source that cannot be reached: no such file, nobody listening.
    pub absent: &'a dyn Fn() -> Case,
}

type Question = (&'static str, fn(&Subject) -> Held);

/// The obligations by name.
pub const OBLIGATIONS: &[Question] = &[
    ("the kind describes itself", the_kind_describes_itself),
    ("open neither connects nor writes", open_neither_connects_nor_writes),
    ("probe finds version, tool and tables", probe_finds_version_tool_and_tables),
    ("a dump comes back whole", a_dump_comes_back_whole),
    (
        "the checker takes pieces of any size",
        checker::the_checker_takes_pieces_of_any_size,
    ),
    ("the end of a dump stays the end", the_end_of_a_dump_stays_the_end),
    ("nothing at all is DUMP_EMPTY", checker::nothing_at_all_is_dump_empty),
    (
        "a missing end is found wherever it is missing",
        checker::a_missing_end_is_found,
    ),
    ("bytes after the end are found", checker::bytes_after_the_end_are_found),
    ("what is no dump is refused", checker::what_is_no_dump_is_refused),
    ("damage never panics", checker::damage_never_panics),
    ("a cut dump is not loaded", a_cut_dump_is_not_loaded),
    (
        "a dropped load leaves the target as before",
        a_dropped_load_leaves_the_target_as_before,
    ),
    ("discard is idempotent", discard_is_idempotent),
    (
        "a look at a target says what preparing it says, and makes nothing",
        a_look_at_a_target_makes_nothing,
    ),
    (
        "a filled target is refused and untouched",
        a_filled_target_is_refused_and_untouched,
    ),
    ("cancel ends a dump", cancel_ends_a_dump),
    ("cancel ends a load", cancel_ends_a_load),
    (
        "a dropped dump leaves the source usable",
        a_dropped_dump_leaves_the_source_usable,
    ),
    ("a dump changes nothing", a_dump_changes_nothing),
];

/// Asks everything; panics with all that does not hold.
pub fn check(subject: &Subject) {
    assert_all("the database", &failures(subject));
}

/// The same, answering the obligations that do not hold as `name: what is wrong`.
pub fn failures(subject: &Subject) -> Vec<String> {
    OBLIGATIONS
        .iter()
        .filter_map(|(name, question)| ask(name, || question(subject)))
        .collect()
}

/// A case opened: the database, its flag, and its private folder.
struct Opened {
    database: Box<dyn Database>,
    cancel: Cancel,
    case: Case,
    runtime: tempfile::TempDir,
}

fn open(subject: &Subject, case: Case) -> Result<Opened, Broken> {
    let runtime = tempfile::Builder::new().prefix("coffre-runtime-").tempdir()?;
    let cancel = Cancel::new();
    let access = Access {
        password: case.password.clone(),
        runtime: runtime.path().to_owned(),
        tool_paths: case.tool_paths.clone(),
        stall: Duration::from_secs(60),
        lock_wait: Duration::from_secs(20),
        cancel: cancel.clone(),
    };
    let database = subject.kind.open(&case.source, access)?;
    Ok(Opened {
        database,
        cancel,
        case,
        runtime,
    })
}

/// A whole dump of a fresh source.
struct Dumped {
    bytes: Vec<u8>,
    facts: DumpFacts,
    format: DumpFormat,
}

fn dump(subject: &Subject) -> Result<Dumped, Broken> {
    let mut source = open(subject, (subject.filled)())?;
    source.database.probe()?;
    let mut dump = source.database.dump()?;
    let mut bytes = Vec::new();
    dump.read_to_end(&mut bytes)?;
    Ok(Dumped {
        bytes,
        facts: dump.finish()?,
        format: subject.kind.dump_format(&source.case.source),
    })
}

fn parse(subject: &Subject, format: DumpFormat, bytes: &[u8], piece: usize) -> Result<Parsed, Error> {
    let mut checker = subject.kind.checker(format);
    for part in bytes.chunks(piece.max(1)) {
        checker.feed(part)?;
    }
    checker.finish()
}

/// Loads bytes into a prepared target in pieces; the error of whichever step fails first.
fn load(target: &mut dyn Database, format: DumpFormat, bytes: &[u8]) -> Result<(), Error> {
    let mut load = target.load(format)?;
    for piece in bytes.chunks(30_011) {
        load.write_all(piece)
            .map_err(|error| from_io(error, |error| Error::internal("load", error)))?;
    }
    load.finish()
}

fn sorted(mut counts: Vec<TableCount>) -> Vec<TableCount> {
    counts.sort();
    counts
}

fn total(counts: &[TableCount]) -> u64 {
    counts.iter().map(|count| count.rows).sum()
}

fn the_kind_describes_itself(subject: &Subject) -> Held {
    let kind = subject.kind;
    let case = (subject.filled)();
    let name = kind.name();
    ensure!(
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
        "the name is {name:?}"
    );
    let scheme = case.source.parsed()?.scheme;
    ensure!(
        kind.schemes().contains(&scheme.as_str()),
        "{scheme} is not among {:?}",
        kind.schemes()
    );
    kind.validate(&case.source)?;
    let mut foreign = case.source.clone();
    foreign.address = "gopher://localhost/x".to_owned();
    ensure!(kind.validate(&foreign).is_err(), "an address of another kind is valid");
    ensure!(
        kind.formats().contains(&kind.dump_format(&case.source)),
        "its own dump format is none that it loads"
    );
    for format in kind.formats() {
        let commands = kind.stock_load(*format);
        ensure!(!commands.is_empty(), "no stock command for {format}");
        ensure!(
            commands.iter().all(|line| !line.contains('\n') && !line.is_empty()),
            "not one command a line: {commands:?}"
        );
    }
    ensure!(!kind.fields().is_empty(), "it has no fields");
    Ok(())
}

fn open_neither_connects_nor_writes(subject: &Subject) -> Held {
    let mut absent = open(subject, (subject.absent)())?;
    ensure!(
        std::fs::read_dir(absent.runtime.path())?.next().is_none(),
        "open wrote into the private folder"
    );
    let Err(error) = absent.database.probe() else {
        return Err(broken("probe found what is not there".into()));
    };
    ensure!(
        matches!(error.code(), Code::Unreachable | Code::NotFound),
        "probe answers {error}"
    );
    // Looked at twice: the first look must not have made it.
    ensure!(
        open(subject, absent.case)?.database.probe().is_err(),
        "probe made what was not there"
    );
    Ok(())
}

fn probe_finds_version_tool_and_tables(subject: &Subject) -> Held {
    let mut source = open(subject, (subject.filled)())?;
    let probe = source.database.probe()?;
    ensure!(
        probe.server_version.starts_with(|c: char| c.is_ascii_digit()),
        "the version is {:?}",
        probe.server_version
    );
    ensure!(
        !probe.tool.name.is_empty() && !probe.tool.version.is_empty(),
        "the tool is {:?}",
        probe.tool
    );
    let needs_path = subject.kind.capability().needs_tools;
    let absolute = probe.tool.path.as_deref().is_some_and(|path| path.starts_with('/'));
    ensure!(absolute == needs_path, "the tool's path is {:?}", probe.tool.path);
    let counts = source.database.counts()?;
    ensure!(
        probe.tables == counts.len() as u64,
        "probe sees {} tables, counts {}",
        probe.tables,
        counts.len()
    );
    ensure!(total(&counts) > 0, "the source that the test made is empty");
    Ok(())
}

fn a_dump_comes_back_whole(subject: &Subject) -> Held {
    let mut source = open(subject, (subject.filled)())?;
    let wanted = sorted(source.database.counts()?);
    source.database.probe()?;
    let mut dump = source.database.dump()?;
    let mut bytes = Vec::new();
    // Small, uneven reads: a reader may ask for as little as it likes.
    let mut buffer = vec![0; 4099];
    loop {
        let most = if bytes.len() < 5000 { 7 } else { buffer.len() };
        match dump.read(&mut buffer[..most])? {
            0 => break,
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
    let facts = dump.finish()?;
    ensure!(
        bytes.len() > 100_000,
        "the test's source is too small: {} bytes of dump",
        bytes.len()
    );
    ensure!(
        sorted(facts.counts.clone()) == wanted,
        "counted {:?}, there are {wanted:?}",
        facts.counts
    );
    ensure!(!facts.scope.included.is_empty(), "the scope says nothing of what is included");
    let format = subject.kind.dump_format(&source.case.source);
    let parsed = parse(subject, format, &bytes, 64 * 1024)?;
    ensure!(parsed.objects > 0, "the checker saw no objects");
    if !parsed.counts.is_empty() {
        ensure!(
            sorted(parsed.counts.clone()) == wanted,
            "the checker counted {:?}, there are {wanted:?}",
            parsed.counts
        );
    }
    let mut target = open(subject, (subject.target)())?;
    target.database.prepare_target()?;
    load(&mut *target.database, format, &bytes)?;
    let found = sorted(target.database.counts()?);
    ensure!(found == wanted, "restored {found:?}, there were {wanted:?}");
    target.database.settle_target()?;
    // Seen by whoever opens it next, too.
    let mut again = open(subject, target.case)?;
    let found = sorted(again.database.counts()?);
    ensure!(found == wanted, "after settling there are {found:?}, not {wanted:?}");
    Ok(())
}

fn the_end_of_a_dump_stays_the_end(subject: &Subject) -> Held {
    let mut source = open(subject, (subject.filled)())?;
    source.database.probe()?;
    let mut dump = source.database.dump()?;
    std::io::copy(&mut dump, &mut std::io::sink())?;
    for _ in 0..3 {
        ensure!(dump.read(&mut [0; 10])? == 0, "more bytes came after the end");
    }
    dump.finish()?;
    Ok(())
}

fn a_cut_dump_is_not_loaded(subject: &Subject) -> Held {
    let Dumped { bytes, format, .. } = dump(subject)?;
    let length = bytes.len();
    for cut in [0, length / 2, length * 9 / 10] {
        let mut target = open(subject, (subject.target)())?;
        target.database.prepare_target()?;
        let answer = load(&mut *target.database, format, &bytes[..cut]);
        ensure!(answer.is_err(), "{cut} of {length} bytes were loaded without an error");
        target.database.discard_target()?;
        expect_as_before(subject, target)?;
    }
    Ok(())
}

fn a_dropped_load_leaves_the_target_as_before(subject: &Subject) -> Held {
    let Dumped { bytes, format, .. } = dump(subject)?;
    let mut target = open(subject, (subject.target)())?;
    target.database.prepare_target()?;
    let mut load = target.database.load(format)?;
    load.write_all(&bytes[..bytes.len() / 2])?;
    drop(load);
    target.database.discard_target()?;
    expect_as_before(subject, target)
}

/// A target that was discarded can be prepared and filled as if nothing had been.
fn expect_as_before(subject: &Subject, target: Opened) -> Held {
    let Dumped { bytes, format, facts } = dump(subject)?;
    let mut again = open(subject, target.case)?;
    if let Ok(counts) = again.database.counts() {
        ensure!(counts.is_empty(), "after discarding there are still {counts:?}");
    }
    let mut again = open(subject, again.case)?;
    again.database.prepare_target()?;
    load(&mut *again.database, format, &bytes)?;
    let found = sorted(again.database.counts()?);
    ensure!(
        found == sorted(facts.counts.clone()),
        "a second attempt restored {found:?}, not {:?}",
        facts.counts
    );
    again.database.settle_target()?;
    Ok(())
}

fn discard_is_idempotent(subject: &Subject) -> Held {
    let mut target = open(subject, (subject.target)())?;
    target.database.prepare_target()?;
    target.database.discard_target()?;
    target.database.discard_target()?;
    expect_as_before(subject, target)
}

fn a_look_at_a_target_makes_nothing(subject: &Subject) -> Held {
    let mut filled = open(subject, (subject.filled)())?;
    match filled.database.look_at_target() {
        // A kind that cannot look without making.
        Ok(None) => return Ok(()),
        Err(error) if error.code() == Code::Refused => {}
        other => {
            return Err(broken(format!(
                "a look at a filled target is {other:?}, REFUSED was expected"
            )));
        }
    }
    let mut target = open(subject, (subject.target)())?;
    target.database.look_at_target()?;
    // Twice the same: the first look left nothing. And what was found good can be prepared.
    target.database.look_at_target()?;
    target.database.prepare_target()?;
    target.database.discard_target()?;
    Ok(())
}

fn a_filled_target_is_refused_and_untouched(subject: &Subject) -> Held {
    let mut filled = open(subject, (subject.filled)())?;
    let before = sorted(filled.database.counts()?);
    let mut as_target = open(subject, filled.case)?;
    match as_target.database.prepare_target() {
        Err(error) if error.code() == Code::Refused => {}
        other => return Err(broken(format!("a filled target is {other:?}, REFUSED was expected"))),
    }
    // What an engine does after any failed preparation.
    as_target.database.discard_target()?;
    let mut after = open(subject, as_target.case)?;
    let found = sorted(after.database.counts()?);
    ensure!(found == before, "there were {before:?}, now there are {found:?}");
    Ok(())
}

fn cancel_ends_a_dump(subject: &Subject) -> Held {
    let mut source = open(subject, (subject.filled)())?;
    source.database.probe()?;
    let mut dump = source.database.dump()?;
    let mut first = [0; 100];
    dump.read_exact(&mut first)?;
    source.cancel.cancel(Reason::Interrupt);
    let began = Instant::now();
    let error = loop {
        match dump.read(&mut [0; 1000]) {
            Ok(0) => return Err(broken("a cancelled dump ended as if it were whole".into())),
            Ok(_) => {}
            Err(error) => break from_io(error, |error| Error::internal("read", error)),
        }
    };
    ensure!(error.code() == Code::Cancelled, "it answers {error}");
    // An error stays one: whoever reads on must not find an end.
    ensure!(dump.read(&mut [0; 10]).is_err(), "after the error came an end");
    drop(dump);
    ensure!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    Ok(())
}

fn cancel_ends_a_load(subject: &Subject) -> Held {
    let Dumped { bytes, format, .. } = dump(subject)?;
    let mut target = open(subject, (subject.target)())?;
    target.database.prepare_target()?;
    let mut load = target.database.load(format)?;
    load.write_all(&bytes[..bytes.len() / 2])?;
    target.cancel.cancel(Reason::Terminate);
    let began = Instant::now();
    let written = load
        .write_all(&bytes[bytes.len() / 2..])
        .map_err(|error| from_io(error, |e| Error::internal("write", e)));
    match written.and_then(|()| load.finish()) {
        Err(error) if error.code() == Code::Cancelled => {}
        other => return Err(broken(format!("a cancelled load answers {other:?}"))),
    }
    // Taking back must still be possible: the flag is for the work, not for the tidying up.
    target.database.discard_target()?;
    ensure!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    expect_as_before(subject, target)
}

fn a_dropped_dump_leaves_the_source_usable(subject: &Subject) -> Held {
    let mut source = open(subject, (subject.filled)())?;
    source.database.probe()?;
    let mut dump = source.database.dump()?;
    dump.read_exact(&mut [0; 1000])?;
    drop(dump);
    let mut again = open(subject, source.case)?;
    again.database.probe()?;
    let mut dump = again.database.dump()?;
    let mut bytes = Vec::new();
    dump.read_to_end(&mut bytes)?;
    dump.finish()?;
    let format = subject.kind.dump_format(&again.case.source);
    parse(subject, format, &bytes, 4096)?;
    Ok(())
}

fn a_dump_changes_nothing(subject: &Subject) -> Held {
    let mut source = open(subject, (subject.filled)())?;
    let before = sorted(source.database.counts()?);
    source.database.probe()?;
    let mut dump = source.database.dump()?;
    std::io::copy(&mut dump, &mut std::io::sink())?;
    dump.finish()?;
    let mut after = open(subject, source.case)?;
    let found = sorted(after.database.counts()?);
    ensure!(found == before, "there were {before:?}, now there are {found:?}");
    Ok(())
}

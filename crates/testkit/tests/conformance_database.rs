//! The database suite lets a right database pass and catches wrong ones. The database here is a few tables in memory, and its dump a
//! few lines of text with a counted end.

#![allow(clippy::unwrap_used, reason = "a test has nobody to hand errors to")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use coffre_model::backup::Tool;
use coffre_model::database::{
    Access, Capability, Checker, Database, DatabaseKind, Dump, DumpFacts, DumpFormat, Load, Parsed, Probe, TableCount,
};
use coffre_model::field::{Field, FieldKind, FieldPart};
use coffre_model::manifest::Scope;
use coffre_model::source::{Source, SourceOptions};
use coffre_model::{Code, Error, Result};
use coffre_testkit::conformance::database::{Case, Subject, failures, source};

type Tables = BTreeMap<String, Vec<String>>;
type World = Arc<Mutex<HashMap<String, Tables>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    NoEndInChecker,
    CheckerPanics,
    CheckerForgetsPieces,
    EmptyPasses,
    TrailingBytesPass,
    CutDumpLoads,
    LoadsWhileWriting,
    FillsFilledTarget,
    DiscardForgets,
    DiscardTwiceFails,
    CancelledDumpEnds,
    CancelIgnored,
    CancelIgnoredByLoad,
    WrongCounts,
    RestoresLess,
    DumpChangesSource,
    ProbeMakes,
    EndIsNoEnd,
    NoScope,
    AnyAddress,
}

#[test]
fn a_right_database_passes() {
    let found = ask(Flaw::None);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_flaw_is_caught_by_its_obligation() {
    use Flaw as F;
    for (flaw, obligation) in [
        (F::NoEndInChecker, "a missing end is found wherever it is missing"),
        (F::CheckerPanics, "damage never panics"),
        (F::CheckerForgetsPieces, "the checker takes pieces of any size"),
        (F::EmptyPasses, "nothing at all is DUMP_EMPTY"),
        (F::TrailingBytesPass, "bytes after the end are found"),
        (F::CutDumpLoads, "a cut dump is not loaded"),
        (F::LoadsWhileWriting, "a dropped load leaves the target as before"),
        (F::FillsFilledTarget, "a filled target is refused and untouched"),
        (F::DiscardForgets, "cancel ends a load"),
        (F::DiscardTwiceFails, "discard is idempotent"),
        (F::CancelledDumpEnds, "cancel ends a dump"),
        (F::CancelIgnored, "cancel ends a dump"),
        (F::CancelIgnoredByLoad, "cancel ends a load"),
        (F::WrongCounts, "a dump comes back whole"),
        (F::RestoresLess, "a dump comes back whole"),
        (F::DumpChangesSource, "a dump changes nothing"),
        (F::ProbeMakes, "open neither connects nor writes"),
        (F::EndIsNoEnd, "the end of a dump stays the end"),
        (F::NoScope, "a dump comes back whole"),
        (F::AnyAddress, "the kind describes itself"),
    ] {
        let found = ask(flaw);
        let caught = found.iter().any(|failure| failure.starts_with(&format!("{obligation}:")));
        assert!(caught, "{flaw:?} is not caught by {obligation:?}, only by {found:#?}");
    }
}

fn ask(flaw: Flaw) -> Vec<String> {
    let world = World::default();
    let number = AtomicU32::new(0);
    let fresh = || format!("ledger://localhost/{}", number.fetch_add(1, Ordering::SeqCst));
    let kind = Ledger {
        world: Arc::clone(&world),
        flaw,
    };
    failures(&Subject {
        kind: &kind,
        filled: &|| {
            let address = fresh();
            let rows = |count: usize| (0..count).map(|row| format!("row number {row} of some words")).collect();
            let tables = Tables::from([
                ("customers".into(), rows(1200)),
                ("empty".into(), vec![]),
                ("orders".into(), rows(2000)),
            ]);
            world.lock().unwrap().insert(address.clone(), tables);
            Case::new(source(address, SourceOptions::default()))
        },
        target: &|| Case::new(source(fresh(), SourceOptions::default())),
        absent: &|| Case::new(source(fresh(), SourceOptions::default())),
    })
}

struct Ledger {
    world: World,
    flaw: Flaw,
}

impl DatabaseKind for Ledger {
    fn name(&self) -> &'static str {
        "ledger"
    }
    fn schemes(&self) -> &'static [&'static str] {
        &["ledger"]
    }
    fn fields(&self) -> Vec<Field> {
        vec![Field {
            name: "path",
            kind: FieldKind::Text,
            required: true,
            choices: &[],
            default: None,
            part: FieldPart::Path,
        }]
    }
    fn capability(&self) -> Capability {
        Capability {
            needs_tools: false,
            network: false,
            consistent_counts: true,
            table_choice: false,
        }
    }
    fn validate(&self, source: &Source) -> Result<()> {
        if source.parsed()?.scheme == "ledger" || self.flaw == Flaw::AnyAddress {
            return Ok(());
        }
        Err(Error::new(Code::Usage, "source_scheme"))
    }
    fn formats(&self) -> &'static [DumpFormat] {
        &[DumpFormat::Sql]
    }
    fn dump_format(&self, _: &Source) -> DumpFormat {
        DumpFormat::Sql
    }
    fn checker(&self, _: DumpFormat) -> Box<dyn Checker> {
        Box::new(LedgerChecker {
            flaw: self.flaw,
            parser: Parser::default(),
        })
    }
    fn stock_load(&self, _: DumpFormat) -> Vec<String> {
        vec!["ledger load TARGET".into()]
    }
    fn open(&self, source: &Source, access: Access) -> Result<Box<dyn Database>> {
        Ok(Box::new(Open {
            world: Arc::clone(&self.world),
            flaw: self.flaw,
            at: source.address.clone(),
            access,
            made: false,
            discarded: false,
        }))
    }
}

/// Lines of text; the last one says how many came before it.
#[derive(Default)]
struct Parser {
    rest: Vec<u8>,
    tables: Tables,
    lines: u64,
    bytes: u64,
    ended: bool,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.rest.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.rest);
        let mut lines = bytes.split(|b| *b == b'\n');
        // What stands behind the last newline is not yet a line.
        self.rest = lines.next_back().unwrap_or_default().to_vec();
        lines.try_for_each(|line| self.line(&String::from_utf8_lossy(line)))
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let wrong = || Error::new(Code::VerifyMismatch, "dump_damaged");
        if self.ended {
            return Err(wrong());
        }
        match line.split_once(' ') {
            Some(("table", name)) => drop(self.tables.insert(name.to_owned(), Vec::new())),
            Some(("row", text)) => self.tables.values_mut().last().ok_or_else(wrong)?.push(text.to_owned()),
            Some(("end", count)) if count == self.lines.to_string() => self.ended = true,
            _ => return Err(wrong()),
        }
        self.lines += 1;
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        if self.bytes == 0 {
            return Err(Error::new(Code::DumpEmpty, "dump_empty"));
        }
        if !self.ended || !self.rest.is_empty() {
            return Err(Error::new(Code::DumpTruncated, "dump_truncated"));
        }
        Ok(())
    }
}

fn counts(tables: &Tables) -> Vec<TableCount> {
    let count = |(table, rows): (&String, &Vec<String>)| TableCount {
        table: table.clone(),
        rows: rows.len() as u64,
    };
    tables.iter().map(count).collect()
}

struct LedgerChecker {
    flaw: Flaw,
    parser: Parser,
}

impl Checker for LedgerChecker {
    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        if self.flaw == Flaw::CheckerForgetsPieces {
            self.parser.rest.clear();
        }
        if self.flaw == Flaw::TrailingBytesPass && self.parser.ended {
            return Ok(());
        }
        let fed = self.parser.feed(bytes);
        assert!(self.flaw != Flaw::CheckerPanics || fed.is_ok(), "a panic in the checker");
        match self.flaw {
            Flaw::TrailingBytesPass if self.parser.ended => {
                self.parser.rest.clear();
                Ok(())
            }
            _ => fed,
        }
    }
    fn finish(&mut self) -> Result<Parsed> {
        match self.parser.finish() {
            Err(error) if error.code() == Code::DumpEmpty && self.flaw == Flaw::EmptyPasses => {}
            Err(error) if error.code() == Code::DumpTruncated && self.flaw == Flaw::NoEndInChecker => {}
            other => other?,
        }
        Ok(Parsed {
            counts: counts(&self.parser.tables),
            objects: self.parser.lines,
            shapes: None,
        })
    }
}

struct Open {
    world: World,
    flaw: Flaw,
    at: String,
    access: Access,
    made: bool,
    discarded: bool,
}

impl Open {
    fn tables(&self) -> Result<Tables> {
        let found = self.world.lock().unwrap().get(&self.at).cloned();
        found.ok_or_else(|| Error::new(Code::Unreachable, "unreachable"))
    }
}

impl Database for Open {
    fn probe(&mut self) -> Result<Probe> {
        if self.flaw == Flaw::ProbeMakes && self.tables().is_err() {
            self.world.lock().unwrap().insert(self.at.clone(), Tables::new());
            return Err(Error::new(Code::Unreachable, "unreachable"));
        }
        Ok(Probe {
            server_version: "1".into(),
            tool: Tool {
                name: "ledger".into(),
                path: None,
                version: "1".into(),
            },
            estimated_bytes: None,
            tables: self.tables()?.len() as u64,
            tls: None,
            remarks: vec![],
        })
    }

    fn dump(&mut self) -> Result<Box<dyn Dump>> {
        let tables = self.tables()?;
        let mut text = String::new();
        let mut lines = 0;
        for (table, rows) in &tables {
            writeln!(text, "table {table}").unwrap();
            for row in rows {
                writeln!(text, "row {row}").unwrap();
            }
            lines += 1 + rows.len();
        }
        writeln!(text, "end {lines}").unwrap();
        if self.flaw == Flaw::DumpChangesSource {
            self.world
                .lock()
                .unwrap()
                .get_mut(&self.at)
                .unwrap()
                .get_mut("orders")
                .unwrap()
                .pop();
        }
        let mut counts = counts(&tables);
        if self.flaw == Flaw::WrongCounts {
            counts[0].rows += 1;
        }
        Ok(Box::new(LedgerDump {
            flaw: self.flaw,
            access: self.access.clone(),
            text: text.into_bytes(),
            at: 0,
            extra: 1,
            counts,
        }))
    }

    fn counts(&mut self) -> Result<Vec<TableCount>> {
        Ok(counts(&self.tables()?))
    }

    fn prepare_target(&mut self) -> Result<()> {
        let mut world = self.world.lock().unwrap();
        if world.get(&self.at).is_some_and(|tables| !tables.is_empty()) && self.flaw != Flaw::FillsFilledTarget {
            return Err(Error::new(Code::Refused, "target_not_empty"));
        }
        world.insert(self.at.clone(), Tables::new());
        self.made = true;
        Ok(())
    }

    fn load(&mut self, _: DumpFormat) -> Result<Box<dyn Load>> {
        Ok(Box::new(LedgerLoad {
            flaw: self.flaw,
            world: Arc::clone(&self.world),
            at: self.at.clone(),
            access: self.access.clone(),
            parser: Parser::default(),
        }))
    }

    fn settle_target(&mut self) -> Result<()> {
        Ok(())
    }

    fn discard_target(&mut self) -> Result<()> {
        if self.discarded && self.flaw == Flaw::DiscardTwiceFails {
            return Err(Error::new(Code::NotFound, "nothing_there"));
        }
        self.discarded = true;
        if self.flaw == Flaw::DiscardForgets {
            self.world
                .lock()
                .unwrap()
                .get_mut(&self.at)
                .unwrap()
                .insert("left".into(), vec![]);
        } else if self.made && self.flaw != Flaw::LoadsWhileWriting {
            self.world.lock().unwrap().remove(&self.at);
        }
        Ok(())
    }
}

struct LedgerDump {
    flaw: Flaw,
    access: Access,
    text: Vec<u8>,
    at: usize,
    extra: usize,
    counts: Vec<TableCount>,
}

impl Read for LedgerDump {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if let Err(error) = self.access.cancel.check() {
            match self.flaw {
                Flaw::CancelIgnored => {}
                Flaw::CancelledDumpEnds => return Ok(0),
                _ => return Err(error.into()),
            }
        }
        let rest = &self.text[self.at..];
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        if self.flaw == Flaw::EndIsNoEnd && length == 0 {
            // The end is told once, and then there is more.
            self.extra += 1;
            return Ok(self.extra % 2);
        }
        Ok(length)
    }
}

impl Dump for LedgerDump {
    fn finish(self: Box<Self>) -> Result<DumpFacts> {
        let included = if self.flaw == Flaw::NoScope {
            vec![]
        } else {
            vec!["tables".to_owned()]
        };
        Ok(DumpFacts {
            counts: self.counts,
            scope: Scope {
                included,
                ..Scope::default()
            },
            remarks: vec![],
        })
    }
}

struct LedgerLoad {
    flaw: Flaw,
    world: World,
    at: String,
    access: Access,
    parser: Parser,
}

impl LedgerLoad {
    fn check(&self) -> Result<()> {
        if self.flaw == Flaw::CancelIgnoredByLoad {
            Ok(())
        } else {
            self.access.cancel.check()
        }
    }

    fn store(&self, tables: Tables) {
        self.world.lock().unwrap().insert(self.at.clone(), tables);
    }
}

impl Write for LedgerLoad {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.check()?;
        self.parser.feed(bytes)?;
        if self.flaw == Flaw::LoadsWhileWriting {
            self.store(self.parser.tables.clone());
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Load for LedgerLoad {
    fn finish(self: Box<Self>) -> Result<()> {
        self.check()?;
        if self.flaw != Flaw::CutDumpLoads {
            self.parser.finish()?;
        }
        let mut tables = self.parser.tables.clone();
        if self.flaw == Flaw::RestoresLess {
            tables.values_mut().last().unwrap().pop();
        }
        self.store(tables);
        Ok(())
    }
}

//! What these tests share.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use coffre_databases::postgres::Postgres as Kind;
use coffre_model::database::{Access, Database, DatabaseKind, DumpFacts, DumpFormat, FoundProgram, TableCount};
use coffre_model::error::from_io;
use coffre_model::replace::{Replace, Replacement};
use coffre_model::source::{Source, SourceOptions};
use coffre_model::{Cancel, Error, Id, Result, Secret};
use coffre_testkit::conformance::database::source;

/// One database of the adapter, with its private folder and its flag.
pub(crate) struct Work {
    pub(crate) database: Box<dyn Database>,
    pub(crate) cancel: Cancel,
    pub(crate) runtime: tempfile::TempDir,
}

/// How to open one.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) address: String,
    pub(crate) options: SourceOptions,
    pub(crate) password: Option<String>,
    pub(crate) tool_paths: Vec<PathBuf>,
    pub(crate) stall: Duration,
    pub(crate) lock_wait: Duration,
}

impl Setup {
    pub(crate) fn new(address: impl Into<String>) -> Setup {
        Setup {
            address: address.into(),
            options: SourceOptions::default(),
            password: None,
            tool_paths: Vec::new(),
            stall: Duration::from_secs(30),
            lock_wait: Duration::from_secs(20),
        }
    }

    pub(crate) fn plain(mut self) -> Setup {
        self.options.format = Some("plain".to_owned());
        self
    }

    pub(crate) fn tool_path(mut self, folder: impl Into<PathBuf>) -> Setup {
        self.options.tool_path = Some(folder.into().to_str().unwrap().to_owned());
        self
    }

    pub(crate) fn password(mut self, password: &str) -> Setup {
        self.password = Some(password.to_owned());
        self
    }

    pub(crate) fn stall(mut self, stall: Duration) -> Setup {
        self.stall = stall;
        self
    }

    pub(crate) fn source(&self) -> Source {
        source(self.address.clone(), self.options.clone())
    }

    /// Makes ready to replace what the address points to.
    pub(crate) fn replacing(&self) -> Replacing {
        let runtime = tempfile::Builder::new().prefix("coffre-runtime-").tempdir().unwrap();
        let cancel = Cancel::new();
        let access = self.access(runtime.path().to_owned(), &cancel);
        Replacing {
            replace: Kind.replace(&self.source(), access).unwrap(),
            cancel,
            runtime,
        }
    }

    fn access(&self, runtime: PathBuf, cancel: &Cancel) -> Access {
        Access {
            password: self.password.clone().map(Secret::new),
            runtime,
            tool_paths: self.tool_paths.clone(),
            stall: self.stall,
            lock_wait: self.lock_wait,
            cancel: cancel.clone(),
        }
    }

    /// Every program that is found.
    pub(crate) fn programs(&self) -> Result<Vec<FoundProgram>> {
        let runtime = tempfile::Builder::new().prefix("coffre-runtime-").tempdir().unwrap();
        Kind.programs(&self.access(runtime.path().to_owned(), &Cancel::new()))
    }

    pub(crate) fn try_open(&self) -> Result<Work> {
        let runtime = tempfile::Builder::new().prefix("coffre-runtime-").tempdir().unwrap();
        let cancel = Cancel::new();
        let access = self.access(runtime.path().to_owned(), &cancel);
        Ok(Work {
            database: Kind.open(&self.source(), access)?,
            cancel,
            runtime,
        })
    }

    pub(crate) fn open(&self) -> Work {
        self.try_open().unwrap()
    }

    pub(crate) fn format(&self) -> DumpFormat {
        Kind.dump_format(&self.source())
    }

    /// A whole dump.
    pub(crate) fn dump(&self) -> Result<(Vec<u8>, DumpFacts)> {
        self.open().dump()
    }

    /// A whole restore; nothing is settled.
    pub(crate) fn restore(&self, format: DumpFormat, bytes: &[u8]) -> Result<Work> {
        let mut work = self.open();
        work.database.prepare_target()?;
        match work.load(format, bytes) {
            Ok(()) => Ok(work),
            Err(error) => {
                work.database.discard_target()?;
                Err(error)
            }
        }
    }
}

/// A replacement at work, with its private folder and its flag.
pub(crate) struct Replacing {
    pub(crate) replace: Box<dyn Replace>,
    pub(crate) cancel: Cancel,
    runtime: tempfile::TempDir,
}

impl Replacing {
    /// Plans, prepares and loads.
    pub(crate) fn loaded(&mut self, format: DumpFormat, bytes: &[u8]) -> Result<Replacement> {
        let mut plan = self.replace.plan(&Id::new())?;
        self.replace.prepare(&mut plan)?;
        self.load(&plan, format, bytes)?;
        Ok(plan)
    }

    pub(crate) fn load(&mut self, plan: &Replacement, format: DumpFormat, bytes: &[u8]) -> Result<()> {
        let mut load = self.replace.load(plan, format)?;
        for piece in bytes.chunks(100_003) {
            load.write_all(piece).map_err(unwrapped)?;
        }
        load.finish()
    }

    pub(crate) fn private_files(&self) -> Vec<String> {
        files(&self.runtime)
    }

    /// All of it.
    pub(crate) fn whole(&mut self, format: DumpFormat, bytes: &[u8]) -> Result<Replacement> {
        let mut plan = self.loaded(format, bytes)?;
        self.replace.counts(&plan)?;
        self.replace.swap(&mut plan)?;
        Ok(plan)
    }
}

impl Work {
    pub(crate) fn dump(&mut self) -> Result<(Vec<u8>, DumpFacts)> {
        self.database.probe()?;
        let mut dump = self.database.dump()?;
        let mut bytes = Vec::new();
        dump.read_to_end(&mut bytes).map_err(unwrapped)?;
        Ok((bytes, dump.finish()?))
    }

    pub(crate) fn load(&mut self, format: DumpFormat, bytes: &[u8]) -> Result<()> {
        let mut load = self.database.load(format)?;
        for piece in bytes.chunks(100_003) {
            load.write_all(piece).map_err(unwrapped)?;
        }
        load.finish()
    }

    pub(crate) fn private_files(&self) -> Vec<String> {
        files(&self.runtime)
    }
}

fn files(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

pub(crate) fn unwrapped(error: std::io::Error) -> Error {
    from_io(error, |e| Error::internal("test", e))
}

pub(crate) fn count(table: &str, rows: u64) -> TableCount {
    TableCount {
        table: table.to_owned(),
        rows,
    }
}

/// A small shop with most of what a database can hold.
pub(crate) const SHOP: &str = r#"
    CREATE SCHEMA "Odd Schema";
    CREATE TYPE public.mood AS ENUM ('sad', 'happy');
    CREATE TABLE public.customers (id bigserial PRIMARY KEY, name text NOT NULL, mood public.mood, notes jsonb);
    CREATE TABLE public.orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer bigint REFERENCES public.customers, total numeric, at timestamptz);
    CREATE TABLE "Odd Schema"."odd.""table"" $1 | é" ("a b" int, "select" text);
    CREATE TABLE public.empty (x int);
    CREATE TABLE public.parts (id int, day date) PARTITION BY RANGE (day);
    CREATE TABLE public.parts_1 PARTITION OF public.parts FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
    CREATE TABLE public.parts_2 PARTITION OF public.parts FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
    CREATE TABLE public.parent (x int);
    CREATE TABLE public.child (y int) INHERITS (public.parent);
    CREATE TABLE public.nothing ();
    CREATE TABLE public.computed (x int, y int GENERATED ALWAYS AS (x * 2) STORED, gone int);
    ALTER TABLE public.computed DROP COLUMN gone;
    CREATE UNLOGGED TABLE public.scratch (x int);
    CREATE EXTENSION IF NOT EXISTS plpgsql;
    CREATE VIEW public.rich AS SELECT name FROM public.customers JOIN public.orders ON customer = customers.id WHERE total > 100;
    CREATE MATERIALIZED VIEW public.sums AS SELECT customer, sum(total) FROM public.orders GROUP BY 1;
    CREATE FUNCTION public.twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
    INSERT INTO public.customers (name, mood, notes)
        SELECT 'name ' || g || E'\ttab \\ back\nline', 'happy', jsonb_build_object('n', g, 'text', repeat('x', 40)) FROM generate_series(1, 3000) g;
    INSERT INTO public.orders (customer, total, at) SELECT 1 + g % 3000, g * 1.5, '2026-01-01'::timestamptz + g * interval '1 min' FROM generate_series(1, 5000) g;
    INSERT INTO "Odd Schema"."odd.""table"" $1 | é" SELECT g, 'row ' || g FROM generate_series(1, 7) g;
    INSERT INTO public.parts SELECT g, '2026-01-01'::date + g % 365 FROM generate_series(1, 730) g;
    INSERT INTO public.parent VALUES (1), (2);
    INSERT INTO public.child VALUES (3, 4);
    INSERT INTO public.nothing DEFAULT VALUES;
    INSERT INTO public.nothing DEFAULT VALUES;
    INSERT INTO public.computed (x) SELECT generate_series(1, 4);
    INSERT INTO public.scratch SELECT generate_series(1, 5);
    SELECT lo_from_bytea(0, 'a large object');
    REFRESH MATERIALIZED VIEW public.sums;
    COMMENT ON TABLE public.orders IS 'what was bought';
"#;

/// The exact rows of the shop.
pub(crate) fn shop_counts() -> Vec<TableCount> {
    vec![
        count("\"Odd Schema\".\"odd.\"\"table\"\" $1 | é\"", 7),
        count("public.child", 1),
        count("public.computed", 4),
        count("public.customers", 3000),
        count("public.empty", 0),
        count("public.nothing", 2),
        count("public.orders", 5000),
        count("public.parent", 2),
        count("public.parts_1", 362),
        count("public.parts_2", 368),
        count("public.scratch", 5),
    ]
}

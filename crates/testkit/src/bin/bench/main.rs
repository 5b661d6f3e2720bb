//! `./dev bench [postgres|sqlite|restore|memory]`: speed and memory as ratios against stock commands in the same run.
//!
//! Each pair runs in turns (ours, stock, ours, stock, …), so that a machine whose speed drifts slows both; the ratio is the median of the
//! pairs' ratios. Never a test: it judges nothing.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a measuring program: it starts stock tools, prints a table, and ends at the first surprise"
)]

mod replace;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use coffre_testkit::postgres::{Options, Postgres, Version};
use serde_json::Value;

/// Counted pairs (`COFFRE_BENCH_RUNS`, 5).
fn pairs() -> usize {
    std::env::var("COFFRE_BENCH_RUNS")
        .ok()
        .and_then(|n| n.parse().ok())
        .filter(|n| *n > 0)
        .unwrap_or(5)
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name || w == "all");
    let bench = Bench::new();
    println!(
        "| what | ours | stock | ratio (median of {} pairs) | goal |\n|---|---|---|---|---|",
        pairs()
    );
    if runs("postgres") {
        bench.postgres();
    }
    if runs("restore") {
        bench.restore();
    }
    if runs("sqlite") {
        bench.sqlite();
    }
    if runs("memory") {
        bench.memory();
    }
}

struct Bench {
    folder: tempfile::TempDir,
    coffre: PathBuf,
}

/// A row of the table: what, the goal, and the figure of a run.
type Row<'a> = (&'a str, &'a str, fn(&Ours) -> f64);

/// What one run of ours took.
struct Ours {
    seconds: f64,
    /// Seconds from the beginning of the dump to the committed file, without counting and reading back.
    to_file: f64,
    laps: Vec<(String, f64)>,
    /// From when to when what is live was exchanged, where it was.
    swap: Option<(DateTime<Utc>, DateTime<Utc>)>,
    peak_mb: f64,
}

impl Bench {
    fn new() -> Self {
        let base = std::env::var_os("COFFRE_BENCH_FOLDER").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let folder = tempfile::Builder::new().prefix("coffre-bench-").tempdir_in(base).unwrap();
        let coffre = std::env::current_exe().unwrap().with_file_name("coffre");
        assert!(coffre.is_file(), "build it first: cargo build --release -p coffre-cli");
        let bench = Bench { folder, coffre };
        bench.ok(&["vault", "init"]);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.coffre);
        command
            .arg("--home")
            .arg(self.path("home"))
            .args(arguments)
            .env("COFFRE_SECRETS", "vault")
            .env("COFFRE_VAULT_KEY_FILE", self.path("vault.key"))
            .stdin(Stdio::null());
        command
    }

    fn ok(&self, arguments: &[&str]) -> Value {
        let mut line: Vec<&str> = arguments.to_vec();
        line.push("--json");
        let output = self.command(&line).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{arguments:?}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Runs ours; watches its own peak memory (children are not ours).
    fn ours(&self, arguments: &[&str]) -> Ours {
        let _fresh_logs = std::fs::remove_dir_all(self.path("home/logs"));
        std::fs::create_dir_all(self.path("home/logs")).unwrap();
        let began = Instant::now();
        let mut child = self
            .command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut peak = 0.0_f64;
        let status = loop {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let high = status
                .lines()
                .find_map(|l| l.strip_prefix("VmHWM:"))
                .and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
            peak = peak.max(high.unwrap_or(0.0) / 1024.0);
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let seconds = began.elapsed().as_secs_f64();
        assert!(status.success(), "{arguments:?}");
        let ended = self.laps();
        let swap = ended.iter().find(|(name, ..)| name == "swap").map(|(_, seconds, at)| {
            let began = *at - TimeDelta::milliseconds((seconds * 1000.0).ceil() as i64);
            (began, *at)
        });
        let laps: Vec<(String, f64)> = ended.into_iter().map(|(name, seconds, _)| (name, seconds)).collect();
        let to_file = laps
            .iter()
            .filter(|(n, _)| n == "dumped" || n == "committed")
            .map(|(_, s)| s)
            .sum();
        Ours {
            seconds,
            to_file,
            laps,
            swap,
            peak_mb: peak,
        }
    }

    /// The laps that the engine wrote into its log, and when each came to its end.
    fn laps(&self) -> Vec<(String, f64, DateTime<Utc>)> {
        let mut laps = Vec::new();
        for entry in std::fs::read_dir(self.path("home/logs")).unwrap().flatten() {
            for line in std::fs::read_to_string(entry.path()).unwrap().lines() {
                let Ok(line) = serde_json::from_str::<Value>(line) else {
                    continue;
                };
                if let (Some(lap), Some(ms)) = (line["fields"]["lap"].as_str(), line["fields"]["ms"].as_f64()) {
                    let at = line["timestamp"].as_str().unwrap().parse().unwrap();
                    laps.push((lap.to_owned(), ms / 1000.0, at));
                }
            }
        }
        laps
    }

    /// A stock command line, in a shell of its own as a person would type it.
    fn stock(&self, line: &str, environment: &[(&str, String)]) -> f64 {
        let began = Instant::now();
        let status = Command::new("bash")
            .args(["-c", &format!("set -eo pipefail; {line}")])
            .current_dir(self.folder.path())
            .envs(environment.iter().map(|(n, v)| (*n, v.as_str())))
            .status()
            .unwrap();
        assert!(status.success(), "{line}");
        began.elapsed().as_secs_f64()
    }

    /// Runs both in turns and prints one row per figure of ours.
    fn pair(&self, name: &str, ours: &mut dyn FnMut() -> Ours, stock: &mut dyn FnMut() -> f64, rows: &[Row]) {
        let mut figures: Vec<(Ours, f64)> = Vec::new();
        ours();
        stock();
        for _ in 0..pairs() {
            figures.push((ours(), stock()));
        }
        for (what, goal, figure) in rows {
            let ratio = median(figures.iter().map(|(o, s)| figure(o) / s).collect());
            let mine = median(figures.iter().map(|(o, _)| figure(o)).collect());
            let theirs = median(figures.iter().map(|(_, s)| *s).collect());
            println!("| {name}: {what} | {mine:.2} s | {theirs:.2} s | **{ratio:.2}** | {goal} |");
        }
        let laps: Vec<String> = figures[figures.len() / 2]
            .0
            .laps
            .iter()
            .map(|(n, s)| format!("{n} {s:.2} s"))
            .collect();
        let peak = figures.iter().map(|(o, _)| o.peak_mb).fold(0.0, f64::max);
        println!(
            "| {name}: our parts apart ({}) | | | peak {peak:.0} MB | ≤ 120 MB |",
            laps.join(", ")
        );
    }

    fn filled_server(&self) -> (Postgres, Vec<(&'static str, String)>) {
        let server = Postgres::start(
            Version::V15,
            Options::default().conf("shared_buffers = '1GB'").conf("max_wal_size = '4GB'"),
        );
        server.create_database_named("big");
        server.sql(
            "big",
            "CREATE TABLE events AS SELECT i AS id, md5(i::text) || ' ' || md5((i * 7)::text) AS token, (random() * 1e6)::numeric(12, 2) AS amount,
                 now() - i * interval '1 second' AS at,
                 jsonb_build_object('user', i % 5000, 'tags', ARRAY['red', 'green', 'blue'], 'note', repeat(md5((i % 977)::text), 2)) AS payload
                 FROM generate_series(1, 2200000) i;
             CREATE TABLE people AS SELECT i AS id, 'person ' || i AS name, md5(i::text) || '@example.org' AS email,
                 repeat('Lorem ipsum dolor sit amet, ' || i % 313 || ' ', 6) AS biography FROM generate_series(1, 600000) i;
             ALTER TABLE events ADD PRIMARY KEY (id); ALTER TABLE people ADD PRIMARY KEY (id); CREATE INDEX ON events (at);
             VACUUM ANALYZE;",
        );
        let environment = vec![
            ("PGHOST", server.socket_folder().display().to_string()),
            ("PGPORT", server.port().to_string()),
            ("PGUSER", "postgres".to_owned()),
            ("PATH", format!("{}:/usr/bin:/bin", Version::V15.bin().display())),
        ];
        (server, environment)
    }

    fn postgres(&self) {
        let (server, environment) = self.filled_server();
        self.ok(&["source", "add", &server.socket_address("big"), "--name", "pg"]);
        println!(
            "| (a PostgreSQL 15 database of {}) | | | | |",
            server.sql("big", "SELECT pg_size_pretty(pg_database_size('big'))")
        );
        let back_up = |compression: &str| {
            let ours = self.ours(&["backup", "--source", "pg", "--compression", compression]);
            self.forget();
            ours
        };
        self.pair(
            "PostgreSQL, zstd:3",
            &mut || back_up("zstd:3"),
            &mut || self.stock("pg_dump -Fc -Z0 big | zstd -q -3 -T0 -f -o stock.dump.zst", &environment),
            &[
                ("to a stored file, hashed", "≤ 1.05", |o| o.to_file),
                ("the same and read back, counted, verified", "≤ 1.25", |o| o.seconds),
            ],
        );
        self.pair(
            "PostgreSQL, gzip:6",
            &mut || back_up("gzip:6"),
            &mut || self.stock("pg_dump big | pigz -6 > stock.sql.gz", &environment),
            &[("to a stored file, hashed", "≤ 1.05", |o| o.to_file)],
        );
        self.pair(
            "PostgreSQL, zstd:3 against gzip -9",
            &mut || back_up("zstd:3"),
            &mut || self.stock("pg_dump big | gzip -9 > stock.sql.gz", &environment),
            &[("everything, verified", "≤ 0.25", |o| o.seconds)],
        );
    }

    fn restore(&self) {
        let (server, environment) = self.filled_server();
        self.ok(&["source", "add", &server.socket_address("big"), "--name", "pgr"]);
        self.ok(&["backup", "--source", "pgr"]);
        self.stock("pg_dump -Fc -Z0 big | zstd -q -3 -T0 -f -o stock.dump.zst", &environment);
        let into = server.socket_address("back");
        self.pair(
            "PostgreSQL, restore",
            &mut || {
                let ours = self.ours(&["restore", "latest", "--source", "pgr", "--into", &into]);
                server.drop_database("back");
                ours
            },
            &mut || {
                server.create_database_named("stock");
                let seconds = self.stock(
                    "zstd -q -d -c stock.dump.zst | pg_restore --single-transaction -d stock",
                    &environment,
                );
                server.drop_database("stock");
                seconds
            },
            &[
                ("loading", "≤ 1.05", |o| {
                    o.laps.iter().filter(|(n, _)| n == "load").map(|(_, s)| s).sum()
                }),
                ("everything: verified, loaded, counted", "shown", |o| o.seconds),
            ],
        );
        self.replace_postgres(&server, &environment);
        drop(server);
        self.big_file();
        self.replace_sqlite();
    }

    /// A SQLite file of some 680 MB, as the source `lite`; made once.
    fn big_file(&self) {
        let file = self.path("big.db");
        if file.exists() {
            return;
        }
        let sql = "PRAGMA journal_mode=wal;
            CREATE TABLE events(id INTEGER PRIMARY KEY, token TEXT, amount REAL, payload TEXT);
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 2900000)
            INSERT INTO events SELECT i, hex(randomblob(24)), random()/1e9,
                json_object('user', i % 5000, 'tags', json_array('red','green','blue'), 'note', 'Lorem ipsum dolor sit amet, consectetur '||(i%977)||' adipiscing elit, sed do eiusmod tempor '||(i%31)) FROM n;
            CREATE INDEX events_amount ON events(amount); PRAGMA wal_checkpoint(TRUNCATE);";
        self.stock(&format!("sqlite3 big.db \"{}\" > /dev/null", sql.replace('\n', " ")), &[]);
        println!(
            "| (a SQLite file of {} MB) | | | | |",
            std::fs::metadata(&file).unwrap().len() / 1_000_000
        );
        self.ok(&["source", "add", &format!("sqlite://{}", file.display()), "--name", "lite"]);
    }

    fn sqlite(&self) {
        self.big_file();
        self.pair(
            "SQLite, zstd:3",
            &mut || {
                let ours = self.ours(&["backup", "--source", "lite"]);
                self.forget();
                ours
            },
            &mut || {
                self.stock(
                    "rm -f copy.db; sqlite3 big.db '.backup copy.db' && zstd -q -3 -T0 -f copy.db -o copy.db.zst; rm -f copy.db",
                    &[],
                )
            },
            &[
                ("to a stored file, hashed", "≤ 0.85", |o| o.to_file),
                ("the same and counted, checked, read back", "shown", |o| o.seconds),
            ],
        );
    }

    fn memory(&self) {
        for (name, rows) in [("100 MB", 100_u32), ("10 GB", 10_000)] {
            let file = self.path("size.db");
            let _gone = std::fs::remove_file(&file);
            self.stock(
                &format!(
                    "sqlite3 size.db \"CREATE TABLE t(b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
                     INSERT INTO t SELECT zeroblob(500000)||randomblob(1000)||zeroblob(499000) FROM n;\""
                ),
                &[],
            );
            let source = format!("size-{rows}");
            self.ok(&["source", "add", &format!("sqlite://{}", file.display()), "--name", &source]);
            let ours = self.ours(&["backup", "--source", &source]);
            println!("| our own memory, dump of {name} | {:.0} MB | | | ≤ 120 MB |", ours.peak_mb);
            self.forget();
            let _gone = std::fs::remove_file(&file);
        }
    }

    /// Removes what was stored, so that a long bench does not fill the disk.
    fn forget(&self) {
        let _not_there = std::fs::remove_dir_all(self.path("home/backups"));
        keep_identity(&self.path("home"));
    }
}

/// The destination's identity must stay: without it Coffre rightly refuses to write.
fn keep_identity(home: &Path) {
    let database = home.join("catalogue.db");
    let out = Command::new("sqlite3")
        .arg(&database)
        .arg("SELECT identity FROM destinations WHERE identity IS NOT NULL LIMIT 1")
        .output()
        .unwrap();
    let id = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    std::fs::create_dir_all(home.join("backups")).unwrap();
    let text = format!("{{\"schema\":1,\"id\":\"{id}\",\"created_at\":\"2026-01-01T00:00:00Z\"}}");
    std::fs::write(home.join("backups/coffre-destination.json"), text).unwrap();
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

//! Replacing live data: how long it takes beside stock tools, how long nobody could query, and how long taking it back takes.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use coffre_testkit::postgres::Postgres;

use super::{Bench, Ours, median, pairs};

/// A client that queries all along, each time anew.
struct Client {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<Gap>>,
}

/// A time without an answer.
struct Gap {
    began: DateTime<Utc>,
    ended: DateTime<Utc>,
}

impl Gap {
    fn ms(&self) -> f64 {
        (self.ended - self.began).as_seconds_f64() * 1000.0
    }
}

/// The longest, in milliseconds.
fn longest<'a>(gaps: impl IntoIterator<Item = &'a Gap>) -> f64 {
    gaps.into_iter().map(Gap::ms).fold(0.0, f64::max)
}

impl Client {
    /// Runs `query` again and again; what is measured is the time between two that were answered.
    fn start(mut query: impl FnMut() -> bool + Send + 'static) -> Client {
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut gaps = Vec::new();
            let mut last = Utc::now();
            while !over.load(Ordering::Relaxed) {
                if query() {
                    let now = Utc::now();
                    gaps.push(Gap { began: last, ended: now });
                    last = now;
                }
            }
            gaps.push(Gap {
                began: last,
                ended: Utc::now(),
            });
            gaps
        });
        Client { stop, thread }
    }

    fn gaps(self) -> Vec<Gap> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A stock client that is asked once; whether it was answered.
fn answered(program: &str, arguments: &[String]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|out| out.status.success())
}

/// What was measured of one replacement and its undo.
struct Measured {
    ours: Ours,
    /// While nothing went on: what starting a client costs.
    quiet: f64,
    /// While what was live was exchanged.
    gap: f64,
    /// From the start of the program to its end.
    any_gap: f64,
    undo: f64,
    undo_gap: f64,
}

/// Everything of a replacement, from the start of the program to its end, but the safety backup.
fn apart_from_safety(ours: &Ours) -> f64 {
    let safety = ours.laps.iter().find(|(name, _)| name == "safety").map_or(0.0, |(_, s)| *s);
    ours.seconds - safety
}

/// What each step took.
fn laps(ours: &Ours) -> String {
    let laps: Vec<String> = ours.laps.iter().map(|(n, s)| format!("{n} {s:.2} s")).collect();
    laps.join(", ")
}

impl Bench {
    pub(super) fn replace_postgres(&self, server: &Postgres, environment: &[(&str, String)]) {
        let socket = server.socket_folder().display().to_string();
        let line = |sql: &str| -> Vec<String> {
            [
                "-h",
                &socket,
                "-p",
                &server.port().to_string(),
                "-U",
                "postgres",
                "-d",
                "big",
                "-qAtXc",
                sql,
            ]
            .map(str::to_owned)
            .into()
        };
        let query = line("SELECT id FROM people LIMIT 1");
        let client = || {
            let query = query.clone();
            Client::start(move || answered("psql", &query))
        };
        let stock = || {
            server.create_database_named("stock");
            let seconds = self.stock(
                "zstd -q -d -c stock.dump.zst | pg_restore --single-transaction -d stock",
                environment,
            );
            server.drop_database("stock");
            seconds
        };
        let code = self.latest_manual("pgr");
        // First without a client, which would take a processor for itself.
        let (mut mine, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..pairs() {
            let ours = self.replace(&code);
            let id = self.replaced();
            self.ok(&["undo", &id]);
            self.ok(&["undo", &id, "--forget"]);
            let stock = stock();
            ratios.push(apart_from_safety(&ours) / stock);
            theirs.push(stock);
            mine.push(ours);
        }
        println!(
            "| PostgreSQL: replaced, safety backup apart, against zstd -d and pg_restore into an empty database | {:.2} s | {:.2} s | **{:.2}** | ≤ 1.15 |",
            median(mine.iter().map(apart_from_safety).collect()),
            median(theirs),
            median(ratios)
        );
        println!("| PostgreSQL: the parts ({}) | | | | |", laps(&mine[mine.len() / 2]));
        let measured = self.replacements("pgr", &client);
        let beside: Vec<f64> = (0..pairs())
            .map(|_| {
                // It takes a share of the processors from both.
                let client = client();
                let seconds = stock();
                client.gaps();
                seconds
            })
            .collect();
        self.print("PostgreSQL, a client asks all along", &measured, Some(&beside));
    }

    pub(super) fn replace_sqlite(&self) {
        let file = self.path("big.db").display().to_string();
        self.ok(&["backup", "--source", "lite"]);
        let query = vec![file.clone(), "SELECT id FROM events LIMIT 1".to_owned()];
        let measured = self.replacements("lite", &|| {
            let query = query.clone();
            Client::start(move || answered("sqlite3", &query))
        });
        self.print("SQLite, a reader", &measured, None);
        self.stock(&format!("sqlite3 '{file}' 'CREATE TABLE IF NOT EXISTS beat(at)'"), &[]);
        self.ok(&["backup", "--source", "lite"]);
        let beat = vec![
            "-cmd".to_owned(),
            ".timeout 30000".to_owned(),
            file,
            "INSERT INTO beat VALUES (1)".to_owned(),
        ];
        let measured = self.replacements("lite", &|| {
            let beat = beat.clone();
            Client::start(move || answered("sqlite3", &beat))
        });
        self.print("SQLite, a writer that waits", &measured, None);
    }

    fn latest_manual(&self, source: &str) -> String {
        let list = self.ok(&["list", "--source", source]);
        let backups = list["backups"].as_array().unwrap();
        let latest = backups.iter().find(|b| b["trigger"] == "manual").unwrap();
        latest["code"].as_str().unwrap().to_owned()
    }

    fn replace(&self, code: &str) -> Ours {
        self.ours(&["restore", code, "--replace", "--yes", "--no-countdown"])
    }

    /// The replacement that can be taken back.
    fn replaced(&self) -> String {
        self.ok(&["undo"])["restores"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Replaces by the latest manual backup and takes that back, with a client at work all along.
    fn replacements(&self, source: &str, client: &dyn Fn() -> Client) -> Vec<Measured> {
        let code = self.latest_manual(source);
        (0..pairs())
            .map(|_| {
                let quiet = client();
                std::thread::sleep(Duration::from_secs(1));
                let quiet = longest(&quiet.gaps());
                let watching = client();
                let ours = self.replace(&code);
                let gaps = watching.gaps();
                let (began, ended) = ours.swap.unwrap();
                let gap = longest(gaps.iter().filter(|gap| gap.began <= ended && gap.ended >= began));
                let id = self.replaced();
                let watching = client();
                let began = Instant::now();
                self.ok(&["undo", &id]);
                let undo = began.elapsed().as_secs_f64();
                let undo_gap = longest(&watching.gaps());
                self.ok(&["undo", &id, "--forget"]);
                Measured {
                    ours,
                    quiet,
                    gap,
                    any_gap: longest(&gaps),
                    undo,
                    undo_gap,
                }
            })
            .collect()
    }

    fn print(&self, what: &str, measured: &[Measured], stock: Option<&[f64]>) {
        let middle = |figure: &dyn Fn(&Measured) -> f64| median(measured.iter().map(figure).collect());
        let most = |figure: &dyn Fn(&Measured) -> f64| measured.iter().map(figure).fold(0.0, f64::max);
        let mine = middle(&|m| apart_from_safety(&m.ours));
        match stock {
            Some(stock) => {
                let theirs = median(stock.to_vec());
                println!(
                    "| {what}: replaced, safety backup apart | {mine:.2} s | {theirs:.2} s | {:.2} | shown |",
                    mine / theirs
                );
            }
            None => println!("| {what}: replaced, safety backup apart | {mine:.2} s | | | shown |"),
        }
        println!(
            "| {what}: longest time without an answer at the swap, of {} | {:.0} ms | {:.0} ms while nothing went on | | < 200 ms |",
            measured.len(),
            most(&|m| m.gap),
            most(&|m| m.quiet)
        );
        println!(
            "| {what}: the same from the start of the program to its end | {:.0} ms | | | shown |",
            most(&|m| m.any_gap)
        );
        println!(
            "| {what}: undo, the whole command | {:.2} s | | | < 1 s |",
            middle(&|m| m.undo)
        );
        println!(
            "| {what}: longest time without an answer during the undo | {:.0} ms | | | < 200 ms |",
            most(&|m| m.undo_gap)
        );
        println!("| {what}: the parts ({}) | | | | |", laps(&measured[measured.len() / 2].ours));
    }
}

//! The moment in which two databases change places.
//!
//! It is one command at the server: closing the live database, ending its sessions, waiting until the last is gone, and one transaction with both
//! renamings. So it is as short over a slow network as beside the server, and a client that is killed in the middle leaves nothing half done: the
//! server goes on to its end, or takes everything back but the closing, which `recover` undoes.
//!
//! `ALTER DATABASE … RENAME` waits for sessions by itself, but looks only every 100 ms. So it is asked when nobody is left.

use std::time::{Duration, Instant};

use coffre_model::{Cancel, Code, Error, Result};
use tokio_postgres::types::Type;

use super::places::renaming;
use crate::postgres::connect::{Server, Session};
use crate::postgres::tables::listed;
use crate::postgres::target::allowing;

/// How long transactions at work get to finish before anybody is refused.
const FINISHING: Duration = Duration::from_secs(3);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(20);
/// How long the database may stay closed for sessions that do not end, try by try. Between two tries everybody can connect.
const CLOSED: [Duration; 5] = [
    Duration::from_millis(120),
    Duration::from_millis(150),
    Duration::from_millis(400),
    Duration::from_millis(1500),
    Duration::from_secs(5),
];
/// The pause between two tries.
const BETWEEN: Duration = Duration::from_millis(200);
/// How long an answer about the moment is waited for.
const ANSWER: Duration = Duration::from_secs(40);

/// Needs `COMMIT` inside of `DO` (PostgreSQL 11). Every command stands ready in a setting of the session, so that no name is ever part of this text.
///
/// A session that is just beginning holds a lock on its database before it is seen in `pg_stat_activity`; one that began before the closing may
/// still come through. Those are waited for by their locks. What autovacuum does has no user, and is ended by the renaming itself where we may not.
const MOMENT: &str = "DO $moment$
DECLARE
    live oid := pg_catalog.current_setting('coffre.oid')::oid;
    closed_at timestamptz;
    for_so_long interval;
    coming integer[];
    told integer[] := '{}';
    found record;
    left_over bigint;
    outcome text := 'done';
BEGIN
    -- Autovacuum may be at work in what comes. Renaming ends it; this one is taken back.
    BEGIN
        EXECUTE pg_catalog.current_setting('coffre.try');
        RAISE EXCEPTION USING ERRCODE = 'CF000';
    EXCEPTION WHEN SQLSTATE 'CF000' THEN
        NULL;
    END;
    IF live <> 0 THEN
        -- Should the server crash now, an open database is what we want.
        PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
        EXECUTE pg_catalog.current_setting('coffre.close');
        COMMIT;
        closed_at := pg_catalog.clock_timestamp();
        SELECT pg_catalog.array_agg(l.pid) INTO coming FROM pg_catalog.pg_locks l
         WHERE l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND l.objid = live
           AND l.granted AND l.pid <> pg_catalog.pg_backend_pid();
        LOOP
            for_so_long := pg_catalog.clock_timestamp() - closed_at;
            SELECT pg_catalog.count(*) INTO left_over FROM pg_catalog.pg_locks l
             WHERE l.pid = ANY (coming) AND l.locktype = 'object'
               AND l.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND l.objid = live;
            PERFORM pg_catalog.pg_stat_clear_snapshot();
            FOR found IN SELECT a.pid, a.state, a.usesysid FROM pg_catalog.pg_stat_activity a
                          WHERE a.datid = live AND a.pid <> pg_catalog.pg_backend_pid() LOOP
                CONTINUE WHEN found.usesysid IS NULL AND for_so_long > interval '40 ms';
                left_over := left_over + 1;
                -- Whoever is in the middle of a statement gets a little longer.
                IF found.pid <> ALL (told) AND (found.state IS DISTINCT FROM 'active' OR for_so_long > interval '30 ms') THEN
                    told := told || found.pid;
                    BEGIN
                        PERFORM pg_catalog.pg_terminate_backend(found.pid);
                    EXCEPTION WHEN insufficient_privilege THEN
                        NULL;
                    END;
                END IF;
            END LOOP;
            EXIT WHEN left_over = 0;
            IF for_so_long > pg_catalog.current_setting('coffre.patience')::interval THEN
                EXECUTE pg_catalog.current_setting('coffre.open');
                PERFORM pg_catalog.set_config('coffre.outcome', 'busy', false);
                RETURN;
            END IF;
            PERFORM pg_catalog.pg_sleep(0.001);
        END LOOP;
        IF pg_catalog.cardinality(told) > 0 THEN
            -- A session is no longer seen a little before it is gone.
            PERFORM pg_catalog.pg_sleep(0.003);
        END IF;
    END IF;
    BEGIN
        IF live <> 0 THEN
            EXECUTE pg_catalog.current_setting('coffre.away');
        END IF;
        EXECUTE pg_catalog.current_setting('coffre.come');
    EXCEPTION WHEN OTHERS THEN
        outcome := SQLSTATE || ' ' || SQLERRM;
        IF live <> 0 THEN
            EXECUTE pg_catalog.current_setting('coffre.open');
        END IF;
    END;
    PERFORM pg_catalog.set_config('coffre.outcome', outcome, false);
END
$moment$";

/// Two databases that change places.
pub(super) struct Change<'a> {
    /// The name that everybody uses, and the number of what has it now. Nothing where nothing has it.
    pub(super) live: &'a str,
    pub(super) live_oid: Option<u32>,
    /// What comes there: its name now. Nothing where the name is to be nobody's.
    pub(super) coming: Option<&'a str>,
    /// What the live one is called afterwards.
    pub(super) away: &'a str,
}

/// Whether the session's server and database can do it.
pub(super) fn is_possible(session: &mut Session) -> Result<bool> {
    if session.version().series.0 < 11 {
        return Ok(false);
    }
    session.value("SELECT EXISTS (SELECT FROM pg_catalog.pg_language WHERE lanname = 'plpgsql' AND pg_catalog.has_language_privilege(oid, 'USAGE'))")
}

/// Waits until the transactions that are at work now have ended, at most [`FINISHING`]. Nobody is refused meanwhile.
pub(super) fn let_finish(session: &mut Session, oid: u32) -> Result<()> {
    let began = Instant::now();
    let at_work = "SELECT a.pid, a.xact_start::text FROM pg_catalog.pg_stat_activity a
                    WHERE a.datid = $1 AND a.usesysid IS NOT NULL AND a.xact_start IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()";
    let mut look = || -> Result<Vec<(i32, String)>> {
        let rows = session.query(at_work, &[(&oid, Type::OID)])?;
        let read = |row: &tokio_postgres::Row| -> std::result::Result<_, tokio_postgres::Error> {
            Ok((row.try_get(0)?, row.try_get(1)?))
        };
        rows.iter()
            .map(|row| read(row).map_err(|e| Error::internal("read who is at work", e)))
            .collect()
    };
    let mut waited_for = look()?;
    while !waited_for.is_empty() && began.elapsed() < FINISHING {
        std::thread::sleep(LOOK);
        let now = look()?;
        waited_for.retain(|one| now.contains(one));
    }
    Ok(())
}

/// Has them change places. The cancel flag is looked at between two tries; a try is not interrupted.
///
/// # Errors
/// `REFUSED` where sessions do not end. Whoever gets an error looks what is where, and opens the database again.
pub(super) fn change(server: &Server, database: &str, change: &Change<'_>, cancel: &Cancel) -> Result<()> {
    for patience in CLOSED {
        cancel.check()?;
        let mut session = Session::open(server, database, &Cancel::new())?;
        match attempt(&mut session, change, patience)?.as_str() {
            "done" => return Ok(()),
            "busy" => {}
            other => return Err(refused(&mut session, change, other)?),
        }
        drop(session);
        std::thread::sleep(BETWEEN);
    }
    let mut session = Session::open(server, database, cancel)?;
    Err(refused(&mut session, change, "busy")?)
}

fn attempt(session: &mut Session, change: &Change<'_>, patience: Duration) -> Result<String> {
    let oid = change.live_oid.map_or_else(|| "0".to_owned(), |oid| oid.to_string());
    let (come, try_out) = match change.coming {
        Some(coming) => (renaming(coming, change.live), renaming(coming, change.away)),
        None => ("SELECT 1".to_owned(), "SELECT 1".to_owned()),
    };
    // What comes is opened before it comes.
    let come_open = |name: &str, command: String| format!("{}; {command}", allowing(name, true));
    let commands = [
        ("coffre.oid", oid),
        ("coffre.patience", format!("{} ms", patience.as_millis())),
        (
            "coffre.try",
            if change.away.is_empty() {
                "SELECT 1".to_owned()
            } else {
                try_out
            },
        ),
        ("coffre.close", allowing(change.live, false)),
        ("coffre.open", allowing(change.live, true)),
        ("coffre.away", renaming(change.live, change.away)),
        (
            "coffre.come",
            change.coming.map_or(come.clone(), |coming| come_open(coming, come)),
        ),
        ("coffre.outcome", String::new()),
    ];
    session.run("SET default_transaction_read_only = off; SET client_min_messages = error")?;
    if session.version().series.0 >= 14 {
        // The moment goes to its end also when nobody waits for it any more.
        session.run("SET client_connection_check_interval = 0")?;
    }
    for (name, value) in &commands {
        session.query(
            "SELECT pg_catalog.set_config($1, $2, false)",
            &[(name, Type::TEXT), (value, Type::TEXT)],
        )?;
    }
    session.run_within(MOMENT, ANSWER)?;
    session.value("SELECT pg_catalog.current_setting('coffre.outcome')")
}

/// Why it did not come about.
fn refused(session: &mut Session, change: &Change<'_>, outcome: &str) -> Result<Error> {
    let (state, cause) = outcome.split_once(' ').unwrap_or((outcome, outcome));
    if state == "42P04" {
        return Ok(Error::new(Code::Refused, "pg_target_appeared").with("database", change.live));
    }
    if state != "busy" && state != "55006" {
        return Ok(Error::new(Code::DumpFailed, "pg_query_failed")
            .with("database", change.live)
            .with("sqlstate", state)
            .with("cause", cause));
    }
    let prepared = session.query(
        "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database::text = $1",
        &[(&change.live, Type::TEXT)],
    )?;
    if !prepared.is_empty() {
        return Ok(super::survey::prepared(change.live, prepared.len()));
    }
    let rows = session.query(
        "SELECT DISTINCT COALESCE(a.usename::text, '') || ' (' || COALESCE(a.application_name, '') || ')' FROM pg_catalog.pg_stat_activity a
          WHERE a.datid = $1 AND a.pid <> pg_catalog.pg_backend_pid() ORDER BY 1",
        &[(&change.live_oid.unwrap_or(0), Type::OID)],
    )?;
    let names: std::result::Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    let names = names.map_err(|e| Error::internal("read who is connected", e))?;
    Ok(Error::new(Code::Refused, "pg_replace_sessions_stay")
        .with("database", change.live)
        .with("sessions", listed(names.iter().map(String::as_str)))
        .with("count", names.len()))
}

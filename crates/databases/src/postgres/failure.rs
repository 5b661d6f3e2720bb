//! What the last words of `pg_dump` and `pg_restore` mean. They speak English with us, but pass on the server's own words, which come in the
//! server's language: what is not recognised stays a plain failure, with the words themselves.

use coffre_model::{Code, Error};

use super::tools::Program;
use crate::process::Ended;

/// A piece of text and what it means. The first that is found decides, so the precise ones come first. `pg_dump` limits statements in time only
/// while it waits for locks.
const MEANINGS: &[(&str, Code, &str)] = &[
    ("server version mismatch", Code::ToolTooOld, "pg_version_mismatch"),
    ("unsupported version (", Code::ToolTooOld, "pg_archive_newer"),
    ("No space left on device", Code::DestFull, "pg_tool_disk_full"),
    (
        "would be affected by row-level security",
        Code::Privilege,
        "pg_tool_row_security",
    ),
    (
        "canceling statement due to statement timeout",
        Code::LockTimeout,
        "pg_tool_lock_timeout",
    ),
    (
        "canceling statement due to lock timeout",
        Code::LockTimeout,
        "pg_tool_lock_timeout",
    ),
    ("password authentication failed", Code::AuthFailed, "pg_tool_auth_failed"),
    ("no password supplied", Code::AuthFailed, "pg_tool_auth_failed"),
    ("no pg_hba.conf entry", Code::AuthFailed, "pg_tool_auth_failed"),
    ("SSL support is not compiled in", Code::TlsRefused, "pg_tool_without_tls"),
    ("certificate verify failed", Code::TlsRefused, "pg_tool_tls_refused"),
    ("server does not support SSL", Code::TlsRefused, "pg_tool_tls_refused"),
    ("server certificate for ", Code::TlsRefused, "pg_tool_tls_refused"),
    ("root certificate file ", Code::TlsRefused, "pg_tool_tls_refused"),
    (
        "terminating connection due to administrator command",
        Code::DumpFailed,
        "pg_tool_session_ended",
    ),
    (
        "server closed the connection unexpectedly",
        Code::DumpFailed,
        "pg_tool_session_ended",
    ),
    ("could not translate host name", Code::Unreachable, "pg_tool_unreachable"),
    ("Connection refused", Code::Unreachable, "pg_tool_unreachable"),
    ("timeout expired", Code::Unreachable, "pg_tool_unreachable"),
    (
        "could not open extension control file",
        Code::DumpFailed,
        "pg_extension_missing",
    ),
    ("is not available\n", Code::DumpFailed, "pg_extension_missing"),
    ("permission denied", Code::Privilege, "pg_tool_privilege"),
    ("must be owner of", Code::Privilege, "pg_tool_privilege"),
    ("must be member of role", Code::Privilege, "pg_tool_privilege"),
    ("must be superuser", Code::Privilege, "pg_tool_privilege"),
];

/// The error that a failed program means.
pub(crate) fn meaning(program: &Program, ended: &Ended) -> Error {
    let words = ended.stderr.last_lines();
    // With a line's end after each line, so that a piece can ask for it.
    let text = format!("{}\n", ended.stderr.text());
    let found = MEANINGS.iter().find(|(piece, ..)| text.contains(piece));
    let (code, key) = found.map_or((Code::DumpFailed, "tool_failed"), |(_, code, key)| (*code, *key));
    Error::new(code, key)
        .with("tool", program.name)
        .with("path", program.path.to_string_lossy())
        .with("found", program.version.text.clone())
        .with("status", ended.status())
        .with("stderr", words)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use coffre_model::Cancel;

    use super::*;
    use crate::postgres::tools::Version;
    use crate::process::{Invocation, ask};

    fn meaning_of(words: &str) -> Error {
        let say = Invocation::new(Path::new("/bin/sh"), &std::env::temp_dir())
            .arg("-c")
            .arg("printf '%s\\n' \"$1\" >&2; exit 1")
            .arg("sh")
            .arg(words);
        let ended = ask(&say, Duration::from_secs(10), &Cancel::new()).unwrap().ended;
        let program = Program {
            name: "pg_dump",
            path: "/x/pg_dump".into(),
            version: Version::parse("15.1").unwrap(),
        };
        meaning(&program, &ended)
    }

    #[test]
    fn words_of_the_tools_are_recognised() {
        for (words, code) in [
            (
                "pg_dump: error: aborting because of server version mismatch\npg_dump: detail: server version: 16.1; pg_dump version: 15.1",
                Code::ToolTooOld,
            ),
            (
                "pg_dump: error: query failed: ERROR:  permission denied for table t\npg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE",
                Code::Privilege,
            ),
            (
                "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\npg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE",
                Code::LockTimeout,
            ),
            (
                "pg_restore: error: COPY failed for table \"t\": ERROR:  could not extend file \"base/1/2\": No space left on device\nHINT:  Check free disk space.",
                Code::DestFull,
            ),
            ("ERREUR:  quelque chose", Code::DumpFailed),
        ] {
            let error = meaning_of(words);
            assert_eq!(error.code(), code, "{error}");
            assert_eq!(error.detail("stderr").unwrap(), words);
            assert_eq!(error.detail("status").unwrap(), "exit status 1");
        }
    }
}

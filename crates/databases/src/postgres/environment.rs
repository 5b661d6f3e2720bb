//! What a program of PostgreSQL gets to know of a server: variables of its otherwise cleared environment, and a private password file.
//!
//! `docs/decisions/0003-postgres-passwords.md` says why passwords go this way.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use coffre_model::source::Tls;
use coffre_model::{Code, Error, Id, Result, Secret};

use super::connect::{CONNECT_LIMIT, Server};
use super::tools::{Program, Series};
use crate::process::Invocation;

/// Since this version libpq reads lines of any length from a password file; before, it cuts them at 319 bytes.
const LONG_LINES: Series = Series(14, 0);
const SHORT_LINE: usize = 300;
/// Since this version libpq knows `sslrootcert=system`.
const SYSTEM_CERTIFICATES: Series = Series(16, 0);
/// Where systems keep the certificates that they trust, for older tools.
const CERTIFICATE_FILES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// The surroundings of one program. The password file is removed when this is dropped, so it must live as long as the program.
pub(crate) struct Environment {
    variables: Vec<(&'static str, OsString)>,
    secrets: Vec<Secret>,
    _password_file: Option<PasswordFile>,
}

impl Environment {
    /// For a program that works on one database of a server. `options` are parameters of its session (`-c name=value`).
    ///
    /// # Errors
    /// `TLS_REFUSED` where the program cannot check certificates; `INTERNAL` where the password file cannot be written.
    pub(crate) fn new(
        server: &Server,
        database: &str,
        program: &Program,
        runtime: &Path,
        options: Option<&str>,
    ) -> Result<Environment> {
        let nowhere = runtime.join("absent").into_os_string();
        let mut variables: Vec<(&'static str, OsString)> = vec![
            ("PGHOST", server.host.clone().into()),
            ("PGPORT", server.port.to_string().into()),
            ("PGUSER", server.user.clone().into()),
            // Taken as a name by libpq; only a `dbname` *argument* may be a whole connection string.
            ("PGDATABASE", database.into()),
            ("PGAPPNAME", server.application.clone().into()),
            ("PGCONNECT_TIMEOUT", CONNECT_LIMIT.as_secs().to_string().into()),
            ("PGSSLMODE", server.tls_demand().as_str().into()),
            // Older versions look into the home folder of the user's entry in /etc/passwd, whatever HOME says.
            ("PGSSLCERT", nowhere.clone()),
            ("PGSSLKEY", nowhere.clone()),
            ("PGSSLCRL", nowhere.clone()),
            ("PGSSLROOTCERT", nowhere.clone()),
            ("PGSERVICEFILE", nowhere.clone()),
            ("PGPASSFILE", nowhere),
            ("PGGSSENCMODE", "disable".into()),
        ];
        let mut set = |name, value: OsString| {
            variables.retain(|(known, _)| *known != name);
            variables.push((name, value));
        };
        if server.tls_demand() == Tls::VerifyFull {
            set("PGSSLROOTCERT", trusted_certificates(program)?);
        }
        if let Some(options) = options {
            set("PGOPTIONS", options.into());
        }
        let mut secrets = Vec::new();
        let mut password_file = None;
        if let Some(password) = &server.password {
            secrets.push(password.clone());
            let line = password_line(password);
            if fits(&line, password, program.version.series) {
                // What stands in the file, should a program ever print that.
                secrets.push(Secret::new(
                    line.expose().trim_end_matches('\n').trim_start_matches("*:*:*:*:"),
                ));
                let file = PasswordFile::write(runtime, &line)?;
                set("PGPASSFILE", file.0.clone().into_os_string());
                password_file = Some(file);
            } else {
                set("PGPASSWORD", password.expose().into());
            }
        }
        Ok(Environment {
            variables,
            secrets,
            _password_file: password_file,
        })
    }

    /// Gives all of this to a program.
    pub(crate) fn apply(&self, mut invocation: Invocation) -> Invocation {
        for (name, value) in &self.variables {
            invocation = invocation.env(name, value);
        }
        for secret in &self.secrets {
            invocation = invocation.secret(secret);
        }
        invocation
    }
}

/// The certificates that a program of this version should trust: the same as our own sessions, as far as it can.
fn trusted_certificates(program: &Program) -> Result<OsString> {
    if let Some(file) = std::env::var_os("SSL_CERT_FILE") {
        return Ok(file);
    }
    if let Some(file) = CERTIFICATE_FILES.iter().find(|file| Path::new(file).is_file()) {
        return Ok(file.into());
    }
    if program.version.series >= SYSTEM_CERTIFICATES {
        return Ok("system".into());
    }
    Err(Error::new(Code::TlsRefused, "pg_no_certificates")
        .with("path", program.path.to_string_lossy())
        .with("looked", CERTIFICATE_FILES.join(", ")))
}

/// The one line of a password file, valid for every connection: the program makes no other one.
fn password_line(password: &Secret) -> Secret {
    let mut line = String::with_capacity(password.expose().len() * 2 + 10);
    line.push_str("*:*:*:*:");
    for c in password.expose().chars() {
        if matches!(c, ':' | '\\') {
            line.push('\\');
        }
        line.push(c);
    }
    line.push('\n');
    Secret::new(line)
}

/// Whether libpq of this version reads the very password out of the line. It ends a line at a newline, and takes carriage returns off
/// its end.
fn fits(line: &Secret, password: &Secret, series: Series) -> bool {
    let text = password.expose();
    !text.contains('\n') && !text.ends_with('\r') && (series >= LONG_LINES || line.expose().len() <= SHORT_LINE)
}

/// A private file (0600), removed when dropped.
struct PasswordFile(PathBuf);

impl PasswordFile {
    fn write(folder: &Path, line: &Secret) -> Result<PasswordFile> {
        let failed = |e: std::io::Error| Error::writing_home("write a password file", folder, &e);
        let path = folder.join(format!("pgpass-{}", Id::new().short()));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let made = PasswordFile(path);
        // Whatever the umask: a password file that others could read is ignored by libpq, one that we cannot read ourselves as well.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
        file.write_all(line.expose().as_bytes()).map_err(failed)?;
        Ok(made)
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        // The whole folder is removed with the run; nothing more can be done here.
        let _removed_with_the_folder = fs::remove_file(&self.0);
    }
}

/// `dbname='…'` for tools that must have the database as an argument: quoted so that every name stays a name.
pub(crate) fn connection_argument(database: &str) -> String {
    let escaped = database.replace('\\', "\\\\").replace('\'', "\\'");
    format!("dbname='{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_lines_escape_what_libpq_reads_specially() {
        let line = password_line(&Secret::new(r"a:b\c d"));
        assert_eq!(line.expose(), "*:*:*:*:a\\:b\\\\c d\n");
    }

    #[test]
    fn what_a_line_cannot_carry_goes_another_way() {
        let goes = |text: &str, series| {
            let password = Secret::new(text);
            fits(&password_line(&password), &password, series)
        };
        for text in ["a", " a ", "-x", "é'\"$#%@/", "a\rb"] {
            assert!(goes(text, Series(15, 0)), "{text:?}");
        }
        for text in ["a\nb", "a\r", "\n"] {
            assert!(!goes(text, Series(15, 0)), "{text:?}");
        }
        let long = "x".repeat(1024);
        assert!(goes(&long, Series(15, 0)) && !goes(&long, Series(13, 0)));
    }

    #[test]
    fn a_name_stays_a_name() {
        assert_eq!(
            connection_argument(r#"a'b\c "d" host=evil"#),
            r#"dbname='a\'b\\c "d" host=evil'"#
        );
    }

    #[test]
    fn the_password_file_is_private_and_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = PasswordFile::write(folder.path(), &Secret::new("x")).unwrap();
        assert_eq!(fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

//! A throw-away mail server: aiosmtpd, real SMTP with STARTTLS, TLS and AUTH, gone with the test. What it takes, it writes down.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::postgres::make_certificates;
use crate::process::{Server, wait_until};

/// How the server protects what it hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Offers STARTTLS, and takes nothing before it.
    Starttls,
    /// Speaks TLS from the first byte.
    Tls,
    /// Offers neither.
    Plain,
}

/// The user and the password that are let in, where somebody must sign in.
pub const USER: &str = "coffre";
/// See [`USER`].
pub const PASSWORD: &str = "p:\\'\"$#% é-1";

/// A mail server on a free port of 127.0.0.1. It takes no mail for `nobody@…` (550), and says "later" (451) to the first try for `later@…`.
pub struct MailServer {
    folder: tempfile::TempDir,
    _server: Server,
    port: u16,
}

/// A mail that was taken.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Who sent it, as the envelope says.
    pub from: String,
    /// Who gets it, as the envelope says.
    pub to: Vec<String>,
    /// The decoded headers, by their names in lower case.
    pub headers: Value,
    /// The decoded plain text.
    pub text: String,
    /// The decoded HTML.
    pub html: String,
    /// Whether it came over TLS.
    pub encrypted: bool,
}

impl Mail {
    /// A header.
    pub fn header(&self, name: &str) -> &str {
        self.headers[name]
            .as_str()
            .unwrap_or_else(|| panic!("no header {name} in {:#}", self.headers))
    }
}

const SCRIPT: &str = r#"
import asyncio, email, email.policy, json, os, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult
folder, mode, auth, user, password = sys.argv[1:6]
class Handler:
    seen = set()
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such mailbox here"
        if address.startswith("later@") and address not in self.seen:
            self.seen.add(address)
            return "451 4.7.1 greylisted, try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        part = lambda kind: (lambda p: p.get_content() if p else "")(mail.get_body((kind,)))
        line = json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "headers": {k.lower(): str(v) for k, v in mail.items()},
                           "text": part("plain"), "html": part("html"), "encrypted": session.ssl is not None or mode == "tls"})
        with open(os.path.join(folder, "mails.jsonl"), "a") as file:
            file.write(line + "\n")
        return "250 taken"
def check(server, session, envelope, mechanism, data):
    good = data.login.decode() == user and data.password.decode() == password
    return AuthResult(success=good, handled=good)
async def main():
    context = None
    if mode != "plain":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(os.path.join(folder, "server.crt"), os.path.join(folder, "server.key"))
    more = {"authenticator": check, "auth_required": True, "auth_require_tls": mode == "starttls"} if auth == "yes" else {}
    if mode == "starttls":
        more.update(tls_context=context, require_starttls=True)
    make = lambda: SMTP(Handler(), hostname="localhost", enable_SMTPUTF8=True, **more)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=context if mode == "tls" else None)
    port = server.sockets[0].getsockname()[1]
    # The same under an address that its certificate does not name.
    await asyncio.get_running_loop().create_server(make, "127.0.0.2", port, ssl=context if mode == "tls" else None)
    with open(os.path.join(folder, "port.new"), "w") as file:
        file.write(str(port))
    os.rename(os.path.join(folder, "port.new"), os.path.join(folder, "port"))
    await server.serve_forever()
asyncio.run(main())
"#;

impl MailServer {
    /// Starts one. `auth`: [`USER`] must sign in.
    pub fn start(mode: Mode, auth: bool) -> MailServer {
        let folder = tempfile::Builder::new()
            .prefix("coffre-mail-")
            .tempdir()
            .expect("make a folder for the mail server");
        make_certificates(folder.path());
        let script = folder.path().join("server.py");
        std::fs::write(&script, SCRIPT).expect("write the mail server");
        let mode = match mode {
            Mode::Starttls => "starttls",
            Mode::Tls => "tls",
            Mode::Plain => "plain",
        };
        let mut line: Vec<OsString> = vec![
            "env".into(),
            "-i".into(),
            "PYTHONDONTWRITEBYTECODE=1".into(),
            "PYTHONUNBUFFERED=1".into(),
        ];
        let mut path = OsString::from("PYTHONPATH=");
        path.push(aiosmtpd());
        line.push(path);
        line.push("PATH=/usr/local/bin:/usr/bin:/bin".into());
        line.push("python3".into());
        line.extend([script.into_os_string(), folder.path().as_os_str().to_owned()]);
        line.extend([mode, if auth { "yes" } else { "no" }, USER, PASSWORD].map(OsString::from));
        let log = folder.path().join("log");
        let server = Server::start(folder.path(), &log, "TERM", &line);
        let read = || {
            std::fs::read_to_string(folder.path().join("port"))
                .ok()
                .and_then(|text| text.parse().ok())
        };
        let mut port = None;
        wait_until(Duration::from_secs(30), || {
            port = read();
            port.is_some() || !server.is_alive()
        });
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let port = port.unwrap_or_else(|| panic!("the mail server does not start: {}", said()));
        MailServer {
            folder,
            _server: server,
            port,
        }
    }

    /// Its port on 127.0.0.1 and 127.0.0.2; its certificate is for `localhost` and the first one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of the authority that signed the server's.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Everything that was taken so far.
    pub fn mails(&self) -> Vec<Mail> {
        let text = std::fs::read_to_string(self.folder.path().join("mails.jsonl")).unwrap_or_default();
        let parse = |line: &str| {
            let value: Value = serde_json::from_str(line).expect("a line of the mail server");
            let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            Mail {
                from: field("from"),
                to: value["to"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|to| to.as_str().map(str::to_owned))
                    .collect(),
                headers: value["headers"].clone(),
                text: field("text"),
                html: field("html"),
                encrypted: value["encrypted"] == true,
            }
        };
        text.lines().map(parse).collect()
    }
}

/// The folder of aiosmtpd's wheels.
fn aiosmtpd() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let tools = home.join(".cache/coffre/tools");
    let entries = std::fs::read_dir(&tools).into_iter().flatten().flatten();
    let there = |path: &Path| path.join("aiosmtpd/smtp.py").is_file();
    let found = entries.map(|entry| entry.path()).find(|path| there(path));
    found.unwrap_or_else(|| panic!("aiosmtpd is not installed: run ./dev setup"))
}

//! TLS as it was asked for, for our own sessions and for the tools.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use coffre_model::Code;
use coffre_model::source::Tls;
use coffre_testkit::postgres::{Options, Postgres, Version};

use crate::common::{Setup, count};

fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Postgres::start(Version::V15, Options::default().tls().password("secret"));
        server.create_database_named("shop");
        server.sql("shop", "CREATE TABLE t AS SELECT 1 AS x");
        // Every session writes down how it came.
        server
    })
}

fn setup(address: String, tls: Option<Tls>) -> Setup {
    let mut setup = Setup::new(address).password("secret");
    setup.options.tls = tls;
    setup
}

#[test]
fn tls_is_as_it_was_asked_for() {
    let server = server();
    for (tls, encrypted) in [
        (None, true),
        (Some(Tls::Prefer), true),
        (Some(Tls::Require), true),
        (Some(Tls::Disable), false),
    ] {
        let setup = setup(server.address("shop"), tls);
        assert_eq!(setup.open().database.probe().unwrap().tls, Some(encrypted), "{tls:?}");
        assert_eq!(setup.dump().unwrap().1.counts, [count("public.t", 1)]);
    }
    let socket = setup(server.socket_address("shop"), None);
    assert_eq!(socket.open().database.probe().unwrap().tls, None);
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_demanded() {
    let plain = Postgres::shared(Version::V15);
    let name = plain.create_database();
    plain.sql(&name, "CREATE TABLE t (x int)");
    let mut setup = Setup::new(plain.address(&name));
    assert_eq!(setup.open().database.probe().unwrap().tls, Some(false));
    for tls in [Tls::Require, Tls::VerifyFull] {
        setup.options.tls = Some(tls);
        assert_eq!(setup.dump().unwrap_err().code(), Code::TlsRefused);
    }
}

#[test]
fn an_unknown_certificate_is_refused_where_it_is_checked() {
    let error = setup(server().address("shop"), Some(Tls::VerifyFull)).dump().unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::TlsRefused, "pg_tls_refused"), "{error}");
}

/// The trusted certificates come from the environment of the whole process, so the test starts itself anew.
#[test]
fn a_trusted_certificate_passes_for_its_own_host_only() {
    const ROLE: &str = "COFFRE_TEST_TRUSTING";
    if let Ok(address) = std::env::var(ROLE) {
        let full = |address: &str| setup(address.to_owned(), Some(Tls::VerifyFull));
        let (_, facts) = full(&address).dump().unwrap();
        assert_eq!(facts.counts, [count("public.t", 1)]);
        // The same server by a name that its certificate does not have.
        let other = address.replace("127.0.0.1", "127.0.0.2");
        assert_ne!(other, address);
        let error = full(&other).dump().unwrap_err();
        assert!(matches!(error.code(), Code::TlsRefused | Code::Unreachable), "{error}");
        return;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args([
            "tls::a_trusted_certificate_passes_for_its_own_host_only",
            "--exact",
            "--nocapture",
        ])
        .env(ROLE, server().address("shop"))
        .env("SSL_CERT_FILE", server().authority())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_tool_without_tls_is_refused_where_tls_is_demanded() {
    // The wheel's programs were built without.
    let setup = setup(server().address("shop"), Some(Tls::Require)).tool_path(Version::V18.bin());
    let error = setup.dump().unwrap_err();
    assert_eq!(
        (error.code(), error.text()),
        (Code::TlsRefused, "pg_tool_without_tls"),
        "{error}"
    );
}

//! TLS for our own sessions: rustls, with the certificates that the system trusts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coffre_model::source::Tls;
use coffre_model::{Code, Error, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_postgres::Socket;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The TLS side of a connection. Remembers whether TLS came about.
#[derive(Clone)]
pub(crate) struct Connector {
    inner: MakeRustlsConnect,
    used: Arc<AtomicBool>,
}

impl Connector {
    /// For this demand. `Disable` gets one as well; it is never used.
    ///
    /// # Errors
    /// `TLS_REFUSED` where the system's trusted certificates cannot be read.
    pub(crate) fn new(demand: Tls) -> Result<Self> {
        let refused = |e: rustls::Error| Error::new(Code::TlsRefused, "tls_unusable").with("cause", e.to_string());
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(refused)?;
        let config = match demand {
            Tls::VerifyFull => builder.with_platform_verifier().map_err(refused)?.with_no_client_auth(),
            Tls::Disable | Tls::Prefer | Tls::Require => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
                .with_no_client_auth(),
        };
        Ok(Connector {
            inner: MakeRustlsConnect::new(config),
            used: Arc::default(),
        })
    }

    /// Whether the last connection made with this is encrypted.
    pub(crate) fn used(&self) -> bool {
        self.used.load(Ordering::SeqCst)
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
    type TlsConnect = Noted;
    type Error = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Noted, Self::Error> {
        self.used.store(false, Ordering::SeqCst);
        Ok(Noted {
            inner: <MakeRustlsConnect as MakeTlsConnect<Socket>>::make_tls_connect(&mut self.inner, domain)?,
            used: self.used.clone(),
        })
    }
}

/// One handshake, noted when it begins: it begins only if the server agreed to it, and the connection fails if it fails.
pub(crate) struct Noted {
    inner: <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect,
    used: Arc<AtomicBool>,
}

impl TlsConnect<Socket> for Noted {
    type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
    type Error = <<MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect as TlsConnect<Socket>>::Error;
    type Future = <<MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect as TlsConnect<Socket>>::Future;

    fn connect(self, stream: Socket) -> Self::Future {
        self.used.store(true, Ordering::SeqCst);
        self.inner.connect(stream)
    }
}

/// Takes any certificate, as `prefer` and `require` say, but still insists that the server holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

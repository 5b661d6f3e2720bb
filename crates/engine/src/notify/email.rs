//! Messages by mail. Each step of the conversation is made by itself, so that what goes wrong can be said precisely.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use coffre_model::channel::{ChannelSettings, Security};
use coffre_model::{Cancel, Code, Error, Secret};
use lettre::address::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};

use super::{Composed, Failure, Limits, Taken, drive, read_ca, said};

/// The parts of a mail channel's settings.
struct Server<'a> {
    host: &'a str,
    port: u16,
    security: Security,
    user: Option<&'a str>,
    from: &'a str,
    to: &'a [String],
    ca_file: Option<&'a str>,
}

impl Server<'_> {
    fn error(&self, code: Code, text: &'static str) -> Error {
        Error::new(code, text)
            .with("place", format!("{}:{}", self.host, self.port))
            .with("host", self.host)
    }
}

pub(crate) fn send(
    settings: &ChannelSettings,
    password: Option<&Secret>,
    composed: &Composed,
    id: &str,
    limits: Limits,
    cancel: &Cancel,
) -> Taken {
    let ChannelSettings::Email {
        host,
        port,
        security,
        user,
        from,
        to,
        ca_file,
    } = settings
    else {
        return Err(Failure::for_good(Error::internal("send a mail", "this is no mail server")));
    };
    let server = Server {
        host,
        port: *port,
        security: *security,
        user: user.as_deref(),
        from,
        to,
        ca_file: ca_file.as_deref(),
    };
    // Asked again here: the row may have been written by another hand.
    if server.security == Security::None && server.user.is_some() {
        return Err(Failure::for_good(server.error(Code::Refused, "smtp_password_in_clear")));
    }
    let mail = message(&server, composed, id)?;
    let slow = |limit: Duration| {
        server
            .error(Code::Stalled, "channel_slow")
            .with("seconds", limit.as_secs().max(1))
    };
    drive(talk(&server, password, &mail, limits.step), limits.whole, slow, cancel)
}

/// The mail: text and HTML, everything from outside in its own place.
fn message(server: &Server<'_>, composed: &Composed, id: &str) -> std::result::Result<Vec<u8>, Failure> {
    let fault = |e: &dyn std::fmt::Display| Failure::for_good(Error::internal("write a mail", e));
    let mailbox = |text: &str| -> std::result::Result<Mailbox, Failure> {
        Ok(Mailbox::new(None, text.parse::<Address>().map_err(|e| fault(&e))?))
    };
    let from = mailbox(server.from)?;
    let domain = from.email.domain().to_owned();
    let mut builder = Message::builder()
        .from(Mailbox::new(Some("Coffre".to_owned()), from.email))
        // One line, whatever a name holds: a header cannot begin another one.
        .subject(said(&composed.title))
        .message_id(Some(format!("<{id}@{domain}>")))
        .user_agent("Coffre".to_owned())
        // No holiday replies to a machine.
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".into(),
        ))
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("X-Coffre-Delivery"),
            id.to_owned(),
        ))
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("X-Coffre-Event"),
            composed.event.clone(),
        ));
    for to in server.to {
        builder = builder.to(mailbox(to)?);
    }
    let parts = MultiPart::alternative_plain_html(composed.text.clone(), composed.html.clone());
    debug_assert!(
        !parts
            .headers()
            .get::<ContentType>()
            .is_none_or(|t| t == ContentType::TEXT_PLAIN)
    );
    Ok(builder.multipart(parts).map_err(|e| fault(&e))?.formatted())
}

type Spoken<T> = std::result::Result<T, lettre::transport::smtp::Error>;

async fn talk(server: &Server<'_>, password: Option<&Secret>, mail: &[u8], limit: Duration) -> Taken {
    let addresses = within(server, limit, async {
        let found = tokio::net::lookup_host((server.host, server.port)).await;
        let found: Vec<SocketAddr> = found
            .map_err(|e| {
                Failure::passing(
                    server
                        .error(Code::Unreachable, "channel_unresolved")
                        .with("cause", said(&e.to_string())),
                )
            })?
            .collect();
        if found.is_empty() {
            return Err(Failure::passing(
                server.error(Code::Unreachable, "channel_unresolved").with("cause", "–"),
            ));
        }
        Ok(found)
    })
    .await?;
    let hello = ClientId::default();
    let encryption = match server.security {
        Security::None => None,
        Security::Starttls | Security::Tls => Some(tls_parameters(server)?),
    };
    let at_once = encryption.clone().filter(|_| server.security == Security::Tls);
    let connect = AsyncSmtpConnection::connect_tokio1(addresses.as_slice(), Some(limit), &hello, at_once, None);
    let mut connection = step(server, limit, connect, |e| not_connected(server, e)).await?;
    if server.security == Security::Starttls {
        if !connection.can_starttls() {
            connection.abort().await;
            return Err(Failure::passing(server.error(Code::TlsRefused, "smtp_no_starttls")));
        }
        if let Some(encryption) = encryption {
            let upgrade = connection.starttls(encryption, &hello);
            step(server, limit, upgrade, |e| not_encrypted(server, e)).await?;
        }
    }
    if server.security != Security::None && !connection.is_encrypted() {
        return Err(Failure::passing(server.error(Code::TlsRefused, "smtp_no_starttls")));
    }
    if let (Some(user), Some(password)) = (server.user, password) {
        const WAYS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];
        if connection.server_info().get_auth_mechanism(&WAYS).is_none() {
            connection.abort().await;
            return Err(Failure::for_good(server.error(Code::AuthFailed, "smtp_no_auth")));
        }
        let credentials = Credentials::new(user.to_owned(), password.expose().to_owned());
        step(server, limit, connection.auth(&WAYS, &credentials), |e| {
            refused(server, e, |server| {
                server.error(Code::AuthFailed, "smtp_auth_refused").with("user", user)
            })
        })
        .await?;
    }
    let remark = hand_over(server, &mut connection, mail, limit).await?;
    // The mail is taken: how the server says goodbye changes nothing.
    let _goodbye = tokio::time::timeout(limit.min(Duration::from_secs(2)), connection.quit()).await;
    Ok(remark)
}

/// Sender, receivers, mail. Those who refuse do not keep it from the others.
async fn hand_over(server: &Server<'_>, connection: &mut AsyncSmtpConnection, mail: &[u8], limit: Duration) -> Taken {
    let address = |text: &str| {
        text.parse::<Address>()
            .map_err(|e| Failure::for_good(Error::internal("write a mail", e)))
    };
    let international = !server.from.is_ascii() || server.to.iter().any(|to| !to.is_ascii());
    if international && !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
        return Err(Failure::for_good(server.error(Code::Privilege, "smtp_no_utf8")));
    }
    let parameters = international.then_some(MailParameter::SmtpUtfEight).into_iter().collect();
    let sender = connection.command(Mail::new(Some(address(server.from)?), parameters));
    step(server, limit, sender, |e| {
        refused(server, e, |server| {
            server.error(Code::Privilege, "smtp_sender_refused").with("from", server.from)
        })
    })
    .await?;
    let mut refusals = Vec::new();
    for to in server.to {
        let receiver = connection.command(Rcpt::new(address(to)?, Vec::new()));
        let asked = step(server, limit, receiver, |e| {
            refused(server, e, |server| {
                server.error(Code::NotFound, "smtp_recipient_refused").with("to", to.as_str())
            })
        });
        match asked.await {
            Ok(_) => {}
            // An answer, not the end of the conversation.
            Err(failure) if failure.error.text() == "smtp_recipient_refused" => refusals.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    if refusals.len() == server.to.len() {
        // One that may pass is reason enough to try again.
        let passing = refusals.iter().position(|failure| failure.again).unwrap_or(0);
        return Err(refusals.swap_remove(passing));
    }
    let whole = |e| refused(server, e, |server| server.error(Code::Privilege, "smtp_refused"));
    step(server, limit, connection.command(Data), whole).await?;
    step(server, limit, connection.message(mail), whole).await?;
    Ok(refusals.into_iter().next().map(|failure| failure.error))
}

fn tls_parameters(server: &Server<'_>) -> std::result::Result<TlsParameters, Failure> {
    let wrong = |path: &str, cause: String| {
        let error = Error::new(Code::Usage, "channel_ca_file");
        Failure::for_good(error.with("path", path).with("cause", said(&cause)))
    };
    let mut builder = TlsParameters::builder(server.host.to_owned());
    if let Some(path) = server.ca_file {
        let certificate = Certificate::from_pem(&read_ca(path)?).map_err(|e| wrong(path, e.to_string()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|e| {
        let error = server.error(Code::TlsRefused, "channel_certificate");
        Failure::passing(error.with("cause", said(&e.to_string())))
    })
}

async fn within<T>(
    server: &Server<'_>,
    limit: Duration,
    work: impl Future<Output = std::result::Result<T, Failure>>,
) -> std::result::Result<T, Failure> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let error = server.error(Code::Stalled, "channel_slow");
        Err(Failure::passing(error.with("seconds", limit.as_secs().max(1))))
    })
}

async fn step<T>(
    server: &Server<'_>,
    limit: Duration,
    work: impl Future<Output = Spoken<T>>,
    otherwise: impl FnOnce(lettre::transport::smtp::Error) -> Failure,
) -> std::result::Result<T, Failure> {
    within(server, limit, async { work.await.map_err(otherwise) }).await
}

type SmtpError = lettre::transport::smtp::Error;

/// The innermost cause in one line.
fn cause(error: &SmtpError) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    said(&innermost.to_string())
}

/// Whether anything in the chain says that TLS did not come about.
fn is_tls(error: &SmtpError) -> bool {
    error.is_tls() || {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
        std::iter::from_fn(|| {
            let here = next?;
            next = here.source();
            Some(here)
        })
        .any(|e| {
            let inner = e.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            e.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>())
        })
    }
}

fn not_connected(server: &Server<'_>, error: SmtpError) -> Failure {
    if error.status().is_some() {
        return refused(server, error, |server| server.error(Code::Privilege, "smtp_refused"));
    }
    let failure = |code, text| Failure::passing(server.error(code, text).with("cause", cause(&error)));
    match () {
        () if is_tls(&error) => failure(Code::TlsRefused, "channel_certificate"),
        () if error.is_timeout() => Failure::passing(server.error(Code::Stalled, "channel_slow").with("seconds", 1)),
        () if error.is_response() || error.is_client() => failure(Code::Unreachable, "smtp_no_mail_server"),
        () => failure(Code::Unreachable, "channel_unreachable"),
    }
}

fn not_encrypted(server: &Server<'_>, error: SmtpError) -> Failure {
    if error.status().is_some() {
        return Failure::passing(server.error(Code::TlsRefused, "smtp_no_starttls"));
    }
    let text = if is_tls(&error) {
        "channel_certificate"
    } else {
        "channel_broken"
    };
    Failure::passing(server.error(Code::TlsRefused, text).with("cause", cause(&error)))
}

/// A step that the server refused, for good or for now; or a conversation that broke.
fn refused(server: &Server<'_>, error: SmtpError, what: impl FnOnce(&Server<'_>) -> Error) -> Failure {
    match error.status() {
        Some(status) => {
            let error_said = what(server).with("answer", format!("{status} {}", cause(&error)).trim().to_owned());
            Failure {
                error: error_said,
                again: !error.is_permanent(),
                after: None,
            }
        }
        None => Failure::passing(server.error(Code::Unreachable, "channel_broken").with("cause", cause(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_name_begins_no_header() {
        let server = Server {
            host: "h",
            port: 25,
            security: Security::None,
            user: None,
            from: "coffre@example.org",
            to: &["joe@example.org".to_owned()],
            ca_file: None,
        };
        let composed = Composed {
            title: "shop\r\nBcc: evil@example.org\r\n\r\nboo é".into(),
            text: ".\r\nQUIT\r\né".into(),
            html: "<p>é</p>".into(),
            slack: Value::Null,
            json: Value::Null,
            event: "backup.failed".into(),
        };
        let mail = String::from_utf8(message(&server, &composed, "0190").unwrap()).unwrap();
        assert!(mail.is_ascii(), "{mail}");
        assert!(!mail.lines().any(|line| line.starts_with("Bcc")), "{mail}");
        assert!(mail.contains("Message-ID: <0190@example.org>"), "{mail}");
        assert!(mail.contains("multipart/alternative"), "{mail}");
    }
}

//! Messages over HTTP: Slack, webhooks, signs of life.

use chrono::{DateTime, Utc};
use coffre_model::channel::target;
use coffre_model::{Cancel, Code, Error, Secret};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, StatusCode, redirect};
use sha2::Sha256;

use super::{Failure, Limits, Taken, drive, read_ca, said};

/// What is posted where.
pub(crate) struct Request {
    /// The address; it may be a secret.
    url: Secret,
    body: String,
    headers: Vec<(&'static str, String)>,
    pub(crate) ca_file: Option<String>,
}

impl Request {
    pub(crate) fn json(url: Secret, body: String, id: &str, event: &str) -> Request {
        Request {
            url,
            body,
            headers: vec![
                ("content-type", "application/json; charset=utf-8".into()),
                ("idempotency-key", id.to_owned()),
                ("x-coffre-delivery", id.to_owned()),
                ("x-coffre-event", event.to_owned()),
            ],
            ca_file: None,
        }
    }

    /// A sign of life: at the address itself after a good run, at `/fail` behind it after a bad one.
    pub(crate) fn ping(url: &Secret, bad: bool, line: String, id: &str) -> std::result::Result<Request, Failure> {
        let url = match bad {
            false => url.clone(),
            true => {
                let mut parsed =
                    reqwest::Url::parse(url.expose()).map_err(|_| Failure::for_good(Error::new(Code::Usage, "channel_url")))?;
                let path = format!("{}/fail", parsed.path().trim_end_matches('/'));
                parsed.set_path(&path);
                Secret::new(String::from(parsed))
            }
        };
        Ok(Request {
            url,
            body: line,
            headers: vec![
                ("content-type", "text/plain; charset=utf-8".into()),
                ("idempotency-key", id.to_owned()),
            ],
            ca_file: None,
        })
    }

    /// Signs the body together with the time of sending: `t=<seconds>,v1=<hex of HMAC-SHA256 of "seconds.body">`.
    pub(crate) fn sign(&mut self, secret: &Secret, at: DateTime<Utc>) {
        let seconds = at.timestamp();
        let signature = signature(secret.expose().as_bytes(), seconds, self.body.as_bytes());
        self.headers
            .push(("x-coffre-signature", format!("t={seconds},v1={signature}")));
    }
}

/// HMAC-SHA256 of `seconds`, a full stop and the body, in hexadecimal digits.
fn signature(secret: &[u8], seconds: i64, body: &[u8]) -> String {
    // Infallible: a key of HMAC may have any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return String::new();
    };
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac.finalize().into_bytes().iter().fold(String::new(), |mut hex, byte| {
        use std::fmt::Write;
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

pub(crate) fn send(request: Request, limits: Limits, cancel: &Cancel) -> Taken {
    let place = target(request.url.expose()).map_err(Failure::for_good)?.place;
    let slow = |limit: std::time::Duration| {
        Error::new(Code::Stalled, "channel_slow")
            .with("place", place.as_str())
            .with("seconds", limit.as_secs().max(1))
    };
    drive(post(&request, &place, limits, &slow), limits.whole, slow, cancel)
}

async fn post(request: &Request, place: &str, limits: Limits, slow: &dyn Fn(std::time::Duration) -> Error) -> Taken {
    let mut builder = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(limits.step)
        .timeout(limits.step)
        .user_agent(concat!("Coffre/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &request.ca_file {
        let wrong = |cause: String| {
            let error = Error::new(Code::Usage, "channel_ca_file");
            Failure::for_good(error.with("path", path.as_str()).with("cause", cause))
        };
        let certificates = Certificate::from_pem_bundle(&read_ca(path)?).map_err(|e| wrong(e.to_string()))?;
        if certificates.is_empty() {
            return Err(wrong("no certificate".into()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    let tls = |cause: String| {
        let error = Error::new(Code::TlsRefused, "channel_certificate");
        Failure::passing(error.with("place", place).with("cause", cause))
    };
    let client = builder.build().map_err(|e| tls(cause(&e.without_url())))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let value = HeaderValue::from_str(value).map_err(|e| Failure::for_good(Error::internal("write a header", e)))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    let sent = client
        .post(request.url.expose())
        .headers(headers)
        .body(request.body.clone())
        .send()
        .await;
    let answer = sent.map_err(|error| {
        // The address is a secret, and reqwest's errors name it.
        let error = error.without_url();
        let unreachable = |text: &'static str| {
            let what = Error::new(Code::Unreachable, text).with("place", place);
            Failure::passing(what.with("cause", cause(&error)))
        };
        let whole = format!("{error:?}");
        match () {
            () if error.is_timeout() => Failure::passing(slow(limits.step)),
            () if error.is_dns() || whole.contains("dns error") => unreachable("channel_unresolved"),
            () if whole.contains("InvalidCertificate") || whole.contains("Certificate") => tls(cause(&error)),
            () if error.is_connect() && whole.contains("rustls") => tls(cause(&error)),
            () if error.is_connect() => unreachable("channel_unreachable"),
            () => unreachable("channel_broken"),
        }
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(None);
    }
    let after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(std::time::Duration::from_secs);
    let to = answer
        .headers()
        .get(LOCATION)
        .and_then(|value| target(value.to_str().ok()?).ok())
        .map(|target| target.place);
    Err(refused(status, place, after, to))
}

/// What a status that is no success means.
fn refused(status: StatusCode, place: &str, after: Option<std::time::Duration>, to: Option<String>) -> Failure {
    let error = |code, text| Error::new(code, text).with("place", place).with("status", status.as_u16());
    match status.as_u16() {
        300..=399 => Failure::for_good(error(Code::Unreachable, "http_redirect").with("to", to.unwrap_or_else(|| "–".into()))),
        401 | 403 | 407 => Failure::for_good(error(Code::AuthFailed, "http_auth")),
        404 | 410 => Failure::for_good(error(Code::NotFound, "http_gone")),
        408 | 425 | 429 => Failure {
            after,
            ..Failure::passing(error(Code::Unreachable, "http_busy"))
        },
        400..=499 => Failure::for_good(error(Code::Unreachable, "http_refused")),
        _ => Failure {
            after,
            ..Failure::passing(error(Code::Unreachable, "http_busy"))
        },
    }
}

/// The innermost cause, in one line: the outer ones only say that sending did not work.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    said(&innermost.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_anybody_computes() {
        // python3: hmac.new(b"key", b"1700000000.{}", "sha256").hexdigest()
        assert_eq!(
            signature(b"key", 1_700_000_000, b"{}"),
            "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
        );
    }

    #[test]
    fn a_bad_run_is_told_beside_the_address() {
        let url = Secret::new("https://hc.example/ping/uuid/?rid=1");
        let bad = Request::ping(&url, true, String::new(), "id").unwrap();
        assert_eq!(bad.url.expose(), "https://hc.example/ping/uuid/fail?rid=1");
        let good = Request::ping(&url, false, String::new(), "id").unwrap();
        assert_eq!(good.url.expose(), url.expose());
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let again = |status| refused(StatusCode::from_u16(status).unwrap(), "https://h", None, None).again;
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(again(status), "{status}");
        }
        for status in [301, 302, 307, 308, 400, 401, 403, 404, 410, 413, 422] {
            assert!(!again(status), "{status}");
        }
    }
}

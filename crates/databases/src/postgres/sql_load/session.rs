//! A session at the server as the load needs it: with its driver, its cancel key, and what the server says of its settings.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use coffre_model::error::Result;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Connection, Socket};

use super::super::plain::is_utf8;

/// A future on the load's own thread.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A fresh session, not yet driven.
pub struct Session {
    pub(super) client: Client,
    pub(super) driver: Boxed<()>,
    pub(super) interrupt: Box<dyn Fn() -> Boxed<()> + Send>,
    pub(super) reported: Arc<Reported>,
}

/// Settings that the server reports whenever they change, whoever changes them.
pub(crate) struct Reported {
    standard_strings: AtomicBool,
    utf8: AtomicBool,
}

impl Default for Reported {
    fn default() -> Self {
        Reported {
            standard_strings: AtomicBool::new(true),
            utf8: AtomicBool::new(true),
        }
    }
}

/// A session that is being driven already and is in the middle of a transaction of its owner. A load works on it without ending the transaction.
pub(crate) struct Held {
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    pub(crate) driver: JoinHandle<()>,
    pub(crate) interrupt: Box<dyn Fn() -> Boxed<()> + Send>,
    pub(crate) reported: Arc<Reported>,
}

/// What cancels a statement of the session that this token is of.
pub(crate) fn interrupt<T>(token: CancelToken, tls: T) -> Box<dyn Fn() -> Boxed<()> + Send>
where
    T: MakeTlsConnect<Socket> + Clone + Send + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
{
    Box::new(move || {
        let (token, tls) = (token.clone(), tls.clone());
        Box::pin(async move {
            // Only a courtesy to the server: the session is closed right after, whether this worked or not.
            let _gone_either_way = token.cancel_query(tls).await;
        })
    })
}

impl Reported {
    /// Whether a backslash in `'…'` is an ordinary character.
    pub(super) fn standard_strings(&self) -> bool {
        self.standard_strings.load(Ordering::Relaxed)
    }

    /// Whether statements are read as UTF-8 (or not converted at all).
    pub(super) fn utf8(&self) -> bool {
        self.utf8.load(Ordering::Relaxed)
    }
}

impl Session {
    /// Takes over what `tokio_postgres::Config::connect` answers; `tls` is the same that it was given, for the connection that
    /// cancels a statement.
    pub fn new<T, U>(client: Client, connection: Connection<Socket, U>, tls: T) -> Self
    where
        U: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: MakeTlsConnect<Socket> + Clone + Send + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
    {
        let reported = Arc::new(Reported::default());
        let token = client.cancel_token();
        Session {
            client,
            driver: Box::pin(drive(connection, Arc::clone(&reported))),
            interrupt: interrupt(token, tls),
            reported,
        }
    }
}

/// Moves bytes until the session ends. Statements in flight learn of its end by themselves.
pub(crate) async fn drive<U>(mut connection: Connection<Socket, U>, reported: Arc<Reported>)
where
    U: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|context| {
        loop {
            let polled = connection.poll_message(context);
            // Before anybody who waits for a statement goes on: they run after this task.
            let standard = connection.parameter("standard_conforming_strings");
            reported.standard_strings.store(standard != Some("off"), Ordering::Relaxed);
            reported
                .utf8
                .store(connection.parameter("client_encoding").is_none_or(is_utf8), Ordering::Relaxed);
            match polled {
                // Notices and notifications are not ours to show.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// How a load comes to a session: connects anew at each call. Called once for the load, and once more whenever a statement has
/// been quiet for the stall limit, to ask the server whether it still works on it.
pub type Open = Box<dyn Fn() -> Boxed<Result<Session>> + Send>;

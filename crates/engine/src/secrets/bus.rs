//! The Secret Service as it is seen on the session bus: is it there, does it keep what it is given, is it locked, may a person be
//! asked to unlock it. Reading and writing go through [`super::keychain`].
//!
//! Interface: <https://specifications.freedesktop.org/secret-service-spec/latest/>.

use std::collections::HashMap;
use std::time::Duration;

use coffre_model::{Error, Result};
use futures_util::StreamExt;
use zbus::message::Message;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};
use zbus::{Connection, MatchRule, MessageStream};

use super::keychain::{APPLICATION, Limits, State, failed, silent, unavailable};

const NAME: &str = "org.freedesktop.secrets";
const ROOT: &str = "/org/freedesktop/secrets";
const INTERFACE: &str = "org.freedesktop.Secret.Service";
const PROMPT: &str = "org.freedesktop.Secret.Prompt";

/// How often "there is no default collection" is asked again, and after how long, before it is believed. GNOME's daemon (42.1 at least)
/// answers so to a new caller now and then, about one time in a thousand, and knows better a moment later.
const ASKED_AGAIN: u32 = 5;
const PAUSE: Duration = Duration::from_millis(60);

/// A little less than the caller waits, so that the precise answer comes before the general one.
fn bus_limit(limits: Limits) -> Duration {
    limits.answer.mul_f32(0.8)
}

/// Makes sure that the keychain can be read and written at once, without a dialog that nobody would see.
pub(super) fn make_ready(may_ask: bool, limits: Limits, asking: &dyn Fn()) -> Result<()> {
    run(async {
        let keychain = within(bus_limit(limits), Bus::find()).await??;
        if !keychain.locked {
            return Ok(());
        }
        if !may_ask {
            return Err(unavailable("keychain_locked"));
        }
        keychain.unlock(limits, asking).await
    })
}

/// Looks without changing anything. Entries are counted whose user begins with `prefix`.
pub(super) fn look(prefix: Option<String>, limits: Limits) -> Result<State> {
    run(async {
        within(bus_limit(limits), async {
            let keychain = Bus::find().await?;
            let entries = match prefix {
                None => 0,
                Some(prefix) => keychain.count(&prefix).await?,
            };
            Ok(State {
                unlocked: !keychain.locked,
                entries: Some(entries),
            })
        })
        .await?
    })
}

fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?
        .block_on(work)
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(limit, work).await.map_err(|_| silent(limit))
}

/// The default collection of the Secret Service.
struct Bus {
    connection: Connection,
    collection: OwnedObjectPath,
    locked: bool,
}

impl Bus {
    async fn find() -> Result<Self> {
        let connection = Connection::session().await.map_err(translate)?;
        let mut collection = default_collection(&connection).await?;
        for _ in 0..ASKED_AGAIN {
            if collection.as_str() != "/" {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            collection = default_collection(&connection).await?;
        }
        if collection.as_str() == "/" {
            return Err(unavailable("keychain_empty"));
        }
        // GNOME's "session" collection lives in memory and is gone with the login: a password kept there would be lost silently.
        if collection.as_str().ends_with("/session") {
            return Err(unavailable("keychain_fleeting"));
        }
        let locked = property(&connection, &collection, "org.freedesktop.Secret.Collection", "Locked").await?;
        let locked = bool::try_from(locked).map_err(failed)?;
        Ok(Bus {
            connection,
            collection,
            locked,
        })
    }

    /// Lets the keychain ask its person, and waits for them, but not for ever.
    async fn unlock(&self, limits: Limits, asking: &dyn Fn()) -> Result<()> {
        let wanted = vec![&self.collection];
        let call = self
            .connection
            .call_method(Some(NAME), ROOT, Some(INTERFACE), "Unlock", &wanted);
        let reply = within(bus_limit(limits), call).await?.map_err(translate)?;
        let (unlocked, prompt): (Vec<OwnedObjectPath>, OwnedObjectPath) = body(&reply)?;
        if !unlocked.is_empty() {
            return Ok(());
        }
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .interface(PROMPT)
            .and_then(|rule| rule.member("Completed"))
            .and_then(|rule| rule.path(&prompt))
            .map_err(failed)?
            .build();
        // Listens before it asks: an answer can come at once.
        let mut answers = MessageStream::for_match_rule(rule, &self.connection, Some(4))
            .await
            .map_err(translate)?;
        asking();
        let call = self.connection.call_method(Some(NAME), &prompt, Some(PROMPT), "Prompt", &"");
        within(bus_limit(limits), call).await?.map_err(translate)?;
        match tokio::time::timeout(limits.person, answers.next()).await {
            Err(_) => {
                // Takes the dialog away. Whether that works changes nothing: the keychain is locked, and that is what is said.
                let _ = within(
                    bus_limit(limits),
                    self.connection.call_method(Some(NAME), &prompt, Some(PROMPT), "Dismiss", &()),
                )
                .await;
                Err(unavailable("keychain_locked"))
            }
            Ok(None) => Err(failed("the session bus closed")),
            Ok(Some(answer)) => {
                let (dismissed, _): (bool, OwnedValue) = body(&answer.map_err(translate)?)?;
                if dismissed {
                    Err(unavailable("keychain_refused").with("cause", "the request to unlock it was dismissed"))
                } else {
                    Ok(())
                }
            }
        }
    }

    async fn count(&self, prefix: &str) -> Result<u64> {
        let wanted = HashMap::from([("service", APPLICATION)]);
        let reply = self
            .connection
            .call_method(Some(NAME), ROOT, Some(INTERFACE), "SearchItems", &wanted)
            .await;
        let (open, locked): (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) = body(&reply.map_err(translate)?)?;
        let mut entries = 0;
        for item in open.iter().chain(&locked) {
            let attributes = property(&self.connection, item, "org.freedesktop.Secret.Item", "Attributes").await?;
            let attributes: HashMap<String, String> = attributes.try_into().map_err(failed)?;
            entries += u64::from(attributes.get("username").is_some_and(|user| user.starts_with(prefix)));
        }
        Ok(entries)
    }
}

/// Where the default collection is; `/` where there is none.
async fn default_collection(connection: &Connection) -> Result<OwnedObjectPath> {
    let reply = connection
        .call_method(Some(NAME), ROOT, Some(INTERFACE), "ReadAlias", &"default")
        .await;
    body(&reply.map_err(translate)?)
}

async fn property(connection: &Connection, path: &OwnedObjectPath, interface: &str, name: &str) -> Result<OwnedValue> {
    let properties = Some("org.freedesktop.DBus.Properties");
    let reply = connection
        .call_method(Some(NAME), path, properties, "Get", &(interface, name))
        .await;
    body(&reply.map_err(translate)?)
}

fn body<T>(message: &Message) -> Result<T>
where
    T: for<'a> zbus::zvariant::DynamicDeserialize<'a>,
{
    message.body().deserialize().map_err(failed)
}

/// Absent, refused, silent or something else: what the bus says decides what a person can do about it.
fn translate(error: zbus::Error) -> Error {
    use std::io::ErrorKind;
    let text = match &error {
        zbus::Error::Address(_) => "keychain_absent",
        zbus::Error::Handshake(_) => "keychain_refused",
        zbus::Error::InputOutput(cause) | zbus::Error::Connection(cause, _) => match cause.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => "keychain_absent",
            ErrorKind::PermissionDenied => "keychain_refused",
            ErrorKind::TimedOut => "keychain_silent",
            _ => return failed(error),
        },
        zbus::Error::MethodError(name, ..) => match name.as_str() {
            "org.freedesktop.DBus.Error.AccessDenied" | "org.freedesktop.DBus.Error.AuthFailed" => "keychain_refused",
            "org.freedesktop.DBus.Error.NoReply"
            | "org.freedesktop.DBus.Error.Timeout"
            | "org.freedesktop.DBus.Error.TimedOut" => "keychain_silent",
            "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner" => "keychain_absent",
            name if name.starts_with("org.freedesktop.DBus.Error.Spawn.") => "keychain_absent",
            "org.freedesktop.Secret.Error.IsLocked" => "keychain_locked",
            _ => return failed(error),
        },
        _ => return failed(error),
    };
    unavailable(text).with("cause", error.to_string())
}

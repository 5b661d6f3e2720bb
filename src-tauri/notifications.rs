//! Notifications through the system's own daemon. A click opens what they are about.

use std::sync::Arc;

use coffre_api::window::Window;
use coffre_api::window::notices::Notice;
use notify_rust::Notification;

use crate::desktop::Desktop;
use crate::main_window;

/// Shows a notification. It blocks for as long as it is shown (that is how a click is heard), so that it has a thread of its own.
/// `told` is done once the system has taken it.
pub(crate) fn show(desktop: &Arc<Desktop>, notice: Notice, told: impl FnOnce() + Send + 'static) {
    let desktop = Arc::clone(desktop);
    let waiting = Arc::clone(&desktop);
    let begun = std::thread::Builder::new().name("notice".into()).spawn(move || {
        if let Err(error) = show_and_wait(&waiting, &notice, told) {
            // Waits until there is somebody to tell: what is found at the start is told before the window is open.
            unseen(waiting.window().ok(), &error, &notice.title);
        }
    });
    if let Err(error) = begun {
        unseen(desktop.window_now(), &error, "");
    }
}

/// The news themselves stand in the window, the tray and the journal; that nobody was shown them stands in the window's health.
fn unseen(window: Option<&Window>, error: &dyn std::error::Error, title: &str) {
    tracing::error!(%error, title, "the system did not show a notification");
    if let Some(window) = window {
        window.noticed(Err(error.to_string()));
    }
}

fn seen(desktop: &Desktop) {
    if let Ok(window) = desktop.window() {
        window.noticed(Ok(()));
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
fn show_and_wait(desktop: &Arc<Desktop>, notice: &Notice, told: impl FnOnce()) -> notify_rust::error::Result<()> {
    use notify_rust::{Hint, Timeout, Urgency};

    // Some daemons read markup in the body; names and server errors are text.
    let markup = notify_rust::get_capabilities().is_ok_and(|can| can.iter().any(|one| one == "body-markup"));
    let body = if markup { escaped(&notice.body) } else { notice.body.clone() };
    let mut notification = Notification::new();
    notification
        .appname("Coffre")
        .summary(&notice.title)
        .body(&body)
        .icon("coffre-desktop")
        .hint(Hint::DesktopEntry("Coffre".to_owned()))
        .urgency(if notice.urgent { Urgency::Critical } else { Urgency::Normal })
        .timeout(if notice.urgent { Timeout::Never } else { Timeout::Default })
        // `default` is a click on the notification itself.
        .action("default", &desktop.words().text("desktop.open_notice"));
    let shown = notification.show()?;
    seen(desktop);
    told();
    // Whoever is away for long comes back to many: beyond some of them, a click is not waited for.
    let Some(_waiting) = Waiting::enter() else { return Ok(()) };
    shown.wait_for_action(|action| {
        if action == "default"
            && let Err(error) = main_window::navigate(desktop, &notice.route)
        {
            tracing::error!(%error, "open what a notification is about");
        }
    });
    Ok(())
}

/// One of the threads that wait for a click. Each keeps a connection to the bus, and an urgent notification stays until it is seen.
#[cfg(all(unix, not(target_os = "macos")))]
struct Waiting;

#[cfg(all(unix, not(target_os = "macos")))]
static WAITING: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

#[cfg(all(unix, not(target_os = "macos")))]
impl Waiting {
    const MOST: usize = 16;

    fn enter() -> Option<Waiting> {
        let before = WAITING.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let waiting = Waiting;
        // Dropped, it leaves again.
        (before < Waiting::MOST).then_some(waiting)
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn show_and_wait(desktop: &Arc<Desktop>, notice: &Notice, told: impl FnOnce()) -> notify_rust::error::Result<()> {
    // These systems bring the application forward by themselves.
    Notification::new()
        .appname("Coffre")
        .summary(&notice.title)
        .body(&notice.body)
        .show()?;
    seen(desktop);
    told();
    Ok(())
}

/// Text that a reader of markup takes for what it is.
#[cfg_attr(not(all(unix, not(target_os = "macos"))), allow(dead_code))]
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn only_some_clicks_are_waited_for() {
        use super::Waiting;
        let waiting: Vec<_> = std::iter::from_fn(Waiting::enter).take(100).collect();
        assert_eq!(waiting.len(), Waiting::MOST);
        drop(waiting);
        assert!(Waiting::enter().is_some());
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(super::escaped("<b>a & b</b>"), "&lt;b&gt;a &amp; b&lt;/b&gt;");
    }
}

//! Notifications through the system's own daemon. A click opens what they are about.

use std::sync::Arc;

use coffre_api::window::notices::Notice;
use notify_rust::Notification;

use crate::desktop::Desktop;
use crate::main_window;

/// Shows a notification. It blocks for as long as it is shown (that is how a click is heard), so that it has a thread of its own.
pub(crate) fn show(desktop: &Arc<Desktop>, notice: Notice) {
    let desktop = Arc::clone(desktop);
    let begun = std::thread::Builder::new().name("notice".into()).spawn(move || {
        if let Err(error) = show_and_wait(&desktop, &notice) {
            // The same news stand in the window, the tray and the journal.
            tracing::error!(%error, title = notice.title, "the system did not show a notification");
        }
    });
    if let Err(error) = begun {
        tracing::error!(%error, "show a notification");
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
fn show_and_wait(desktop: &Arc<Desktop>, notice: &Notice) -> notify_rust::error::Result<()> {
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
    notification.show()?.wait_for_action(|action| {
        if action == "default"
            && let Err(error) = main_window::navigate(desktop, &notice.route)
        {
            tracing::error!(%error, "open what a notification is about");
        }
    });
    Ok(())
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn show_and_wait(_: &Arc<Desktop>, notice: &Notice) -> notify_rust::error::Result<()> {
    // These systems bring the application forward by themselves.
    Notification::new()
        .appname("Coffre")
        .summary(&notice.title)
        .body(&notice.body)
        .show()
        .map(drop)
}

/// Text that a reader of markup takes for what it is.
#[cfg_attr(not(all(unix, not(target_os = "macos"))), allow(dead_code))]
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn markup_is_text() {
        assert_eq!(super::escaped("<b>a & b</b>"), "&lt;b&gt;a &amp; b&lt;/b&gt;");
    }
}

//! The one window.

use std::sync::Arc;

use coffre_api::model::Result;
use coffre_api::window::notices::Notice;
use tauri::webview::NewWindowResponse;
use tauri::{AppHandle, Manager, Url, WebviewUrl, WebviewWindow, WebviewWindowBuilder, WindowEvent};

use crate::desktop::Desktop;
use crate::{drawing, font, notifications, page};

/// The window's name.
pub(crate) const LABEL: &str = "main";

/// As large as the design is drawn, in pixels that do not know the screen's scale.
const SIZE: (f64, f64) = (1280.0, 832.0);
const SMALLEST: (f64, f64) = (720.0, 520.0);

/// Written once the person was told that closing the window does not end Coffre.
const TOLD: &str = "told-about-the-tray";

/// Shows the window in front of all others; makes it where it was never needed.
pub(crate) fn show(app: &AppHandle) {
    let shown = match app.get_webview_window(LABEL) {
        Some(window) => bring_forward(&window),
        None => make(app).and_then(|window| bring_forward(&window)),
    };
    if let Err(error) = shown {
        tracing::error!(%error, "show the window");
    }
}

fn bring_forward(window: &WebviewWindow) -> tauri::Result<()> {
    window.show()?;
    window.unminimize()?;
    window.set_focus()
}

fn make(app: &AppHandle) -> tauri::Result<WebviewWindow> {
    let desktop = Arc::clone(&app.state::<Arc<Desktop>>());
    let fonts = font::of_desktop();
    drawing::choose_motion();
    let window = WebviewWindowBuilder::new(app, LABEL, WebviewUrl::default())
        .title("Coffre")
        .inner_size(SIZE.0, SIZE.1)
        .min_inner_size(SMALLEST.0, SMALLEST.1)
        .zoom_hotkeys_enabled(true)
        // Nothing but our own pages, in no other window.
        .on_navigation(is_ours)
        .on_new_window(|_, _| NewWindowResponse::Deny)
        .on_web_resource_request(move |request, response| page::complete(&desktop, fonts.as_deref(), &request, response))
        .build()?;
    let handle = app.clone();
    window.on_window_event(move |event| {
        if let WindowEvent::CloseRequested { api, .. } = event {
            // Never destroyed: what is typed in it is still there when it comes back.
            api.prevent_close();
            close(&handle);
        }
    });
    Ok(window)
}

/// Pages inside the program; Windows gives them another address than Linux and macOS.
fn is_ours(address: &Url) -> bool {
    match address.scheme() {
        "tauri" => address.host_str() == Some("localhost"),
        "http" | "https" => address.host_str() == Some("tauri.localhost"),
        _ => false,
    }
}

/// The window's cross: into the tray, or the end, as the settings say.
fn close(app: &AppHandle) {
    let desktop = Arc::clone(&app.state::<Arc<Desktop>>());
    if !desktop.closes_to_tray() {
        quit(app);
        return;
    }
    if let Some(window) = app.get_webview_window(LABEL)
        && let Err(error) = window.hide()
    {
        tracing::error!(%error, "hide the window");
    }
    let told = std::thread::Builder::new()
        .name("told".into())
        .spawn(move || tell_once(&desktop));
    if let Err(error) = told {
        tracing::warn!(%error, "tell that Coffre goes on");
    }
}

/// Says once, and never again, that Coffre goes on working.
fn tell_once(desktop: &Arc<Desktop>) {
    let Ok(folder) = desktop.app().map(|app| app.path().app_config_dir()) else {
        return;
    };
    let mark = folder.map(|folder| folder.join(TOLD));
    if mark.as_ref().is_ok_and(|mark| mark.exists()) {
        return;
    }
    let words = desktop.words();
    let notice = Notice {
        title: words.text("desktop.goes_on"),
        body: words.text("desktop.goes_on_body"),
        urgent: false,
        route: "/settings".to_owned(),
    };
    notifications::show(desktop, notice, move || {
        // Where it cannot be written, or was not shown, it is said again: better than never.
        if let Ok(mark) = mark
            && let Err(error) = std::fs::create_dir_all(mark.parent().unwrap_or(&mark)).and_then(|()| std::fs::write(&mark, []))
        {
            tracing::warn!(%error, "remember what was said");
        }
    });
}

/// Ends Coffre; where work is running, the window asks first.
pub(crate) fn quit(app: &AppHandle) {
    let desktop = Arc::clone(&app.state::<Arc<Desktop>>());
    // Not open yet: then nothing runs.
    if desktop.window_now().is_none_or(coffre_api::window::Window::may_quit) {
        app.exit(0);
    }
}

/// Shows a view.
pub(crate) fn navigate(desktop: &Desktop, route: &str) -> Result<()> {
    desktop.window()?.navigate(route);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages() {
        let ours = |address: &str| is_ours(&address.parse().unwrap());
        assert!(ours("tauri://localhost/") && ours("http://tauri.localhost/index.html"));
        for address in [
            "https://example.org/",
            "http://localhost:5173/",
            "http://tauri.localhost.example.org/",
            "tauri://example.org/",
            "file:///etc/passwd",
            "data:text/html,x",
            "javascript:alert(1)",
            "about:blank",
            "blob:tauri://localhost/x",
        ] {
            assert!(!ours(address), "{address}");
        }
    }
}

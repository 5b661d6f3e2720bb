//! How WebKit draws on Linux. macOS and Windows bring web views of their own, which choose by themselves.

/// What WebKit is asked for where the machine has no graphics processor, by the variables that it reads: what it is asked, and by which
/// others somebody says something else. Without the first it lays one surface over the other by an emulated graphics processor, at
/// each frame, which takes several times as long as all else of an answer, and 60 MB; without the second it paints by one too,
/// which translates a program for each kind of thing that is drawn. A window that a WebDriver drives keeps its surfaces: the driver's
/// pictures never come without them (WebKitGTK 2.50.6), and whoever waits for one waits for ever.
#[cfg(target_os = "linux")]
const WITHOUT_PROCESSOR: [(&str, &[&str]); 2] = [
    (
        "WEBKIT_DISABLE_COMPOSITING_MODE",
        &["WEBKIT_FORCE_COMPOSITING_MODE", "TAURI_WEBVIEW_AUTOMATION"],
    ),
    ("WEBKIT_SKIA_ENABLE_CPU_RENDERING", &[]),
];

/// Asks WebKit to do without a graphics processor where the machine has none: it paints and lays together by itself, and only what
/// changed. Somebody who has chosen otherwise is left alone. To be called before there is a second thread.
pub(crate) fn choose() {
    #[cfg(target_os = "linux")]
    {
        if has_graphics_processor() {
            return;
        }
        let is_set = |name: &&str| std::env::var_os(name).is_some();
        for (choice, others) in WITHOUT_PROCESSOR {
            if !is_set(&choice) && !others.iter().any(is_set) {
                // SAFETY: the first thing that the program does: no other thread reads the environment.
                unsafe {
                    std::env::set_var(choice, "1");
                }
            }
        }
    }
}

/// Where WebKit paints by itself, every step of a movement is painted, and an answer is seen a tenth of a second later for it: there, pages are
/// told to do without, by the desktop's own switch, for this program only. To be called on the first thread, once GTK is there.
pub(crate) fn choose_motion() {
    #[cfg(target_os = "linux")]
    {
        use gtk::prelude::GtkSettingsExt;
        if let Some(settings) = desktop_settings().filter(|_| !has_graphics_processor()) {
            settings.set_gtk_enable_animations(false);
        }
    }
}

/// What the desktop asks of programs; nothing but on the first thread, once GTK is there.
#[cfg(target_os = "linux")]
pub(crate) fn desktop_settings() -> Option<gtk::Settings> {
    gtk::is_initialized_main_thread().then(gtk::Settings::default).flatten()
}

/// Whether a graphics processor can be used: through the kernel's render nodes, or by a driver that goes without them.
#[cfg(target_os = "linux")]
fn has_graphics_processor() -> bool {
    use std::os::unix::ffi::OsStrExt;
    let render_node =
        |entry: std::io::Result<std::fs::DirEntry>| entry.is_ok_and(|e| e.file_name().as_bytes().starts_with(b"renderD"));
    let driver = |path: &str| std::path::Path::new(path).exists();
    std::fs::read_dir("/dev/dri").is_ok_and(|mut nodes| nodes.any(render_node)) || driver("/dev/nvidiactl") || driver("/dev/dxg")
}

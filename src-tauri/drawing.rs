//! How WebKit draws on Linux. macOS and Windows bring web views of their own, which choose by themselves.

/// Asks WebKit to paint pages by itself where the machine has no graphics processor. It would otherwise have an emulated one translate and
/// run a program for each kind of thing that is drawn: the first picture takes a third longer, and more memory stays in use. Somebody who
/// has chosen otherwise is left alone. To be called before there is a second thread.
pub(crate) fn choose() {
    #[cfg(target_os = "linux")]
    {
        const CHOICE: &str = "WEBKIT_SKIA_ENABLE_CPU_RENDERING";
        if std::env::var_os(CHOICE).is_none() && !has_graphics_processor() {
            // SAFETY: the first thing that the program does: no other thread reads the environment.
            unsafe {
                std::env::set_var(CHOICE, "1");
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

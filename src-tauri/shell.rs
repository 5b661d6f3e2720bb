//! What Coffre asks of a desktop.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use coffre_api::model::{Code, Error, Result};
use coffre_api::window::dialogs::{Dialogs, FilePurpose};
use coffre_api::window::notices::Notice;
use rfd::FileDialog;
use tauri::Manager;

use crate::desktop::Desktop;
use crate::{main_window, notifications, portal};

/// The desktop, for Coffre.
pub(crate) struct Shell(Arc<Desktop>);

impl Shell {
    pub(crate) fn new(desktop: Arc<Desktop>) -> Shell {
        Shell(desktop)
    }

    /// A dialog in front of the window.
    ///
    /// # Errors
    /// `NOT_FOUND` where this desktop has none: it would answer like a person who thinks better of it.
    fn dialog(&self, title: &str) -> Result<FileDialog> {
        if !portal::has_dialogs() {
            return Err(Error::new(Code::NotFound, "dialog_absent"));
        }
        let dialog = FileDialog::new().set_title(self.0.words().text(title));
        match self.0.app().ok().and_then(|app| app.get_webview_window(main_window::LABEL)) {
            Some(window) => Ok(dialog.set_parent(&window)),
            None => Ok(dialog),
        }
    }
}

impl Dialogs for Shell {
    fn choose_file(&self, purpose: FilePurpose) -> Result<Option<PathBuf>> {
        let (title, filter) = match purpose {
            FilePurpose::Database => (
                "desktop.choose_database",
                Some(("desktop.databases", &["db", "sqlite", "sqlite3", "db3"][..])),
            ),
            FilePurpose::Restore => (
                "desktop.choose_restore",
                Some((
                    "desktop.dumps",
                    &[
                        "dump", "sql", "db", "sqlite", "sqlite3", "gz", "zst", "age", "backup", "pgdump",
                    ][..],
                )),
            ),
            FilePurpose::Identity => ("desktop.choose_identity", None),
            FilePurpose::Tool => ("desktop.choose_tool", None),
        };
        let words = self.0.words();
        let mut dialog = self.dialog(title)?;
        if let Some((name, endings)) = filter {
            // What a file is called says little about what it is: every file can be chosen.
            dialog = dialog
                .add_filter(words.text("desktop.every_file"), &["*"])
                .add_filter(words.text(name), endings);
        }
        Ok(dialog.pick_file())
    }

    fn choose_folder(&self) -> Result<Option<PathBuf>> {
        Ok(self.dialog("desktop.choose_folder")?.pick_folder())
    }

    fn save_file(&self, suggestion: &str) -> Result<Option<PathBuf>> {
        let suggested = Path::new(suggestion);
        let mut dialog = self.dialog("desktop.save")?;
        if let Some(folder) = suggested.parent().filter(|folder| folder.is_absolute()) {
            dialog = dialog.set_directory(folder);
        }
        if let Some(name) = suggested.file_name() {
            dialog = dialog.set_file_name(name.to_string_lossy());
        }
        Ok(dialog.save_file())
    }

    fn open_folder(&self, path: &Path) -> Result<()> {
        let refused = |cause: String| {
            Error::new(Code::NotFound, "folder_not_opened")
                .with("path", path.display().to_string())
                .with("cause", cause)
        };
        if !path.is_dir() {
            return Err(refused("ENOENT".to_owned()));
        }
        tauri_plugin_opener::open_path(path, None::<&str>).map_err(|error| refused(error.to_string()))
    }

    fn notify(&self, notice: &Notice) {
        notifications::show(&self.0, notice.clone(), || {});
    }

    fn quit(&self) {
        if let Ok(app) = self.0.app() {
            app.exit(0);
        }
    }
}

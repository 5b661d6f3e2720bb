//! What only a shell can do: file dialogs, showing a folder, notifications, ending the process.

use std::path::{Path, PathBuf};

use coffre_model::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Window;
use super::commands::Nothing;
use super::notices::Notice;

/// For what a file is chosen; decides the dialog's title and filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum FilePurpose {
    /// A database file to protect.
    Database,
    /// A dump to restore from.
    Restore,
    /// A file with a key.
    Identity,
    /// A program.
    Tool,
}

/// What a shell does for Coffre. Every method may be called from any thread; dialogs block until the person has answered.
pub trait Dialogs: Send + Sync {
    /// Asks for a file that exists. Nothing where the person thinks better of it.
    ///
    /// # Errors
    /// `NOT_FOUND` (`dialog_absent`) where this desktop has no file dialog; so do the next two.
    fn choose_file(&self, purpose: FilePurpose) -> Result<Option<PathBuf>>;
    /// Asks for a folder.
    ///
    /// # Errors
    /// As above.
    fn choose_folder(&self) -> Result<Option<PathBuf>>;
    /// Asks where a new file shall be; `suggestion` is a name, or a whole path.
    ///
    /// # Errors
    /// As above.
    fn save_file(&self, suggestion: &str) -> Result<Option<PathBuf>>;
    /// Shows a folder in the system's file browser.
    ///
    /// # Errors
    /// Why the system did not.
    fn open_folder(&self, path: &Path) -> Result<()>;
    /// Shows a notification. A click on it goes to [`Notice::route`] ([`Window::navigate`]). How that went is told to
    /// [`Window::noticed`].
    fn notify(&self, notice: &Notice);
    /// Ends the process. Nothing runs any more; the shell calls [`Window::close`] on its way.
    fn quit(&self);
}

/// A file that was written.
#[derive(Debug, Serialize, TS)]
pub struct FileWritten {
    /// Where.
    pub path: String,
}

/// The arguments of `choose_file`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ChooseFile {
    purpose: FilePurpose,
}

/// The arguments of `choose_new_file`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ChooseNewFile {
    suggestion: String,
}

/// A path as text, which every address and every answer is.
pub(super) fn text_of(path: PathBuf) -> Result<String> {
    path.into_os_string()
        .into_string()
        .map_err(|path| Error::new(Code::Usage, "file_path").with("path", path.to_string_lossy().into_owned()))
}

impl Window {
    pub(super) fn choose_file(&self, ChooseFile { purpose }: ChooseFile) -> Result<Option<String>> {
        self.dialogs().choose_file(purpose)?.map(text_of).transpose()
    }

    pub(super) fn choose_folder(&self, _: Nothing) -> Result<Option<String>> {
        self.dialogs().choose_folder()?.map(text_of).transpose()
    }

    pub(super) fn choose_new_file(&self, ChooseNewFile { suggestion }: ChooseNewFile) -> Result<Option<String>> {
        self.ask_where(&suggestion)?.map(text_of).transpose()
    }

    /// Asks where a new file shall be.
    pub(super) fn ask_where(&self, suggestion: &str) -> Result<Option<PathBuf>> {
        if suggestion.len() > 4096 || suggestion.contains('\0') {
            return Err(Error::new(Code::Usage, "file_path").with("path", suggestion.chars().take(100).collect::<String>()));
        }
        self.dialogs().save_file(suggestion)
    }

    pub(super) fn open_log_folder(&self, _: Nothing) -> Result<()> {
        // Also where the catalogue cannot be opened: the log may say why.
        self.dialogs().open_folder(&self.0.opening.home.join("logs"))
    }
}

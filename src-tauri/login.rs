//! Start at login, as the setting says.

use coffre_api::model::{Code, Error, Result};
use tauri::AppHandle;
use tauri_plugin_autostart::ManagerExt;

/// Makes the system's list agree with the setting.
///
/// # Errors
/// `REFUSED` where the system does not allow it.
pub(crate) fn apply(app: &AppHandle, wanted: bool) -> Result<()> {
    let list = app.autolaunch();
    let refused =
        |error: tauri_plugin_autostart::Error| Error::new(Code::Refused, "login_start").with("cause", error.to_string());
    // Where it cannot be asked, it is set all the same: that says why.
    if list.is_enabled().is_ok_and(|is| is == wanted) {
        return Ok(());
    }
    match wanted {
        true => list.enable(),
        false => list.disable(),
    }
    .map_err(refused)
}

//! The desktop shell: a window, a tray icon, dialogs and notifications around `coffre_api::window`. It hands names and JSON over in one
//! direction and events in the other, and decides nothing.
//!
//! | file | what |
//! |---|---|
//! | `arguments.rs` | the command line |
//! | `desktop.rs` | what is shared: the application's handle and Coffre, once it is open |
//! | `drawing.rs` | how the web view draws |
//! | `ipc.rs` | commands of the window |
//! | `main_window.rs` | the one window: made, shown, hidden, closed |
//! | `page.rs` | the window's page, with the first answers in it |
//! | `tray.rs` | the icon with its menu |
//! | `shell.rs` | what Coffre asks of a desktop: file dialogs, folders, the end |
//! | `portal.rs` | whether this desktop has file dialogs |
//! | `notifications.rs` | the system's notifications |
//! | `login.rs` | start at login |
//! | `signals.rs` | a clean end when the system asks for one |

mod arguments;
mod desktop;
mod drawing;
mod font;
mod ipc;
mod login;
mod main_window;
mod notifications;
mod page;
#[cfg(test)]
mod permissions;
mod portal;
mod shell;
mod signals;
mod tray;

use std::process::ExitCode;
use std::sync::Arc;

use coffre_api::model::Error;
use coffre_api::start;
use coffre_api::words::{Language, Words};
use tauri::{RunEvent, Wry};

use arguments::Arguments;
use desktop::Desktop;

/// The whole program.
pub fn main() -> ExitCode {
    drawing::choose();
    start::prepare();
    let words = Words::new(system_language());
    let arguments = match Arguments::parse(std::env::args_os().skip(1), &words) {
        Ok(arguments) => arguments,
        Err(stop) => return stop.show(),
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is no window to say it in.
            let said = match error.downcast_ref::<Error>() {
                Some(error) => words.error(error).0,
                None => format!("{error:#}"),
            };
            arguments::tell(&said);
            ExitCode::from(1)
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    start::choose_tls()?;
    let home = coffre_api::open::home(arguments.home.as_deref())?;
    // One instance for each home: the same home is never worked on by two windows, and two homes may each have theirs.
    let instance = arguments.home.is_some().then(|| desktop::instance_name(&home));
    let desktop = Arc::new(Desktop::new(home, system_language()));

    let mut single = tauri_plugin_single_instance::Builder::new().callback(|app, arguments, _folder| {
        // A start at login finds everything as it should be.
        if !arguments.iter().skip(1).any(|a| a == arguments::HIDDEN) {
            main_window::show(app);
        }
    });
    if let Some(instance) = instance {
        single = single.dbus_id(instance);
    }
    let login = tauri_plugin_autostart::Builder::new().arg(arguments::HIDDEN).build();
    // Size and place; not whether it is visible: a window that was hidden in the tray comes back at the next start.
    let place = tauri_plugin_window_state::StateFlags::SIZE
        | tauri_plugin_window_state::StateFlags::POSITION
        | tauri_plugin_window_state::StateFlags::MAXIMIZED;
    let memory = tauri_plugin_window_state::Builder::new().with_state_flags(place).build();

    let (for_commands, for_setup, for_end) = (Arc::clone(&desktop), Arc::clone(&desktop), desktop);
    let app = tauri::Builder::<Wry>::new()
        // First: a second instance must be seen before anything is opened.
        .plugin(single.build())
        .plugin(login)
        .plugin(memory)
        .on_menu_event(tray::chosen)
        .invoke_handler(move |invoke| ipc::answer(&for_commands, invoke))
        .setup(move |app| {
            for_setup.begin(app.handle())?;
            signals::watch(app.handle())?;
            if !arguments.hidden {
                main_window::show(app.handle());
            }
            Ok(())
        })
        .build(tauri::generate_context!())?;
    app.run(move |app, event| match event {
        // The last window is gone, and nobody asked for the end: Coffre goes on in the tray.
        RunEvent::ExitRequested { api, code: None, .. } => api.prevent_exit(),
        RunEvent::Exit => for_end.end(),
        #[cfg(target_os = "macos")]
        RunEvent::Reopen { .. } => main_window::show(app),
        _ => {
            let _only_on_macos = app;
        }
    });
    Ok(())
}

/// The language of the system, for as long as the settings do not name one.
fn system_language() -> Language {
    start::language_of_environment()
        .or_else(|| sys_locale::get_locale().map(|locale| Language::of_locale(&locale)))
        .unwrap_or(Language::En)
}

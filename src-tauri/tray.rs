//! The icon in the tray: the state by its shape, a sentence, and what can be done without the window.

use std::sync::Arc;

use coffre_api::model::{Code, Error, Id, Result};
use coffre_api::window::tray::{Tray, TrayState};
use tauri::image::Image;
use tauri::menu::{Menu, MenuBuilder, MenuEvent, MenuItemBuilder};
use tauri::tray::{TrayIcon, TrayIconBuilder};
use tauri::{AppHandle, Manager, Wry};

use crate::desktop::Desktop;
use crate::main_window;

const ID: &str = "coffre";
const SENTENCE: &str = "sentence";
const OPEN: &str = "open";
const ALL: &str = "back-up-all";
const PAUSE: &str = "pause-schedules";
const RESUME: &str = "resume-schedules";
const QUIT: &str = "quit";
/// Followed by the plan's id.
const PLAN: &str = "plan:";

macro_rules! icon {
    ($name:literal) => {
        // macOS paints a template in the colour of its bar; elsewhere the glyph brings its own ground, light or dark.
        if cfg!(target_os = "macos") {
            include_bytes!(concat!("icons/tray-", $name, "-template.png")).as_slice()
        } else {
            include_bytes!(concat!("icons/tray-", $name, ".png")).as_slice()
        }
    };
}

fn icon(state: TrayState) -> tauri::Result<Image<'static>> {
    Image::from_bytes(match state {
        TrayState::Protected | TrayState::Empty => icon!("protected"),
        TrayState::Running => icon!("running"),
        TrayState::Attention => icon!("attention"),
    })
}

/// Draws the tray anew.
pub(crate) fn refresh(desktop: &Desktop) {
    let (Ok(app), Some(window)) = (desktop.app(), desktop.window_now()) else {
        // Drawn when Coffre is open.
        return;
    };
    // One after the other: two at once would make two icons. What is shown already is left alone: a menu that is open stays open.
    let mut drawn = desktop.drawn_tray();
    let tray = window.tray();
    if drawn.as_ref() == Some(&tray) {
        return;
    }
    match draw(app, &tray) {
        Ok(()) => *drawn = Some(tray),
        Err(error) => tracing::error!(%error, "draw the tray icon"),
    }
}

fn draw(app: &AppHandle, tray: &Tray) -> tauri::Result<()> {
    let menu = menu(app, tray)?;
    let icon = icon(tray.state)?;
    let tooltip = format!("Coffre: {}", tray.sentence);
    let shown: TrayIcon<Wry> = match app.tray_by_id(ID) {
        Some(shown) => {
            shown.set_icon_with_as_template(Some(icon), cfg!(target_os = "macos"))?;
            shown.set_menu(Some(menu))?;
            shown
        }
        None => TrayIconBuilder::with_id(ID)
            .icon(icon)
            .icon_as_template(cfg!(target_os = "macos"))
            .menu(&menu)
            .build(app)?,
    };
    shown.set_tooltip(Some(tooltip))
}

fn menu(app: &AppHandle, tray: &Tray) -> tauri::Result<Menu<Wry>> {
    let sentence = MenuItemBuilder::with_id(SENTENCE, &tray.sentence).enabled(false).build(app)?;
    let mut menu = MenuBuilder::new(app).item(&sentence).separator();
    for plan in &tray.plans {
        let item = MenuItemBuilder::with_id(format!("{PLAN}{}", plan.id), &plan.label)
            .enabled(plan.enabled)
            .build(app)?;
        menu = menu.item(&item);
    }
    if tray.plans.len() > 1 {
        let all = MenuItemBuilder::with_id(ALL, &tray.back_up_all)
            .enabled(tray.plans.iter().any(|plan| plan.enabled))
            .build(app)?;
        menu = menu.item(&all);
    }
    if !tray.plans.is_empty() {
        menu = menu.separator();
    }
    if let Some(pause) = &tray.pause {
        menu = menu.text(if tray.paused { RESUME } else { PAUSE }, pause).separator();
    }
    menu.text(OPEN, &tray.open).text(QUIT, &tray.quit).build()
}

/// Something was chosen. What takes long is done elsewhere: this is the thread that draws.
pub(crate) fn chosen(app: &AppHandle, event: MenuEvent) {
    match event.id().as_ref() {
        OPEN => main_window::show(app),
        QUIT => main_window::quit(app),
        SENTENCE => {}
        work => {
            let (desktop, work) = (Arc::clone(&app.state::<Arc<Desktop>>()), work.to_owned());
            let begun = std::thread::Builder::new().name("tray".into()).spawn(move || {
                let outcome = carry_out(&desktop, &work);
                if let (Err(error), Some(window)) = (outcome, desktop.window_now()) {
                    window.tell_error(&error);
                }
            });
            if let Err(error) = begun {
                tracing::error!(%error, "carry out what was chosen in the tray");
            }
        }
    }
}

fn carry_out(desktop: &Desktop, chosen: &str) -> Result<()> {
    let window = desktop.window()?;
    if chosen == PAUSE || chosen == RESUME {
        return window.pause_all(chosen == PAUSE);
    }
    if chosen == ALL {
        return window.back_up_all().map(drop);
    }
    let plan = chosen.strip_prefix(PLAN).unwrap_or(chosen);
    let plan: Id = plan
        .parse()
        .map_err(|_| Error::new(Code::Usage, "command_unknown").with("command", chosen))?;
    window.back_up_plan(plan).map(drop)
}

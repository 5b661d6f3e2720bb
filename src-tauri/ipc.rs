//! Commands of the window: each is called by name with one argument `args`, and answered from a thread that may wait.

use std::sync::Arc;

use coffre_api::model::{Code, Error};
use coffre_api::window::WireError;
use serde_json::Value;
use tauri::Wry;
use tauri::ipc::{Invoke, InvokeBody};

use crate::desktop::Desktop;
use crate::main_window;

/// Answers one command. `true`: it will be answered, also where it is nonsense.
pub(crate) fn answer(desktop: &Arc<Desktop>, invoke: Invoke<Wry>) -> bool {
    let Invoke { message, resolver, .. } = invoke;
    let worded = |error: &Error| WireError::new(error, &desktop.words());
    if message.webview_ref().label() != main_window::LABEL {
        resolver.reject(worded(&Error::new(Code::Refused, "command_unknown").with("command", "")));
        return true;
    }
    let command = message.command().to_owned();
    let arguments = match message.payload() {
        InvokeBody::Json(Value::Object(named)) => named.get("args").cloned().unwrap_or(Value::Null),
        // Said by the command in its own words.
        InvokeBody::Json(_) | InvokeBody::Raw(_) => Value::String(String::new()),
    };
    let waiting = Arc::clone(desktop);
    // A thread for each: a few microseconds, and none waits for another. Some wait for a person, or for a server.
    let theirs = resolver.clone();
    let spawned = std::thread::Builder::new().name("command".into()).spawn(move || {
        let answered = match waiting.window() {
            Ok(window) => window.dispatch(&command, arguments),
            Err(error) => Err(Box::new(WireError::new(&error, &waiting.words()))),
        };
        match answered {
            Ok(answer) => theirs.resolve(answer),
            Err(error) => theirs.reject(*error),
        }
    });
    if let Err(error) = spawned {
        resolver.reject(worded(&Error::internal("start a thread", error)));
    }
    true
}

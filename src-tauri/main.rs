//! `coffre-desktop`: Coffre in a window.

// No console beside the window on Windows.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

fn main() -> std::process::ExitCode {
    coffre_desktop::main()
}

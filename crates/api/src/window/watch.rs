//! What other processes change on the same home is seen without asking all the time: the system says when the catalogue's files are
//! written to, and only then is the catalogue asked. Where the system does not say it, it is asked once a second.

use std::sync::atomic::Ordering;
use std::sync::{PoisonError, Weak};
use std::time::{Duration, Instant};

use super::events::Noun;
use super::{Door, Inner, Window, tags};
use crate::folder::{Folder, Heard};

/// Changes are looked for at most this often. Asking costs some microseconds and touches no disk.
const LOOK_FOR_CHANGES: Duration = Duration::from_secs(1);
/// How often destinations that did not answer are asked again, what a process that died meanwhile left is put to rest, and changes are
/// looked for although nothing was said of any.
const LOOK_AROUND: Duration = Duration::from_secs(15);

/// Sees what other processes change on the same home, until the window is gone.
pub(super) fn watch(window: &Weak<Inner>) {
    let mut looked_around = Instant::now();
    let mut folder = None;
    // Something was written while the catalogue was about to be asked: it may not have been told yet.
    let mut again = false;
    loop {
        let Some(inner) = window.upgrade() else { return };
        let home = inner.opening.home.clone();
        drop(inner);
        if folder.is_none() {
            folder = Folder::new(&home);
        }
        let quiet = match again {
            true => LOOK_FOR_CHANGES,
            false => LOOK_AROUND.saturating_sub(looked_around.elapsed()),
        };
        match folder.as_ref().map(|folder| folder.wait(quiet)) {
            Some(Heard::Nothing) => {}
            // A change comes in many pieces, and the log is written a moment before the change counts.
            Some(Heard::Change) => std::thread::sleep(LOOK_FOR_CHANGES),
            // It was taken away, or the system does not say: asked until it can be heard again.
            Some(Heard::Gone) | None => {
                folder = None;
                std::thread::sleep(LOOK_FOR_CHANGES);
            }
        }
        let meanwhile = folder.as_ref().map_or(Heard::Nothing, Folder::forget);
        again = meanwhile == Heard::Change;
        if meanwhile == Heard::Gone {
            folder = None;
        }
        let Some(inner) = window.upgrade() else { return };
        let window = Window(inner);
        window.see_whether_it_vanished();
        if looked_around.elapsed() >= LOOK_AROUND {
            looked_around = Instant::now();
            window.look_around();
        }
        let changed = match &*window.0.door.read().unwrap_or_else(PoisonError::into_inner) {
            Door::Closed => return,
            Door::Shut(..) => continue,
            Door::Open(opened) => opened
                .coffre
                .engine
                .catalogue
                .changes_of_others()
                .map(|now| opened.seen.swap(now, Ordering::SeqCst) != now),
        };
        match changed {
            Ok(true) => {
                window.changed(tags(&Noun::ALL));
                // What another process added is looked at soon; what it changes all the time (a run) is not a reason to look each second.
                if looked_around.elapsed() >= LOOK_FOR_CHANGES * 3 {
                    looked_around = Instant::now();
                    window.look_around();
                }
            }
            Ok(false) => {}
            // What is wrong with the catalogue is told by every command that needs it; here only the look fails.
            Err(error) => tracing::warn!(%error, "look for changes of other processes"),
        }
    }
}

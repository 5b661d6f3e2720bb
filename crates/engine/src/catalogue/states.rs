//! States of copies and restores that the model leaves to the catalogue, and the one decision between them: what a backup is, given its
//! copies. The SQL triggers of the migrations say the same; a test compares them pair by pair.

use coffre_model::backup::{BackupState, CopyState};
use coffre_model::restore::RestoreState;

/// How a copy stands in its row: a state of the contract, or `writing`, which is never shown outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowState {
    /// The key is recorded; bytes may or may not be there.
    Writing,
    /// As in the contract.
    Shown(CopyState),
}

impl RowState {
    /// The word in the catalogue.
    pub fn as_str(self) -> &'static str {
        match self {
            RowState::Writing => "writing",
            RowState::Shown(state) => state.as_str(),
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "writing" => Some(RowState::Writing),
            other => CopyState::parse(other).map(RowState::Shown),
        }
    }

    /// Every value.
    pub fn all() -> impl Iterator<Item = RowState> + Clone {
        std::iter::once(RowState::Writing).chain(CopyState::ALL.iter().copied().map(RowState::Shown))
    }

    /// Whether a copy may go from this state to `next`. The SQL trigger `copies_transition` says the same.
    pub fn may_become(self, next: RowState) -> bool {
        use CopyState::{Corrupt, Deleted, Deleting, Missing, Stored, Verified};
        let RowState::Shown(next) = next else { return false };
        match self {
            RowState::Writing => matches!(next, Stored | Verified | Missing | Corrupt | Deleting),
            RowState::Shown(Stored) => matches!(next, Verified | Missing | Corrupt | Deleting),
            RowState::Shown(Verified) => matches!(next, Missing | Corrupt | Deleting),
            // A disk can be mounted again, an object brought back: read to its end it is as good as ever.
            RowState::Shown(Missing) => matches!(next, Verified | Corrupt | Deleting),
            RowState::Shown(Corrupt) => matches!(next, Verified | Missing | Deleting),
            RowState::Shown(Deleting) => matches!(next, Deleted),
            RowState::Shown(Deleted) => false,
        }
    }
}

/// Whether a restore may go from one state to another. The SQL trigger `restores_transition` says the same.
pub fn restore_may_become(from: RestoreState, next: RestoreState) -> bool {
    use RestoreState::{Done, Failed, Interrupted, Planned, Running, Undone};
    match from {
        Planned => matches!(next, Running | Failed),
        Running => matches!(next, Done | Failed | Interrupted),
        Done => matches!(next, Undone),
        // A replacement that was cut off right after its moment, once somebody has looked.
        Interrupted => matches!(next, Done),
        Undone | Failed => false,
    }
}

/// What a backup is after its copies were looked at: green only with a copy that was read to its end, never green again by
/// itself, and `failed` where a green one has lost its last good copy. A backup that is going away, or was never whole, stays what it
/// is.
pub fn state_after(current: BackupState, copies: impl IntoIterator<Item = CopyState>) -> BackupState {
    if !matches!(current, BackupState::Stored | BackupState::Verified | BackupState::Failed) {
        return current;
    }
    let (mut verified, mut stored) = (false, false);
    for copy in copies {
        verified |= copy == CopyState::Verified;
        stored |= copy == CopyState::Stored;
    }
    match current {
        _ if verified => BackupState::Verified,
        // Another copy was never read: it may still prove good.
        BackupState::Stored if stored => BackupState::Stored,
        _ => BackupState::Failed,
    }
}

//! The one type for secrets. It has no `Debug`, no `Display` and no `Serialize`, and wipes its memory when dropped.

use zeroize::Zeroizing;

/// A password or a key. It leaves Coffre only through a 0600 file in `runtime/`, a pipe, or a client library's own connection.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret over.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(Zeroizing::new(text.into()))
    }

    /// Shows the secret, for the one call that hands it on. Keep the borrow short.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

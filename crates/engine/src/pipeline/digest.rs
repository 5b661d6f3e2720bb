//! SHA-256 with a count, in the form in which manifests write it.

use sha2::{Digest as _, Sha256};

/// A running SHA-256. The library chooses the processor's own instructions (SHA-NI, ARMv8) when it runs, where they exist.
#[derive(Default)]
pub(super) struct Digest {
    hash: Sha256,
    bytes: u64,
}

/// A finished one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// How many bytes there were.
    pub(super) bytes: u64,
    /// Their SHA-256 in lower-case hexadecimal.
    pub(super) sha256: String,
}

impl Digest {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn finish(self) -> Facts {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let sha256 = self
            .hash
            .finalize()
            .iter()
            .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
            .map(char::from)
            .collect();
        Facts {
            bytes: self.bytes,
            sha256,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_answer() {
        let mut digest = Digest::default();
        digest.update(b"a");
        digest.update(b"bc");
        let facts = digest.finish();
        assert_eq!(facts.bytes, 3);
        assert_eq!(
            facts.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}

//! The checker of a stored SQLite file: it is fed the plain bytes in order, and needs neither SQLite nor a file to say whether they are
//! a whole database.

use coffre_model::database::{Checker, Parsed};
use coffre_model::{Code, Error, Result};

use super::header::{HEADER_BYTES, Header, MAGIC};
use super::tree::Forest;

/// A push parser for a SQLite file.
pub(super) struct FileChecker {
    header: Option<Header>,
    /// The beginning of a page whose end has not come yet.
    partial: Vec<u8>,
    fed: u64,
    pages: u32,
    /// What is remembered of the pages; nothing where only header and length are checked.
    forest: Option<Forest>,
    /// Whether `forest` is wanted at all.
    deep: bool,
    failed: Option<Error>,
}

fn wrong(text: &'static str, byte: u64) -> Error {
    Error::new(Code::VerifyMismatch, text).with("byte", byte)
}

impl FileChecker {
    /// Checks header, length, and every page of every b-tree; counts rows.
    pub(super) fn deep() -> FileChecker {
        FileChecker {
            header: None,
            partial: Vec::new(),
            fed: 0,
            pages: 0,
            forest: None,
            deep: true,
            failed: None,
        }
    }

    /// Checks header and length only.
    pub(super) fn shallow() -> FileChecker {
        FileChecker {
            deep: false,
            ..FileChecker::deep()
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.fed = self.fed.saturating_add(bytes.len() as u64);
        let header = match self.header {
            Some(header) => header,
            None => {
                let missing = HEADER_BYTES - self.partial.len();
                let (now, later) = bytes.split_at(missing.min(bytes.len()));
                self.partial.extend_from_slice(now);
                bytes = later;
                let magic = self.partial.len().min(MAGIC.len());
                if self.partial[..magic] != MAGIC[..magic] {
                    return Err(wrong("sqlite_bytes_not_database", 0));
                }
                let Ok(start) = <&[u8; HEADER_BYTES]>::try_from(self.partial.as_slice()) else {
                    return Ok(());
                };
                let header = Header::parse(start)
                    .map_err(|cause| wrong("sqlite_bytes_not_database", 0).with("cause", cause.to_string()))?;
                self.header = Some(header);
                self.forest = self.deep.then(|| Forest::new(header));
                self.partial.reserve_exact(header.page_size - self.partial.len());
                header
            }
        };
        if !self.partial.is_empty() {
            let missing = header.page_size - self.partial.len();
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.partial.extend_from_slice(now);
            bytes = later;
            if self.partial.len() < header.page_size {
                return Ok(());
            }
            let page = std::mem::take(&mut self.partial);
            self.page(&header, &page)?;
            self.partial = page;
            self.partial.clear();
        }
        let mut pages = bytes.chunks_exact(header.page_size);
        for page in &mut pages {
            self.page(&header, page)?;
        }
        self.partial.extend_from_slice(pages.remainder());
        Ok(())
    }

    fn page(&mut self, header: &Header, page: &[u8]) -> Result<()> {
        let at = u64::from(self.pages) * header.page_size as u64;
        if self.pages >= u32::MAX - 1 {
            return Err(wrong("sqlite_bytes_too_many", at));
        }
        self.pages += 1;
        if header.pages.is_some_and(|known| self.pages > known) {
            // SQLite ignores what lies behind the last page; some applications let files grow in large steps. Zeros are harmless.
            if page.iter().any(|b| *b != 0) {
                return Err(wrong("sqlite_bytes_behind_end", at));
            }
            return Ok(());
        }
        if let Some(forest) = &mut self.forest
            && !forest.note(self.pages, page)
        {
            self.forest = None;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<Parsed> {
        let truncated = |expected: u64, got: u64| {
            Error::new(Code::DumpTruncated, "sqlite_bytes_truncated")
                .with("expected", expected)
                .with("got", got)
        };
        if self.fed == 0 {
            return Err(Error::new(Code::DumpEmpty, "sqlite_bytes_empty"));
        }
        let Some(header) = self.header else {
            return Err(truncated(HEADER_BYTES as u64, self.fed));
        };
        let size = header.page_size as u64;
        let whole = header.pages.map(u64::from).unwrap_or_else(|| self.fed.div_ceil(size));
        if !self.partial.is_empty() || u64::from(self.pages) < whole {
            return Err(truncated(whole.max(self.fed.div_ceil(size)) * size, self.fed));
        }
        let (counts, shapes) = match self.forest.take() {
            Some(forest) => forest.walk()?,
            None => (Vec::new(), None),
        };
        Ok(Parsed {
            counts,
            objects: u64::from(self.pages),
            shapes,
        })
    }

    fn once<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        work(self).inspect_err(|error| self.failed = Some(error.clone()))
    }
}

impl Checker for FileChecker {
    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.once(|this| this.take(bytes))
    }

    fn finish(&mut self) -> Result<Parsed> {
        self.once(FileChecker::end)
    }
}

//! Replacing the content of a live file, which an application may have open all along, and taking that back.
//!
//! The file itself stays: whoever has it open would go on in one that was renamed away. Its pages change in one transaction of SQLite's
//! (`moment`), and what was live is kept beside it: the pages that go out are written down before (`part`), and put into the file
//! that the others came from afterwards, so that one copy on the disk is enough. Swap and undo are the same exchange.
//!
//! What tells, ever after, whether the moment was: the schema's version in the live file. It is part of the transaction, SQLite only ever
//! counts it up by one, and programs that had the schema in mind read it anew. The swap sets it to a number that the plan chose.

mod checkpoint;
mod compare;
mod live;
mod log;
mod look;
mod moment;
mod names;
mod part;
mod sessions;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use coffre_model::database::{Access, DumpFormat, Load, TableCount};
use coffre_model::replace::{LiveLook, Replace, ReplaceWay, Replacement, Standing};
use coffre_model::{Code, Error, Id, Result};

use super::errors::{about, reading, reading_live, shown, writing};
use super::facts::{self, Depth};
use super::reading::{Reading, connect_immutable, suffixed};
use super::target::FileLoad;
use live::{COOKIE, Live, State};
use look::Place;
use moment::{After, Exchange, set_cookie};
use names::{Facts, Files, Names, is_near};
use part::{Pages, Sealed, cookie_of, exists, remove, settle, sync_folder};

/// One live file, for one piece of work.
pub(super) struct FileReplace {
    /// As the person named it.
    named: PathBuf,
    access: Access,
    remarks: Vec<Error>,
}

impl FileReplace {
    /// Makes ready; looks at nothing.
    pub(super) fn new(named: PathBuf, access: Access) -> FileReplace {
        FileReplace {
            named,
            access,
            remarks: Vec::new(),
        }
    }

    fn remark(&mut self, remark: Error) {
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    /// What the live file says now; nothing where there is none, or what is there is no sound database. A transaction that was cut off
    /// is rolled back by SQLite.
    fn state(&self, live: &Path) -> Result<Option<State>> {
        match Place::of(live) {
            Ok(Place::File(_)) => {}
            Ok(_) => return Ok(None),
            Err(error) if error.code() == Code::Refused => return Ok(None),
            Err(error) => return Err(error),
        }
        match Live::open(live, &self.named, &self.access).and_then(|live| live.state(&self.access)) {
            Ok(state) => Ok(Some(state)),
            Err(error) if error.text() == "sqlite_live_damaged" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that what was loaded is a whole, sound database.
    fn check(&self, scratch: &Path) -> Result<()> {
        let connection = connect_immutable(scratch, &self.named)?;
        let stop = || self.access.cancel.check();
        let findings = facts::interruptible(&connection, &stop, || {
            facts::check(&connection, Depth::Quick).map_err(|e| reading(&e, &self.named))
        })?;
        connection.close().map_err(|(_, e)| reading(&e, &self.named))?;
        match findings.said.as_slice() {
            [] => Ok(()),
            said => Err(about(Code::VerifyMismatch, "sqlite_loaded_damaged", &self.named).with("said", said.join("\n"))),
        }
    }

    /// Makes sure that what was put aside is still a sound database before it becomes live: it may have lain there for days. Where nobody wrote to it
    /// since, that needs no reading.
    fn still_kept(&mut self, kept: &Path, stamp: Option<&str>) -> Result<()> {
        if stamp.is_some_and(|stamp| part::stamp(kept).is_ok_and(|now| now == stamp)) {
            return Ok(());
        }
        let damaged = |cause: String| {
            about(Code::VerifyMismatch, "sqlite_kept_damaged", &self.named)
                .with("kept", shown(kept))
                .with("cause", cause)
        };
        let connection = connect_immutable(kept, &self.named)?;
        let stop = || self.access.cancel.check();
        let checked = facts::interruptible(&connection, &stop, || {
            facts::check(&connection, Depth::Quick).map_err(|e| match reading(&e, &self.named) {
                error if error.code() == Code::Cancelled => error,
                error => damaged(error.detail("cause").unwrap_or_else(|| error.text().to_owned())),
            })
        });
        let findings = checked?;
        if !findings.said.is_empty() {
            return Err(damaged(findings.said.join(" ")));
        }
        if stamp.is_some() {
            let changed = about(Code::VerifyMismatch, "sqlite_kept_changed", &self.named).with("kept", shown(kept));
            self.remark(changed);
        }
        Ok(())
    }

    fn exchange(&self, files: &Files, from: &Path, part: Option<&Path>, cookie: Option<u32>) -> Result<After> {
        Exchange {
            access: &self.access,
            named: &self.named,
            live: &files.live,
            from,
            part,
            cookie,
        }
        .run()
    }

    /// What is to be said when the journal mode or the text's encoding is not what programs that have the file open expect.
    fn tidy(&mut self, after: After) {
        for remark in after.finish(&self.named, &self.access) {
            self.remark(remark);
        }
    }

    /// After a kill: brings the log home, and the journal mode back.
    fn tidy_after_kill(&mut self, facts: &Facts, state: Option<State>) -> Result<()> {
        if state.is_some_and(|state| state.wal || facts.wal) {
            let after = After::of(Live::open(&facts.file, &self.named, &self.access)?, facts.wal);
            self.tidy(after);
        } else if state.is_some() && exists(&suffixed(&facts.file, "-journal"))? {
            let live = Live::open(&facts.file, &self.named, &self.access)?;
            live.remove_cold_journal().map_err(|e| live.error(&e))?;
        }
        Ok(())
    }

    /// Nothing of ours stays beside the live file.
    fn take_back(&self, files: &Files) -> Result<()> {
        remove(&files.kept_part)?;
        remove(&files.scratch_part)?;
        remove(&files.scratch)
    }

    fn refused(&self, text: &'static str) -> Error {
        about(Code::Refused, text, &self.named)
    }

    /// The backup becomes the file, where there was none or one without bytes.
    fn swap_into_nothing(&mut self, facts: &Facts, files: &Files) -> Result<()> {
        match Place::of(&self.named)? {
            Place::Empty(path) if path == facts.file => {
                let after = self.exchange(files, &files.scratch, None, Some(facts.mark))?;
                self.tidy(after);
                return remove(&files.scratch);
            }
            Place::Nothing(path) if path == facts.file => {}
            _ => return Err(self.refused("sqlite_live_replaced")),
        }
        self.nothing_left_beside(&files.live)?;
        let fail = |e: std::io::Error| writing(&e, &files.scratch);
        let file = File::options().write(true).open(&files.scratch).map_err(fail)?;
        file.write_all_at(&facts.mark.to_be_bytes(), COOKIE.start as u64)
            .map_err(fail)?;
        file.sync_all().map_err(fail)?;
        self.access.cancel.check()?;
        part::rename(&files.scratch, &files.live)?;
        sync_folder(&files.live)
    }

    /// What SQLite would take for a part of a file that comes here.
    fn nothing_left_beside(&self, live: &Path) -> Result<()> {
        for suffix in ["-wal", "-journal", "-shm"] {
            let left = suffixed(live, suffix);
            if exists(&left)? {
                return Err(self.refused("sqlite_target_leftover").with("leftover", shown(&left)));
            }
        }
        Ok(())
    }

    /// Where the live file is gone altogether, what is kept is all there is of it, and takes its place, as it was: journal mode, mode and owner.
    fn bring_back(&mut self, facts: &Facts, files: &Files) -> Result<()> {
        self.nothing_left_beside(&files.live)?;
        self.still_kept(&files.kept, facts.kept_stamp.as_deref())?;
        let fail = |e: std::io::Error| writing(&e, &files.kept);
        let file = File::options().write(true).open(&files.kept).map_err(fail)?;
        if facts.wal {
            file.write_all_at(&[2, 2], live::VERSIONS.start as u64).map_err(fail)?;
        }
        let meta = file.metadata().map_err(fail)?;
        if (meta.uid(), meta.gid()) != (facts.owner, facts.group) {
            std::os::unix::fs::fchown(&file, Some(facts.owner), Some(facts.group)).map_err(fail)?;
        }
        file.set_permissions(fs::Permissions::from_mode(facts.mode)).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        part::rename(&files.kept, &files.live)?;
        sync_folder(&files.live)
    }
}

impl Replace for FileReplace {
    fn look(&mut self) -> Result<LiveLook> {
        look::look(&self.named, &self.access)
    }

    fn tables(&mut self) -> Result<Vec<String>> {
        look::tables(&self.named, &self.access)
    }

    fn plan(&mut self, id: &Id) -> Result<Replacement> {
        let place = Place::of(&self.named)?;
        if let Some(refusal) = place.refusals(&self.named)?.into_iter().next() {
            return Err(refusal);
        }
        let file = place.path().to_owned();
        let (device, inode) = place.identity()?;
        let identity = place.identity_text()?;
        let existed = matches!(place, Place::File(_));
        let state = if existed {
            let reading = Reading::open(&self.named, &self.access).map_err(|e| reading_live(e, &self.named))?;
            let sql = "SELECT data FROM sqlite_dbpage WHERE pgno = 1";
            let pages = reading.pages();
            let state = reading.connection()?.query_row(sql, [], |row| {
                Ok(row.get_ref(0)?.as_blob().ok().and_then(|page| State::of(page, pages)))
            });
            let state = state.map_err(|e| reading.error(&e))?;
            reading.close()?;
            let damaged = || self.refused("sqlite_live_damaged").with("cause", "page 1");
            Some(state.ok_or_else(damaged)?)
        } else {
            None
        };
        let meta = match place {
            Place::Nothing(_) => None,
            Place::File(path) | Place::Empty(path) => Some(
                fs::metadata(&path)
                    .map_err(|e| about(Code::Unreachable, "sqlite_cannot_open", &path).with("cause", e.to_string()))?,
            ),
        };
        let names = Names::new(&file, id);
        let facts = Facts {
            file,
            device,
            inode,
            wal: state.is_some_and(|state| state.wal),
            page_size: state.map_or(0, |state| state.page_size as u64),
            mode: meta.as_ref().map_or(0o600, |meta| meta.mode() & 0o7777),
            owner: meta.as_ref().map_or(0, MetadataExt::uid),
            group: meta.as_ref().map_or(0, MetadataExt::gid),
            mark: names::mark(id, state.map_or(0, |state| state.cookie)),
            kept_stamp: None,
        };
        let plan = Replacement {
            way: ReplaceWay::Swap,
            identity,
            existed,
            scratch: names.scratch,
            kept: if existed { names.kept } else { String::new() },
            facts: facts.written(),
        };
        let files = facts.files(&plan)?;
        for path in [&files.scratch, &files.kept, &files.kept_part, &files.scratch_part] {
            if exists(path)? {
                return Err(about(Code::Refused, "sqlite_target_exists", path));
            }
        }
        Ok(plan)
    }

    fn prepare(&mut self, plan: &mut Replacement) -> Result<()> {
        let files = Facts::read(plan)?.files(plan)?;
        let mut how = File::options();
        how.read(true).write(true).create_new(true).mode(0o600);
        // Mode and owner need no carrying over: the live file itself stays.
        how.open(&files.scratch).map(drop).map_err(|e| writing(&e, &files.scratch))
    }

    fn load(&mut self, plan: &Replacement, format: DumpFormat) -> Result<Box<dyn Load>> {
        if format != DumpFormat::Sqlite {
            return Err(Error::new(Code::Usage, "sqlite_format").with("format", format.as_str()));
        }
        let files = Facts::read(plan)?.files(plan)?;
        let file = File::options().read(true).write(true).open(&files.scratch);
        let file = file.map_err(|e| writing(&e, &files.scratch))?;
        Ok(Box::new(FileLoad::into_file(file, &self.named, self.access.cancel.clone())))
    }

    fn counts(&mut self, plan: &Replacement) -> Result<Vec<TableCount>> {
        let files = Facts::read(plan)?.files(plan)?;
        // Nobody else knows this file, so it needs no locks, and nothing is created beside it.
        let connection = connect_immutable(&files.scratch, &self.named)?;
        let fail = |e: &rusqlite::Error| reading(e, &self.named);
        let stop = || self.access.cancel.check();
        let (counts, _remarked_when_dumped) =
            facts::interruptible(&connection, &stop, || facts::counts(&connection, false, &fail))?;
        Ok(counts)
    }

    fn swap(&mut self, plan: &mut Replacement) -> Result<()> {
        let mut facts = Facts::read(plan)?;
        let files = facts.files(plan)?;
        let marked = |state: Option<State>| state.is_some_and(|state| is_near(state.cookie, facts.mark));
        let before = self.state(&files.live)?;
        if marked(before) {
            return self.recover(plan).map(drop);
        }
        self.check(&files.scratch)?;
        if !plan.existed {
            return self.swap_into_nothing(&facts, &files);
        }
        let place = Place::of(&self.named)?;
        let (Some(before), true) = (
            before,
            matches!(place, Place::File(_)) && place.path() == facts.file && place.identity()? == (facts.device, facts.inode),
        ) else {
            return Err(self.refused("sqlite_live_replaced"));
        };
        // Of an attempt that failed: without the mark in the live file it was never used.
        remove(&files.kept_part)?;
        let new = Pages::open(&files.scratch)?.state;
        let after = self.exchange(&files, &files.scratch, Some(&files.kept_part), Some(facts.mark))?;
        let settled = settle(&files.scratch, &files.kept_part, &files.kept);
        self.tidy(after);
        if new.encoding != before.encoding {
            self.remark(about(Code::Interrupted, "sqlite_encoding_differs", &self.named));
        }
        settled?;
        facts.kept_stamp = Some(part::stamp(&files.kept)?);
        plan.facts = facts.written();
        Ok(())
    }

    fn discard(&mut self, plan: &Replacement) -> Result<()> {
        let files = Facts::read(plan)?.files(plan)?;
        if exists(&files.kept)? || Sealed::open(&files.kept_part)?.is_some() {
            // The moment may have been: then this is no time to throw anything away.
            return self.recover(plan).map(drop);
        }
        self.take_back(&files)
    }

    fn recover(&mut self, plan: &Replacement) -> Result<Standing> {
        let facts = Facts::read(plan)?;
        let files = facts.files(plan)?;
        let state = self.state(&files.live)?;
        if state.is_some_and(|state| is_near(state.cookie, facts.mark)) {
            if plan.existed {
                settle(&files.scratch, &files.kept_part, &files.kept)?;
            }
            if !plan.existed || exists(&files.kept)? {
                remove(&files.scratch)?;
            }
            self.tidy_after_kill(&facts, state)?;
            return Ok(Standing::After);
        }
        let sealed = if plan.existed { Sealed::open(&files.kept_part)? } else { None };
        let unclear =
            |files: &Files| about(Code::Interrupted, "sqlite_replace_unclear", &self.named).with("kept", shown(&files.kept));
        let Some(sealed) = sealed else {
            if !plan.existed || !exists(&files.kept)? {
                // Without it, nothing of the live file was touched.
                self.tidy_after_kill(&facts, state)?;
                self.take_back(&files)?;
                return Ok(Standing::Before);
            }
            // The swap was, and what is live now is something else again.
            let kept = cookie_of(&files.kept)?;
            if state.is_some_and(|state| is_near(state.cookie, kept)) {
                return Ok(Standing::Before);
            }
            self.remark(unclear(&files));
            return Ok(Standing::After);
        };
        let old = sealed.state()?;
        match state {
            // Another page size: only the swap can have brought it, and it was killed before it could set the mark.
            Some(state) if state.page_size != old.page_size => {
                set_cookie(&Live::open(&files.live, &self.named, &self.access)?, &self.access, facts.mark)?;
                settle(&files.scratch, &files.kept_part, &files.kept)?;
                self.tidy_after_kill(&facts, Some(state))?;
                Ok(Standing::After)
            }
            Some(state) if is_near(state.cookie, old.cookie) => {
                self.tidy_after_kill(&facts, Some(state))?;
                self.take_back(&files)?;
                Ok(Standing::Before)
            }
            // Somebody else has replaced the file. What it was before is made whole, and stays.
            _ => {
                settle(&files.scratch, &files.kept_part, &files.kept)?;
                self.remark(unclear(&files));
                Ok(Standing::After)
            }
        }
    }

    fn undo(&mut self, plan: &Replacement) -> Result<()> {
        let facts = Facts::read(plan)?;
        let files = facts.files(plan)?;
        if !plan.existed {
            return Err(self.refused("sqlite_undo_nothing_kept"));
        }
        if exists(&files.kept_part)? {
            self.recover(plan)?;
        }
        if self.is_undone(plan)? {
            return Ok(());
        }
        if !exists(&files.kept)? {
            return Err(self.refused("sqlite_kept_missing").with("kept", shown(&files.kept)));
        }
        if !exists(&files.live)? {
            return self.bring_back(&facts, &files);
        }
        let state = self.state(&files.live)?;
        let Some(before) = state.filter(|state| is_near(state.cookie, facts.mark)) else {
            return Err(self.refused("sqlite_live_not_ours").with("kept", shown(&files.kept)));
        };
        self.still_kept(&files.kept, facts.kept_stamp.as_deref())?;
        let old = Pages::open(&files.kept)?.state;
        let touched = part::modified(&files.kept)?;
        let after = match self.exchange(&files, &files.kept, Some(&files.scratch_part), None) {
            Ok(after) => after,
            Err(error) => {
                // Room was taken for it, and perhaps its header made ready: that was no change by somebody else. Where this does not work either, the next
                // undo looks closer.
                let _looked_at_closer_next_time = part::set_modified(&files.kept, touched);
                return Err(error);
            }
        };
        let settled = settle(&files.kept, &files.scratch_part, &files.scratch);
        self.tidy(after);
        if old.encoding != before.encoding {
            self.remark(about(Code::Interrupted, "sqlite_encoding_differs", &self.named));
        }
        settled
    }

    fn is_undone(&mut self, plan: &Replacement) -> Result<bool> {
        let facts = Facts::read(plan)?;
        let files = facts.files(plan)?;
        if !plan.existed {
            return Ok(false);
        }
        let Some(sealed) = Sealed::open(&files.scratch_part)? else {
            // Never sealed, so never used. Without it, the undo has come to its end or not begun.
            remove(&files.scratch_part)?;
            return Ok(exists(&files.scratch)? && !exists(&files.kept)? && !exists(&files.kept_part)?);
        };
        if exists(&files.scratch)? {
            settle(&files.kept, &files.scratch_part, &files.scratch)?;
            return Ok(true);
        }
        let state = self.state(&files.live)?;
        let (out, kept) = (sealed.state()?, cookie_of(&files.kept)?);
        // What is kept is changed only after the moment, and then it has the mark.
        let is_settling = is_near(kept, facts.mark);
        let undone = match state {
            Some(state) if state.page_size != out.page_size => {
                if !is_settling && !is_near(state.cookie, kept) {
                    set_cookie(&Live::open(&files.live, &self.named, &self.access)?, &self.access, kept)?;
                }
                true
            }
            Some(state) if is_near(state.cookie, facts.mark) => {
                remove(&files.scratch_part)?;
                return Ok(false);
            }
            Some(state) => is_settling || is_near(state.cookie, kept),
            None => false,
        };
        if undone {
            settle(&files.kept, &files.scratch_part, &files.scratch)?;
            self.tidy_after_kill(&facts, state)?;
        } else {
            let unclear = about(Code::Interrupted, "sqlite_replace_unclear", &self.named).with("kept", shown(&files.kept));
            self.remark(unclear);
        }
        Ok(undone)
    }

    fn kept_bytes(&mut self, plan: &Replacement) -> Result<Option<u64>> {
        let files = Facts::read(plan)?.files(plan)?;
        if !plan.existed {
            return Ok(None);
        }
        let size = |path: &Path| fs::symlink_metadata(path).ok().map(|meta| meta.len());
        let parts = size(&files.kept_part).unwrap_or(0) + size(&files.scratch_part).unwrap_or(0);
        Ok(size(&files.kept).or_else(|| size(&files.scratch)).map(|bytes| bytes + parts))
    }

    fn forget(&mut self, plan: &Replacement) -> Result<()> {
        let files = Facts::read(plan)?.files(plan)?;
        if plan.existed && exists(&files.kept)? && !exists(&files.live)? {
            // All there is of it.
            return Err(self.refused("sqlite_kept_alone").with("kept", shown(&files.kept)));
        }
        self.take_back(&files)?;
        if plan.existed {
            remove(&files.kept)?;
        }
        Ok(())
    }

    fn remarks(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.remarks)
    }
}

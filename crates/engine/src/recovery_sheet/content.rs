//! What the sheet says, before anybody draws it: a list of blocks in reading order, the answer first.

use std::collections::BTreeSet;

use coffre_model::backup::{Backup, BackupState, Copy, CopyState};
use coffre_model::database::TableCount;
use coffre_model::key::Key;
use coffre_model::{Error, Secret};

use super::commands::{KEY_FILE, Step, StepKind, steps};
use super::facts::{Package, database, export, fetch, package, place, save_key};
use super::query::query;
use super::wording::{bytes, fill, number, time, visible};
use super::{Entry, Sheet, SheetKey, Words};

/// A piece of the sheet.
pub(super) enum Block {
    /// The beginning of a backup.
    Backup { title: String, new_page: bool },
    /// A heading inside the summary or a backup: 1 for a chapter, 2 for a part of it that is kept on one page.
    Heading { level: u8, text: String },
    /// Whether a backup can be trusted, where it can.
    Verdict { title: String, text: String },
    /// Running text.
    Text(String),
    /// Labels and values.
    Facts(Vec<(String, Cell)>),
    /// A table.
    Table { head: Vec<String>, rows: Vec<Vec<Cell>> },
    /// Names and numbers, many of them.
    Counts(Vec<(String, String)>),
    /// Something that must not be overlooked.
    Warning { title: String, text: String },
    /// A numbered step with what is to be typed.
    Step {
        number: usize,
        title: String,
        text: String,
        commands: Vec<String>,
    },
    /// Commands outside of the steps.
    Commands { title: String, commands: Vec<String> },
    /// A secret, to be read by a person.
    Secret(String),
    /// A line to be filled in by hand.
    Blank(String),
}

/// A value.
pub(super) struct Cell {
    pub(super) text: String,
    /// A name of a file, a place or a key: every character counts.
    pub(super) code: bool,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell { text, code: false }
    }
}

fn code(text: String) -> Cell {
    Cell { text, code: true }
}

/// A whole sheet.
pub(super) struct Document {
    pub(super) language: String,
    pub(super) title: String,
    pub(super) lead: String,
    pub(super) footer: String,
    pub(super) blocks: Vec<Block>,
}

/// Makes the document.
pub(super) fn of(sheet: &Sheet, words: Words) -> Document {
    let writer = Writer { words, sheet };
    let mut blocks = Vec::new();
    writer.summary(&mut blocks);
    writer.needs(&mut blocks);
    writer.keys(&mut blocks);
    for entry in &sheet.entries {
        writer.backup(entry, &mut blocks);
    }
    let (lead, count) = match sheet.entries.as_slice() {
        [one] => ("sheet.lead_one", visible(&one.backup.source)),
        many => ("sheet.lead_many", writer.number(many.len() as u64)),
    };
    Document {
        language: words.language.to_owned(),
        title: writer.say("sheet.title", &[]),
        lead: writer.say(lead, &[("what", count)]),
        footer: writer.say(
            if writer.has_secrets() {
                "sheet.footer_secret"
            } else {
                "sheet.footer"
            },
            &[("time", time(sheet.made_at))],
        ),
        blocks,
    }
}

struct Writer<'a> {
    words: Words<'a>,
    sheet: &'a Sheet,
}

impl Writer<'_> {
    fn say(&self, key: &str, facts: &[(&str, String)]) -> String {
        fill(&(self.words.look_up)(key), |name| {
            facts.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        })
    }

    fn word(&self, key: &str) -> String {
        self.say(key, &[])
    }

    /// An error in the reader's words, as every shell says it.
    fn error(&self, error: &Error) -> String {
        let words = (self.words.look_up)(&format!("errors.{}.message", error.text()));
        let message = fill(&words, |name| error.detail(name).map(|value| visible(&value)));
        format!("{message} ({})", error.code())
    }

    fn number(&self, value: u64) -> String {
        number(self.words.language, value)
    }

    fn bytes(&self, value: u64) -> String {
        bytes(self.words.language, &self.word("sheet.units"), value)
    }

    fn has_secrets(&self) -> bool {
        self.sheet.keys.iter().any(|key| key.secret.is_some())
    }

    fn summary(&self, blocks: &mut Vec<Block>) {
        let sheet = self.sheet;
        let sources: BTreeSet<String> = sheet.entries.iter().map(|entry| visible(&entry.backup.source)).collect();
        let mut facts = vec![
            (self.word("sheet.made_at"), time(sheet.made_at).into()),
            (
                self.word("sheet.made_by"),
                format!("Coffre {}", visible(&sheet.coffre_version)).into(),
            ),
        ];
        if !sources.is_empty() {
            facts.push((
                self.word("sheet.sources"),
                sources.into_iter().collect::<Vec<_>>().join(", ").into(),
            ));
        }
        blocks.push(Block::Facts(facts));
        if self.has_secrets() {
            blocks.push(Block::Warning {
                title: self.word("sheet.secret_title"),
                text: self.word("sheet.secret_text"),
            });
        }
        if sheet.entries.is_empty() {
            blocks.push(Block::Text(self.word("sheet.nothing")));
        }
        if sheet.entries.len() > 1 {
            blocks.push(Block::Heading {
                level: 1,
                text: self.word("sheet.contents"),
            });
            blocks.push(Block::Table {
                head: ["sheet.source", "sheet.backup", "sheet.taken", "sheet.state"]
                    .map(|key| self.word(key))
                    .to_vec(),
                rows: sheet.entries.iter().map(|entry| self.summary_row(&entry.backup)).collect(),
            });
        }
    }

    fn summary_row(&self, backup: &Backup) -> Vec<Cell> {
        vec![
            visible(&backup.source).into(),
            code(backup.code.to_string()),
            time(backup.started_at).into(),
            self.word(&format!("sheet.backup_state.{}", backup.state)).into(),
        ]
    }

    /// The programs, for every backup on the sheet together.
    fn needs(&self, blocks: &mut Vec<Block>) {
        let mut packages = BTreeSet::new();
        let mut hashes = false;
        for step in self.sheet.entries.iter().flat_map(recovery) {
            hashes |= step.kind == StepKind::Check;
            packages.extend(step.lines.iter().filter_map(|line| package(line.split(' ').next()?)));
        }
        if packages.is_empty() && !hashes {
            return;
        }
        blocks.push(Block::Heading {
            level: 1,
            text: self.word("sheet.needs"),
        });
        blocks.push(Block::Text(self.word("sheet.needs_text")));
        let list = |of: fn(&Package) -> &'static str| packages.iter().map(of).collect::<Vec<_>>().join(" ");
        if !packages.is_empty() {
            blocks.push(Block::Commands {
                title: "Debian, Ubuntu".into(),
                commands: vec![format!("sudo apt install {}", list(|package| package.debian))],
            });
            let mut macos = vec![format!("brew install {}", list(|package| package.macos))];
            if packages.iter().any(|package| package.macos == "libpq") {
                // Homebrew does not put it on the path by itself.
                macos.push(r#"export PATH="$(brew --prefix libpq)/bin:$PATH""#.into());
            }
            blocks.push(Block::Commands {
                title: "macOS".into(),
                commands: macos,
            });
        }
        if hashes {
            blocks.push(Block::Commands {
                title: self.word("sheet.needs_shasum"),
                commands: vec!["shasum -a 256 -c".into()],
            });
        }
    }

    fn keys(&self, blocks: &mut Vec<Block>) {
        let mut known: Vec<&SheetKey> = Vec::new();
        let mut unknown: BTreeSet<String> = BTreeSet::new();
        for entry in &self.sheet.entries {
            match (&entry.backup.encryption, self.key_of(entry)) {
                (None, _) => {}
                (Some(_), Some(key)) if known.iter().any(|seen| seen.key.id == key.key.id) => {}
                (Some(_), Some(key)) => known.push(key),
                (Some(name), None) => {
                    unknown.insert(name.clone());
                }
            }
        }
        if known.is_empty() && unknown.is_empty() {
            return;
        }
        blocks.push(Block::Heading {
            level: 1,
            text: self.word(if known.len() + unknown.len() == 1 {
                "sheet.key"
            } else {
                "sheet.keys"
            }),
        });
        if known.iter().all(|key| key.secret.is_none()) {
            blocks.push(Block::Text(self.word("sheet.keys_text")));
        }
        for SheetKey { key, secret } in known {
            self.key(key, secret.as_ref(), blocks);
        }
        for name in unknown {
            blocks.push(Block::Heading {
                level: 2,
                text: visible(&name),
            });
            blocks.push(Block::Text(self.word("sheet.key_unknown")));
            blocks.push(Block::Blank(self.word("sheet.key_place")));
        }
    }

    fn key(&self, key: &Key, secret: Option<&Secret>, blocks: &mut Vec<Block>) {
        blocks.push(Block::Heading {
            level: 2,
            text: visible(&key.name),
        });
        let mut facts = vec![(
            self.word("sheet.key_kind"),
            self.word(&format!("sheet.key_kind_{}", key.kind)).into(),
        )];
        if let Some(recipient) = &key.recipient {
            facts.push((self.word("sheet.key_public"), code(visible(recipient))));
        }
        facts.push((self.word("sheet.key_made"), time(key.created_at).into()));
        let opens = self
            .sheet
            .entries
            .iter()
            .filter(|entry| self.key_of(entry).is_some_and(|k| k.key.id == key.id));
        let opens: Vec<String> = opens.map(|entry| entry.backup.code.to_string()).collect();
        if !opens.is_empty() {
            facts.push((self.word("sheet.key_opens"), code(opens.join(", "))));
        }
        blocks.push(Block::Facts(facts));
        match secret {
            Some(secret) => {
                blocks.push(Block::Text(self.word(&format!("sheet.key_secret_{}", key.kind))));
                blocks.push(Block::Secret(visible(secret.expose().trim_end_matches('\n'))));
            }
            None => {
                blocks.push(Block::Commands {
                    title: self.word(&format!("sheet.key_export_{}", key.kind)),
                    commands: vec![export(key)],
                });
                blocks.push(Block::Blank(self.word("sheet.key_place")));
            }
        }
    }

    /// The key of a backup: by its public half where there is one, because names can be given anew.
    fn key_of(&self, entry: &Entry) -> Option<&SheetKey> {
        let name = entry.backup.encryption.as_ref()?;
        let recipient = entry.manifest.as_ref().and_then(|manifest| manifest.recipient.as_ref());
        self.sheet.keys.iter().find(|key| match recipient {
            Some(recipient) => key.key.recipient.as_ref() == Some(recipient),
            None => key.key.name == *name,
        })
    }

    fn backup(&self, entry: &Entry, blocks: &mut Vec<Block>) {
        let backup = &entry.backup;
        let steps = recovery(entry);
        blocks.push(Block::Backup {
            title: format!("{} · {}", visible(&backup.source), backup.code),
            // One that cannot be restored needs no page of its own.
            new_page: !steps.is_empty() && self.sheet.entries.len() > 1,
        });
        self.standing(backup, blocks);
        self.facts(entry, blocks);
        self.copies(entry, blocks);
        if steps.is_empty() {
            let key = match (&entry.manifest, backup.copies.iter().any(readable)) {
                (None, _) => "sheet.no_manifest",
                (_, false) => "sheet.no_copy",
                _ => "sheet.no_steps",
            };
            blocks.push(Block::Warning {
                title: self.word("sheet.no_recovery"),
                text: self.word(key),
            });
            return;
        }
        blocks.push(Block::Heading {
            level: 1,
            text: self.word("sheet.steps"),
        });
        blocks.push(Block::Text(self.word("sheet.steps_text")));
        self.steps(entry, &steps, blocks);
    }

    /// Whether the backup can be trusted: the first thing to know about it.
    fn standing(&self, backup: &Backup, blocks: &mut Vec<Block>) {
        let verified_at = backup.copies.iter().filter_map(|copy| copy.verified_at).max();
        match (backup.state, verified_at) {
            (BackupState::Verified, at) => blocks.push(Block::Verdict {
                title: self.word("sheet.backup_state.verified"),
                text: match at {
                    Some(at) => self.say("sheet.verified_at", &[("time", time(at))]),
                    None => self.word("sheet.verified"),
                },
            }),
            (state, _) => blocks.push(Block::Warning {
                title: self.word(&format!("sheet.backup_state.{state}")),
                text: match &backup.error {
                    Some(error) => self.error(error),
                    None => self.word(if state == BackupState::Stored {
                        "sheet.stored_text"
                    } else {
                        "sheet.not_verified"
                    }),
                },
            }),
        }
    }

    fn facts(&self, entry: &Entry, blocks: &mut Vec<Block>) {
        let backup = &entry.backup;
        let mut facts = vec![(self.word("sheet.taken"), Cell::from(time(backup.started_at)))];
        let mut fact = |key: &str, value: Option<String>| {
            let cell = |text| if key == "sheet.file" { code(text) } else { text.into() };
            facts.extend(value.map(|text| (self.word(key), cell(text))));
        };
        fact(
            "sheet.database",
            entry.manifest.as_ref().map(|manifest| database(manifest, backup)),
        );
        fact(
            "sheet.tool",
            backup
                .tool
                .as_ref()
                .map(|tool| visible(&format!("{} {}", tool.name, tool.version))),
        );
        fact(
            "sheet.file",
            entry.manifest.as_ref().map(|manifest| visible(&manifest.artifact)),
        );
        fact("sheet.stored_bytes", backup.stored_bytes.map(|bytes| self.bytes(bytes)));
        fact("sheet.raw_bytes", backup.raw_bytes.map(|bytes| self.bytes(bytes)));
        fact("sheet.encryption", backup.encryption.as_ref().map(|name| visible(name)));
        fact("sheet.note", Some(visible(&backup.note)).filter(|note| !note.is_empty()));
        if let Some(manifest) = &entry.manifest {
            let scope = &manifest.scope;
            let not: Vec<String> = scope
                .not_included
                .iter()
                .map(|word| self.word(&format!("scope.{word}")))
                .collect();
            fact("sheet.not_included", Some(not.join(", ")).filter(|text| !text.is_empty()));
            let left_out: Vec<String> = scope.excluded_tables.iter().map(|table| visible(table)).collect();
            fact(
                "sheet.excluded_tables",
                Some(left_out.join(", ")).filter(|text| !text.is_empty()),
            );
        }
        blocks.push(Block::Facts(facts));
    }

    fn copies(&self, entry: &Entry, blocks: &mut Vec<Block>) {
        let copies: Vec<&Copy> = entry
            .backup
            .copies
            .iter()
            .filter(|copy| copy.state != CopyState::Deleted)
            .collect();
        blocks.push(Block::Heading {
            level: 1,
            text: self.word("sheet.copies"),
        });
        if copies.is_empty() {
            blocks.push(Block::Text(self.word("sheet.copies_none")));
            return;
        }
        let rows = copies.iter().map(|copy| {
            let state = self.word(&format!("sheet.copy_state.{}", copy.state));
            vec![
                visible(&copy.destination).into(),
                code(place(entry, copy)),
                match copy.verified_at.filter(|_| copy.state == CopyState::Verified) {
                    Some(at) => format!("{state}, {}", time(at)).into(),
                    None => state.into(),
                },
            ]
        });
        blocks.push(Block::Table {
            head: ["sheet.destination", "sheet.where", "sheet.state"]
                .map(|key| self.word(key))
                .to_vec(),
            rows: rows.collect(),
        });
    }

    fn steps(&self, entry: &Entry, steps: &[Step], blocks: &mut Vec<Block>) {
        let mut number = 0;
        let mut step = |title: &str, text: String, commands: Vec<String>| {
            number += 1;
            blocks.push(Block::Step {
                number,
                title: self.word(&format!("sheet.step.{title}")),
                text,
                commands,
            });
        };
        let local = entry.backup.copies.iter().filter(|copy| readable(copy));
        let fetch = local.filter_map(|copy| fetch(entry, copy)).take(1).collect();
        step("fetch", self.word("sheet.step.fetch_text"), fetch);
        for made in steps {
            let lines = made.lines.clone();
            match made.kind {
                StepKind::Check => step("check", self.word("sheet.step.check_text"), lines),
                StepKind::DecryptWithKey => {
                    let secret = self.key_of(entry).and_then(|key| key.secret.as_ref());
                    let (text, save) = match secret {
                        Some(secret) => ("sheet.step.key_text", vec![save_key(secret)]),
                        None => ("sheet.step.key_find", Vec::new()),
                    };
                    step("key", self.say(text, &[("file", KEY_FILE.to_owned())]), save);
                    step("decrypt", String::new(), lines);
                }
                StepKind::DecryptWithPassphrase => step("decrypt", self.word("sheet.step.decrypt_passphrase"), lines),
                StepKind::Decompress => step("decompress", String::new(), lines),
                StepKind::CheckPlain => step("check_plain", self.word("sheet.step.check_text"), lines),
                StepKind::Load => step("load", self.load_text(entry), lines),
            }
        }
        let counts = entry.manifest.as_ref().map_or(&[][..], |manifest| &manifest.table_counts);
        if !counts.is_empty() {
            let query = query(counts);
            let text = if query.is_some() {
                "sheet.step.compare_text"
            } else {
                "sheet.step.compare_list"
            };
            step("compare", self.word(text), query.into_iter().collect());
            let row = |count: &TableCount| (visible(&count.table), self.number(count.rows));
            blocks.push(Block::Counts(counts.iter().map(row).collect()));
        }
        if steps.iter().any(|step| step.kind == StepKind::DecryptWithKey) {
            blocks.push(Block::Step {
                number: number + 1,
                title: self.word("sheet.step.tidy"),
                text: String::new(),
                commands: vec![format!("rm {KEY_FILE}")],
            });
        }
    }

    fn load_text(&self, entry: &Entry) -> String {
        let newer = entry.manifest.as_ref().filter(|manifest| manifest.database == "postgres");
        let version = newer
            .and_then(|manifest| manifest.backup.tool.as_ref())
            .map(|tool| visible(&tool.version));
        // 15.20: any 15 reads what another 15 wrote.
        let version = version.map(|version| version.split('.').next().unwrap_or_default().to_owned());
        match version {
            Some(version) => format!(
                "{} {}",
                self.word("sheet.step.load_text"),
                self.say("sheet.step.load_version", &[("version", version)])
            ),
            None => self.word("sheet.step.load_text"),
        }
    }
}

/// A copy that can be read as far as is known.
fn readable(copy: &Copy) -> bool {
    matches!(copy.state, CopyState::Stored | CopyState::Verified)
}

/// The steps of an entry; none where there is nothing left to restore.
fn recovery(entry: &Entry) -> Vec<Step> {
    match &entry.manifest {
        Some(manifest) if entry.backup.copies.iter().any(readable) => steps(manifest, &entry.stock_load),
        _ => Vec::new(),
    }
}

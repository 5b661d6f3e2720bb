//! What the sheet says, before anybody draws it: a list of blocks in reading order, the answer first.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use coffre_model::address::Address;
use coffre_model::backup::{Backup, BackupState, Copy, CopyState};
use coffre_model::database::TableCount;
use coffre_model::key::Key;
use coffre_model::manifest::Manifest;
use coffre_model::{Error, Secret};

use super::commands::{KEY_FILE, Step, StepKind, shell_quote, steps};
use super::{Entry, Sheet, SheetKey, Words};

/// More tables than this are listed, but not put into one query.
const QUERY_TABLES: usize = 60;

/// A piece of the sheet.
pub(super) enum Block {
    /// A heading; the first level begins a new page.
    Heading { level: u8, text: String },
    /// Running text.
    Text(String),
    /// Labels and values.
    Facts(Vec<(String, String)>),
    /// A table.
    Table { head: Vec<String>, rows: Vec<Vec<String>> },
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
        footer: writer.say("sheet.footer", &[("time", time(sheet.made_at))]),
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

    fn number(&self, number: u64) -> String {
        // U+202F, the narrow no-break space.
        let separator = if self.words.language == "fr" { '\u{202f}' } else { ',' };
        let digits = number.to_string();
        let mut text = String::new();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                text.push(separator);
            }
            text.push(digit);
        }
        text
    }

    /// `213.4 MB (213,400,112 bytes)`: round to talk about, exact to compare.
    fn bytes(&self, bytes: u64) -> String {
        let units = self.word("sheet.units");
        let units: Vec<&str> = units.split_whitespace().collect();
        let unit = |i: usize| units.get(i).copied().unwrap_or("");
        let exact = format!("{}\u{a0}{}", self.number(bytes), unit(0));
        let mut size = bytes;
        let mut at = 0;
        while size >= 1_000_000 && at + 2 < units.len() {
            size /= 1000;
            at += 1;
        }
        if bytes < 1000 {
            return exact;
        }
        let point = if self.words.language == "fr" { ',' } else { '.' };
        format!("{}{point}{}\u{a0}{} ({exact})", size / 1000, size % 1000 / 100, unit(at + 1))
    }

    fn summary(&self, blocks: &mut Vec<Block>) {
        let sheet = self.sheet;
        let sources: BTreeSet<String> = sheet.entries.iter().map(|entry| visible(&entry.backup.source)).collect();
        let mut facts = vec![
            (self.word("sheet.made_at"), time(sheet.made_at)),
            (
                self.word("sheet.made_by"),
                format!("Coffre {}", visible(&sheet.coffre_version)),
            ),
        ];
        if !sources.is_empty() {
            facts.push((self.word("sheet.sources"), sources.into_iter().collect::<Vec<_>>().join(", ")));
        }
        blocks.push(Block::Facts(facts));
        if sheet.keys.iter().any(|key| key.secret.is_some()) {
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
                level: 2,
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

    fn summary_row(&self, backup: &Backup) -> Vec<String> {
        vec![
            visible(&backup.source),
            backup.code.to_string(),
            time(backup.started_at),
            self.word(&format!("sheet.backup_state.{}", backup.state)),
        ]
    }

    /// The programs, for every backup on the sheet together.
    fn needs(&self, blocks: &mut Vec<Block>) {
        let mut packages = BTreeSet::new();
        let mut hashes = false;
        for step in self.sheet.entries.iter().flat_map(|entry| recovery(entry)) {
            hashes |= step.kind == StepKind::Check;
            packages.extend(step.lines.iter().filter_map(|line| package(line.split(' ').next()?)));
        }
        if packages.is_empty() && !hashes {
            return;
        }
        blocks.push(Block::Heading {
            level: 2,
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
            let command = ("command", "shasum -a 256 -c".to_owned());
            blocks.push(Block::Text(
                self.say("sheet.needs_shasum", &[("stock", "sha256sum -c".to_owned()), command]),
            ));
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
            level: 2,
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
                level: 3,
                text: visible(&name),
            });
            blocks.push(Block::Text(self.word("sheet.key_unknown")));
            blocks.push(Block::Blank(self.word("sheet.key_place")));
        }
    }

    fn key(&self, key: &Key, secret: Option<&Secret>, blocks: &mut Vec<Block>) {
        blocks.push(Block::Heading {
            level: 3,
            text: visible(&key.name),
        });
        let mut facts = vec![(
            self.word("sheet.key_kind"),
            self.word(&format!("sheet.key_kind_{}", key.kind)),
        )];
        if let Some(recipient) = &key.recipient {
            facts.push((self.word("sheet.key_public"), visible(recipient)));
        }
        facts.push((self.word("sheet.key_made"), time(key.created_at)));
        let opens = self
            .sheet
            .entries
            .iter()
            .filter(|entry| self.key_of(entry).is_some_and(|k| k.key.id == key.id));
        facts.push((
            self.word("sheet.key_opens"),
            opens
                .map(|entry| entry.backup.code.to_string())
                .collect::<Vec<_>>()
                .join(", "),
        ));
        blocks.push(Block::Facts(facts));
        match secret {
            Some(secret) => {
                blocks.push(Block::Text(self.word(&format!("sheet.key_secret_{}", key.kind))));
                blocks.push(Block::Secret(visible(secret.expose().trim_end_matches('\n'))));
            }
            None => {
                blocks.push(Block::Commands {
                    title: self.word("sheet.key_export"),
                    commands: vec![export(&key.name)],
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
        blocks.push(Block::Heading {
            level: 1,
            text: format!("{} · {}", visible(&backup.source), backup.code),
        });
        self.standing(backup, blocks);
        self.facts(entry, blocks);
        self.copies(entry, blocks);
        let steps = recovery(entry);
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
            level: 2,
            text: self.word("sheet.steps"),
        });
        blocks.push(Block::Text(self.word("sheet.steps_text")));
        self.steps(entry, &steps, blocks);
    }

    /// Whether the backup can be trusted: the first thing to know about it.
    fn standing(&self, backup: &Backup, blocks: &mut Vec<Block>) {
        let verified_at = backup.copies.iter().filter_map(|copy| copy.verified_at).max();
        match (backup.state, verified_at) {
            (BackupState::Verified, Some(at)) => blocks.push(Block::Text(self.say("sheet.verified_at", &[("time", time(at))]))),
            (BackupState::Verified, None) => blocks.push(Block::Text(self.word("sheet.verified"))),
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
        let mut facts = vec![(self.word("sheet.taken"), time(backup.started_at))];
        let mut fact = |key: &str, value: Option<String>| facts.extend(value.map(|value| (self.word(key), value)));
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
            level: 2,
            text: self.word("sheet.copies"),
        });
        if copies.is_empty() {
            blocks.push(Block::Text(self.word("sheet.copies_none")));
            return;
        }
        let rows = copies.iter().map(|copy| {
            let state = self.word(&format!("sheet.copy_state.{}", copy.state));
            vec![
                visible(&copy.destination),
                place(entry, copy),
                match copy.verified_at.filter(|_| copy.state == CopyState::Verified) {
                    Some(at) => format!("{state}, {}", time(at)),
                    None => state,
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
        let artifact = entry
            .manifest
            .as_ref()
            .map(|manifest| visible(&manifest.artifact))
            .unwrap_or_default();
        let fetch: Vec<String> = entry
            .backup
            .copies
            .iter()
            .filter(|copy| readable(copy))
            .filter_map(|copy| fetch(entry, copy))
            .take(1)
            .collect();
        step("fetch", self.say("sheet.step.fetch_text", &[("file", artifact)]), fetch);
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

/// How a program is installed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    debian: &'static str,
    macos: &'static str,
}

/// The package of a program that is not on every machine.
fn package(program: &str) -> Option<Package> {
    let (debian, macos) = match program {
        "age" => ("age", "age"),
        "zstd" => ("zstd", "zstd"),
        "sqlite3" => ("sqlite3", "sqlite"),
        "psql" | "pg_restore" | "createdb" => ("postgresql-client", "libpq"),
        "mariadb" | "mysql" => ("mariadb-client", "mariadb"),
        _ => return None,
    };
    Some(Package { debian, macos })
}

fn database(manifest: &Manifest, backup: &Backup) -> String {
    let name = match manifest.database.as_str() {
        "postgres" => "PostgreSQL",
        "sqlite" => "SQLite",
        "mysql" => "MySQL",
        "mongodb" => "MongoDB",
        other => other,
    };
    match &backup.server_version {
        Some(version) => visible(&format!("{name} {version}")),
        None => visible(name),
    }
}

/// Where a copy lies: the path of a file, else the address and the key.
fn place(entry: &Entry, copy: &Copy) -> String {
    match (local_path(entry, copy), address(entry, copy)) {
        (Some(path), _) => visible(&path),
        (None, Some(address)) => visible(&format!("{} · {}", address, copy.key)),
        (None, None) => visible(&copy.key),
    }
}

fn address<'a>(entry: &'a Entry, copy: &Copy) -> Option<&'a str> {
    let place = entry
        .places
        .iter()
        .find(|place| place.destination_id == copy.destination_id)?;
    Some(&place.address)
}

fn local_path(entry: &Entry, copy: &Copy) -> Option<String> {
    let address = Address::parse(address(entry, copy)?).ok()?;
    (address.scheme == "file").then(|| format!("{}/{}", address.path.trim_end_matches('/'), copy.key))
}

/// The command that fetches a copy from a folder. A path with control characters cannot be shown as it is, and gets none.
fn fetch(entry: &Entry, copy: &Copy) -> Option<String> {
    let path = local_path(entry, copy)?;
    (visible(&path) == path).then(|| format!("cp {} .", shell_quote(&path)))
}

/// The command that exports a key. One without a line feed: a name with control characters is better looked up in `key list`.
fn export(name: &str) -> String {
    let name = if visible(name) == name {
        shell_quote(name)
    } else {
        "KEY".to_owned()
    };
    let end = if name.starts_with('-') { "-- " } else { "" };
    format!("(umask 077; coffre key export {end}{name} > {KEY_FILE})")
}

/// Writes the key file, readable by its owner alone, without changing the shell that it is typed into.
fn save_key(secret: &Secret) -> String {
    let line = shell_quote(secret.expose().trim());
    format!("(umask 077; echo {line} > {KEY_FILE})")
}

/// One query that counts every table, in the order of the list. Names are taken from the manifest as they are written there, quoted
/// where they must be; one that is not a name is left out, because a manifest could have been changed by others.
fn query(counts: &[TableCount]) -> Option<String> {
    if counts.len() > QUERY_TABLES {
        return None;
    }
    let selects: Vec<String> = counts
        .iter()
        .map(|count| count.table.as_str())
        .filter(|table| is_table_name(table) && visible(table) == *table)
        .map(|table| format!("SELECT '{}', count(*) FROM {table}", table.replace('\'', "''")))
        .collect();
    (!selects.is_empty()).then(|| format!("{};", selects.join("\nUNION ALL ")))
}

/// Whether a text is nothing but a table's name: plain or double-quoted parts with dots between them.
fn is_table_name(text: &str) -> bool {
    let mut rest = text;
    loop {
        let after = if let Some(quoted) = rest.strip_prefix('"') {
            let mut at = 0;
            loop {
                match quoted[at..].find('"') {
                    None => return false,
                    Some(end) if quoted[at + end + 1..].starts_with('"') => at += end + 2,
                    Some(end) if at + end == 0 => return false,
                    Some(end) => break &quoted[at + end + 1..],
                }
            }
        } else {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
                .unwrap_or(rest.len());
            if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
                return false;
            }
            &rest[end..]
        };
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None => return after.is_empty(),
        }
    }
}

/// Fills `{name}` where `value` knows it. What was filled in is not searched again: a name may contain braces.
fn fill(words: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut text = String::new();
    let mut rest = words;
    while let Some(start) = rest.find('{') {
        text.push_str(&rest[..start]);
        rest = &rest[start..];
        let known = rest.find('}').and_then(|end| Some((end, value(&rest[1..end])?)));
        let (end, filled) = known.unwrap_or((0, "{".to_owned()));
        text.push_str(&filled);
        rest = &rest[end + 1..];
    }
    text + rest
}

/// 2026-11-05 10:00 UTC: read the same way in every country and every year.
fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M\u{a0}UTC").to_string()
}

/// Makes visible what would otherwise move or hide other text: control characters, and marks that turn the direction of writing.
pub(super) fn visible(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_and_nothing_else() {
        for name in [
            "orders",
            "public.orders",
            r#""a ""b""".c"#,
            r#"public."x;y""#,
            "größe",
            "a$1",
            r#""1""#,
        ] {
            assert!(is_table_name(name), "{name}");
        }
        for other in [
            "",
            ".",
            "a.",
            ".a",
            "1a",
            "a b",
            "a;b",
            "a--b",
            r#"""#,
            r#""""#,
            r#""a"b"#,
            r#""a"" "#,
            "a'b",
            "(select 1)",
            "a\nb",
        ] {
            assert!(!is_table_name(other), "{other}");
        }
    }

    #[test]
    fn facts_are_filled_once() {
        let value = |name: &str| (name == "a").then(|| "{a} {b}".to_owned());
        assert_eq!(fill("x {a} y {b} {", value), "x {a} {b} y {b} {");
        assert_eq!(fill("é{a}", value), "é{a} {b}");
    }
}

//! The stock commands that bring one backup back: check, decrypt, decompress, check again, load. They work as one sequence in an
//! empty folder that holds the artifact (and the key file, for a backup encrypted with a pair).

use coffre_model::compression::Compression;
use coffre_model::manifest::Manifest;

/// In a line of `DatabaseKind::stock_load`: stands for the plain file, already quoted for a shell.
pub const FILE_MARK: &str = "<file>";
/// In a line of `DatabaseKind::stock_load`: stands for the name of the new database.
pub const TARGET_MARK: &str = "<target>";
/// What the new database is called in the commands: a plain word, so that they run as they are printed.
pub const TARGET: &str = "target";
/// The file that the decryption reads the private key from.
pub const KEY_FILE: &str = "./key.txt";

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// The artifact is what was stored.
    Check,
    /// age, with the key file.
    DecryptWithKey,
    /// age, which asks for the passphrase.
    DecryptWithPassphrase,
    /// zstd or gunzip.
    Decompress,
    /// The plain file is what was dumped.
    CheckPlain,
    /// Into a new database.
    Load,
}

/// One step of a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub kind: StepKind,
    /// Its commands, one a line.
    pub lines: Vec<String>,
}

/// Quotes one word for a POSIX shell, whatever is in it. Plain words stay as they are.
///
/// A word that begins with `-` is still an option to the program: write paths with `./` or `/` before them.
pub fn shell_quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    // Nothing is special between single quotes, except their end.
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The steps for the backup of `manifest`; nothing where its artifact's name is not one that Coffre gives, because commands made of
/// a foreign name could do anything.
pub fn steps(manifest: &Manifest, stock_load: &[String]) -> Vec<Step> {
    let Some(names) = Names::of(manifest) else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    let mut step = |kind, lines: Vec<String>| {
        if !lines.is_empty() {
            steps.push(Step { kind, lines });
        }
    };
    step(StepKind::Check, check(manifest.backup.sha256.as_deref(), &names.artifact));
    if let Some(compressed) = &names.decrypted {
        let artifact = &names.artifact;
        match manifest.recipient {
            Some(_) => step(
                StepKind::DecryptWithKey,
                vec![format!("age -d -i {KEY_FILE} -o {compressed} {artifact}")],
            ),
            None => step(
                StepKind::DecryptWithPassphrase,
                vec![format!("age -d -o {compressed} {artifact}")],
            ),
        }
    }
    let compressed = names.decrypted.as_ref().unwrap_or(&names.artifact);
    match manifest.backup.compression {
        Compression::Zstd(_) => step(StepKind::Decompress, vec![format!("zstd -d {compressed} -o {}", names.plain)]),
        Compression::Gzip(_) => step(StepKind::Decompress, vec![format!("gunzip -k {compressed}")]),
        Compression::None => {}
    }
    if names.plain != names.artifact {
        step(
            StepKind::CheckPlain,
            check(manifest.backup.raw_sha256.as_deref(), &names.plain),
        );
    }
    // A mark left as it is would be a redirection to the shell.
    let load = stock_load
        .iter()
        .map(|line| line.replace(FILE_MARK, &names.plain).replace(TARGET_MARK, TARGET));
    step(StepKind::Load, load.collect());
    steps
}

/// The same as [`steps`], as one list: the manifest's `recovery`.
pub fn commands(manifest: &Manifest, stock_load: &[String]) -> Vec<String> {
    steps(manifest, stock_load).into_iter().flat_map(|step| step.lines).collect()
}

fn check(sha256: Option<&str>, file: &str) -> Vec<String> {
    let known = sha256.filter(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
    known
        .map(|hash| format!(r#"echo "{hash}  {file}" | sha256sum -c"#))
        .into_iter()
        .collect()
}

/// The names of the files on the way, each with `./` before it: nothing then is an option or a command.
struct Names {
    artifact: String,
    /// After decryption; nothing where it is not encrypted.
    decrypted: Option<String>,
    plain: String,
}

impl Names {
    fn of(manifest: &Manifest) -> Option<Self> {
        let artifact = manifest.artifact.as_str();
        let ours = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if artifact.is_empty() || !artifact.chars().all(ours) {
            return None;
        }
        let decrypted = match &manifest.backup.encryption {
            Some(_) => Some(artifact.strip_suffix(".age")?),
            None => None,
        };
        let plain = decrypted
            .unwrap_or(artifact)
            .strip_suffix(manifest.backup.compression.extension())?;
        // A file called ".zst" or "..zst" would leave nothing to call the plain one.
        if plain.trim_start_matches('.').is_empty() {
            return None;
        }
        Some(Names {
            artifact: format!("./{artifact}"),
            decrypted: decrypted.map(|name| format!("./{name}")),
            plain: format!("./{plain}"),
        })
    }
}

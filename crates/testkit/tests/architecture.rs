//! The rules of the house (docs/ARCHITECTURE.md) that a compiler does not know, asked of the workspace as it is.

#![allow(clippy::unwrap_used, reason = "a test has nobody to hand errors to")]
#![allow(clippy::disallowed_methods, reason = "tests start stock tools")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Longer files than this are split by subject.
const LINES: usize = 600;

/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Parts of a type's name that say nothing about what it is.
const EMPTY_WORDS: &[&str] = &["Manager", "Service", "Helper", "Util", "Utils", "Handler"];

/// Who may know whom, besides crates from outside. `testkit` is for tests alone and stands apart.
const LAYERS: &[(&str, &[&str])] = &[
    ("coffre-model", &[]),
    ("coffre-databases", &["coffre-model"]),
    ("coffre-storages", &["coffre-model"]),
    ("coffre-engine", &["coffre-model"]),
    (
        "coffre-api",
        &["coffre-model", "coffre-databases", "coffre-storages", "coffre-engine"],
    ),
    ("coffre-cli", &["coffre-model", "coffre-api"]),
    ("coffre-server", &["coffre-model", "coffre-api"]),
    ("coffre-desktop", &["coffre-model", "coffre-api"]),
    ("coffre-testkit", &["coffre-model"]),
];

fn root() -> PathBuf {
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&package).ancestors().nth(2).unwrap().to_owned()
}

/// The packages of the workspace: name → its description by cargo.
fn packages() -> BTreeMap<String, Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| (package["name"].as_str().unwrap().to_owned(), package.clone()))
        .collect()
}

/// What a package depends on: names, and whether only in its tests.
fn dependencies(package: &Value) -> Vec<(String, bool)> {
    let all = package["dependencies"].as_array().unwrap();
    all.iter()
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one["kind"] == "dev"))
        .collect()
}

#[test]
fn dependencies_run_one_way() {
    for (name, package) in packages() {
        let (_, may_know) = LAYERS
            .iter()
            .find(|(of, _)| *of == name)
            .unwrap_or_else(|| panic!("{name} has no place in LAYERS"));
        for (dependency, in_tests) in dependencies(&package) {
            if !dependency.starts_with("coffre-") {
                continue;
            }
            if dependency == "coffre-testkit" {
                assert!(in_tests, "{name} needs the testkit outside of its tests");
            } else if !in_tests {
                assert!(may_know.contains(&dependency.as_str()), "{name} may not know {dependency}");
            }
        }
    }
}

#[test]
fn tauri_stands_in_the_desktop_package_alone() {
    for (name, package) in packages() {
        for (dependency, _) in dependencies(&package) {
            let is_tauri = dependency == "tauri" || dependency.starts_with("tauri-");
            assert!(!is_tauri || name == "coffre-desktop", "{name} depends on {dependency}");
        }
    }
}

#[test]
fn the_model_does_no_work() {
    for (dependency, in_tests) in dependencies(&packages()["coffre-model"]) {
        let works = ["tokio", "rusqlite", "reqwest", "rustix", "libc", "fs-err", "tempfile"].contains(&dependency.as_str());
        assert!(!works || in_tests, "the model has no I/O, and depends on {dependency}");
    }
}

/// Every Rust file of our own, with its path from the root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join("crates"), root().join("src-tauri"), root().join("tests")];
    while let Some(folder) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().unwrap() != "target" {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty());
    found.sort();
    found
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for (name, text) in sources() {
        let lines = text.lines().count();
        if lines > LINES && !LONG_FILES.iter().any(|(file, _)| *file == name) {
            long.push(format!("{name} has {lines} lines"));
        }
    }
    assert!(long.is_empty(), "split by subject:\n{}", long.join("\n"));
    for (file, reason) in LONG_FILES {
        assert!(
            !reason.is_empty() && root().join(file).is_file(),
            "{file} is no exception any more"
        );
    }
}

/// The names of types that a text declares.
fn type_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for line in text.lines() {
        let mut words = line.trim_start().split(|c: char| c.is_whitespace());
        while let Some(word) = words.next() {
            if matches!(word, "struct" | "enum" | "trait" | "type" | "union") {
                let name = words.next().unwrap_or_default();
                let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(name.len());
                names.push(&name[..end]);
                break;
            }
            // Only what may stand before the word: anything else is no declaration.
            if !(word.starts_with("pub") || matches!(word, "unsafe" | "in" | "")) {
                break;
            }
        }
    }
    names
}

/// Whether a name in camel case has this word as one of its parts.
fn has_part(name: &str, word: &str) -> bool {
    name.match_indices(word)
        .any(|(at, _)| name[at + word.len()..].chars().next().is_none_or(|c| !c.is_lowercase()))
}

#[test]
fn types_are_named_after_what_they_are() {
    for (name, text) in sources() {
        for declared in type_names(&text) {
            for word in EMPTY_WORDS {
                assert!(
                    !has_part(declared, word),
                    "{name}: {declared} says nothing with {word}; use the glossary's words"
                );
            }
        }
    }
}

#[test]
fn names_are_read_as_they_should() {
    let text = "pub(crate) struct FileManager<T> {\nenum A {}\n// a struct Helper\n    type Item = X;\nlet struct_ = 1;\npub unsafe trait T {}\n";
    assert_eq!(type_names(text), ["FileManager", "A", "Item", "T"]);
    assert!(has_part("FileManager", "Manager") && has_part("ServiceList", "Service") && has_part("XUtil", "Util"));
    assert!(!has_part("Utility", "Util") && !has_part("Servicer", "Service"));
}

// ── Words ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A text without its comments and without its tests: what can reach a person.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut code = String::new();
    for line in text.lines() {
        if !line.trim_start().starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

/// The argument texts of each call of `name(…)`, split at top-level commas.
fn calls<'a>(code: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&format!("{name}(")) {
        let before = code[..at].chars().next_back();
        let declared = code[..at].trim_end().ends_with("fn");
        if declared || before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        found.push(arguments(&code[at + name.len() + 1..]));
    }
    found
}

/// The arguments of a call, from behind its opening parenthesis.
fn arguments(code: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut quoted, mut escaped) = (0_u32, 0, false, false);
    let mut found = Vec::new();
    for (at, c) in code.char_indices() {
        if quoted {
            (quoted, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        match c {
            '"' => quoted = true,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => {
                found.push(code[begin..at].trim());
                break;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(code[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|argument| !argument.is_empty());
    found
}

/// A function or closure: its name, its parameters without `self`, its text.
type Callable<'a> = (&'a str, Vec<&'a str>, &'a str);

fn callables(code: &str) -> Vec<Callable<'_>> {
    let functions = code.match_indices("fn ").filter_map(|(at, _)| {
        let declared = &code[at + 3..];
        let open = declared.find('(')?;
        let mut parameters = arguments(&declared[open + 1..]);
        parameters.retain(|parameter| !parameter.ends_with("self"));
        Some((declared[..open].split('<').next()?, parameters, body(declared)))
    });
    let closures = code.match_indices("let ").filter_map(|(at, _)| {
        let (name, rest) = code[at + 4..].split_once(" = |")?;
        let (parameters, _) = rest.split_once('|')?;
        let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
        is_name.then(|| (name, parameters.split(',').map(str::trim).collect(), statement(rest)))
    });
    functions.chain(closures).collect()
}

/// What hands one of its parameters on as the key of an error, directly or through another such: name → which parameter.
fn key_functions(code: &str) -> BTreeMap<String, usize> {
    let callables = callables(code);
    let mut found = BTreeMap::from([("Error::new".to_owned(), 1)]);
    loop {
        let before = found.len();
        for (name, parameters, body) in &callables {
            for (known, position) in found.clone() {
                for call in calls(body, &known) {
                    let Some(handed) = call.get(position) else { continue };
                    // A key is a text known when it was compiled: no other parameter of this name is meant.
                    let same = |parameter: &&str| {
                        let (name, kind) = parameter.split_once(':').unwrap_or((parameter, "&'static str"));
                        name.trim() == *handed && kind.trim() == "&'static str"
                    };
                    if let Some(position) = parameters.iter().position(same) {
                        found.entry((*name).to_owned()).or_insert(position);
                    }
                }
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// A function's text, to the brace that closes it.
fn body(declared: &str) -> &str {
    let mut depth = 0_u32;
    for (at, c) in declared.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return &declared[..at],
            '}' => depth -= 1,
            // Declared only, as in a trait.
            ';' if depth == 0 => return &declared[..at],
            _ => {}
        }
    }
    declared
}

/// A statement, from somewhere in it to its semicolon.
fn statement(code: &str) -> &str {
    let mut depth = 0_i32;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ';' if depth <= 0 => return &code[..at],
            _ => {}
        }
    }
    code
}

/// Every literal in a piece of code that looks like the key of a text.
fn keys_in(code: &str) -> impl Iterator<Item = &str> {
    // Between two quotes is a literal, at every other place. (Keys hold no quotes.)
    code.split('"').skip(1).step_by(2).filter(|inner| {
        inner.contains('_')
            && inner
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    })
}

/// The keys that what is handed to `Error::new` can have, where that is no literal: those in the statements that bind a variable, in
/// the body of a function, or of a field of this name.
fn bound_keys(code: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for call in calls(code, "Error::new") {
        let Some(handed) = call.get(1) else { continue };
        let name = handed.trim_end_matches("()").rsplit(['.', ':']).next().unwrap_or_default();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            continue;
        }
        if handed.ends_with("()") {
            let of_this_name = callables(code).into_iter().filter(|(function, _, _)| *function == name);
            found.extend(of_this_name.flat_map(|(_, _, body)| keys_in(body)));
        } else if handed.contains('.') {
            for (at, field) in code.match_indices(&format!("{name}: \"")) {
                found.extend(code[at + field.len()..].split('"').next());
            }
        } else {
            for pattern in [format!("let {name} = "), format!(", {name}) = ")] {
                for (at, _) in code.match_indices(&pattern) {
                    found.extend(keys_in(statement(&code[at..])));
                }
            }
        }
    }
    found
}

/// Every key of an error's text that the code names, with where.
fn used_keys() -> BTreeMap<String, String> {
    let mut files = sources();
    files.retain(|(name, _)| !name.starts_with("crates/testkit/") && !name.contains("/tests/") && !name.ends_with("/tests.rs"));
    let whole: String = files.iter().map(|(_, text)| code_of(text)).collect();
    let functions = key_functions(&whole);
    let mut used = BTreeMap::from([("internal".to_owned(), "Error::internal".to_owned())]);
    for (name, text) in files {
        let code = code_of(&text);
        let mut found: BTreeSet<&str> = bound_keys(&code);
        // The pairs `(Code::X, "key")` of a table, and whatever else names a code and a key together.
        for (at, _) in code.match_indices("Code::") {
            let behind = code[at + 6..].trim_start_matches(char::is_alphanumeric);
            if let Some(literal) = behind.strip_prefix(',').and_then(|rest| rest.trim_start().strip_prefix('"')) {
                found.extend(literal.split('"').next());
            }
        }
        for (function, position) in &functions {
            for call in calls(&code, function) {
                // Also where an `if` or a `match` inside the call chooses between keys.
                found.extend(
                    call.get(*position)
                        .into_iter()
                        .flat_map(|argument| argument.split('"').skip(1).step_by(2)),
                );
            }
        }
        let is_key = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        used.extend(
            found
                .into_iter()
                .filter(|text| is_key(text))
                .map(|key| (key.to_owned(), name.clone())),
        );
    }
    used
}

#[test]
fn keys_are_found_in_code() {
    let code = "fn usage(text: &'static str) -> Error {\n    Error::new(Code::Usage, text)\n}\n\
                fn at(&self, code: Code, text: &'static str) -> Error {\n    Error::new(code, text).with(\"a\", 1)\n}\n\
                fn x() { usage(\"from_usage\"); self.at(Code::X, \"from_at\"); Error::new(Code::Y,\n \"plain\");\n\
                let refuse = |text| at(c, text);\n}";
    let functions = key_functions(code);
    let found: Vec<_> = functions.iter().map(|(name, position)| (name.as_str(), *position)).collect();
    assert_eq!(found, [("Error::new", 1), ("at", 1), ("refuse", 0), ("usage", 0)]);
    assert_eq!(calls(code, "usage"), [["\"from_usage\""]]);
    assert_eq!(calls(code, "at")[0][1], "\"from_at\"");
    assert_eq!(calls(code, "Error::new")[2], ["Code::Y", "\"plain\""]);
    let code = "let (code, text) = match x { A => (Code::X, \"one_key\"), B => y(\"two_key\") };\nError::new(code, text);\n\
                Error::new(Code::B, self.busy());\nfn busy() -> &str { \"three_key\" \n}\n\
                Error::new(Code::N, names.not_found); N { not_found: \"four_key\" }";
    assert_eq!(
        bound_keys(code).into_iter().collect::<Vec<_>>(),
        ["four_key", "one_key", "three_key", "two_key"]
    );
    assert_eq!(
        arguments("a(b, c), \"d)\\\",\", [e, f]) g"),
        ["a(b, c)", "\"d)\\\",\"", "[e, f]"]
    );
}

/// The catalogue of words of a language.
fn words(language: &str) -> Value {
    let path = root().join(format!("ui/src/i18n/{language}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every text of a catalogue: `errors.key.message` → words.
fn texts(value: &Value, at: &str, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                texts(
                    value,
                    &if at.is_empty() { name.clone() } else { format!("{at}.{name}") },
                    found,
                );
            }
        }
        Value::String(text) => drop(found.insert(at.to_owned(), text.clone())),
        other => panic!("{at} is {other}, not a text"),
    }
}

fn all_texts(language: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    texts(&words(language), "", &mut found);
    found
}

/// The names in braces of a text.
fn placeholders(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for part in text.split('{').skip(1) {
        if let Some((name, _)) = part.split_once('}') {
            // `{rows|row|rows}`: the fact, and its noun in one and in many.
            found.insert(name.split('|').next().unwrap_or(name));
        }
    }
    found
}

/// Panics with everything that was found, a line each.
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn both_languages_say_the_same_things() {
    let (english, french) = (all_texts("en"), all_texts("fr"));
    let mut wrong = Vec::new();
    for key in english.keys().chain(french.keys()) {
        match (english.get(key), french.get(key)) {
            (Some(english), Some(french)) => {
                if placeholders(english) != placeholders(french) {
                    wrong.push(format!("{key}: the facts differ: {english:?}, {french:?}"));
                }
                // Empty in both is meant (a column without a head), in one it is forgotten.
                if english.trim().is_empty() != french.trim().is_empty() {
                    wrong.push(format!("{key} is empty in one of them"));
                }
            }
            (english, _) => wrong.push(format!(
                "{key} exists in {} alone",
                if english.is_some() { "English" } else { "French" }
            )),
        }
    }
    wrong.dedup();
    assert_none("the catalogues of words differ", &wrong);
}

#[test]
fn french_is_set_as_french() {
    let mut wrong = Vec::new();
    for (key, text) in all_texts("fr") {
        let characters: Vec<char> = text.chars().collect();
        for pair in characters.windows(2) {
            let breakable = pair[0] == ' ' && [';', ':', '?', '!', '»'].contains(&pair[1]) || pair[0] == '«' && pair[1] == ' ';
            let wide = pair[0] == '\u{a0}' && [';', ':', '?', '!'].contains(&pair[1]);
            let apostrophe = pair[0].is_alphabetic() && pair[1] == '\'';
            if breakable || wide {
                wrong.push(format!(
                    "{key}: a narrow no-break space (U+202F) belongs between {:?} in {text:?}",
                    pair.iter().collect::<String>()
                ));
            }
            if apostrophe {
                wrong.push(format!("{key}: ’ belongs behind {:?} in {text:?}", pair[0]));
            }
        }
    }
    assert_none("French is not set as French", &wrong);
}

#[test]
fn every_error_has_words() {
    let languages = [("en", words("en")), ("fr", words("fr"))];
    let mut missing = Vec::new();
    for (key, place) in used_keys() {
        for part in ["message", "hint"] {
            for (language, words) in &languages {
                if !words["errors"][&key][part].is_string() {
                    missing.push(format!("errors.{key}.{part} in {language}.json (used in {place})"));
                }
            }
        }
    }
    assert_none("words are missing", &missing);
}

/// A fact in a text that no code ever gives would be shown to a person as `{fact}`.
#[test]
fn facts_in_error_texts_are_given_by_code() {
    let code: String = sources().iter().map(|(_, text)| code_of(text)).collect();
    let mut wrong = Vec::new();
    for (key, text) in all_texts("en").iter().filter(|(key, _)| key.starts_with("errors.")) {
        for fact in placeholders(text) {
            if !code.contains(&format!("\"{fact}\"")) {
                wrong.push(format!("{key}: {{{fact}}}"));
            }
        }
    }
    assert_none("nobody gives these facts", &wrong);
}

#[test]
fn no_words_without_an_error() {
    let code: String = sources().iter().map(|(_, text)| code_of(text)).collect();
    let words = words("en");
    let keys = words["errors"].as_object().unwrap().keys();
    let unused = |key: &&String| !code.contains(&format!("\"{key}\"")) && *key != "internal";
    let unused: Vec<String> = keys.filter(unused).cloned().collect();
    assert_none("nobody says these errors", &unused);
}

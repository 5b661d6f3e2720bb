//! The types of the window, written from these: `ui/src/backend/generated.ts`. The file is committed, and this test says when it is old.

use std::any::TypeId;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::path::Path;

use ts_rs::{Config, TS, TypeVisitor};

use super::commands::{signatures, visit_types};

const HEAD: &str = "/**
 * The types between window and backend, written from the Rust ones. Do not edit: after a change in `crates/api/src/window`, run
 * `UPDATE_TYPES=1 cargo test -p coffre-api types_are_current`.
 * Times are RFC 3339 in UTC, sizes are bytes, ids are UUIDv7.
 */

export type Time = string
export type Fact = string | number | boolean | null
/** Facts of an error or an event, by name. */
export type Details = Record<string, Fact | Fact[]>
/** How a run can end, or stand. */
export type Outcome = Exclude<BackupState, 'deleting' | 'deleted'>
";

/// Gathers the declaration of every type that is reached.
struct Gather {
    config: Config,
    seen: HashSet<TypeId>,
    found: BTreeMap<String, String>,
}

impl TypeVisitor for Gather {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        if !self.seen.insert(TypeId::of::<T>()) {
            return;
        }
        // What has no place of its own (a number, a list) has no declaration either.
        if T::output_path().is_some() {
            let mut text = T::docs().unwrap_or_default();
            let _infallible = writeln!(text, "export {}", T::decl(&self.config));
            let name = T::ident(&self.config);
            if let Some(other) = self.found.insert(name.clone(), text.clone()) {
                assert_eq!(other, text, "two types are called {name}");
            }
        }
        T::visit_dependencies(self);
        T::visit_generics(self);
    }
}

fn written() -> String {
    let mut gather = Gather {
        config: Config::new().with_large_int("number"),
        seen: HashSet::new(),
        found: BTreeMap::new(),
    };
    visit_types(&mut gather);
    gather.visit::<super::events::BackendEvent>();
    gather.visit::<super::drafts::FieldValue>();
    let mut text = HEAD.to_owned();
    for declaration in gather.found.values() {
        text.push('\n');
        text.push_str(declaration);
    }
    text.push_str("\n/** Every command: what it takes, and what it answers. */\nexport interface Commands {\n");
    for (name, arguments, answer) in signatures(&gather.config) {
        let _infallible = writeln!(text, "  {name}: {{ args: {arguments}; answer: {answer} }}");
    }
    text.push_str("}\n");
    tidy(&text)
}

/// Documentation on one line where it fits, two spaces before what stands in braces, nothing at the ends of lines.
fn tidy(text: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut depth = 0_usize;
    let mut lines = text.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let mut line = line.to_owned();
        if line == "/**" {
            let mut said = Vec::new();
            for next in lines.by_ref() {
                if next == "*/" {
                    break;
                }
                said.push(next.trim_start_matches('*').trim().to_owned());
            }
            let indent = "  ".repeat(depth);
            if let [one] = &said[..] {
                out.push(format!("{indent}/** {one} */"));
            } else {
                out.push(format!("{indent}/**"));
                out.extend(said.iter().map(|line| format!("{indent} * {line}").trim_end().to_owned()));
                out.push(format!("{indent} */"));
            }
            continue;
        }
        let closing = line.starts_with('}');
        // The last field of a type ends with its closing brace: that goes to a line of its own.
        let ends = line
            .ends_with(", };")
            .then(|| line.matches('{').count() < line.matches('}').count());
        if ends == Some(true) {
            line.truncate(line.len() - " };".len());
        }
        let indent = "  ".repeat(if closing { depth.saturating_sub(1) } else { depth });
        out.push(format!("{indent}{line}").trim_end().to_owned());
        depth = (depth + line.matches('{').count()).saturating_sub(line.matches('}').count());
        if ends == Some(true) {
            depth = depth.saturating_sub(1);
            out.push(format!("{}}}", "  ".repeat(depth)));
        }
    }
    out.join("\n") + "\n"
}

#[test]
fn types_are_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui/src/backend/generated.ts");
    let written = written();
    if std::env::var_os("UPDATE_TYPES").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &written).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == written,
        "{} is old: run UPDATE_TYPES=1 cargo test -p coffre-api types_are_current",
        file.display()
    );
}

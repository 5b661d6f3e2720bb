//! Draws a sheet as plain text.

use super::content::{Block, Document};

const WIDTH: usize = 78;

/// The whole sheet.
pub(super) fn draw(document: &Document) -> String {
    let mut text = String::new();
    let title = document.title.to_uppercase();
    text.push_str(&format!(
        "{title}\n{}\n{}\n",
        "=".repeat(width(&title)),
        wrap(&document.lead, "")
    ));
    for block in &document.blocks {
        text.push('\n');
        draw_block(block, &mut text);
    }
    text.push_str(&format!("\n{}\n{}\n", "-".repeat(WIDTH), document.footer));
    text
}

fn draw_block(block: &Block, text: &mut String) {
    match block {
        Block::Backup { title, .. } => text.push_str(&format!("\n{0}\n{title}\n{0}\n", "=".repeat(WIDTH))),
        Block::Verdict { title, text: words } => text.push_str(&format!("{}\n", wrap(&format!("{title}. {words}"), ""))),
        Block::Heading { level: 1, text: title } => text.push_str(&format!("{title}\n{}\n", "-".repeat(width(title)))),
        Block::Heading { text: title, .. } => text.push_str(&format!("{title}\n")),
        Block::Text(words) => text.push_str(&format!("{}\n", wrap(words, ""))),
        Block::Facts(facts) => {
            let room = facts.iter().map(|(label, _)| width(label)).max().unwrap_or(0) + 2;
            for (label, value) in facts {
                text.push_str(&format!("{label}{}{}\n", " ".repeat(room - width(label)), value.text));
            }
        }
        Block::Table { head, rows } => {
            for row in rows {
                for (label, value) in head.iter().zip(row) {
                    let room = head.iter().map(|label| width(label)).max().unwrap_or(0) + 2;
                    text.push_str(&format!("{label}{}{}\n", " ".repeat(room - width(label)), value.text));
                }
                text.push('\n');
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        Block::Counts(counts) => {
            let names = counts.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
            let numbers = counts.iter().map(|(_, number)| width(number)).max().unwrap_or(0);
            for (name, number) in counts {
                let gap = names - width(name) + 2 + numbers - width(number);
                text.push_str(&format!("   {name}{}{number}\n", " ".repeat(gap)));
            }
        }
        Block::Warning { title, text: words } => {
            text.push_str(&format!("!!! {title}\n{}\n", wrap(words, "!!! ")));
        }
        Block::Step {
            number,
            title,
            text: words,
            commands,
        } => {
            text.push_str(&format!("{number}. {title}\n"));
            if !words.is_empty() {
                text.push_str(&format!("{}\n", wrap(words, "   ")));
            }
            draw_commands(commands, text);
        }
        Block::Commands { title, commands } => {
            text.push_str(&format!("{title}\n"));
            draw_commands(commands, text);
        }
        Block::Secret(secret) => text.push_str(&format!("   {secret}\n")),
        Block::Blank(label) => text.push_str(&format!("{label} {}\n", "_".repeat(WIDTH.saturating_sub(width(label) + 1)))),
    }
}

/// Commands stand alone on their lines and are never wrapped: they can be copied as they are.
fn draw_commands(commands: &[String], text: &mut String) {
    if !commands.is_empty() {
        text.push('\n');
    }
    for line in commands.iter().flat_map(|command| command.lines()) {
        text.push_str(&format!("      {line}\n"));
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn wrap(words: &str, indent: &str) -> String {
    let mut text = String::new();
    let mut line = indent.to_owned();
    for word in words.split(' ') {
        if width(&line) + 1 + width(word) > WIDTH && line.len() > indent.len() {
            text.push_str(line.trim_end());
            text.push('\n');
            line = indent.to_owned();
        }
        if line.len() > indent.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    text + line.trim_end()
}

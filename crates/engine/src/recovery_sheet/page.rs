//! Draws a sheet as one HTML page. Everything that is not written in this file is escaped.

use super::content::{Block, Cell, Document};

const STYLE: &str = include_str!("page.css");

/// About the characters of a command's line.
const LINE: usize = 80;

/// The whole page.
pub(super) fn draw(document: &Document) -> String {
    let mut body = String::new();
    let mut open = Open::default();
    for block in &document.blocks {
        match block {
            Block::Backup { title, new_page } => {
                open.close_all(&mut body);
                let class = if *new_page { "backup new-page" } else { "backup" };
                body.push_str(&format!("<section class=\"{class}\">\n<h2>{}</h2>\n", data(title)));
                open.section = true;
            }
            Block::Heading { level: 1, text } => {
                open.close_part(&mut body);
                body.push_str(&format!("<h3>{}</h3>\n", data(text)));
            }
            Block::Heading { text, .. } => {
                open.close_part(&mut body);
                body.push_str(&format!("<div class=\"part\">\n<h4>{}</h4>\n", data(text)));
                open.part = true;
            }
            other => draw_block(other, &mut body),
        }
    }
    open.close_all(&mut body);
    let (language, title) = (escape(&document.language), escape(&document.title));
    let (lead, footer) = (escape(&document.lead), escape(&document.footer));
    // The footer is printed on each page; between the quotes of CSS only letters, digits and a few signs are let through.
    let running: String = document
        .footer
        .chars()
        .filter(|c| c.is_alphanumeric() || " \u{a0}.,:·’-".contains(*c))
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{title}</h1>\n<p class=\"lead\">{lead}</p>\n</header>\n\
         {body}<footer>{footer}</footer>\n</main>\n</body>\n</html>\n",
        STYLE.replace("RUNNING", &running),
    )
}

/// The elements that enclose several blocks.
#[derive(Default)]
struct Open {
    section: bool,
    part: bool,
}

impl Open {
    fn close_part(&mut self, html: &mut String) {
        if std::mem::take(&mut self.part) {
            html.push_str("</div>\n");
        }
    }

    fn close_all(&mut self, html: &mut String) {
        self.close_part(html);
        if std::mem::take(&mut self.section) {
            html.push_str("</section>\n");
        }
    }
}

fn draw_block(block: &Block, html: &mut String) {
    match block {
        // Drawn above: they enclose what follows.
        Block::Backup { .. } | Block::Heading { .. } => {}
        Block::Verdict { title, text } => {
            html.push_str(&format!(
                "<p class=\"verdict\"><strong>{}.</strong> {}</p>\n",
                data(title),
                data(text)
            ));
        }
        Block::Text(text) => html.push_str(&format!("<p>{}</p>\n", data(text))),
        Block::Facts(facts) => {
            html.push_str("<dl>\n");
            for (label, value) in facts {
                html.push_str(&format!("<dt>{}</dt><dd>{}</dd>\n", escape(label), draw_cell(value)));
            }
            html.push_str("</dl>\n");
        }
        Block::Table { head, rows } => {
            html.push_str("<table>\n<thead><tr>");
            for label in head {
                html.push_str(&format!("<th scope=\"col\">{}</th>", escape(label)));
            }
            html.push_str("</tr></thead>\n<tbody>\n");
            for row in rows {
                html.push_str("<tr>");
                for cell in row {
                    html.push_str(&format!("<td>{}</td>", draw_cell(cell)));
                }
                html.push_str("</tr>\n");
            }
            html.push_str("</tbody>\n</table>\n");
        }
        Block::Counts(counts) => {
            html.push_str("<ul class=\"counts\">\n");
            for (name, number) in counts {
                html.push_str(&format!(
                    "<li><span class=\"name\">{}</span><span class=\"number\">{}</span></li>\n",
                    data(name),
                    escape(number)
                ));
            }
            html.push_str("</ul>\n");
        }
        Block::Warning { title, text } => {
            html.push_str(&format!(
                "<div class=\"warning\" role=\"note\"><strong>{}</strong> <span>{}</span></div>\n",
                data(title),
                data(text)
            ));
        }
        Block::Step {
            number,
            title,
            text,
            commands,
        } => {
            html.push_str(&format!(
                "<div class=\"step\"><h4><span class=\"number\">{number}</span>{}</h4>\n",
                data(title)
            ));
            if !text.is_empty() {
                html.push_str(&format!("<p>{}</p>\n", data(text)));
            }
            draw_commands(commands, html);
            html.push_str("</div>\n");
        }
        Block::Commands { title, commands } => {
            html.push_str(&format!("<div class=\"commands\"><p class=\"label\">{}</p>\n", data(title)));
            draw_commands(commands, html);
            html.push_str("</div>\n");
        }
        Block::Secret(secret) => html.push_str(&format!("<pre class=\"secret\">{}</pre>\n", escape(secret))),
        Block::Blank(label) => html.push_str(&format!(
            "<p class=\"blank\"><span>{}</span><span class=\"rule\"></span></p>\n",
            data(label)
        )),
    }
}

/// One `pre` a command. Each of its words is kept whole where it fits on a line, and is otherwise cut at the very end of the line:
/// browsers would cut after a hyphen, and a person typing from paper could not tell that hyphen from one of the printer's.
fn draw_commands(commands: &[String], html: &mut String) {
    for command in commands {
        html.push_str("<pre>");
        for (i, line) in command.split('\n').enumerate() {
            html.push_str(if i > 0 { "\n" } else { "" });
            let words = line.split(' ').map(|word| match escape(word) {
                word if word.len() <= LINE => format!("<span>{word}</span>"),
                word => word,
            });
            html.push_str(&words.collect::<Vec<_>>().join(" "));
        }
        html.push_str("</pre>\n");
    }
}

fn draw_cell(cell: &Cell) -> String {
    if cell.code {
        format!("<code>{}</code>", data(&cell.text))
    } else {
        data(&cell.text)
    }
}

/// A text that may hold a name from outside: isolated, so that its direction of writing does not spread.
fn data(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape(text))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

//! The font that the desktop writes in. WebKit on Linux does not know it, and looks for what a style sheet may call it (`system-ui`) in vain,
//! in each size and weight: some milliseconds each before the first picture. macOS and Windows have web views that know.

/// The fonts as a style sheet names them, best first; nothing where the web view knows them by itself. Answers nothing of use but on the
/// first thread, where GTK lives.
pub(crate) fn of_desktop() -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        use gtk::prelude::GtkSettingsExt;
        let name = crate::drawing::desktop_settings().and_then(|settings| settings.gtk_font_name());
        let family = name.and_then(|name| gtk::pango::FontDescription::from_string(&name).family());
        Some(named(family.as_deref().unwrap_or_default()))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The first of the names where it is one that can stand in a style sheet, and what every desktop has. GTK's own default is no font, but a
/// kind of font (`Sans`).
#[cfg(any(target_os = "linux", test))]
fn named(families: &str) -> String {
    const GENERIC: &str = "sans-serif";
    let family = families.split(',').next().unwrap_or_default().trim();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '+');
    let is_kind = ["", "sans", GENERIC, "system-ui"].contains(&family.to_lowercase().as_str());
    match !is_kind && family.chars().all(is_plain) {
        true => format!("\"{family}\", {GENERIC}"),
        false => GENERIC.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn the_fonts_name_stands_in_a_style_sheet_and_nothing_else_does() {
        assert_eq!(named("Cantarell"), "\"Cantarell\", sans-serif");
        assert_eq!(named("Noto Sans CJK JP,Noto Sans"), "\"Noto Sans CJK JP\", sans-serif");
        for kind in ["", "Sans", "sans-serif", "system-ui", "a\"; } body { color: red", "a\\"] {
            assert_eq!(named(kind), "sans-serif", "{kind}");
        }
    }
}

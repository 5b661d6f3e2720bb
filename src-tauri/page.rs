//! The page of the window: the answers to what it asks for first lie in it, so that its first picture waits for no question.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use serde_json::Value;
use tauri::http::{Request, Response};

use crate::desktop::Desktop;

/// The page waits no longer for them: Coffre may still be opening, and it can ask.
const PATIENCE: Duration = Duration::from_millis(150);

/// Puts the fonts of the desktop into the page, and the first answers where they are there in time. Everything else is handed on as it is.
pub(crate) fn complete(
    desktop: &Arc<Desktop>,
    fonts: Option<&str>,
    request: &Request<Vec<u8>>,
    response: &mut Response<Cow<'static, [u8]>>,
) {
    if request.uri().path() != "/" {
        return;
    }
    let (sender, receiver) = sync_channel(1);
    let waiting = Arc::clone(desktop);
    let asked = std::thread::Builder::new().name("first answers".into()).spawn(move || {
        if let Ok(window) = waiting.window() {
            // Nobody waits for it any more: it came too late.
            let _too_late = sender.send(window.first_answers());
        }
    });
    let mut answers = match asked.map(|_| receiver.recv_timeout(PATIENCE)) {
        Ok(Ok(answers)) => answers,
        // It asks for them.
        _ => Value::Object(serde_json::Map::new()),
    };
    if let (Some(fonts), Value::Object(answers)) = (fonts, &mut answers) {
        answers.insert("desktop_fonts".to_owned(), fonts.into());
    }
    if let Some(page) = with_answers(response.body(), &answers) {
        *response.body_mut() = Cow::Owned(page);
    }
}

/// A page with answers in it, as data: no script, so that the policy has nothing to allow.
fn with_answers(page: &[u8], answers: &Value) -> Option<Vec<u8>> {
    const END: &str = "</body>";
    let (before, after) = std::str::from_utf8(page).ok()?.rsplit_once(END)?;
    // Nothing in them can end the element that they lie in.
    let answers = answers.to_string().replace('<', "\\u003c");
    Some(format!("{before}<script type=\"application/json\" id=\"first-answers\">{answers}</script>{END}{after}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_lie_in_the_page_as_data_whatever_they_say() {
        let answers = serde_json::json!({"overview": {"name": "</script><script>alert(1)</script><!--"}});
        let page = with_answers(b"<html><body><div></div></body></html>", &answers).unwrap();
        let page = String::from_utf8(page).unwrap();
        let (before, rest) = page
            .split_once("<script type=\"application/json\" id=\"first-answers\">")
            .unwrap();
        let (data, after) = rest.split_once("</script>").unwrap();
        assert_eq!((before, after), ("<html><body><div></div>", "</body></html>"));
        assert!(!data.contains('<'));
        assert_eq!(serde_json::from_str::<Value>(data).unwrap(), answers);
        assert!(with_answers(b"no page", &answers).is_none());
    }
}

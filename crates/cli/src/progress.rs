//! Progress on a terminal: step, done of total, rate, time left. Quiet in a pipe.

use std::io::IsTerminal;
use std::sync::Mutex;

use coffre_api::model::progress::{Observer, Progress, Step};
use coffre_api::words::Words;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Draws one bar for the step that goes on.
pub(crate) struct Bar {
    words: Words,
    state: Option<Mutex<(Option<Step>, ProgressBar)>>,
}

impl Bar {
    /// A bar on standard error, if that is a terminal and nobody asked for quiet.
    pub(crate) fn new(words: Words, quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        let bar = || ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        Bar {
            words,
            state: shown.then(|| Mutex::new((None, bar()))),
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(Ok(state)) = self.state.as_ref().map(Mutex::lock) {
            state.1.finish_and_clear();
        }
    }
}

impl Observer for Bar {
    fn progress(&self, news: &Progress) {
        let Some(Ok(mut state)) = self.state.as_ref().map(Mutex::lock) else {
            return;
        };
        if state.0 != Some(news.step) {
            state.0 = Some(news.step);
            state.1.reset();
            // An unknown total is a counter, never a bar that lies; an estimate says so.
            let template = match (news.total, news.estimated) {
                (None, _) => "  {msg}  {decimal_bytes}  {decimal_bytes_per_sec}  {elapsed}",
                (Some(_), true) => "  {msg}  {decimal_bytes} / ~{decimal_total_bytes}  {decimal_bytes_per_sec}  {elapsed}",
                (Some(_), false) => {
                    "  {msg}  {bar:24} {percent:>3}%  {decimal_bytes} / {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta}"
                }
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                state.1.set_style(style);
            }
            state.1.set_message(self.words.text(&format!("step.{}", news.step)));
            match news.total {
                Some(total) => state.1.set_length(total),
                None => state.1.unset_length(),
            }
        }
        state.1.set_position(news.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

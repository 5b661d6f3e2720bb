//! One suite of questions per trait, asked of every real adapter and of the fakes. Each question is one obligation of the trait's
//! comments; an adapter that answers all of them can be relied on by the engine.
//!
//! The suites are themselves tested: against simple fakes that must pass, and against broken ones that must be caught.

pub mod database;
pub mod storage;

/// What an obligation that does not hold looks like, in words for whoever writes the adapter.
#[derive(Debug)]
pub struct Broken(String);

impl<E: std::fmt::Display> From<E> for Broken {
    fn from(error: E) -> Self {
        Broken(format!("an unexpected error: {error}"))
    }
}

type Held = Result<(), Broken>;

/// `ensure!(condition, "what is wrong {}", …)`: ends the question with a [`Broken`] where the condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err($crate::conformance::broken(format!($($words)+)));
        }
    };
}
use ensure;

fn broken(words: String) -> Broken {
    Broken(words)
}

/// Asks one question; answers `name: what was wrong` where the obligation does not hold. A panic is one way not to hold it.
fn ask(name: &str, question: impl FnOnce() -> Held) -> Option<String> {
    let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(question));
    match held {
        Ok(Ok(())) => None,
        Ok(Err(Broken(words))) => Some(format!("{name}: {words}")),
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without words");
            Some(format!("{name}: it panicked: {words}"))
        }
    }
}

/// Panics with every obligation that does not hold.
fn assert_all(of: &str, failures: &[String]) {
    assert!(
        failures.is_empty(),
        "{of} does not keep what the trait promises:\n{}",
        failures.join("\n")
    );
}

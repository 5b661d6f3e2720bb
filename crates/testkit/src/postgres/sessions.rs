//! Who is connected to a server, and who is sent away.

use std::time::Duration;

use super::{Postgres, quote_literal};
use crate::process::wait_until;

impl Postgres {
    /// The client sessions whose application name begins with this, as `pid|name|state|query`.
    pub fn sessions(&self, application: &str) -> Vec<String> {
        let sql = format!(
            "SELECT pid, application_name, state, left(query, 120) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND starts_with(application_name, {})",
            quote_literal(application)
        );
        self.sql("postgres", &sql).lines().map(str::to_owned).collect()
    }

    /// Whether no client session whose application name begins with this is left. A server notices a closed connection a moment later, on a
    /// busy machine seconds later, so it is asked for up to 20 seconds.
    pub fn is_rid_of(&self, application: &str) -> bool {
        wait_until(Duration::from_secs(20), || self.sessions(application).is_empty())
    }

    /// Ends the client sessions whose application name begins with this; answers how many there were.
    pub fn terminate(&self, application: &str) -> usize {
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND starts_with(application_name, {})",
            quote_literal(application)
        );
        self.sql("postgres", &sql).lines().count()
    }
}

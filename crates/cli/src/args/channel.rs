//! `coffre channel …`

use clap::{Args, Subcommand};

use super::One;

#[derive(Debug, Args)]
pub(crate) struct ChannelOptions {
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    #[arg(long, value_parser = ["starttls", "tls", "none"])]
    pub(crate) security: Option<String>,
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) user: Option<String>,
    #[arg(long, value_name = "MAILBOX")]
    pub(crate) from: Option<String>,
    #[arg(long, value_name = "MAILBOX")]
    pub(crate) to: Vec<String>,
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pub(crate) ca_file: Option<String>,
    #[arg(long, visible_alias = "password-stdin", conflicts_with = "secret_env")]
    pub(crate) secret_stdin: bool,
    #[arg(long, value_name = "VAR", visible_alias = "password-env")]
    pub(crate) secret_env: Option<String>,
    #[arg(long, value_parser = ["en", "fr"])]
    pub(crate) language: Option<String>,
    #[arg(long, value_name = "Z", allow_hyphen_values = true)]
    pub(crate) time_zone: Option<String>,
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub(crate) plan: Vec<String>,
    #[arg(long, conflicts_with = "plan")]
    pub(crate) all_plans: bool,
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = ["yes", "no"])]
    pub(crate) failures: Option<String>,
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = ["yes", "no"])]
    pub(crate) recoveries: Option<String>,
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = ["yes", "no"])]
    pub(crate) successes: Option<String>,
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = ["yes", "no"])]
    pub(crate) patient: Option<String>,
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(0..=8760))]
    pub(crate) remind_after: Option<u32>,
    #[arg(long, value_parser = ["none", "daily", "weekly"])]
    pub(crate) digest: Option<String>,
    #[arg(long, value_name = "HH:MM")]
    pub(crate) digest_at: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Channel {
    Add {
        #[arg(value_name = "KIND", value_parser = ["email", "slack", "webhook", "ping"])]
        kind: String,
        #[arg(long, allow_hyphen_values = true)]
        name: String,
        #[command(flatten)]
        options: Box<ChannelOptions>,
    },
    List,
    Show(One),
    Edit {
        #[arg(value_name = "NAME")]
        one: String,
        #[arg(long, allow_hyphen_values = true)]
        name: Option<String>,
        #[command(flatten)]
        options: Box<ChannelOptions>,
    },
    Test(One),
    Pause(One),
    Resume(One),
    #[command(visible_alias = "delete")]
    Remove(One),
    Deliveries {
        #[arg(value_name = "NAME")]
        one: Option<String>,
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

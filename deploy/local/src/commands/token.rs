use std::time::Duration;

use anyhow::Result;

use crate::home::Home;
use crate::say;
use crate::secrets::Secrets;
use crate::state::Description;
use crate::token::{Role, Token, duration};

/// Whose token.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The user's id
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    user: String,
    /// The name that others see
    #[arg(long)]
    name: Option<String>,
    /// What the bearer may do
    #[arg(long, value_enum, default_value = "user")]
    role: Role,
    /// How long it is good for: 30s, 15m, 1h, 7d
    #[arg(long, default_value = "1h", value_parser = duration)]
    ttl: Duration,
}

/// Prints a token and nothing else.
pub fn token(home: &Home, arguments: Arguments) -> Result<bool> {
    let Arguments { user, name, role, ttl } = arguments;
    let secret = match Description::read(&home.cluster_file()) {
        Ok(running) => running.jwt.secret,
        // Before the first `up`: the secret is drawn now and used then.
        Err(_) => Secrets::of(home)?.jwt,
    };
    say::line(Token { user, name, role, ttl }.sign(&secret)?);
    Ok(true)
}

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::home::Home;
use crate::rest::Client;
use crate::say;
use crate::state::Description;

/// Whom and what it is about.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Who should have got it
    #[arg(long)]
    user: String,
    /// The message's id
    #[arg(long)]
    message: String,
    /// Its chat; without it, the message is looked for in the user's chats
    #[arg(long)]
    chat: Option<String>,
}

/// Says why a user did not get a message, as the admin port of an api pod does.
pub fn why(home: &Home, arguments: &Arguments) -> Result<bool> {
    let cluster = Description::read(&home.cluster_file()).context("no cluster is up")?;
    let pod = cluster.api.first().context("there is no api pod")?;
    let mut question = vec![("user", &arguments.user), ("message", &arguments.message)];
    question.extend(arguments.chat.as_ref().map(|chat| ("chat", chat)));
    let question: Vec<String> =
        question.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let answer = Client::new(&pod.admin, None).get(&format!("/why?{}", question.join("&")))?;
    let Ok(facts) = answer.data() else {
        let why = answer.body["error"]["message"].as_str();
        bail!("{}", why.map_or_else(|| format!("answered {}", answer.status), str::to_owned));
    };
    say::line(facts["conclusion"].as_str().unwrap_or_default());
    for part in ["message", "participant", "gateways", "silentGateways"] {
        say::line(format_args!("\n{part}:"));
        show(&facts[part], 1);
    }
    Ok(true)
}

/// As it may stand in a query.
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let encoded = value.bytes().map(|byte| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    encoded.collect()
}

/// One fact a line.
fn show(facts: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match facts {
        Value::Object(fields) => {
            for (name, value) in fields {
                if matches!(value, Value::Object(_) | Value::Array(_)) {
                    say::line(format_args!("{indent}{name}:"));
                    show(value, depth + 1);
                } else {
                    say::line(format_args!("{indent}{name}: {}", plain(value)));
                }
            }
        }
        Value::Array(items) if items.is_empty() => say::line(format_args!("{indent}none")),
        Value::Array(items) => {
            for item in items {
                show(item, depth);
                say::line("");
            }
        }
        Value::Null => say::line(format_args!("{indent}none")),
        value => say::line(format_args!("{indent}{}", plain(value))),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_of_the_host_may_be_anything() {
        assert_eq!(super::encoded("auth0|a b@c.d"), "auth0%7Ca%20b%40c.d");
    }
}

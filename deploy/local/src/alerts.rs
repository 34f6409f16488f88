//! The alerts of `deploy/prometheus`, as they are shipped, or in less time.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::home::{shown, workspace};

/// The rule files; `slo.yaml` is written by a script beside it.
const RULES: [&str; 3] = ["slo.yaml", "dependencies.yaml", "saturation.yaml"];

/// The rules as they are shipped: name and text of each file.
pub fn shipped_rules() -> Result<Vec<(String, String)>> {
    RULES.iter().map(|name| Ok(((*name).to_owned(), shipped(name)?))).collect()
}

/// Alertmanager's configuration as it is shipped.
pub fn shipped_alertmanager() -> Result<String> {
    shipped("alertmanager.yaml")
}

fn shipped(name: &str) -> Result<String> {
    let path = workspace().join("deploy/prometheus").join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", shown(&path)))
}

/// The same rules with every window, and every time for which something has to last, so many times shorter. Names,
/// labels and thresholds stay.
pub fn shortened(rules: &str, times: u32) -> String {
    let mut short = String::with_capacity(rules.len());
    for line in rules.split_inclusive('\n') {
        match line.trim_start().strip_prefix("for: ").and_then(|rest| duration(rest.trim_end())) {
            Some(lasting) => {
                let (before, _) = line.split_once("for: ").unwrap_or_default();
                short += &[before, "for: ", &written(lasting / times), "\n"].concat();
            }
            None => short += &windows(line, times),
        }
    }
    short
}

/// `[5m]` and `[1h:1m]` in an expression.
fn windows(line: &str, times: u32) -> String {
    let mut short = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        short += before;
        let parts = after.split_once(']').and_then(|(window, behind)| {
            let parts = window.split(':').map(duration).collect::<Option<Vec<_>>>()?;
            Some((parts, behind))
        });
        short.push('[');
        rest = after;
        if let Some((parts, behind)) = parts {
            let parts: Vec<_> = parts.into_iter().map(|part| written(part / times)).collect();
            short += &parts.join(":");
            short.push(']');
            rest = behind;
        }
    }
    short + rest
}

/// As Prometheus writes one: a number and one unit.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|it: char| !it.is_ascii_digit())?;
    let number: u64 = text[..unit].parse().ok()?;
    let seconds = match &text[unit..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number * seconds))
}

fn written(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_times_are_shortened_and_nothing_else() {
        let rules = "\
- record: a:b:rate5m
  expr: rate(a{b=\"[c]\"}[5m]) / max_over_time(sum(a)[1h:1m]) > 14.4 * 0.001
  for: 2m
  labels: { long: 1h, short: 5m }
  annotations: { summary: \"for: 5m and 1h\" }
";
        let wanted = "\
- record: a:b:rate5m
  expr: rate(a{b=\"[c]\"}[5000ms]) / max_over_time(sum(a)[60000ms:1000ms]) > 14.4 * 0.001
  for: 2000ms
  labels: { long: 1h, short: 5m }
  annotations: { summary: \"for: 5m and 1h\" }
";
        assert_eq!(shortened(rules, 60), wanted);
    }

    #[test]
    fn all_that_is_shipped_is_found_and_shortened() {
        for (name, rules) in shipped_rules().unwrap() {
            let short = shortened(&rules, 60);
            let count = |text: &str, what: &str| text.matches(what).count();
            assert!(count(&rules, "- alert: ") > 5, "{name}");
            for left in ["m]", "h]", "d]"] {
                assert!(count(&rules, left) == 0 || count(&short, left) == 0, "{name}: {left}");
            }
            assert_eq!(count(&short, "for: "), count(&rules, "for: "));
            assert_eq!(count(&short, "ms\n"), count(&rules, "    for: "), "{name}");
        }
        assert!(shipped_alertmanager().unwrap().contains("inhibit_rules:"));
    }
}

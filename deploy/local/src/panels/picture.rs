//! All panels of a run in one picture, as SVG.

use std::fmt::Write;

use super::{Shown, Span};
use crate::prometheus::Course;

const COLUMNS: usize = 5;
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 190.0;
/// Around a panel, and around its curves.
const MARGIN: f64 = 8.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 48.0;
const HEADING: f64 = 40.0;
/// Lines that a legend has room for.
const LEGENDS: usize = 6;
/// Letters of a line's name.
const LETTERS: usize = 23;
const COLOURS: [&str; 8] =
    ["#2563a8", "#c2571a", "#2c7a3f", "#8a3ba6", "#b3261e", "#0e7c86", "#8a6d1a", "#5b6470"];

/// Small multiples, dashboard by dashboard.
pub(super) fn picture(title: &str, panels: &[Shown], span: &Span) -> String {
    let mut body = String::new();
    let mut top = HEADING;
    for of_one in panels.chunk_by(|one, other| one.panel.dashboard == other.panel.dashboard) {
        let Some(first) = of_one.first() else { continue };
        let name = escaped(&first.panel.dashboard);
        put(
            &mut body,
            format_args!(
                r#"<text x="{MARGIN}" y="{}" font-size="18" font-weight="bold">{name}</text>"#,
                top + 24.0
            ),
        );
        top += HEADING;
        for row in of_one.chunks(COLUMNS) {
            let mut left = 0.0;
            for shown in row {
                panel(&mut body, shown, (left, top), span);
                left += WIDTH;
            }
            top += HEIGHT;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful of columns")]
    let width = WIDTH * COLUMNS as f64;
    let seconds = span.to - span.from;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" font-family="system-ui, sans-serif" font-size="10" fill="#222">
<rect width="{width}" height="{top}" fill="#f4f4f2"/>
<text x="{MARGIN}" y="26" font-size="20">{}, {seconds:.0} s</text>
{body}</svg>
"##,
        escaped(title)
    )
}

fn panel(body: &mut String, shown: &Shown, (left, top): (f64, f64), span: &Span) {
    let title = escaped(&shown.panel.title);
    put(body, format_args!(r#"<g transform="translate({left:.0} {top:.0})">"#));
    put(
        body,
        format_args!(
            r#"<rect x="4" y="4" width="{}" height="{}" rx="4" fill="white"/>"#,
            WIDTH - 8.0,
            HEIGHT - 8.0
        ),
    );
    put(body, format_args!(r#"<text x="{}" y="20" font-size="12">{title}</text>"#, 2.0 * MARGIN));
    if shown.has_data() {
        curves(body, shown, span);
    } else {
        let (words, colour) = match &shown.panel.empty {
            Some(words) => (escaped(words), "#2c7a3f"),
            None => ("no data".to_owned(), "#b3261e"),
        };
        put(
            body,
            format_args!(
                r#"<text x="{}" y="{}" text-anchor="middle" fill="{colour}">{words}</text>"#,
                WIDTH / 2.0,
                HEIGHT / 2.0
            ),
        );
    }
    put(body, format_args!("</g>"));
}

fn curves(body: &mut String, shown: &Shown, span: &Span) {
    let most = most(shown);
    let (left, right) = (2.0 * MARGIN, WIDTH - 2.0 * MARGIN);
    let (top, bottom) = (TOP, HEIGHT - BOTTOM);
    let x = |at: f64| left + (right - left) * ((at - span.from) / (span.to - span.from).max(1.0));
    let y = |value: f64| bottom - (bottom - top) * if most > 0.0 { value / most } else { 0.0 };
    put(
        body,
        format_args!(
            r##"<path d="M{left} {top}H{right}M{left} {bottom}H{right}" stroke="#ddd" fill="none"/>"##
        ),
    );
    put(
        body,
        format_args!(
            r##"<text x="{right}" y="{}" text-anchor="end" fill="#777">{}</text>"##,
            top - 3.0,
            readable(most, &shown.panel.unit)
        ),
    );
    for (number, (legend, course)) in shown.lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let path = path_of(course, span, &x, &y);
        put(
            body,
            format_args!(
                r#"<path d="{path}" stroke="{colour}" stroke-width="1.3" fill="none" stroke-linecap="round"/>"#
            ),
        );
        if number < LEGENDS {
            legend_of(body, number, legend, colour);
        }
    }
    if let Some(more) = shown.lines.len().checked_sub(LEGENDS).filter(|more| *more > 0) {
        put(
            body,
            format_args!(
                r##"<text x="{right}" y="{}" text-anchor="end" fill="#777">and {more} more</text>"##,
                top + 2.0 * MARGIN
            ),
        );
    }
}

/// A line from point to point, which ends where there is none: Prometheus leaves out what it does not know.
fn path_of(course: &Course, span: &Span, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut last = f64::NEG_INFINITY;
    for (at, value) in course.points.iter().filter(|(_, value)| value.is_finite()) {
        let goes_on = at - last < 1.5 * span.step.as_secs_f64();
        // Nothing at the beginning of a line, so that one point shows too.
        let (command, end) = if goes_on { ('L', "") } else { ('M', "h0") };
        let _ = write!(path, "{command}{:.1} {:.1}{end}", x(*at), y(*value));
        last = *at;
    }
    path
}

/// Three rows of two.
fn legend_of(body: &mut String, number: usize, legend: &str, colour: &str) {
    let (row, column) = (number / 2, number % 2);
    #[expect(clippy::cast_precision_loss, reason = "a few rows and columns")]
    let (x, y) = (
        2.0 * MARGIN + column as f64 * (WIDTH / 2.0 - MARGIN),
        HEIGHT - BOTTOM + 13.0 + row as f64 * 12.0,
    );
    let mut short: String = legend.chars().take(LETTERS).collect();
    if short.len() < legend.len() {
        short.push('…');
    }
    put(body, format_args!(r#"<text x="{x}" y="{y}" fill="{colour}">{}</text>"#, escaped(&short)));
}

/// The highest value.
fn most(shown: &Shown) -> f64 {
    let values = shown.lines.iter().flat_map(|(_, course)| &course.points).map(|point| point.1);
    values.filter(|value| value.is_finite()).fold(0.0, f64::max)
}

/// A number as people say it, in Grafana's unit.
fn readable(value: f64, unit: &str) -> String {
    let scaled = |steps: &[(f64, &str)], value: f64| {
        let step = steps.iter().find(|(size, _)| value.abs() >= *size).or(steps.last());
        let (size, word) = step.copied().unwrap_or((1.0, ""));
        let number = value / size;
        let digits = if number >= 100.0 {
            0
        } else if number >= 10.0 {
            1
        } else {
            2
        };
        format!("{number:.digits$}{word}")
    };
    match unit {
        "s" => scaled(&[(1.0, " s"), (1e-3, " ms"), (1e-6, " µs")], value),
        "bytes" => scaled(&[(1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1.0, " B")], value),
        "Bps" => scaled(&[(1e9, " GB/s"), (1e6, " MB/s"), (1e3, " kB/s"), (1.0, " B/s")], value),
        "percentunit" => format!("{:.1} %", value * 100.0),
        "cps" | "reqps" => scaled(&[(1e6, " M/s"), (1e3, " k/s"), (1.0, " /s")], value),
        _ => scaled(&[(1e6, " M"), (1e3, " k"), (1.0, "")], value),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn put(body: &mut String, line: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = writeln!(body, "{line}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_ends_where_points_are_missing() {
        let step = Duration::from_secs(2);
        let span = Span { from: 0.0, to: 20.0, step, rate: step };
        let points = vec![(0.0, 1.0), (2.0, 2.0), (8.0, 3.0), (10.0, f64::NAN), (12.0, 4.0)];
        let course = Course { labels: std::collections::BTreeMap::new(), points };
        let path = path_of(&course, &span, &|at| at, &|value| value);
        assert_eq!(path, "M0.0 1.0h0L2.0 2.0M8.0 3.0h0M12.0 4.0h0");
    }

    #[test]
    fn numbers_are_said_with_their_unit() {
        assert_eq!(readable(0.0123, "s"), "12.3 ms");
        assert_eq!(readable(2_500_000.0, "bytes"), "2.50 MB");
        assert_eq!(readable(0.5, "percentunit"), "50.0 %");
        assert_eq!(readable(1_234.0, "cps"), "1.23 k/s");
        assert_eq!(readable(3.0, "short"), "3.00");
        assert_eq!(readable(0.25, "short"), "0.25");
    }
}

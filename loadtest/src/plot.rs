//! How something grows, as a small picture: sizes across on a logarithmic scale, costs up from zero.

use std::fmt::{Arguments, Write as _};

use crate::report::Range;

/// Wide enough for a page of text, and small enough to be one of several.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 82.0;
const BOTTOM: f64 = HEIGHT - 46.0;
/// What a letter of a legend takes, about.
const LETTER: f64 = 6.4;
/// Intervals between horizontal lines, at most.
const INTERVALS: f64 = 5.0;
const COLOURS: [&str; 5] = ["#2563a8", "#c2571a", "#2c7a3f", "#8a3ba6", "#5b6470"];

/// What a picture shows.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    /// What grows.
    pub(crate) across: &'static str,
    /// What that costs, with its unit.
    pub(crate) up: &'static str,
    pub(crate) lines: Vec<Line>,
    /// What a cost may be at most, and which.
    pub(crate) bar: Option<(f64, &'static str)>,
}

/// One cost.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// Sizes, the smallest first, and what was measured at each.
    pub(crate) points: Vec<(u32, Range)>,
}

impl Plot {
    /// As a whole file.
    pub(crate) fn svg(&self) -> String {
        let scale = Scale::of(self);
        let mut body = String::new();
        self.frame(&mut body, &scale);
        let mut legend = LEFT;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            line.draw(&mut body, &scale, colour);
            put(
                &mut body,
                format_args!(
                    r#"<path d="M{legend:.0} 58h18" stroke="{colour}" stroke-width="2.5"/><text x="{:.0}" y="62">{}</text>"#,
                    legend + 24.0,
                    escaped(line.name)
                ),
            );
            legend += 24.0 + width(line.name) + 18.0;
        }
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="12" fill="#222">
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>
<text x="16" y="24" font-size="15">{}</text>
<text x="16" y="42" fill="#666">{}</text>
{body}</svg>
"##,
            escaped(self.title),
            escaped(self.up),
        )
    }

    /// Axes, their numbers, and the bar.
    fn frame(&self, body: &mut String, scale: &Scale) {
        let mut value = 0.0;
        while value < scale.most + scale.step / 2.0 {
            let y = scale.y(value);
            put(
                body,
                format_args!(
                    r##"<path d="M{LEFT} {y:.1}H{RIGHT}" stroke="#ddd"/><text x="{:.0}" y="{:.1}" text-anchor="end" fill="#666">{value:.*}</text>"##,
                    LEFT - 8.0,
                    y + 4.0,
                    scale.decimals,
                ),
            );
            value += scale.step;
        }
        for size in &scale.sizes {
            let x = scale.x(*size);
            put(
                body,
                format_args!(
                    r##"<path d="M{x:.1} {BOTTOM}v5" stroke="#999"/><text x="{x:.1}" y="{}" text-anchor="middle" fill="#666">{}</text>"##,
                    BOTTOM + 18.0,
                    thousands(*size)
                ),
            );
        }
        put(
            body,
            format_args!(
                r#"<text x="{}" y="{}" text-anchor="middle">{}</text>"#,
                f64::midpoint(LEFT, RIGHT),
                HEIGHT - 8.0,
                escaped(self.across)
            ),
        );
        if let Some((bar, says)) = self.bar {
            let y = scale.y(bar);
            put(
                body,
                format_args!(
                    r##"<path d="M{LEFT} {y:.1}H{RIGHT}" stroke="#b3261e" stroke-dasharray="5 4"/><text x="{}" y="{:.1}" fill="#b3261e">{}</text>"##,
                    LEFT + 6.0,
                    y - 5.0,
                    escaped(says)
                ),
            );
        }
    }
}

impl Line {
    /// From middle to middle, and at each how far its values lie apart.
    fn draw(&self, body: &mut String, scale: &Scale, colour: &str) {
        let mut path = String::new();
        let mut marks = String::new();
        for (size, Range { median, min, max }) in &self.points {
            let (x, y) = (scale.x(*size), scale.y(*median));
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{x:.1} {y:.1}");
            let _ = write!(marks, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3"/>"#);
            if max > min {
                let (low, high) = (scale.y(*min), scale.y(*max));
                let _ = write!(
                    marks,
                    r#"<path d="M{x:.1} {low:.1}V{high:.1}" stroke="{colour}" stroke-opacity="0.5"/>"#
                );
            }
        }
        put(
            body,
            format_args!(
                r#"<path d="{path}" stroke="{colour}" stroke-width="2" fill="none"/><g fill="{colour}">{marks}</g>"#
            ),
        );
    }
}

/// Where what stands.
#[derive(Debug)]
struct Scale {
    /// All that were measured.
    sizes: Vec<u32>,
    /// The value at the top.
    most: f64,
    /// Between two horizontal lines.
    step: f64,
    decimals: usize,
}

impl Scale {
    fn of(plot: &Plot) -> Self {
        let points = || plot.lines.iter().flat_map(|line| &line.points);
        let mut sizes: Vec<_> = points().map(|(size, _)| *size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let most = points()
            .map(|(_, range)| range.max)
            .chain(plot.bar.map(|(bar, _)| bar))
            .fold(0.0, f64::max);
        let (step, decimals) = step(most);
        Self { sizes, most: (most / step).ceil().max(1.0) * step, step, decimals }
    }

    fn x(&self, size: u32) -> f64 {
        let at = |size: &u32| f64::from((*size).max(1)).log10();
        let (first, last) = (self.sizes.first().map_or(0.0, at), self.sizes.last().map_or(0.0, at));
        // Room on both sides for what is written below the first and the last.
        let (left, right) = (LEFT + 24.0, RIGHT - 24.0);
        if last > first {
            left + (right - left) * (at(&size) - first) / (last - first)
        } else {
            f64::midpoint(left, right)
        }
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * value / self.most
    }
}

/// A round step of 1, 2 or 5 for values up to this one, and its decimals.
fn step(most: f64) -> (f64, usize) {
    let wanted = if most > 0.0 { most / INTERVALS } else { 1.0 };
    let mut power = 0;
    while 10_f64.powi(power) > wanted {
        power -= 1;
    }
    while 10_f64.powi(power + 1) <= wanted {
        power += 1;
    }
    let unit = 10_f64.powi(power);
    let step = [1.0, 2.0, 5.0, 10.0].map(|it| it * unit).into_iter().find(|it| *it >= wanted);
    let step = step.unwrap_or(10.0 * unit);
    let decimals = if step < 1.0 { power.unsigned_abs() as usize } else { 0 };
    (step, decimals)
}

/// `12,345`
pub(crate) fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "a few letters")]
fn width(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn put(body: &mut String, line: Arguments<'_>) {
    // A String takes everything.
    let _ = writeln!(body, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(median: f64) -> Range {
        Range { median, min: median - 1.0, max: median + 1.0 }
    }

    fn plot(bar: Option<(f64, &'static str)>) -> Plot {
        let line = Line { name: "api & all", points: vec![(1, range(10.0)), (100, range(49.0))] };
        Plot { title: "T", across: "x", up: "µs", lines: vec![line], bar }
    }

    #[test]
    fn steps_are_round() {
        for (most, wanted, decimals) in
            [(50.0, 10.0, 0), (51.0, 20.0, 0), (0.11, 0.05, 2), (7.0, 2.0, 0), (3000.0, 1000.0, 0)]
        {
            let (step, said) = step(most);
            assert!((step - wanted).abs() < 1e-9, "{most}: {step}");
            assert_eq!(said, decimals, "{most}");
        }
    }

    #[test]
    fn tenfold_sizes_stand_equally_far_apart() {
        let line = Line { name: "", points: [1, 10, 100].map(|it| (it, range(5.0))).to_vec() };
        let scale = Scale::of(&Plot { lines: vec![line], ..plot(None) });
        let [one, ten, hundred] = [1, 10, 100].map(|it| scale.x(it));
        assert!((hundred - ten - (ten - one)).abs() < 1e-9 && ten > one);
    }

    #[test]
    fn the_highest_value_and_the_bar_fit_in() {
        for (bar, top) in [(None, 50.0), (Some((180.0, "")), 200.0)] {
            let scale = Scale::of(&plot(bar));
            assert!((scale.most - top).abs() < 1e-9, "{}", scale.most);
            assert!((scale.y(0.0) - BOTTOM).abs() < 1e-9 && (scale.y(top) - TOP).abs() < 1e-9);
        }
    }

    #[test]
    fn a_picture_names_what_it_shows() {
        let svg = plot(Some((20.0, "the bar"))).svg();
        for part in
            [">T</text>", ">µs</text>", ">api &amp; all</text>", ">the bar</text>", "</svg>"]
        {
            assert!(svg.contains(part), "{part}");
        }
        assert!(svg.contains(&format!(">{}</text>", thousands(100))));
    }

    #[test]
    fn thousands_are_parted() {
        let said = [7, 999, 1_000, 20_000, 1_234_567].map(thousands);
        assert_eq!(said, ["7", "999", "1,000", "20,000", "1,234,567"]);
    }
}

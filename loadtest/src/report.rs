//! Numbers of rounds, as a table for people and as JSON for programs.

use parley_local::say;
use serde_json::{Map, Value, json};

/// What a scenario ends with.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Whether every bar is met.
    pub(crate) met: bool,
    /// All numbers, for programs.
    pub(crate) json: Value,
}

impl Outcome {
    /// Says the numbers as the last line, if they are wanted there; whether every bar is met.
    pub(crate) fn end(&self, wanted: bool) -> bool {
        if wanted {
            say::line(&self.json);
        }
        self.met
    }
}

/// One thing that a round measures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// Its name in JSON.
    pub(crate) key: &'static str,
    /// Its name in the table.
    pub(crate) title: &'static str,
    pub(crate) decimals: usize,
}

/// A side, with what each of its rounds measured.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) name: &'static str,
    /// For each round a value for each measure, `None` where it has no meaning.
    pub(crate) rounds: Vec<Vec<Option<f64>>>,
}

/// The middle of some values, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Range {
    /// `None` without values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[half]
        } else {
            f64::midpoint(sorted[half - 1], sorted[half])
        };
        Some(Self { median, min, max })
    }

    /// `median (min–max)`
    pub(crate) fn shown(&self, decimals: usize) -> String {
        let Self { median, min, max } = self;
        format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
    }

    fn json(&self) -> Value {
        json!({ "median": rounded(self.median), "min": rounded(self.min), "max": rounded(self.max) })
    }
}

/// More digits than any measurement has would only look exact.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Side {
    /// What the rounds say of the measure at this place.
    pub(crate) fn range(&self, measure: usize) -> Option<Range> {
        Range::of(self.column(measure))
    }

    fn column(&self, measure: usize) -> Vec<f64> {
        self.rounds.iter().filter_map(|round| round.get(measure).copied().flatten()).collect()
    }

    /// This side against another, round by round: neighbours in time had the same machine.
    pub(crate) fn against(&self, other: &Self, measure: usize) -> Option<Range> {
        let pairs = self.column(measure).into_iter().zip(other.column(measure));
        Range::of(pairs.filter(|(_, theirs)| *theirs > 0.0).map(|(ours, theirs)| ours / theirs))
    }
}

/// A Markdown table, measures by sides, that reads well as plain text too.
pub(crate) fn table(measures: &[Measure], sides: &[Side]) -> String {
    let mut lines = vec![vec![String::new()]];
    lines[0].extend(sides.iter().map(|side| side.name.to_owned()));
    for (place, measure) in measures.iter().enumerate() {
        let cells = sides.iter().map(|side| {
            side.range(place).map_or_else(|| "–".to_owned(), |it| it.shown(measure.decimals))
        });
        lines.push(std::iter::once(measure.title.to_owned()).chain(cells).collect());
    }
    let widths: Vec<usize> = (0..=sides.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
    lines.insert(1, rule);
    lines.iter().map(|line| row(line, &widths)).collect::<Vec<_>>().join("\n")
}

fn row(cells: &[String], widths: &[usize]) -> String {
    let cells = cells.iter().zip(widths).map(|(cell, width)| format!(" {cell:<width$} "));
    format!("|{}|", cells.collect::<Vec<_>>().join("|"))
}

/// One object for each side.
pub(crate) fn rows(measures: &[Measure], sides: &[Side]) -> Vec<Value> {
    let row = |side: &Side| {
        let mut row = Map::new();
        row.insert("name".to_owned(), side.name.into());
        for (place, measure) in measures.iter().enumerate() {
            let value = side.range(place).map_or(Value::Null, |range| range.json());
            row.insert(measure.key.to_owned(), value);
        }
        Value::Object(row)
    };
    sides.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURES: [Measure; 2] = [
        Measure { key: "rate", title: "sends/s", decimals: 0 },
        Measure { key: "api_us", title: "api, µs", decimals: 1 },
    ];

    fn sides() -> [Side; 2] {
        let ours = [(300.0, 10.0), (100.0, 12.0), (200.0, 11.0)];
        [
            Side { name: "Parley", rounds: ours.map(|it| vec![Some(it.0), Some(it.1)]).to_vec() },
            Side { name: "pgbench", rounds: [400.0; 3].map(|it| vec![Some(it), None]).to_vec() },
        ]
    }

    #[test]
    fn a_range_has_a_middle() {
        let range = |values: &[f64]| Range::of(values.iter().copied());
        assert_eq!(range(&[3.0, 1.0, 2.0]), Some(Range { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(range(&[4.0, 1.0]), Some(Range { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(range(&[]), None);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let [ours, theirs] = sides();
        let ratio = ours.against(&theirs, 0).unwrap();
        assert_eq!(ratio.shown(2), "0.50 (0.25–0.75)");
        assert_eq!(ours.against(&theirs, 1), None);
    }

    #[test]
    fn the_table_is_markdown() {
        let expected = "\
|         | Parley           | pgbench       |
| ------- | ---------------- | ------------- |
| sends/s | 200 (100–300)    | 400 (400–400) |
| api, µs | 11.0 (10.0–12.0) | –             |";
        assert_eq!(table(&MEASURES, &sides()), expected);
    }

    #[test]
    fn rows_are_objects() {
        let rows = rows(&MEASURES, &sides());
        assert_eq!(rows[0]["name"], "Parley");
        assert_eq!(rows[0]["rate"]["median"], 200.0);
        assert_eq!(rows[1]["api_us"], Value::Null);
    }
}

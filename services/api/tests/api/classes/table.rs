//! deploy/SECURITY-TESTS.md names a test for each class, and every test of a class is named there; what deploy/THREATS.md claims
//! has its tests too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How many classes there are.
const CLASSES: usize = 38;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A test as the page names it, and the file to which it links.
type Named = (String, PathBuf);

fn page(name: &str) -> String {
    std::fs::read_to_string(workspace().join("deploy").join(name)).unwrap()
}

/// The tests that a text of a page in `deploy` links to.
fn named(text: &str) -> Vec<Named> {
    let links = text.split("[`").skip(1).map(|link| {
        let (name, rest) = link.split_once("`](").unwrap_or_else(|| panic!("no link: {link}"));
        let path = workspace().join("deploy").join(rest.split(')').next().unwrap());
        let path =
            path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (name.to_owned(), path)
    });
    links.collect()
}

fn are_run(tests: &[Named]) {
    for (name, file) in tests {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(tests_of(&text).contains(name), "{} has no test {name}", file.display());
    }
}

/// What the page says of each class, by its number.
fn rows() -> BTreeMap<usize, Vec<Named>> {
    let page = page("SECURITY-TESTS.md");
    let mut rows = BTreeMap::new();
    for line in page.lines() {
        let Some(row) = line.strip_prefix("| ") else { continue };
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let Ok(number) = cells[0].parse::<usize>() else { continue };
        assert_eq!(cells.len(), 4, "{line}");
        assert!(cells.iter().all(|cell| !cell.trim().is_empty()), "{line}");
        assert!(rows.insert(number, named(cells[3])).is_none(), "{number} has two rows");
    }
    rows
}

/// The functions of a file that are run as tests.
fn tests_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if line.starts_with("#[ignore") {
            is_test = false;
        } else if let Some((_, name)) = line.split_once("fn ") {
            if is_test {
                found.push(name.split(['(', '<']).next().unwrap().to_owned());
            }
            is_test = false;
        }
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        match path.extension().and_then(|ending| ending.to_str()) {
            _ if path.ends_with("node_modules") => {}
            _ if path.is_dir() => sources(&path, found),
            Some("rs") => found.push(path),
            _ => {}
        }
    }
}

/// The number in the name of a test of a class.
fn class_of(name: &str) -> Option<usize> {
    name.strip_prefix("class_")?.split('_').next()?.parse().ok()
}

#[test]
fn every_class_has_its_row_and_every_test_that_a_row_names_is_run() {
    let rows = rows();
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (1..=CLASSES).collect::<Vec<_>>());
    for (number, tests) in &rows {
        let own = tests.iter().filter(|(name, _)| class_of(name) == Some(*number));
        assert!(own.count() > 0, "class {number} has no test of its own");
        are_run(tests);
    }
}

#[test]
fn every_test_of_a_class_is_named_in_its_row() {
    let rows = rows();
    let mut files = Vec::new();
    for folder in ["services", "deploy", "loadtest"] {
        sources(&workspace().join(folder), &mut files);
    }
    assert!(files.len() > 300, "{} files", files.len());
    let mut classes = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for name in tests_of(&text) {
            let Some(number) = class_of(&name) else { continue };
            classes.insert(number);
            let named = (name.clone(), file.canonicalize().unwrap());
            let row = rows.get(&number).unwrap_or_else(|| panic!("{name}: no class {number}"));
            assert!(row.contains(&named), "{name} of {} is in no row", file.display());
        }
    }
    assert_eq!(classes.len(), CLASSES);
}

#[test]
fn every_test_that_the_threats_name_is_run() {
    let tests = named(&page("THREATS.md"));
    assert!(tests.len() > 30, "{} tests", tests.len());
    are_run(&tests);
}

//! The receiver that the README shows is the one that a test of the launcher lets hear a cluster.

#[test]
fn the_readme_shows_the_receiver_that_is_tested() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let read = |path: &str| std::fs::read_to_string(format!("{folder}/{path}")).unwrap();
    let (readme, receiver) =
        (read("README.md"), read("../../deploy/local/tests/clients/receiver.mjs"));
    assert!(
        readme.contains(&format!("<!-- receiver -->\n```js\n{receiver}```\n<!-- /receiver -->")),
        "README.md shows another receiver than deploy/local/tests/clients/receiver.mjs"
    );
}

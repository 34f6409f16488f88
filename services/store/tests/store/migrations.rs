use futures_util::future::join_all;
use parley_local::testing;
use parley_store::{Store, StoreError};

use crate::fixture::{World, settings};

#[tokio::test]
async fn pods_that_migrate_at_once_wait_for_each_other() {
    let database = testing::fresh_database(&testing::database_url());
    let settings = settings(&database);
    for outcome in join_all((0..4).map(|_| parley_store::migrate(&settings))).await {
        outcome.unwrap();
    }
    Store::connect(&settings).await.unwrap().check_schema().await.unwrap();
}

#[tokio::test]
async fn a_pod_notices_a_database_that_lacks_its_schema() {
    let database = testing::fresh_database(&testing::database_url());
    let store = Store::connect(&settings(&database)).await.unwrap();
    assert!(matches!(store.check_schema().await, Err(StoreError::Schema(_))));
}

#[tokio::test]
async fn another_database_is_another_history() {
    let (one, other) = (World::new().await, World::new().await);
    let again = Store::connect(&one.settings).await.unwrap();
    assert_eq!(one.store.epoch(), again.epoch());
    assert_ne!(one.store.epoch(), other.store.epoch());
}

#[tokio::test]
async fn a_dead_database_is_told_as_such() {
    // Nothing listens on port 1.
    let Err(error) = Store::connect(&settings("postgres://parley@127.0.0.1:1/parley")).await else {
        panic!("connected to nothing");
    };
    assert!(matches!(error, StoreError::Unavailable(_)));
    assert!(error.to_string().contains("refused"), "{error}");
}

use chrono::{TimeDelta, Utc};
use parley_domain::mute::Mute;
use parley_domain::preferences::{Preferences, QuietHours};
use sqlx::Row;

use crate::fixture::{World, user};

#[tokio::test]
async fn preferences_are_kept_as_they_were_said_and_default_to_nothing_quiet() {
    let world = World::with(&["alice", "bob"]).await;
    let of = async |who: &str| world.store.preferences(&user(who)).await.unwrap();
    let quiet = Preferences {
        quiet_hours: Some(QuietHours::parse("22:00", "00:00", "Pacific/Apia").unwrap()),
        notification_previews: false,
    };
    for wanted in [quiet.clone(), Preferences::default(), quiet] {
        world.store.put_preferences(&user("alice"), &wanted).await.unwrap();
        assert_eq!((of("alice").await, of("bob").await), (wanted, Preferences::default()));
    }
    world.store.anonymise_user(&user("alice")).await.unwrap();
    assert_eq!(of("alice").await, Preferences::default());
    let rows = "select from user_preferences";
    assert!(
        sqlx::query(rows).fetch_optional(&mut world.connection().await).await.unwrap().is_none()
    );
}

#[tokio::test]
async fn i8_a_mute_writes_one_row_in_place_and_takes_no_version() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with the database's clock, which is this machine's"
    )]
    let now = Utc::now();
    // In no index: a column that is in one would be written to all of them, at every mute and at every read.
    let indexed = "select exists (select from pg_index i join pg_attribute a on a.attrelid = i.indrelid
        and a.attnum = any(i.indkey) where i.indrelid = 'participants'::regclass and a.attname = 'muted_until')";
    let indexed = sqlx::query(indexed).fetch_one(&mut world.connection().await).await.unwrap();
    assert!(!indexed.get::<bool, _>(0));
    let hour = Mute::Until(now + TimeDelta::hours(1));
    for (mute, muted) in [(Mute::ForGood, true), (hour, true), (Mute::Off, false)] {
        assert!(world.store.mute(chat, &user("alice"), mute).await.unwrap());
        let shown = world.store.chat(chat, &user("alice")).await.unwrap().unwrap();
        assert_eq!((shown.muted, shown.version.0), (muted, 0));
        assert_eq!(shown.muted_until.is_some(), mute == hour);
        assert!(!world.store.chat(chat, &user("bob")).await.unwrap().unwrap().muted);
    }
    // One that is over is none, without anybody's writing it.
    let over = Mute::Until(now - TimeDelta::seconds(1));
    world.store.mute(chat, &user("alice"), over).await.unwrap();
    let shown = world.store.chat(chat, &user("alice")).await.unwrap().unwrap();
    assert_eq!((shown.muted, shown.muted_until), (false, None));
    assert!(!world.store.mute(chat, &user("carol"), Mute::ForGood).await.unwrap());
}

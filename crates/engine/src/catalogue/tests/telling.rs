//! What two processes tell one channel, and what a verification leaves to be told.

use coffre_model::backup::BackupState;
use coffre_model::channel::{Channel, ChannelSettings, Wants};
use coffre_model::notice::{Level, Told};
use coffre_model::{Code, Error};

use super::super::Fresh;
use super::*;

fn listening(world: &World) -> Channel {
    let channel = Channel {
        id: Id::new(),
        name: "hook".into(),
        settings: ChannelSettings::Webhook {
            url: "https://example.org".into(),
            ca_file: None,
        },
        language: "en".into(),
        time_zone: "UTC".into(),
        wants: Wants::default(),
        plan_ids: Vec::new(),
        has_secret: false,
        paused_at: None,
        created_at: moment(0),
    };
    world.catalogue.add_channel(&channel).unwrap()
}

#[test]
fn a_look_from_before_says_nothing_although_its_turn_comes_later() {
    let world = World::new();
    let (c, channel) = (&world.catalogue, listening(&world));
    let bad = Told {
        level: Level::Bad,
        fact: "a run".into(),
        told_at: Some(moment(100)),
        reminders: 0,
    };
    let told = || Fresh {
        told: [("backup:x".to_owned(), bad.clone())].into(),
        ..Fresh::default()
    };
    c.listen(&channel.id, moment(100), moment(100), |_, _| Ok(told())).unwrap();
    // Read its clock and looked before that, and then waited to write: what it saw is out of date.
    for its_now in [98, 99, 100, 130] {
        let asked = c.listen(&channel.id, moment(98), moment(its_now), |_, _| {
            panic!("it must not decide on what it saw then")
        });
        assert_eq!(asked.unwrap(), 0);
    }
    // A clock that was an hour ahead when that was written silences nobody.
    let mut asked = false;
    c.listen(&channel.id, moment(-3_500), moment(-3_500), |_, listening| {
        asked = true;
        assert_eq!(listening.told.get("backup:x"), Some(&bad));
        Ok(Fresh::default())
    })
    .unwrap();
    assert!(asked);
}

#[test]
fn a_verification_leaves_something_only_where_one_failed() {
    let world = World::new();
    let c = &world.catalogue;
    let (first, second) = (
        world.finished(1, BackupState::Verified),
        world.finished(2, BackupState::Verified),
    );
    let (local, error) = (world.local.id, Error::new(Code::VerifyMismatch, "stored_size"));
    c.note_reading(&first.id, &local, moment(10), None).unwrap();
    assert_eq!(c.readings().unwrap(), []);
    c.note_reading(&first.id, &local, moment(20), Some(&error)).unwrap();
    c.note_reading(&second.id, &local, moment(20), Some(&error)).unwrap();
    c.note_reading(&first.id, &local, moment(30), None).unwrap();
    let known = |id| {
        let found = c.readings().unwrap();
        found
            .into_iter()
            .find(|(backup, ..)| *backup == id)
            .map(|(_, destination, reading)| (destination, reading.at, reading.error))
    };
    assert_eq!(known(first.id), Some((local, moment(30), None)));
    assert_eq!(known(second.id), Some((local, moment(20), Some(error.clone()))));
    // That it is good again is forgotten after a while, that it is not never.
    let later = moment(20 + 60 * 60 * 24 * 40);
    c.note_reading(&second.id, &world.remote.id, later, Some(&error)).unwrap();
    assert_eq!(known(first.id), None);
    assert_eq!(c.readings().unwrap().len(), 2);
}

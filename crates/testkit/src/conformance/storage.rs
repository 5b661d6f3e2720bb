//! What every `model::storage::Storage` must do.
//!
//! ```ignore
//! #[test]
//! fn conforms() {
//!     conformance::storage::check(|| {
//!         let folder = tempfile::tempdir().unwrap();          // a new, empty place
//!         move || open_local(folder.path())                   // opens it; may be called again, also from other threads
//!     });
//! }
//! ```

use std::io::{Read, Write};
use std::sync::Barrier;

use coffre_model::Code;
use coffre_model::storage::Storage;

use super::{Broken, Held, ask, assert_all, broken, ensure};

/// Opens one place; called more than once for the same place, as several processes would.
pub type Opener<'a> = dyn Fn() -> Box<dyn Storage> + Sync + 'a;

type Question = (&'static str, fn(&Opener) -> Held);

/// The obligations by name.
pub const OBLIGATIONS: &[Question] = &[
    ("what is committed comes back", what_is_committed_comes_back),
    ("an empty object is an object", an_empty_object_is_an_object),
    ("commit answers the length", commit_answers_the_length),
    ("nothing is visible before commit", nothing_is_visible_before_commit),
    ("dropping an upload removes it", dropping_an_upload_removes_it),
    ("an existing key is refused", an_existing_key_is_refused),
    (
        "two uploads of one key give one object",
        two_uploads_of_one_key_give_one_object,
    ),
    ("what is not there is NOT_FOUND", what_is_not_there_is_not_found),
    ("remove is idempotent", remove_is_idempotent),
    (
        "remove_partial is idempotent and spares what is finished",
        remove_partial_spares_what_is_finished,
    ),
    ("list is sorted and whole", list_is_sorted_and_whole),
    ("a prefix ends at a slash", a_prefix_ends_at_a_slash),
    ("list of an empty place is empty", list_of_an_empty_place_is_empty),
    ("keys that lead elsewhere are refused", keys_that_lead_elsewhere_are_refused),
    ("create_root is idempotent", create_root_is_idempotent),
    ("odd but legal keys", odd_but_legal_keys),
    ("a big object in uneven pieces", a_big_object_in_uneven_pieces),
    ("several readers of one object", several_readers_of_one_object),
    ("concurrent uploads of different keys", concurrent_uploads_of_different_keys),
    ("another opening sees everything", another_opening_sees_everything),
    ("replace makes and replaces", replace_makes_and_replaces),
    (
        "removing the last object leaves a usable place",
        removing_the_last_object_leaves_a_usable_place,
    ),
    ("stat agrees with list", stat_agrees_with_list),
    ("space is plausible", space_is_plausible),
    ("place is a description", place_is_a_description),
];

/// Asks everything, each question of a new place; panics with all that does not hold.
pub fn check<P, O>(new_place: P)
where
    P: Fn() -> O,
    O: Fn() -> Box<dyn Storage> + Sync,
{
    assert_all("the storage", &failures(new_place));
}

/// The same, answering the obligations that do not hold as `name: what is wrong`.
pub fn failures<P, O>(new_place: P) -> Vec<String>
where
    P: Fn() -> O,
    O: Fn() -> Box<dyn Storage> + Sync,
{
    let on_a_new_place = |(name, question): &Question| {
        let place = new_place();
        ask(name, || question(&place))
    };
    OBLIGATIONS.iter().filter_map(on_a_new_place).collect()
}

const KEY: &str = "shop-1a2b3c4d/2026/shop-1a2b3c4d_2026-02-05_21-13-02_BKP-20260205211302-IWD8.dump.zst";

fn put(storage: &dyn Storage, key: &str, content: &[u8]) -> Result<u64, Broken> {
    let mut upload = storage.begin(key)?;
    upload.write_all(content)?;
    upload.flush()?;
    Ok(upload.commit()?)
}

fn get(storage: &dyn Storage, key: &str) -> Result<Vec<u8>, Broken> {
    let mut content = Vec::new();
    storage.open(key)?.read_to_end(&mut content)?;
    Ok(content)
}

fn keys(storage: &dyn Storage, prefix: &str) -> Result<Vec<String>, Broken> {
    Ok(storage.list(prefix)?.into_iter().map(|stored| stored.key).collect())
}

fn expect_code<T>(what: &str, answer: coffre_model::Result<T>, code: Code) -> Held {
    match answer {
        Ok(_) => Err(broken(format!("{what} succeeded, {code} was expected"))),
        Err(error) if error.code() == code => Ok(()),
        Err(error) => Err(broken(format!("{what} answered {error}, {code} was expected"))),
    }
}

/// Bytes that do not repeat in any usual block size, so that a lost or doubled piece shows.
fn uneven(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        bytes.extend_from_slice(&(state >> 8).to_le_bytes()[..7]);
    }
    bytes.truncate(length);
    bytes
}

fn what_is_committed_comes_back(open: &Opener) -> Held {
    let storage = open();
    put(&*storage, KEY, b"content")?;
    ensure!(get(&*storage, KEY)? == b"content", "other bytes came back");
    let stored = storage
        .stat(KEY)?
        .ok_or_else(|| broken("stat says there is nothing".into()))?;
    ensure!(stored.key == KEY, "stat answers the key {}", stored.key);
    ensure!(stored.bytes == 7, "stat answers {} bytes, not 7", stored.bytes);
    ensure!(keys(&*storage, "")? == [KEY], "list answers {:?}", keys(&*storage, "")?);
    Ok(())
}

fn an_empty_object_is_an_object(open: &Opener) -> Held {
    let storage = open();
    ensure!(storage.begin("empty")?.commit()? == 0, "the length is not 0");
    ensure!(get(&*storage, "empty")?.is_empty(), "it is not empty");
    ensure!(storage.stat("empty")?.is_some_and(|s| s.bytes == 0), "stat does not see it");
    Ok(())
}

fn commit_answers_the_length(open: &Opener) -> Held {
    let storage = open();
    let mut upload = storage.begin(KEY)?;
    for piece in [1_usize, 4095, 4096, 70_001, 0, 3] {
        upload.write_all(&uneven(piece))?;
    }
    let length = upload.commit()?;
    ensure!(length == 78_196, "{length} is not 78196");
    Ok(())
}

fn nothing_is_visible_before_commit(open: &Opener) -> Held {
    let storage = open();
    let mut upload = storage.begin(KEY)?;
    upload.write_all(&uneven(300_000))?;
    upload.flush()?;
    for storage in [&storage, &open()] {
        ensure!(storage.stat(KEY)?.is_none(), "stat sees an unfinished object");
        ensure!(storage.list("")?.is_empty(), "list shows {:?}", keys(&**storage, "")?);
        expect_code("open", storage.open(KEY).map(drop), Code::NotFound)?;
    }
    upload.commit()?;
    ensure!(get(&*storage, KEY)? == uneven(300_000), "other bytes came back");
    Ok(())
}

fn dropping_an_upload_removes_it(open: &Opener) -> Held {
    let storage = open();
    let mut upload = storage.begin(KEY)?;
    upload.write_all(b"never to be seen")?;
    drop(upload);
    ensure!(storage.list("")?.is_empty(), "something is left");
    ensure!(!storage.remove_partial(KEY)?, "the unfinished object is still there");
    // The place is free for the next attempt.
    put(&*storage, KEY, b"seen")?;
    ensure!(get(&*storage, KEY)? == b"seen", "the next attempt has other bytes");
    Ok(())
}

fn an_existing_key_is_refused(open: &Opener) -> Held {
    let storage = open();
    put(&*storage, KEY, b"first")?;
    for storage in [&storage, &open()] {
        // At `begin`, or at `commit` where a storage can know no earlier.
        let again = storage.begin(KEY).and_then(|mut upload| {
            upload
                .write_all(b"second")
                .map_err(|error| coffre_model::Error::internal("write", error))?;
            upload.commit()
        });
        expect_code("a second upload", again, Code::Refused)?;
        ensure!(get(&**storage, KEY)? == b"first", "the first object was overwritten");
    }
    Ok(())
}

fn two_uploads_of_one_key_give_one_object(open: &Opener) -> Held {
    let storage = open();
    // Both may begin, or the second is refused at once; never may a mix or a silent replacement come out.
    let mut first = storage.begin(KEY)?;
    first.write_all(b"first")?;
    match open().begin(KEY) {
        Err(error) => ensure!(error.code() == Code::Refused, "the second begin answered {error}"),
        Ok(mut second) => {
            second.write_all(b"second, longer")?;
            first.write_all(b" goes on")?;
            let results = [first.commit(), second.commit()];
            let won = results.iter().filter(|result| result.is_ok()).count();
            ensure!(won == 1, "{won} of two uploads of one key succeeded");
            let content = get(&*storage, KEY)?;
            let expected: &[u8] = if results[0].is_ok() {
                b"first goes on"
            } else {
                b"second, longer"
            };
            ensure!(content == expected, "what came out is neither: {content:?}");
            return Ok(());
        }
    }
    first.commit()?;
    ensure!(get(&*storage, KEY)? == b"first", "other bytes came back");
    Ok(())
}

fn what_is_not_there_is_not_found(open: &Opener) -> Held {
    let storage = open();
    put(&*storage, "folder/one", b"1")?;
    for key in ["nothing", "folder", "folder/two", "folder/one/below", "other/one"] {
        expect_code(&format!("open {key}"), storage.open(key).map(drop), Code::NotFound)?;
        ensure!(storage.stat(key)?.is_none(), "stat sees {key}");
    }
    Ok(())
}

fn remove_is_idempotent(open: &Opener) -> Held {
    let storage = open();
    put(&*storage, KEY, b"x")?;
    put(&*storage, "other", b"y")?;
    ensure!(storage.remove(KEY)?, "the first remove answers that there was nothing");
    ensure!(!storage.remove(KEY)?, "the second remove answers that there was something");
    ensure!(!storage.remove("never/there")?, "remove saw what was never there");
    ensure!(storage.stat(KEY)?.is_none(), "it is still there");
    ensure!(keys(&*storage, "")? == ["other"], "another object went with it");
    Ok(())
}

fn remove_partial_spares_what_is_finished(open: &Opener) -> Held {
    let storage = open();
    ensure!(
        !storage.remove_partial(KEY)?,
        "there was nothing, and it answers that there was"
    );
    put(&*storage, KEY, b"finished")?;
    ensure!(
        !storage.remove_partial(KEY)?,
        "it takes a finished object for an unfinished one"
    );
    ensure!(get(&*storage, KEY)? == b"finished", "the finished object suffered");
    // As a killed process would leave it: begun, written, neither committed nor dropped.
    let mut abandoned = storage.begin("abandoned/one")?;
    abandoned.write_all(&uneven(100_000))?;
    abandoned.flush()?;
    std::mem::forget(abandoned);
    let storage = open();
    storage.remove_partial("abandoned/one")?;
    ensure!(!storage.remove_partial("abandoned/one")?, "what was removed is still there");
    ensure!(keys(&*storage, "")? == [KEY], "list answers {:?}", keys(&*storage, "")?);
    put(&*storage, "abandoned/one", b"anew")?;
    ensure!(get(&*storage, "abandoned/one")? == b"anew", "a new attempt has other bytes");
    Ok(())
}

fn list_is_sorted_and_whole(open: &Opener) -> Held {
    let storage = open();
    let mut wanted = Vec::new();
    // Bytes decide: `-` and `.` come before `/`, `_` after it, digits before capitals before small letters.
    for key in ["b/2", "b/10", "b-1/x", "b.1", "b_1/x", "a", "B", "b/1/1", "z/z/z/z", "0"] {
        put(&*storage, key, key.as_bytes())?;
        wanted.push(key.to_owned());
    }
    for number in 0..60 {
        let key = format!("many/{:03}/object-{number}", number * 7 % 60);
        put(&*storage, &key, b"m")?;
        wanted.push(key);
    }
    wanted.sort();
    let found = keys(&*storage, "")?;
    ensure!(found == wanted, "list answers {found:?}, not {wanted:?}");
    for stored in storage.list("")? {
        let expected = if stored.key.starts_with("many/") {
            1
        } else {
            stored.key.len() as u64
        };
        ensure!(
            stored.bytes == expected,
            "{} has {} bytes, not {expected}",
            stored.key,
            stored.bytes
        );
    }
    Ok(())
}

fn a_prefix_ends_at_a_slash(open: &Opener) -> Held {
    let storage = open();
    for key in [
        "shop/2025/a",
        "shop/2026/b",
        "shop/2026/c/d",
        "shop-2/2026/e",
        "shopping",
        "sho",
    ] {
        put(&*storage, key, b"x")?;
    }
    for (prefix, wanted) in [
        ("shop", vec!["shop/2025/a", "shop/2026/b", "shop/2026/c/d"]),
        ("shop/2026", vec!["shop/2026/b", "shop/2026/c/d"]),
        ("shop/2026/b", vec!["shop/2026/b"]),
        ("shop/20", vec![]),
        ("sh", vec![]),
        ("nothing", vec![]),
        ("shop/2026/b/x", vec![]),
    ] {
        let found = keys(&*storage, prefix)?;
        ensure!(found == wanted, "list({prefix:?}) answers {found:?}, not {wanted:?}");
    }
    Ok(())
}

fn list_of_an_empty_place_is_empty(open: &Opener) -> Held {
    let storage = open();
    ensure!(storage.list("")?.is_empty(), "an empty place has objects");
    ensure!(storage.list("shop")?.is_empty(), "an empty place has objects below a prefix");
    ensure!(!storage.remove(KEY)?, "an empty place had something to remove");
    Ok(())
}

fn keys_that_lead_elsewhere_are_refused(open: &Opener) -> Held {
    let storage = open();
    put(&*storage, "folder/one", b"1")?;
    for key in [
        "../one",
        "/etc/coffre",
        "folder/../../one",
        "folder/..",
        "..",
        ".",
        "folder//two",
        "folder/",
        "",
        "a\0b",
        "a\nb",
    ] {
        expect_code(
            &format!("begin {key:?}"),
            storage.begin(key).and_then(|mut upload| {
                upload
                    .write_all(b"x")
                    .map_err(|error| coffre_model::Error::internal("write", error))?;
                upload.commit()
            }),
            Code::Refused,
        )?;
        ensure!(storage.open(key).is_err(), "{key:?} can be opened");
        ensure!(!matches!(storage.stat(key), Ok(Some(_))), "stat sees {key:?}");
        ensure!(!matches!(storage.remove(key), Ok(true)), "{key:?} was removed");
    }
    ensure!(
        keys(&*storage, "")? == ["folder/one"],
        "list answers {:?}",
        keys(&*storage, "")?
    );
    Ok(())
}

fn create_root_is_idempotent(open: &Opener) -> Held {
    open().create_root()?;
    put(&*open(), KEY, b"x")?;
    open().create_root()?;
    ensure!(keys(&*open(), "")? == [KEY], "an object was lost");
    Ok(())
}

fn odd_but_legal_keys(open: &Opener) -> Held {
    let storage = open();
    let long = format!("{}/{}", "d".repeat(100), "f".repeat(200));
    let odd = [
        "-rf",
        "a b/c d",
        "a%2Fb",
        "a+b&c=d?e#f",
        "été/ñ-日本",
        "'quoted'\"too\"",
        "$(x)`y`;z",
        "dots.../two..dots",
        "~",
        "@{u}",
        &long,
    ];
    for key in odd {
        put(&*storage, key, key.as_bytes())?;
    }
    let mut wanted: Vec<String> = odd.iter().map(|key| (*key).to_owned()).collect();
    wanted.sort();
    let found = keys(&*storage, "")?;
    ensure!(found == wanted, "list answers {found:?}, not {wanted:?}");
    for key in odd {
        ensure!(get(&*storage, key)? == key.as_bytes(), "{key} has other bytes");
        ensure!(storage.remove(key)?, "{key} cannot be removed");
    }
    ensure!(storage.list("")?.is_empty(), "something is left");
    Ok(())
}

fn a_big_object_in_uneven_pieces(open: &Opener) -> Held {
    let storage = open();
    // Above 16 MiB: several parts, wherever a storage has parts.
    let content = uneven(17 * 1024 * 1024 + 13);
    let mut upload = storage.begin(KEY)?;
    let mut rest = &content[..];
    let mut size = 1;
    while !rest.is_empty() {
        let piece = size.min(rest.len());
        upload.write_all(&rest[..piece])?;
        rest = &rest[piece..];
        size = size * 3 % 1_000_003 + 1;
    }
    let length = upload.commit()?;
    ensure!(
        length == content.len() as u64,
        "commit answers {length}, not {}",
        content.len()
    );
    let mut reader = open().open(KEY)?;
    let mut at = 0;
    let mut buffer = vec![0; 100_003];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        ensure!(content.get(at..at + read) == Some(&buffer[..read]), "other bytes at {at}");
        at += read;
    }
    ensure!(at == content.len(), "{at} bytes came back, not {}", content.len());
    Ok(())
}

fn several_readers_of_one_object(open: &Opener) -> Held {
    let storage = open();
    put(&*storage, KEY, &uneven(50_000))?;
    let mut first = storage.open(KEY)?;
    let mut start = [0; 1000];
    first.read_exact(&mut start)?;
    ensure!(
        get(&*storage, KEY)? == uneven(50_000),
        "a second reader does not begin at the beginning"
    );
    let mut rest = Vec::new();
    first.read_to_end(&mut rest)?;
    ensure!(rest == uneven(50_000)[1000..], "the first reader was disturbed");
    Ok(())
}

fn concurrent_uploads_of_different_keys(open: &Opener) -> Held {
    let storage = open();
    let together = Barrier::new(6);
    let results: Vec<Held> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|number| {
                let (storage, together) = (&storage, &together);
                scope.spawn(move || -> Held {
                    together.wait();
                    for round in 0..5 {
                        // The same folder for all: making and removing folders must not get in each other's way.
                        let key = format!("shared/{round}/{number}");
                        put(&**storage, &key, &uneven(10_000 + number))?;
                        ensure!(get(&**storage, &key)? == uneven(10_000 + number), "{key} has other bytes");
                        if round % 2 == 1 {
                            ensure!(storage.remove(&key)?, "{key} was not there");
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread that uploads"))
            .collect()
    });
    for result in results {
        result?;
    }
    let found = keys(&*storage, "shared")?;
    ensure!(found.len() == 18, "{} objects are there, not 18: {found:?}", found.len());
    Ok(())
}

fn another_opening_sees_everything(open: &Opener) -> Held {
    let first = open();
    put(&*first, KEY, b"seen by all")?;
    let second = open();
    ensure!(get(&*second, KEY)? == b"seen by all", "another opening reads other bytes");
    ensure!(second.remove(KEY)?, "another opening cannot remove it");
    ensure!(
        first.stat(KEY)?.is_none(),
        "the first opening still sees what another removed"
    );
    expect_code("open", first.open(KEY).map(drop), Code::NotFound)
}

fn replace_makes_and_replaces(open: &Opener) -> Held {
    let storage = open();
    let key = "coffre-destination.json";
    storage.replace(key, b"{\"schema\":1}")?;
    ensure!(get(&*storage, key)? == b"{\"schema\":1}", "what was made has other bytes");
    storage.replace(key, b"{}")?;
    ensure!(get(&*open(), key)? == b"{}", "what was replaced has other bytes");
    ensure!(keys(&*storage, "")? == [key], "list answers {:?}", keys(&*storage, "")?);
    Ok(())
}

fn removing_the_last_object_leaves_a_usable_place(open: &Opener) -> Held {
    let storage = open();
    put(&*storage, "a/b/c/d", b"x")?;
    storage.remove("a/b/c/d")?;
    ensure!(storage.list("")?.is_empty(), "something is left");
    // Folders that became empty may have gone; the place itself may not.
    put(&*open(), "a/b/e", b"y")?;
    put(&*storage, "a/b/c/d", b"z")?;
    ensure!(
        keys(&*storage, "a")? == ["a/b/c/d", "a/b/e"],
        "list answers {:?}",
        keys(&*storage, "a")?
    );
    Ok(())
}

fn stat_agrees_with_list(open: &Opener) -> Held {
    let storage = open();
    for (key, length) in [("one", 1), ("two/2", 22_222), ("two/3", 0)] {
        put(&*storage, key, &uneven(length))?;
    }
    let listed = storage.list("")?;
    ensure!(listed.len() == 3, "list answers {} objects", listed.len());
    for stored in listed {
        let seen = storage.stat(&stored.key)?;
        ensure!(seen.as_ref() == Some(&stored), "stat answers {seen:?}, list {stored:?}");
    }
    Ok(())
}

fn space_is_plausible(open: &Opener) -> Held {
    if let Some(space) = open().space()? {
        ensure!(space.free <= space.total && space.total > 0, "{space:?}");
    }
    Ok(())
}

fn place_is_a_description(open: &Opener) -> Held {
    ensure!(!open().place().trim().is_empty(), "it is empty");
    Ok(())
}

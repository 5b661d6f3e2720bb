//! Files made elsewhere.

use coffre_model::error::{Code, from_io};

use super::*;
use crate::pipeline::foreign::{Layer, Need, Peeled, peel};

fn no_key(need: Need) -> Result<Decryption> {
    panic!("nobody should ask for {need:?}")
}

fn all(peeled: Peeled) -> (Vec<Layer>, Result<Vec<u8>>) {
    let mut plain = Vec::new();
    let mut reader = peeled.plain;
    let answer = reader
        .read_to_end(&mut plain)
        .map(|_| plain)
        .map_err(|error| from_io(error, |error| Error::internal("read", error)));
    (peeled.layers, answer)
}

fn open(bytes: &[u8], key: &mut dyn FnMut(Need) -> Result<Decryption>) -> Result<(Vec<Layer>, Result<Vec<u8>>)> {
    // However small the pieces in which it comes.
    peel(Box::new(Crumbs(io::Cursor::new(bytes.to_vec()), 1)), key).map(all)
}

fn armored(bytes: &[u8]) -> Vec<u8> {
    let mut writer = age::armor::ArmoredWriter::wrap_output(Vec::new(), age::armor::Format::AsciiArmor).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn what_has_no_layer_comes_as_it_is() {
    for plain in [
        &b""[..],
        b"x",
        b"PGDMP\x01",
        b"-- SQL\n",
        b"\x1f",
        b"\x28\xb5\x2f",
        b"age-encryption",
        &sample(300_000, 1),
    ] {
        let (layers, back) = open(plain, &mut no_key).unwrap();
        assert_eq!(layers, []);
        assert!(back.unwrap() == plain);
    }
}

#[test]
fn every_nesting_that_people_make() {
    let plain = sample(300_000, 1);
    let [_, (recipient, identity), (passphrase, secret)] = keys();
    for (compression, layer) in [(Compression::Zstd(3), Layer::Zstd), (Compression::Gzip(6), Layer::Gzip)] {
        let (bytes, _) = stored(&plain, compression, &Encryption::None);
        let (layers, back) = open(&bytes, &mut no_key).unwrap();
        assert_eq!(layers, [layer]);
        assert!(back.unwrap() == plain);
        for (encryption, decryption, need) in [
            (&recipient, &identity, Need::Identity),
            (&passphrase, &secret, Need::Passphrase),
        ] {
            let (bytes, _) = stored(&plain, compression, encryption);
            let mut asked = Vec::new();
            let mut key = |need| {
                asked.push(need);
                Ok(decryption.clone())
            };
            let (layers, back) = open(&bytes, &mut key).unwrap();
            assert_eq!(layers, [Layer::Age, layer]);
            assert!(back.unwrap() == plain);
            let text = armored(&bytes);
            for margin in [&b""[..], b"\xef\xbb\xbf", b"\r\n\n"] {
                let (layers, back) = open(&[margin, &text].concat(), &mut key).unwrap();
                assert_eq!(layers, [Layer::AgeArmored, layer]);
                assert!(back.unwrap() == plain);
            }
            assert_eq!(asked, [need; 4]);
        }
        // Encrypted first, compressed afterwards.
        let (inner, _) = stored(&plain, Compression::None, &recipient);
        let (bytes, _) = stored(&inner, compression, &Encryption::None);
        let (layers, back) = open(&bytes, &mut |_| Ok(identity.clone())).unwrap();
        assert_eq!(layers, [layer, Layer::Age]);
        assert!(back.unwrap() == plain);
    }
}

#[test]
fn three_layers_and_no_more() {
    let plain = b"plain".to_vec();
    let wrap = |bytes: &[u8]| stored(bytes, Compression::Gzip(6), &Encryption::None).0;
    let three = wrap(&wrap(&wrap(&plain)));
    let (layers, back) = open(&three, &mut no_key).unwrap();
    assert_eq!(layers, [Layer::Gzip; 3]);
    assert_eq!(back.unwrap(), plain);
    assert_eq!(open(&wrap(&three), &mut no_key).err().unwrap().code(), Code::Refused);
}

#[test]
fn damage_is_never_taken_for_the_end() {
    let plain = sample(1500, 1);
    let [_, (recipient, identity), _] = keys();
    for (bytes, what) in [
        (stored(&plain, Compression::Zstd(3), &Encryption::None).0, "zstd"),
        (stored(&plain, Compression::Gzip(6), &Encryption::None).0, "gzip"),
        (stored(&plain, Compression::Gzip(6), &recipient).0, "gzip.age"),
        (
            armored(&stored(&plain, Compression::Gzip(6), &recipient).0),
            "gzip.age in text",
        ),
    ] {
        // From where its kind can be recognised on.
        for length in 40..bytes.len() {
            // An armor's last line break may be missing.
            if bytes[length..].trim_ascii().is_empty() {
                continue;
            }
            let answer = open(&bytes[..length], &mut |_| Ok(identity.clone())).and_then(|(_, back)| back);
            let error = answer
                .err()
                .unwrap_or_else(|| panic!("{what} cut at {length} was taken for whole"));
            assert!(
                matches!(error.code(), Code::VerifyMismatch | Code::DecryptFailed),
                "{what} cut at {length}: {error}"
            );
        }
    }
}

#[test]
fn a_key_that_is_not_to_be_had_is_the_answer() {
    let (bytes, _) = stored(b"plain", Compression::None, &keys()[1].0);
    let mut locked = |_| Err(Error::new(Code::SecretUnavailable, "keychain_locked"));
    assert_eq!(open(&bytes, &mut locked).err().unwrap().code(), Code::SecretUnavailable);
    let error = open(&bytes, &mut |_| Ok(Decryption::None)).err().unwrap();
    assert_eq!(told(&error), ("DECRYPT_FAILED", "decrypt_key_needed".into()));
}

#[test]
fn an_error_of_the_reader_stays() {
    struct Breaks;
    impl Read for Breaks {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(Error::new(Code::DestUnreachable, "dest_io").into())
        }
    }
    assert_eq!(
        peel(Box::new(Breaks), &mut no_key).err().unwrap().code(),
        Code::DestUnreachable
    );
}

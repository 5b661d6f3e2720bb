//! Stock tools read what we write, and we read what they write: no lock-in.

#![allow(clippy::disallowed_methods, reason = "the stock tools are what is tested against")]

use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// Runs a tool with `input` and gives its output, if it ends well.
fn tool(words: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{} is needed for this test: {error}", words[0]));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // A tool that fails does not read to the end.
    let fed = feeder.join().unwrap();
    output.status.success().then(|| {
        fed.unwrap();
        output.stdout
    })
}

fn samples() -> Vec<Vec<u8>> {
    vec![
        b"x".to_vec(),
        sample(100_000, 1),
        sample(2_700_000, 2),
        noise(1_100_000, 3),
        vec![0; 3_000_000],
        [sample(600_000, 4), noise(700_000, 5), sample(1, 6)].concat(),
    ]
}

#[test]
fn zstd_reads_ours_at_every_level() {
    for plain in samples() {
        for level in [1, 3, 6, 9] {
            let (bytes, _) = stored(&plain, Compression::Zstd(level), &Encryption::None);
            assert!(tool(&["zstd", "-d", "-c"], &bytes).unwrap() == plain);
        }
    }
    for level in [12, 16, 17, 19] {
        let (bytes, _) = stored(&samples()[1], Compression::Zstd(level), &Encryption::None);
        assert!(tool(&["zstd", "-d", "-c"], &bytes).unwrap() == samples()[1]);
    }
}

#[test]
fn gzip_reads_ours_at_every_level() {
    for plain in samples() {
        for level in [1, 2, 4, 6, 9] {
            let (bytes, _) = stored(&plain, Compression::Gzip(level), &Encryption::None);
            assert!(tool(&["gzip", "-d", "-c"], &bytes).unwrap() == plain, "level {level}");
            tool(&["gzip", "-t"], &bytes).unwrap();
        }
        let (bytes, _) = stored(&plain, Compression::Gzip(6), &Encryption::None);
        assert!(tool(&["zcat"], &bytes).unwrap() == plain);
        assert!(tool(&["gunzip", "-c"], &bytes).unwrap() == plain);
        assert!(tool(&["pigz", "-d", "-c"], &bytes).unwrap() == plain);
    }
}

#[test]
fn stock_tools_find_a_missing_end_of_ours() {
    let plain = sample(6_000_000, 1);
    for (compression, test) in [(Compression::Zstd(3), ["zstd", "-t"]), (Compression::Gzip(6), ["gzip", "-t"])] {
        let (bytes, _) = stored(&plain, compression, &Encryption::None);
        assert!(tool(&test, &bytes).is_some());
        for turn in 1..20 {
            let length = bytes.len() * turn / 20;
            assert!(tool(&test, &bytes[..length]).is_none(), "{compression} cut at {length}");
        }
        assert!(tool(&test, &bytes[..bytes.len() - 1]).is_none());
    }
}

#[test]
fn we_read_what_stock_tools_write() {
    for plain in samples() {
        for (words, compression) in [
            (&["zstd", "-c"][..], Compression::Zstd(3)),
            (&["zstd", "-c", "-1", "--no-check"], Compression::Zstd(3)),
            (&["zstd", "-c", "--long=27"], Compression::Zstd(3)),
            (&["zstd", "-c", "-T2", "-B1MiB"], Compression::Zstd(3)),
            (&["gzip", "-c", "-9"], Compression::Gzip(6)),
            (&["pigz", "-c", "-b", "128"], Compression::Gzip(6)),
            (&["pigz", "-c", "-i"], Compression::Gzip(6)),
        ] {
            let bytes = tool(words, &plain).unwrap();
            let (back, outcome) = read(&bytes, &expect_nothing(compression, &Decryption::None), true);
            outcome.unwrap();
            assert!(back == plain, "{words:?}");
        }
    }
}

fn key_file(folder: &Path, secret: &Secret) -> String {
    let path = folder.join("key.txt");
    std::fs::write(&path, format!("{}\n", secret.expose())).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn age_reads_ours_and_we_read_its() {
    let folder = tempfile::tempdir().unwrap();
    let (recipient, secret) = pair();
    let key = key_file(folder.path(), &secret);
    let decryption = Decryption::Identities(vec![secret]);
    for plain in samples() {
        let (bytes, _) = stored(&plain, Compression::None, &Encryption::Recipient(recipient.clone()));
        assert!(tool(&["age", "-d", "-i", &key], &bytes).unwrap() == plain);
        let theirs = tool(&["age", "-r", &recipient], &plain).unwrap();
        let (back, outcome) = read(&theirs, &expect_nothing(Compression::None, &decryption), false);
        outcome.unwrap();
        assert!(back == plain);
        // Both layers, as the recovery sheet says it.
        let (bytes, _) = stored(&plain, Compression::Zstd(3), &Encryption::Recipient(recipient.clone()));
        let inner = tool(&["age", "-d", "-i", &key], &bytes).unwrap();
        assert!(tool(&["zstd", "-d", "-c"], &inner).unwrap() == plain);
    }
}

#[test]
fn age_opens_ours_with_a_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let plain = sample(200_000, 1);
    let secret = Secret::new("correct horse battery staple");
    let (bytes, _) = stored(&plain, Compression::Gzip(6), &Encryption::Passphrase(secret.clone()));
    let (input, output) = (folder.path().join("in.gz.age"), folder.path().join("out.gz"));
    std::fs::write(&input, bytes).unwrap();
    // age asks on the terminal only; `script` gives it one, and writes its own input there.
    let command = format!("age -d -o {} {}", output.display(), input.display());
    tool(&["script", "-qec", &command, "/dev/null"], b"correct horse battery staple\n").unwrap();
    assert!(tool(&["gzip", "-d", "-c"], &std::fs::read(&output).unwrap()).unwrap() == plain);
}

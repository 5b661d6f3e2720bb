//! The obligations of `model::database::Checker`: finds what is missing, panics on nothing.

use coffre_model::Code;
use coffre_model::database::DumpFormat;

use super::{Dumped, Held, Subject, broken, dump, ensure, parse, total};

pub(super) fn the_checker_takes_pieces_of_any_size(subject: &Subject) -> Held {
    let dumped = dump(subject)?;
    let whole = parse(subject, dumped.format, &dumped.bytes, usize::MAX)?;
    for piece in [1, 2, 3, 7, 511, 4096, 65_537] {
        let parsed = parse(subject, dumped.format, &dumped.bytes, piece)?;
        ensure!(
            parsed == whole,
            "in pieces of {piece} bytes it finds {parsed:?}, at once {whole:?}"
        );
    }
    // Empty pieces mean nothing.
    let mut checker = subject.kind.checker(dumped.format);
    for part in dumped.bytes.chunks(1000) {
        checker.feed(&[])?;
        checker.feed(part)?;
    }
    ensure!(checker.finish()? == whole, "empty pieces change what it finds");
    ensure!(total(&dumped.facts.counts) > 0, "the dump's own counts are empty");
    Ok(())
}

pub(super) fn nothing_at_all_is_dump_empty(subject: &Subject) -> Held {
    for format in subject.kind.formats() {
        match subject.kind.checker(*format).finish() {
            Err(error) if error.code() == Code::DumpEmpty => {}
            other => return Err(broken(format!("{format}: nothing at all is {other:?}"))),
        }
    }
    Ok(())
}

pub(super) fn a_missing_end_is_found(subject: &Subject) -> Held {
    let Dumped { bytes, format, .. } = dump(subject)?;
    let length = bytes.len();
    let mut cuts: Vec<usize> = (1..64).map(|part| length * part / 64).collect();
    // Around every block boundary that a format might have, and the very end.
    for block in [512, 1024, 4096, 8192, 65_536] {
        for times in 1..=3 {
            cuts.extend([block * times - 1, block * times, block * times + 1]);
        }
        cuts.push((length - 1) / block * block);
    }
    cuts.extend([1, 2, 3, 5, 11, 100]);
    cuts.extend((1..=16).filter_map(|missing| length.checked_sub(missing)));
    for cut in cuts.into_iter().filter(|cut| (1..length).contains(cut)) {
        match parse(subject, format, &bytes[..cut], 10_007) {
            Err(error) if matches!(error.code(), Code::DumpTruncated | Code::VerifyMismatch) => {}
            // A text may end with a newline that nobody needs.
            Ok(_) if format == DumpFormat::Sql && bytes[cut..].iter().all(u8::is_ascii_whitespace) => {}
            other => return Err(broken(format!("cut at {cut} of {length} bytes, the checker says {other:?}"))),
        }
    }
    Ok(())
}

pub(super) fn bytes_after_the_end_are_found(subject: &Subject) -> Held {
    let Dumped { mut bytes, format, .. } = dump(subject)?;
    let once = parse(subject, format, &bytes, 10_007)?;
    let again = bytes.clone();
    bytes.extend_from_slice(&again);
    match parse(subject, format, &bytes, 10_007) {
        Err(_) => Ok(()),
        // One script behind another is a script. It may not look like the one alone, though: its rows must show it.
        Ok(twice) if format == DumpFormat::Sql && twice != once => Ok(()),
        Ok(_) => Err(broken("two dumps, one behind the other, pass for one".into())),
    }
}

pub(super) fn what_is_no_dump_is_refused(subject: &Subject) -> Held {
    let zeros = vec![0; 200_000];
    let words = b"this is no dump of anything\n".repeat(5000);
    let page = b"<html><body>502 Bad Gateway</body></html>".to_vec();
    for format in subject.kind.formats() {
        for bytes in [&zeros, &words, &page] {
            match parse(subject, *format, bytes, 4096) {
                Err(error) if matches!(error.code(), Code::DumpTruncated | Code::VerifyMismatch | Code::ArchiveUnsafe) => {}
                other => return Err(broken(format!("{format}: {} bytes of nonsense are {other:?}", bytes.len()))),
            }
        }
    }
    Ok(())
}

pub(super) fn damage_never_panics(subject: &Subject) -> Held {
    let Dumped { bytes, format, .. } = dump(subject)?;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap_or(0)
    };
    let parses = |bytes: &[u8], piece: usize| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // Whether it is found depends on what the format can show; that it ends in an answer does not.
            let _either = parse(subject, format, bytes, piece);
        }))
        .is_ok()
    };
    for round in 0..60 {
        let mut damaged = bytes.clone();
        // Half of the damage near the beginning, where the lengths and offsets stand.
        let near = if round % 2 == 0 {
            damaged.len().min(4096)
        } else {
            damaged.len()
        };
        let at = random(near);
        match round % 3 {
            0 => damaged[at] ^= 1 << random(8),
            1 => {
                let end = (at + 8).min(damaged.len());
                damaged[at..end].fill(0xff);
            }
            _ => {
                let end = (at + 1 + random(2000)).min(damaged.len());
                damaged.drain(at..end);
            }
        }
        ensure!(
            parses(&damaged, 1 + random(9000)),
            "damage at byte {at} (round {round}) makes the checker panic"
        );
    }
    let noise: Vec<u8> = (0..50_000).map(|_| u8::try_from(random(256)).unwrap_or(0)).collect();
    ensure!(parses(&noise, 777), "noise makes the checker panic");
    Ok(())
}

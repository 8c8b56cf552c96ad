//! The zip that a function is made from: one program, always the same bytes for the same program.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// Name that Lambda starts.
const NAME: &[u8] = b"bootstrap";
/// The earliest time that a zip can name: no time of building is in it.
const DATE: u16 = 1 << 5 | 1;
/// Version of the format that a deflated file needs.
const NEEDED: u16 = 20;
/// Made by Unix, so that the permissions count.
const MADE_BY: u16 = 3 << 8 | NEEDED;
const DEFLATED: u16 = 8;
/// A regular file that all may read and execute.
const MODE: u32 = 0o100_755;

/// A zip with `program` as its `bootstrap`.
pub(super) fn of(program: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let deflated =
        encoder.write_all(program).and_then(|()| encoder.finish()).expect("writing to memory does not fail");
    let mut checksum = Crc::new();
    checksum.update(program);
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).expect("the guest is far below 4 GiB");

    // What both headers share: versions, flags, method, time, date, checksum, sizes, lengths of name and extra field.
    let mut shared = Vec::new();
    for number in [NEEDED, 0, DEFLATED, 0, DATE] {
        shared.extend_from_slice(&number.to_le_bytes());
    }
    for number in [checksum.sum(), size(&deflated), size(program)] {
        shared.extend_from_slice(&number.to_le_bytes());
    }
    shared.extend_from_slice(&(NAME.len() as u16).to_le_bytes());
    shared.extend_from_slice(&0_u16.to_le_bytes());

    let mut zip = b"PK\x03\x04".to_vec();
    zip.extend_from_slice(&shared);
    zip.extend_from_slice(NAME);
    zip.extend_from_slice(&deflated);

    let directory_at = size(&zip);
    zip.extend_from_slice(b"PK\x01\x02");
    zip.extend_from_slice(&MADE_BY.to_le_bytes());
    zip.extend_from_slice(&shared);
    // No comment, first disk, no internal attributes; permissions; the file is at the start.
    zip.extend_from_slice(&[0; 6]);
    zip.extend_from_slice(&(MODE << 16).to_le_bytes());
    zip.extend_from_slice(&0_u32.to_le_bytes());
    zip.extend_from_slice(NAME);
    let directory_bytes = size(&zip) - directory_at;

    zip.extend_from_slice(b"PK\x05\x06");
    for number in [0_u16, 0, 1, 1] {
        zip.extend_from_slice(&number.to_le_bytes());
    }
    zip.extend_from_slice(&directory_bytes.to_le_bytes());
    zip.extend_from_slice(&directory_at.to_le_bytes());
    zip.extend_from_slice(&0_u16.to_le_bytes());
    zip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_program_unpacks_it_as_an_executable() {
        let program: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        assert_eq!(of(&program), of(&program));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("function.zip");
        std::fs::write(&file, of(&program)).unwrap();
        let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
                      i = z.infolist()\nassert [f.filename for f in i] == ['bootstrap']\n\
                      assert i[0].external_attr >> 16 == 0o100755, oct(i[0].external_attr >> 16)\n\
                      z.extractall(sys.argv[2])\n";
        let unpacked =
            std::process::Command::new("python3").args(["-c", script]).arg(&file).arg(folder.path()).status();
        match unpacked {
            Err(error) => eprintln!("skipped: python3 cannot be started: {error}"),
            Ok(status) => {
                assert!(status.success());
                assert!(std::fs::read(folder.path().join("bootstrap")).unwrap() == program);
            }
        }
    }
}

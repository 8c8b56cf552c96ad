//! What goes over a channel before its first frame, where the guest starts before anyone listens to it (a pod attach):
//! the worker knocks until it is answered, so that the guest's first frame is not lost.
//!
//! Each knock is [`MAGIC`] and a number, u64 little-endian, from 1 on; the guest writes it back as it came. Number 0 is
//! not answered: the worker has heard the answer to its last knock, and from here on both speak frames.

/// First bytes of each knock.
pub const MAGIC: [u8; 8] = *b"sgwknock";
/// Length of a knock and of its answer.
pub const KNOCK_BYTES: usize = 16;
/// Number that ends the knocking.
pub const ENTER: u64 = 0;

/// The knock of that number.
pub fn encode(number: u64) -> [u8; KNOCK_BYTES] {
    let mut knock = [0; KNOCK_BYTES];
    knock[..MAGIC.len()].copy_from_slice(&MAGIC);
    knock[MAGIC.len()..].copy_from_slice(&number.to_le_bytes());
    knock
}

/// The number of a knock; `None` if it is none.
pub fn decode(bytes: &[u8; KNOCK_BYTES]) -> Option<u64> {
    let number = bytes.strip_prefix(&MAGIC)?;
    Some(u64::from_le_bytes(*number.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knock_is_read_as_it_was_written() {
        for number in [ENTER, 1, u64::MAX] {
            assert_eq!(decode(&encode(number)), Some(number));
        }
        assert_eq!(decode(&[0; KNOCK_BYTES]), None);
    }
}

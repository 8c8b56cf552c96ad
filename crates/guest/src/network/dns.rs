//! The packets of the small resolver (RFC 1035): reading a question, writing its answer. Pure.

use std::net::Ipv4Addr;

const HEADER_BYTES: usize = 12;
/// Longest name on the wire, with lengths and the root.
const MOST_NAME_BYTES: usize = 255;
const MOST_LABEL_BYTES: usize = 63;

const CLASS_IN: u16 = 1;
const TYPE_A: u16 = 1;

/// How long a client may keep an address: it holds as long as the sandbox.
const TIME_TO_LIVE_SECONDS: u32 = 300;

// Flags of the header.
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;

/// A packet that asks for something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query<'a> {
    id: u16,
    flags: u16,
    /// The one question as it came; empty if it could not be read.
    question: &'a [u8],
    /// What is asked; `None` if the packet is malformed or asks for what no resolver of this kind knows.
    pub(super) asked: Option<Asked>,
}

/// A question that can be answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The name as it came, labels joined by dots: any bytes.
    pub(super) name: Vec<u8>,
    /// Whether a label holds a byte that no host name has (a dot among them, which the joined name would hide).
    pub(super) strange: bool,
    /// Whether an IPv4 address is asked for.
    pub(super) address: bool,
}

/// What a question is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name has this address.
    Address(Ipv4Addr),
    /// The name is there, but nothing of the kind that is asked for.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// The packet makes no sense.
    Malformed,
}

/// Reads a packet. `None` is not answered: it is too short, or itself an answer.
pub(super) fn read(packet: &[u8]) -> Option<Query<'_>> {
    let id = word(packet, 0)?;
    let flags = word(packet, 2)?;
    let questions = word(packet, 4)?;
    if packet.len() < HEADER_BYTES || flags & RESPONSE != 0 {
        return None;
    }
    let body = &packet[HEADER_BYTES..];
    let parsed = (flags & OPCODE == 0 && questions == 1).then(|| read_question(body)).flatten();
    let (asked, bytes) = parsed.map_or((None, 0), |(asked, bytes)| (Some(asked), bytes));
    Some(Query { id, flags, question: &body[..bytes], asked })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The question and its length.
fn read_question(body: &[u8]) -> Option<(Asked, usize)> {
    let mut at = 0;
    let mut name = Vec::new();
    let mut strange = false;
    loop {
        let length = usize::from(*body.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // Longer ones are pointers, which have no place in a first name.
        if length > MOST_LABEL_BYTES || at + length + 1 > MOST_NAME_BYTES {
            return None;
        }
        let label = body.get(at..at + length)?;
        strange |= !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend_from_slice(label);
        at += length;
    }
    let kind = word(body, at)?;
    let class = word(body, at + 2)?;
    (class == CLASS_IN).then_some((Asked { name, strange, address: kind == TYPE_A }, at + 4))
}

/// The packet that answers a query.
pub(super) fn write(query: &Query<'_>, answer: Answer) -> Vec<u8> {
    let code = match answer {
        Answer::Address(_) | Answer::Nothing => 0,
        Answer::Malformed => 1,
        Answer::NoSuchName => 3,
    };
    let flags =
        RESPONSE | query.flags & (OPCODE | RECURSION_DESIRED) | AUTHORITATIVE | RECURSION_AVAILABLE | code;
    let questions = u16::from(!query.question.is_empty());
    let answers = u16::from(matches!(answer, Answer::Address(_)));
    let mut out = Vec::with_capacity(HEADER_BYTES + query.question.len() + 16);
    for word in [query.id, flags, questions, answers, 0, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(query.question);
    if let Answer::Address(address) = answer {
        // A pointer to the name of the question, which begins behind the header.
        for word in [0xc000 | HEADER_BYTES as u16, TYPE_A, CLASS_IN] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&TIME_TO_LIVE_SECONDS.to_be_bytes());
        out.extend_from_slice(&4_u16.to_be_bytes());
        out.extend_from_slice(&address.octets());
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(labels: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut packet = vec![0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in labels {
            packet.push(label.len() as u8);
            packet.extend_from_slice(label);
        }
        packet.push(0);
        packet.extend_from_slice(&kind.to_be_bytes());
        packet.extend_from_slice(&[0, 1]);
        // An EDNS record, as most clients add it.
        packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        packet
    }

    #[test]
    fn a_question_is_read_and_answered_with_the_address() {
        let packet = packet(&[b"Db", b"acme", b"internal"], 1);
        let query = read(&packet).unwrap();
        let asked = query.asked.as_ref().unwrap();
        assert_eq!(
            (asked.name.as_slice(), asked.strange, asked.address),
            (&b"Db.acme.internal"[..], false, true)
        );
        let reply = write(&query, Answer::Address(Ipv4Addr::new(127, 77, 1, 2)));
        assert_eq!(&reply[..12], [0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(reply[12..34], packet[12..34], "the question comes back letter by letter");
        assert_eq!(reply[34..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 127, 77, 1, 2]);
    }

    #[test]
    fn other_answers_have_their_codes() {
        let packet = packet(&[b"a", b"b"], 28);
        let query = read(&packet).unwrap();
        assert!(!query.asked.as_ref().unwrap().address);
        for (answer, code) in [(Answer::Nothing, 0), (Answer::Malformed, 1), (Answer::NoSuchName, 3)] {
            let reply = write(&query, answer);
            assert_eq!((reply[3] & 15, reply[7]), (code, 0), "{answer:?}");
        }
    }

    #[test]
    fn strange_names_are_marked() {
        let long = [b'a'; 63];
        for (labels, strange) in [
            (&[b"a_b-c".as_slice(), b"d"][..], false),
            (&[&long[..], &long, &long], false),
            (&[b"a\0b"], true),
            (&[b"a.b", b"c"], true),
            (&[b"a\r\nb"], true),
            (&["ä".as_bytes()], true),
            (&[b"a%00"], true),
            (&[b"user@a"], true),
        ] {
            assert_eq!(read(&packet(labels, 1)).unwrap().asked.unwrap().strange, strange, "{labels:?}");
        }
    }

    #[test]
    fn malformed_packets_ask_nothing() {
        let long = [b'a'; 63];
        let too_long = packet(&[&long, &long, &long, &long], 1);
        let mut pointer = packet(&[b"a"], 1);
        pointer[12] = 0xc0;
        let mut two_questions = packet(&[b"a"], 1);
        two_questions[5] = 2;
        let mut notify = packet(&[b"a"], 1);
        notify[2] = 0x20;
        let mut chaos = packet(&[b"a"], 1);
        chaos[18] = 3;
        for packet in [too_long, pointer, two_questions, notify, chaos] {
            let query = read(&packet).unwrap();
            assert_eq!(query.asked, None);
            assert_eq!(write(&query, Answer::Malformed)[3] & 15, 1);
        }
        let whole = packet(&[b"abc", b"de"], 1);
        for end in 0..whole.len() - 11 {
            assert!(read(&whole[..end]).is_none_or(|query| query.asked.is_none()), "{end}");
        }
        let mut answer = whole;
        answer[2] |= 0x80;
        assert_eq!(read(&answer), None, "answers are never answered");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_packet_panics(packet in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(query) = read(&packet) {
                write(&query, Answer::NoSuchName);
            }
        }

        #[test]
        fn no_mutation_panics(at in 0usize..40, value in any::<u8>(), end in 0usize..60) {
            let mut packet = packet(&[b"abc", b"example", b"com"], 1);
            let last = packet.len() - 1;
            packet[at.min(last)] = value;
            packet.truncate(end);
            if let Some(query) = read(&packet) {
                prop_assert!(query.asked.as_ref().is_none_or(|asked| asked.name.len() < 255));
                write(&query, Answer::Address(Ipv4Addr::LOCALHOST));
            }
        }
    }
}

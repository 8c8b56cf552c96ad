//! Masks a stream as it flows: only the tail that may still become a pattern is held back.

use std::rc::Rc;

use super::patterns::{Label, Look, Patterns};

/// Masks one stream. Give it bytes in pieces of any size; what it gives out does not depend on how they were cut.
///
/// Where patterns overlap, everything that any of them covers is masked.
pub(crate) struct Redactor {
    patterns: Rc<Patterns>,
    /// Held back: what may still become a pattern.
    held: Vec<u8>,
    /// Bytes at the start of `held` that a pattern has covered already.
    covered: usize,
    /// The last byte before `held`.
    before: Option<u8>,
    /// The label last written.
    label: Option<Label>,
}

impl Redactor {
    /// A redactor at the start of a stream.
    pub(crate) fn new(patterns: Rc<Patterns>) -> Self {
        Redactor { patterns, held: Vec::new(), covered: 0, before: None, label: None }
    }

    /// Takes the next bytes of the stream and appends to `out` what is decided.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.patterns.is_empty() {
            out.extend_from_slice(bytes);
        } else if self.held.is_empty() {
            let decided = self.mask(bytes, false, out);
            self.held.extend_from_slice(&bytes[decided..]);
        } else {
            let mut text = std::mem::take(&mut self.held);
            text.extend_from_slice(bytes);
            let decided = self.mask(&text, false, out);
            text.drain(..decided);
            self.held = text;
        }
    }

    /// The stream has ended: appends the rest.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let rest = std::mem::take(&mut self.held);
        self.mask(&rest, true, out);
    }

    /// Whether anything was masked so far.
    pub(crate) fn has_masked(&self) -> bool {
        self.label.is_some()
    }

    /// Masks a text that stands by itself.
    pub(crate) fn whole(patterns: &Rc<Patterns>, text: &[u8]) -> Vec<u8> {
        let mut redactor = Redactor::new(Rc::clone(patterns));
        let mut out = Vec::with_capacity(text.len());
        redactor.push(text, &mut out);
        redactor.finish(&mut out);
        out
    }

    /// Masks `text` up to where it is decided, and says how far that is.
    fn mask(&mut self, text: &[u8], ended: bool, out: &mut Vec<u8>) -> usize {
        let mut place = 0;
        while place < text.len() {
            if place >= self.covered {
                let candidate = self.patterns.next_candidate(text, place);
                if candidate > place {
                    out.extend_from_slice(&text[place..candidate]);
                    self.before = Some(text[candidate - 1]);
                    place = candidate;
                    continue;
                }
            }
            match self.patterns.look(&text[place..], self.before, ended) {
                Look::Undecided => break,
                Look::Match { bytes, label } => self.cover(place, place + bytes, label, out),
                Look::Nothing => {}
            }
            if place >= self.covered {
                out.push(text[place]);
            }
            self.before = Some(text[place]);
            place += 1;
        }
        self.covered = self.covered.saturating_sub(place);
        place
    }

    fn cover(&mut self, start: usize, end: usize, label: Label, out: &mut Vec<u8>) {
        let apart = start >= self.covered;
        let longer = end > self.covered;
        if apart || (longer && self.label != Some(label)) {
            label.write(out);
            self.label = Some(label);
        }
        self.covered = self.covered.max(end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::patterns::Secret;
    use super::*;

    fn patterns(secrets: &[(&str, &[u8])]) -> Rc<Patterns> {
        let secrets: Vec<Secret<'_>> = secrets.iter().map(|(name, value)| Secret { name, value }).collect();
        Rc::new(Patterns::new(&secrets))
    }

    fn masked(secrets: &[(&str, &[u8])], text: &str) -> String {
        String::from_utf8_lossy(&Redactor::whole(&patterns(secrets), text.as_bytes())).into_owned()
    }

    fn in_pieces(patterns: &Rc<Patterns>, pieces: &[&[u8]]) -> Vec<u8> {
        let mut redactor = Redactor::new(Rc::clone(patterns));
        let mut out = Vec::new();
        for piece in pieces {
            redactor.push(piece, &mut out);
        }
        redactor.finish(&mut out);
        out
    }

    /// The same rules, written down plainly: quadratic and without a stream.
    fn reference(patterns: &Patterns, text: &[u8]) -> Vec<u8> {
        let word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let length_at = |place: usize, pattern: &[u8], wrapped: bool| {
            let mut end = place;
            for (index, wanted) in pattern.iter().enumerate() {
                if wrapped && index > 0 {
                    if text.get(end) == Some(&b'\n') {
                        end += 1;
                    } else if text.get(end) == Some(&b'\r') && text.get(end + 1) == Some(&b'\n') {
                        end += 2;
                    }
                }
                if text.get(end) != Some(wanted) {
                    return None;
                }
                end += 1;
            }
            Some(end - place)
        };
        let mut out = Vec::new();
        let (mut covered, mut last) = (0, None);
        for place in 0..text.len() {
            let mut longest: Option<(usize, Label)> = None;
            for (pattern, label, wrapped) in patterns.all() {
                let Some(bytes) = length_at(place, pattern, wrapped) else { continue };
                let bounded = !matches!(label, Label::Name(_))
                    || (!word(place.checked_sub(1).and_then(|p| text.get(p)))
                        && !word(text.get(place + bytes)));
                if bounded && longest.is_none_or(|(most, _)| bytes > most) {
                    longest = Some((bytes, label));
                }
            }
            if let Some((bytes, label)) = longest {
                if place >= covered || (place + bytes > covered && last != Some(label)) {
                    label.write(&mut out);
                    last = Some(label);
                }
                covered = covered.max(place + bytes);
            }
            if place >= covered {
                out.push(text[place]);
            }
        }
        out
    }

    #[test]
    fn an_environment_listing_shows_neither_names_nor_values() {
        let secrets: &[(&str, &[u8])] = &[("DB_PASSWORD", b"correct horse"), ("API_TOKEN", b"tok_12345678")];
        assert_eq!(
            masked(secrets, "API_TOKEN=tok_12345678\nDB_PASSWORD=correct horse\nHOME=/\n"),
            "[KEY:1]=[REDACTED:1]\n[KEY:2]=[REDACTED:2]\nHOME=/\n"
        );
    }

    #[test]
    fn names_are_masked_as_whole_words_only() {
        let secrets: &[(&str, &[u8])] = &[("TOKEN", b"........"), ("KEY", b"--------")];
        assert_eq!(
            masked(secrets, "TOKEN MY_TOKEN TOKENS $TOKEN, KEY \"TOKEN\""),
            "[KEY:2] MY_TOKEN TOKENS $[KEY:2], KEY \"[KEY:2]\""
        );
    }

    #[test]
    fn overlapping_secrets_leave_no_rest() {
        let secrets: &[(&str, &[u8])] = &[("A", b"abcdefgh"), ("B", b"efghijkl"), ("C", b"abcdefghij")];
        assert_eq!(masked(secrets, "xabcdefghijklx"), "x[REDACTED:3][REDACTED:2]x");
        assert_eq!(masked(&[("A", b"aaaaaaaa")], "aaaaaaaaaaaaaaa b"), "[REDACTED:1] b");
    }

    #[test]
    fn base64_is_found_at_any_width_and_column() {
        // As `base64 -w 16` prints `user:correct horse battery staple` and 5 more bytes.
        let text = "dXNlcjpjb3JyZWN0\nIGhvcnNlIGJhdHRl\ncnkgc3RhcGxlLi4u\nLi4=\n";
        assert_eq!(
            masked(&[("A", b"correct horse battery staple")], text),
            "dXNlcjp[REDACTED:1]Li4u\nLi4=\n"
        );
    }

    #[test]
    fn a_stream_holds_back_exactly_what_may_become_a_pattern() {
        let patterns = patterns(&[("A", b"correct horse")]);
        let mut redactor = Redactor::new(patterns);
        let mut out = Vec::new();
        redactor.push(b"say corr", &mut out);
        assert_eq!(out, b"say ");
        redactor.push(b"upt", &mut out);
        assert_eq!(out, b"say corrupt");
        redactor.push(b" c", &mut out);
        redactor.finish(&mut out);
        assert_eq!(out, b"say corrupt c");
    }

    #[test]
    fn an_endless_run_of_overlaps_is_not_kept() {
        let patterns = patterns(&[("A", &[b'a'; 64])]);
        let mut redactor = Redactor::new(patterns);
        let mut out = Vec::new();
        for _ in 0..200 {
            redactor.push(&[b'a'; 100], &mut out);
            assert!(redactor.held.len() < 64 * 3, "{} bytes held", redactor.held.len());
        }
        redactor.finish(&mut out);
        assert_eq!(out, b"[REDACTED:1]");
    }

    #[test]
    fn every_form_is_masked_at_every_split() {
        let secrets: &[(&str, &[u8])] =
            &[("TOKEN_A", "p\u{e4}ss w'\"rd/&<1>\n2nd line!\n".as_bytes()), ("B", b"hunter2")];
        let patterns = patterns(secrets);
        let forms: Vec<Vec<u8>> = patterns.all().map(|(form, ..)| form.to_vec()).collect();
        for form in forms {
            let text = [b" <", form.as_slice(), b"> "].concat();
            let whole = Redactor::whole(&patterns, &text);
            assert!(!whole.windows(form.len()).any(|window| window == form), "{form:?}");
            assert_eq!(whole, reference(&patterns, &text));
            for split in 0..=text.len() {
                assert_eq!(in_pieces(&patterns, &[&text[..split], &text[split..]]), whole, "split {split}");
            }
            let bytes: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(in_pieces(&patterns, &bytes), whole, "one byte at a time");
        }
    }

    #[test]
    fn without_secrets_everything_passes() {
        assert_eq!(masked(&[], "plain \u{e4}\n"), "plain \u{e4}\n");
    }

    /// Text of a small alphabet, so that patterns, their prefixes and overlaps are frequent.
    fn text(alphabet: &'static [u8], most: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(alphabet), 0..most)
    }

    /// Breaks a text into lines of so many characters; 0 leaves it whole.
    fn in_lines(text: &[u8], width: usize) -> Vec<u8> {
        match width {
            0 => text.to_vec(),
            odd if odd % 2 == 1 => text.chunks(width).collect::<Vec<_>>().join(&b"\r\n"[..]),
            even => text.chunks(even).collect::<Vec<_>>().join(&b"\n"[..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn agrees_with_the_reference_however_it_is_cut(
            values in prop::collection::vec(text(b"ab\n_", 12), 1..4),
            words in prop::collection::vec(text(b"ab\n\rYWIK_", 40), 0..4),
            which in prop::collection::vec((0usize..4, 0usize..60, 0usize..6), 0..8),
            cuts in prop::collection::vec(0usize..400, 0..8),
        ) {
            let names = ["ab_a", "bbbb", "_abab", "KEY_4"];
            let secrets: Vec<(&str, &[u8])> =
                values.iter().enumerate().map(|(n, value)| (names[n], value.as_slice())).collect();
            let patterns = patterns(&secrets);
            let forms: Vec<&[u8]> = patterns.all().map(|(form, ..)| form).collect();
            let mut text = Vec::new();
            for (word, form, width) in which {
                text.extend_from_slice(words.get(word).map_or(b" ", Vec::as_slice));
                text.extend_from_slice(&in_lines(forms[form % forms.len()], width));
            }
            let whole = Redactor::whole(&patterns, &text);
            prop_assert_eq!(&whole, &reference(&patterns, &text));
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(&in_pieces(&patterns, &pieces), &whole);
            let bytes: Vec<&[u8]> = text.chunks(1).collect();
            prop_assert_eq!(&in_pieces(&patterns, &bytes), &whole);
        }
    }
}

#[cfg(test)]
mod measurement {
    use super::super::patterns::Secret;
    use super::*;

    #[test]
    #[ignore = "a measurement"]
    fn throughput_of_text_without_matches() {
        let line = b"2026-01-02T03:04:05.678Z INFO worker{id=17} handled GET /api/v1/things/4711?limit=50 in 12.5 ms\n";
        let block: Vec<u8> = line.iter().copied().cycle().take(1 << 16).collect();
        for count in [1, 5, 20, 100] {
            let owned: Vec<(String, String)> = (0..count)
                .map(|n| (format!("SECRET_{n}"), format!("{n}ecret-{n}-value/with+some='quoted \"text")))
                .collect();
            let secrets: Vec<Secret<'_>> =
                owned.iter().map(|(name, value)| Secret { name, value: value.as_bytes() }).collect();
            let start = std::time::Instant::now();
            let patterns = Rc::new(Patterns::new(&secrets));
            let built = start.elapsed();
            let mut redactor = Redactor::new(patterns);
            let mut out = Vec::new();
            let mut best = f64::MAX;
            for _ in 0..20 {
                let start = std::time::Instant::now();
                for _ in 0..100 {
                    out.clear();
                    redactor.push(&block, &mut out);
                }
                best = best.min(start.elapsed().as_secs_f64());
            }
            let speed = 100.0 * block.len() as f64 / 1e6 / best;
            println!("{count} secrets: ready in {:.2} ms, {speed:.0} MB/s", built.as_secs_f64() * 1e3);
        }
    }
}

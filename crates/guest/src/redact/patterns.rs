//! All that is to be masked, sorted, in one buffer that is wiped when dropped, and the question asked of it at each
//! place of a text: does a pattern begin here?

use zeroize::Zeroizing;

use super::forms::{Form, forms};

/// Shorter names are not masked: they would take ordinary words with them.
const MIN_NAME_BYTES: usize = 4;
/// First bytes of a pattern that the filter looks at.
const GRAM_BYTES: usize = 4;
/// The filter has 2^16 bits: 8 KiB, so that it stays in the first-level cache.
const FILTER_WORDS: usize = 1 << 10;

/// A secret of the step's identity.
pub(crate) struct Secret<'a> {
    /// Name of its environment variable.
    pub(crate) name: &'a str,
    /// Its value.
    pub(crate) value: &'a [u8],
}

/// What stands in the place of masked text; the number is the name's place, from 1, among the sorted names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    Value(u16),
    Name(u16),
}

impl Label {
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let text = match self {
            Label::Value(number) => format!("[REDACTED:{number}]"),
            Label::Name(number) => format!("[KEY:{number}]"),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// What begins at a place of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// No pattern.
    Nothing,
    /// More text decides.
    Undecided,
    /// The longest pattern that begins here.
    Match { bytes: usize, label: Label },
}

/// The patterns of a step.
pub(crate) struct Patterns {
    text: Zeroizing<Vec<u8>>,
    exact: Table,
    wrapped: Table,
    filter: Box<[u64; FILTER_WORDS]>,
    /// First bytes of patterns that are shorter than the filter's gram.
    short: [bool; 256],
    has_short: bool,
}

/// Sorted patterns without duplicates.
#[derive(Default)]
struct Table(Vec<Pattern>);

struct Pattern {
    start: usize,
    length: usize,
    label: Label,
    /// The longest other pattern that this one begins with.
    prefix: Option<usize>,
}

impl Patterns {
    /// The patterns of all `secrets`: their values in all forms, and their names.
    pub(crate) fn new(secrets: &[Secret<'_>]) -> Self {
        let mut names: Vec<&str> = secrets.iter().map(|secret| secret.name).collect();
        names.sort_unstable();
        let mut exact: Vec<(Form, Label)> = Vec::new();
        let mut wrapped: Vec<(Form, Label)> = Vec::new();
        for secret in secrets {
            let place = names.partition_point(|name| *name < secret.name) + 1;
            let number = u16::try_from(place).unwrap_or(u16::MAX);
            let forms = forms(secret.value);
            exact.extend(forms.exact.into_iter().map(|form| (form, Label::Value(number))));
            wrapped.extend(forms.wrapped.into_iter().map(|form| (form, Label::Value(number))));
            if secret.name.len() >= MIN_NAME_BYTES {
                exact.push((Zeroizing::new(secret.name.as_bytes().to_vec()), Label::Name(number)));
            }
        }
        let total = exact.iter().chain(&wrapped).map(|(form, _)| form.len()).sum();
        let mut patterns = Patterns {
            text: Zeroizing::new(Vec::with_capacity(total)),
            exact: Table::default(),
            wrapped: Table::default(),
            filter: Box::new([0; FILTER_WORDS]),
            short: [false; 256],
            has_short: false,
        };
        patterns.exact = patterns.table(exact, false);
        patterns.wrapped = patterns.table(wrapped, true);
        patterns
    }

    /// Whether there is nothing to mask.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.0.is_empty()
    }

    fn table(&mut self, mut forms: Vec<(Form, Label)>, wrapped: bool) -> Table {
        forms.sort_unstable_by(|a, b| a.0.as_slice().cmp(&b.0).then(a.1.cmp(&b.1)));
        forms.dedup_by(|later, earlier| later.0 == earlier.0);
        let mut table: Vec<Pattern> = Vec::with_capacity(forms.len());
        for (form, label) in &forms {
            let start = self.text.len();
            self.text.extend_from_slice(form);
            self.admit(form, wrapped);
            let mut prefix = table.len().checked_sub(1);
            while let Some(index) = prefix {
                if form.starts_with(self.bytes(&table[index])) {
                    break;
                }
                prefix = table[index].prefix;
            }
            table.push(Pattern { start, length: form.len(), label: *label, prefix });
        }
        Table(table)
    }

    fn admit(&mut self, form: &[u8], wrapped: bool) {
        let Some(gram) = form.first_chunk::<GRAM_BYTES>() else {
            self.short[usize::from(form[0])] = true;
            self.has_short = true;
            return;
        };
        self.admit_gram(*gram);
        if wrapped {
            wrapped_grams(*gram).into_iter().for_each(|gram| self.admit_gram(gram));
        }
    }

    fn admit_gram(&mut self, gram: [u8; GRAM_BYTES]) {
        for factor in [FIRST_FACTOR, SECOND_FACTOR] {
            let (word, bit) = slot(gram, factor);
            self.filter[word] |= bit;
        }
    }

    fn bytes(&self, pattern: &Pattern) -> &[u8] {
        &self.text[pattern.start..pattern.start + pattern.length]
    }

    /// The first place at or after `from` where [`Patterns::look`] is worth asking, or the text's end.
    pub(super) fn next_candidate(&self, text: &[u8], from: usize) -> usize {
        let mut grams = text[from..].windows(GRAM_BYTES).map(gram_of);
        let place = match self.has_short {
            false => grams.position(|gram| self.is_admitted(gram)),
            true => grams.position(|gram| self.may_begin(gram)),
        };
        // What is shorter than a gram is always worth asking.
        place.map_or(from.max(text.len().saturating_sub(GRAM_BYTES - 1)), |place| from + place)
    }

    fn may_begin(&self, gram: [u8; GRAM_BYTES]) -> bool {
        self.short[usize::from(gram[0])] || self.is_admitted(gram)
    }

    /// Whether a longer pattern may begin with `gram`: a Bloom filter of two bits.
    #[inline(always)]
    fn is_admitted(&self, gram: [u8; GRAM_BYTES]) -> bool {
        let is_set = |(word, bit): (usize, u64)| self.filter[word] & bit != 0;
        is_set(slot(gram, FIRST_FACTOR)) && is_set(slot(gram, SECOND_FACTOR))
    }

    /// What begins at the start of `rest`; `before` is the byte before it. With `ended`, nothing follows `rest`.
    pub(super) fn look(&self, rest: &[u8], before: Option<u8>, ended: bool) -> Look {
        if let Some(gram) = rest.first_chunk::<GRAM_BYTES>()
            && !self.may_begin(*gram)
        {
            return Look::Nothing;
        }
        match (self.look_exact(rest, before, ended), self.look_wrapped(rest, ended)) {
            (Look::Undecided, _) | (_, Look::Undecided) => Look::Undecided,
            (Look::Nothing, found) | (found, Look::Nothing) => found,
            (Look::Match { bytes: a, label }, Look::Match { bytes: b, .. }) if a >= b => {
                Look::Match { bytes: a, label }
            }
            (_, found) => found,
        }
    }

    fn look_exact(&self, rest: &[u8], before: Option<u8>, ended: bool) -> Look {
        let table = &self.exact.0;
        let after = table.partition_point(|pattern| self.bytes(pattern) <= rest);
        if !ended && table.get(after).is_some_and(|pattern| self.bytes(pattern).starts_with(rest)) {
            return Look::Undecided;
        }
        let mut candidate = after.checked_sub(1);
        while let Some(index) = candidate {
            let pattern = &table[index];
            if rest.starts_with(self.bytes(pattern)) {
                let next = rest.get(pattern.length).copied();
                match pattern.label {
                    Label::Value(_) => return Look::Match { bytes: pattern.length, label: pattern.label },
                    Label::Name(_) if before.is_some_and(is_word) => {}
                    Label::Name(_) if next.is_none() && !ended => return Look::Undecided,
                    Label::Name(_) if next.is_some_and(is_word) => {}
                    Label::Name(_) => return Look::Match { bytes: pattern.length, label: pattern.label },
                }
            }
            candidate = pattern.prefix;
        }
        Look::Nothing
    }

    fn look_wrapped(&self, rest: &[u8], ended: bool) -> Look {
        let table = &self.wrapped.0;
        let after = table.partition_point(|pattern| {
            matches!(compare_wrapped(self.bytes(pattern), rest), Wrapped::Whole { .. } | Wrapped::Below)
        });
        if !ended && table.get(after).is_some_and(|p| compare_wrapped(self.bytes(p), rest) == Wrapped::CutOff)
        {
            return Look::Undecided;
        }
        let mut candidate = after.checked_sub(1);
        while let Some(index) = candidate {
            let pattern = &table[index];
            if let Wrapped::Whole { bytes } = compare_wrapped(self.bytes(pattern), rest) {
                return Look::Match { bytes, label: pattern.label };
            }
            candidate = pattern.prefix;
        }
        Look::Nothing
    }
}

/// How a pattern compares with a text, one line break between two characters of the text being passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrapped {
    /// The text begins with the whole pattern, in so many bytes.
    Whole { bytes: usize },
    /// The pattern sorts before the text.
    Below,
    /// The pattern sorts behind the text.
    Above,
    /// The text ends within the pattern.
    CutOff,
}

fn compare_wrapped(pattern: &[u8], text: &[u8]) -> Wrapped {
    let mut place = 0;
    for (index, wanted) in pattern.iter().enumerate() {
        if index > 0 {
            place += break_length(&text[place..]);
        }
        match text.get(place) {
            None => return Wrapped::CutOff,
            // It may be half of a line break.
            Some(b'\r') if index > 0 && place + 1 == text.len() => return Wrapped::CutOff,
            Some(found) if wanted < found => return Wrapped::Below,
            Some(found) if wanted > found => return Wrapped::Above,
            Some(_) => place += 1,
        }
    }
    Wrapped::Whole { bytes: place }
}

fn break_length(text: &[u8]) -> usize {
    match text {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    }
}

/// How a text may begin that begins with `gram` and has line breaks in it.
fn wrapped_grams([a, b, c, _]: [u8; GRAM_BYTES]) -> [[u8; GRAM_BYTES]; 8] {
    const N: u8 = b'\n';
    const R: u8 = b'\r';
    [
        [a, N, b, c],
        [a, N, b, N],
        [a, N, b, R],
        [a, b, N, c],
        [a, b, c, N],
        [a, R, N, b],
        [a, b, R, N],
        [a, b, c, R],
    ]
}

#[inline(always)]
fn gram_of(window: &[u8]) -> [u8; GRAM_BYTES] {
    window.try_into().expect("a window has its length")
}

/// The two bits of a gram in the filter differ by these odd numbers.
const FIRST_FACTOR: u32 = 0x9e37_79b1;
const SECOND_FACTOR: u32 = 0x85eb_ca77;

#[inline(always)]
fn slot(gram: [u8; GRAM_BYTES], factor: u32) -> (usize, u64) {
    let hash = u32::from_le_bytes(gram).wrapping_mul(factor) >> 16;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
impl Patterns {
    /// Each pattern with its label, and whether line breaks within it are passed over.
    pub(super) fn all(&self) -> impl Iterator<Item = (&[u8], Label, bool)> {
        let of = |table: &'static str| table == "wrapped";
        let exact = self.exact.0.iter().map(move |p| (self.bytes(p), p.label, of("exact")));
        exact.chain(self.wrapped.0.iter().map(move |p| (self.bytes(p), p.label, of("wrapped"))))
    }
}

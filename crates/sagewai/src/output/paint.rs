//! Colours, or none: only on a terminal, and not where `NO_COLOR` is set.

/// What a colour stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Done.
    Good,
    /// Failed.
    Bad,
    /// On its way.
    Active,
    /// Waits, or deserves a look.
    Warn,
    /// Beside the point.
    Dim,
    /// A hint, a heading.
    Note,
}

/// Paints text, or leaves it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// For a stream that is a terminal or not.
    pub(crate) fn new(terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint { on: terminal && !refused && !dumb }
    }

    /// No colours.
    #[cfg(test)]
    pub(crate) fn off() -> Self {
        Paint { on: false }
    }

    /// `text` in the colour of `tone`.
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        if !self.on {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "1;31",
            Tone::Active => "36",
            Tone::Warn => "33",
            Tone::Dim => "2",
            Tone::Note => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

//! Inline text, joined as a browser would show it.

/// The text of one block while it is read.
///
/// Outside preformatted text, runs of white space (no-break spaces too) become one space, which is
/// dropped at the edges of a line. Control characters and soft hyphens are never kept.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    text: String,
    has_space: bool,
    breaks: usize,
    has_cell_edge: bool,
}

impl Lines {
    /// Appends text.
    pub(crate) fn push(&mut self, text: &str, is_preformatted: bool) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            // Nearly all text: copied at once.
            let plain = plain_bytes(rest.as_bytes());
            if plain > 0 {
                self.settle_space(is_preformatted);
                self.text.push_str(&rest[..plain]);
                rest = &rest[plain..];
                continue;
            }
            rest = &rest[c.len_utf8()..];
            let is_kept_space = is_preformatted && matches!(c, '\n' | '\t' | ' ');
            if !is_kept_space && (c.is_whitespace() || c == '\u{a0}') {
                self.has_space = true;
            } else if is_kept_space || !(c.is_control() || matches!(c, '\u{ad}' | '\u{feff}')) {
                self.settle_space(is_preformatted);
                self.text.push(c);
            }
        }
    }

    /// Ends a line. True if this is the second break in a row, which ends a paragraph.
    pub(crate) fn break_line(&mut self) -> bool {
        self.has_space = false;
        self.breaks += 1;
        self.breaks > 1
    }

    /// Marks that a new table cell starts; cells are told apart by ` | `.
    pub(crate) fn separate_cell(&mut self) {
        self.has_cell_edge |= !self.text.is_empty();
    }

    /// Whether nothing was read yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The text of the block that ends here, if it has any.
    pub(crate) fn take(&mut self) -> Option<String> {
        let block = std::mem::take(self);
        let text = block.text.trim_end();
        let is_blank = text.trim_start().is_empty();
        (!is_blank).then(|| text.trim_start_matches('\n').to_owned())
    }

    /// Writes the separation that is due before the next character.
    fn settle_space(&mut self, is_preformatted: bool) {
        let separation = if self.text.is_empty() {
            ""
        } else if self.has_cell_edge {
            " | "
        } else if self.breaks > 0 {
            "\n"
        } else if self.has_space {
            " "
        } else {
            ""
        };
        self.text.push_str(separation);
        if is_preformatted {
            // Further breaks are empty lines.
            for _ in 1..self.breaks {
                self.text.push('\n');
            }
        }
        (self.has_space, self.breaks, self.has_cell_edge) = (false, 0, false);
    }
}

/// Length of what stands at the start of the text and is kept as it is, preformatted or not: words
/// with single spaces between them.
fn plain_bytes(text: &[u8]) -> usize {
    let mut end = 0;
    while let Some(byte) = text.get(end) {
        let is_plain = match byte {
            b'!'..=b'~' => true,
            b' ' => end > 0 && text.get(end + 1).is_some_and(u8::is_ascii_graphic),
            // First bytes of the blocks of U+0080, U+1680, U+2000 and U+FEFF, in which there are
            // spaces, controls and marks without width; U+3000 is a space as well.
            0x7F | 0xC2 | 0xE1 | 0xE2 | 0xEF => false,
            0xE3 => text.get(end + 1) != Some(&0x80),
            byte => *byte >= 0x80,
        };
        if !is_plain {
            break;
        }
        end += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn collapsed(text: &str) -> Option<String> {
        let mut lines = Lines::default();
        lines.push(text, false);
        lines.take()
    }

    #[test]
    fn white_space_is_collapsed_and_control_characters_go() {
        assert_eq!(
            collapsed(" a\n\t b\u{a0}\u{a0}c ").as_deref(),
            Some("a b c")
        );
        assert_eq!(
            collapsed("a\u{0}b\u{1}c\u{7f}d\u{ad}e").as_deref(),
            Some("abcde")
        );
        assert_eq!(collapsed(" \n"), None);
    }

    proptest! {
        #[test]
        fn a_text_reads_the_same_character_by_character(
            text in "([ab \\n\t\u{7f}\u{80}\u{85}\u{a0}\u{ad}é\u{1680}\u{2003}\u{200b}ー\u{3000}\u{3001}\u{feff}漢😀]|\\PC){0,20}",
            is_preformatted: bool,
        ) {
            let (mut whole, mut single) = (Lines::default(), Lines::default());
            whole.push(&text, is_preformatted);
            for c in text.chars() {
                single.push(c.encode_utf8(&mut [0; 4]), is_preformatted);
            }
            prop_assert_eq!(whole.take(), single.take());
        }
    }

    #[test]
    fn preformatted_text_keeps_lines_and_indents() {
        let mut lines = Lines::default();
        lines.push("\n  a\n\n\tb \n", true);
        assert_eq!(lines.take().as_deref(), Some("  a\n\n\tb"));
    }

    #[test]
    fn two_breaks_in_a_row_end_a_paragraph() {
        let mut lines = Lines::default();
        lines.push("a ", false);
        assert!(!lines.break_line());
        lines.push(" b", false);
        assert!(!lines.break_line());
        lines.push(" ", false);
        assert!(lines.break_line());
        assert_eq!(lines.take().as_deref(), Some("a\nb"));
    }
}

//! Text that others wrote, on its way to a terminal or a log.
//!
//! A bundle, a note, a payload file or a name in a storage may hold anything: an escape sequence that clears the screen, a line
//! break and a false "sound" behind it, a mark that turns the order of the letters around. What is printed of it is harmless,
//! and no longer than a reader can take in.

use std::fmt::{self, Write};

/// How much of one text is shown, in characters.
const SHOWN_MAX: usize = 300;

/// Shows a text in one line: what is no plain character is written as its escape, as in `\u{1b}`, and a long text is cut.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(SHOWN_MAX * 4));
    for (count, character) in text.chars().enumerate() {
        if count == SHOWN_MAX {
            shown.push('…');
            break;
        }
        push(&mut shown, character);
    }
    shown
}

/// The same for a text of several lines and any length, of which somebody else wrote parts: line breaks stay.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' {
            harmless.push('\n');
        } else {
            push(&mut harmless, character);
        }
    }
    harmless
}

/// A text that is written by [`shown`].
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.0))
    }
}

fn push(text: &mut String, character: char) {
    // What the language's own escapes leave as it is, is printable: no control or format character, no separator of lines, no
    // code point that is not assigned.
    let printable = matches!(character, ' ' | '"' | '\'' | '\\') || {
        let mut escaped = character.escape_debug();
        escaped.next() == Some(character) && escaped.next().is_none()
    };
    if printable {
        text.push(character);
    } else {
        // Writing to a string never fails.
        let _ = write!(text, "{}", character.escape_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_upon_is_written_as_its_escape() {
        for (text, expected) in [
            ("Zoë's \"größte\" 备份 \\ 7 %", "Zoë's \"größte\" 备份 \\ 7 %"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("x\nsound: y\r\tz\0", "x\\nsound: y\\r\\tz\\u{0}"),
            ("a\u{9b}31m\u{7f}\u{85}", "a\\u{9b}31m\\u{7f}\\u{85}"),
            (
                "a\u{202e}b\u{2066}c\u{200f}\u{61c}",
                "a\\u{202e}b\\u{2066}c\\u{200f}\\u{61c}",
            ),
            (
                "a\u{2028}b\u{2029}\u{feff}\u{200b}",
                "a\\u{2028}b\\u{2029}\\u{feff}\\u{200b}",
            ),
            (
                "\u{e0041}\u{fffff}\u{ad}\u{a0}",
                "\\u{e0041}\\u{fffff}\\u{ad}\\u{a0}",
            ),
        ] {
            assert_eq!(shown(text), expected);
            assert_eq!(harmless(text), expected.replace("\\n", "\n"));
            assert_eq!(Shown(text).to_string(), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let shown = shown(&"é".repeat(100_000));
        assert_eq!(shown.chars().count(), SHOWN_MAX + 1);
        assert!(shown.ends_with("é…"));
    }
}

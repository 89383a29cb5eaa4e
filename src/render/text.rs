//! Pieces of text: their width in a terminal, and names from traced programs made safe to print.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that `text` takes in a terminal (Unicode Standard Annex 11).
pub fn width(text: &str) -> usize {
    text.width()
}

/// As much of `text` as fits into `columns`, with `…` in place of what does not, and safe for a terminal: control
/// characters, line breaks and characters that turn the writing direction are spelled out (`\n`, `\u{1b}`), and marks
/// heaped upon one letter are thinned. Costs no more than `columns`, however long the text.
pub fn fit(text: &str, columns: usize) -> String {
    const MAX_MARKS: usize = 4;
    let mut fitted = String::new();
    let (mut used, mut room_for_dots, mut marks) = (0, 0, 0);
    for (index, c) in text.chars().enumerate() {
        let piece = escape(c);
        let piece_width = match &piece {
            Some(escaped) => width(escaped),
            // Asks for the wide, coloured form of the character before it.
            None if c == '\u{fe0f}' => 1,
            None => c.width().unwrap_or(0),
        };
        if used + piece_width > columns || index > columns * 8 {
            fitted.truncate(room_for_dots);
            if columns > 0 {
                fitted.push('…');
            }
            return fitted;
        }
        marks = if piece_width == 0 { marks + 1 } else { 0 };
        if marks > MAX_MARKS {
            continue;
        }
        match piece {
            Some(escaped) => fitted.push_str(&escaped),
            None => fitted.push(c),
        }
        used += piece_width;
        if used < columns {
            room_for_dots = fitted.len();
        }
    }
    fitted
}

/// How a character that must not reach the terminal is spelled; `None` for one that may.
fn escape(c: char) -> Option<Cow<'static, str>> {
    let turns_or_hides = matches!(
        c,
        '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    match c {
        '\n' => Some("\\n".into()),
        '\r' => Some("\\r".into()),
        '\t' => Some("\\t".into()),
        _ if c.is_control() || turns_or_hides => Some(c.escape_unicode().to_string().into()),
        _ => None,
    }
}

/// `text` broken at spaces into lines of at most `columns`; a word that is longer is cut. Not for text that is not
/// safe: see [`fit`].
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let word = fit(word, columns);
        let last = lines.len() - 1;
        if used > 0 && used + 1 + width(&word) > columns {
            used = width(&word);
            lines.push(word);
        } else {
            if used > 0 {
                lines[last].push(' ');
                used += 1;
            }
            used += width(&word);
            lines[last].push_str(&word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_cut_at_their_width_and_disarmed() {
        for (text, columns, expected) in [
            ("router.modal_call", 20, "router.modal_call"),
            ("router.modal_call", 17, "router.modal_call"),
            ("router.modal_call", 16, "router.modal_ca…"),
            ("模型推理", 8, "模型推理"),
            ("模型推理", 7, "模型推…"),
            ("模型推理", 6, "模型…"),
            ("e\u{301}te\u{301}", 3, "e\u{301}te\u{301}"),
            ("👩\u{200d}🔬 lab", 20, "👩\u{200d}🔬 lab"),
            ("\u{1b}[31mred\u{7}", 30, "\\u{1b}[31mred\\u{7}"),
            ("two\nlines\ttab", 30, "two\\nlines\\ttab"),
            ("\u{9b}2J \u{202e}evil", 30, "\\u{9b}2J \\u{202e}evil"),
            ("a", 0, ""),
            ("ab", 1, "…"),
        ] {
            assert_eq!(fit(text, columns), expected, "{text:?} in {columns}");
        }
        let heap = format!("a{}", "\u{301}".repeat(50_000));
        assert!(fit(&heap, 10).len() < 50);
    }

    #[test]
    fn sentences_are_broken_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a verylongword b", 6), ["a", "veryl…", "b"]);
        assert_eq!(wrap("", 6), [""]);
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_asked_or_dangerous(text in any::<String>(), columns in 0..30_usize) {
            let fitted = fit(&text, columns);
            prop_assert!(width(&fitted) <= columns, "{fitted:?}");
            prop_assert!(!fitted.chars().any(char::is_control));
        }
    }
}

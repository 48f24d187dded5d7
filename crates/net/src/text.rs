//! Text in a remote's own words, fit to be logged and shown.

/// Longest text of a remote that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 300;

/// One line of at most 300 bytes, whatever was sent: no remote writes lines, or moves the cursor, in our log.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        let shown = if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
        if line.len() + shown.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        line.push(shown);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h3_a_remotes_words_are_one_short_line() {
        assert_eq!(one_line("über, out of space"), "über, out of space");
        assert_eq!(one_line("a\nb\x1b[2J\0"), "a\u{fffd}b\u{fffd}[2J\u{fffd}");
        assert_eq!(one_line(&"x".repeat(8 << 20)).len(), TEXT_BYTES_MAX);
        assert_eq!(one_line(&"€".repeat(1000)), "€".repeat(100));
        assert_eq!(one_line(&"\n".repeat(1000)).len(), TEXT_BYTES_MAX);
    }
}

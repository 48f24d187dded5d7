//! Words of a command as a shell takes them.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// A word of a command as a shell takes it, whatever is in it: on one line, and itself valid UTF-8.
///
/// A name with characters that are not seen, or that is no UTF-8, is written as `$'…'`, as ls(1) does, which bash, zsh, ksh and
/// busybox understand; all others as every shell does.
pub fn quoted(word: impl AsRef<OsStr>) -> String {
    let bytes = word.as_ref().as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(is_unseen) => quoted_text(text),
        _ => escaped(bytes),
    }
}

fn quoted_text(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut word = "$'".to_owned();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' | '\'' => word.extend(['\\', character]),
                character if is_unseen(character) => {
                    let mut buffer = [0; 4];
                    escape_bytes(&mut word, character.encode_utf8(&mut buffer).as_bytes());
                }
                character => word.push(character),
            }
        }
        escape_bytes(&mut word, chunk.invalid());
    }
    word.push('\'');
    word
}

/// True for what is not seen, or lets what is around it be seen in another order: control characters, and those that Unicode
/// calls formatting ones (general category Cf) and that have to do with the direction and the joining of text.
fn is_unseen(c: char) -> bool {
    let is_format = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || is_format
}

fn escape_bytes(word: &mut String, bytes: &[u8]) {
    bytes.iter().for_each(|byte| write!(word, "\\{byte:03o}").expect("a string takes all"));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_gets_back_what_was_quoted() {
        let plain: [&[u8]; 8] =
            [b"", b"a/b.c", b"a b", b"it's", b"$(touch x)", b"`x`;&|", "größe".as_bytes(), b"-rf"];
        let odd: [&[u8]; 6] =
            [b"a\nb", b"end\n", b"\x1b[31m", b"no \xff text'\\", "\u{85}".as_bytes(), b"\\\t'"];
        let shells = plain.iter().map(|word| ("sh", word)).chain(odd.iter().map(|word| ("bash", word)));
        for (shell, word) in shells {
            let quoted = quoted(OsStr::from_bytes(word));
            assert!(!quoted.chars().any(char::is_control), "{quoted}");
            // What cannot be run here is not tried.
            let Ok(output) = Command::new(shell).args(["-c", &format!("printf %s {quoted}")]).output() else {
                continue;
            };
            assert_eq!(output.stdout, *word, "{shell}: {quoted}");
        }
    }
}

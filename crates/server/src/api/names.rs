//! What requests name: directories, remotes, local paths, and "DIR or NAME"; checked where they enter.
//!
//! Paths below a synced root are not here: those are the core's `SyncPath`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name of a directory, remote or device, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Why text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing but white space.
    #[error("a name must not be empty")]
    Empty,
    /// Over [`NAME_BYTES_MAX`].
    #[error("a name has at most 255 bytes")]
    TooLong,
    /// A NUL.
    #[error("a name must not contain NUL")]
    Nul,
    /// A colon, in the name of a remote or device.
    #[error("a remote's or device's name must not contain ':' (REMOTE:NAME would be ambiguous)")]
    Colon,
}

fn check(text: &str) -> Result<(), NameError> {
    match text {
        _ if text.trim().is_empty() => Err(NameError::Empty),
        _ if text.len() > NAME_BYTES_MAX => Err(NameError::TooLong),
        _ if text.contains('\0') => Err(NameError::Nul),
        _ => Ok(()),
    }
}

/// The name that a directory is offered and joined by: any Unicode, spaces too, 1 to 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DirectoryName(String);

/// What this device calls a remote, or itself: as a directory's name, without `:`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RemoteName(String);

impl FromStr for DirectoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<DirectoryName, NameError> {
        check(text).map(|()| DirectoryName(text.to_owned()))
    }
}

impl FromStr for RemoteName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<RemoteName, NameError> {
        check(text)?;
        if text.contains(':') { Err(NameError::Colon) } else { Ok(RemoteName(text.to_owned())) }
    }
}

macro_rules! text_conversions {
    ($name:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<$name, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_conversions!(DirectoryName);
text_conversions!(RemoteName);

/// Why a request's path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocalPathError {
    /// Relative: the server does not know what to.
    #[error("{0}: not an absolute path; give the whole path")]
    Relative(String),
    /// A NUL byte.
    #[error("{0}: NUL in a path")]
    Nul(String),
    /// The `hex` form holds something else than pairs of hexadecimal digits.
    #[error("{0}: not hexadecimal")]
    NotHex(String),
}

/// An absolute path on this machine, of any bytes.
///
/// In JSON a string, or `{"hex": "2f…"}` where the bytes are not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "PathForm", into = "PathForm")]
pub struct LocalPath(PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PathForm {
    Text(String),
    Bytes { hex: String },
}

impl LocalPath {
    /// Checks a path.
    ///
    /// # Errors
    /// When it is relative or contains NUL.
    pub fn new(path: PathBuf) -> Result<LocalPath, LocalPathError> {
        if path.as_os_str().as_bytes().contains(&0) {
            return Err(LocalPathError::Nul(path.display().to_string()));
        }
        if !path.is_absolute() {
            return Err(LocalPathError::Relative(path.display().to_string()));
        }
        Ok(LocalPath(path))
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<PathForm> for LocalPath {
    type Error = LocalPathError;

    fn try_from(form: PathForm) -> Result<LocalPath, LocalPathError> {
        match form {
            PathForm::Text(text) => LocalPath::new(text.into()),
            PathForm::Bytes { hex } => {
                let bytes = from_hex(&hex).ok_or(LocalPathError::NotHex(hex))?;
                LocalPath::new(OsString::from_vec(bytes).into())
            }
        }
    }
}

impl From<LocalPath> for PathForm {
    fn from(path: LocalPath) -> PathForm {
        match path.0.into_os_string().into_string() {
            Ok(text) => PathForm::Text(text),
            Err(other) => PathForm::Bytes { hex: to_hex(other.as_bytes()) },
        }
    }
}

/// What a user gave for `DIR|NAME`: a directory's name wins over a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The text as it was typed, to be looked up as a name first; none where it is not UTF-8.
    pub name: Option<String>,
    /// The same as a path, made absolute by the client.
    pub path: LocalPath,
}

impl fmt::Display for Target {
    /// As the user typed it, control characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(&printable(name.as_ref())),
            None => f.write_str(&printable(self.path.as_path().as_os_str())),
        }
    }
}

/// `text` on one line: bytes that are not UTF-8 and control characters become `\xHH`.
pub fn printable(text: &OsStr) -> String {
    let mut shown = String::new();
    for chunk in text.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                shown.push_str(&format!("\\x{:02x}", u32::from(character)));
            } else {
                shown.push(character);
            }
        }
        chunk.invalid().iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
    }
    shown
}

/// How many there are, and of what.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `bytes` as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `to_hex` wrote.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let byte = |pair: &[u32]| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_any_unicode_but_not_empty() {
        for good in ["docs", "my docs", "Ünïcødé 🦀", "a:b", "-"] {
            assert!(good.parse::<DirectoryName>().is_ok(), "{good:?}");
        }
        for bad in ["", " ", "\t", "a\0b", &"x".repeat(256)] {
            assert!(bad.parse::<DirectoryName>().is_err(), "{bad:?}");
            assert!(bad.parse::<RemoteName>().is_err(), "{bad:?}");
        }
        assert_eq!("a:b".parse::<RemoteName>(), Err(NameError::Colon));
        assert!(serde_json::from_str::<RemoteName>("\"\"").is_err());
    }

    #[test]
    fn paths_of_any_bytes_survive_json() {
        for bytes in [b"/a b".as_slice(), b"/\xff\xfe/x", "/é".as_bytes()] {
            let path = LocalPath::new(OsString::from_vec(bytes.to_vec()).into()).expect("absolute");
            let json = serde_json::to_string(&path).expect("serialises");
            assert_eq!(serde_json::from_str::<LocalPath>(&json).expect("parses"), path, "{json}");
        }
    }

    #[test]
    fn relative_and_malformed_paths_are_refused() {
        for bad in
            ["\"a\"", "\"\"", "\"/a\\u0000\"", "{\"hex\":\"2f0\"}", "{\"hex\":\"2fzz\"}", "{\"hex\":\"61\"}"]
        {
            assert!(serde_json::from_str::<LocalPath>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn printed_names_stay_on_one_line() {
        assert_eq!(printable(OsStr::from_bytes(b"a\n\x1b[31m\xff")), "a\\x0a\\x1b[31m\\xff");
    }
}

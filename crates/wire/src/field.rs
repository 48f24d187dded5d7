//! Reading protobuf one field at a time, and the memory that a message may take.
//!
//! Generated decoders build a whole message before anyone can object, so that 8 MiB of empty submessages would become
//! hundreds. The kinds that can be long are walked with this instead, and what they become is counted.

use prost::encoding::{WireType, decode_key, decode_varint};

use crate::WireError;

/// The length-delimited fields of one encoded message, as (number, bytes), in order; others are passed over.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Fields<'a> {
        Fields(bytes)
    }

    fn read(&mut self) -> Result<Option<(u32, &'a [u8])>, WireError> {
        while !self.0.is_empty() {
            let (number, wire_type) = decode_key(&mut self.0)?;
            match wire_type {
                WireType::Varint => _ = decode_varint(&mut self.0)?,
                WireType::SixtyFourBit => _ = self.take(8)?,
                WireType::ThirtyTwoBit => _ = self.take(4)?,
                WireType::LengthDelimited => {
                    let length = decode_varint(&mut self.0)?;
                    return Ok(Some((number, self.take(length)?)));
                }
                WireType::StartGroup | WireType::EndGroup => {
                    return Err(WireError::Malformed("groups are not used".to_owned()));
                }
            }
        }
        Ok(None)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or_else(|| WireError::Malformed("cut off".to_owned()))?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, &'a [u8]), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.read().transpose();
        if matches!(result, Some(Err(_))) {
            self.0 = &[];
        }
        result
    }
}

/// Memory that what is decoded may still take, in bytes, roughly.
pub(crate) struct Budget(usize);

impl Budget {
    /// Sixteen times the longest message: well-formed traffic takes about five times its bytes.
    pub(crate) const MESSAGE: usize = 16 * file_sync_core::message::MESSAGE_BYTES_MAX;

    pub(crate) fn new() -> Budget {
        Budget(Budget::MESSAGE)
    }

    pub(crate) fn take<T>(&mut self, count: usize, extra_bytes: usize) -> Result<(), WireError> {
        let wanted = count.saturating_mul(size_of::<T>()).saturating_add(extra_bytes);
        self.0 = self.0.checked_sub(wanted).ok_or(WireError::TooLarge)?;
        Ok(())
    }
}

/// Bytes that must have one length.
pub(crate) fn exact<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], WireError> {
    bytes.try_into().map_err(|_| WireError::Length { field, length: bytes.len(), expected: N })
}

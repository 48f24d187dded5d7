//! Memory for large pieces, used again as long as some are asked for. What the allocator is given back it gives back to the
//! system, which makes every page of it anew for the next piece.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use file_sync_wire::content::PIECE_BYTES_MAX;

/// So many wait to be used again: those of a window.
const WAITING_MAX: usize = 8;
/// Shorter pieces have memory of their own: they must not take up that of the longest. In bytes.
const LARGE_BYTES_MIN: usize = PIECE_BYTES_MAX / 2 + 1;

/// The memory of one connection.
#[derive(Default)]
pub(crate) struct Buffers {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    is_wanted: bool,
    free: Vec<Vec<u8>>,
}

/// A piece in memory that is used again once nobody has it any more.
struct Lent {
    buffers: Arc<Buffers>,
    data: Vec<u8>,
}

impl Buffers {
    /// An empty buffer with room for so many bytes.
    pub(crate) fn take(&self, n_bytes: usize) -> Vec<u8> {
        if n_bytes < LARGE_BYTES_MIN {
            return Vec::with_capacity(n_bytes);
        }
        let free = self.waiting().free.pop();
        free.unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES_MAX.max(n_bytes)))
    }

    /// What was read into a buffer.
    pub(crate) fn piece(self: &Arc<Self>, data: Vec<u8>) -> Bytes {
        if data.capacity() < LARGE_BYTES_MIN {
            return data.into();
        }
        Bytes::from_owner(Lent { buffers: Arc::clone(self), data })
    }

    /// Says whether pieces are on their way. If not, nothing is kept, now or later.
    pub(crate) fn want(&self, is_wanted: bool) {
        let mut waiting = self.waiting();
        waiting.is_wanted = is_wanted;
        if !is_wanted {
            waiting.free = Vec::new();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No code that holds it can leave it half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut waiting = self.buffers.waiting();
        if waiting.is_wanted && waiting.free.len() < WAITING_MAX {
            let mut data = std::mem::take(&mut self.data);
            data.clear();
            waiting.free.push(data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n_free(buffers: &Buffers) -> usize {
        buffers.waiting().free.len()
    }

    #[test]
    fn h3_memory_is_used_again_while_pieces_come_and_none_is_kept_afterwards() {
        let buffers = Arc::new(Buffers::default());
        buffers.want(true);
        let mut data = buffers.take(PIECE_BYTES_MAX);
        data.extend_from_slice(&[7; PIECE_BYTES_MAX]);
        let at = data.as_ptr();
        let piece = buffers.piece(data);
        assert_eq!(piece, [7; PIECE_BYTES_MAX][..]);
        let part = piece.slice(3..);
        drop(piece);
        assert_eq!(n_free(&buffers), 0, "somebody has a part of it");
        drop(part);
        let again = buffers.take(LARGE_BYTES_MIN);
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        let last = buffers.piece(again);
        let many: Vec<Bytes> =
            (0..3 * WAITING_MAX).map(|_| buffers.piece(buffers.take(PIECE_BYTES_MAX))).collect();
        drop(many);
        assert_eq!(n_free(&buffers), WAITING_MAX);
        buffers.want(false);
        assert_eq!(n_free(&buffers), 0);
        drop(last);
        assert_eq!(n_free(&buffers), 0);
    }

    #[test]
    fn h3_short_pieces_take_no_more_memory_than_they_need() {
        let buffers = Arc::new(Buffers::default());
        buffers.want(true);
        drop(buffers.piece(buffers.take(PIECE_BYTES_MAX)));
        let short = buffers.take(1_000);
        assert_eq!((short.capacity(), n_free(&buffers)), (1_000, 1));
        drop(buffers.piece(short));
        assert_eq!(n_free(&buffers), 1);
    }
}

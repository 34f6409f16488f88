//! What waits to be written to one connection, bounded in frames and in bytes.

use bytes::Bytes;
use std::collections::VecDeque;

/// Frames taken for writing count until [`Outbox::written`] says that they are gone.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Bytes>,
    /// Bytes of the first frame that are gone already.
    begun: usize,
    frames: usize,
    bytes: usize,
    max_frames: usize,
    max_bytes: usize,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Outbox {
    pub(crate) fn new(max_frames: usize, max_bytes: usize) -> Self {
        Self { queue: VecDeque::new(), begun: 0, frames: 0, bytes: 0, max_frames, max_bytes }
    }

    /// All of these, or none.
    pub(crate) fn push(&mut self, frames: &[Bytes]) -> Result<(), Overflow> {
        let bytes = self.room_for(frames)?;
        self.frames += frames.len();
        self.bytes += bytes;
        self.queue.extend(frames.iter().cloned());
        Ok(())
    }

    /// How many bytes these are, if there is room for them.
    pub(crate) fn room_for(&self, frames: &[Bytes]) -> Result<usize, Overflow> {
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        if self.frames + frames.len() > self.max_frames || self.bytes + bytes > self.max_bytes {
            return Err(Overflow);
        }
        Ok(bytes)
    }

    /// What is left of frames that passed by an empty queue: of the first one, `begun` bytes are gone.
    pub(crate) fn push_rest(&mut self, frames: &[Bytes], begun: usize) {
        debug_assert!(self.queue.is_empty(), "what waits comes first");
        self.begun = begun;
        self.frames += frames.len();
        self.bytes += frames.iter().map(Bytes::len).sum::<usize>();
        self.queue.extend(frames.iter().cloned());
    }

    /// A packet of the protocol itself: few, small, and not subject to the bounds.
    pub(crate) fn push_control(&mut self, frame: Bytes) {
        self.frames += 1;
        self.bytes += frame.len();
        self.queue.push_back(frame);
    }

    /// Everything that waits, for good.
    pub(crate) fn take(&mut self) -> VecDeque<Bytes> {
        let frames = std::mem::take(&mut self.queue);
        (self.begun, self.frames, self.bytes) = (0, 0, 0);
        frames
    }

    /// Moves everything to the end of `writing`. `offset` is how much of the first frame there is gone.
    pub(crate) fn take_all(&mut self, writing: &mut VecDeque<Bytes>, offset: &mut usize) {
        if writing.is_empty() {
            std::mem::swap(&mut self.queue, writing);
            *offset = std::mem::take(&mut self.begun);
        } else {
            writing.append(&mut self.queue);
        }
        // An idle connection holds no buffer.
        self.queue = VecDeque::new();
    }

    /// The next frame, if `accept` wants it.
    pub(crate) fn pop_if(&mut self, accept: impl FnOnce(&Bytes) -> bool) -> Option<Bytes> {
        if !accept(self.queue.front()?) {
            return None;
        }
        let frame = self.queue.pop_front();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        frame
    }

    /// These no longer wait.
    pub(crate) fn written(&mut self, frames: usize, bytes: usize) {
        self.frames -= frames;
        self.bytes -= bytes;
    }

    /// Frames and bytes that wait, or are being written.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.frames, self.bytes)
    }

    /// Whether at most half of what may wait does.
    pub(crate) fn has_room(&self) -> bool {
        self.frames <= self.max_frames / 2 && self.bytes <= self.max_bytes / 2
    }

    /// Moves the frame whose beginning is gone, if there is one: what follows it would not be understood without its end.
    pub(crate) fn take_begun(&mut self, writing: &mut VecDeque<Bytes>, offset: &mut usize) {
        if self.begun > 0 {
            writing.extend(self.queue.pop_front());
            *offset = std::mem::take(&mut self.begun);
        }
    }

    /// Nothing of it is written any more. How much waited stays known.
    pub(crate) fn clear(&mut self) {
        (self.queue, self.begun) = (VecDeque::new(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Bytes {
        Bytes::from(vec![0; length])
    }

    #[test]
    fn bounds_hold_for_frames_and_for_bytes() {
        let mut outbox = Outbox::new(3, 100);
        assert_eq!(outbox.push(&[frame(50), frame(50)]), Ok(()));
        assert_eq!(outbox.waiting(), (2, 100));
        assert_eq!(outbox.push(&[frame(1)]), Err(Overflow));
        assert_eq!(outbox.push(&[frame(0)]), Ok(()));
        assert_eq!(outbox.push(&[frame(0)]), Err(Overflow));
    }

    #[test]
    fn a_group_is_taken_whole_or_not_at_all() {
        let mut outbox = Outbox::new(3, 100);
        assert_eq!(outbox.push(&[frame(1), frame(1)]), Ok(()));
        assert_eq!(outbox.push(&[frame(1), frame(1)]), Err(Overflow));
        let (mut writing, mut offset) = (VecDeque::new(), 0);
        outbox.take_all(&mut writing, &mut offset);
        assert_eq!((writing.len(), offset), (2, 0));
    }

    #[test]
    fn what_is_being_written_still_counts() {
        let mut outbox = Outbox::new(1, 100);
        assert_eq!(outbox.push(&[frame(10)]), Ok(()));
        let (mut writing, mut offset) = (VecDeque::new(), 0);
        outbox.take_all(&mut writing, &mut offset);
        assert_eq!(outbox.push(&[frame(10)]), Err(Overflow));
        outbox.written(1, 10);
        assert_eq!(outbox.push(&[frame(10)]), Ok(()));
    }

    #[test]
    fn a_frame_that_is_half_gone_goes_on_where_it_was() {
        let mut outbox = Outbox::new(3, 100);
        outbox.push_rest(&[frame(50), frame(20)], 30);
        assert_eq!(outbox.waiting(), (2, 70));
        let (mut writing, mut offset) = (VecDeque::new(), 0);
        outbox.take_begun(&mut writing, &mut offset);
        assert_eq!((writing.len(), offset), (1, 30));
        outbox.take_begun(&mut writing, &mut offset);
        assert_eq!((writing.len(), offset), (1, 30));
        outbox.take_all(&mut writing, &mut offset);
        assert_eq!((writing.len(), offset), (2, 30));
    }

    #[test]
    fn control_packets_pass_the_bounds() {
        let mut outbox = Outbox::new(0, 0);
        outbox.push_control(frame(3));
        assert!(outbox.pop_if(|_| false).is_none());
        assert_eq!(outbox.pop_if(|_| true), Some(frame(3)));
        assert!(outbox.pop_if(|_| true).is_none());
    }
}

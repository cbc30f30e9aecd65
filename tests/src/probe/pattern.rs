//! Content that shows any byte lost, doubled, moved or changed: a function of the offset.

use std::io::{self, Read, Write};

const BLOCK: usize = 1 << 16;

/// An endless stream of bytes, different for each seed.
#[derive(Clone, Debug)]
pub struct Pattern {
    block: Vec<u8>,
}

impl Pattern {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut block = Vec::with_capacity(BLOCK);
        while block.len() < BLOCK {
            // xorshift64 (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        Self { block }
    }

    /// Block `number` of the stream: the common block, with its number in front.
    fn block(&mut self, number: u64) -> &[u8] {
        self.block[..8].copy_from_slice(&number.to_le_bytes());
        &self.block
    }

    /// Writes the first `length` bytes of the stream.
    pub fn write(&mut self, writer: &mut impl Write, length: u64) -> io::Result<()> {
        self.for_each_block(length, |block| writer.write_all(block))
    }

    /// The first `length` bytes of the stream.
    #[must_use]
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length);
        self.write(&mut bytes, length as u64).expect("writing to a vector does not fail");
        bytes
    }

    /// Reads `length` bytes and returns the offset of the first that differs from the stream.
    pub fn check(&mut self, reader: &mut impl Read, length: u64) -> io::Result<Option<u64>> {
        let (mut fault, mut offset) = (None, 0);
        let mut buffer = vec![0; BLOCK];
        self.for_each_block(length, |expected| {
            let found = &mut buffer[..expected.len()];
            reader.read_exact(found)?;
            if fault.is_none() && found != expected {
                let first =
                    found.iter().zip(expected).position(|(found, expected)| found != expected);
                fault = first.map(|first| offset + first as u64);
            }
            offset += expected.len() as u64;
            Ok(())
        })?;
        Ok(fault)
    }

    fn for_each_block(
        &mut self,
        length: u64,
        mut work: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut left, mut number) = (length, 0);
        while left > 0 {
            let block = self.block(number);
            let used = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            work(&block[..used])?;
            left -= used as u64;
            number += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    const LENGTH: usize = 200_000;

    #[test]
    fn what_is_written_is_found_without_fault() {
        let bytes = Pattern::new(1).bytes(LENGTH);
        let fault = Pattern::new(1).check(&mut bytes.as_slice(), LENGTH as u64).unwrap();
        assert_eq!((bytes.len(), fault), (LENGTH, None));
    }

    #[test]
    fn the_first_changed_byte_is_found() {
        let mut bytes = Pattern::new(1).bytes(LENGTH);
        bytes[70_000] ^= 1;
        bytes[170_000] ^= 1;
        let fault = Pattern::new(1).check(&mut bytes.as_slice(), LENGTH as u64).unwrap();
        assert_eq!(fault, Some(70_000));
    }

    #[test]
    fn swapped_blocks_are_found() {
        let mut bytes = Pattern::new(1).bytes(1 << 17);
        bytes.rotate_left(1 << 16);
        assert!(Pattern::new(1).check(&mut bytes.as_slice(), 1 << 17).unwrap().is_some());
    }
}

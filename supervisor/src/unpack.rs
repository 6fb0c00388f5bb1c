//! One compressed file of a stream: inflated piece by piece, counted, hashed and written.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use miniz_oxide::inflate::stream::{inflate, InflateState};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};
use sha2::{Digest, Sha256};

use crate::artifact::hex;
use crate::sys::{Errno, Fd};

const PIECE: usize = 64 * 1024;

/// Standard input, with the two buffers that all files share.
pub struct Stream {
    input: Fd,
    compressed: Vec<u8>,
    plain: Vec<u8>,
    state: Box<InflateState>,
}

impl Stream {
    pub fn new(input: Fd) -> Self {
        Stream {
            input,
            compressed: vec![0; PIECE],
            plain: vec![0; PIECE],
            state: InflateState::new_boxed(DataFormat::Zlib),
        }
    }

    /// Exactly this many bytes.
    pub fn take(&self, count: usize) -> Result<Vec<u8>, String> {
        let mut all = vec![0; count];
        let mut rest = all.as_mut_slice();
        while !rest.is_empty() {
            let got = self.read(rest)?;
            rest = rest.get_mut(got..).unwrap_or_default();
        }
        Ok(all)
    }

    fn read(&self, into: &mut [u8]) -> Result<usize, String> {
        loop {
            return match self.input.read(into) {
                Ok(0) => Err("the stream ended too early".into()),
                Ok(count) => Ok(count),
                Err(Errno(libc::EINTR)) => continue,
                Err(error) => Err(format!("the stream cannot be read: {error}")),
            };
        }
    }

    /// Inflates the next `compressed` bytes into a file. They must give `size` bytes, no more and
    /// no fewer. The digest of what was written.
    pub fn unpack(&mut self, compressed: u64, size: u64, file: &Fd) -> Result<String, String> {
        self.state.reset(DataFormat::Zlib);
        let mut hash = Sha256::new();
        let (mut left, mut written, mut ended) = (compressed, 0_u64, false);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let mut buffer = core::mem::take(&mut self.compressed);
            let got = self.read(buffer.get_mut(..most).unwrap_or_default());
            self.compressed = buffer;
            let got = got?;
            left -= got as u64;
            let mut input = self.compressed.get(..got).unwrap_or_default();
            loop {
                let done = inflate(&mut self.state, input, &mut self.plain, MZFlush::None);
                input = input.get(done.bytes_consumed..).unwrap_or_default();
                let plain = self.plain.get(..done.bytes_written).unwrap_or_default();
                written += plain.len() as u64;
                if written > size {
                    return Err(format!("it is longer than the {size} bytes declared"));
                }
                hash.update(plain);
                file.write_all(plain)
                    .map_err(|error| format!("cannot be written: {error}"))?;
                match done.status {
                    Ok(MZStatus::StreamEnd) => ended = true,
                    Ok(MZStatus::Ok) if !plain.is_empty() || done.bytes_consumed > 0 => {}
                    // It wants more input.
                    Ok(_) | Err(miniz_oxide::MZError::Buf) if !ended => break,
                    _ => return Err("it is not zlib data".into()),
                }
                if ended && (!input.is_empty() || left > 0) {
                    return Err("something follows its zlib data".into());
                }
                if ended {
                    break;
                }
            }
        }
        if !ended || written != size {
            return Err(format!("it has {written} of the {size} bytes declared"));
        }
        Ok(hex(&hash.finalize()))
    }
}

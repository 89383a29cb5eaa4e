//! Compressed segments: written whole, read frame by frame, so that damage costs no more than the frame it hits.

use std::io;
use std::path::Path;
use std::sync::Arc;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use super::disk::{Disk, DiskFile};
use super::format::{HEADER, u32_at, u64_at};
use super::segments::{Form, Segment, name};

/// zstd's own default: about 300 MB a second, and spans shrink to a fifth or less.
const LEVEL: i32 = 3;
/// Raw bytes in a frame.
const FRAME: usize = 1 << 20;
/// A skippable frame, see RFC 8878 section 3.1.2.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
const FRAME_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// The segment's header, the raw file's length, and their CRC-32C.
const INFO: usize = HEADER + 8 + 4;
const CONTENT: u64 = 8 + INFO as u64;

/// The raw header of a compressed segment and the length of the raw file; `None` if they are damaged.
pub(super) fn read_header(file: &dyn DiskFile) -> io::Result<Option<([u8; HEADER], u64)>> {
    let mut bytes = [0; CONTENT as usize];
    let read = file.read_full_at(&mut bytes, 0)?;
    let info = &bytes[8..];
    let is_whole = read == bytes.len()
        && u32_at(&bytes, 0) == SKIPPABLE_MAGIC
        && crc32c::crc32c(&info[..HEADER + 8]) == u32_at(info, HEADER + 8);
    let mut header = [0; HEADER];
    header.copy_from_slice(&info[..HEADER]);
    Ok(is_whole.then(|| (header, u64_at(info, HEADER))))
}

/// Writes the compressed form of a raw segment beside it, durably, and gives its length. Whatever interrupts it leaves
/// the raw one as it was. Holds two frames.
pub(super) fn compress(disk: &dyn Disk, directory: &Path, segment: &Segment) -> io::Result<u64> {
    let temporary = directory.join(format!("{:012}.tmp", segment.number));
    let written = write(disk, directory, segment, &temporary);
    if written.is_err() {
        // Removed at the next start at the latest.
        let _ = disk.remove(&temporary);
    }
    written
}

fn write(disk: &dyn Disk, directory: &Path, segment: &Segment, temporary: &Path) -> io::Result<u64> {
    let raw = disk.open(&segment.path(directory))?;
    let to = disk.create(temporary)?;
    let mut compressor = Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    let mut chunk = vec![0; FRAME];
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(FRAME));
    let (mut from, mut at) = (0, CONTENT);
    while from < segment.bytes {
        let wanted = FRAME.min(usize::try_from(segment.bytes - from).unwrap_or(FRAME));
        if raw.read_full_at(&mut chunk[..wanted], from)? < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if from == 0 {
            to.write_all_at(&info(&chunk, segment.bytes), 0)?;
        }
        compressor.compress_to_buffer(&chunk[..wanted], &mut frame)?;
        to.write_all_at(&frame, at)?;
        from += wanted as u64;
        at += frame.len() as u64;
    }
    to.sync()?;
    disk.rename(temporary, &directory.join(name(segment.number, Form::Compressed)))?;
    disk.sync_directory(directory)?;
    Ok(at)
}

fn info(raw: &[u8], raw_bytes: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CONTENT as usize);
    bytes.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    bytes.extend_from_slice(&(INFO as u32).to_le_bytes());
    bytes.extend_from_slice(&raw[..HEADER.min(raw.len())]);
    bytes.resize(8 + HEADER, 0);
    bytes.extend_from_slice(&raw_bytes.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The raw bytes of a compressed segment, a frame at a time.
pub(super) struct Frames {
    file: Arc<dyn DiskFile>,
    at: u64,
    /// Compressed bytes from `at` on.
    ahead: Vec<u8>,
    chunk: Vec<u8>,
}

impl Frames {
    pub fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, at: CONTENT, ahead: Vec::new(), chunk: Vec::with_capacity(FRAME) }
    }

    /// Appends the next frame's bytes; none at the end. A frame that cannot be read is left out: the records that it
    /// touched have wrong checksums then.
    pub fn next_into(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        loop {
            self.look_ahead()?;
            if self.ahead.is_empty() {
                return Ok(());
            }
            if let Some(length) = self.decompress() {
                bytes.extend_from_slice(&self.chunk);
                self.advance(length);
                return Ok(());
            }
            let next = self.ahead[1..].windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC);
            self.advance(next.map_or(self.ahead.len().saturating_sub(FRAME_MAGIC.len()).max(1), |place| place + 1));
        }
    }

    /// Decompresses the frame that begins here, if one does, and gives its length.
    fn decompress(&mut self) -> Option<usize> {
        let length = zstd_safe::find_frame_compressed_size(&self.ahead).ok()?;
        let frame = self.ahead.get(..length)?;
        self.chunk.clear();
        Decompressor::new().ok()?.decompress_to_buffer(frame, &mut self.chunk).ok()?;
        Some(length)
    }

    fn advance(&mut self, bytes: usize) {
        self.ahead.drain(..bytes);
        self.at += bytes as u64;
    }

    fn look_ahead(&mut self) -> io::Result<()> {
        let known = self.ahead.len();
        let most = zstd_safe::compress_bound(FRAME);
        if known < most {
            self.ahead.resize(most, 0);
            let read = self.file.read_full_at(&mut self.ahead[known..], self.at + known as u64);
            self.ahead.truncate(known + *read.as_ref().unwrap_or(&0));
            read?;
        }
        Ok(())
    }
}

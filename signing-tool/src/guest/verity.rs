//! The dm-verity tree of an image: SHA-256, format 1, written behind the data, streaming.
//!
//! Layout as `veritysetup format --hash-offset` makes it and the kernel reads it
//! (Documentation/admin-guide/device-mapper/verity.rst): data blocks, one block with the superblock, then the levels
//! of the tree from the root's children down to the hashes of the data. Each block is hashed with the salt in front.
//! Tests compare every byte with `veritysetup`. [req->COM-06]

use std::io::{self, Read, Seek, SeekFrom, Write};

use catenoid_schema::{
    digest::Digest,
    guest::{BLOCK_SIZE, Verity},
};
use sha2::{Digest as _, Sha256};

/// Bytes of a block.
const BLOCK: usize = BLOCK_SIZE as usize;
/// Bytes of a SHA-256 digest.
const HASH: usize = 32;
/// Digests in a block of the tree.
const FAN_OUT: u64 = (BLOCK / HASH) as u64;
/// Most data blocks: 2^32 (16 TiB), far over any image and far below an overflow of any offset.
const DATA_BLOCKS_LIMIT: u64 = 1 << 32;

/// Why a tree could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is nothing to protect, or more than a tree is made for.
    #[error("an image of {blocks} blocks cannot be protected (1 to {DATA_BLOCKS_LIMIT} blocks)")]
    Size {
        /// Blocks of data.
        blocks: u64,
    },
    /// The image could not be read.
    #[error("failed to read block {block} of the image")]
    ReadData {
        /// Index of the block.
        block: u64,
        /// What the system says.
        source: io::Error,
    },
    /// The tree could not be written.
    #[error("failed to write the hash tree at byte {offset}")]
    WriteTree {
        /// Offset in the image.
        offset: u64,
        /// What the system says.
        source: io::Error,
    },
}

/// Writes superblock and tree behind the first `data_blocks` blocks of `image`; `read` is called with the bytes of each block
/// read. The same data and salt give the same bytes. Holds one block per level in memory.
///
/// # Errors
/// [`Error`]; what stands behind the data is then undefined, the data itself is never touched.
pub(crate) fn append<I: Read + Seek + Write>(
    image: &mut I,
    data_blocks: u64,
    salt: Digest,
    mut read: impl FnMut(u64),
) -> Result<Verity, Error> {
    if !(1..=DATA_BLOCKS_LIMIT).contains(&data_blocks) {
        return Err(Error::Size { blocks: data_blocks });
    }
    let mut tree = Tree::new(data_blocks, salt);
    write_block(image, data_blocks * u64::from(BLOCK_SIZE), &superblock(data_blocks, salt))?;

    let mut block = [0; BLOCK];
    for index in 0..data_blocks {
        read_block(image, index, &mut block).map_err(|source| Error::ReadData { block: index, source })?;
        tree.add(image, &block)?;
        read(u64::from(BLOCK_SIZE));
    }
    Ok(Verity { root_hash: tree.finish(image)?, salt, data_blocks })
}

/// Bytes of an image with its superblock and tree.
pub(crate) fn total_size(data_blocks: u64) -> u64 {
    let tree: u64 = level_sizes(data_blocks).iter().sum();
    (data_blocks + 1 + tree) * u64::from(BLOCK_SIZE)
}

/// Blocks of each level, the hashes of the data first. Empty for a single data block, whose hash is the root.
fn level_sizes(data_blocks: u64) -> Vec<u64> {
    std::iter::successors(Some(data_blocks), |below| Some(below.div_ceil(FAN_OUT)))
        .skip(1)
        .zip(std::iter::successors(Some(data_blocks), |below| Some(below.div_ceil(FAN_OUT))))
        .take_while(|(_, below)| *below > 1)
        .map(|(level, _)| level)
        .collect()
}

/// `struct verity_sb` of cryptsetup's lib/verity/verity.c, padded to a block. Numbers are little-endian.
fn superblock(data_blocks: u64, salt: Digest) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"verity\0\0");
    put(8, &1_u32.to_le_bytes()); // version of the superblock
    put(12, &1_u32.to_le_bytes()); // hash type 1: salt first, digests aligned
    put(16, &super::fixed::uuid(b"verity", salt.as_bytes()));
    put(32, b"sha256");
    put(64, &BLOCK_SIZE.to_le_bytes()); // data blocks
    put(68, &BLOCK_SIZE.to_le_bytes()); // hash blocks
    put(72, &data_blocks.to_le_bytes());
    put(80, &32_u16.to_le_bytes()); // size of the salt; six bytes of padding follow
    put(88, salt.as_bytes());
    block
}

/// The tree while it grows: the block each level is filling, and where that block will stand.
struct Tree {
    salted: Sha256,
    levels: Vec<Level>,
    /// Set when the topmost block (or the only data block) was hashed.
    root: Option<Digest>,
}

struct Level {
    block: Box<[u8; BLOCK]>,
    /// Bytes of `block` that are filled.
    filled: usize,
    /// Offset of `block` in the image.
    offset: u64,
}

impl Tree {
    fn new(data_blocks: u64, salt: Digest) -> Self {
        let sizes = level_sizes(data_blocks);
        let mut after = total_size(data_blocks);
        let mut levels = Vec::with_capacity(sizes.len());
        for size in sizes {
            after -= size * u64::from(BLOCK_SIZE);
            levels.push(Level { block: Box::new([0; BLOCK]), filled: 0, offset: after });
        }
        Self { salted: Sha256::new_with_prefix(salt.as_bytes()), levels, root: None }
    }

    /// Hashes a block of data into the lowest level, and every block that this fills into the one above.
    fn add(&mut self, image: &mut (impl Seek + Write), data: &[u8; BLOCK]) -> Result<(), Error> {
        let mut hash = self.hash(data);
        for index in 0..self.levels.len() {
            let level = &mut self.levels[index];
            level.block[level.filled..level.filled + HASH].copy_from_slice(hash.as_bytes());
            level.filled += HASH;
            if level.filled < BLOCK {
                return Ok(());
            }
            hash = self.complete(image, index)?;
        }
        self.root = Some(hash);
        Ok(())
    }

    /// Completes the blocks that are filled in part, from below; the topmost one's hash is the root.
    fn finish(mut self, image: &mut (impl Seek + Write)) -> Result<Digest, Error> {
        for index in 0..self.levels.len() {
            if self.levels[index].filled == 0 {
                continue;
            }
            let hash = self.complete(image, index)?;
            match self.levels.get_mut(index + 1) {
                Some(above) => {
                    above.block[above.filled..above.filled + HASH].copy_from_slice(hash.as_bytes());
                    above.filled += HASH;
                }
                None => self.root = Some(hash),
            }
        }
        Ok(self.root.expect("the last level, or the only data block, gave the root"))
    }

    /// Writes the block of a level and starts its next one. Returns the hash of what was written.
    fn complete(&mut self, image: &mut (impl Seek + Write), index: usize) -> Result<Digest, Error> {
        let hash = self.hash(&self.levels[index].block);
        let level = &mut self.levels[index];
        write_block(image, level.offset, &level.block)?;
        level.block.fill(0);
        level.filled = 0;
        level.offset += u64::from(BLOCK_SIZE);
        Ok(hash)
    }

    fn hash(&self, block: &[u8; BLOCK]) -> Digest {
        Digest::from_bytes(self.salted.clone().chain_update(block).finalize().into())
    }
}

fn read_block(image: &mut (impl Read + Seek), index: u64, block: &mut [u8; BLOCK]) -> io::Result<()> {
    image.seek(SeekFrom::Start(index * u64::from(BLOCK_SIZE)))?;
    image.read_exact(block)
}

fn write_block(image: &mut (impl Seek + Write), offset: u64, block: &[u8; BLOCK]) -> Result<(), Error> {
    image
        .seek(SeekFrom::Start(offset))
        .and_then(|_| image.write_all(block))
        .map_err(|source| Error::WriteTree { offset, source })
}

// Package verity appends a dm-verity hash tree to a root filesystem image.
//
// The subset written is the one veritysetup calls "normal": hash type 1 (salt before
// the block), sha256, 4096-byte data and hash blocks. After Append the file is
//
//	data        DataBlocks * 4096 bytes, the filesystem (zero padded to a whole block)
//	superblock  one 4096-byte block at HashOffset, its first 512 bytes in use
//	hash tree   the highest level first, level 0 (digests of data blocks) last;
//	            every level is padded with zeros to whole blocks
//
// The root hash is the digest of the single block of the highest level. It goes on the
// kernel command line, which is trusted; the superblock is there for veritysetup only.
//
// Source: Linux Documentation/admin-guide/device-mapper/verity.rst, "On-disk format",
// and cryptsetup lib/verity/verity.c, struct verity_sb.
package verity

// Package disk writes a disk image: a partition table, partitions one after the other, each with
// its content or empty, and what boot ROMs read from fixed places, in a sparse file.
//
// The subset written: 512-byte sectors; a GPT of 128 entries, or an MBR of four primary
// partitions; partitions from 16 MiB on, aligned to 1 MiB, in table order, without gaps; 1 MiB for
// GPT's backup table at the end. What lies before 16 MiB, boot loaders and small
// partitions of fixed places, says so itself. All ids derive from a seed, so equal inputs give equal bytes.
//
// Source: UEFI specification 2.10, chapter 5.
package disk

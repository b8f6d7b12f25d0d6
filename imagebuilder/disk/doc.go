// Package disk writes a GPT disk image: partitions one after the other, each with its
// content or empty, in a sparse file.
//
// The subset written: 512-byte sectors, 128 entries, the first partition at 16 MiB
// (boot loaders of ARM boards live before it), partitions aligned to 1 MiB, in table
// order, without gaps; 1 MiB for the backup table at the end. All GUIDs derive from a
// seed, so equal inputs give equal bytes.
//
// Source: UEFI specification 2.10, chapter 5.
package disk

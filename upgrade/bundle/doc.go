// Package bundle writes, signs, reads and verifies bundles: signed files that each bring one system, its root and the boot files of
// a slot, to the nodes of one board. A reader needs the header alone to know who signed the bundle, what is in it, and the hash of every
// block; then any block can be fetched by its place in the file (an HTTP range) and checked by itself.
//
// # Format 1
//
// All numbers are unsigned and little endian.
//
//	offset  bytes  content
//	     0      8  magic "KEELSONB"
//	     8      4  format, 1
//	    12      4  M, the manifest's length; 1 to 1 MiB
//	    16      4  S, the signature's length; 0 to 4 KiB
//	    20      4  I, the index's length; a multiple of 16, 16 to 64 MiB
//	    24      8  length of the whole file; a multiple of 4096
//	    32     32  zero
//	    64      M  manifest: JSON, UTF-8
//	  64+M      S  signature of the manifest's M bytes: the text of a minisign signature file, prehashed ("ED")
//	64+M+S      I  index
//	               zero up to a multiple of 4096
//	               artefacts in the manifest's order, each followed by zeros up to a multiple of 4096; the last one ends the file
//
// The manifest is a JSON object as [Manifest] has it. Members that a reader does not know are ignored. Its artefacts, 1 to 256, name
// their places in the file and in the index; there is one possible place for each, so they cannot overlap and nothing lies between.
//
// The index has 16 bytes for each 4096-byte block of each artefact, the last one with its zeros: the first half of the block's SHA-256.
//
// What vouches for what: the signature for the manifest; the manifest for the index, by its SHA-256, and for each artefact; the
// index for each block. The first 64 bytes and the zeros vouch for nothing: a reader checks that they are as the manifest demands.
// The untrusted comment, the signature's first line, is not signed.
//
// # Keys
//
// Keys and signatures are minisign's: Ed25519 over BLAKE2b-512, files as minisign 0.11 writes them. A node trusts the keys on
// its kernel command line, of which there may be several: to replace a key, ship a system that trusts the old and the new one with a bundle
// signed with the old, then sign with the new.
//
// Source: https://jedisct1.github.io/minisign/, "Signature format", "Public key format" and "Secret key format".
package bundle

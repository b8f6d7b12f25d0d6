// Package wipe makes what a node has stored unreadable: its state partition, or the whole disk it boots from.
//
// The order gives the most for the time there is, as somebody may cut the power of a machine that is being given away:
// first the files with keys, while the file system is still mounted; then the file system's superblocks and their copies;
// then the whole partition is discarded, which makes a flash chip erase its blocks if it can, and overwritten with zeros,
// which makes sure on those that only said so. Blocks that a flash chip keeps aside are out of reach of any software.
package wipe

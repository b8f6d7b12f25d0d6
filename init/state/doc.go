// Package state brings up the state partition, the only place of a node that is written.
//
// First boot: the partition table is fitted to the disk, the partition grows to its end
// and gets a file system. Later boots: the file system is checked, and grows when the
// disk has grown. Then it is mounted on config.StateDir, and its folders are bound to
// where the programs look for them.
//
// Data is never formatted away. A partition is formatted when its first mebibyte is blank,
// as the image builder left it, or when an earlier format was cut short; that is marked
// in the partition's attributes in the table before the format begins, and so is its end: a
// partition that was formatted once and reads blank is on a failing disk. Anything else is
// left alone, and the console says so.
package state

// Package powercut is a disk in memory whose power can be cut at any write. It records every write and sync, and afterwards makes
// the disks that a cut may have left:
//
//   - what was written before the last finished sync is there
//   - of each sector written since, any one version is there: the one before, or any later one, whatever the order of the writes
//   - a sector may be torn: its bytes up to some place are of one version, those behind it of another
//
// A sector has 512 bytes; its other bytes, and the sectors around it, do not change. That is what disks, SSDs and SD
// cards are taken to keep; one that destroys sectors that nobody writes is beyond what any writer can cope with.
package powercut

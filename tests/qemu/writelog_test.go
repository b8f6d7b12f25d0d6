package qemu

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

func TestWriteLogListsWholeEntriesInOrder(t *testing.T) {
	le := binary.LittleEndian
	log := make([]byte, writesSector)
	le.PutUint64(log, writesMagic)
	le.PutUint64(log[8:], writesVersion)
	le.PutUint32(log[24:], writesSector)
	entry := func(sector, sectors, flags uint64, data int) {
		e := make([]byte, writesSector)
		le.PutUint64(e, sector)
		le.PutUint64(e[8:], sectors)
		le.PutUint64(e[16:], flags)
		log = append(append(log, e...), make([]byte, data)...)
	}
	entry(8, 2, 0, 1024)
	entry(0, 0, flagFlush, 0)
	entry(100, 50, flagDiscard, 0)
	entry(9, 1, flagFUA, 512)
	entry(10, 4, 0, 1024) // half of it is there
	want := []Written{
		{KindWrite, 4096, 1024, 1024, false}, {Kind: KindFlush}, {KindDiscard, 51200, 25600, 0, false}, {KindWrite, 4608, 512, 3584, true},
	}
	got, err := readWrites(bytes.NewReader(log))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("readWrites = %+v, %v, want %+v", got, err, want)
	}
	log[0] ^= 1
	if _, err := readWrites(bytes.NewReader(log)); err == nil {
		t.Error("readWrites with another magic = nil, want an error")
	}
}

// Package slots changes the slots of the node it runs on: it writes upgrades (package upgrade/apply) and keeps the record of them, goes back
// to the other slot, and tells what the boot loader will do.
//
// Only one of these is done at once, on the whole machine: a lock says so. PID 1 changes the same disk and record, but only while the
// booted slot is on trial; then nothing but Rollback is done here.
package slots

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/keelson-os/keelson/init/handoff"
	"github.com/keelson-os/keelson/init/running"
	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/upgrade/blockdev"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/record"
	"github.com/keelson-os/keelson/upgrade/snapshot"
)

// LockPath is the file that is locked while slots are changed.
const LockPath = "/run/keelson/upgrade.lock"

// Slots are those of one node. New makes one; tests change the paths. Safe for several goroutines.
type Slots struct {
	Disk      string           // device of the disk that the system was booted from; empty: not known
	Booted    bootcontrol.Slot // "": not known
	System    running.System   // that runs
	Record    string           // folder of the record
	Lock      string
	Firmware  string // folder that is there when UEFI started the machine
	Bundles   string // folder below which file:// URLs may be
	Snapshots snapshot.Store
	Now       func() time.Time
	// Connected says whether the node has an address on the network. nil: not known.
	Connected func() bool

	busy atomic.Bool
}

// New returns the slots of the node, which was booted as boot says.
func New(boot handoff.Boot, system running.System) *Slots {
	s := &Slots{
		Booted: bootcontrol.Slot(boot.Slot), System: system, Record: record.Dir, Lock: LockPath, Firmware: bootcontrol.EFIFolder,
		Bundles:   filepath.Dir(record.Dir),
		Snapshots: snapshot.Store{Data: record.Datastore, Dir: record.SnapshotDir},
		Now:       time.Now,
	}
	if boot.Disk != "" {
		s.Disk = "/dev/" + boot.Disk
	}
	if boot.RootHash != "" {
		s.System.RootHash = boot.RootHash
	}
	return s
}

// errNoDisk says why nothing can be done.
var errNoDisk = errors.New("it is not known from which disk and slot the system was booted")

// Boot is what the boot loader will do, and the slot of the next boot.
func (s *Slots) Boot() (machine.Boot, string, error) {
	if s.Disk == "" || s.Booted.Valid() != nil {
		return machine.Boot{}, "", errNoDisk
	}
	d, err := blockdev.OpenReadOnly(s.Disk)
	if err != nil {
		return machine.Boot{}, "", err
	}
	defer d.Close()
	node, err := s.node(d)
	if err != nil {
		return machine.Boot{}, "", err
	}
	state, err := node.State()
	if err != nil {
		return machine.Boot{Chain: string(node.Chain())}, "", err
	}
	return machine.Boot{
		Chain: string(node.Chain()), Default: string(state.Default), Trial: string(state.Trial),
		TriesLeft: state.TriesLeft, TriesDone: state.TriesDone,
	}, string(state.Next()), nil
}

// Busy says whether Upgrade or Rollback is at work in this process.
func (s *Slots) Busy() bool { return s.busy.Load() }

// open opens the disk to be changed.
func (s *Slots) open() (*blockdev.Disk, error) {
	if s.Disk == "" || s.Booted.Valid() != nil {
		return nil, errNoDisk
	}
	return blockdev.Open(s.Disk)
}

func (s *Slots) node(d bootcontrol.Disk) (*bootcontrol.Node, error) {
	node, err := bootcontrol.Open(d)
	if err != nil {
		return nil, err
	}
	node.StartedBy(bootcontrol.FirmwareOf(s.Firmware))
	return node, nil
}

// load reads the record. A damaged one is no reason not to upgrade, but the least serial in it is lost, and that counts.
func (s *Slots) load() (*record.Record, error) {
	r, err := record.Load(s.Record)
	if err != nil {
		return nil, fmt.Errorf("record of upgrades: %w", err)
	}
	return r, nil
}

// own is the running system.
func (s *Slots) own() record.System { return describe(s.Booted, s.System) }

func describe(slot bootcontrol.Slot, x running.System) record.System {
	return record.System{Slot: string(slot), Version: x.Version, RootHash: x.RootHash, Serial: x.Serial, MinimumSerial: x.MinimumSerial}
}

func shown(x record.System) machine.System {
	return machine.System{Slot: x.Slot, Version: x.Version, Serial: x.Serial, RootHash: x.RootHash}
}

// newID names an attempt: by time, and different even when the clock stands still.
func (s *Slots) newID() string {
	b := make([]byte, 3)
	rand.Read(b) // does not fail
	return s.Now().UTC().Format("20060102T150405Z") + "-" + hex.EncodeToString(b)
}

// armed writes an attempt down as armed and lets arm arm it: in this order, since a trial without a record is none that could be told of.
func (s *Slots) armed(r *record.Record, to record.System, started time.Time, arm func() error) error {
	now := s.Now().UTC().Truncate(time.Second)
	r.Begin(record.Attempt{ID: s.newID(), From: s.own(), To: to, State: record.Armed, Started: started.UTC().Truncate(time.Second), Armed: now,
		Connected: s.Connected != nil && s.Connected()})
	if err := r.Save(s.Record); err != nil {
		return fmt.Errorf("record of upgrades: %w", err)
	}
	if err := arm(); err != nil {
		return errors.Join(err, s.cancel(r, "it could not be armed: "+err.Error()))
	}
	return nil
}

// cancel ends an attempt that no boot will try.
func (s *Slots) cancel(r *record.Record, why string) error {
	if !r.Attempt.Open() {
		return nil
	}
	r.Attempt.State, r.Attempt.Reason, r.Attempt.Finished = record.Canceled, why, s.Now().UTC().Truncate(time.Second)
	if err := r.Save(s.Record); err != nil {
		return fmt.Errorf("record of upgrades: %w", err)
	}
	return nil
}

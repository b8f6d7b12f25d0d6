package slots

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/keelson-os/keelson/init/running"
	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/record"
)

// Rollback goes back, by what there is to go back from:
//
//   - the running system is on trial: it is given up, the reason recorded, and the default slot committed
//   - the running system is not the default, and not on trial either, as when the default could not be started: it becomes the default
//   - an upgrade is armed and was not booted yet: it is called off
//   - otherwise the other slot is armed for a trial, if its boot files and its root are whole: PID 1 comes back by itself if it does not get healthy
//
// The caller reboots if the answer's To is not From. ctx ends the look at the root.
func (s *Slots) Rollback(ctx context.Context, by string) (machine.Rollback, error) {
	answer := machine.Rollback{From: string(s.Booted), To: string(s.Booted)}
	unlock, err := s.begin()
	if err != nil {
		return answer, err
	}
	defer unlock()
	d, err := s.open()
	if err != nil {
		return answer, err
	}
	defer d.Close()
	node, err := s.node(d)
	if err != nil {
		return answer, err
	}
	state, err := node.State()
	if err != nil {
		return answer, err
	}
	rec, err := s.load()
	if err != nil {
		return answer, err
	}
	switch {
	case state.Trial == s.Booted && state.Default != s.Booted:
		return answer, s.giveUp(node, state, rec, by, &answer)
	case state.Default != s.Booted:
		answer.Reason = fmt.Sprintf("slot %s, which runs, is the default now in the place of slot %s", s.Booted, state.Default)
		return answer, node.Commit(s.Booted)
	case state.Trial != "":
		if err := node.Commit(s.Booted); err != nil {
			return answer, err
		}
		answer.Reason = fmt.Sprintf("the upgrade in slot %s was called off; slot %s, which runs, stays", state.Trial, s.Booted)
		return answer, s.cancel(rec, "called off by "+by)
	}
	return answer, s.tryOther(ctx, d, node, rec, &answer)
}

// giveUp ends the trial of the running system. The reason is written first: the old system, when it boots, restores the datastore and tells it.
func (s *Slots) giveUp(node *bootcontrol.Node, state bootcontrol.State, rec *record.Record, by string, answer *machine.Rollback) error {
	answer.To, answer.Reason = string(state.Default), "the trial of slot "+string(s.Booted)+" was given up by "+by
	if rec.Attempt.Open() && rec.Attempt.To.RootHash == s.System.RootHash {
		rec.Attempt.Reason = "given up by " + by
		if err := rec.Save(s.Record); err != nil {
			return fmt.Errorf("record of upgrades: %w", err)
		}
	}
	return node.Commit(state.Default)
}

// tryOther arms the other slot.
func (s *Slots) tryOther(ctx context.Context, d bootcontrol.Disk, node *bootcontrol.Node, rec *record.Record, answer *machine.Rollback) error {
	other := s.Booted.Other()
	line, err := commandLine(node, other)
	if err != nil {
		return nothingThere(other, err)
	}
	system := running.Parse(line)
	if least := max(s.System.MinimumSerial, rec.MinimumSerial); system.Serial < least {
		return refused(http.StatusUnprocessableEntity, fmt.Errorf("slot %s has version %s with serial %d; the systems that ran here demand %d or more", other, system.Version, system.Serial, least), "")
	}
	if err := checkRoot(ctx, d, node, other, line); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return nothingThere(other, err)
	}
	to := describe(other, system)
	answer.To, answer.Trial = string(other), true
	answer.Reason = strings.TrimSpace("slot "+string(other)+" is on trial with version "+system.Version) + "; if it does not get healthy, slot " + string(s.Booted) + " comes back"
	return s.armed(rec, to, s.Now(), func() error { return node.Arm(other) })
}

func nothingThere(slot bootcontrol.Slot, err error) error {
	return refused(http.StatusUnprocessableEntity, fmt.Errorf("there is nothing whole in slot %s to go back to: %w", slot, err), "upgrade to a bundle of the version that you want")
}

package qemu

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestConsoleReadsABootTable(t *testing.T) {
	c := newConsole("none")
	c.setAlive(true)
	// Escape sequences, carriage returns, a kernel message cut off, lines in pieces.
	for _, piece := range []string{
		"\x1b[2J\x1b[01;01HBdsDxe: starting\r\n[    1.2] foo: keelson: Keelson 0.1.0, slot a\r\n",
		"keelson: boot ta", "ble\r\nkeelson:   kernel          1.500s ok\r\n",
		"keelson:   network         3.020s ok (eth0 10.0.2.15)\r\nsomething else\r\n",
		"keelson:   node/apiserver  2.000s ok\r\nkeelson:   node           20.000s ok\r\nkeelson: end of boot table\r\n",
		"keelson: node ready after 31.4 s\r\nkeelson: later\r\n",
	} {
		c.add([]byte(piece), time.Now())
	}
	b, mark, err := c.WaitBoot(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if b.Ready != 31400*time.Millisecond || len(b.Steps) != 4 {
		t.Errorf("WaitBoot = %+v, want four steps and 31.4 s", b)
	}
	if s, ok := b.Step("network"); !ok || !s.OK() || s.Duration != 3020*time.Millisecond {
		t.Errorf("Step(network) = %+v, %v", s, ok)
	}
	if l, ok := c.Next(t.Context(), mark); !ok || l.Text != "keelson: later" {
		t.Errorf("Next = %+v, %v, want the line after the boot", l, ok)
	}
	if text, ok := Message(c.Since(1)[0].Text); !ok || text != "Keelson 0.1.0, slot a" {
		t.Errorf("Message = %q, %v", text, ok)
	}
}

func TestConsoleReportsAFailedBootAtOnce(t *testing.T) {
	c := newConsole("none")
	c.setAlive(true)
	c.add([]byte("keelson: boot table\nkeelson:   config 0.001s keelson.yaml:1:1: bad\nkeelson:   node   0.000s not started: see the failed steps\nkeelson: end of boot table\n"), time.Now())
	b, _, err := c.WaitBoot(t.Context(), 0)
	if err != nil || b.Ready != 0 || !b.Final() {
		t.Errorf("WaitBoot = %+v, %v, want a final failure", b, err)
	}
}

func TestConsoleWaitEndsWithTheMachineOrTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsole("none")
		c.setAlive(true)
		c.add([]byte("one\ntwo"), time.Now())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		never := func(string) bool { return false }
		if _, _, err := c.Wait(ctx, 0, "never", never); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "  one\n  two") {
			t.Errorf("Wait = %v, want the deadline and the last lines", err)
		}
		go func() {
			time.Sleep(time.Second)
			c.setAlive(false)
		}()
		if _, _, err := c.Wait(t.Context(), 0, "never", never); !errors.Is(err, ErrExited) {
			t.Errorf("Wait = %v, want ErrExited", err)
		}
	})
}

func TestChatterIsKubernetesOwn(t *testing.T) {
	for text, want := range map[string]bool{
		`node: E1123 07:14:48.898092     202 options.go:205] The manifest`: true,
		`node: time="2026-11-23T07:14:38Z" level=warning`:                  true,
		`node: (32 more such lines in /var/log/keelson/node.log)`:          true,
		`node: waiting for apiserver`:                                      false,
		`node: died: exit status 1; restart in 1s`:                         false,
		`node: F1123 07:14:48.898092     202 main.go:1] the end`:           false,
		`network: eth0: carrier`:                                           false,
	} {
		if got := chatter.MatchString(text); got != want {
			t.Errorf("chatter.MatchString(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestBootLoadersAreNotTakenForPID1(t *testing.T) {
	for _, file := range []string{"../../imagebuilder/uboot/boot.cmd", "../../imagebuilder/grub/boot.cfg"} {
		script, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		said := regexp.MustCompile(`echo "(keelson: .*)"`).FindAllStringSubmatch(string(script), -1)
		if len(said) < 5 {
			t.Errorf("%s says %d lines, want some", file, len(said))
		}
		for _, m := range said {
			if text, ok := Message(m[1]); !ok || !loader.MatchString(text) {
				t.Errorf("%s: %q is taken for PID 1's", file, m[1])
			}
		}
	}
	for _, text := range []string{"Keelson 0.1.0, slot a", "root corrupted: slot a, dm-verity refused", "state: making the file system on /dev/vda5", "boot table"} {
		if loader.MatchString(text) {
			t.Errorf("%q is taken for a boot loader's", text)
		}
	}
}

func TestFollowTellsWhatPID1SaysButTheTable(t *testing.T) {
	c := newConsole("none")
	c.setAlive(true)
	c.add([]byte("BdsDxe: starting\nkeelson: Keelson 0.1.0, slot a\nkeelson: boot table\nkeelson:   kernel 1.5s ok\nkeelson: end of boot table\n"+
		"keelson: node: E1123 07:14:48.898092 x\nkeelson: node ready after 31.4 s\n"), time.Now())
	c.setAlive(false)
	var got []string
	c.Follow(t.Context(), 0, func(text string) { got = append(got, text) })
	if want := []string{"Keelson 0.1.0, slot a", "node ready after 31.4 s"}; !slices.Equal(got, want) {
		t.Errorf("Follow told %q, want %q", got, want)
	}
}

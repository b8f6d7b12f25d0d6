package console

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// terminal is a console that can be made to block.
type terminal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *terminal) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

func TestEachLineHasThePrefixAndNoControlBytes(t *testing.T) {
	var a, b terminal
	c := New(&a, &b)
	c.Printf("one %d\ntwo\x1b[2J\r\n", 1)
	c.Flush(time.Minute)
	want := "keelson: one 1\nkeelson: two?[2J?\n"
	if a.text() != want || b.text() != want {
		t.Errorf("terminals got %q and %q, want %q", a.text(), b.text(), want)
	}
}

func TestEveryConsoleOfTheKernelIsATerminal(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	active := filepath.Join(sys, "class/tty/console/active")
	if err := os.MkdirAll(filepath.Dir(active), 0o755); err != nil {
		t.Fatal(err)
	}
	// A Raspberry Pi 3 or 4, a 5, a Rockchip; gone0 is in the list and not in /dev.
	names := []string{"tty0", "ttyS1", "ttyAMA10", "ttyS2"}
	if err := os.WriteFile(active, []byte(strings.Join(append(names, "gone0"), " ")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, "ttyS0") {
		if err := os.WriteFile(filepath.Join(dev, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := New(terminals(sys, dev)...)
	c.Printf("hello")
	c.Flush(time.Minute)
	for _, name := range names {
		if b, err := os.ReadFile(filepath.Join(dev, name)); string(b) != "keelson: hello\n" {
			t.Errorf("%s got %q, %v", name, b, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dev, "ttyS0")); len(b) != 0 {
		t.Errorf("ttyS0, which is no console, got %q, %v", b, err)
	}
}

func TestTheLogGetsEarlierLinesToo(t *testing.T) {
	c := New(&terminal{})
	c.Printf("early")
	var log bytes.Buffer
	c.SetLog(&log)
	c.Printf("late")
	c.Logf("log only")
	c.SetLog(nil)
	c.Printf("after")
	if ok, _ := regexp.MatchString(`^\S+Z early\n\S+Z late\n\S+Z log only\n$`, log.String()); !ok {
		t.Errorf("log is %q", log.String())
	}
}

func TestABlockedTerminalBlocksNobody(t *testing.T) {
	var stuck, fine terminal
	c := New(&stuck, &fine)
	stuck.mu.Lock()
	for i := range 3 * queueLen {
		c.Printf("%d", i)
		if i%100 == 0 {
			c.outs[1].pending.Wait()
		}
	}
	c.outs[1].pending.Wait()
	if !strings.HasSuffix(fine.text(), fmt.Sprintf("keelson: %d\n", 3*queueLen-1)) {
		t.Error("the other terminal did not get everything")
	}
	stuck.mu.Unlock()
	c.outs[0].pending.Wait()
	if !strings.Contains(stuck.text(), "messages dropped") {
		t.Error("the blocked terminal does not say what it missed")
	}
}

func TestABlockedLogBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var term terminal
		c := New(&term)
		disk := make(blockedDisk)
		c.SetLog(disk)
		for range 2 * queueLen {
			c.Printf("line")
			c.Flush(time.Minute)
			c.Logf("log only")
		}
		began := time.Now()
		c.SetLog(nil)
		if d := time.Since(began); d > logLimit {
			t.Errorf("the log was waited for for %v, want at most %v", d, logLimit)
		}
		if got := strings.Count(term.text(), "line"); got != 2*queueLen {
			t.Errorf("the terminal got %d lines, want %d", got, 2*queueLen)
		}
		close(disk)
		synctest.Wait()
		for _, o := range c.outs {
			close(o.queue)
		}
	})
}

// blockedDisk is a log whose disk answers when it is closed.
type blockedDisk chan struct{}

func (d blockedDisk) Write(p []byte) (int, error) {
	<-d
	return len(p), nil
}

func TestLimitLetsABurstThenARateThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Limit{Burst: 3, Every: time.Second}
		passed := func(n int) (count, held int) {
			for range n {
				if h, ok := l.Allow(); ok {
					count++
					held += h
				}
			}
			return count, held
		}
		if n, _ := passed(10); n != 3 {
			t.Errorf("%d of 10 passed, want 3", n)
		}
		time.Sleep(2 * time.Second)
		if n, held := passed(10); n != 2 || held != 7 {
			t.Errorf("%d passed telling of %d held, want 2 of 7", n, held)
		}
		time.Sleep(time.Hour)
		if n, _ := passed(10); n != 3 {
			t.Errorf("%d of 10 passed after an hour, want 3", n)
		}
	})
}

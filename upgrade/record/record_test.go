package record

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSaveAndLoadAreTheSameRecord(t *testing.T) {
	dir := t.TempDir()
	want := &Record{
		Attempt: &Attempt{
			ID: "20261125T200000Z", From: System{"a", "1", "aa", 1, 0}, To: System{"b", "2", "bb", 2, 1}, State: Trying,
			Started: time.Unix(1764100000, 0).UTC(), Tries: 2, Reason: "why", Tail: []string{"x", "y"}, Panic: "p",
		},
		History:       []Attempt{{ID: "older", State: Good}},
		MinimumSerial: 7,
	}
	if err := want.Save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Load = %+v, %v, want %+v", got, err, want)
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file %v, %v, want mode 0600", info, err)
	}
}

func TestLoadWithoutAFileIsEmptyAndDamageIsAnError(t *testing.T) {
	dir := t.TempDir()
	if r, err := Load(dir); err != nil || r.Attempt != nil || r.Attempt.Open() {
		t.Errorf("Load = %+v, %v, want an empty record", r, err)
	}
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(`{"minimumSerial":3,"attempt":{`), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := Load(dir); err == nil || r == nil || r.MinimumSerial != 0 {
		t.Errorf("Load of a damaged file = %+v, %v, want an empty record and an error", r, err)
	}
}

func TestSaveKeepsBounds(t *testing.T) {
	dir := t.TempDir()
	r := &Record{}
	long := strings.Repeat("ä", 20_000)
	for range 3 * historyMax {
		a := Attempt{ID: "x", Reason: long, Panic: long + "panic"}
		for range 5 * tailMax {
			a.Tail = append(a.Tail, long)
		}
		a.Tail = append(a.Tail, "last")
		r.Begin(a)
	}
	if err := r.Save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil || len(got.History) != historyMax {
		t.Fatalf("Load = %d attempts, %v, want %d", len(got.History), err, historyMax)
	}
	a := got.Attempt
	if len(a.Reason) > lineMax || len(a.Panic) > panicMax || len(a.Tail) != tailMax || len(a.Tail[0]) > lineMax || a.Tail[tailMax-1] != "last" || !strings.HasSuffix(a.Panic, "äpanic") {
		t.Errorf("kept %d bytes of reason, %d of panic, %d lines", len(a.Reason), len(a.Panic), len(a.Tail))
	}
}

func TestBeginMovesTheLastAttemptToTheHistory(t *testing.T) {
	r := &Record{}
	r.Begin(Attempt{ID: "1"})
	r.Begin(Attempt{ID: "2"})
	r.Begin(Attempt{ID: "3"})
	if r.Attempt.ID != "3" || len(r.History) != 2 || r.History[0].ID != "2" {
		t.Errorf("record %+v", r)
	}
}

func TestOnlyArmedAndTryingAreOpen(t *testing.T) {
	for s, want := range map[State]bool{Armed: true, Trying: true, Good: false, RolledBack: false, Canceled: false} {
		if got := (&Attempt{State: s}).Open(); got != want {
			t.Errorf("Open of %s = %v", s, got)
		}
	}
}

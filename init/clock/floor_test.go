package clock

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestFloorTime(t *testing.T) {
	build := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	later := build.Add(24 * time.Hour)
	tests := []struct {
		name  string
		saved string // empty: no file
		want  time.Time
		fails bool
	}{
		{"nothing saved", "", build, false},
		{"saved later", "2026-11-02T00:00:00Z\n", later, false},
		{"saved earlier", "2026-10-02T00:00:00Z\n", build, false},
		{"cut short", "2026-11-0", build, true},
		{"not a time", "\x00\x00", build, true},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		if tt.saved != "" {
			if err := os.WriteFile(filepath.Join(dir, savedName), []byte(tt.saved), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := floorTime(build, dir)
		if !got.Equal(tt.want) || (err != nil) != tt.fails {
			t.Errorf("%s: floorTime = %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

func TestFloorLeavesALaterClockAlone(t *testing.T) {
	if changed, err := Floor(time.Unix(0, 0), ""); changed || err != nil {
		t.Errorf("Floor = %v, %v, want no change", changed, err)
	}
}

func TestSaveIsReadBack(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if err := Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	got, err := floorTime(time.Unix(0, 0), dir)
	if err != nil || time.Since(got).Abs() > 5*time.Second {
		t.Errorf("floorTime = %v, %v, want about now", got, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("folder holds %v, %v, want one file", entries, err)
	}
	if err := Save(filepath.Join(dir, "none")); err == nil {
		t.Error("Save to a folder that is not there succeeded")
	}
}

func TestReadRTC(t *testing.T) {
	path := filepath.Join(t.TempDir(), "since_epoch")
	if err := os.WriteFile(path, []byte("1793491200\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readRTC(path); err != nil || got.Unix() != 1793491200 {
		t.Errorf("readRTC = %v, %v", got, err)
	}
	if _, err := readRTC(path + "x"); err == nil {
		t.Error("readRTC of no RTC succeeded")
	}
}

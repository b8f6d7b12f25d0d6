package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestBoardsAreListedForPeopleAndPrograms(t *testing.T) {
	if out := mustKeelson(t, "boards"); !strings.Contains(out, "\npc          amd64  ") {
		t.Errorf("boards lacks the PC's row:\n%s", out)
	}
	var list []listedBoard
	if err := json.Unmarshal([]byte(mustKeelson(t, "boards", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, b := range list {
		found = found || b.Name == "rpi" && b.Arch == "arm64" && b.Description != ""
	}
	if !found {
		t.Errorf("boards -o json = %+v, want rpi among them", list)
	}
	refused(t, "expected table, json or yaml", "boards", "-o", "xml")
}

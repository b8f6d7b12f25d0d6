package kmsg

import "testing"

func TestParseCorruption(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     Corruption
		ok       bool
	}{
		{"data", "3,642,1234567,-;device-mapper: verity: 254:0: data block 5 is corrupted\n SUBSYSTEM=block\n", Corruption{"254:0", "data", 5}, true},
		{"tree", "3,643,1,-;device-mapper: verity: 254:0: metadata block 17 is corrupted", Corruption{"254:0", "metadata", 17}, true},
		{"another device-mapper message", "3,1,1,-;device-mapper: verity: 254:0: reached maximum errors", Corruption{}, false},
		{"a process that lies", "12,1,1,-;foo device-mapper: verity: 254:0: data block 5 is corrupted", Corruption{}, false},
		{"no number", "3,1,1,-;device-mapper: verity: 254:0: data block x is corrupted", Corruption{}, false},
		{"empty", "", Corruption{}, false},
	} {
		if got, ok := ParseCorruption(c.in); got != c.want || ok != c.ok {
			t.Errorf("%s: ParseCorruption(%q) = %+v, %v, want %+v, %v", c.name, c.in, got, ok, c.want, c.ok)
		}
	}
}

func FuzzParseCorruption(f *testing.F) {
	f.Add("3,642,1234567,-;device-mapper: verity: 254:0: data block 5 is corrupted\n")
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := ParseCorruption(s); !ok && c != (Corruption{}) {
			t.Errorf("ParseCorruption(%q) = %+v, false", s, c)
		}
	})
}

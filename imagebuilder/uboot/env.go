package uboot

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

// BlockSize is the size of a block of boot state, bytes.
const BlockSize = 0x1000

// Variable is one variable of a block.
type Variable struct{ Name, Value string }

// Block returns a block of boot state with the variables. Equal variables give equal bytes.
// Errors: names or values with NUL or, in names, "="; more than fits.
func Block(variables ...Variable) ([]byte, error) {
	out := make([]byte, BlockSize)
	at := 4
	for _, v := range variables {
		text := v.Name + "=" + v.Value
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.Contains(v.Value, "\x00") {
			return nil, fmt.Errorf("uboot: variable %q: want a name without =, and no NUL", text)
		}
		if at+len(text)+2 > BlockSize {
			return nil, fmt.Errorf("uboot: variables need more than the %d bytes of a block", BlockSize)
		}
		at += copy(out[at:], text) + 1
	}
	binary.LittleEndian.PutUint32(out, crc32.ChecksumIEEE(out[4:]))
	return out, nil
}

// State returns the content of the bootstate area of a new disk: slot a is committed, no trial.
func State() ([]byte, error) {
	block, err := Block(Variable{"ab_default", "a"}, Variable{"ab_gen", "1"})
	if err != nil {
		return nil, err
	}
	out := make([]byte, 3*BlockSize)
	copy(out, block)
	copy(out[2*BlockSize:], block)
	return out, nil
}

// BootEnv returns a slot's boot.env. "env import -t" takes a backslash at the end of a line for a continued
// one, and every line for a variable; U-Boot's shell breaks a quoted word off whose variable holds a single quote.
func BootEnv(cmdline string) ([]byte, error) {
	if strings.ContainsAny(cmdline, "\x00\n\r\\'") {
		return nil, fmt.Errorf("uboot: kernel command line %q: has a single quote, backslash, line break or NUL, which U-Boot cannot pass on", cmdline)
	}
	return []byte("keelson_args=" + cmdline + "\n"), nil
}

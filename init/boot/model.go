package boot

import (
	"os"
	"strings"
)

// boardModel is the board's name as its device tree has it, "Raspberry Pi 4 Model B Rev
// 1.4"; empty where there is no device tree.
// Source: Devicetree Specification 0.4, section 2.3.2 (a string that ends in NUL).
func boardModel(file string) string {
	b, _ := os.ReadFile(file)
	name, _, _ := strings.Cut(string(b), "\x00")
	return name
}

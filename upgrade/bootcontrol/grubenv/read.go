package grubenv

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// ErrNotBlock is returned for what GRUB would not take for an environment block.
var ErrNotBlock = errors.New("not a GRUB environment block")

// Variables returns the variables of an environment block of any size, in its order. As GRUB does, it passes over
// what is no variable, and of two of one name the later counts.
// Errors wrap ErrNotBlock: take that for a block without variables.
// Source: GRUB 2.12, grub-core/lib/envblk.c, grub_envblk_iterate.
func Variables(block []byte) ([]Variable, error) {
	rest, ok := bytes.CutPrefix(block, []byte(signature))
	if !ok {
		return nil, fmt.Errorf("grubenv: %w: %d bytes that do not begin with %q", ErrNotBlock, len(block), signature)
	}
	var out []Variable
	for p := 0; p < len(rest); p += lineLen(rest[p:]) + 1 {
		if rest[p] == '#' {
			continue
		}
		nameLen := bytes.IndexByte(rest[p:], '=')
		if nameLen < 0 {
			break
		}
		name := rest[p : p+nameLen]
		p += nameLen + 1
		n := lineLen(rest[p:])
		if n >= len(rest)-p {
			break // nothing ends the line: it is not whole
		}
		out = append(out, Variable{cString(name), cString(unescape(rest[p : p+n]))})
	}
	return out, nil
}

// lineLen returns the length of b's first line, len(b) or more if nothing ends it: a backslash takes the byte behind it along.
func lineLen(b []byte) int {
	i := 0
	for i < len(b) && b[i] != '\n' {
		if b[i] == '\\' {
			i++
		}
		i++
	}
	return i
}

// unescape takes the backslashes away that protect the byte behind them.
func unescape(b []byte) []byte {
	var out []byte
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' {
			i++
		}
		out = append(out, b[i])
	}
	return out
}

// cString returns b up to its first zero byte.
func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

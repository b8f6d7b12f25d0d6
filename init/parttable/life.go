package parttable

import "github.com/keelson-os/keelson/init/mbr"

// Life is how far the state partition has come.
type Life int

const (
	// Fresh is as the image builder left it, or a file system made before lives were kept.
	Fresh Life = iota
	// Formatting says that a format has begun and not ended.
	Formatting
	// Formatted says that there is, or was, a file system.
	Formatted
)

// On a GUID partition table a life is two attribute bits; bits 48 to 63 belong to the
// partition type's owner.
// Source: UEFI Specification 2.10, table 5-8.
const (
	formatting = 1 << 56
	formatted  = 1 << 57
)

// types are the lives on a master boot record, which has room for nothing but a type.
var types = [...]byte{Fresh: mbr.TypeStateFresh, Formatting: mbr.TypeStateFormatting, Formatted: mbr.TypeLinux}

// Life returns the life of partition number.
func (t *Table) Life(number int) Life {
	if t.gpt != nil {
		switch a := t.gpt.Entries[number-1].Attributes; {
		case a&formatting != 0:
			return Formatting
		case a&formatted != 0:
			return Formatted
		}
		return Fresh
	}
	switch t.mbr.Entries[number-1].Type {
	case mbr.TypeStateFresh:
		return Fresh
	case mbr.TypeStateFormatting:
		return Formatting
	}
	return Formatted
}

// SetLife sets the life of partition number; Write makes it last.
func (t *Table) SetLife(number int, l Life) {
	if t.gpt != nil {
		a := &t.gpt.Entries[number-1].Attributes
		*a &^= formatting | formatted
		switch l {
		case Formatting:
			*a |= formatting
		case Formatted:
			*a |= formatted
		}
		return
	}
	t.mbr.Entries[number-1].Type = types[l]
}

package disk

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Partition types. Source: UAPI.2 Discoverable Partitions; TypeBootState is Keelson's own.
const (
	TypeESP       = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	TypeBootState = "69C2AFEA-B7BB-8FA4-889B-2A82442DA505" // UUIDv8 of "keelson partition type bootstate"
	TypeRootAMD64 = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
	TypeRootARM64 = "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"
	TypeBIOSBoot  = "21686148-6449-6E6F-744E-656564454649" // "Hah!IdontNeedEFI"; source: GRUB manual, "BIOS installation"
	TypeLinux     = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
)

// UUID derives the 16 bytes of a UUIDv8 (RFC 9562 order) for one named use of a seed:
// the start of sha256("keelson", seed, name), version and variant set.
func UUID(seed [32]byte, name string) [16]byte {
	h := sha256.New()
	h.Write([]byte("keelson\x00"))
	h.Write(seed[:])
	h.Write([]byte(name))
	var u [16]byte
	copy(u[:], h.Sum(nil))
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return u
}

// guid returns UUID as upper case text.
func guid(seed [32]byte, name string) string {
	u := UUID(seed, name)
	x := strings.ToUpper(hex.EncodeToString(u[:]))
	return strings.Join([]string{x[:8], x[8:12], x[12:16], x[16:20], x[20:]}, "-")
}

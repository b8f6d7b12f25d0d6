package bios

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/disk"
)

// Where Keelson keeps GRUB's blocks: a MiB at byte 15 MiB of the disk.
const (
	StateOffset = 15 << 20
	sector      = disk.SectorSize
	trialAt     = StateOffset + 1*sector
	committedAt = StateOffset + 32*sector
	copyAt      = StateOffset + 40*sector
	// sectionAt is where a UKI has what GRUB reads.
	sectionAt = 256 << 10
)

// Start starts the disk as Keelson's script for GRUB does (imagebuilder/grub/boot.cfg), whose words are followed here one by one, and leaves
// the write of a counted try in it: started again, it counts on. Check is what happens before.
func Start(d *disk.Overlay, size int64) (firmware.Report, error) {
	r := firmware.Report{Machine: "PC BIOS, GRUB"}
	table, err := disk.Read(d, size)
	if err != nil {
		return r, err
	}
	part := map[string]disk.Partition{}
	for _, p := range table.Partitions {
		part[p.Name] = p
		if p.Type == disk.TypeESP {
			part["esp"] = p
		}
	}
	fat, err := disk.OpenFAT(d, part["esp"])
	if err != nil {
		r.Faultf("ESP: %v", err)
		return r, nil
	}
	slot, err := choose(d)
	if err != nil {
		return r, err
	}
	order := []string{"a", "b"}
	if slot == "b" {
		order = []string{"b", "a"}
	}
	names, err := fat.List("EFI/Linux")
	if err != nil {
		r.Faultf("EFI/Linux: %v", err)
		return r, nil
	}
	names = slices.DeleteFunc(names, func(n string) bool {
		ok, err := path.Match("keelson_*.efi", n)
		return err != nil || !ok
	})
	for i, s := range order {
		root, ok := part["root-"+s]
		if !ok {
			r.Faultf("no partition root-%s", s)
			continue
		}
		for _, n := range names {
			if start(&r, d, fat, "EFI/Linux/"+n, root) {
				r.Slot = s
				if i > 0 {
					r.Notef("slot %s was chosen, and cannot be started", slot)
				}
				return r, nil
			}
		}
	}
	r.Faultf("no boot image of either slot's root")
	return r, nil
}

// choose returns the slot to try first, and counts.
func choose(d *disk.Overlay) (string, error) {
	load := func(at int64) (map[string]string, error) {
		b := make([]byte, sector)
		if _, err := d.ReadAt(b, at); err != nil {
			return nil, err
		}
		return envBlock(b), nil
	}
	var slot, gen string
	for _, at := range []int64{committedAt, copyAt} {
		v, err := load(at)
		if err != nil {
			return "", err
		}
		if slot == "" && (v["ab_default"] == "a" || v["ab_default"] == "b") {
			slot, gen = v["ab_default"], v["ab_gen"]
		}
	}
	if slot == "" {
		return "a", nil
	}
	// The trial block is a file of a tar archive: without the archive's header GRUB finds none.
	head := make([]byte, sector)
	if _, err := d.ReadAt(head, StateOffset); err != nil {
		return "", err
	}
	v, err := load(trialAt)
	if err != nil {
		return "", err
	}
	left, ok := map[string]string{"3": "2", "2": "1", "1": "0"}[v["ab_left"]]
	if !tarHeader(head) || !ok || gen == "" || v["ab_tgen"] != gen || v["ab_try"] != "a" && v["ab_try"] != "b" {
		return slot, nil
	}
	b := make([]byte, sector)
	if _, err := d.ReadAt(b, trialAt); err != nil {
		return "", err
	}
	at := bytes.Index(b, []byte("ab_left="))
	b[at+len("ab_left=")] = left[0]
	if _, err := d.WriteAt(b, trialAt); err != nil {
		return "", err
	}
	return v["ab_try"], nil
}

// tarHeader says whether a sector is the header of the file "trial" (POSIX.1-1988 ustar; the checksum counts its own field as spaces).
func tarHeader(b []byte) bool {
	if !bytes.HasPrefix(b, []byte("trial\x00")) || string(b[257:262]) != "ustar" {
		return false
	}
	sum := 0
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int(c)
	}
	want, err := strconv.ParseInt(strings.Trim(string(b[148:156]), " \x00"), 8, 32)
	return err == nil && int(want) == sum
}

// envBlock reads an environment block (GRUB 2.12, grub-core/lib/envblk.c); what is none has no variables.
func envBlock(b []byte) map[string]string {
	v := map[string]string{}
	rest, ok := bytes.CutPrefix(b, []byte("# GRUB Environment Block\n"))
	if !ok {
		return v
	}
	for len(rest) > 0 {
		line, tail, whole := bytes.Cut(rest, []byte("\n"))
		if name, value, ok := strings.Cut(string(line), "="); ok && whole && !strings.HasPrefix(name, "#") {
			v[name] = value
		}
		rest = tail
	}
	return v
}

var (
	cmpLine    = regexp.MustCompile(`(?m)^if cmp "\(\$\{keelson_root\}\)(\d+)\+(\d+)" "\(uki\)(\d+)\+(\d+)"; then$`)
	linuxLine  = regexp.MustCompile(`(?m)^  if linux "\(uki\)(\d+)\+(\d+)"((?: '[^']*')*) "keelson\.slot=`)
	initrdLine = regexp.MustCompile(`(?m)^    if initrd "\(uki\)(\d+)\+(\d+)"; then$`)
)

var errNone = errors.New("no boot image for GRUB")

// bootImage is a UKI as GRUB sees it.
type bootImage struct {
	top, kernel, initrd []byte
	topAt               int64 // of the block in the root partition that must be as top, bytes
	cmdline             string
}

// parseImage follows the script in a UKI. Errors: errNone.
func parseImage(data []byte) (*bootImage, error) {
	list := func(from, count []byte) ([]byte, error) {
		first, err := strconv.ParseInt(string(from), 10, 32)
		n, err2 := strconv.ParseInt(string(count), 10, 32)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("%w: blocks %s+%s: %w", errNone, from, count, err)
		}
		if first < 0 || n <= 0 || (first+n-1)*sector >= int64(len(data)) {
			return nil, fmt.Errorf("%w: blocks %s+%s of a file of %d bytes", errNone, from, count, len(data))
		}
		return data[first*sector : min((first+n)*sector, int64(len(data)))], nil
	}
	if len(data) < sectionAt+sector {
		return nil, fmt.Errorf("%w: a file of %d bytes", errNone, len(data))
	}
	from, n, _ := strings.Cut(envBlock(data[sectionAt:][:sector])["grub_script"], "+")
	text, err := list([]byte(from), []byte(n))
	if err != nil {
		return nil, err
	}
	same, linux, initrd := cmpLine.FindSubmatch(text), linuxLine.FindSubmatch(text), initrdLine.FindSubmatch(text)
	if same == nil || linux == nil || initrd == nil {
		return nil, fmt.Errorf("%w: a script without cmp, linux or initrd", errNone)
	}
	i := &bootImage{cmdline: strings.TrimSpace(strings.ReplaceAll(string(linux[3]), "'", ""))}
	at, err := strconv.ParseInt(string(same[1]), 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNone, err)
	}
	i.topAt = at * sector
	for into, m := range map[*[]byte][][]byte{&i.top: same[3:], &i.kernel: linux[1:], &i.initrd: initrd[1:]} {
		if *into, err = list(m[0], m[1]); err != nil {
			return nil, err
		}
	}
	if len(i.kernel) < 0x240 || string(i.kernel[0x202:0x206]) != "HdrS" {
		return nil, fmt.Errorf("%w: no x86 kernel", errNone)
	}
	return i, nil
}

// start says whether a UKI is that of a root, and fills in the report if so.
func start(r *firmware.Report, d io.ReaderAt, fat *disk.FAT, name string, root disk.Partition) bool {
	data, err := fat.ReadFile(name)
	if err != nil {
		return false
	}
	i, err := parseImage(data)
	if err != nil || i.topAt+int64(len(i.top)) > root.Size {
		return false
	}
	there := make([]byte, len(i.top))
	if _, err := d.ReadAt(there, root.Start+i.topAt); err != nil || !bytes.Equal(there, i.top) {
		return false
	}
	r.Load("GRUB", name, int64(len(i.kernel)+len(i.initrd)), firmware.Range{})
	r.Kernel, r.Initrd, r.Cmdline = name, name, i.cmdline
	return true
}

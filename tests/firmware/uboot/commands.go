package uboot

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/disk"
)

// run is one start of U-Boot.
type run struct {
	m      Machine
	disk   *disk.Overlay
	table  *disk.Table
	fats   map[int]*disk.FAT // by partition number
	report *firmware.Report
	mem    memory
	env    map[string]string
	device map[string]int // current device of each kind that has one
	status int
	line   int
	count  int
	booted bool
	reset  bool
}

func (u *run) stopf(line int, format string, args ...any) error {
	u.report.Faultf("boot script, line %d: %s", line, fmt.Sprintf(format, args...))
	return errStop
}

func (u *run) faultf(format string, args ...any) {
	u.report.Faultf("boot script, line %d: %s", u.line, fmt.Sprintf(format, args...))
}

// call runs one command: its status, 0 for success.
func (u *run) call(args []string) (int, error) {
	switch args[0] {
	case "echo", "sleep", "true", "printenv":
		return 0, nil
	case "false":
		return 1, nil
	case "test":
		return u.test(args[1:]), nil
	case "setenv":
		return u.setenv(args[1:])
	case "env":
		return u.envCommand(args)
	case "load", "fatload":
		return u.load(args)
	case "setexpr":
		if u.m.SetExpr {
			return u.setexpr(args)
		}
	case "part":
		if u.m.Part {
			return u.part(args)
		}
	case "size", "fatsize":
		return u.size(args)
	case "mmc", "usb", "nvme", "scsi", "sata", "virtio":
		return u.block(args)
	case "run":
		for _, name := range args[1:] {
			l, err := parse(u.env[name])
			if err != nil {
				return 1, u.stopf(u.line, "run %s: %v", name, err)
			}
			if status, err := u.list(l); err != nil || status != 0 {
				return status, err
			}
		}
		return 0, nil
	case "booti":
		return u.booti(args)
	case "reset":
		u.reset = true
		return 0, errStop
	}
	return 1, u.stopf(u.line, "%s: the U-Boot of a %s has no such command, or this interpreter does not know it", args[0], u.m.Name)
}

func (u *run) usage(args []string) (int, error) {
	return 1, u.stopf(u.line, "%s: wrong arguments", strings.Join(args, " "))
}

func (u *run) setenv(args []string) (int, error) {
	if len(args) == 0 {
		return u.usage([]string{"setenv"})
	}
	if strings.Contains(args[0], "=") {
		return 1, u.stopf(u.line, "setenv %s: a name cannot have \"=\"", args[0])
	}
	if v := strings.Join(args[1:], " "); v != "" {
		u.env[args[0]] = v
	} else {
		delete(u.env, args[0])
	}
	return 0, nil
}

func (u *run) envCommand(args []string) (int, error) {
	if len(args) < 2 {
		return u.usage(args)
	}
	switch rest := args[2:]; args[1] {
	case "set":
		return u.setenv(rest)
	case "exists":
		if len(rest) != 1 {
			return u.usage(args)
		}
		if _, ok := u.env[rest[0]]; ok {
			return 0, nil
		}
		return 1, nil
	case "delete":
		for _, n := range rest {
			delete(u.env, n)
		}
		return 0, nil
	case "import":
		return u.envImport(args, rest)
	case "export":
		return u.envExport(args, rest)
	}
	return u.usage(args)
}

func (u *run) envImport(args, rest []string) (int, error) {
	sep, check, crlf, del := byte('\n'), false, false, false
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") && rest[0] != "-" {
		for _, f := range rest[0][1:] {
			switch f {
			case 'c':
				sep, check = 0, true
			case 'b':
				sep = 0
			case 't':
			case 'r':
				crlf = true
			case 'd':
				del = true
			default:
				return u.usage(args)
			}
		}
		rest = rest[1:]
	}
	if len(rest) < 2 || rest[1] == "-" {
		return 1, u.stopf(u.line, "%s: without a size, what is behind the data in memory would be read", strings.Join(args, " "))
	}
	addr, err := number(rest[0])
	if err != nil {
		return 1, u.stopf(u.line, "%v", err)
	}
	size, err := number(rest[1])
	if err != nil || size > 1<<20 {
		return 1, u.stopf(u.line, "%s: size %s: %v", args[0], rest[1], err)
	}
	data, err := u.mem.read(addr, size)
	if err != nil {
		return 1, u.stopf(u.line, "env import: %v", err)
	}
	if check {
		if size <= 4 {
			return 1, nil
		}
		if crc32.ChecksumIEEE(data[4:]) != binary.LittleEndian.Uint32(data) {
			return 1, nil
		}
		data = data[4:]
	}
	if crlf && sep == '\n' {
		data = []byte(strings.ReplaceAll(string(data), "\r\n", "\n"))
	}
	set, deleted, err := imported(data, sep)
	if err != nil {
		return 1, nil
	}
	wanted := rest[2:]
	for _, n := range deleted {
		if len(wanted) == 0 || slices.Contains(wanted, n) {
			delete(u.env, n)
		}
	}
	for n, v := range set {
		if len(wanted) == 0 || slices.Contains(wanted, n) {
			u.env[n] = v
		}
	}
	if del {
		for _, n := range wanted {
			if _, ok := set[n]; !ok {
				delete(u.env, n)
			}
		}
	}
	return 0, nil
}

func (u *run) envExport(args, rest []string) (int, error) {
	sep, check, size := byte('\n'), false, uint64(0)
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		flag := rest[0]
		rest = rest[1:]
		switch flag {
		case "-c":
			sep, check = 0, true
		case "-b":
			sep = 0
		case "-t":
		case "-s":
			if len(rest) == 0 {
				return u.usage(args)
			}
			var err error
			if size, err = number(rest[0]); err != nil || size > 1<<20 {
				return u.usage(args)
			}
			rest = rest[1:]
		default:
			return u.usage(args)
		}
	}
	if len(rest) == 0 {
		return u.usage(args)
	}
	addr, err := number(rest[0])
	if err != nil {
		return 1, u.stopf(u.line, "%v", err)
	}
	wanted := rest[1:]
	var text []byte
	for _, n := range slices.Sorted(maps.Keys(u.env)) {
		if len(wanted) == 0 || slices.Contains(wanted, n) {
			text = append(text, n+"="+escape(u.env[n], sep)...)
			text = append(text, sep)
		}
	}
	text = append(text, 0)
	if sep == '\n' {
		u.mem.write("env export", addr, text, size)
		u.env["filesize"] = strings.ToUpper(hex(uint64(len(text))))
		return 0, nil
	}
	// hexport_r clears all of ENV_SIZE, even with -s.
	data, span := text, u.m.EnvSize
	if check {
		n := u.m.EnvSize
		if size > 0 {
			n = size
		}
		if uint64(len(text)+4) > n {
			return 1, u.stopf(u.line, "env export: %d bytes do not fit %d", len(text)+4, n)
		}
		data = make([]byte, n)
		copy(data[4:], text)
		binary.LittleEndian.PutUint32(data, crc32.ChecksumIEEE(data[4:]))
	}
	u.mem.write("env export", addr, data, span)
	u.env["filesize"] = hex(u.m.EnvSize)
	return 0, nil
}

// fat is the file system that "mmc 1:1" names. Partitions are hexadecimal, as are devices.
func (u *run) fat(kind, where string) (*disk.FAT, error) {
	dev, part, _ := strings.Cut(where, ":")
	d, err := number(dev)
	if err != nil {
		return nil, err
	}
	p, err := number(part)
	if err != nil {
		return nil, err
	}
	if kind != u.m.DevType || int(d) != u.m.DevNum {
		return nil, fmt.Errorf("%s %s is not the disk that the script was loaded from, %s %d", kind, where, u.m.DevType, u.m.DevNum)
	}
	f, ok := u.fats[int(p)]
	if !ok {
		return nil, fmt.Errorf("%s %s has no FAT file system", kind, where)
	}
	return f, nil
}

func (u *run) file(kind, where, name string) ([]byte, error) {
	f, err := u.fat(kind, where)
	if err != nil {
		return nil, err
	}
	return f.ReadFile(name)
}

func (u *run) load(args []string) (int, error) {
	if len(args) != 5 {
		return 1, u.stopf(u.line, "%s: want \"load KIND DEVICE:PARTITION ADDRESS FILE\"", strings.Join(args, " "))
	}
	addr, err := number(args[3])
	if err != nil {
		return 1, u.stopf(u.line, "load: %v", err)
	}
	data, err := u.file(args[1], args[2], args[4])
	if err != nil {
		u.faultf("load: %v", err)
		return 1, nil
	}
	at := firmware.At(addr, uint64(len(data)))
	u.report.Load("U-Boot", args[4], int64(len(data)), at)
	u.report.Place(u.m.Memory, u.m.Reserved, []firmware.Load{{File: args[4], At: at}})
	u.mem.write(args[4], addr, data, 0)
	u.env["fileaddr"], u.env["filesize"] = hex(addr), hex(uint64(len(data)))
	return 0, nil
}

func (u *run) size(args []string) (int, error) {
	if len(args) != 4 {
		return u.usage(args)
	}
	f, err := u.fat(args[1], args[2])
	if err != nil {
		return 1, nil
	}
	n, err := f.Size(args[3])
	if err != nil {
		return 1, nil
	}
	u.env["filesize"] = hex(uint64(n))
	return 0, nil
}

// block is "mmc dev", "mmc read", "mmc write" and the like. Reads and writes are of the current device, which is 0
// until "dev" sets it; "dev" takes a decimal number.
func (u *run) block(args []string) (int, error) {
	if len(args) < 2 {
		return u.usage(args)
	}
	switch args[1] {
	case "dev":
		if len(args) < 3 {
			return 0, nil
		}
		n, err := strconv.Atoi(args[2])
		if err != nil || args[0] != u.m.DevType || n != u.m.DevNum {
			return 1, nil
		}
		u.device[args[0]] = n
		return 0, nil
	case "rescan", "scan", "start", "info", "part":
		return 0, nil
	case "read", "write":
	default:
		return u.usage(args)
	}
	if len(args) != 5 {
		return u.usage(args)
	}
	var n [3]uint64
	for i := range n {
		var err error
		if n[i], err = number(args[2+i]); err != nil {
			return 1, u.stopf(u.line, "%s %s: %v", args[0], args[1], err)
		}
	}
	addr, first, count := n[0], n[1], n[2]
	if args[0] != u.m.DevType || u.device[args[0]] != u.m.DevNum {
		u.faultf("%s %s: the current device is %s %d, the script was loaded from %s %d", args[0], args[1], args[0], u.device[args[0]], u.m.DevType, u.m.DevNum)
		return 1, nil
	}
	if count > 1<<16 || first > 1<<40 {
		return 1, nil
	}
	size := count * disk.SectorSize
	at := firmware.At(addr, size)
	what := fmt.Sprintf("sectors %#x+%d", first, count)
	if args[1] == "read" {
		data := make([]byte, size)
		if _, err := u.disk.ReadAt(data, int64(first)*disk.SectorSize); err != nil {
			u.faultf("read of %s: %v", what, err)
			return 1, nil
		}
		u.report.Load("U-Boot", what, int64(size), at)
		u.report.Place(u.m.Memory, u.m.Reserved, []firmware.Load{{File: what, At: at}})
		u.mem.write(what, addr, data, 0)
		return 0, nil
	}
	if first*disk.SectorSize < TrialOffset || (first+count)*disk.SectorSize > TrialOffset+BlockSize {
		u.faultf("writes %s: only the trial block, %d sectors from %#x on, is a boot script's to write", what, TrialSectors, TrialOffset/disk.SectorSize)
	}
	data, err := u.mem.read(addr, size)
	if err != nil {
		return 1, u.stopf(u.line, "write: %v", err)
	}
	if _, err := u.disk.WriteAt(data, int64(first)*disk.SectorSize); err != nil {
		u.faultf("write of %s: %v", what, err)
		return 1, nil
	}
	return 0, nil
}

func (u *run) part(args []string) (int, error) {
	if len(args) != 6 || args[1] != "start" && args[1] != "size" || args[2] != u.m.DevType {
		return u.usage(args)
	}
	if d, err := number(args[3]); err != nil || int(d) != u.m.DevNum {
		return 1, nil
	}
	for _, p := range u.table.Partitions {
		if strconv.Itoa(p.Number) != args[4] && (p.Name == "" || p.Name != args[4]) {
			continue
		}
		n := p.Start
		if args[1] == "size" {
			n = p.Size
		}
		u.env[args[5]] = hex(uint64(n / disk.SectorSize))
		return 0, nil
	}
	return 1, nil
}

func (u *run) setexpr(args []string) (int, error) {
	value := func(s string) (uint64, bool) {
		n, err := number(s)
		return n, err == nil
	}
	switch len(args) {
	case 3:
		if n, ok := value(args[2]); ok {
			u.env[args[1]] = hex(n)
			return 0, nil
		}
	case 5:
		a, ok1 := value(args[2])
		b, ok2 := value(args[4])
		if !ok1 || !ok2 {
			break
		}
		var n uint64
		switch args[3] {
		case "+":
			n = a + b
		case "-":
			n = a - b
		case "*":
			n = a * b
		case "&":
			n = a & b
		case "|":
			n = a | b
		case "^":
			n = a ^ b
		case "/", "%":
			if b == 0 {
				return 1, nil
			}
			n = a / b
			if args[3] == "%" {
				n = a % b
			}
		default:
			return u.usage(args)
		}
		u.env[args[1]] = hex(n)
		return 0, nil
	}
	return u.usage(args)
}

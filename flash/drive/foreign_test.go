package drive

import (
	"encoding/base64"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"
)

// physicalList is in the form of "diskutil list -plist physical" of macOS 14: the built-in
// disk, and a USB stick with Keelson on it.
const physicalList = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>AllDisks</key>
	<array>
		<string>disk0</string>
		<string>disk0s1</string>
		<string>disk4</string>
		<string>disk4s1</string>
	</array>
	<key>AllDisksAndPartitions</key>
	<array>
		<dict>
			<key>Content</key>
			<string>GUID_partition_scheme</string>
			<key>DeviceIdentifier</key>
			<string>disk0</string>
			<key>OSInternal</key>
			<false/>
			<key>Partitions</key>
			<array>
				<dict>
					<key>Content</key>
					<string>Apple_APFS_ISC</string>
					<key>DeviceIdentifier</key>
					<string>disk0s1</string>
					<key>DiskUUID</key>
					<string>9D72D0C6-0000-0000-0000-000000000001</string>
					<key>Size</key>
					<integer>524288000</integer>
				</dict>
				<dict>
					<key>Content</key>
					<string>Apple_APFS</string>
					<key>DeviceIdentifier</key>
					<string>disk0s2</string>
					<key>Size</key>
					<integer>494384795648</integer>
				</dict>
			</array>
			<key>Size</key>
			<integer>500277790720</integer>
		</dict>
		<dict>
			<key>Content</key>
			<string>GUID_partition_scheme</string>
			<key>DeviceIdentifier</key>
			<string>disk4</string>
			<key>OSInternal</key>
			<false/>
			<key>Partitions</key>
			<array>
				<dict>
					<key>Content</key>
					<string>EFI</string>
					<key>DeviceIdentifier</key>
					<string>disk4s1</string>
					<key>MountPoint</key>
					<string>/Volumes/KEELSON</string>
					<key>Size</key>
					<integer>1073741824</integer>
					<key>VolumeName</key>
					<string>KEELSON</string>
				</dict>
				<dict>
					<key>Content</key>
					<string>0FC63DAF-8483-4772-8E79-3D69D8477DE4</string>
					<key>DeviceIdentifier</key>
					<string>disk4s5</string>
					<key>Size</key>
					<integer>29000000000</integer>
				</dict>
			</array>
			<key>Size</key>
			<integer>30943995904</integer>
		</dict>
	</array>
	<key>VolumesFromDisks</key>
	<array>
		<string>KEELSON</string>
	</array>
	<key>WholeDisks</key>
	<array>
		<string>disk0</string>
		<string>disk4</string>
	</array>
</dict>
</plist>`

// stickInfo is in the form of "diskutil info -plist disk4" of macOS 14, shortened.
const stickInfo = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>AESHardware</key>
	<false/>
	<key>BusProtocol</key>
	<string>USB</string>
	<key>Content</key>
	<string>GUID_partition_scheme</string>
	<key>DeviceBlockSize</key>
	<integer>512</integer>
	<key>DeviceIdentifier</key>
	<string>disk4</string>
	<key>DeviceNode</key>
	<string>/dev/disk4</string>
	<key>Ejectable</key>
	<true/>
	<key>Internal</key>
	<false/>
	<key>MediaName</key>
	<string>Ultra USB 3.0 &amp; more</string>
	<key>ParentWholeDisk</key>
	<string>disk4</string>
	<key>Removable</key>
	<true/>
	<key>RemovableMedia</key>
	<true/>
	<key>RemovableMediaOrExternalDevice</key>
	<true/>
	<key>Size</key>
	<integer>30943995904</integer>
	<key>SMARTDeviceSpecificKeysMayVaryNotGuaranteed</key>
	<dict>
		<key>TEMPERATURE</key>
		<integer>300</integer>
	</dict>
	<key>TotalSize</key>
	<integer>30943995904</integer>
	<key>VirtualOrPhysical</key>
	<string>Physical</string>
	<key>WholeDisk</key>
	<true/>
	<key>WritableMedia</key>
	<true/>
</dict>
</plist>`

func TestDiskutilIsUnderstood(t *testing.T) {
	disks, err := diskutilList([]byte(physicalList))
	if err != nil || len(disks) != 2 {
		t.Fatalf("diskutilList = %+v, %v", disks, err)
	}
	d := disks[1]
	if d.Path != "/dev/disk4" || d.Size != 30943995904 || d.Contents() != "KEELSON (EFI), Linux" || disks[0].Contents() != "Apple_APFS_ISC, Apple_APFS" {
		t.Errorf("diskutilList = %+v", disks)
	}
	if want := []Use{{Mounted, "/Volumes/KEELSON (/dev/disk4s1)", "/Volumes/KEELSON"}}; !reflect.DeepEqual(d.Uses, want) {
		t.Errorf("uses %+v, want %+v", d.Uses, want)
	}
	info, whole, err := diskutilInfo([]byte(stickInfo))
	if err != nil || whole != "" {
		t.Fatalf("diskutilInfo: %q, %v", whole, err)
	}
	if want := (Disk{Path: "/dev/disk4", Size: 30943995904, SectorSize: 512, Model: "Ultra USB 3.0 & more", Bus: "usb", Removable: true}); !reflect.DeepEqual(info, want) {
		t.Errorf("diskutilInfo = %+v, want %+v", info, want)
	}
	part := strings.Replace(strings.Replace(stickInfo, "<string>disk4</string>", "<string>disk4s1</string>", 1), "<key>WholeDisk</key>\n\t<true/>", "<key>WholeDisk</key>\n\t<false/>", 1)
	if info, whole, err := diskutilInfo([]byte(part)); err != nil || info.Path != "/dev/disk4s1" || whole != "disk4" {
		t.Errorf("diskutilInfo of a partition = %+v, %q, %v", info, whole, err)
	}
	locked := strings.Replace(strings.Replace(stickInfo, "<key>WritableMedia</key>\n\t<true/>", "<key>WritableMedia</key>\n\t<false/>", 1), "USB</string>", "Secure Digital</string>", 1)
	if info, _, err := diskutilInfo([]byte(locked)); err != nil || !info.ReadOnly || info.Bus != "sd" {
		t.Errorf("diskutilInfo of a locked card = %+v, %v", info, err)
	}
	stores, err := diskutilStores([]byte(`<plist version="1.0"><dict><key>DeviceIdentifier</key><string>disk3s1s1</string><key>APFSPhysicalStores</key>
		<array><dict><key>APFSPhysicalStore</key><string>disk0s2</string></dict></array></dict></plist>`))
	if err != nil || len(stores) != 1 || stores[0] != "/dev/disk0s2" {
		t.Errorf("diskutilStores = %q, %v", stores, err)
	}
}

func TestBrokenPropertyListsAreErrors(t *testing.T) {
	for _, s := range []string{
		"", "<plist>", "<plist></plist>", "<plist><dict><key>a</key>", "<plist><dict><string>a</string></dict></plist>",
		"<plist><dict><key>a</key><integer>x</integer></dict></plist>", "<plist><array>" + strings.Repeat("<array>", 100),
		"<plist><string>a<b/></string></plist>", "not XML at all",
	} {
		if v, err := parsePlist(strings.NewReader(s)); err == nil {
			t.Errorf("parsePlist(%q) = %v, nil, want an error", s, v)
		}
	}
	if _, err := diskutilList([]byte("<plist><string>a</string></plist>")); err == nil {
		t.Error("diskutilList of a string = nil, want an error")
	}
	if _, _, err := diskutilInfo([]byte("<plist><dict/></plist>")); err == nil {
		t.Error("diskutilInfo of nothing = nil, want an error")
	}
}

func FuzzPlist(f *testing.F) {
	f.Add([]byte(physicalList))
	f.Add([]byte(stickInfo))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = diskutilList(b)
		_, _, _ = diskutilInfo(b)
		_, _ = diskutilStores(b)
	})
}

// disksJSON is what the script prints on Windows 11 with an NVMe disk and a USB stick.
const disksJSON = `[{"Number":0,"Model":"SAMSUNG MZVLB512HBJQ-000L7","Bus":"NVMe","Size":512110190592,"SectorSize":512,"Boot":true,"System":true,"ReadOnly":false,
"Partitions":[{"Number":1,"Size":104857600,"Type":"System","Paths":["\\\\?\\Volume{0b1c}\\"],"Label":"","FileSystem":"FAT32"},
{"Number":3,"Size":511000000000,"Type":"Basic","Paths":["C:\\","\\\\?\\Volume{1b1c}\\"],"Label":"Windows","FileSystem":"NTFS"}]},
{"Number":2,"Model":"SanDisk Ultra ","Bus":"USB","Size":30943995904,"SectorSize":512,"Boot":false,"System":false,"ReadOnly":true,
"Partitions":[{"Number":1,"Size":1073741824,"Type":"System","Paths":["E:\\","\\\\?\\Volume{2b1c}\\"],"Label":"KEELSON","FileSystem":"FAT32"},
{"Number":5,"Size":29000000000,"Type":"Unknown","Paths":[],"Label":"","FileSystem":""}]}]`

func TestGetDiskIsUnderstood(t *testing.T) {
	disks, err := getDisk([]byte(disksJSON))
	if err != nil || len(disks) != 2 {
		t.Fatalf("getDisk = %+v, %v", disks, err)
	}
	if d := disks[0]; d.Removable || d.Bus != "nvme" || len(d.Uses) != 2 || d.Uses[0].Kind != System || d.Uses[1].By != "C: (partition 3)" {
		t.Errorf("disk 0 = %+v", d)
	}
	if d := disks[1]; d.Path != `\\.\PhysicalDrive2` || d.Model != "SanDisk Ultra" || !d.Removable || !d.ReadOnly || d.Contents() != "KEELSON (FAT32), Unknown" ||
		!reflect.DeepEqual(d.Uses, []Use{{Mounted, "E: (partition 1)", `E:\`}}) || d.Partitions[0].Volume != `\\?\Volume{2b1c}\` || d.Partitions[1].Volume != "" {
		t.Errorf("disk 2 = %+v", d)
	}
	for _, s := range []string{"", "{}", "[{", `[{"Size":"big"}]`} {
		if disks, err := getDisk([]byte(s)); err == nil {
			t.Errorf("getDisk(%q) = %+v, nil, want an error", s, disks)
		}
	}
}

func TestTheScriptSurvivesItsEncoding(t *testing.T) {
	b, err := base64.StdEncoding.DecodeString(encodedCommand(getDiskScript))
	if err != nil {
		t.Fatal(err)
	}
	var u []uint16
	for ; len(b) > 0; b = b[2:] {
		u = append(u, binary.LittleEndian.Uint16(b))
	}
	if got := string(utf16.Decode(u)); got != getDiskScript {
		t.Errorf("decoded: %q", got)
	}
	if n := len(encodedCommand(getDiskScript)); n > 30_000 {
		t.Errorf("the command has %d characters, Windows allows 32767 on a command line", n)
	}
}

func FuzzGetDisk(f *testing.F) {
	f.Add([]byte(disksJSON))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = getDisk(b) })
}

package drive

import (
	"errors"
	"fmt"
	"strings"
)

// diskutilList reads "diskutil list -plist physical": the whole disks with what is on them.
// What is not said there, such as the model, comes from diskutilInfo.
func diskutilList(out []byte) ([]Disk, error) {
	root, err := readDict(out)
	if err != nil {
		return nil, fmt.Errorf("diskutil list: %w", err)
	}
	var disks []Disk
	for _, w := range root.dicts("AllDisksAndPartitions") {
		name := w.text("DeviceIdentifier")
		if name == "" {
			continue
		}
		d := Disk{Path: "/dev/" + name, Size: w.integer("Size")}
		parts := append(w.dicts("Partitions"), w.dicts("APFSVolumes")...)
		if w.text("VolumeName") != "" { // a file system without a partition table
			parts = append(parts, w)
		}
		for _, p := range parts {
			path := "/dev/" + p.text("DeviceIdentifier")
			d.Partitions = append(d.Partitions, Partition{Path: path, Size: p.integer("Size"), Label: p.text("VolumeName"), FileSystem: contentName(p.text("Content"))})
			if at := p.text("MountPoint"); at != "" {
				kind := Mounted
				if at == "/" || strings.HasPrefix(at, "/System/Volumes/") {
					kind = System
				}
				d.Uses = append(d.Uses, Use{Kind: kind, By: at + " (" + path + ")", Mount: at})
			}
		}
		disks = append(disks, d)
	}
	return disks, nil
}

// contentName makes a partition's type readable: macOS names some by their GUID.
func contentName(s string) string {
	switch strings.ToUpper(s) {
	case "C12A7328-F81F-11D2-BA4B-00A0C93EC93B":
		return "EFI"
	case "0FC63DAF-8483-4772-8E79-3D69D8477DE4":
		return "Linux"
	}
	return s
}

// diskutilInfo reads "diskutil info -plist DEVICE". For a partition it also returns its
// whole disk's name, such as disk4.
func diskutilInfo(out []byte) (d Disk, whole string, err error) {
	info, err := readDict(out)
	if err != nil {
		return d, "", fmt.Errorf("diskutil info: %w", err)
	}
	name := info.text("DeviceIdentifier")
	if name == "" {
		return d, "", errors.New("diskutil info: no DeviceIdentifier in its property list")
	}
	d = Disk{
		Path: "/dev/" + name, Size: info.integer("TotalSize"), SectorSize: int(info.integer("DeviceBlockSize")),
		Model: strings.TrimSpace(info.text("MediaName")), Bus: busName(info.text("BusProtocol")),
		Removable: info.flag("RemovableMediaOrExternalDevice") || info.flag("RemovableMedia") || info.flag("Ejectable"),
	}
	if d.Size == 0 {
		d.Size = info.integer("Size")
	}
	if writable, said := info["WritableMedia"].(bool); said {
		d.ReadOnly = !writable
	}
	if d.SectorSize == 0 {
		d.SectorSize = SectorSize
	}
	if info.flag("SystemImage") {
		d.Uses = append(d.Uses, Use{Kind: System, By: "macOS"})
	}
	if isWhole, said := info["WholeDisk"].(bool); said && !isWhole {
		whole = info.text("ParentWholeDisk")
	}
	return d, whole, nil
}

// busName writes a bus as on Linux.
func busName(protocol string) string {
	switch protocol {
	case "Secure Digital":
		return "sd"
	case "PCI-Express", "Apple Fabric":
		return "nvme"
	case "SATA", "ATA":
		return "ata"
	}
	return strings.ToLower(protocol)
}

// diskutilStores reads "diskutil info -plist /": the partitions that the volume of the
// running system lies on.
func diskutilStores(out []byte) ([]string, error) {
	info, err := readDict(out)
	if err != nil {
		return nil, fmt.Errorf("diskutil info /: %w", err)
	}
	var stores []string
	for _, s := range info.dicts("APFSPhysicalStores") {
		for _, key := range []string{"APFSPhysicalStore", "DeviceIdentifier"} {
			if name := s.text(key); name != "" {
				stores = append(stores, "/dev/"+name)
			}
		}
	}
	if name := info.text("DeviceIdentifier"); len(stores) == 0 && name != "" {
		stores = append(stores, "/dev/"+name) // not on APFS
	}
	return stores, nil
}

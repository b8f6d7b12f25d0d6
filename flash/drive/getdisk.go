package drive

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

// getDiskScript is what PowerShell runs: everything that is needed, in one answer, with
// names of our own, so that the module's version does not matter.
const getDiskScript = `$ErrorActionPreference = 'Stop'; $ProgressPreference = 'SilentlyContinue'
[Console]::OutputEncoding = [System.Text.Encoding]::UTF8
$disks = foreach ($d in Get-Disk) {
  $parts = foreach ($p in @(Get-Partition -DiskNumber $d.Number -ErrorAction SilentlyContinue)) {
    $v = $p | Get-Volume -ErrorAction SilentlyContinue
    [pscustomobject]@{
      Number = [int]$p.PartitionNumber; Size = [int64]$p.Size; Type = [string]$p.Type
      Paths = @($p.AccessPaths | Where-Object { $_ }); Label = [string]$v.FileSystemLabel; FileSystem = [string]$v.FileSystem
    }
  }
  [pscustomobject]@{
    Number = [int]$d.Number; Model = [string]$d.FriendlyName; Bus = [string]$d.BusType; Size = [int64]$d.Size
    SectorSize = [int]$d.LogicalSectorSize; Boot = [bool]$d.IsBoot; System = [bool]$d.IsSystem
    ReadOnly = [bool]$d.IsReadOnly; Partitions = @($parts)
  }
}
ConvertTo-Json -Depth 5 -Compress -InputObject @($disks)`

// encodedCommand writes a script as PowerShell's -EncodedCommand wants it: no quoting can
// go wrong then.
func encodedCommand(script string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(script)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// getDisk reads the script's answer.
func getDisk(out []byte) ([]Disk, error) {
	var list []struct {
		Number     int
		Model, Bus string
		Size       int64
		SectorSize int
		Boot       bool
		System     bool
		ReadOnly   bool
		Partitions []struct {
			Number                  int
			Size                    int64
			Type, Label, FileSystem string
			Paths                   []string
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("PowerShell's Get-Disk: %w", err)
	}
	var disks []Disk
	for _, w := range list {
		d := Disk{
			Path: fmt.Sprintf(`\\.\PhysicalDrive%d`, w.Number), Size: w.Size, SectorSize: w.SectorSize, ReadOnly: w.ReadOnly,
			Model: strings.TrimSpace(w.Model), Bus: strings.ToLower(w.Bus),
		}
		d.Removable = d.Bus == "usb" || d.Bus == "sd" || d.Bus == "1394"
		if w.Boot || w.System {
			d.Uses = append(d.Uses, Use{Kind: System, By: "Windows"})
		}
		for _, p := range w.Partitions {
			label := p.Label
			if label == "" && p.FileSystem == "" {
				label = p.Type
			}
			path, volume := fmt.Sprintf("partition %d", p.Number), ""
			for _, at := range p.Paths {
				if strings.HasPrefix(at, `\\?\`) {
					volume = at // every volume has such a name, also one that nobody uses
					continue
				}
				d.Uses = append(d.Uses, Use{Kind: Mounted, By: strings.TrimSuffix(at, `\`) + " (" + path + ")", Mount: at})
			}
			d.Partitions = append(d.Partitions, Partition{Path: path, Size: p.Size, Label: label, FileSystem: p.FileSystem, Volume: volume})
		}
		disks = append(disks, d)
	}
	return disks, nil
}

package config

// Files beside a cluster's configuration with the keys that its upgrades are signed with, in minisign's formats. No node gets
// a private one. The next pair is trusted from the first image on, so that the first can be lost or replaced.
const (
	ReleaseKey        = "release.key"
	ReleasePublic     = "release.pub"
	NextReleaseKey    = "release-next.key"
	NextReleasePublic = "release-next.pub"
)

// Package oci makes the container images that Keelson brings along, as archives, and
// reads the archives that a user embeds in an image.
//
// What is written is an OCI image layout in one tar, one image with one layer, plain or
// compressed with zstd, plus the manifest.json that "docker load" wants:
//
//	oci-layout  index.json  manifest.json  blobs/sha256/{config, layer, manifest}
//
// index.json names the image in the annotation io.containerd.image.name, which
// containerd's import uses. Times are the epoch given, owners root, so equal inputs give
// equal bytes.
//
// What is read: OCI layouts and "docker save" archives, as a tar, or that compressed with
// gzip or zstd. Every blob is checked against its digest.
//
// Sources: OCI image-spec v1.1, image-layout.md, config.md; Docker image spec v1.3.
package oci

// Package scenario holds the stories that must be seen to hold on a real image in QEMU,
// one per test function.
//
// They run with KEELSON_QEMU=1 (make test), the matrix of machines also with
// KEELSON_ALL=1 (make test-all); without, the package does nothing, so that "go test
// ./..." stays fast. The image is built once per run by bin/keelson, with a new cluster's
// configuration, the busybox test image and testdata/app.yaml in it; every story has its
// own disk over it. Serial logs stay in out/scenario/<story>/.
package scenario

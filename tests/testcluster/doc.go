// Package testcluster boots a Keelson image in QEMU for a Go test, and gives the test a
// kubeconfig of the real, ready cluster in it:
//
//	func TestMyOperator(t *testing.T) {
//		c := testcluster.Start(t, testcluster.Options{Image: "homelab.img"})
//		config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
//		...
//	}
//
// It has no client of Kubernetes in it and brings none: use the version of client-go that you
// like, kubectl, or plain HTTP. docs/testing-with-keelson.md tells how to make the image and
// what a computer needs; package example beside this one is a test that does all of it.
package testcluster

// Package pki makes, keeps and renews the certificates of a cluster.
//
// The CAs are made once, on the laptop (keelson config new), and travel in the machine
// configuration. Everything below them is made on the node, at start, and lives as files:
//
//	<dir>/<name>.crt   certificate, PEM, 0600
//	<dir>/<name>.key   private key, PKCS#8 PEM, 0600
//
// Boards without a clock that runs while the power is off start at some past time. A
// certificate that says "not before today" would then be refused until the clock is set,
// so every certificate is valid from Epoch on. Nothing is lost by that: the key did not
// exist before, so nothing can have been signed with it. The end of the validity counts
// from the time of issue.
//
// All keys are ECDSA P-256. The clock is an argument everywhere.
//
// Standard library only: the operator's CLI imports this package.
package pki

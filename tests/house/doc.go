// Package house holds the rules of the repository's structure and the tests that keep
// them: which room may import what, one package comment per folder, no name of a
// package registry and no machine's path in a tracked file.
package house

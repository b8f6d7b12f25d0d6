// Package example is a test as somebody writes it who wants a real cluster for his own
// application, and has nothing but the keelson program and package testcluster.
package example

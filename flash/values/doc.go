// Package values sets and removes single values of a YAML file, such as a node's host name
// in keelson.yaml, and leaves the rest of the file as a person wrote it: order, comments
// and empty lines.
//
// A value is changed in the file's text, line by line. The result is read again, and is
// only taken when it means what the change of the parsed document means; else the parsed
// document is written anew, which keeps order and comments but not empty lines.
package values

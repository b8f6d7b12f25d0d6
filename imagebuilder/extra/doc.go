// Package extra reads what a build adds to a root beside the system itself - single files, folders
// and overlays of the user's, overlays and files of the board's - and lays it over the root.
//
// What is added is owned by root, its times are those of the image, and its mode is 0755 for folders and for
// files that anybody may execute, 0644 for others: nothing depends on the checkout or the umask.
//
// Later layers win over earlier ones. Of the system's own files a layer may replace those below /etc that
// the node does not make itself, and firmware; see Lay. Everything else that is there belongs to the node, and
// a build that would break it is refused.
package extra

// Package screen draws a status at the top of every console once the boot is over: the node's name, addresses, version and
// slot, health and load. Below it the log lines go on, in a scroll region of their own, so that nothing that is said
// is lost, on a screen as in a recorded serial line, and nothing is printed twice.
//
// The first drawing makes room for it by line breaks. From then on a drawing is one write: save the cursor, go to the rows of the status, write them, restore the cursor. It has no line break, so
// whoever reads a serial console by lines may take out everything between ESC 7 and ESC 8.
// It is drawn when something but load and uptime has changed, and once a minute; a serial line at 9600 bit/s carries one in
// half a second.
//
// Nothing is read from any console: what is typed is not echoed either (package console). Ctrl-Alt-Del is the kernel's.
//
// Source: ECMA-48; DEC VT100 control functions DECSC (ESC 7), DECRC (ESC 8), DECSTBM (CSI r); console_codes(4).
package screen

// Package control is PID 1's unix socket: what it tells about the machine, and what it can be asked to do.
//
// A connection carries one request: a line of JSON, at most 64 KiB (type Request). The answer is one line of JSON
// (type Answer), for OpEvents one line per event (type Event), and the connection ends. The socket is the root user's
// alone: who may ask for what is decided by the machine API, the one that speaks to it.
//
// PID 1 depends on nobody here: a request that is too long or too slow, a reader that does not read, and more
// connections than there are places end without an effect on anything else.
package control

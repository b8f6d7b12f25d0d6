package console

import "syscall"

// noctty keeps a console from becoming PID 1's controlling terminal, which would send it
// the signals of that terminal.
const noctty = syscall.O_NOCTTY | syscall.O_NONBLOCK

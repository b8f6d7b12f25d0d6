// Package supervise keeps a service running: it starts it, restarts it when it dies, and
// listens to what it says about itself.
//
// A service that dies is started again after a pause that doubles from 1 s to 30 s, and
// begins at 1 s again after a run that got ready, or was long. Only its main process is
// ever stopped or killed, never its cgroup: what it started (the shims of pods) lives on
// and becomes PID 1's child.
//
// The service gets a socket in NOTIFY_SOCKET and speaks systemd's sd_notify protocol on
// it, one datagram per message, from its main process only:
//
//	READY=1                       it can do its work; sent again after each restart
//	STATUS=TEXT                   what it is doing or waiting for
//	STOPPING=1                    it is about to end
//	X_KEELSON_STEP=NAME MS ok     a finished step of its start, with its milliseconds
//	X_KEELSON_STEP=NAME MS error:TEXT
//	X_KEELSON_HEALTHY=1           after it got ready: what it runs works
//	X_KEELSON_HEALTHY=0:REASON    it does not
//
// Its output goes to a bounded log; the console gets the lines that are warnings or worse,
// and few of them.
//
// The OOM score of the service is inherited by what it starts: a service that starts pods
// has to set theirs itself, as the kubelet and containerd do.
package supervise

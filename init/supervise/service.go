package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/console"
	"github.com/keelson-os/keelson/init/logfile"
	"github.com/keelson-os/keelson/init/reap"
)

// statusEvery is the least time between two STATUS lines on the console.
const statusEvery = 10 * time.Second

// Service is what to run and how. Its exported fields must not change once Run was called.
type Service struct {
	Name     string
	Path     string
	Args     []string        // without the program's name
	Env      []string        // NOTIFY_SOCKET is added
	MoreEnv  func() []string // of a run that starts now; nil: none
	Cgroup   string          // folder of its cgroup; empty: PID 1's
	OOMScore int             // oom_score_adj, -1000 to 1000
	Socket   string          // path of its notify socket
	// StopLimit is how long it may take to end after SIGTERM, before it is killed.
	StopLimit time.Duration

	Log     *logfile.File
	Console *console.Console
	Reaper  *reap.Reaper

	// Started is called at each start, Notify for each message of the running main
	// process, Exited at each death with its reason, but those that Restart asked for. All
	// are called from one goroutine at a time, and must not block.
	Started func()
	Notify  func(Message)
	Exited  func(reason string)

	asks restarts
	st   state
}

// process is a running main process.
type process interface {
	pid() int
	signal(os.Signal) error
	wait() (reason string) // how it ended
}

// Run keeps the service running until ctx is done; then it stops it and returns when it
// has ended. It returns an error only when the service cannot be started even once for
// want of its socket or pipe.
func (s *Service) Run(ctx context.Context) error {
	out := newSink(s.Name, s.Log, s.Log.Path(), s.Console)
	conn, err := listen(s.Socket)
	if err != nil {
		return fmt.Errorf("service %s: notify socket: %w", s.Name, err)
	}
	defer conn.Close()
	// One pipe for all its lives: a child that outlives it may keep the write end.
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("service %s: %w", s.Name, err)
	}
	defer r.Close()
	defer w.Close()
	go out.read(r)
	go s.listenTo(conn, &s.st)
	defer context.AfterFunc(ctx, func() { out.quiet.Store(true) })()
	s.loop(ctx, &s.st, out, func() (process, error) { return s.start(w) })
	return nil
}

// state is shared between the loop and the socket's reader.
type state struct {
	mu    sync.Mutex
	pid   int // of the running main process; 0: none
	ready bool
	limit console.Limit
	shown string
	info  Info // but PID and Ready, which are above
}

func (s *Service) loop(ctx context.Context, st *state, out *sink, start func() (process, error)) {
	var pauses backoff
	for ctx.Err() == nil {
		began := time.Now()
		reason, ready, by := s.once(ctx, st, start)
		if ctx.Err() != nil {
			return
		}
		if by != "" {
			s.Console.Printf("%s: restart, asked by %s", s.Name, by)
			pauses = backoff{}
			continue
		}
		pause := pauses.next(time.Since(began), ready)
		s.Console.Printf("%s: %s; restart in %v", s.Name, reason, pause)
		for _, line := range out.last() {
			s.Console.Printf("%s:   %s", s.Name, line)
		}
		if s.Exited != nil {
			s.Exited(reason)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		case <-s.asks.c():
			s.asks.take()
		}
	}
}

// once is one life of the service. by is who asked for its end; empty: nobody.
func (s *Service) once(ctx context.Context, st *state, start func() (process, error)) (reason string, ready bool, by string) {
	if s.Started != nil {
		s.Started()
	}
	p, err := st.begin(start)
	if err != nil {
		st.end(err.Error())
		return err.Error(), false, ""
	}
	ended := make(chan string, 1)
	go func() { ended <- p.wait() }()
	select {
	case reason = <-ended:
	case <-s.asks.c():
		by = s.asks.take()
		reason = s.stop(p, ended)
	case <-ctx.Done():
		reason = s.stop(p, ended)
	}
	if by != "" {
		return reason, st.end("ended by a restart that " + by + " asked for"), by
	}
	return reason, st.end(reason), ""
}

// begin starts a life. The reader of the socket waits meanwhile, so that it knows the process
// before its first message.
func (st *state) begin(start func() (process, error)) (process, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.info.Since.IsZero() {
		st.info.Restarts++
	}
	st.info.Since = time.Now()
	p, err := start()
	if err != nil {
		return nil, err
	}
	st.pid, st.ready = p.pid(), false
	return p, nil
}

// end notes the end of a life, and returns whether it had got ready.
func (st *state) end(reason string) (wasReady bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.info.LastExit, st.info.Status = reason, ""
	wasReady = st.ready && st.pid != 0
	st.pid = 0
	return wasReady
}

// stop asks the process to end, and kills it when it does not.
func (s *Service) stop(p process, ended <-chan string) string {
	p.signal(unix.SIGTERM)
	select {
	case reason := <-ended:
		return reason
	case <-time.After(s.StopLimit):
	}
	s.Console.Printf("%s: still running %v after SIGTERM; killed", s.Name, s.StopLimit)
	p.signal(unix.SIGKILL)
	select {
	case reason := <-ended:
		return reason
	case <-time.After(5 * time.Second):
		return "does not end, even killed"
	}
}

// listenTo takes the messages of the main process until conn is closed.
func (s *Service) listenTo(conn *net.UnixConn, st *state) {
	buf := make([]byte, messageMax)
	for {
		m, pid, err := receive(conn, buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // not to spin on an error that stays
			continue
		}
		st.mu.Lock()
		known := st.pid != 0 && pid == st.pid
		if known && m.Ready {
			st.ready, st.info.Status = true, "" // what it waited for is over
		}
		if known && m.Status != "" {
			st.info.Status = m.Status[:min(len(m.Status), statusMax)]
		}
		show := known && m.Status != "" && m.Status != st.shown && !st.ready
		if show {
			if st.limit.Burst == 0 {
				st.limit.Burst, st.limit.Every = 1, statusEvery
			}
			_, show = st.limit.Allow()
		}
		if show {
			st.shown = m.Status
		}
		st.mu.Unlock()
		if show {
			s.Console.Printf("%s: %s", s.Name, cut(m.Status))
		}
		if known && s.Notify != nil {
			s.Notify(m)
		}
	}
}

// child is a process started by us.
type child struct {
	cmd *exec.Cmd
	r   *reap.Reaper
}

func (s *Service) start(output *os.File) (process, error) {
	cmd := exec.Command(s.Path, s.Args...)
	cmd.Env = append(s.Env[:len(s.Env):len(s.Env)], "NOTIFY_SOCKET="+s.Socket)
	if s.MoreEnv != nil {
		cmd.Env = append(cmd.Env, s.MoreEnv()...)
	}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.Cgroup != "" {
		fd, err := unix.Open(s.Cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("start: cgroup %s: %w", s.Cgroup, err)
		}
		defer unix.Close(fd)
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, fd
	}
	if err := s.Reaper.Start(cmd); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	// PID 1's own score is inherited until here.
	file := "/proc/" + strconv.Itoa(cmd.Process.Pid) + "/oom_score_adj"
	if err := os.WriteFile(file, []byte(strconv.Itoa(s.OOMScore)), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Console.Printf("%s: %v", s.Name, err)
	}
	return &child{cmd, s.Reaper}, nil
}

func (c *child) pid() int                   { return c.cmd.Process.Pid }
func (c *child) signal(sig os.Signal) error { return c.cmd.Process.Signal(sig) }

func (c *child) wait() string {
	err := c.r.Wait(c.cmd)
	if err == nil {
		return "ended with exit code 0"
	}
	return "died: " + strings.TrimPrefix(err.Error(), "wait: ")
}

package dns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/parse"
	"github.com/miekg/dns"
)

// engine is one CoreDNS. It is for one goroutine.
type engine struct {
	name    string // in engines
	port    int
	sources *sources
	cluster *cluster // nil: no names of the cluster
	folder  string   // of the files that custom configuration may read

	running *caddy.Instance
	// Of the Corefile that is being loaded:
	keys   []int // of each server block, how many keys
	number int   // counts loads
}

func newEngine(port int, s *sources, c *cluster, folder string) *engine {
	e := &engine{name: strconv.FormatInt(lastEngine.Add(1), 10), port: port, sources: s, cluster: c, folder: folder}
	engines.Store(e.name, e)
	return e
}

// corefileName stands in errors for the text that this package writes.
const corefileName = "Corefile"

// load serves text, in place of what was served before. After an error that is served on.
//
// Most mistakes are found before any plugin is set up. A plugin that is set up and then not
// started because a later one fails cannot be undone: hosts, if the user has one, leaves a
// goroutine behind.
func (e *engine) load(text string) error {
	blocks, err := caddyfile.Parse(corefileName, strings.NewReader(text), directives())
	if err != nil {
		return err
	}
	if err := e.check(blocks); err != nil {
		return err
	}
	if e.keys, err = countKeys(blocks); err != nil {
		return err
	}
	e.number++
	in := caddy.CaddyfileInput{Filepath: corefileName, Contents: []byte(text), ServerTypeName: "dns"}
	if e.running == nil {
		if err := e.start(in); err != nil {
			return err
		}
		return e.started()
	}
	next, err := e.running.Restart(in)
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "starting with listener file descriptors: "))
	}
	if next == nil { // caddy has logged the panic
		return errors.New("a plugin panicked while it was set up")
	}
	e.running = next
	return e.started()
}

// startLimit is how long servers may take to start; it is milliseconds on an idle machine.
const startLimit = 30 * time.Second

// started waits until the servers that were loaded last answer. Caddy starts each in a
// goroutine and returns; a server that is stopped before that goroutine runs starts
// nevertheless, and would serve the old Corefile for ever, on a socket that nobody closes.
func (e *engine) started() error {
	deadline := time.Now().Add(startLimit)
	for _, network := range []string{"udp", "tcp"} {
		client := dns.Client{Net: network, Timeout: time.Second}
		for {
			r, _, err := client.Exchange(new(dns.Msg).SetQuestion(e.startedName(), dns.TypeA), net.JoinHostPort("127.0.0.1", strconv.Itoa(e.port)))
			if err == nil && r.Rcode == dns.RcodeSuccess {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("CoreDNS does not answer by %s after %s: %w", network, startLimit, errors.Join(err, errNotStarted))
			}
			time.Sleep(5 * time.Millisecond) // a refused connection, or the old server's last answer
		}
	}
	return nil
}

var errNotStarted = errors.New("not started")

// startedName is what only the servers of the last load answer for.
func (e *engine) startedName() string {
	return fmt.Sprintf("%d.started.%s.invalid.", e.number, strings.ReplaceAll(guardDirective, "_", "-"))
}

func (e *engine) start(in caddy.Input) (err error) {
	// CoreDNS would share the port with whoever else has it (SO_REUSEPORT), and of what it
	// opened before an error it closes nothing.
	if err := free(e.port); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a plugin panicked while it was set up: %v", r)
		}
	}()
	i, err := caddy.Start(in)
	if err != nil {
		return errors.Join(err, i.Stop())
	}
	e.running = i
	return nil
}

// free says whether the port can be had.
func free(port int) error {
	at := net.JoinHostPort("", strconv.Itoa(port))
	p, err := net.ListenPacket("udp", at)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return errors.Join(err, p.Close())
	}
	return errors.Join(p.Close(), l.Close())
}

// stop ends the servers and their plugins.
func (e *engine) stop() error {
	engines.Delete(e.name)
	if e.running == nil {
		return nil
	}
	errs := []error{e.running.Stop()}
	errs = append(errs, e.running.ShutdownCallbacks()...)
	e.running = nil
	return errors.Join(errs...)
}

// countKeys says how many keys each block gets: CoreDNS makes several of a reverse network
// that is not a whole number of labels. Source: core/dnsserver, InspectServerBlocks.
func countKeys(blocks []caddyfile.ServerBlock) ([]int, error) {
	var out []int
	for _, b := range blocks {
		n := 0
		for _, k := range b.Keys {
			_, rest := parse.Transport(k)
			hosts, _, err := plugin.SplitHostPort(rest)
			if err != nil {
				return nil, fmt.Errorf("server block %s: %w", k, err)
			}
			n += len(hosts)
		}
		out = append(out, n)
	}
	return out, nil
}

// check refuses, in what the user wrote, directives that are not for users and files that
// are not the user's.
func (e *engine) check(blocks []caddyfile.ServerBlock) error {
	for _, b := range blocks {
		for name, tokens := range b.Tokens {
			for i, t := range tokens {
				if t.File == "" { // this package's text
					continue
				}
				if reserved(name) {
					return fmt.Errorf("%s:%d - Error during parsing: '%s' cannot be used here: the main server block has it", t.File, t.Line, name)
				}
				if i > 0 && e.foreign(t.Text) {
					return fmt.Errorf("%s:%d - Error during parsing: %s is a file of the node: only keys of the ConfigMap can be read, as %s/KEY", t.File, t.Line, t.Text, userFolder)
				}
			}
		}
	}
	return nil
}

// userFolder is where k3s has the keys of coredns-custom. The system has a link there.
const userFolder = "/etc/coredns/custom"

// foreign is true if a word of the user's names a file of the node that a plugin must not
// read: CoreDNS runs with all rights here, and the error of a parser quotes what it read.
//
// The path is resolved as the kernel does it: userFolder is a link, so that "x/.." is not
// always nothing.
func (e *engine) foreign(word string) bool {
	if word == "/etc/resolv.conf" || word == "/etc/hosts" {
		return false
	}
	info, err := os.Stat(word)
	if err != nil || info.IsDir() {
		return false
	}
	path, err := filepath.Abs(word)
	if err != nil {
		return true
	}
	folder, folderErr := filepath.EvalSymlinks(e.folder)
	// EvalSymlinks cleans only what it has resolved; Abs cleans before, so not here.
	if filepath.IsAbs(word) {
		path = word
	}
	path, err = filepath.EvalSymlinks(path)
	return err != nil || folderErr != nil || !within(path, folder)
}

func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(rel)
}

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/keelson-os/keelson/machine"
)

// explain makes an error of asking a node one line that begins with the node and ends with what to do.
func (n *node) explain(err error) error {
	if err == nil {
		return nil
	}
	// The client says the address; the node's name is said here.
	text := strings.TrimPrefix(err.Error(), n.Address()+": ")
	say := func(what, do string) error { return &nodeError{n.name + ": " + what + "; " + do, err} }
	var (
		answer   *machine.Error
		stranger x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		plain    tls.RecordHeaderError
		dns      *net.DNSError
		op       *net.OpError
	)
	switch {
	case errors.As(err, &answer):
		switch {
		case answer.Do != "":
			return say(answer.Message, answer.Do)
		case errors.Is(err, machine.ErrForbidden):
			return say(answer.Message, "use an administrator's certificate, or "+anotherClient)
		case answer.Status == 401:
			return say(answer.Message, anotherClient)
		case answer.Status == 404 && strings.Contains(answer.Message, "machine API"):
			return say(answer.Message, "the node's version is older than this program's: upgrade it")
		}
		return &nodeError{n.name + ": " + answer.Message, err}
	case errors.As(err, &stranger):
		return say("is no node of this cluster: its certificate is not signed by the machine CA of the "+n.target.what, "check the address, or take the cluster's own context (--context)")
	case errors.As(err, &name):
		return say("what answers there is no machine API: its certificate is not made out to "+machine.ServerName, "check the address and the port")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return say("the node's certificate is not valid now: "+text, "compare the clock of this computer with the node's (on its screen)")
	case errors.As(err, &plain), strings.Contains(text, "no application protocol"), strings.Contains(text, "HTTP response to HTTPS"):
		return say("what answers there is no machine API: "+text, "check the address and the port")
	case strings.Contains(text, "tls: expired certificate"):
		return say("the node takes the client certificate for expired", "compare the node's clock (on its screen) with this computer's, or "+anotherClient)
	case strings.Contains(text, "tls: unknown certificate authority"), strings.Contains(text, "tls: bad certificate"), strings.Contains(text, "tls: certificate required"):
		return say("the node refuses the client certificate of the "+n.target.what, "take the context of its cluster (--context), or "+anotherClient)
	case errors.As(err, &dns):
		return say("there is no such host: "+dns.Err, "check the name, or use the node's IP address")
	case errors.Is(err, context.DeadlineExceeded):
		return say("does not answer in time", "is it on, is the address right, and is port "+n.port()+" open on the way?")
	case errors.Is(err, syscall.ECONNREFUSED):
		return say("nothing listens on port "+n.port(), "is it on, and is it a Keelson node? The machine API is there a few seconds after the start")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return say("ended the connection", "it may be starting or shutting down: try again")
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "read" || op.Op == "write"):
		return say("cannot be reached: "+text, "is it on, is the address right, and is port "+n.port()+" open on the way?")
	}
	return &nodeError{n.name + ": " + text, err}
}

func (n *node) port() string {
	_, port, _ := net.SplitHostPort(n.Address())
	return port
}

// nodeError is an error with the text for people.
type nodeError struct {
	text  string
	cause error
}

func (e *nodeError) Error() string { return e.text }
func (e *nodeError) Unwrap() error { return e.cause }

// interrupted is what an error is when the user has ended the command.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return fmt.Errorf("interrupted: %w", err)
	}
	return err
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// answerLimit is how long a node may take for an answer that is no stream.
const answerLimit = 30 * time.Second

// answer is what a node said.
type answer[T any] struct {
	node  *node
	value T
	err   error // explained
}

// askAll asks all nodes at once and returns their answers in the nodes' order. One that fails does not hold up the others. A limit of 0 is none.
func askAll[T any](ctx context.Context, nodes []*node, limit time.Duration, f func(context.Context, *node) (T, error)) []answer[T] {
	answers := make([]answer[T], len(nodes))
	var wg sync.WaitGroup
	for k, n := range nodes {
		wg.Go(func() {
			defer n.Close()
			ctx, cancel := ctx, context.CancelFunc(func() {})
			if limit > 0 {
				ctx, cancel = context.WithTimeout(ctx, limit)
			}
			defer cancel()
			v, err := f(ctx, n)
			var done *nodeError
			if err != nil && !errors.As(err, &done) {
				err = n.explain(err)
			}
			answers[k] = answer[T]{n, v, err}
		})
	}
	wg.Wait()
	return answers
}

// failures returns the error of the command: that of a single node as it is, those of several after having shown each.
func failures[T any](ctx context.Context, stderr io.Writer, answers []answer[T]) error {
	if len(answers) == 1 {
		return interrupted(ctx, answers[0].err)
	}
	failed := 0
	for _, a := range answers {
		if a.err != nil {
			failed++
			fmt.Fprintf(stderr, "keelson: %v\n", a.err)
		}
	}
	if failed == 0 {
		return nil
	}
	return &shownError{fmt.Errorf("%d of %d nodes failed", failed, len(answers))}
}

// good are the answers of the nodes that gave one.
func good[T any](answers []answer[T]) []answer[T] {
	var list []answer[T]
	for _, a := range answers {
		if a.err == nil {
			list = append(list, a)
		}
	}
	return list
}

// show shows the answers to people, by people, or to programs: that of a single node as it is, those of several by the nodes' names.
func show[T any](cmd *cobra.Command, f *nodeFlags, answers []answer[T], people func(w io.Writer, answers []answer[T]) error) error {
	out := cmd.OutOrStdout()
	var err error
	switch list := good(answers); {
	case len(answers) == 1 && len(list) == 0:
	case f.output == outputTable:
		if len(list) > 0 {
			err = people(out, list)
		}
	case len(answers) == 1:
		err = writeValue(out, f.output, list[0].value)
	default:
		byNode := map[string]T{}
		for _, a := range list {
			byNode[a.node.name] = a.value
		}
		err = writeValue(out, f.output, byNode)
	}
	return errors.Join(err, failures(cmd.Context(), cmd.ErrOrStderr(), answers))
}

// showRows is show for what is a table: header names its columns, rows makes the rows of a node's answer. Of several nodes it gets a column NODE.
func showRows[T any](cmd *cobra.Command, f *nodeFlags, answers []answer[T], header []string, rows func(T) table) error {
	several := len(answers) > 1
	return show(cmd, f, answers, func(w io.Writer, list []answer[T]) error {
		if several {
			header = append([]string{"NODE"}, header...)
		}
		t := table{header}
		for _, a := range list {
			for _, row := range rows(a.value) {
				if several {
					row = append([]string{a.node.name}, row...)
				}
				t = append(t, row)
			}
		}
		return t.write(w)
	})
}

// call is a method of the client that asks for something.
type call[T any] = func(context.Context) (T, error)

// asking runs a verb that asks for one thing and shows it as a table.
func asking[T any](f *nodeFlags, get func(*node) call[T], header []string, rows func(T) table) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		nodes, err := f.open(false)
		if err != nil {
			return err
		}
		answers := askAll(cmd.Context(), nodes, answerLimit, func(ctx context.Context, n *node) (T, error) { return get(n)(ctx) })
		return showRows(cmd, f, answers, header, rows)
	}
}

// lineWriter passes whole lines on, each behind a prefix; several may share a writer.
type lineWriter struct {
	mu     *sync.Mutex
	w      io.Writer
	prefix string
	rest   []byte

	node    string
	several bool // nodes write to w
}

// lineMax is where a line is cut that does not end.
const lineMax = 64 << 10

func (l *lineWriter) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok && len(l.rest) < lineMax {
			return len(p), nil
		}
		if err := l.line(string(line)); err != nil {
			return 0, err
		}
		if l.rest = rest; !ok {
			return len(p), nil
		}
	}
}

// Close passes on a last line that has no end.
func (l *lineWriter) Close() error {
	if len(l.rest) == 0 {
		return nil
	}
	line := string(l.rest)
	l.rest = nil
	return l.line(line)
}

func (l *lineWriter) line(text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintf(l.w, "%s%s\n", l.prefix, printable(text))
	return err
}

// prefix is the beginning of a node's lines: none for a single node.
func prefix(nodes []*node, n *node) string {
	if len(nodes) < 2 {
		return ""
	}
	width := 0
	for _, x := range nodes {
		width = max(width, len(x.name))
	}
	return fmt.Sprintf("%-*s  ", width, n.name)
}

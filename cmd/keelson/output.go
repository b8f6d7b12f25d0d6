package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// The formats of -o.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputYAML  = "yaml"
)

var outputs = []string{outputTable, outputJSON, outputYAML}

// addOutput defines -o, whose value checkOutput has to see before anything is done.
func addOutput(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", outputTable, "`FORMAT`: table, json or yaml")
	cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
}

// checkOutput returns an error unless -o was given a format that there is.
func checkOutput(output string) error {
	if !slices.Contains(outputs, output) {
		return fmt.Errorf("--output: found %q, expected table, json or yaml", output)
	}
	return nil
}

// table is what is shown to people: columns, the first row their names.
type table [][]string

// write shows the table. An empty cell is a dash; what came from a node cannot move the cursor.
func (t table) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range t {
		for k, cell := range row {
			if k > 0 {
				io.WriteString(tw, "\t")
			}
			if cell = strings.ReplaceAll(printable(cell), "\t", " "); cell == "" {
				cell = "-"
			}
			io.WriteString(tw, cell)
		}
		io.WriteString(tw, "\n")
	}
	return tw.Flush()
}

// page is what is shown to people of one thing: names and values. A row without a name goes on with the one before; one without a value is left out.
type page [][2]string

func (p page) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range p {
		if row[1] != "" {
			fmt.Fprintf(tw, "%s\t%s\n", row[0], strings.ReplaceAll(printable(row[1]), "\t", " "))
		}
	}
	return tw.Flush()
}

// printable replaces what a terminal would act on. Tabs stay.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// writeValue shows a value to programs, with the fields in the order they have as JSON.
func writeValue(w io.Writer, format string, v any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if format == outputJSON {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(v); err != nil {
		return err
	}
	if format == outputYAML {
		d := json.NewDecoder(&text)
		d.UseNumber()
		n, err := yamlNode(d)
		if err != nil {
			return err
		}
		text.Reset()
		y := yaml.NewEncoder(&text)
		y.SetIndent(2)
		if err := y.Encode(n); err != nil {
			return err
		}
		if err := y.Close(); err != nil {
			return err
		}
	}
	_, err := w.Write(text.Bytes())
	return err
}

// yamlNode turns the next JSON value into YAML.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	scalar := func(tag, value string) (*yaml.Node, error) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}, nil
	}
	switch v := t.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if v == '{' {
			n = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		}
		for d.More() {
			c, err := yamlNode(d)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, c)
		}
		_, err := d.Token() // the closing one
		return n, err
	case string:
		return scalar("!!str", v)
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return scalar("!!float", v.String())
		}
		return scalar("!!int", v.String())
	case bool:
		return scalar("!!bool", fmt.Sprint(v))
	}
	return scalar("!!null", "null")
}

// size returns n bytes for people.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n < 1_000_000_000_000:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.1f TB", float64(n)/1e12)
}

// mebibytes returns n bytes of memory for people.
func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// span returns a duration for people, in its two largest units.
func span(d time.Duration) string {
	if d < 0 {
		return "-" + span(-d)
	}
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%dm", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%dd%dh", s/86400, s%86400/3600)
}

// at returns a time for people; "" for none.
func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// yes returns a word for true and nothing for false.
func yes(b bool, word string) string {
	if b {
		return word
	}
	return ""
}

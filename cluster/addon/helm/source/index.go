package source

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"helm.sh/helm/v4/pkg/repo/v1"
	"sigs.k8s.io/yaml"
)

const (
	// maxIndex bounds what is read of a repository's index, in bytes: the largest public
	// ones have some 30 MB.
	maxIndex = 256 << 20
	// maxEntry bounds what is kept of it, in bytes. Parsed, YAML takes many times its size.
	maxEntry = 8 << 20
)

// index returns the versions of one chart from a repository's index. The index is not
// held in memory: of the block-style YAML that helm writes, only the chart's own lines
// are kept and parsed. Of an index in another style (JSON) at most maxEntry is read.
func index(r io.Reader, name string) (repo.ChartVersions, error) {
	limited := &io.LimitedReader{R: r, N: maxIndex}
	text, err := entry(bufio.NewReaderSize(limited, 64<<10), name)
	if err != nil {
		return nil, err
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("the index is larger than %d bytes", maxIndex)
	}
	var file struct {
		Entries map[string]repo.ChartVersions `json:"entries"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("expected the index of a chart repository: %w", err)
	}
	if file.Entries == nil && !bytes.Contains(text, []byte("entries")) {
		return nil, errors.New("expected the index of a chart repository, found no entries in it")
	}
	var versions repo.ChartVersions
	for _, v := range file.Entries[name] {
		// A version without its data would end in a nil dereference.
		if v != nil && v.Metadata != nil && v.Version != "" {
			versions = append(versions, v)
		}
	}
	return versions, nil
}

// entry returns the lines of an index that are not of other charts.
func entry(r *bufio.Reader, name string) ([]byte, error) {
	var kept bytes.Buffer
	in := false    // within entries
	indent := -1   // of the charts' names, once seen
	wanted := true // the line is to be kept
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			in, indent, wanted = step(line, name, in, indent, wanted)
			if wanted {
				if kept.Len()+len(line) > maxEntry {
					return nil, fmt.Errorf("what the index says of chart %s is larger than %d bytes", name, maxEntry)
				}
				kept.WriteString(line)
			}
		}
		if errors.Is(err, io.EOF) {
			return kept.Bytes(), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// step looks at one line: a key of the top level, a chart's name, or what belongs to
// either. YAML's own rule that a block's lines are indented deeper than its key makes that
// enough; it holds for texts of several lines too.
func step(line, name string, in bool, indent int, wanted bool) (bool, int, bool) {
	text := strings.TrimLeft(line, " ")
	depth := len(line) - len(text)
	text = strings.TrimRight(text, "\r\n")
	if text == "" || strings.HasPrefix(text, "#") {
		return in, indent, wanted
	}
	if depth == 0 && !strings.HasPrefix(text, "- ") {
		key, _, _ := strings.Cut(text, ":")
		return unquote(key) == "entries", -1, true
	}
	if !in {
		return in, indent, wanted
	}
	if indent < 0 {
		indent = depth
	}
	// A list may stand at its key's own depth.
	if depth == indent && !strings.HasPrefix(text, "-") {
		key, _, _ := strings.Cut(text, ":")
		return in, indent, unquote(key) == name
	}
	return in, indent, wanted
}

func unquote(key string) string {
	key = strings.TrimSpace(key)
	if len(key) >= 2 && (key[0] == '"' || key[0] == '\'') && key[len(key)-1] == key[0] {
		return key[1 : len(key)-1]
	}
	return key
}

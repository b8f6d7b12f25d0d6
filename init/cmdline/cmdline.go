// Package cmdline reads the kernel command line.
package cmdline

import (
	"os"
	"strings"
)

// Path is where the kernel shows its command line.
const Path = "/proc/cmdline"

// Params are the parameters in the order given.
type Params []Param

// Param is one "key=value", or a bare key.
type Param struct {
	Key   string
	Value string
}

// Read parses Path.
func Read() (Params, error) {
	b, err := os.ReadFile(Path)
	if err != nil {
		return nil, err
	}
	return Parse(string(b)), nil
}

// Parse splits a command line as the kernel does: at white space outside double quotes;
// a quote around the whole parameter or around its value is taken off. "--" ends it: what
// follows belongs to init.
// Source: lib/cmdline.c, next_arg.
func Parse(s string) Params {
	var params Params
	for {
		s = strings.TrimLeft(s, " \t\n\r\v\f")
		if s == "" {
			return params
		}
		end, quoted := 0, false
		for ; end < len(s); end++ {
			if s[end] == '"' {
				quoted = !quoted
			} else if !quoted && strings.IndexByte(" \t\n\r\v\f", s[end]) >= 0 {
				break
			}
		}
		word := s[:end]
		s = s[end:]
		if word == "--" {
			return params
		}
		if strings.HasPrefix(word, `"`) {
			word = strings.TrimSuffix(word[1:], `"`)
		}
		key, value, _ := strings.Cut(word, "=")
		if strings.HasPrefix(value, `"`) {
			value = strings.TrimSuffix(value[1:], `"`)
		}
		params = append(params, Param{key, value})
	}
}

// Get returns the value of the last parameter called key.
func (p Params) Get(key string) (value string, ok bool) {
	for _, x := range p {
		if x.Key == key {
			value, ok = x.Value, true
		}
	}
	return value, ok
}

// ModuleOptions returns the options given to a module as "module.option=value", in the
// form finit_module takes. "-" and "_" are the same in names.
func (p Params) ModuleOptions(module string) string {
	module = strings.ReplaceAll(module, "-", "_")
	var opts []string
	for _, x := range p {
		name, option, ok := strings.Cut(x.Key, ".")
		if !ok || strings.ReplaceAll(name, "-", "_") != module {
			continue
		}
		if x.Value != "" {
			option += "=" + quote(x.Value)
		}
		opts = append(opts, option)
	}
	return strings.Join(opts, " ")
}

func quote(v string) string {
	if strings.ContainsAny(v, " \t\n") {
		return `"` + v + `"`
	}
	return v
}

package api

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/redact"
)

// secretsAge is how long the node's secrets are kept in memory before they are read again.
const secretsAge = 30 * time.Second

// known are the node's secrets.
type known struct {
	mu       sync.Mutex
	read     time.Time
	redactor *redact.Redactor
}

// redactor takes the node's own secrets out of a text: those of its configuration, its keys and its tokens.
func (s *Server) redactor() *redact.Redactor {
	k := &s.known
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.redactor == nil || time.Since(k.read) > secretsAge {
		k.redactor, k.read = redact.New(s.secrets()...), time.Now()
	}
	return k.redactor
}

// secrets are the values of all secrets that this node has in files of its own.
func (s *Server) secrets() []string {
	var values []string
	for _, name := range []string{config.FileName, config.SecretsName} {
		if data, err := os.ReadFile(filepath.Join(s.Places.Config, name)); err == nil {
			for _, n := range secretNodes(data) {
				values = append(values, n.Value)
			}
		}
	}
	if sec := s.Config.Secrets; sec != nil {
		values = append(values, sec.ServerCA.Key, sec.ClientCA.Key, sec.RequestHeaderCA.Key, sec.MachineCA.Key,
			sec.ServiceAccountKey, sec.ServerToken, sec.AgentToken)
	}
	values = append(values, s.Config.Cluster.Token)
	for _, file := range s.secretFiles() {
		if data, err := os.ReadFile(file); err == nil {
			values = append(values, string(data))
		}
	}
	return values
}

// secretFiles are the node's files of nothing but a secret.
func (s *Server) secretFiles() []string {
	var files []string
	for _, pattern := range []string{"server/tls/*.key", "server/tls/*/*.key", "agent/*.key", "server/token", "server/agent-token", "server/cred/passwd", "agent/node-password"} {
		found, _ := filepath.Glob(filepath.Join(s.Places.Data, pattern))
		files = append(files, found...)
	}
	return files
}

// secretKey are the names of what is secret in a configuration and in a secrets file. What is below one is secret as well.
var secretKey = regexp.MustCompile(`(?i)^(.*token|.*password|auth|key|.*[-_]key|.*secret.*)$`)

// notSecret are names that look like one, and the file that "secrets" may name.
var notSecret = regexp.MustCompile(`(?i)(_|-)file$|^node-|^kube.*-arg`)

// secretNodes are the scalars of a configuration that must not leave the node. A text that is no YAML has none.
func secretNodes(data []byte) []*yaml.Node {
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil {
		return nil
	}
	type visit struct {
		n      *yaml.Node
		secret bool
	}
	var found []*yaml.Node
	seen := map[visit]bool{} // aliases may lead to a node again and again, and to itself
	var walk func(n *yaml.Node, secret bool)
	walk = func(n *yaml.Node, secret bool) {
		if n == nil || seen[visit{n, secret}] {
			return
		}
		seen[visit{n, secret}] = true
		switch n.Kind {
		case yaml.DocumentNode, yaml.SequenceNode:
			for _, c := range n.Content {
				walk(c, secret)
			}
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				key, value := n.Content[i].Value, n.Content[i+1]
				mine := secretKey.MatchString(strings.TrimSuffix(key, "+")) && !notSecret.MatchString(key)
				switch {
				case key == "secrets" && value.Kind == yaml.ScalarNode:
					mine = false // a file's name
				case key == "secrets":
					mine = false // its keys say which
				case key == "username" || key == "cert":
					mine = false
				default:
					mine = mine || secret
				}
				walk(value, mine)
			}
		case yaml.AliasNode:
			walk(n.Alias, secret)
		case yaml.ScalarNode:
			if secret && n.Value != "" {
				found = append(found, n)
			}
		}
	}
	walk(&doc, false)
	return found
}

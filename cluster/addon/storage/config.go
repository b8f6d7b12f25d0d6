package storage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// otherNodes is the entry of nodePathMap for nodes that have none of their own.
const otherNodes = "DEFAULT_PATH_FOR_NON_LISTED_NODES"

// settings is a config.json that has been checked.
type settings struct {
	general scope
	// classes, if not empty, holds the only classes served; general is not used then.
	classes map[string]scope
}

// scope says where volumes are made: on a file system that all nodes share, if shared is
// set, or else in folders of each node. All paths are absolute and clean.
type scope struct {
	nodes  map[string][]string // sorted paths by node
	shared string
}

// of returns the scope of a class.
func (s settings) of(class string) (scope, error) {
	if len(s.classes) == 0 {
		return s.general, nil
	}
	c, ok := s.classes[class]
	if !ok {
		return scope{}, refuse("config.json in ConfigMap %s has storageClassConfigs, but none for class %q: add it", configName, class)
	}
	return c, nil
}

// bases returns every folder that the settings name for whatever node and class, without
// duplicates. A folder of the past can be kept in them under the name of no node.
func (s settings) bases() []string {
	set := map[string]bool{}
	for _, c := range append(slices.Collect(maps.Values(s.classes)), s.general) {
		if c.shared != "" {
			set[c.shared] = true
		}
		for _, paths := range c.nodes {
			for _, p := range paths {
				set[p] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// base picks the folder for a volume on node. wanted is the class's parameter nodePath or
// "". Of several the volume's name decides: it holds a random UID, so the volumes spread
// as upstream's random choice does, but a second try after a crash finds the first one's folder.
func (c scope) base(node, wanted, volume string) (string, error) {
	if c.shared != "" {
		return c.shared, nil
	}
	paths, ok := c.nodes[node]
	if !ok {
		if paths, ok = c.nodes[otherNodes]; !ok {
			return "", refuse("nodePathMap in ConfigMap %s has neither node %q nor %s: add one of them", configName, node, otherNodes)
		}
	}
	if len(paths) == 0 {
		return "", refuse("nodePathMap in ConfigMap %s gives node %q no paths: no volumes are made on it", configName, node)
	}
	if wanted != "" {
		if wanted = filepath.Clean(wanted); !slices.Contains(paths, wanted) {
			return "", refuse("the StorageClass's nodePath %s is not among the paths of node %q in ConfigMap %s: %s", wanted, node, configName, strings.Join(paths, ", "))
		}
		return wanted, nil
	}
	h := fnv.New32a()
	h.Write([]byte(volume))
	return paths[h.Sum32()%uint32(len(paths))], nil
}

// The fields of config.json; README of rancher/local-path-provisioner, "config.json".
type (
	configFile struct {
		scopeFile
		StorageClassConfigs map[string]scopeFile `json:"storageClassConfigs"`
		SetupCommand        string               `json:"setupCommand"`
		TeardownCommand     string               `json:"teardownCommand"`
		CmdTimeoutSeconds   int                  `json:"cmdTimeoutSeconds"` // of the commands
	}
	scopeFile struct {
		NodePathMap []struct {
			Node  string   `json:"node"`
			Paths []string `json:"paths"`
		} `json:"nodePathMap"`
		SharedFileSystemPath string `json:"sharedFileSystemPath"`
	}
)

// parse reads a config.json. ignored names what is in it and has no effect.
func parse(text string) (s settings, ignored []string, err error) {
	var f configFile
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return settings{}, nil, fmt.Errorf("want a JSON object: %w", err)
	}
	strict := json.NewDecoder(bytes.NewReader([]byte(text)))
	strict.DisallowUnknownFields()
	// Upstream reads over what it does not know, so a file that works there works here.
	if err := strict.Decode(new(configFile)); err != nil {
		ignored = append(ignored, err.Error())
	}
	if f.SetupCommand != "" {
		ignored = append(ignored, "setupCommand")
	}
	if f.TeardownCommand != "" {
		ignored = append(ignored, "teardownCommand")
	}
	if len(f.StorageClassConfigs) == 0 {
		s.general, err = f.scope()
		return s, ignored, err
	}
	if len(f.NodePathMap) > 0 || f.SharedFileSystemPath != "" {
		ignored = append(ignored, "nodePathMap and sharedFileSystemPath beside storageClassConfigs")
	}
	s.classes = map[string]scope{}
	for _, name := range slices.Sorted(maps.Keys(f.StorageClassConfigs)) {
		if s.classes[name], err = f.StorageClassConfigs[name].scope(); err != nil {
			return settings{}, nil, fmt.Errorf("storageClassConfigs: class %q: %w", name, err)
		}
	}
	return s, ignored, nil
}

// scope checks one set of paths.
func (f scopeFile) scope() (scope, error) {
	switch {
	case f.SharedFileSystemPath == "" && len(f.NodePathMap) == 0:
		return scope{}, fmt.Errorf("neither nodePathMap nor sharedFileSystemPath is set: set one")
	case f.SharedFileSystemPath != "" && len(f.NodePathMap) > 0:
		return scope{}, fmt.Errorf("nodePathMap and sharedFileSystemPath are both set: keep one")
	case f.SharedFileSystemPath != "":
		shared, err := cleanBase(f.SharedFileSystemPath)
		if err != nil {
			return scope{}, fmt.Errorf("sharedFileSystemPath: %w", err)
		}
		return scope{shared: shared}, nil
	}
	c := scope{nodes: map[string][]string{}}
	for _, n := range f.NodePathMap {
		if _, ok := c.nodes[n.Node]; ok {
			return scope{}, fmt.Errorf("nodePathMap: node %q is there twice: merge its paths", n.Node)
		}
		paths := make([]string, 0, len(n.Paths))
		for _, p := range n.Paths {
			p, err := cleanBase(p)
			if err != nil {
				return scope{}, fmt.Errorf("nodePathMap: node %q: %w", n.Node, err)
			}
			if slices.Contains(paths, p) {
				return scope{}, fmt.Errorf("nodePathMap: node %q: path %s is there twice: remove one", n.Node, p)
			}
			paths = append(paths, p)
		}
		slices.Sort(paths)
		c.nodes[n.Node] = paths
	}
	return c, nil
}

// cleanBase checks the path of a folder that is to hold volumes.
func cleanBase(p string) (string, error) {
	if !filepath.IsAbs(p) || strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("path %q: want an absolute path, for example /var/lib/rancher/data", p)
	}
	if p = filepath.Clean(p); p == "/" {
		return "", fmt.Errorf("path \"/\": want a folder below the root, for example /var/lib/rancher/data")
	}
	return p, nil
}

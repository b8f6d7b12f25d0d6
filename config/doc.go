// Package config is the machine configuration: the one file a user writes for a
// node (server.yaml, agent.yaml; keelson.yaml once it is on a disk), its parser,
// its validation and its error texts.
//
// It is shared by the laptop (keelson config validate), by PID 1 and by the node
// process, so that a mistake gets the same text everywhere. It therefore imports
// nothing but the standard library and a YAML parser.
//
// The file:
//
//	role: server                  # server (default) or agent
//	hostname: kitchen-pi
//	network:
//	  interfaces:
//	    - match: {name: eth0}     # or mac:, driver:
//	      dhcp: true
//	clock: {servers: [pool.ntp.org]}
//	cluster: {}                   # k3s's config.yaml keys
//	secrets: secrets.yaml         # a path relative to this file, or the mapping itself
package config

package network

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// eventSocket yields the kernel's reports of changed links and of router advertisements.
type eventSocket = nl.NetlinkSocket

func subscribe() (*eventSocket, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_ND_USEROPT)
	if err != nil {
		return nil, fmt.Errorf("subscribe to link events: %w", err)
	}
	return s, nil
}

// receive reads events until the socket is closed. What a link event says does not
// matter, nor whether some were lost: the loop looks at all links anyway.
func (m *Manager) receive(s *eventSocket) {
	for {
		messages, from, err := s.Receive()
		if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR) {
			m.poke()
			continue
		}
		if err != nil {
			return // closed
		}
		if from.Pid != 0 {
			continue // not the kernel
		}
		for _, msg := range messages {
			switch msg.Header.Type {
			case unix.RTM_NEWLINK, unix.RTM_DELLINK:
				m.poke()
			case unix.RTM_NEWNDUSEROPT:
				index, option, err := parseUserOption(msg.Data)
				if err != nil {
					m.log("router advertisement: %v", err)
					continue
				}
				m.learn(index, option, time.Now())
			}
		}
	}
}

package network

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// eventSocket yields the kernel's reports of changed links and of router advertisements.
type eventSocket = nl.NetlinkSocket

// retryEvents is the pause after an error that the kernel has no reason to give.
const retryEvents = time.Minute

func subscribe() (*eventSocket, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_ND_USEROPT)
	if err != nil {
		return nil, fmt.Errorf("subscribe to link events: %w", err)
	}
	return s, nil
}

// receive reads events until ctx ends and the socket is closed. Without it links would be
// looked at once a day only, so it never gives up by itself. What a link event says does not
// matter, nor whether some were lost: the loop looks at all links anyway.
func (m *Manager) receive(ctx context.Context, s *eventSocket) {
	for {
		messages, from, err := s.Receive()
		if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR) {
			m.poke()
			continue
		}
		if err != nil && ctx.Err() != nil {
			return // closed
		}
		if err != nil {
			m.log("link events: %v; trying again", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryEvents):
			}
			m.poke()
			continue
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

// Package dhcp is a DHCPv4 client for one link. It runs for as long as the link is
// there, and never gives up. Source: RFC 2131 §4.4; numbers of options: RFC 2132.
//
//	         no lease                      lease held
//	┌───────── discover ──offer──► request ──ACK──► bound ───T1──► renew ──┐
//	│              ▲   ▲              │NAK           ▲  │ carrier    │T2   │ACK
//	│ no carrier:  │   └──────────────┘              │  ▼ came back  ▼     │
//	│ wait         │                                 │ reboot      rebind ─┤
//	▼              │                                 └──ACK─┴──────────────┘
//	               └── NAK, or the lease ends: Drop, start again
//
// A reboot that nobody answers goes on to discover, but the address is kept until its
// lease ends: a server that is away is no reason to lose a valid address.
//
// The client speaks through a Conn: a packet socket in life (see OpenSocket), a fake in
// tests. It holds one only while it waits for a packet; a bound client costs a timer.
package dhcp

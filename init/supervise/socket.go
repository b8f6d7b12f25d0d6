package supervise

import (
	"errors"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// messageMax is the longest datagram that is read, in bytes.
const messageMax = 8 << 10

// listen makes the socket at path, with the sender's process id on each datagram.
func listen(path string) (*net.UnixConn, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
		})
		err = errors.Join(err, cerr)
	}
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// receive waits for a datagram and the process id of who sent it.
func receive(conn *net.UnixConn, buf []byte) (m Message, pid int, err error) {
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return Message{}, 0, err
	}
	controls, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err == nil {
		for i := range controls {
			if cred, err := unix.ParseUnixCredentials(&controls[i]); err == nil {
				pid = int(cred.Pid)
			}
		}
	}
	return ParseMessage(buf[:n]), pid, nil
}

//go:build qemu

package imagetest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// space is a network namespace without a name: it goes with the thread that is in it and with the last file that is open there.
type space struct{ work chan func() }

func newSpace(t *testing.T) *space {
	t.Helper()
	s := &space{work: make(chan func())}
	begun := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		begun <- err
		for f := range s.work {
			f()
		}
	}()
	if err := <-begun; err != nil {
		t.Fatalf("a network namespace (this needs root): %v", err)
	}
	t.Cleanup(func() { close(s.work) })
	return s
}

// do runs f in the namespace.
func (s *space) do(f func() error) error {
	err := make(chan error)
	s.work <- func() { err <- f() }
	return <-err
}

// tap makes a TAP device with an address; the file is the cable that QEMU holds the other end of.
func (s *space) tap(t *testing.T, name, address string) (cable *os.File) {
	t.Helper()
	err := s.do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		cable = os.NewFile(uintptr(fd), name)
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return err
		}
		h, err := netlink.NewHandle()
		if err != nil {
			return err
		}
		defer h.Close()
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := h.AddrAdd(link, a); err != nil {
			return err
		}
		return h.LinkSetUp(link)
	})
	if err != nil {
		t.Fatalf("TAP device %s: %v", name, err)
	}
	t.Cleanup(func() { cable.Close() })
	return cable
}

// serveMail answers as a mail server on port 25 of the namespace, until the test ends.
func (s *space) serveMail(t *testing.T) {
	t.Helper()
	s.serveMailAt(t, "tcp4", ":25")
}

func (s *space) serveMailAt(t *testing.T, network, address string) {
	t.Helper()
	var l net.Listener
	err := s.do(func() (err error) { l, err = net.Listen(network, address); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprint(c, "220 mx.test ESMTP\r\n")
				for in := bufio.NewScanner(c); in.Scan(); {
					switch word, _, _ := strings.Cut(strings.ToUpper(in.Text()), " "); word {
					case "QUIT":
						fmt.Fprint(c, "221 bye\r\n")
						return
					default:
						fmt.Fprint(c, "250 ok\r\n")
					}
				}
			}()
		}
	}()
}

// session speaks a whole SMTP session with the server, with most for each step.
func (s *space) session(server string, most time.Duration) error {
	return s.do(func() error {
		c, err := net.DialTimeout("tcp", server, most)
		if err != nil {
			return err
		}
		defer c.Close()
		in := bufio.NewReader(c)
		for _, say := range []string{"", "EHLO client.test", "MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>", "QUIT"} {
			c.SetDeadline(time.Now().Add(most))
			if say != "" {
				if _, err := fmt.Fprintf(c, "%s\r\n", say); err != nil {
					return err
				}
			}
			line, err := in.ReadString('\n')
			if err != nil {
				return fmt.Errorf("after %q: %w", say, err)
			}
			if line[0] != '2' {
				return fmt.Errorf("after %q: %q", say, line)
			}
		}
		return nil
	})
}

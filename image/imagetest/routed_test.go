//go:build qemu

package imagetest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Who is where once the box routes: subscribers at port2, and behind a router at port3 a mail server.
const (
	calm4, calm6     = "10.99.0.1", "2001:db8:1::1"
	bot4, bot6       = "10.99.0.66", "2001:db8:1:100::66" // of another line
	mail4, mail6     = "203.0.113.5", "2001:db8:ffff::5"
	inside4, inside6 = "10.99.0.254", "2001:db8:1::fe"
	edge4, edge6     = "192.0.2.2", "2001:db8:2::2"
)

const router = `network:
  topology: routed
  subscriber_interfaces: [port2]
  upstream_interfaces: [port3]
  addresses:
    - {interface: port2, address: 10.99.0.254/24}
    - {interface: port2, address: "2001:db8:1::fe/48"}
    - {interface: port3, address: 192.0.2.2/29}
    - {interface: port3, address: "2001:db8:2::2/64"}
  routes:
    - {to: default, via: 192.0.2.1}
    - {to: default, via: "2001:db8:2::1"}
`

// gives has a link of the space carry addresses, and go by routers to everywhere else.
func (s *space) gives(t *testing.T, link string, addresses, routers []string) {
	t.Helper()
	err := s.do(func() error {
		h, err := netlink.NewHandle()
		if err != nil {
			return err
		}
		defer h.Close()
		l, err := h.LinkByName(link)
		if err != nil {
			return err
		}
		if err := h.LinkSetUp(l); err != nil {
			return err
		}
		for _, one := range addresses {
			a, err := netlink.ParseAddr(one)
			if err != nil {
				return err
			}
			if a.IP.To4() == nil {
				a.Flags = unix.IFA_F_NODAD
			}
			if err := h.AddrReplace(l, a); err != nil {
				return fmt.Errorf("%s: %w", one, err)
			}
		}
		for _, one := range routers {
			if err := h.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(one)}); err != nil {
				return fmt.Errorf("router %s: %w", one, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// takes takes an address away.
func (s *space) takes(t *testing.T, link, address string) {
	t.Helper()
	err := s.do(func() error {
		h, err := netlink.NewHandle()
		if err != nil {
			return err
		}
		defer h.Close()
		l, err := h.LinkByName(link)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		return h.AddrDel(l, a)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sends speaks a session from an address, up to what the server says to EHLO.
func (s *space) sends(from, server string, most time.Duration) error {
	return s.do(func() error {
		d := net.Dialer{Timeout: most, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", net.JoinHostPort(server, "25"))
		if err != nil {
			return err
		}
		defer c.Close()
		in := bufio.NewReader(c)
		for _, say := range []string{"", "EHLO client.test\r\n", "QUIT\r\n"} {
			c.SetDeadline(time.Now().Add(most))
			if _, err := c.Write([]byte(say)); err != nil {
				return err
			}
			line, err := in.ReadString('\n')
			if err != nil {
				return err
			}
			if line[0] != '2' {
				return fmt.Errorf("it says %q", line)
			}
		}
		return nil
	})
}

// sweep tries services of the box at an address, and says which were not silent.
func (s *space) sweep(address string) (found []string) {
	ports := []int{25, 123, 443, 853, 1813, 2514, 6514, 8080, 8443, 9090, 33434, 49152, 60999}
	for port := 1; port <= 110; port++ {
		ports = append(ports, port)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	tell := func(what string, err error) {
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		found = append(found, fmt.Sprintf("%s: %v", what, err))
	}
	for _, port := range ports {
		to := net.JoinHostPort(address, fmt.Sprint(port))
		// Both are made here, in the namespace, and waited for elsewhere.
		err := s.do(func() error {
			u, err := net.Dial("udp", to)
			if err != nil {
				return err
			}
			all.Go(func() {
				defer u.Close()
				u.Write([]byte("\x23mailweir sweeps its own box, and that is all of this datagram"))
				u.SetDeadline(time.Now().Add(5 * time.Second))
				_, err := u.Read(make([]byte, 100))
				tell("udp "+to, err)
			})
			fd, err := begin(to)
			if err != nil {
				return err
			}
			all.Go(func() { tell("tcp "+to, ended(fd, 5*time.Second)) })
			return nil
		})
		if err != nil {
			tell(to, err)
		}
	}
	all.Wait()
	slices.Sort(found)
	return found
}

// begin begins a connection and does not wait for it.
func begin(to string) (fd int, err error) {
	a, err := net.ResolveTCPAddr("tcp", to)
	if err != nil {
		return 0, err
	}
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: a.Port, Addr: [16]byte(a.IP.To16())}
	family := unix.AF_INET6
	if v4 := a.IP.To4(); v4 != nil {
		sa, family = &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(v4)}, unix.AF_INET
	}
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return 0, err
	}
	if err = unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// ended is what became of a connection; os.ErrDeadlineExceeded: nothing.
func ended(fd int, most time.Duration) error {
	defer unix.Close(fd)
	for end := time.Now().Add(most); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(max(time.Until(end).Milliseconds(), 0)))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return os.ErrDeadlineExceeded
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		return err // nil: somebody answered
	}
}

// routes is what status says of the box as a router.
type routes struct {
	Mode     string
	Ready    bool
	Sessions struct{ Total int }
	Bridge   any
	Router   *struct {
		Addresses []struct{ Interface, Address string }
		Routes    []struct{ To, Via string }
	}
}

// configures puts the whole configuration in the place of the one there is.
func (v *visitor) configures(t *testing.T, text string) (waiting []string) {
	t.Helper()
	var is struct{ Revision string }
	var done struct {
		Waiting []string `json:"waiting_for_restart"`
	}
	if err := v.api("GET", "config", nil, &is); err != nil {
		t.Fatal(err)
	}
	if err := v.api("PUT", "config", map[string]string{"config": text, "revision": is.Revision}, &done); err != nil {
		t.Fatal(err)
	}
	return done.Waiting
}

// begins has mailweir begin anew, and comes back.
func (v *visitor) begins(t *testing.T, m *machine, login map[string][]string, want string) {
	t.Helper()
	from := len(m.said())
	var done any
	if err := v.api("POST", "restart", nil, &done); err != nil {
		t.Fatal(err)
	}
	m.waitFor(t, from, want)
	v.comes(t, login)
}

// TestABridgeBecomesARouter has a fresh image, which is a bridge, become a router by the API, and be one through a power cut, bypass, and the loss of its settings.
func TestABridgeBecomesARouter(t *testing.T) {
	if *image == "" {
		t.Fatal("-args -image FILE is needed; make image-test does it")
	}
	s, path := newSite(t), flash(t, *image)
	drive := "format=raw,cache=unsafe,file=" + path
	s.client.gives(t, "inside", []string{calm6 + "/48", bot4 + "/24", bot6 + "/48"}, []string{inside4, inside6})
	s.server.gives(t, "lo", []string{mail4 + "/32", mail6 + "/128"}, nil)
	s.server.gives(t, "outside", []string{"192.0.2.1/29", "2001:db8:2::1/64"}, []string{edge4, edge6})
	s.server.serveMailAt(t, "tcp6", "[::]:25")
	m := s.governs(t, drive, "observe")
	v, login := s.firstVisit(t, m)
	var now routes
	if err := v.api("GET", "status", nil, &now); err != nil || now.Bridge == nil || now.Router != nil {
		t.Errorf("a fresh image: %+v, %v", now, err)
	}

	// It waits for a restart, and until then it is the bridge that it was.
	waiting := v.configures(t, "mode: observe\n"+router)
	if !slices.Contains(waiting, "network.topology") || !slices.ContainsFunc(waiting, func(k string) bool { return strings.HasPrefix(k, "network.addresses") }) {
		t.Errorf("what waits is %q", waiting)
	}
	if err := s.client.session("10.99.0.2:25", patience); err != nil {
		t.Errorf("before the restart the bridge does not pass: %v", err)
	}
	s.server.takes(t, "outside", "10.99.0.2/24") // of the network that is behind the box from now on
	v.begins(t, m, login, "governing, mode observe")
	now = routes{}
	if err := v.api("GET", "status", nil, &now); err != nil || now.Bridge != nil || now.Router == nil || len(now.Router.Addresses) != 4 || len(now.Router.Routes) != 2 {
		t.Fatalf("after the restart: %+v, %v; the console said:\n%s", now, err, m.said())
	}
	v.keepsPorts(t)
	for _, one := range [][2]string{{calm4, mail4}, {calm6, mail6}} {
		until(t, "mail from "+one[0], func() error { return s.client.sends(one[0], one[1], 10*time.Second) })
	}
	until(t, "both sessions are judged", func() error {
		now = routes{}
		err := v.api("GET", "status", nil, &now)
		if err == nil && now.Sessions.Total < 2 {
			err = fmt.Errorf("%d sessions", now.Sessions.Total)
		}
		return err
	})
	var records struct{ Items []any }
	for _, from := range []string{calm4, calm6} {
		until(t, "a record of the session from "+from, func() error {
			err := v.api("GET", "records?kind=SESSION&q="+from, nil, &records)
			if err == nil && len(records.Items) == 0 {
				err = errors.New("there is none")
			}
			return err
		})
	}

	// Nothing of the box itself is open to either side, at whichever of its addresses.
	own := []string{inside4, inside6, edge4, edge6, "10.77.0.50"}
	silent := func(when string) {
		t.Helper()
		for _, from := range []*space{s.client, s.server} {
			for _, a := range own {
				if found := from.sweep(a); len(found) > 0 {
					t.Errorf("%s, %s: %s", when, a, strings.Join(found, "; "))
				}
			}
		}
	}
	silent("governing")

	// Who is over his budget hears why, over both families.
	v.configures(t, "mode: enforce\n"+router+few)
	m.waitFor(t, 0, "governing, mode enforce")
	for _, one := range [][2]string{{bot4, mail4}, {bot6, mail6}} {
		until(t, one[0]+" is deferred", func() error {
			err := s.client.sends(one[0], one[1], 10*time.Second)
			if err == nil {
				return errors.New("it passed")
			}
			if !strings.Contains(err.Error(), "421 4.7.0 sessions ") {
				return err
			}
			return nil
		})
	}

	// The power fails. It comes back as a router, and mail passes before anybody judges it.
	m.cut()
	comesBack := func(mode string) (m *machine, first string) {
		return twice(t, func() (*machine, error) {
			m, first = powerOn(t, s.board, drive, nil, s.cables...), ""
			since := time.Now()
			err := m.await("governing, mode "+mode, func() {
				if first == "" && s.client.sends(calm4, mail4, 2*time.Second) == nil {
					first = fmt.Sprintf("%.1f s", time.Since(since).Seconds())
				}
			})
			return m, err
		}), first
	}
	m, first := comesBack("enforce")
	t.Logf("after the power cut the first session passed %s after power-on", first)
	if first == "" {
		t.Error("after the power cut nothing passed before somebody governed")
	}
	if said := m.said(); !strings.Contains(said, "subscribers, routed, 10.99.0.254/24, 2001:db8:1::fe/48") || strings.Contains(said, "bridged") || strings.Contains(said, "level=ERROR") {
		t.Errorf("the console said:\n%s", said)
	}
	until(t, "the bot is deferred again", func() error {
		if err := s.client.sends(bot4, mail4, 10*time.Second); err == nil || !strings.Contains(err.Error(), "421 4.7.0 sessions ") {
			return fmt.Errorf("it hears %v", err)
		}
		return nil
	})
	o := m.operator(t)
	o.chooses("1")
	o.sees("port2 has 10.99.0.254/24")
	o.chooses("3", `Type "bypass" to go on: `, "bypass")
	o.sees("BYPASS: mail passes unjudged")
	v.stands(t, login, "bypass")
	for _, one := range [][2]string{{bot4, mail4}, {bot6, mail6}} {
		if err := s.client.sends(one[0], one[1], 10*time.Second); err != nil {
			t.Errorf("in bypass: from %s: %v", one[0], err)
		}
	}
	silent("bypass")
	o.chooses("3", `Type "govern" to go on: `, "govern")
	o.sees("bypass has ended")
	v.stands(t, login, "governing")

	// The settings are lost: the box does not know who may log in, and is the router that it was.
	m.cut()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.WriteAt(make([]byte, 1<<20), dataPart(t, path).from); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	m, first = comesBack("observe")
	t.Logf("without its settings the first session passed %s after power-on", first)
	if first == "" {
		t.Error("without its settings nothing passed before somebody governed")
	}
	if said := m.said(); !strings.Contains(said, "NOTHING IS KEPT") || !strings.Contains(said, "The box stays the router that it was") {
		t.Errorf("the console said:\n%s", said)
	}
	for _, one := range [][2]string{{calm4, mail4}, {bot6, mail6}} {
		until(t, "mail from "+one[0]+" without settings", func() error { return s.client.sends(one[0], one[1], 10*time.Second) })
	}
}

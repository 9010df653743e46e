package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/lab"
)

// The addresses. All subscribers are one machine, which answers to everything in theirs.
var (
	subscribersEnd = netip.MustParsePrefix("10.0.1.2/24")
	boxBelow       = netip.MustParsePrefix("10.0.1.1/24")
	boxAbove       = netip.MustParsePrefix("10.0.2.1/24")
	serverEnd      = netip.MustParsePrefix("10.0.2.2/24")
	server         = netip.AddrPortFrom(serverEnd.Addr(), 25)
	subscribers    = netip.MustParsePrefix("10.64.0.0/12")
	firstLawful    = netip.MustParseAddr("10.64.0.1") // and lawful ones from there on
	bots           = netip.MustParsePrefix("10.65.0.0/16")
	firstBot       = netip.MustParseAddr("10.65.0.1") // and botCount from there on
)

const (
	lawful     = 4000
	botCount   = 64
	below      = "sub0" // the box's interfaces
	above      = "up0"
	syslogPort = 514
)

// rig is the network and what runs in it.
type rig struct {
	*lab.Lab
	opt       *Options
	sub, inet *lab.Namespace
	collector lab.Line
	gateway   net.HardwareAddr // the box's, towards the subscribers

	tools, ids *lab.Programs // Postfix, iperf3 and libraries; Suricata
	bindSource string        // the library that gives smtp-source its addresses
	acceptAll  string        // the reader in C
}

func newRig(ctx context.Context, l *lab.Lab, o *Options) (*rig, error) {
	r := &rig{Lab: l, opt: o}
	var err error
	if r.sub, err = l.Wire("subscribers", below, subscribersEnd, boxBelow); err != nil {
		return nil, err
	}
	if r.inet, err = l.Wire("server", above, serverEnd, boxAbove); err != nil {
		return nil, err
	}
	if r.collector, err = l.AddHost("collector", lab.Management); err != nil {
		return nil, err
	}
	for _, set := range []struct {
		ns         *lab.Namespace
		key, value string
	}{
		{r.sub, "ipv4/ip_local_port_range", "1024 65000"},
		{r.sub, "ipv4/tcp_tw_reuse", "1"},
		{r.inet, "core/somaxconn", "65535"},
		{r.inet, "ipv4/tcp_max_syn_backlog", "65535"},
	} {
		if err := set.ns.Sysctl(set.key, set.value); err != nil {
			return nil, err
		}
	}
	err = errors.Join(
		command(ctx, r.sub, "", "ip", "route", "add", "local", subscribers.String(), "dev", "lo"),
		command(ctx, l.Box, "", "ip", "route", "add", subscribers.String(), "via", subscribersEnd.Addr().String()),
		l.Box.Do(func() error {
			link, err := netlink.LinkByName(below)
			if err == nil {
				r.gateway = link.Attrs().HardwareAddr
			}
			return err
		}))
	return r, err
}

// command runs one inside; its error has what it said.
func command(ctx context.Context, ns *lab.Namespace, input, name string, args ...string) error {
	_, err := output(ctx, ns, input, name, args...)
	return err
}

func output(ctx context.Context, ns *lab.Namespace, input, name string, args ...string) (string, error) {
	cmd := ns.Command(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return out.String(), nil
}

// file reads a file of /proc/net as the namespace has it.
func file(ns *lab.Namespace, name string) (text string, err error) {
	err = ns.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/" + name)
		text = string(b)
		return err
	})
	return text, err
}

// tcpCounters reads counters of TCP (RFC 4022) of a namespace.
func tcpCounters(ns *lab.Namespace, names ...string) ([]float64, error) {
	text, err := file(ns, "snmp")
	if err != nil {
		return nil, err
	}
	var heads []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if f[0] != "Tcp:" {
			continue
		}
		if heads == nil {
			heads = f
			continue
		}
		out := make([]float64, len(names))
		for i, n := range names {
			found := false
			for k, h := range heads {
				if h == n && k < len(f) {
					if out[i], err = strconv.ParseFloat(f[k], 64); err != nil {
						return nil, err
					}
					found = true
				}
			}
			if !found {
				return nil, fmt.Errorf("the kernel counts no %s", n)
			}
		}
		return out, nil
	}
	return nil, errors.New("the kernel has no counters of TCP")
}

// queues are the lines of the kernel's list of packet queues in the box, in numbers.
func (r *rig) queues() ([][]float64, error) {
	text, err := file(r.Box, "netfilter/nfnetlink_queue")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all [][]float64
	for line := range strings.Lines(text) {
		var one []float64
		for _, f := range strings.Fields(line) {
			v, err := strconv.ParseFloat(f, 64)
			if err != nil {
				return nil, fmt.Errorf("the kernel's packet queues: %q", line)
			}
			one = append(one, v)
		}
		all = append(all, one)
	}
	return all, nil
}

// queueLosses is how many packets the queues that there are now had no room for: queue_dropped and user_dropped.
func (r *rig) queueLosses() (float64, error) {
	all, err := r.queues()
	sum := 0.0
	for _, q := range all {
		if len(q) > 6 {
			sum += q[5] + q[6]
		}
	}
	return sum, err
}

// awaitQueue waits until somebody reads queue 0. A nil done does not end.
func (r *rig) awaitQueue(ctx context.Context, done <-chan struct{}) error {
	for {
		all, err := r.queues()
		if err != nil || len(all) > 0 {
			return err
		}
		select {
		case <-done:
			return errors.New("it ended before it read the queue")
		case <-ctx.Done():
			return fmt.Errorf("it does not read the queue: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// await waits until somebody listens.
func await(ctx context.Context, ns *lab.Namespace, at netip.AddrPort) error {
	for {
		c, err := ns.Dial(ctx, at)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// listens tells whether /proc/net/tcp or tcp6 has a listener on port 25.
func listens(text string) bool {
	const port, listen = ":0019", "0A"
	for line := range strings.Lines(text) {
		f := strings.Fields(line) // NUMBER LOCAL REMOTE STATE ...
		if len(f) > 3 && strings.HasSuffix(f[1], port) && f[3] == listen {
			return true
		}
	}
	return false
}

// received is how many packets have come in on an interface so far.
func received(ns *lab.Namespace, dev string) (n float64, err error) {
	err = ns.Do(func() error {
		link, err := netlink.LinkByName(dev)
		if err == nil {
			n = float64(link.Attrs().Statistics.RxPackets)
		}
		return err
	})
	return n, err
}

// offloads turns the work on segments that are larger than the wire's on or off, on all four interfaces.
func (r *rig) offloads(on bool) error {
	var errs []error
	for _, at := range []struct {
		ns  *lab.Namespace
		dev string
	}{{r.sub, "eth0"}, {r.Box, below}, {r.Box, above}, {r.inet, "eth0"}} {
		errs = append(errs, at.ns.Do(func() error { return setOffloads(at.dev, on) }))
	}
	return errors.Join(errs...)
}

// setOffloads is `ethtool -K DEV tso on|off gso on|off`.
func setOffloads(dev string, on bool) error {
	const tso, gso = 0x1f, 0x24 // ETHTOOL_STSO, ETHTOOL_SGSO (linux/ethtool.h)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, what := range []uint32{tso, gso} {
		value := struct{ cmd, data uint32 }{cmd: what}
		if on {
			value.data = 1
		}
		var req struct { // struct ifreq
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}
		copy(req.name[:unix.IFNAMSIZ-1], dev)
		req.data = unsafe.Pointer(&value)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
			return fmt.Errorf("segmentation on %s: %w", dev, errno)
		}
	}
	return nil
}

// forgetConnections empties the box's table of connections.
func (r *rig) forgetConnections() error {
	return r.Box.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
}

// path is of a file that the run makes.
func (r *rig) path(name string) string { return filepath.Join(r.Dir, name) }

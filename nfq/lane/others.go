package lane

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Others names what else decides about packets that come in at the lane's interfaces or
// are forwarded there, and does not see those that the program forwards: other programs
// and filters at tc ingress, an interface that is part of another one, ways of equal cost
// that are chosen by the packet's hash, policies of IPsec, programs at hooks of netfilter.
// "" when there is nothing. Like Attach it looks into
// the calling thread's network namespace.
func (l *Lane) Others() (string, error) {
	l.mu.Lock()
	closed, ifs, tcx := l.closed, l.ifs, l.how == "tcx" // ifs is never changed, only replaced
	l.mu.Unlock()
	if closed {
		return "", errClosed
	}
	c, err := dialTC()
	if err != nil {
		return "", err
	}
	defer c.close()
	for _, d := range ifs {
		if other, err := othersAt(c, d, tcx); other != "" || err != nil {
			return other, err
		}
	}
	if other, err := hashed(); other != "" || err != nil {
		return other, err
	}
	if other, err := ipsec(); other != "" || err != nil {
		return other, err
	}
	return netfilterPrograms()
}

func othersAt(c *tc, d device, tcx bool) (string, error) {
	_, master, err := lookup(c.conn, d.name)
	if errors.Is(err, errNoDevice) {
		return "", nil // Attach will notice
	}
	if err != nil {
		return "", fmt.Errorf("interface %s: %w", d.name, err)
	}
	if master != 0 {
		return fmt.Sprintf("interface %s is part of another one", d.name), nil
	}
	filters, err := c.filters(d, parentIngress)
	if err != nil {
		return "", err
	}
	for _, f := range filters {
		if f.handle != 0 && !f.ours() { // 0: what holds the filters of a priority
			return fmt.Sprintf("a filter of somebody else at ingress of %s", d.name), nil
		}
	}
	programs, err := link.QueryPrograms(link.QueryOptions{Target: d.index, Attach: ebpf.AttachTCXIngress})
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) {
		return "", nil // before Linux 6.6
	}
	if err != nil {
		return "", fmt.Errorf("list the programs at interface %s: %w", d.name, err)
	}
	ours := 0
	if tcx {
		ours = 1
	}
	if len(programs.Programs) > ours {
		return fmt.Sprintf("a program of somebody else at ingress of %s", d.name), nil
	}
	return "", nil
}

// hashed says whether the kernel chooses among ways of equal cost by the hash that a packet
// brings along from its network card. A program cannot ask for that route: the session
// would change over to another way.
func hashed() (string, error) {
	for _, family := range []string{"ipv4", "ipv6"} {
		key := family + "/fib_multipath_hash_policy"
		value, err := os.ReadFile("/proc/sys/net/" + key)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without such routes
		}
		if err != nil {
			return "", fmt.Errorf("look for ways of equal cost: %w", err)
		}
		if string(bytes.TrimSpace(value)) == "1" {
			return "net." + strings.ReplaceAll(key, "/", ".") + " is 1", nil
		}
	}
	return "", nil
}

// From linux/xfrm.h.
const (
	xfrmGetSPDInfo = 37
	xfrmGetDefault = 40
	xfrmSPDInfo    = 1 // struct xfrmu_spdinfo: in, out, fwd, and the same of sockets
	xfrmAccept     = 2 // XFRM_USERPOLICY_ACCEPT; 0: never set
)

// ipsec says whether there are policies that a forwarded packet has to pass.
func ipsec() (string, error) {
	c, err := netlink.Dial(unix.NETLINK_XFRM, nil)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for IPsec: %w", err)
	}
	defer c.Close()
	ask := func(kind netlink.HeaderType, data []byte) ([]byte, error) {
		answers, err := c.Execute(netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request}, Data: data})
		if err != nil || len(answers) == 0 {
			return nil, err
		}
		return answers[0].Data, nil
	}
	info, err := ask(xfrmGetSPDInfo, make([]byte, 4))
	if err != nil {
		return "", fmt.Errorf("look for IPsec: %w", err)
	}
	if len(info) > 4 {
		attrs, err := netlink.NewAttributeDecoder(info[4:])
		if err != nil {
			return "", fmt.Errorf("look for IPsec: %w", err)
		}
		for attrs.Next() {
			if attrs.Type() != xfrmSPDInfo {
				continue
			}
			if slices.ContainsFunc(attrs.Bytes(), func(b byte) bool { return b != 0 }) {
				return "policies of IPsec", nil
			}
		}
		if err := attrs.Err(); err != nil {
			return "", fmt.Errorf("look for IPsec: %w", err)
		}
	}
	defaults, err := ask(xfrmGetDefault, make([]byte, 3))
	if errors.Is(err, unix.EINVAL) {
		return "", nil // before Linux 5.14
	}
	if err != nil {
		return "", fmt.Errorf("look for IPsec: %w", err)
	}
	for _, way := range defaults[:min(len(defaults), 3)] { // in, fwd, out
		if way != 0 && way != xfrmAccept {
			return "the default policy of IPsec", nil
		}
	}
	return "", nil
}

// netfilterPrograms looks for eBPF programs at hooks of netfilter (Linux 6.4). The kernel
// does not tell in which network namespace they are, so any is one too many.
func netfilterPrograms() (who string, err error) {
	err = settled(func() error {
		it := new(link.Iterator)
		defer it.Close()
		for it.Next() {
			info, err := it.Link.Info()
			if err != nil {
				return err
			}
			if info.Type == link.NetfilterType {
				who = "an eBPF program at a hook of netfilter"
				return nil
			}
		}
		return it.Err()
	})
	if err != nil && !errors.Is(err, ebpf.ErrNotSupported) && !errors.Is(err, unix.EINVAL) {
		return "", fmt.Errorf("look for programs at netfilter: %w", err)
	}
	return who, nil
}

// settled does again what ends with EAGAIN: the kernel says so of a link that somebody is just making and that has its number
// already (bpf_link_by_id). That lasts microseconds; who still gets it after some milliseconds gives up.
func settled(do func() error) (err error) {
	for wait := 100 * time.Microsecond; wait < 20*time.Millisecond; wait *= 2 {
		if err = do(); !errors.Is(err, unix.EAGAIN) {
			return err
		}
		time.Sleep(wait)
	}
	return err
}

package bridge

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inside runs a test in a network namespace of its own, on a thread that ends with it.
// What it calls must not end the test by itself.
func inside(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("kernel tests make network namespaces: run them as root (CAP_NET_ADMIN, CAP_SYS_ADMIN)")
	}
	done := make(chan struct{})
	go func() {
		defer close(done) // also when must ends it
		runtime.LockOSThread()
		ns, err := netns.New()
		must(t, err)
		defer ns.Close()
		lo, err := netlink.LinkByName("lo")
		must(t, err)
		must(t, netlink.LinkSetUp(lo))
		f()
	}()
	<-done
}

// must is for what prepares a test.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
		runtime.Goexit()
	}
}

// build makes a bridge with two ports.
func build(t *testing.T, name string, ports ...string) {
	t.Helper()
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	must(t, netlink.LinkAdd(br))
	for _, port := range ports {
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port, MasterIndex: br.Index}, PeerName: port + "x"}))
		link, err := netlink.LinkByName(port)
		must(t, err)
		must(t, netlink.LinkSetUp(link))
	}
	must(t, netlink.LinkSetUp(br))
}

func options(t *testing.T) Options {
	return Options{Mark: 0x07000000, Mask: 0x0f000000, File: filepath.Join(t.TempDir(), "bridge.json")}
}

func opened(t *testing.T, o Options) *Bridge {
	t.Helper()
	b, err := Open(o)
	must(t, err)
	return b
}

var both = []string{"lan0", "wan0"}

// snapshot is everything that this package changes.
func snapshot(t *testing.T, b *Bridge) string {
	t.Helper()
	var all []string
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := netlink.RuleList(family)
		must(t, err)
		for _, r := range rules {
			all = append(all, r.String())
		}
		for _, of := range []int{table, unix.RT_TABLE_LOCAL, unix.RT_TABLE_MAIN} {
			routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: of}, netlink.RT_FILTER_TABLE)
			must(t, err)
			for _, r := range routes {
				if r.Protocol != unix.RTPROT_KERNEL { // addresses come when the link does
					all = append(all, r.String())
				}
			}
		}
	}
	mark, err := conf4("br0", "src_valid_mark").read()
	must(t, err)
	all = append(all, "src_valid_mark "+mark)
	for _, c := range calls {
		v, err := b.option(c.attribute)
		must(t, err)
		all = append(all, fmt.Sprint(c.name, v))
	}
	return strings.Join(all, "\n")
}

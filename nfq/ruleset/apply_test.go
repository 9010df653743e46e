package ruleset

import (
	"errors"
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

var update = flag.Bool("update", false, "rewrite the golden listing")

func (r *rig) probe() Kernel {
	r.t.Helper()
	var k Kernel
	r.box.Must(func() (err error) { k, err = Probe(); return err })
	return k
}

func (r *rig) listing() string {
	r.t.Helper()
	return r.box.nft("", "list", "table", "inet", TableName)
}

func TestListingIsGolden(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	o := options()
	o.SubscriberIfs = []string{"lan0", "ppp.subscribers", "lan0"} // 15 bytes: the longest there is
	o.Ports = []uint16{587, 25, 25}
	o.QueueCount, o.Copies = 2, true
	r.apply(o)
	// The two forms of the queue statement look different, and nft prints the
	// xt one as nothing: it is read back below.
	got := regexp.MustCompile(`(counter name "queued_\w+").*`).ReplaceAllString(r.listing(), "$1 queue")
	file := filepath.Join("testdata", "table.nft")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the table is not what %s says (-update rewrites it):\n%s", file, got)
	}

	for _, name := range []string{"up", "down"} {
		r.box.Must(func() error {
			c, err := dial()
			if err != nil {
				return err
			}
			defer c.close()
			rules, err := c.GetRules(ourTable(), &nftables.Chain{Name: name})
			if err != nil {
				return err
			}
			last := rules[len(rules)-1].Exprs
			if want := queue(r.probe().QueueForm, 10, 2, true); !reflect.DeepEqual(last[len(last)-1], want[0]) {
				t.Errorf("chain %s ends with %+v, want %+v", name, last[len(last)-1], want[0])
			}
			return nil
		})
	}
}

func TestProbeLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.nft("add table inet neighbour; add set inet neighbour kept { type ipv4_addr; }; add element inet neighbour kept { 192.0.2.1 }", "-f", "-")
	s.nft("add table inet "+probeTable+"; add chain inet "+probeTable+" probe { type filter hook input priority 0; }", "-f", "-") // a probe that was killed
	before := s.nft("", "list", "table", "inet", "neighbour")
	for range 2 {
		s.Must(func() error {
			k, err := Probe()
			if k.QueueForm != QueueXT && k.QueueForm != QueueExpression {
				t.Errorf("probe: %+v, %v", k, err)
			}
			return err
		})
	}
	if after := s.nft("", "list", "ruleset"); after != before {
		t.Errorf("after two probes:\n%s\nwant\n%s", after, before)
	}
}

func TestApplyRefusesWhatProbeDidNotSay(t *testing.T) {
	t.Parallel()
	if _, err := Apply(options(), Kernel{}); err == nil {
		t.Error("a kernel that was not probed was taken")
	}
}

func TestSteeringAndRemove(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	expect := func(want bool) {
		t.Helper()
		r.box.Must(func() error {
			there, err := Steering(false)
			if there != want {
				t.Errorf("steering: %t, want %t", there, want)
			}
			return err
		})
	}
	expect(false)
	r.box.Must(Remove)
	r.box.nft("table ip "+TableName+" { }", "-f", "-") // ours is of another family
	expect(false)
	r.apply(options())
	expect(true)
	r.box.nft("", "flush", "table", "inet", TableName) // the table stays, its rules go
	expect(false)
	rs := r.apply(options())
	expect(true)
	r.box.Must(Remove)
	expect(false)
	r.box.Must(Remove)
	if out := r.box.nft("", "list", "tables"); out != "table ip "+TableName+"\n" {
		t.Errorf("left: %s", out)
	}

	// Somebody flushed everything: said, and healed by another Apply.
	for name, err := range map[string]error{
		"Cut":      rs.Cut(netip.MustParseAddr(subIP4), time.Hour),
		"Uncut":    rs.Uncut(netip.MustParseAddr(subIP4)),
		"UncutAll": rs.UncutAll(),
		"Disarm":   rs.Disarm(),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s without a table: %v", name, err)
		}
	}
	r.box.Do(func() {
		if _, err := rs.Counters(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Counters without a table: %v", err)
		}
	})
	rs = r.apply(options())
	if err := rs.Cut(netip.MustParseAddr(subIP4), time.Hour); err != nil {
		t.Error(err)
	}
}

func TestApplyWithoutPrivilege(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.Do(func() {
		// This thread alone loses its capabilities, and ends with its goroutine.
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Error(err)
			return
		}
		_, err := Apply(options(), Kernel{QueueForm: QueueXT})
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("apply without capabilities: %v", err)
		}
		if _, err := Probe(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("probe without capabilities: %v", err)
		}
	})
}

// Whatever stands under our name, after Apply it is our table, and what stands
// beside it is untouched.
func TestApplyOverWhatIsThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.apply(options())
	want := r.listing()
	for _, old := range []struct {
		why  string
		ours bool // nft changes our own table, else it makes one
		nft  string
	}{
		{"nothing", false, ""},
		{"our own", true, ""},
		{"our own, changed by hand", true, "flush chain inet mailweir steer; add rule inet mailweir cut tcp dport 25 drop; add element inet mailweir cut4 { 192.0.2.1 timeout 1h }"},
		{"our own with more in it", true, "add set inet mailweir more { type mark; }; add counter inet mailweir more; add chain inet mailweir more"},
		{"our own made dormant", true, "add table inet mailweir { flags dormant; }"},
		{"an empty table", false, "add table inet mailweir"},
		{"a dormant table", false, "add table inet mailweir { flags dormant; }; add chain inet mailweir steer { type filter hook prerouting priority -150; }; add rule inet mailweir steer drop"},
		{"a chain at another priority", false, "add table inet mailweir; add chain inet mailweir steer { type filter hook prerouting priority 5; }; add rule inet mailweir steer drop"},
		{"a chain of another type", false, "add table inet mailweir; add chain inet mailweir defer { type filter hook prerouting priority -101; }; add rule inet mailweir defer drop"},
		{"a chain with another policy", false, "add table inet mailweir; add chain inet mailweir steer { type filter hook prerouting priority -150; policy drop; }"},
		{"a set with other flags", false, "add table inet mailweir; add set inet mailweir cut4 { type ipv4_addr; flags interval, timeout; }; add element inet mailweir cut4 { 10.0.0.0/8 timeout 1h }; add chain inet mailweir cut { type filter hook prerouting priority -300; }; add rule inet mailweir cut ip saddr @cut4 drop"},
		{"a set of another type", false, "add table inet mailweir; add set inet mailweir ports { type ipv6_addr; }"},
		{"a map under a set's name", false, "add table inet mailweir; add map inet mailweir ports { type inet_service : verdict; }; add element inet mailweir ports { 25 : drop }; add chain inet mailweir steer { type filter hook prerouting priority -150; }; add rule inet mailweir steer tcp dport vmap @ports"},
		{"a quota under a counter's name", false, "add table inet mailweir; add quota inet mailweir released over 1 bytes; add chain inet mailweir steer { type filter hook prerouting priority -150; }; add rule inet mailweir steer quota name released"},
		{"our chains, a map and a quota under our names", true, "flush table inet mailweir; delete set inet mailweir ports; delete counter inet mailweir released; add map inet mailweir ports { type inet_service : verdict; }; add element inet mailweir ports { 25 : drop }; add quota inet mailweir released over 1 bytes; add rule inet mailweir steer tcp dport vmap @ports; add rule inet mailweir steer quota name released"},
	} {
		r.box.nft("", "flush", "ruleset")
		r.box.nft("add table inet neighbour; add chain inet neighbour c { type filter hook prerouting priority -150; }; add rule inet neighbour c tcp dport 25 accept", "-f", "-")
		if old.ours {
			r.apply(options())
		}
		r.box.nft(old.nft, "-f", "-")
		for range 2 {
			r.apply(options())
			if got := r.listing(); got != want {
				t.Errorf("over %s:\n%s", old.why, got)
			}
		}
		if out := r.box.nft("", "list", "table", "inet", "neighbour"); !strings.Contains(out, "tcp dport 25 accept") {
			t.Errorf("over %s: the neighbour has %s", old.why, out)
		}
	}
}

// A table may belong to the process that made it (flag owner, Linux 5.12).
func TestApplyOverAnotherProcessesTable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var owner *netlink.Conn
	r.box.Must(func() (err error) {
		owner, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
	batch := func(kind uint16) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request}, Data: []byte{0, 0, 0, unix.NFNL_SUBSYS_NFTABLES}}
	}
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: []byte(TableName + "\x00")},
		{Type: unix.NFTA_TABLE_FLAGS, Data: []byte{0, 0, 0, 2}}, // NFT_TABLE_F_OWNER
	})
	if err != nil {
		t.Fatal(err)
	}
	create := netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE, Flags: netlink.Request | netlink.Create | netlink.Acknowledge},
		Data:   append([]byte{unix.NFPROTO_INET, 0, 0, 0}, attributes...),
	}
	if _, err := owner.SendMessages([]netlink.Message{batch(unix.NFNL_MSG_BATCH_BEGIN), create, batch(unix.NFNL_MSG_BATCH_END)}); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Receive(); err != nil {
		t.Fatal(err)
	}
	k := r.probe()
	r.box.Do(func() {
		if _, err := Apply(options(), k); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "another process") {
			t.Errorf("apply over a table of another process: %v", err)
		}
	})
	if err := owner.Close(); err != nil { // the kernel takes the table with it
		t.Fatal(err)
	}
	nfqtest.Eventually(t, "Apply after the owner's end", func() bool {
		var err error
		r.box.Do(func() {
			var rs *Ruleset
			if rs, err = Apply(options(), k); err == nil {
				err = rs.Close()
			}
		})
		return err == nil
	})
}

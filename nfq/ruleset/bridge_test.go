package ruleset

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func bridgeOptions() Options {
	o := options()
	o.SubscriberIfs = []string{"lan1", "lan0"}
	o.Bridge = &Bridge{Answer4: netip.MustParseAddr("192.0.0.8"), Answer6: netip.MustParseAddr("100:0:0:1::8"), OthersUntracked: true}
	return o
}

func TestListingOnABridgeIsGolden(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, box: newSpace(t)}
	r.box.Must(ProbeBridge)
	o := bridgeOptions()
	o.Lane, o.Untracked = true, true
	r.apply(o)
	got := r.listing() + r.box.nft("", "list", "table", "bridge", TableName)
	got = regexp.MustCompile(`(counter name "queued_\w+").*`).ReplaceAllString(got, "$1 queue")
	file := filepath.Join("testdata", "bridge.nft")
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
		t.Errorf("the tables are not what %s says (-update rewrites it):\n%s", file, got)
	}
}

func TestBridgeOptionsThatCannotWork(t *testing.T) {
	t.Parallel()
	for _, b := range []Bridge{{}, {Answer4: netip.MustParseAddr("192.0.0.8")}, {Answer4: netip.MustParseAddr("::1"), Answer6: netip.MustParseAddr("::1")},
		{Answer4: netip.MustParseAddr("192.0.0.8"), Answer6: netip.MustParseAddr("::ffff:192.0.0.8")}} {
		o := options()
		o.Bridge = &b
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "deferred sessions") {
			t.Errorf("%+v: %v", b, err)
		}
	}
}

// The marks of the two sides must not be taken for each other, nor for a state.
func TestMarksOfABridge(t *testing.T) {
	t.Parallel()
	for _, m := range []Marks{{DefaultMask}, {0xf}, {0xf0000000}, {0xffffffff}} {
		for v := range uint32(16) {
			mark := v << m.shift()
			up := mark == m.Up() || mark == m.UpSee()
			if got := mark&m.upBits() == m.Up()&m.upBits(); v&1 == 1 && got != up {
				t.Errorf("mask %#x: %#x counts as up: %t, want %t", m.Mask, mark, got, up)
			}
			if _, governed := m.State(mark); up && governed {
				t.Errorf("mask %#x: %#x counts as a state", m.Mask, mark)
			}
		}
		if m.FromLane(m.Up()) || m.FromLane(0) || !m.FromLane(m.UpSee()) || !m.FromLane(m.Value(See)) {
			t.Errorf("mask %#x: what the lane has marked is not told from what it has not", m.Mask)
		}
	}
}

// Both tables are looked for, either can be written again, and a box that routes
// again keeps none of family bridge.
func TestTheTableOfFamilyBridgeComesAndGoes(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, box: newSpace(t)}
	tables := func() string { return strings.TrimSpace(r.box.nft("", "list", "tables")) }
	expect := func(bridged, want bool) {
		t.Helper()
		r.box.Must(func() error {
			there, err := Steering(bridged)
			if there != want {
				t.Errorf("steering: %t, want %t", there, want)
			}
			return err
		})
	}
	expect(true, false)
	rs := r.apply(bridgeOptions())
	r.apply(bridgeOptions())
	expect(true, true)
	if got := strings.Count(r.box.nft("", "list", "table", "bridge", TableName), "iifname"); got != 8 {
		t.Errorf("%d rules mark packets of two ports, want 8", got)
	}
	r.box.nft("", "flush", "chain", "bridge", TableName, bridgeChain().name)
	expect(true, false)
	expect(false, true)
	r.apply(bridgeOptions())
	expect(true, true)
	r.box.Must(rs.Disarm)
	expect(true, false)
	if got := r.box.nft("", "list", "ruleset"); strings.Contains(got, "iifname") || !strings.Contains(got, "hook prerouting priority -1") {
		t.Errorf("disarmed:\n%s", got)
	}
	r.apply(options())
	if got := tables(); got != "table inet "+TableName {
		t.Errorf("a box that routes again has %q", got)
	}
	r.apply(bridgeOptions())
	r.box.Must(Remove)
	if got := tables(); got != "" {
		t.Errorf("after Remove: %q", got)
	}
	r.box.Must(Remove)
}

// What waits in a queue stays there while the tables are written again.
func TestTheChainOfFamilyBridgeStays(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, box: newSpace(t)}
	handle := func() string {
		return regexp.MustCompile(`chain ports \{ # handle \d+`).FindString(r.box.nft("", "-a", "list", "table", "bridge", TableName))
	}
	r.apply(bridgeOptions())
	before := handle()
	o := bridgeOptions()
	o.SubscriberIfs = []string{"lan7"}
	r.apply(o)
	if after := handle(); after != before || before == "" {
		t.Errorf("the chain was %q and is %q", before, after)
	}
	if got := r.box.nft("", "list", "table", "bridge", TableName); strings.Contains(got, "lan0") || !strings.Contains(got, "lan7") {
		t.Errorf("after another port:\n%s", got)
	}
}

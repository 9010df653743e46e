package ruleset

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func TestMarks(t *testing.T) {
	t.Parallel()
	for _, m := range []Marks{{DefaultMask}, {0xf}, {0xf0000000}, {0xffffffff}, {0x0000ff00}, {0x1f << 27}} {
		if err := m.Validate(); err != nil {
			t.Error(err)
		}
		if _, governed := m.State(^m.Mask); governed {
			t.Errorf("mask %#x: the bits of others count as a state", m.Mask)
		}
		used := make(map[uint32]State)
		for s := See; s < states; s++ {
			v := m.Value(s)
			if other, twice := used[v]; twice || v == 0 || v&^m.Mask != 0 {
				t.Errorf("mask %#x: %s is %#x, %s too: %t", m.Mask, s, v, other, twice)
			}
			used[v] = s
			const others = 0x5a5a5a5a
			mark := m.Apply(others, s)
			if mark&^m.Mask != others&^m.Mask {
				t.Errorf("mask %#x: %s makes %#x of %#x", m.Mask, s, mark, uint32(others))
			}
			if got, governed := m.State(mark); got != s || !governed {
				t.Errorf("mask %#x: %#x reads back as %s, %t; want %s", m.Mask, mark, got, governed, s)
			}
			if m.Apply(m.Apply(others, Cut), s) != mark {
				t.Errorf("mask %#x: %s does not replace cut", m.Mask, s)
			}
		}
	}
	if got := (Marks{DefaultMask}).Value(Both); got != 0x05000000 {
		t.Errorf("both is %#x, want 0x05000000", got)
	}
	for _, mask := range []uint32{0, 1, 7, 0x07000000, 0x0f0f0000, 0xf0000001, 0x55555555} {
		if err := (Marks{mask}).Validate(); err == nil {
			t.Errorf("mask %#x was taken", mask)
		}
	}
	if _, governed := (Marks{DefaultMask}).State(0x0b000000); governed {
		t.Error("a state that does not exist counts as one")
	}
	if got := State(7).String(); got != "state7" {
		t.Errorf("state 7 is called %q", got)
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	t.Parallel()
	if err := options().Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []struct {
		says string
		edit func(*Options)
	}{
		{"mask", func(o *Options) { o.Mask = 0 }},
		{"no subscriber interface", func(o *Options) { o.SubscriberIfs = nil }},
		{"subscriber interface", func(o *Options) { o.SubscriberIfs = []string{"lan0", ""} }},
		{"subscriber interface", func(o *Options) { o.SubscriberIfs = []string{"sixteen-bytes-xx"} }},
		{"no governed port", func(o *Options) { o.Ports = nil }},
		{"governed port 0", func(o *Options) { o.Ports = []uint16{25, 0} }},
		{"port 25", func(o *Options) { o.ResponderPort = 25 }},
		{"limited port 587", func(o *Options) { o.LimitedPorts = []uint16{25, 587} }},
		{"0 queues", func(o *Options) { o.QueueCount = 0 }},
		{"2 queues from 65535", func(o *Options) { o.QueueFirst, o.QueueCount = 65535, 2 }},
	} {
		o := options()
		bad.edit(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%+v: %v, want something about %q", o, err, bad.says)
		}
		if _, err := Apply(o, Kernel{QueueForm: QueueXT}); err == nil {
			t.Errorf("%+v was applied", o)
		}
	}
	o := options()
	o.QueueFirst, o.QueueCount = 65535, 1
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}

// A kernel may have only one of the two forms, so the bytes of both are held
// here: those of the expression are what `nft --debug=all` shows for `queue flags
// bypass to 10-13`, those of the target follow linux/netfilter/xt_NFQUEUE.h (on a
// little-endian machine).
func TestQueueBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		form         QueueForm
		first, count uint16
		bypass       bool
		want         string
	}{
		{QueueExpression, 10, 4, true, "0a00010071756575650000001c00028006000100000a000006000200000400000600030000010000"},
		{QueueExpression, 0, 1, false, "0a00010071756575650000001c000280060001000000000006000200000100000600030000000000"},
		{QueueXT, 10, 4, true, "0b0001007461726765740000240002800c0001004e4651554555450008000200000000030c0003000a00040001000000"},
		{QueueXT, 0, 1, false, "0b0001007461726765740000240002800c0001004e4651554555450008000200000000030c0003000000010000000000"},
	} {
		e := queue(c.form, c.first, c.count, c.bypass)
		got, err := expr.Marshal(unix.NFPROTO_INET, e[0])
		if err != nil || len(e) != 1 {
			t.Fatalf("%+v: %d expressions, %v", c, len(e), err)
		}
		if h := hex.EncodeToString(got); h != c.want {
			t.Errorf("%+v:\n%s, want\n%s", c, h, c.want)
		}
	}
}

func TestCutKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ addr, set, key string }{
		{"192.0.2.1", setCut4, "c0000201"},
		{"::ffff:192.0.2.1", setCut4, "c0000201"},
		{"2001:db8:1:2:3:4:5:6", setCut6, "20010db8000100020000000000000000"},
		{"2001:db8:1:2::", setCut6, "20010db8000100020000000000000000"},
		{"fe80::1%lan0", setCut6, "fe800000000000000000000000000000"},
	} {
		set, key := cutKey(netip.MustParseAddr(c.addr))
		if got := fmt.Sprintf("%x", key); set != c.set || got != c.key {
			t.Errorf("%s: %s in %s, want %s in %s", c.addr, got, set, c.key, c.set)
		}
	}
}

func TestReversePathIsAskedOnlyWhereItCanBe(t *testing.T) {
	t.Parallel()
	for _, can := range []bool{false, true} {
		asked := false
		for _, ch := range design(options(), Kernel{QueueForm: QueueXT, ReversePath: can}) {
			for _, r := range ch.rules {
				for _, e := range r.exprs {
					_, fib := e.(*expr.Fib)
					asked = asked || fib
				}
			}
		}
		if asked != can {
			t.Errorf("with ReversePath %t: asked %t", can, asked)
		}
	}
}

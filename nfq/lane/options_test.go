package lane

import (
	"fmt"
	"strings"
	"testing"
)

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, row := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Ports = nil }, "no governed port"},
		{func(o *Options) { o.Ports = []uint16{0} }, "governed port 0"},
		{func(o *Options) { o.Limited = []uint16{26} }, "limited port 26"},
		{func(o *Options) { o.Mask = 0 }, "no bit of the mark"},
		{func(o *Options) { o.Fast = 1 }, "outside mask"},
		{func(o *Options) { o.See = o.Fast }, "nor the same"},
		{func(o *Options) { o.See = 0 }, "neither zero"},
		{func(o *Options) { o.RingBytes = 300_000 }, "a power of two"},
		{func(o *Options) { o.RingBytes = 1 << 16 }, "262144 at least"},
		{func(o *Options) { o.Flows = -1 }, "flows -1"},
		{func(o *Options) { o.Attach = "xdp" }, `attach "xdp"`},
	} {
		o := options()
		row.change(&o)
		r.box.Must(func() error {
			l, err := Open(o)
			if err == nil {
				return l.Close()
			}
			if !strings.Contains(err.Error(), row.want) {
				return fmt.Errorf("%w, want %q", err, row.want)
			}
			row.want = ""
			return nil
		})
		if row.want != "" {
			t.Errorf("no error, want %q", row.want)
		}
	}
}

func TestAttachSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := r.open(options())
	for _, row := range []struct {
		lans, wans []string
		want       string
		missing    int
	}{
		{nil, wans, "at least one interface of each side", 0},
		{lans, []string{"wan7"}, "not there: [wan7]", 1},
		{lans, []string{"lan0"}, "lan0 is listed twice", 0},
		{lans, []string{"interface-of-16b"}, "1 to 15 bytes", 0},
		{[]string{"lan0", "ppp9"}, wans, "", 1},
		{lans, wans, "", 0},
		{lans, wans, "", 0},
	} {
		r.box.Must(func() error {
			missing, err := l.Attach(row.lans, row.wans)
			if (err != nil) != (row.want != "") || err != nil && !strings.Contains(err.Error(), row.want) || len(missing) != row.missing {
				t.Errorf("%v %v: missing %v, %v; want %q", row.lans, row.wans, missing, err, row.want)
			}
			return nil
		})
	}
	if l.How() == "" || r.programs("lan1") != 1 || r.programs("wan0") != 1 {
		t.Errorf("by %q, %d and %d programs", l.How(), r.programs("lan1"), r.programs("wan0"))
	}
}

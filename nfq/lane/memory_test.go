package lane

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// What Options says of the kernel's memory, held against what the kernel says. The sizes
// are those of a box with 256 MB.
func TestTheKernelsPartOfASmallBox(t *testing.T) {
	t.Parallel()
	o := options()
	o.Flows, o.Sources, o.Leases, o.Blocked, o.Metered, o.RingBytes = 1<<15, 1<<15, 1<<14, 1<<12, 1<<14, 2<<20
	l := newRig(t).open(o)
	sum := 0
	for name, m := range l.coll.Maps {
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", m.FD()))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "memlock:")
		var bytes int
		if _, err := fmt.Sscan(rest, &bytes); err != nil {
			t.Fatalf("%s: %v in %s", name, err, text)
		}
		if bytes > 100_000 {
			t.Logf("%s: %.1f MB", name, float64(bytes)/1e6)
		}
		sum += bytes
	}
	// Sources and who is blocked come on top as they come, 90 bytes each.
	if full := sum + 90*(o.Sources+o.Blocked); full > 16<<20 || sum > 12<<20 {
		t.Errorf("%.1f MB at once, %.1f MB when full", float64(sum)/1e6, float64(full)/1e6)
	}
}

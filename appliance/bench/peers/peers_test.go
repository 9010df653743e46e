package peers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/bench/helper"
	"github.com/mailweir/mailweir/appliance/lab"
)

func TestMain(m *testing.M) {
	lab.Reexec()
	helper.Reexec(Roles())
	os.Exit(m.Run())
}

// The whole rig, tiny: every measure works through plain forwarding and through mailweir's queue lane, and the report has
// it. How fast anything is is not looked at.
func TestEveryMeasureWorks(t *testing.T) {
	o := Tiny()
	o.Dir, o.Log, o.Mailweir = t.TempDir(), t.Output(), filepath.Join(t.TempDir(), "mailweir")
	build := exec.Command("go", "build", "-o", o.Mailweir, "../../cmd/mailweir")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build mailweir: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	res, err := Measure(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	text := string(res.Markdown("", 1))
	for _, m := range res.measures {
		for _, v := range o.Variants {
			if m.only != nil && !slices.Contains(m.only, v) {
				continue
			}
			for _, q := range m.quantities {
				s := res.of(m.name, v, q.name)
				switch {
				case (q.name == "governor" || q.name == "records") && v == plain:
				case len(s) != 1 || math.IsNaN(s[0]) || s[0] < 0 || s[0] == 0 && (q.ratios || q.name == "records"):
					t.Errorf("%s, %s: %s is %v", m.name, v, q.name, s)
				}
			}
		}
		if !strings.Contains(text, m.title) {
			t.Errorf("the report has nothing of %s", m.name)
		}
	}
	// Every session has its record, as the collector counts them, and no packet of a source that is cut comes through.
	if r := res.of("sessions", queue, "records"); len(r) == 1 && r[0] < 0.99 {
		t.Errorf("%v records a session", r[0])
	}
	if f := res.of("flood", queue, "forwarded"); len(f) == 1 && f[0] != 0 {
		t.Errorf("%v packets a second of cut sources came through", f[0])
	}
	if left, err := os.ReadDir(o.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// result is one that was not measured but written down.
func result(rows map[key][]map[string]float64) *Result {
	res := &Result{options: Quick(), measures: measures(), variants: variants(), missing: map[string]error{suricata: errors.New("no such package")}, rows: map[key]*series{}}
	for k, all := range rows {
		row := &series{}
		for _, values := range all {
			row.samples = append(row.samples, sample{values: values})
		}
		res.rows[k] = row
	}
	return res
}

func TestRatiosAndGoals(t *testing.T) {
	t.Parallel()
	rates := func(all ...float64) (out []map[string]float64) {
		for _, v := range all {
			out = append(out, map[string]float64{"rate": v, "machine": 1000 / v})
		}
		return out
	}
	res := result(map[key][]map[string]float64{
		{"sessions", plain}: rates(1000, 1100, 1200),
		{"sessions", meter}: rates(800, 1100, 900),
		{"sessions", fast}:  rates(950, 1000, 1050),
		{"sessions", queue}: rates(300, 400, 500),
		{"sessions", inC}:   rates(900, 900, 900),
	})
	text := string(res.Markdown("", 2))
	for _, want := range []string{
		"| sessions/s, fast lane / plain forwarding | at least 0.90 | 0.91 (0.91) | 0.88 / 0.91 / 0.95 | yes, in the medians |",
		"| sessions/s, fast lane / nft meter | at least 1.00 | 1.11 (1.17) | 0.91 / 1.17 / 1.19 | yes, in the medians |",
		"| sessions/s, fast lane / Suricata in line | at least 1.70 | - | not measured | not measured |",
		"| sessions/s, queue lane / accept-all in C | at least 0.95 | 0.44 (0.44) | 0.33 / 0.44 / 0.56 | no |",
		"| Suricata in line | not available |",
		"| mailweir, fast lane | 950 / 1000 / 1050 | 0.91 (0.91) | 1.11 (1.17) | - | - |",
		"sessions 18 %", "Suricata in line is not available here: no such package", "**Quick:",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// A ratio of medians from samples that lie far apart is no proof.
func TestAGoalThatOnlyTheMediansHoldIsNotClear(t *testing.T) {
	t.Parallel()
	rates := func(all ...float64) (out []map[string]float64) {
		for _, v := range all {
			out = append(out, map[string]float64{"rate": v})
		}
		return out
	}
	res := result(map[key][]map[string]float64{{"sessions", plain}: rates(1000, 2000, 1100), {"sessions", fast}: rates(850, 1000, 1000)})
	if text := string(res.Markdown("", 1)); !strings.Contains(text, "| not clear: the medians hold it,") {
		t.Errorf("the report says\n%s", text)
	}
}

// Against another mailweir nothing is asked of the peers.
func TestGoalsBesideAnotherMailweir(t *testing.T) {
	t.Parallel()
	rates := func(v float64) []map[string]float64 { return []map[string]float64{{"rate": v}} }
	res := result(map[key][]map[string]float64{{"bulk-tls", queue}: rates(960), {"bulk-tls", queueBeside}: rates(1000), {"starttls", fast}: rates(990), {"starttls", fastBeside}: rates(1000)})
	res.options.Beside = "/another"
	var b bytes.Buffer
	res.goals(&b, "#")
	for _, want := range []string{
		"| one long message inside STARTTLS, queue lane / the other mailweir | at least 0.97 | 0.96 (0.96) | 0.96 / 0.96 / 0.96 | no |",
		"| STARTTLS sessions/s, fast lane / the other mailweir | at least 0.97 | 0.99 (0.99) | 0.99 / 0.99 / 0.99 | yes |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "plain") {
		t.Errorf("peers are in\n%s", b.String())
	}
}

// What a session adds is what it takes more than through plain forwarding, and said to be noise where it is none.
func TestWhatIsAdded(t *testing.T) {
	t.Parallel()
	times := func(all ...float64) (out []map[string]float64) {
		for _, v := range all {
			out = append(out, map[string]float64{"p50": v})
		}
		return out
	}
	for _, row := range []struct {
		meter []map[string]float64
		want  string
	}{
		{times(500, 520), "| at most 1.10 | 0.50 (0.50) | 0.50 / 0.50 / 0.50 | yes |"},
		{times(390, 520), "the noise of plain forwarding)"},
	} {
		res := result(map[key][]map[string]float64{{"latency", plain}: times(400, 400), {"latency", meter}: row.meter, {"latency", fast}: times(450, 460)})
		var b bytes.Buffer
		res.goals(&b, "#")
		if !strings.Contains(b.String(), row.want) {
			t.Errorf("%v: no %q in\n%s", row.meter, row.want, b.String())
		}
	}
}

// What is chosen by name has to be there, and so has what a goal is about.
func TestNamesAreChecked(t *testing.T) {
	t.Parallel()
	o := Full()
	o.Measures, o.Variants = MeasureNames(), VariantNames()
	if err := o.Check(); err == nil || !strings.Contains(err.Error(), "which other binary") {
		t.Errorf("beside nothing: %v", err)
	}
	o.Beside = "mailweir-before"
	if err := o.Check(); err != nil {
		t.Error(err)
	}
	o.Variants = []string{"pf"}
	if err := o.Check(); err == nil || !strings.Contains(err.Error(), "plain") {
		t.Errorf("an unknown variant: %v", err)
	}
	for _, of := range []Options{Quick(), Tiny()} {
		if err := of.Check(); err != nil {
			t.Error(err)
		}
	}
	known := func(name string) bool { return slices.Contains(VariantNames(), name) }
	for _, g := range slices.Concat(goals(false), goals(true)) {
		if !slices.Contains(MeasureNames(), g.measure) || !known(g.of) || !known(g.to) {
			t.Errorf("%s: no such measure or variant", g.what)
		}
	}
}

// The checksum that is kept up to date is that of the whole packet.
func TestChecksumOfAFlood(t *testing.T) {
	t.Parallel()
	task := floodTask{To: server, First: firstBot, Sources: 3}
	for i := range 5 {
		packet := make([]byte, 40)
		so := task.syn(packet, i)
		for _, random := range []uint64{0, 1<<63 | 0xffffffff, 0x0123456789abcdef} {
			vary(packet[20:], so, random)
			if s := fold(sum(packet[:20], 0)); s != 0 {
				t.Errorf("header of packet %d: %04x", i, s)
			}
			if s := fold(sum(packet[20:], sum(packet[12:20], 6+20))); s != 0 {
				t.Errorf("packet %d with %x: %04x", i, random, s)
			}
		}
		if from := fmt.Sprint(packet[12:16]); from != fmt.Sprintf("[10 65 0 %d]", 1+i%3) {
			t.Errorf("packet %d is from %s", i, from)
		}
	}
}

// A message ends where it ends, however it comes in pieces.
func TestEndOfAMessage(t *testing.T) {
	t.Parallel()
	b := letter(2048)
	if bytes.Count(b, endOfMessage) != 1 || len(b) < 1900 || len(b) > 2100 {
		t.Fatalf("%d bytes: %q", len(b), b[len(b)-20:])
	}
	for piece := 1; piece < len(b); piece += 7 {
		from, to := net.Pipe()
		sent := make(chan error, 1)
		go func() {
			for p := range slices.Chunk(b, piece) {
				if _, err := from.Write(p); err != nil {
					sent <- err
					return
				}
			}
			sent <- from.Close()
		}()
		if err := errors.Join(swallow(bufio.NewReaderSize(to, 64), to, make([]byte, 128)), <-sent); err != nil {
			t.Errorf("in pieces of %d: %v", piece, err)
		}
	}
}

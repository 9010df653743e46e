package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// A list with something wrong in it is refused as a whole, whether it is noticed
// by itself or read for a signal: the record names file, line and what is wrong,
// the log every line of it, and the list that was in force goes on. What is only
// unusual is taken.
func TestBrokenListIsRefused(t *testing.T) {
	s := newTiny(t, "")
	s.start()
	s.expect("first of two", lab.Sent)
	s.expect("second of two", lab.Sent)
	s.expect("third of two", lab.Deferred)
	const head = "subscriber,plan,prefixes\n"
	v4 := s.home.IPv4.String()
	// Each gives the address to a line under a plan without limits: whoever takes
	// it lets the next session pass.
	bad := []struct {
		why, text string
		says      []string // in the log, all of it
	}{
		{"a bad prefix", head + "home,free," + v4 + "\nx,free,100.64.300.1\n", []string{":3"}},
		{"host bits set", head + "home,free," + v4 + "\nx,free,100.64.9.1/24\n", []string{":3"}},
		{"the same prefix twice", head + "home,free," + v4 + "\nx,free,100.64.9.1\ny,free,100.64.9.1/32\n", []string{":4", "100.64.9.1"}},
		{"an id twice", head + "home,free," + v4 + "\nx,free,100.64.9.1\nx,free,100.64.9.2\n", []string{":4", "x"}},
		{"an unknown plan", head + "home,golden," + v4 + "\n", []string{":2", "golden"}},
		{"a NUL", head + "home,free," + v4 + "\nx,fr\x00ee,100.64.9.1\n", []string{":3"}},
		{"a NUL at the end, as a torn write leaves it", head + "home,free," + v4 + "\n\x00\x00\x00\x00", []string{":3"}},
		{"a line of a megabyte", head + "home,free," + v4 + "\nx,free,100.64.9.1," + strings.Repeat("x", 1<<20) + "\n", []string{":3"}},
		{"a circuit twice", "subscriber,plan,prefixes,circuits\nhome,free," + v4 + ",a\nx,free,,a\n", []string{":3"}},
		{"no such column", "subscriber,plan,prefices\nhome,free," + v4 + "\n", []string{":1", "prefices"}},
		{"many at once", head + "home,golden," + v4 + "\nx,free,100.64.300.1\nx,free,100.64.9.1\n", []string{":2", ":3", ":4"}},
	}
	for i, row := range bad {
		refused, said := len(s.records("kind=CONFIG&limit=1000")), s.said()
		s.list(row.text)
		if i%2 == 1 { // by a signal; the other half is noticed
			check(t, s.cmd.Process.Signal(syscall.SIGHUP))
		}
		await(t, 10*time.Second, row.why+": a CONFIG record", func() bool { return len(s.records("kind=CONFIG&limit=1000")) > refused })
		r := s.records("kind=CONFIG&limit=1")[0]
		if param(r.Line, "what") != "refused" || !strings.Contains(r.Line, "subscribers.csv"+row.says[0]) {
			t.Errorf("%s: %s", row.why, r.Line)
		}
		if len(r.Line) > 2000 {
			t.Errorf("%s: a record of %d bytes", row.why, len(r.Line))
		}
		log := s.said()[len(said):]
		for _, want := range row.says {
			if !strings.Contains(log, want) {
				t.Errorf("%s: the log does not say %q: %.1000s", row.why, want, log)
			}
		}
		s.expect(row.why+": the list in force goes on", lab.Deferred)
		if row.why == "a bad prefix" {
			t.Logf("%s: %s", row.why, r.Line)
		}
	}

	// Whatever Excel makes of it.
	for _, row := range []struct{ why, text string }{
		{"CRLF", strings.ReplaceAll(head+"home,small,"+v4+"\nother,small,100.64.9.1\n", "\n", "\r\n")},
		{"a byte order mark and CRLF", "\ufeff" + strings.ReplaceAll(head+"home,small,"+v4+"\nthird,free,100.64.9.1\n", "\n", "\r\n")},
		{"no newline at the end", head + "home,small," + v4 + "\nfourth,free,100.64.9.1"},
		{"a prefix of one within another's", head + "home,free," + v4 + "\nfifth,small,100.64.0.0/16"},
	} {
		before := len(s.records("kind=CONFIG&limit=1000"))
		s.list(row.text)
		await(t, 10*time.Second, row.why+": a CONFIG record", func() bool { return len(s.records("kind=CONFIG&limit=1000")) > before })
		if r := s.records("kind=CONFIG&limit=1")[0]; param(r.Line, "what") != "reloaded" {
			t.Errorf("%s: %s", row.why, r.Line)
		}
	}
	s.expect("under the last list", lab.Sent)
}

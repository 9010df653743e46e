package leases

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// watched is a watcher of a file that the test writes, without its loop: the test says when it looks.
type watched struct {
	*Watcher
	t    *testing.T
	path string
	now  time.Time
	log  strings.Builder
	sets [][]string // handed over
}

func watch(t *testing.T, format Format) *watched {
	w := &watched{t: t, path: filepath.Join(t.TempDir(), "leases"), now: noon}
	w.Watcher = New(Options{
		Path: w.path, Format: format, Log: slog.New(slog.NewTextHandler(&w.log, nil)), Now: func() time.Time { return w.now },
		Handle: func(s Set) {
			if s.Path != w.path {
				t.Errorf("set of %s", s.Path)
			}
			w.sets = append(w.sets, written(s.Leases))
		},
	})
	return w
}

func (w *watched) write(text string) {
	w.t.Helper()
	w.into("", text)
}

// into writes a file beside the watched one as both servers do: in place.
func (w *watched) into(suffix, text string) {
	w.t.Helper()
	if err := os.WriteFile(w.path+suffix, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) append(text string) {
	w.t.Helper()
	f, err := os.OpenFile(w.path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) rename(from, to string) {
	w.t.Helper()
	if err := os.Rename(w.path+from, w.path+to); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) remove(suffix string) {
	w.t.Helper()
	if err := os.Remove(w.path + suffix); err != nil {
		w.t.Fatal(err)
	}
}

// pass lets d go by, looking as often as Run would.
func (w *watched) pass(d time.Duration) {
	w.t.Helper()
	for until := w.now.Add(d); w.now.Before(until); {
		w.now = w.now.Add(w.look(w.now))
	}
}

// want expects that n sets were handed over since the last want and that these are the addresses of the last, each with what
// follows it as its first circuit.
func (w *watched) want(why string, n int, leases ...string) {
	w.t.Helper()
	if len(w.sets) != n {
		w.t.Errorf("%s: %d sets handed over, want %d: %q", why, len(w.sets), n, w.sets)
	}
	if n > 0 && len(w.sets) > 0 {
		var got []string
		for _, l := range w.sets[len(w.sets)-1] {
			words := strings.Split(l, " ")
			got = append(got, strings.TrimSuffix(words[0], "/32")+" "+words[2])
		}
		if !slices.Equal(got, leases) {
			w.t.Errorf("%s: got %q, want %q", why, got, leases)
		}
	}
	w.sets = nil
}

func (w *watched) problem(why, want string) {
	w.t.Helper()
	if got := w.Status().Problem; (want == "") != (got == "") || !strings.Contains(got, want) {
		w.t.Errorf("%s: problem %q, want %q", why, got, want)
	}
}

const (
	lineA  = "1795301338 02:00:5e:00:53:0a 10.9.0.1 * *\n"
	lineA2 = "1795301938 02:00:5e:00:53:0a 10.9.0.1 * *\n" // renewed
	lineB  = "1795301338 02:00:5e:00:53:0b 10.9.0.2 * *\n"
	lineC  = "1795301338 02:00:5e:00:53:0c 10.9.0.1 * *\n" // has A's address
	leaseA = "10.9.0.1 02:00:5e:00:53:0a"
	leaseB = "10.9.0.2 02:00:5e:00:53:0b"
	leaseC = "10.9.0.1 02:00:5e:00:53:0c"
)

func TestDnsmasqIsFollowed(t *testing.T) {
	t.Parallel()
	w := watch(t, Dnsmasq)
	w.pass(time.Second)
	w.want("no file yet", 0)
	w.problem("no file yet", "there is no such file")
	w.write(lineA)
	w.pass(600 * time.Millisecond)
	w.want("the first lease", 1, leaseA)
	w.problem("the first lease", "")
	w.write(lineA + lineB)
	w.pass(600 * time.Millisecond)
	w.want("a second one", 1, leaseA, leaseB)
	w.pass(10 * time.Second)
	w.want("nothing happens", 0)
	w.write(lineB + lineA2)
	w.pass(time.Second)
	w.want("a renewal is no change", 0)
	w.write(lineB + lineC)
	w.pass(600 * time.Millisecond)
	w.want("the address has another holder", 1, leaseC, leaseB)
	w.write(lineC)
	w.pass(600 * time.Millisecond)
	w.want("a release", 1, leaseC)
	w.into(".new", lineB)
	w.rename(".new", "")
	w.pass(600 * time.Millisecond)
	w.want("another file in its place", 1, leaseB)
	if s := w.Status(); s.Leases != 1 || s.BadLines != 0 || s.Read.IsZero() || s.Path != w.path || s.Format != Dnsmasq {
		t.Errorf("%+v", s)
	}
}

// TestFileThatIsBeingRewritten: dnsmasq empties its file before it writes, and that is never taken for the end of its leases.
func TestFileThatIsBeingRewritten(t *testing.T) {
	t.Parallel()
	w := watch(t, Dnsmasq)
	w.write(lineA + lineB)
	w.pass(time.Second)
	w.want("at first", 1, leaseA, leaseB)
	w.write("")
	w.look(w.now)
	w.now = w.now.Add(settle)
	w.write(lineA[:20])
	w.look(w.now)
	w.now = w.now.Add(settle)
	w.write(lineA + lineB[:30])
	w.look(w.now)
	w.want("while it is written", 0)
	w.now = w.now.Add(settle)
	w.write(lineC)
	w.pass(time.Second)
	w.want("when it is done", 1, leaseC)
}

// TestFileThatNeverIsQuiet: new leases are seen within patience, and nobody loses one.
func TestFileThatNeverIsQuiet(t *testing.T) {
	t.Parallel()
	w := watch(t, Dnsmasq)
	w.write(lineA + lineB)
	w.pass(time.Second)
	w.sets = nil
	for i := range 40 {
		w.write("# " + strings.Repeat("x", i) + "\n" + []string{lineC, lineC + lineB, ""}[i%3])
		w.look(w.now)
		w.now = w.now.Add(settle)
	}
	w.want("while it is always written", 1, leaseC, leaseB)
	w.write(lineC)
	w.pass(time.Second)
	w.want("when it is quiet at last", 1, leaseC)
}

func TestLeasesEndAtTheirTime(t *testing.T) {
	t.Parallel()
	w := watch(t, Dnsmasq)
	w.write(lineA2 + lineB + "0 02:00:5e:00:53:0d 10.9.0.4 * *\n")
	w.pass(time.Second)
	w.want("at first", 1, leaseA, leaseB, "10.9.0.4 02:00:5e:00:53:0d")
	w.now = time.Unix(1795301337, 0)
	w.pass(2 * time.Second)
	w.want("B has ended", 1, leaseA, "10.9.0.4 02:00:5e:00:53:0d")
	w.now = w.now.Add(-time.Hour)
	w.pass(time.Second)
	w.want("the clock is set back", 1, leaseA, leaseB, "10.9.0.4 02:00:5e:00:53:0d")
	w.now = w.now.Add(10 * 366 * 24 * time.Hour)
	w.pass(time.Second)
	w.want("ten years later", 1, "10.9.0.4 02:00:5e:00:53:0d")
	w.now = time.Unix(60, 0)
	w.pass(time.Second)
	w.want("in 1970", 1, leaseA, leaseB, "10.9.0.4 02:00:5e:00:53:0d")
}

// TestFileThatGoesAway: the last set stays, the status says so, and leases still end.
func TestFileThatGoesAway(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		why, problem string
		harm         func(w *watched)
	}{
		{"removed", "there is no such file; the leases known before are kept until they end", func(w *watched) { w.remove("") }},
		{"emptied", "has no lease any more; the leases known before", func(w *watched) { w.write("") }},
		{"nothing but a comment", "has no lease any more", func(w *watched) { w.write("duid 00:01:02:03\n") }},
		{"a directory in its place", "is not a plain file", func(w *watched) {
			w.remove("")
			if err := os.Mkdir(w.path, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"far too large", "at most 1073741824 are read", func(w *watched) {
			if err := os.Truncate(w.path, MaxSize+1); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		w := watch(t, Dnsmasq)
		w.write(lineA2 + lineB)
		w.pass(time.Second)
		w.want(row.why, 1, leaseA, leaseB)
		row.harm(w)
		w.pass(10 * time.Second)
		w.want(row.why, 0)
		w.problem(row.why, row.problem)
		if n := strings.Count(w.log.String(), "\n"); n != 1 || !strings.Contains(w.log.String(), "level=WARN") {
			t.Errorf("%s: %d lines logged: %s", row.why, n, w.log.String())
		}
		w.now = time.Unix(1795301400, 0)
		w.pass(time.Second)
		w.want(row.why+", B ends", 1, leaseA)
		w.now = noon
		w.pass(time.Second)
		w.want(row.why+", the clock is set back", 1, leaseA, leaseB)
		_ = os.RemoveAll(w.path)
		w.write(lineC)
		w.pass(time.Second)
		w.want(row.why+", and comes back", 1, leaseC)
		w.problem(row.why+", and comes back", "")
	}
}

// TestFileWhoseLeasesHaveAllEnded is no file that lost them.
func TestFileWhoseLeasesHaveAllEnded(t *testing.T) {
	t.Parallel()
	w := watch(t, Dnsmasq)
	w.write(lineA + lineB)
	w.pass(time.Second)
	w.want("at first", 1, leaseA, leaseB)
	w.write("1795299999 02:00:5e:00:53:0a 10.9.0.1 * *\n")
	w.pass(time.Second)
	w.want("ended", 1)
	w.problem("ended", "")
}

func TestLastLineWaitsForItsEnd(t *testing.T) {
	t.Parallel()
	w := watch(t, KeaCSV)
	w.write(keaHeader4 + keaA + keaB[:40])
	w.look(w.now)
	w.want("half a line", 1, leaseA)
	w.problem("it may be being written", "")
	w.pass(time.Second)
	w.problem("nobody writes it", ":3: the last line has no end and is not read")
	w.append(keaB[40:])
	w.pass(time.Second)
	w.want("whole", 1, leaseA, leaseB)
	w.problem("whole", "")
}

const (
	keaA    = "10.9.0.1,02:00:5e:00:53:0a,,600,1795301338,1,0,0,,0,\n"
	keaA2   = "10.9.0.1,02:00:5e:00:53:0a,,600,1795301938,1,0,0,,0,\n"
	keaB    = "10.9.0.2,02:00:5e:00:53:0b,,600,1795301338,1,0,0,,0,\n"
	keaC    = "10.9.0.1,02:00:5e:00:53:0c,,600,1795301338,1,0,0,,0,\n"
	keaNoB  = "10.9.0.2,02:00:5e:00:53:0b,,0,1795300738,1,0,0,,0,\n"
	keaBad  = "10.9.0.2,02:00:5e:00:53:0b\n"
	keaBad2 = "what\n"
)

func TestKeaIsFollowed(t *testing.T) {
	t.Parallel()
	w := watch(t, KeaCSV)
	w.write(keaHeader4)
	w.pass(time.Second)
	w.want("a server that begins", 1)
	w.append(keaA)
	w.pass(500 * time.Millisecond)
	w.want("the first lease", 1, leaseA)
	w.append(keaB + keaBad)
	w.pass(500 * time.Millisecond)
	w.want("a second one", 1, leaseA, leaseB)
	w.append(keaA2 + keaBad2)
	w.pass(time.Second)
	w.want("a renewal is no change", 0)
	if s := w.Status(); s.BadLines != 2 || s.FirstBad != w.path+":4: has 2 fields, the header 11" || s.Leases != 2 {
		t.Errorf("%+v", s)
	}
	w.append(keaC + keaNoB)
	w.pass(500 * time.Millisecond)
	w.want("another holder, and a release", 1, leaseC)
	read := w.sources[0].offset
	if info, err := os.Stat(w.path); err != nil || info.Size() != read || w.sources[0].lines != 8 {
		t.Errorf("read %d bytes, %d lines of %v", read, w.sources[0].lines, info.Size())
	}
}

// TestKeaCleanup goes through the steps of a cleanup, a look after each: at no step does anybody lose or get a lease.
func TestKeaCleanup(t *testing.T) {
	t.Parallel()
	w := watch(t, KeaCSV)
	w.into(".2", keaHeader4+keaA)
	w.write(keaHeader4 + keaB + keaNoB + keaB)
	w.pass(time.Second)
	w.want("from two files", 1, leaseA, leaseB)
	step := func(why string) {
		t.Helper()
		w.look(w.now)
		w.want(why, 0)
		w.problem(why, "")
		w.now = w.now.Add(every)
	}
	w.rename("", ".1")
	step("the server renames its file")
	w.write(keaHeader4)
	step("and begins a new one")
	w.into(".output", keaHeader4)
	step("kea-lfc begins")
	w.into(".output", keaHeader4+keaA+keaB)
	step("kea-lfc has written")
	w.rename(".output", ".completed")
	step("and is complete")
	w.remove(".2")
	step("the old one goes")
	w.append(keaC)
	w.look(w.now)
	w.want("a new lease meanwhile", 1, leaseC, leaseB)
	w.rename(".completed", ".2")
	step("the new one takes its place")
	w.remove(".1")
	step("and the input goes")
	w.append(keaNoB)
	w.look(w.now)
	w.want("a release behind it", 1, leaseC)
}

func TestKeaFileOfAnotherBeginning(t *testing.T) {
	t.Parallel()
	w := watch(t, KeaCSV)
	w.write(keaHeader4 + keaA)
	w.pass(time.Second)
	w.want("at first", 1, leaseA)
	w.write(keaHeader4 + keaC + keaB)
	w.pass(time.Second)
	w.want("written anew, longer", 1, leaseC, leaseB)
	w.write(keaHeader4)
	w.pass(time.Second)
	w.want("emptied", 0)
	w.problem("emptied", "has no lease any more")
	w.append(keaA)
	w.pass(time.Second)
	w.want("the first lease after it", 1, leaseA)
	w.problem("the first lease after it", "")
}

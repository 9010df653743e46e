package share

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 21, 23, 50, 0, 0, time.UTC)

const year = 400 * 24 * time.Hour

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string, retention time.Duration, now time.Time) *Series {
	t.Helper()
	s, aside, err := Open(dir, retention, now)
	check(t, err)
	if len(aside) > 0 {
		t.Fatalf("set aside: %v", aside)
	}
	return s
}

// points are all of a step, over as many pages as there are.
func points(t *testing.T, s *Series, step Step, from, to, now time.Time) (all []Point) {
	t.Helper()
	for {
		some, more, err := s.Points(step, from, to, 7, now)
		check(t, err)
		all = append(all, some...)
		if more.IsZero() {
			return all
		}
		from = more
	}
}

func total(points []Point) (c Count) {
	for _, p := range points {
		c.add(p.Count)
	}
	return c
}

// Three days of random sessions, with restarts, crashes and flushes in between: minutes, hours and days add up to what was
// added, at every moment, and the same as a plain count says.
func TestMinutesHoursAndDaysAddUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	now := start
	s := open(t, dir, year, now)
	var all Count
	hours := map[int64]Count{}
	for step := range 20_000 {
		now = now.Add(time.Duration(r.IntN(25_000)) * time.Millisecond)
		var one Count
		k := Kind(r.IntN(int(kinds)))
		one.Sessions[k], one.Bytes[k] = 1, uint64(r.IntN(1e6))
		s.Add(k, int64(one.Bytes[k]), now)
		all.add(one)
		h := hours[Hour.begin(now)]
		h.add(one)
		hours[Hour.begin(now)] = h
		switch r.IntN(1000) {
		case 0: // a restart in the middle of a minute
			check(t, s.Close())
			s = open(t, dir, year, now)
		case 1, 2, 3, 4, 5:
			check(t, s.Flush(now))
		}
		if step%4000 != 3999 {
			continue
		}
		for step := range steps {
			if got := total(points(t, s, step, start.Add(-time.Hour), now.Add(time.Hour), now)); got != all {
				t.Fatalf("%v: %+v, added were %+v", step, got, all)
			}
		}
	}
	for _, p := range points(t, s, Hour, start.Add(-time.Hour), now.Add(time.Hour), now) {
		if p.Count != hours[p.Start.Unix()] {
			t.Errorf("%v: %+v, added were %+v", p.Start, p.Count, hours[p.Start.Unix()])
		}
		delete(hours, p.Start.Unix())
	}
	if len(hours) > 0 {
		t.Errorf("%d hours are not there", len(hours))
	}
	check(t, s.Close())
}

func TestACrashCostsAMinute(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, year, start)
	for i := range 10 {
		s.Add(StartTLS, 10, start.Add(time.Duration(i)*time.Minute))
		check(t, s.Flush(start.Add(time.Duration(i)*time.Minute)))
	}
	now := start.Add(9 * time.Minute)
	for step := range steps { // nothing was closed
		if got := total(points(t, open(t, dir, year, now), step, start.Add(-time.Hour), now.Add(time.Minute), now)); got.Sessions[StartTLS] != 9 {
			t.Errorf("%v: %d sessions after a crash", step, got.Sessions[StartTLS])
		}
	}
	// What a power cut left of the hour and the day is less than what the minutes say.
	f, err := os.OpenFile(filepath.Join(dir, files[Hour]), os.O_RDWR, 0)
	check(t, err)
	check(t, f.Truncate(place))
	check(t, f.Close())
	s = open(t, dir, year, now)
	if got := total(points(t, s, Hour, start.Add(-time.Hour), now.Add(time.Minute), now)); got.Sessions[StartTLS] != 9 {
		t.Errorf("the hour that runs has %d sessions", got.Sessions[StartTLS])
	}
}

func TestAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, year, time.Unix(0, 0))
	add := func(n int, from time.Time) {
		for i := range n {
			s.Add(Clear, 1, from.Add(time.Duration(i)*time.Minute))
			check(t, s.Flush(from.Add(time.Duration(i)*time.Minute)))
		}
	}
	now := start.Add(2 * 24 * time.Hour)
	add(2*24*60, start)                                          // two days
	add(60, time.Unix(0, 0))                                     // an hour in 1970
	add(60, time.Date(2036, 1, 2, 3, 0, 0, 0, time.UTC))         // and one in 2036
	add(30, start.Add(24*time.Hour))                             // set back by a day: those minutes have two
	s.Add(Clear, 1, time.Date(1901, 1, 1, 0, 0, 0, 0, time.UTC)) // before 1970
	check(t, s.Close())
	s = open(t, dir, year, now)
	got := total(points(t, s, Minute, start, now, now)).Sessions[Clear]
	if lost := 2*24*60 + 30 - int(got); lost < 0 || lost > 121 { // those whose places the wrong minutes took
		t.Errorf("%d minutes were lost", lost)
	}
	p := points(t, s, Minute, start.Add(24*time.Hour+10*time.Minute), start.Add(24*time.Hour+11*time.Minute), now)
	if len(p) != 1 || p[0].Sessions[Clear] != 2 {
		t.Errorf("a minute that came twice: %+v", p)
	}
	if got := points(t, s, Day, time.Unix(0, 0), now, time.Unix(86400, 0)); len(got) != 1 || got[0].Sessions[Clear] != 60 {
		t.Errorf("while the clock says 1970: %+v", got)
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 10*24*time.Hour, start)
	for d := range 12 {
		now := start.AddDate(0, 0, d)
		s.Add(Implicit, 1, now)
		check(t, s.Flush(now.Add(time.Minute)))
	}
	now := start.AddDate(0, 0, 11)
	count := func(step Step) int { return len(points(t, s, step, time.Time{}, now.Add(time.Hour), now)) }
	if n := count(Hour); n != 11 {
		t.Errorf("%d of twelve days after ten days of retention", n)
	}
	check(t, s.Use(3*24*time.Hour, now))
	if n := count(Minute); n != 4 {
		t.Errorf("%d days when the retention became three days", n)
	}
	check(t, s.Use(year, now))
	if n := count(Minute); n != 4 {
		t.Errorf("%d days when it became longer again", n)
	}
	check(t, s.Close())
	for step, places := range map[Step]int64{Minute: 400*1440 + 1, Hour: 400*24 + 1, Day: 401} {
		if got := placesFor(step, year); got != places {
			t.Errorf("%d places, want %d", got, places)
		}
		if info, err := os.Stat(filepath.Join(dir, files[step])); err != nil || info.Size() > place*(places+1) {
			t.Errorf("%v: %d bytes, %v", step, info.Size(), err)
		}
	}
	if got := placesFor(Minute, 3660*24*time.Hour); got != maxPlaces {
		t.Errorf("ten years of minutes are %d", got)
	}
}

// What is damaged is left out, and a file that is none of ours set aside; the rest goes on.
func TestDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, year, start)
	for i := range 20 {
		s.Add(Clear, 1, start.Add(time.Duration(i)*time.Minute))
	}
	check(t, s.Close())
	path := filepath.Join(dir, files[Minute])
	b, err := os.ReadFile(path)
	check(t, err)
	last := len(b) - 1
	b[last] ^= 1
	check(t, os.WriteFile(path, b, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, files[Day]), []byte("not a series"), 0o600))
	s, aside, err := Open(dir, year, start)
	check(t, err)
	if !slices.Equal(aside, []string{filepath.Join(dir, files[Day]+".damaged")}) {
		t.Errorf("set aside: %v", aside)
	}
	now := start.Add(time.Hour)
	if got := total(points(t, s, Minute, start, now, now)).Sessions[Clear]; got != 19 {
		t.Errorf("%d minutes, with one damaged", got)
	}
	check(t, s.Close())
}

// A disk that takes nothing costs no session for a day, and none is written twice.
func TestADiskThatDoesNotWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, year, start)
	good := s.rings[Hour].f
	bad, err := os.Open(filepath.Join(dir, files[Hour])) // for reading only
	check(t, err)
	s.rings[Hour].f = bad
	for i := range maxPending + 5 {
		s.Add(Clear, 1, start.Add(time.Duration(i)*time.Minute))
	}
	now := start.Add(maxPending * time.Minute)
	for range 3 {
		if s.Flush(now) == nil {
			t.Fatal("written to a file that cannot be written")
		}
	}
	s.rings[Hour].f = good
	check(t, bad.Close())
	check(t, s.Close())
	s = open(t, dir, year, now)
	for step := range steps {
		if got := total(points(t, s, step, start.Add(-time.Hour), now, now)).Sessions[Clear]; got != maxPending {
			t.Errorf("%v: %d sessions, want %d", step, got, maxPending)
		}
	}
}

// What a failed write gives back is added to what came to the same minute meanwhile.
func TestWhatComesDuringAFailedWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, year, start)
	good := s.rings[Day].f
	bad, err := os.Open(filepath.Join(dir, files[Day])) // for reading only
	check(t, err)
	s.rings[Day].f = bad
	taken := Count{}
	taken.Sessions[Clear], taken.Bytes[Clear] = 3, 30
	s.Add(Clear, 10, start) // since Flush took it out
	if s.write(Minute.begin(start), taken) == nil {
		t.Fatal("written to a file that cannot be written")
	}
	s.rings[Day].f = good
	check(t, bad.Close())
	check(t, s.Close())
	now := start.Add(time.Minute)
	s = open(t, dir, year, now)
	defer s.Close()
	for step := range steps {
		if got := total(points(t, s, step, start.Add(-time.Hour), now, now)); got.Sessions[Clear] != 4 || got.Bytes[Clear] != 40 {
			t.Errorf("%v: %+v, want four sessions of ten bytes", step, got)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	s, _, err := Open(b.TempDir(), year, start)
	if err != nil {
		b.Fatal(err)
	}
	now := start
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(100 * time.Microsecond)
		s.Add(StartTLS, 1000, now)
	}
}

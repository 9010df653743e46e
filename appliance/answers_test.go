package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A what-if says what it does, and how much of the journal it has decided again, up to all of it.
func TestAWhatIfTellsHowFarItIs(t *testing.T) {
	t.Parallel()
	d := newTrying(t)
	for range 20 {
		d.sends("100.64.0.1", 40)
		d.journaled() // frames
	}
	s := &source{a: d.Appliance}
	var all []webadmin.WhatIfProgress
	q := webadmin.WhatIfQuestion{Config: []byte(fmt.Sprintf(ladderPlans, 5)), Days: 7, Who: "me", Progress: func(p webadmin.WhatIfProgress) { all = append(all, p) }}
	if _, err := s.WhatIf(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	var doing []string
	for _, p := range all {
		doing = append(doing, p.Doing)
	}
	if got := strings.Join(slices.Compact(doing), " "); got != "list journal report" {
		t.Errorf("it does %q", got)
	}
	last := all[len(all)-1]
	if last.Of < 1000 || last.Read != last.Of || last.At.IsZero() || last.At.After(last.To.Time) || last.To.Sub(last.From.Time) < 10*time.Minute {
		t.Errorf("at its end %+v", last)
	}

	// In the program itself each frame is told.
	all = nil
	d.whatIf(WhatIfOptions{ConfigFile: filepath.Join(d.dir, "mailweir.yaml"), Progress: func(p webadmin.WhatIfProgress) { all = append(all, p) }})
	frames := 0
	for i, p := range all {
		if p.Doing == webadmin.DoingJournal {
			frames++
		}
		if i > 0 && (p.Read < all[i-1].Read || p.Of < p.Read || p.At.Before(all[i-1].At.Time)) {
			t.Errorf("%+v behind %+v", p, all[i-1])
		}
	}
	if frames < 20 {
		t.Errorf("%d frames were told", frames)
	}
}

// probed is a box whose what-ifs are run by a script.
func probed(t *testing.T, script string) (d *deaf, s *source) {
	t.Helper()
	d = newDeaf(t, fmt.Sprintf(ladderPlans, 20), homeList)
	d.opt.Executable = filepath.Join(d.dir, "probe")
	if err := os.WriteFile(d.opt.Executable, []byte("#!/bin/sh\ncd "+d.dir+"\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return d, &source{a: d.Appliance}
}

func typing(limit int) webadmin.WhatIfQuestion {
	return webadmin.WhatIfQuestion{Config: []byte(fmt.Sprintf(ladderPlans, limit)), Days: 7, Who: "anna 192.0.2.7", Typed: true}
}

// What somebody types once more is not tried once more, unless something else is in force, or some minutes have passed; and that they try is on record once in a while.
func TestWhatIsTypedOnceMoreIsNotTriedOnceMore(t *testing.T) {
	t.Parallel()
	d, s := probed(t, `echo >> runs; echo '{"n": '$(wc -l < runs)'}'`)
	try := func(why string, q webadmin.WhatIfQuestion, want int) {
		t.Helper()
		answer, err := s.WhatIf(t.Context(), q)
		if err != nil || string(answer) != fmt.Sprintf(`{"n": %d}`, want) {
			t.Errorf("%s: %s, want run %d: %v", why, answer, want, err)
		}
	}
	try("typed", typing(5), 1)
	try("something else", typing(50), 2)
	try("and back", typing(5), 1)
	asked := typing(5)
	asked.Typed = false
	try("asked for", asked, 3)
	try("typed since", typing(5), 3)
	d.write("mailweir.yaml", strings.ReplaceAll(fmt.Sprintf(ladderPlans, 20), "limit: 30", "limit: 31"))
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	try("something else is in force", typing(5), 4)
	d.write("subscribers.csv", homeList+"third,small,100.64.0.3\n")
	d.looks()
	try("another list", typing(5), 5)
	d.pass(triedKept)
	try("minutes later", typing(5), 6)
	if got := strings.Count(strings.Join(d.told("AUDIT"), "\n"), "what_if"); got != 2 { // as one types, and what was asked for
		t.Errorf("%d on record: %q", got, d.told("AUDIT"))
	}
	d.pass(typedAudits)
	try("much later", typing(5), 7)
	if got := strings.Count(strings.Join(d.told("AUDIT"), "\n"), "what_if"); got != 3 {
		t.Errorf("%d on record later", got)
	}
}

// What nobody waits for any more is killed before WhatIf returns, and the next in the line has its turn then.
func TestAnOutdatedWhatIfIsKilledAndTheNextHasItsTurn(t *testing.T) {
	t.Parallel()
	_, s := probed(t, `[ -e second ] && exec echo '{"n": 2}'; echo $$ > pid.new; mv pid.new pid; exec sleep 600`)
	dir := filepath.Dir(s.a.opt.Executable)
	first, outdated := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := s.WhatIf(first, typing(5))
		ended <- err
	}()
	pid := 0
	for pid == 0 {
		text, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	second := typing(50)
	second.Who = "olga 192.0.2.2"
	waits := make(chan webadmin.Busy, 100)
	second.Waits = func(b webadmin.Busy) { waits <- b }
	answers := make(chan json.RawMessage, 1)
	go func() {
		answer, err := s.WhatIf(t.Context(), second)
		if err != nil {
			t.Error(err)
		}
		answers <- answer
	}()
	if b := <-waits; b.Who != "anna 192.0.2.7" {
		t.Errorf("it waits for %+v", b)
	}
	if err := os.WriteFile(filepath.Join(dir, "second"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	outdated()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}
	if answer := <-answers; string(answer) != `{"n": 2}` {
		t.Errorf("%s", answer)
	}
}

// Turns come in the order of who asked, and who leaves the line, or is given the turn while leaving, keeps nobody from theirs.
func TestTurnsComeInTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var line turns
		var got []string
		if err := line.take(t.Context(), "a", time.Now, nil); err != nil {
			t.Fatal(err)
		}
		if err := line.take(t.Context(), "b", time.Now, nil); !errors.Is(err, webadmin.ErrBusy) {
			t.Errorf("%v", err)
		}
		gone, leave := context.WithCancel(t.Context())
		told := map[string][]string{}
		var mu sync.Mutex
		say := func(who string) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, who)
		}
		for _, who := range []string{"c", "d", "e"} {
			ctx := t.Context()
			if who == "d" {
				ctx = gone
			}
			go func() {
				if err := line.take(ctx, who, time.Now, func(b webadmin.Busy) {
					mu.Lock()
					defer mu.Unlock()
					told[who] = append(told[who], b.Who)
				}); err != nil {
					say(who + " left")
					return
				}
				say(who)
				time.Sleep(3 * time.Second)
				line.end()
			}()
			synctest.Wait()
		}
		time.Sleep(1500 * time.Millisecond)
		leave()
		synctest.Wait()
		line.end()
		time.Sleep(time.Minute)
		if text := strings.Join(got, ", "); text != "d left, c, e" {
			t.Errorf("%s", text)
		}
		if text := strings.Join(slices.Compact(told["e"]), " "); text != "a c" {
			t.Errorf("e was told of %s", text)
		}
		if err := line.take(t.Context(), "f", time.Now, nil); err != nil {
			t.Error(err)
		}
	})
}

package boot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mailweir/mailweir/appliance/panel"
)

func TestWhatTheFrontShows(t *testing.T) {
	standstill := filepath.Join(t.TempDir(), "standstill")
	p := &front{say: func(string, ...any) {}}
	ready, err := false, errors.New("nobody answers")
	ask := func(context.Context) (seen, error) { return seen{Ready: ready}, err }
	is := func(why string, want panel.State) {
		t.Helper()
		if got := p.state(t.Context(), standstill, ask); got != want {
			t.Errorf("%s: %v, want %v", why, got, want)
		}
	}
	is("nobody governs yet", panel.Starting)
	err = nil
	is("who governs is not ready", panel.Starting)
	ready = true
	is("governing", panel.Governing)
	if err := os.WriteFile(standstill, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	is("safe mode or bypass", panel.Unjudged)
	p.do(panel.Hold)
	is("the button is held", panel.Held)
	p.do(panel.LetGo)
	is("and let go of", panel.Unjudged)
}

func TestWhatButtonsOrder(t *testing.T) {
	var done []string
	failed := errors.New("there is no data partition")
	p := &front{order: func(what string) error { done = append(done, what); return nil }, erase: func() error { done = append(done, "all"); return failed }}
	said := 0
	p.say = func(_ string, args ...any) {
		if len(args) > 0 && args[0] == failed {
			said++
		}
	}
	for _, w := range []panel.Wish{panel.PowerOff, panel.Restart, panel.Hold, panel.LetGo, panel.Hold, panel.Erase} {
		p.do(w)
	}
	if !slices.Equal(done, []string{orderPowerOff, orderRestart, "all"}) || said != 1 {
		t.Errorf("%q, and %d errors were told", done, said)
	}
}

// Package panel is the front of a board, as the kernel shows it: the LED that tells how the box is, and the buttons for power and reset. A board that has
// none of them is none the worse.
package panel

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// State is what the LED tells.
type State int

const (
	Starting  State = iota // blinks four times a second
	Governing              // is on
	Unjudged               // is on for a moment every two seconds: mail passes and nobody looks, in safe mode or in bypass
	Held                   // flickers: whoever goes on holding the reset button erases everything
)

// blink is for how long an LED is on and then off; neither: it is on.
var blink = map[State][2]time.Duration{
	Starting: {125 * time.Millisecond, 125 * time.Millisecond},
	Unjudged: {200 * time.Millisecond, 1800 * time.Millisecond},
	Held:     {50 * time.Millisecond, 50 * time.Millisecond},
}

// LED is one of a board (Documentation/leds/leds-class.rst).
type LED struct {
	dir string

	mu    sync.Mutex
	shows State
	known bool
}

// functions are those that stand for the box, the best one first: the last part of an LED's name, DEVICE:COLOR:FUNCTION. Boards that only number theirs
// have the one that is on from power-on as number 1 (APU).
var functions = []string{"status", "power", "1", "led1"}

// FindLED looks for it in a directory as /sys/class/leds is; nil: the board has none.
func FindLED(dir string) *LED {
	best, found := len(functions), ""
	entries, _ := os.ReadDir(dir) // without the directory there are none
	for _, e := range entries {
		name := e.Name()
		if n := slices.Index(functions, name[strings.LastIndexByte(name, ':')+1:]); n >= 0 && n < best {
			best, found = n, name
		}
	}
	if found == "" {
		return nil
	}
	return &LED{dir: filepath.Join(dir, found)}
}

// Show has it tell s. The kernel does the blinking, so that it goes on if we do not.
func (l *LED) Show(s State) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known && l.shows == s {
		return nil
	}
	set := func(name, value string) error { return os.WriteFile(filepath.Join(l.dir, name), []byte(value), 0) }
	times, blinks := blink[s]
	if !blinks {
		brightest, err := os.ReadFile(filepath.Join(l.dir, "max_brightness"))
		if err != nil {
			return err
		}
		if err := set("trigger", "none"); err != nil {
			return err
		}
		if err := set("brightness", strings.TrimSpace(string(brightest))); err != nil {
			return err
		}
	} else {
		if err := set("trigger", "timer"); err != nil { // the two files come with it
			return err
		}
		for n, file := range []string{"delay_on", "delay_off"} {
			if err := set(file, strconv.FormatInt(times[n].Milliseconds(), 10)); err != nil {
				return err
			}
		}
	}
	l.shows, l.known = s, true
	return nil
}

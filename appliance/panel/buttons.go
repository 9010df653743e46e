package panel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of linux/input-event-codes.h.
const (
	typeKey    = 1     // EV_KEY
	keyPower   = 116   // KEY_POWER
	keyRestart = 0x198 // KEY_RESTART, which is what reset buttons are
)

// What the reset button does depends on how long it is held: shortly restarts the box, long erases everything. Who lets go in between has thought better of it.
const (
	shortly = 2 * time.Second
	long    = 10 * time.Second
)

// Wish is what somebody at a button wants.
type Wish int

const (
	PowerOff Wish = iota
	Restart
	Erase // all data
	Hold  // held beyond what restarts the box: let go now and nothing happens
	LetGo // let go in time
)

// Buttons are those of all devices that have one.
type Buttons struct {
	Sys, Dev string // /sys, /dev
	Do       func(Wish)
	Failed   func(error) // of a device that cannot be read

	mu   sync.Mutex
	open map[string]bool
}

// Run reads them until ctx ends. Devices that come later are found within some seconds.
func (b *Buttons) Run(ctx context.Context) {
	b.open = map[string]bool{}
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	for {
		for _, name := range devices(filepath.Join(b.Sys, "class/input")) {
			b.begin(ctx, name)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// begin reads a device, unless that is done already.
func (b *Buttons) begin(ctx context.Context, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open[name] {
		return
	}
	b.open[name] = true
	go func() {
		err := b.read(ctx, name)
		b.mu.Lock()
		defer b.mu.Unlock()
		if err == nil || errors.Is(err, unix.ENODEV) { // it was pulled out, and may come back
			delete(b.open, name)
			return
		}
		b.Failed(fmt.Errorf("button %s: %w", name, err))
	}()
}

func (b *Buttons) read(ctx context.Context, name string) error {
	f, err := os.Open(filepath.Join(b.Dev, "input", name))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { f.Close() })()
	defer f.Close()
	if err := presses(f, b.Do); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// presses reads events (struct input_event of linux/input.h) and says what is wanted, until there are no more.
func presses(r io.Reader, do func(Wish)) error {
	const timeval = int(unsafe.Sizeof(unix.Timeval{}))
	var event [timeval + 8]byte
	var down time.Time // zero: it is not held
	var timers []*time.Timer
	up := func() {
		for _, t := range timers {
			t.Stop()
		}
		down, timers = time.Time{}, nil
	}
	defer up()
	for {
		if _, err := io.ReadFull(r, event[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		e := event[timeval:]
		code, value := binary.NativeEndian.Uint16(e[2:]), binary.NativeEndian.Uint32(e[4:]) // of a key that is held on the value is 2
		switch {
		case binary.NativeEndian.Uint16(e) != typeKey:
		case code == keyPower && value == 1:
			do(PowerOff)
		case code == keyRestart && value == 1 && down.IsZero():
			down = time.Now()
			timers = []*time.Timer{time.AfterFunc(shortly, func() { do(Hold) }), time.AfterFunc(long, func() { do(Erase) })}
		case code == keyRestart && value == 0 && !down.IsZero():
			held := time.Since(down)
			up()
			switch {
			case held < shortly:
				do(Restart)
			case held < long:
				do(LetGo)
			}
		}
	}
}

// devices are those that have a button of ours, of a directory as /sys/class/input is.
func devices(dir string) (names []string) {
	all, _ := filepath.Glob(filepath.Join(dir, "event*", "device/capabilities/key")) // the pattern is right
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err == nil && (has(string(text), keyPower) || has(string(text), keyRestart)) {
			names = append(names, filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(file)))))
		}
	}
	return names
}

// has tells whether a bitmap of the kernel's has a bit: words in hexadecimal, each of a long's size, the highest first.
func has(bitmap string, bit int) bool {
	words := strings.Fields(bitmap)
	slices.Reverse(words)
	if bit/bits.UintSize >= len(words) {
		return false
	}
	word, err := strconv.ParseUint(words[bit/bits.UintSize], 16, bits.UintSize)
	return err == nil && word>>(bit%bits.UintSize)&1 == 1
}

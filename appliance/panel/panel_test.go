package panel

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// event is one as the kernel writes it.
func event(kind, code uint16, value uint32) []byte {
	b := make([]byte, unsafe.Sizeof(unix.Timeval{}))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, code)
	return binary.NativeEndian.AppendUint32(b, value)
}

func TestWhatAButtonDoesDependsOnHowLongItIsHeld(t *testing.T) {
	type press struct {
		code uint16
		held time.Duration
	}
	for _, row := range []struct {
		why  string
		each []press
		want []Wish
	}{
		{"the power button", []press{{keyPower, time.Second}}, []Wish{PowerOff}},
		{"reset, shortly", []press{{keyRestart, shortly - time.Millisecond}}, []Wish{Restart}},
		{"reset, thought better of it", []press{{keyRestart, long - time.Millisecond}}, []Wish{Hold, LetGo}},
		{"reset, long", []press{{keyRestart, long + time.Second}}, []Wish{Hold, Erase}},
		{"not added up", []press{{keyRestart, 6 * time.Second}, {keyRestart, 6 * time.Second}}, []Wish{Hold, LetGo, Hold, LetGo}},
		{"another key", []press{{30, time.Minute}}, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, w := io.Pipe()
			var got []Wish
			done := make(chan error)
			go func() { done <- presses(r, func(w Wish) { got = append(got, w) }) }()
			for _, p := range row.each {
				w.Write(event(typeKey, p.code, 1))
				w.Write(event(0, 0, 0)) // EV_SYN
				for left := p.held; left > 0; left -= time.Second {
					time.Sleep(min(left, time.Second))
					w.Write(event(typeKey, p.code, 2)) // it is held on
				}
				w.Write(event(typeKey, p.code, 0))
				synctest.Wait()
				time.Sleep(time.Minute)
			}
			w.Close()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("%s: %v, want %v", row.why, got, row.want)
			}
		})
	}
}

// A button that is pulled out while it is held, or that was held before anybody looked, erases nothing.
func TestHalfAPressIsNone(t *testing.T) {
	for _, half := range [][]byte{event(typeKey, keyRestart, 1), event(typeKey, keyRestart, 0), event(typeKey, keyRestart, 2)} {
		synctest.Test(t, func(t *testing.T) {
			var got []Wish
			if err := presses(bytes.NewReader(half), func(w Wish) { got = append(got, w) }); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			if got != nil {
				t.Errorf("%v", got)
			}
		})
	}
	if err := presses(bytes.NewReader(event(typeKey, keyPower, 1)[:5]), func(Wish) { t.Error("half an event") }); err == nil {
		t.Error("half an event is no error")
	}
}

func TestDevicesThatHaveAButtonAreFound(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("these bitmaps are of machines with longs of 64 bits, as all that the image is for")
	}
	dir := t.TempDir()
	for name, bitmap := range map[string]string{
		"event0": "10000000000000 0",                                            // QEMU's ACPI power button
		"event1": "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe", // QEMU's AT keyboard: it has the key for power
		"event2": "1f0000 0 0 0 0",                                              // a mouse
		"event3": "1000000 0 0 0 0 0 0",                                         // a reset button of gpio-keys
		"mouse0": "10000000000000 0",
	} {
		at := filepath.Join(dir, name, "device/capabilities")
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, "key"), []byte(bitmap+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := devices(dir); !slices.Equal(got, []string{"event0", "event1", "event3"}) {
		t.Errorf("%v", got)
	}
	if got := devices(filepath.Join(dir, "none")); got != nil {
		t.Errorf("%v", got)
	}
}

func TestTheLEDOfTheBoxIsFoundAndTells(t *testing.T) {
	dir := t.TempDir()
	read := func(led, name string) string {
		b, err := os.ReadFile(filepath.Join(dir, led, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if l := FindLED(dir); l != nil {
		t.Errorf("%+v", l)
	}
	for _, row := range []struct{ add, want string }{
		{"input0::capslock", ""}, {"apu:green:2", ""}, {"apu:green:1", "apu:green:1"}, {"green:power", "green:power"}, {"board:blue:status", "board:blue:status"}, {"mmc0::", "board:blue:status"},
	} {
		if err := os.Mkdir(filepath.Join(dir, row.add), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"max_brightness": "255\n", "brightness": "0", "trigger": "[none] timer", "delay_on": "", "delay_off": ""} {
			if err := os.WriteFile(filepath.Join(dir, row.add, name), []byte(value), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		l := FindLED(dir)
		if row.want == "" {
			if l != nil {
				t.Errorf("with %s: %+v", row.add, l)
			}
			continue
		}
		if l == nil || filepath.Base(l.dir) != row.want {
			t.Fatalf("with %s: %+v, want %s", row.add, l, row.want)
		}
		if err := l.Show(Starting); err != nil || read(row.want, "trigger") != "timer" || read(row.want, "delay_on") != "125" || read(row.want, "delay_off") != "125" {
			t.Errorf("%s: %v, trigger %q", row.want, err, read(row.want, "trigger"))
		}
		if err := l.Show(Governing); err != nil || read(row.want, "trigger") != "none" || read(row.want, "brightness") != "255" {
			t.Errorf("%s: %v, brightness %q", row.want, err, read(row.want, "brightness"))
		}
	}
	if err := (&LED{dir: filepath.Join(dir, "gone")}).Show(Governing); err == nil {
		t.Error("an LED that is gone is no error")
	}
}

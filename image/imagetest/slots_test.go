//go:build qemu

package imagetest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	builder "github.com/mailweir/mailweir/image"
	"github.com/mailweir/mailweir/image/bundle"
	"github.com/mailweir/mailweir/image/layout"
)

var (
	program = flag.String("init", "", "the mailweir binary for amd64")
	faulty  = flag.String("faulty", "", "the same with the tag faulty")
	lock    = flag.String("lock", "", "image/packages.lock")
	cache   = flag.String("cache", "", "directory with the packages of the lock")
	cuts    = flag.Int("cuts", 20, "how often the power is cut while an update is written")
	seed    = flag.Uint64("seed", 0, "of the moments of the power cuts; 0: another one each time")
)

// works makes images and updates, with keys of its own.
type works struct {
	t      *testing.T
	o      builder.Options
	secret minisign.PrivateKey
}

func newWorks(t *testing.T) *works {
	t.Helper()
	if *program == "" || *faulty == "" || *lock == "" {
		t.Fatal("-args -init FILE -faulty FILE -lock FILE are needed; make image-test does it")
	}
	text, err := os.ReadFile(*lock)
	if err != nil {
		t.Fatal(err)
	}
	l, err := builder.ParseLock(*lock, text)
	if err != nil {
		t.Fatal(err)
	}
	dir := *cache
	if dir == "" {
		if dir, err = os.UserCacheDir(); err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(dir, "mailweir-image")
	}
	public, secret, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	spare, _, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &works{t, builder.Options{Board: builder.Boards["amd64"], Lock: l, Cache: &builder.Cache{Dir: dir, Mirror: builder.Mirror},
		Init: *program, Built: time.Now(), Keys: []string{spare.String(), public.String()}}, secret}
}

// update makes one with this version, build number and binary.
func (w *works) update(version string, build int64, init string) string {
	w.t.Helper()
	o := w.o
	o.Version, o.Build, o.Init, o.Secret = version, build, init, w.secret
	o.Update = filepath.Join(w.t.TempDir(), version+".mwu")
	if _, err := builder.Build(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
	return o.Update
}

// claim is an update of which only the manifest is to be looked at: its slot could not be started.
func (w *works) claim(about layout.About, secret minisign.PrivateKey) string {
	w.t.Helper()
	var b bytes.Buffer
	if err := bundle.Write(&b, about, bytes.Repeat([]byte("no slot "), 1<<16), secret); err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.t.TempDir(), "claim.mwu")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// changed is a copy of a file with something done to it.
func changed(t *testing.T, file string, do func([]byte) []byte) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "changed.mwu")
	if err := os.WriteFile(to, do(b), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// starts are those that the console has told of.
var starts = regexp.MustCompile(`mailweir (\S+) for amd64, slot ([ab])`)

// box is a machine whose operator was there, chose a password and the mode enforce: the settings that updates have to leave as they are.
type box struct {
	site     *site
	disk     *volatile
	monitor  *monitor
	machine  *machine
	operator *visitor
	login    url.Values
}

// newBox starts version v1, build 100.
func newBox(t *testing.T, w *works) *box {
	t.Helper()
	o := w.o
	o.Version, o.Build, o.Out = "v1", 100, filepath.Join(t.TempDir(), "v1.img")
	if _, err := builder.Build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	b := &box{site: newSite(t), disk: newVolatile(t, flash(t, o.Out)), monitor: newMonitor(t)}
	b.machine = b.site.governs(t, b.disk.drive(), "observe", b.monitor.usb()...)
	b.operator, b.login = b.site.firstVisit(t, b.machine)
	b.operator.mode(t, "enforce")
	b.machine.waitFor(t, 0, "governing, mode enforce")
	return b
}

// powerFails takes the power away and gives it back; what was not flushed may be lost. The box has to govern as the operator said, at its first start.
func (b *box) powerFails(t *testing.T, chance *rand.Rand) {
	t.Helper()
	b.machine.cut()
	b.disk.lose(t, chance)
	b.machine = b.site.governs(t, b.disk.drive(), "enforce", b.monitor.usb()...)
	if s := b.machine.said(); strings.Contains(s, "NOTHING IS KEPT") || strings.Contains(s, "setup code") || strings.Contains(s, "SAFE MODE") {
		t.Errorf("the box is not as it was; the console said:\n%s", s)
	}
	b.operator.comes(t, b.login)
}

// runs is the version and the slot of the last start, as the console told them since from, and how many starts there were.
func (b *box) runs(from int) (version, slot string, n int) {
	all := starts.FindAllStringSubmatch(b.machine.said()[from:], -1)
	if len(all) == 0 {
		return "", "", 0
	}
	last := all[len(all)-1]
	return last[1], last[2], len(all)
}

// TestUpdates has one box live through updates of all kinds: what is refused, what fails on trial in four ways, and a good one.
func TestUpdates(t *testing.T) {
	w := newWorks(t)
	good := w.update("v2", 200, *program)
	b := newBox(t, w)

	t.Run("refused", func(t *testing.T) {
		running, idle := b.disk.sum(t, layout.SlotA), b.disk.sum(t, layout.SlotB)
		_, stranger, err := minisign.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		about := func(board string, build int64) layout.About {
			return layout.About{Product: "mailweir", Board: board, Version: fmt.Sprintf("v%d", build), Build: build}
		}
		for _, row := range []struct{ why, file, want string }{
			{"a key that is not pinned", w.claim(about("amd64", 200), stranger), "not by a key that this image trusts"},
			{"another board", w.claim(about("arm64", 200), w.secret), "it is for the board arm64, this is amd64"},
			{"a lower build", w.claim(about("amd64", 99), w.secret), "its build 99 (v99) is older than build 100 (v1), which runs"},
			{"one byte changed", changed(t, good, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), "the signed manifest says"},
			{"cut short", changed(t, good, func(b []byte) []byte { return b[:len(b)/2] }), "cut short"},
		} {
			from := len(b.machine.said())
			pull := b.monitor.put(t, row.file)
			b.machine.waitFor(t, from, row.want)
			b.machine.waitFor(t, from, "nothing was written")
			pull()
			if _, _, n := b.runs(from); n > 0 {
				t.Fatalf("%s: the box was started again", row.why)
			}
			if got := b.disk.sum(t, layout.SlotA); got != running {
				t.Errorf("%s: the slot that runs has SHA-256 %s, and had %s", row.why, got, running)
			}
			if got := b.disk.sum(t, layout.SlotB); got != idle {
				t.Errorf("%s: the idle slot has SHA-256 %s, and had %s", row.why, got, idle)
			}
			b.operator.recorded(t, row.want)
		}
	})
	for n, row := range [][2]string{{"panic", "slot b was started"}, {"hang", "slot b was started"}, {"reboot", "slot b was started"}, {"mute", "governing: "}} {
		kind, why := row[0], row[1]
		t.Run(kind, func(t *testing.T) {
			begun := time.Now()
			running := b.disk.sum(t, layout.SlotA)
			from := len(b.machine.said())
			pull := b.monitor.put(t, w.update("v1-"+kind, int64(101+n), *faulty))
			b.machine.waitFor(t, from, "the box is started again now")
			b.machine.waitFor(t, from, "was given up, version v1 (build 100) runs")
			b.machine.waitFor(t, from, "governing, mode enforce")
			b.machine.waitFor(t, from, "was given up here") // the stick was left in, and the box does not fall for it again
			pull()
			version, slot, boots := b.runs(from)
			t.Logf("start %d is of version %s in slot %s, %v after the stick was put in, emulated", boots, version, slot, time.Since(begun).Round(time.Second))
			if version != "v1" || slot != "a" || boots > 3 {
				t.Errorf("after %d starts version %s runs from slot %s; the console said:\n%s", boots, version, slot, b.machine.said()[from:])
			}
			if got := b.disk.sum(t, layout.SlotA); got != running {
				t.Errorf("the slot that ran has SHA-256 %s, and had %s", got, running)
			}
			b.operator.comes(t, b.login)
			b.operator.recorded(t, fmt.Sprintf("update rolled_back: version v1-%s (build %d) was given up, version v1 (build 100) runs: %s", kind, 101+n, why))
		})
	}
	t.Run("good", func(t *testing.T) {
		from := len(b.machine.said())
		b.monitor.put(t, good)
		b.machine.waitFor(t, from, "slot b is on trial; starts left after this one: 1")
		b.machine.waitFor(t, from, "update: version v2 (build 200) came up healthy and stays")
		b.operator.comes(t, b.login)
		b.operator.recorded(t, "update committed: version v2 (build 200)")
	})
	b.powerFails(t, rand.New(rand.NewPCG(1, 1)))
	if version, slot, _ := b.runs(0); version != "v2" || slot != "b" {
		t.Errorf("after the commit version %s is started from slot %s", version, slot)
	}
}

// TestAPowerCutWhileAnUpdateIsWritten cuts the power at random moments, each time while the same update is written anew. The disk has a write cache that
// loses what was not flushed, or some of it. Then it cuts it while GRUB is told of the update: what starts then is the old version, or the new one as a whole.
func TestAPowerCutWhileAnUpdateIsWritten(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed %d -cuts %d", *seed, *cuts)
	chance := rand.New(rand.NewPCG(*seed, 0))
	w := newWorks(t)
	good := w.update("v2", 200, *program)
	info, err := os.Stat(good)
	if err != nil {
		t.Fatal(err)
	}
	slotBytes := info.Size() // and a little more
	b := newBox(t, w)
	running := b.disk.sum(t, layout.SlotA)

	// cut takes the power when trip says so, and tells which version the box comes back with.
	cut := func(what string, trip func(written map[int]int64, writes map[int]int) bool) string {
		t.Helper()
		sprung := b.disk.arm(trip)
		b.monitor.put(t, good)
		select {
		case <-sprung:
		case <-time.After(bootTime):
			t.Fatalf("%s: it was not written; the console said:\n%s", what, b.machine.said())
		}
		b.powerFails(t, chance)
		version, slot, boots := b.runs(0)
		t.Logf("%s: back with version %s in slot %s at start %d", what, version, slot, boots)
		if got := b.disk.sum(t, layout.SlotA); got != running || boots != 1 {
			t.Errorf("%s: the slot that ran has SHA-256 %s, and had %s; %d starts", what, got, running, boots)
		}
		return version
	}
	for n := range *cuts {
		// A write that ends behind the moment is the one at which the power goes: also the first, and the one of the slot's first block, which comes last.
		moment := chance.Int64N(slotBytes)
		what := fmt.Sprintf("cut %d, after %d of some %d bytes", n+1, moment, slotBytes)
		if version := cut(what, func(written map[int]int64, _ map[int]int) bool { return written[layout.SlotB] > moment }); version != "v1" {
			t.Fatalf("%s: version %s runs", what, version)
		}
		if n%4 == 3 { // of five starts in a row that do not last the sixth is in safe mode
			o := b.machine.operator(t)
			o.chooses("7", `Type "restart" to go on: `, "restart")
			o.sees("governing, mode enforce")
		}
	}
	version := "v1"
	for n := 1; n <= 3 && version == "v1"; n++ {
		whole := false
		var before int
		version = cut(fmt.Sprintf("cut at write %d to GRUB's partition after the slot is whole", n), func(written map[int]int64, writes map[int]int) bool {
			if !whole && written[layout.SlotB] >= slotBytes/4096*4096 && b.disk.begins(layout.SlotB) {
				whole, before = true, writes[layout.ESP]
			}
			return whole && writes[layout.ESP]-before == n
		})
	}
	from := 0
	if version == "v1" {
		from = len(b.machine.said())
		b.monitor.put(t, good)
	}
	b.machine.waitFor(t, from, "update: version v2 (build 200) came up healthy and stays")
	b.operator.comes(t, b.login)
	b.operator.recorded(t, "update committed: version v2 (build 200)")
}

// comes is an operator who was there before.
func (v *visitor) comes(t *testing.T, fields url.Values) {
	t.Helper()
	var to string
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Second) {
		if to, err = v.form("/login", fields); err == nil && to != "/login" {
			return
		}
	}
	t.Errorf("the operator comes to %q, %v", to, err)
}

// recorded waits for a HEALTH record that says so.
func (v *visitor) recorded(t *testing.T, want string) {
	t.Helper()
	var text []byte
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Second) {
		var answer any
		if err = v.api("GET", "records?kind=HEALTH&limit=1000", nil, &answer); err != nil {
			continue
		}
		if text, err = json.Marshal(answer); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), want) {
			return
		}
	}
	t.Errorf("no record says %q: %v, %s", want, err, text)
}

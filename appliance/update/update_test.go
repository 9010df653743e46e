package update

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"aead.dev/minisign"

	"github.com/mailweir/mailweir/appliance/update/updatetest"
	"github.com/mailweir/mailweir/image/bundle"
	"github.com/mailweir/mailweir/image/layout"
)

// errPower is the end of the world as the updater sees it.
var errPower = errors.New("power cut")

// medium are the two slots and GRUB's block of a box. After left bytes the power is cut; negative: never.
type medium struct {
	slots map[string][]byte
	env   []byte
	left  int
	wrong int // a byte that the medium keeps wrong, from the start of the slot; 0: none
}

// take counts n bytes and returns how many of them come to the medium.
func (m *medium) take(n int) (int, error) {
	switch {
	case m.left < 0:
		return n, nil
	case n < m.left:
		m.left -= n
		return n, nil
	}
	n, m.left = m.left, 0
	return n, errPower
}

type part struct {
	m    *medium
	slot string
}

func (p part) ReadAt(b []byte, at int64) (int, error) {
	return bytes.NewReader(p.m.slots[p.slot]).ReadAt(b, at)
}

func (p part) WriteAt(b []byte, at int64) (int, error) {
	n, err := p.m.take(len(b))
	copy(p.m.slots[p.slot][at:], b[:n])
	if w := p.m.wrong; w > 0 && int64(w) >= at && int64(w) < at+int64(n) {
		p.m.slots[p.slot][w] ^= 1
	}
	return n, err
}

func (p part) Settle() error {
	_, err := p.m.take(0)
	return err
}
func (p part) Close() error { return nil }

func (m *medium) Read() (layout.Env, error) { return layout.ParseEnv(m.env) }

// Write is of the one sector that says something; it is written whole or not at all.
func (m *medium) Write(e layout.Env) error {
	b := e.Block()
	n, err := m.take(len(b))
	if n == len(b) {
		m.env = b
	}
	return err
}

// rig is a box that runs build 10 from slot a, and whoever makes updates for it.
type rig struct {
	t      *testing.T
	box    *Box
	m      *medium
	secret minisign.PrivateKey
	next   layout.About // of the update
	slot   []byte
}

const slotRoom = 1 << 20

func newRig(t *testing.T) *rig {
	t.Helper()
	public, secret, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	spare, _, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := layout.About{Product: "mailweir", Board: "amd64", Version: "v10", Build: 10, Floor: 5, Keys: []string{spare.String(), public.String()}}
	r := &rig{t: t, secret: secret, next: layout.About{Product: "mailweir", Board: "amd64", Version: "v11", Build: 11, Floor: 6}}
	r.slot = updatetest.Slot(t, r.next, 300_000)
	r.m = &medium{slots: map[string][]byte{"a": make([]byte, slotRoom), "b": make([]byte, slotRoom)}, env: layout.Env{Active: "a"}.Block(), left: -1}
	copy(r.m.slots["a"], updatetest.Slot(t, now, 200_000))
	copy(r.m.slots["b"], updatetest.Slot(t, layout.About{Product: "mailweir", Board: "amd64", Version: "v9", Build: 9}, 250_000))
	r.box = &Box{About: now, Running: "a", Env: r.m, Open: func(slot string) (Partition, error) { return part{r.m, slot}, nil }}
	return r
}

func (r *rig) bundle(a layout.About, secret minisign.PrivateKey) []byte {
	r.t.Helper()
	var b bytes.Buffer
	if err := bundle.Write(&b, a, r.slot, secret); err != nil {
		r.t.Fatal(err)
	}
	return b.Bytes()
}

// state is all that a power cut may not spoil.
func (r *rig) state() string {
	return fmt.Sprintf("%x %x %s", r.m.slots["a"], r.m.slots["b"], r.m.env)
}

func TestAnUpdateIsWrittenAndGoesOnTrial(t *testing.T) {
	r := newRig(t)
	running := bytes.Clone(r.m.slots["a"])
	file := r.bundle(r.next, r.secret)
	before := r.state()
	if m, err := r.box.Check(bytes.NewReader(file)); err != nil || m.Build != 11 {
		t.Errorf("check: %+v, %v", m, err)
	}
	if r.state() != before {
		t.Error("the check wrote something")
	}
	m, err := r.box.Apply(bytes.NewReader(file))
	if err != nil || m.Version != "v11" {
		t.Fatalf("%+v, %v", m, err)
	}
	if !bytes.Equal(r.m.slots["a"], running) {
		t.Error("the slot that runs was touched")
	}
	if !bytes.HasPrefix(r.m.slots["b"], r.slot) {
		t.Error("slot b is not the update")
	}
	if env, err := r.m.Read(); err != nil || env != (layout.Env{Active: "a", Next: "b", Tries: layout.EnvTries}) {
		t.Errorf("GRUB's state: %+v, %v", env, err)
	}
	slots, err := r.box.Slots()
	if err != nil || !slots[0].Runs || !slots[0].Active || slots[0].About.Build != 10 || slots[1].Tries != layout.EnvTries || slots[1].About.Version != "v11" || slots[1].Fault != "" {
		t.Errorf("slots: %+v, %v", slots, err)
	}
}

// From slot b it is the other way round, and what runs is what works, whatever was active.
func TestTheSlotThatRunsIsNeverTheTarget(t *testing.T) {
	r := newRig(t)
	r.box.Running = "b"
	running := bytes.Clone(r.m.slots["b"])
	if _, err := r.box.Apply(bytes.NewReader(r.bundle(r.next, r.secret))); err != nil {
		t.Fatal(err)
	}
	if env, err := r.m.Read(); err != nil || env != (layout.Env{Active: "b", Next: "a", Tries: layout.EnvTries}) || !bytes.Equal(running, r.m.slots["b"]) {
		t.Errorf("%+v, %v", env, err)
	}
	for _, unknown := range []string{"", "c"} {
		r.box.Running = unknown
		before := r.state()
		if _, err := r.box.Apply(bytes.NewReader(r.bundle(r.next, r.secret))); err == nil || r.state() != before {
			t.Errorf("running from %q: %v", unknown, err)
		}
	}
}

func TestWhatIsNotForThisBoxIsRefusedBeforeAByteIsWritten(t *testing.T) {
	_, stranger, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		why    string
		change func(*rig, *layout.About)
		key    *minisign.PrivateKey
		want   string
	}{
		{"a key that is not pinned", func(*rig, *layout.About) {}, &stranger, "not by a key that this image trusts"},
		{"another product", func(_ *rig, a *layout.About) { a.Product = "other" }, nil, `it is for "other"`},
		{"another board", func(_ *rig, a *layout.About) { a.Board = "arm64" }, nil, "board arm64, this is amd64"},
		{"a lower build", func(_ *rig, a *layout.About) { a.Build = 9 }, nil, "older than build 10 (v10), which runs"},
		{"below the floor of what was committed here", func(r *rig, _ *layout.About) { r.box.Floor = 12 }, nil, "below the floor 12"},
		{"below the floor of the image", func(r *rig, _ *layout.About) { r.box.About.Build, r.box.About.Floor = 3, 12 }, nil, "below the floor 12"},
		{"an image without keys", func(r *rig, _ *layout.About) { r.box.About.Keys = nil }, nil, "built without keys"},
		{"the slot that runs is on trial itself", func(r *rig, _ *layout.About) { r.m.env = layout.Env{Active: "b", Next: "a", Tries: 2}.Block() }, nil, "runs on trial"},
	} {
		r := newRig(t)
		next, key := r.next, r.secret
		row.change(r, &next)
		if row.key != nil {
			key = *row.key
		}
		file := r.bundle(next, key)
		before := r.state()
		for what, do := range map[string]func(io.Reader) (bundle.Manifest, error){"apply": r.box.Apply, "check": r.box.Check} {
			_, err := do(bytes.NewReader(file))
			if _, ok := errors.AsType[*RefusedError](err); !ok || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "nothing was written") {
				t.Errorf("%s: %s: %v, want %q", row.why, what, err, row.want)
			}
			if r.state() != before {
				t.Errorf("%s: %s wrote something", row.why, what)
			}
		}
	}
	r := newRig(t)
	r.next.Build = 10
	if _, err := r.box.Apply(bytes.NewReader(r.bundle(r.next, r.secret))); err != nil {
		t.Errorf("the build that runs, once more: %v", err)
	}
}

// What only the stream can tell is refused by the check, and leaves no slot that could be started when it was applied unchecked.
func TestADamagedOrCutFileIsNeverStarted(t *testing.T) {
	r := newRig(t)
	file := r.bundle(r.next, r.secret)
	running, fresh := bytes.Clone(r.m.slots["a"]), bytes.Clone(r.m.slots["b"])
	try := func(why string, file []byte) {
		t.Helper()
		if _, err := r.box.Check(bytes.NewReader(file)); err == nil {
			t.Errorf("%s: the check took it", why)
		}
		copy(r.m.slots["b"], fresh)
		r.m.env = layout.Env{Active: "a", Next: "b", Tries: layout.EnvTries}.Block() // an earlier update waits
		if _, err := r.box.Apply(bytes.NewReader(file)); err == nil {
			t.Errorf("%s: it was applied", why)
		}
		r.unharmed(why, running, fresh)
	}
	for n := 0; n < len(file); n += 4096 {
		try(fmt.Sprintf("cut after %d bytes", n), file[:n])
	}
	try("a byte more", append(bytes.Clone(file), 0))
	for n := 100; n < len(file); n += 7919 {
		bad := bytes.Clone(file)
		bad[n] ^= 1
		try(fmt.Sprintf("byte %d changed", n), bad)
	}
}

// unharmed holds that the slot that runs is as it was, and that GRUB starts it, or a slot that is whole: fresh, or the update.
func (r *rig) unharmed(why string, running, fresh []byte) {
	r.t.Helper()
	if !bytes.Equal(r.m.slots["a"], running) {
		r.t.Errorf("%s: the slot that runs was touched", why)
	}
	env, err := r.m.Read()
	if err != nil || env.Active != "a" {
		r.t.Errorf("%s: GRUB's state: %+v, %v", why, env, err)
	}
	b := r.m.slots["b"]
	whole, untouched := bytes.HasPrefix(b, r.slot), bytes.Equal(b, fresh)
	if env.Next != "" && !whole && !untouched {
		r.t.Errorf("%s: GRUB would try a slot that is written in part", why)
	}
	if slots, err := r.box.Slots(); err != nil || !whole && !untouched && slots[1].Fault == "" {
		r.t.Errorf("%s: a slot that is written in part passes for one: %+v, %v", why, slots, err)
	}
}

func TestAPowerCutAtAnyMomentLeavesABoxThatStarts(t *testing.T) {
	r := newRig(t)
	file := r.bundle(r.next, r.secret)
	running, fresh := bytes.Clone(r.m.slots["a"]), bytes.Clone(r.m.slots["b"])
	all := layout.EnvSize + head + len(r.slot) + layout.EnvSize
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	moments := []int{0, 1, layout.EnvSize - 1, layout.EnvSize, layout.EnvSize + 1, layout.EnvSize + head, all - layout.EnvSize - 1, all - layout.EnvSize, all - 1}
	for range 40 {
		moments = append(moments, random.IntN(all))
	}
	for _, left := range moments {
		why := fmt.Sprintf("power cut after %d of %d bytes (seed %d)", left, all, seed)
		copy(r.m.slots["b"], fresh)
		r.m.env = layout.Env{Active: "a"}.Block()
		r.m.left = left
		if _, err := r.box.Apply(bytes.NewReader(file)); !errors.Is(err, errPower) {
			t.Errorf("%s: %v", why, err)
		}
		r.m.left = -1
		r.unharmed(why, running, fresh)
		if env, _ := r.m.Read(); env.Next != "" {
			t.Errorf("%s: %+v", why, env)
		}
		// And the update can be put in again.
		if _, err := r.box.Apply(bytes.NewReader(file)); err != nil || !bytes.HasPrefix(r.m.slots["b"], r.slot) {
			t.Errorf("%s: again: %v", why, err)
		}
	}
}

func TestADiskThatKeepsSomethingElseIsFoundOut(t *testing.T) {
	for _, at := range []int{10, head - 1, head, 100_000} {
		r := newRig(t)
		running := bytes.Clone(r.m.slots["a"])
		r.m.wrong = at
		if _, err := r.box.Apply(bytes.NewReader(r.bundle(r.next, r.secret))); err == nil || !strings.Contains(err.Error(), "read back") {
			t.Errorf("byte %d: %v", at, err)
		}
		if env, err := r.m.Read(); err != nil || env.Next != "" {
			t.Errorf("byte %d: GRUB is sent there: %+v, %v", at, env, err)
		}
		if !bytes.Equal(r.m.slots["a"], running) {
			t.Errorf("byte %d: the slot that runs was touched", at)
		}
	}
}

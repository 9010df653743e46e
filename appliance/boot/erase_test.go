package boot

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/image/layout"
)

// A factory reset that is broken off is gone on with; only when nothing is left the partition is blank.
func TestAPartitionThatIsToBeErased(t *testing.T) {
	part := filepath.Join(t.TempDir(), "part")
	const size = 3*eraseStep + 5000
	if err := os.WriteFile(part, bytes.Repeat([]byte("secret "), size/7), 0o600); err != nil {
		t.Fatal(err)
	}
	is := func(why string, want state) {
		t.Helper()
		if got, err := look(part); err != nil || got != want {
			t.Errorf("%s: state %v, %v, want %v", why, got, err, want)
		}
	}
	is("full of something", unknown)
	if err := markErase(part); err != nil {
		t.Fatal(err)
	}
	is("marked", erasing)

	pets := 0
	func() { // the power fails
		defer func() { recover() }()
		eraseData(part, func() {
			if pets++; pets == 2 {
				panic("power cut")
			}
		}, func() error { return nil })
	}()
	is("broken off", erasing)
	if b, err := os.ReadFile(part); err != nil || !bytes.Contains(b, []byte("secret")) {
		t.Errorf("%v: nothing was left when it was broken off, so this test shows nothing", err)
	}

	// What is kept elsewhere cannot be taken away: this here is erased all the same, and both are tried again.
	if err := eraseData(part, func() {}, func() error { return errors.New("no way in") }); err == nil || !strings.Contains(err.Error(), "no way in") {
		t.Errorf("it says %v", err)
	}
	is("the rest could not be erased", erasing)
	if b, err := os.ReadFile(part); err != nil || bytes.Contains(b, []byte("secret")) {
		t.Errorf("%v: nothing was erased, since the rest could not be", err)
	}

	pets = 0
	if err := eraseData(part, func() { pets++ }, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	is("erased", blank)
	if pets < 8 {
		t.Errorf("the watchdog was petted %d times", pets)
	}
	b, err := os.ReadFile(part)
	if err != nil || len(b) != size/7*7 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	rest, ok := bytes.CutPrefix(b, []byte(layout.Blank))
	if !ok || len(bytes.Trim(rest, "\x00")) > 0 {
		t.Errorf("it begins %.80q, and behind the mark there is something", b)
	}
}

// What the ports were is forgotten with all the rest: also by a version whose factory reset knew of the data partition only, and left it blank.
func TestABlankPartitionForgetsThePorts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		mark   string
		forget error
		want   state
	}{{layout.Blank, nil, formatted}, {layout.Erase, nil, formatted}, {layout.Blank, errors.New("no way in"), formatted}, {layout.Erase, errors.New("no way in"), erasing}} {
		part := filepath.Join(t.TempDir(), "part")
		if err := errors.Join(os.WriteFile(part, []byte(row.mark), 0o600), os.Truncate(part, 64<<20)); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		forgot := false
		err := prepare("disk", part, &console{out: []io.Writer{&said}}, func() {}, func() error { forgot = true; return row.forget }, func() error { return nil })
		if (err == nil) != (row.want == formatted) || !forgot || row.forget != nil && !strings.Contains(said.String()+text(err), row.forget.Error()) {
			t.Errorf("%q, %v: forgotten %t, %v, it says %s", row.mark, row.forget, forgot, err, said.String())
		}
		if got, err := look(part); err != nil || got != row.want {
			t.Errorf("%q, %v: state %d, %v, want %d", row.mark, row.forget, got, err, row.want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The loader's partition is written only where something changes: on a disk that takes no writes all is read, and the same again is kept.
func TestTheLoadersPartitionIsReadWithoutWriting(t *testing.T) {
	part := filepath.Join(t.TempDir(), "esp")
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	espType = "ext4" // not every kernel that tests run on has vfat, and it minds a disk that takes no writes as well
	defer func() { espType = "vfat" }()
	if err := errors.Join(os.WriteFile(part, []byte(layout.Blank), 0o600), os.Truncate(part, 64<<20), makeFS(part)); err != nil {
		t.Fatal(err)
	}
	with := func(how string, do func(k kept)) {
		t.Helper()
		loop := run("losetup", "-f", "--show", how, part)
		defer run("losetup", "-d", loop)
		do(kept{envFile{loop}})
	}
	env := layout.Env{}
	with("--direct-io=off", func(k kept) {
		if err := k.esp.mounted(0, func(file string) error {
			return errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, env.Block(), 0o600),
				os.WriteFile(filepath.Join(filepath.Dir(file), filepath.Base(layout.KeptFile)), make([]byte, layout.KeptSize), 0o600))
		}); err != nil {
			t.Fatal(err)
		}
		if err := k.write(keptShape{aRouter(), nil}); err != nil {
			t.Fatal(err)
		}
	})
	with("--read-only", func(k kept) {
		if s, _, err := k.read(); err != nil || s == nil || !s.network().SameShape(aRouter().network()) {
			t.Errorf("%+v, %v", s, err)
		}
		if err := k.write(keptShape{aRouter(), nil}); err != nil {
			t.Errorf("the same again: %v", err)
		}
		if _, err := k.esp.Read(); err != nil {
			t.Errorf("grubenv: %v", err)
		}
		if err := k.erase(); err == nil {
			t.Error("what cannot be written was erased")
		}
	})
	with("--direct-io=off", func(k kept) {
		if err := k.erase(); err != nil {
			t.Error(err)
		}
		if s, _, err := k.read(); err != nil || s != nil {
			t.Errorf("after it was erased: %+v, %v", s, err)
		}
	})
	if b, err := os.ReadFile(part); err != nil || bytes.Contains(b, []byte("10.1.0.1")) {
		t.Errorf("%v: the addresses are still on the disk", err)
	}
}

package boot

import (
	"bytes"
	"os"
	"path/filepath"
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
		})
	}()
	is("broken off", erasing)
	if b, err := os.ReadFile(part); err != nil || !bytes.Contains(b, []byte("secret")) {
		t.Errorf("%v: nothing was left when it was broken off, so this test shows nothing", err)
	}

	pets = 0
	if err := eraseData(part, func() { pets++ }); err != nil {
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

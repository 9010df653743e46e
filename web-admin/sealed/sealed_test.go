package sealed

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"filippo.io/age"
)

const passphrase = "four words are easier"

func TestOnlyThePassphraseOpensIt(t *testing.T) {
	t.Parallel()
	plain := []byte("PK\x03\x04 the box's secrets")
	file, err := Seal(plain, passphrase)
	if err != nil || !Is(file) || Is(plain) || bytes.Contains(file, []byte("secrets")) {
		t.Fatalf("%q, %v", file, err)
	}
	if got, err := Open(file, passphrase); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Open(file, passphrase+"s"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("with another passphrase: %v", err)
	}
	for at := range file { // all of it counts
		bad := bytes.Clone(file)
		bad[at] ^= 1
		if at%71 != 0 && at < len(file)-2 { // each try takes as long as a passphrase
			continue
		}
		if got, err := Open(bad, passphrase); err == nil {
			t.Errorf("with byte %d changed it opens as %q", at, got)
		}
	}
	if got, err := Open(file, ""); err == nil {
		t.Errorf("without one it opens as %q", got)
	}
	if got, err := Open(file[:len(file)-1], passphrase); err == nil {
		t.Errorf("cut short it opens as %q", got)
	}
}

// A file that asks for more memory than a small box has is refused before that is spent.
func TestAWorkFactorIsBounded(t *testing.T) {
	t.Parallel()
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	to.SetWorkFactor(workFactor + 1)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	if _, err := Open(out.Bytes(), passphrase); err == nil || !strings.Contains(err.Error(), "work factor") {
		t.Errorf("%v", err)
	}
}

func TestPassphrasesHaveALength(t *testing.T) {
	t.Parallel()
	for p, good := range map[string]bool{"": false, "fourteen chars": false, passphrase: true, strings.Repeat("\u00e4", MaxPassphrase): true, strings.Repeat("x", MaxPassphrase+1): false} {
		if err := Check(p); (err == nil) != good {
			t.Errorf("%q: %v", p, err)
		}
	}
}

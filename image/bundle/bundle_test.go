package bundle

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"

	"github.com/mailweir/mailweir/image/layout"
)

var about = layout.About{Product: "mailweir", Board: "amd64", Version: "v2", Build: 42, Floor: 7}

func newKey(t *testing.T) (minisign.PublicKey, minisign.PrivateKey) {
	t.Helper()
	public, secret, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return public, secret
}

func make1(t *testing.T, a layout.About, slot []byte, secret minisign.PrivateKey) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, a, slot, secret); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readAll reads a bundle whole.
func readAll(file []byte, keys ...minisign.PublicKey) (m Manifest, slot []byte, err error) {
	b, err := Open(bytes.NewReader(file), keys)
	if err != nil {
		return m, nil, err
	}
	var to bytes.Buffer
	err = b.Slot(&to)
	return b.Manifest, to.Bytes(), err
}

func TestABundleIsReadAsItWasWritten(t *testing.T) {
	public, secret := newKey(t)
	spare, _ := newKey(t)
	for _, size := range []int{1, 511, 512, 513, 100_000} {
		slot := bytes.Repeat([]byte{7}, size)
		file := make1(t, about, slot, secret)
		if again := make1(t, about, slot, secret); !bytes.Equal(file, again) {
			t.Errorf("%d bytes: the same update twice is not the same file", size)
		}
		m, got, err := readAll(file, spare, public)
		want := Manifest{"mailweir", "amd64", "v2", 42, 7, int64(size), fmt.Sprintf("%x", sha256.Sum256(slot))}
		if err != nil || m != want || !bytes.Equal(got, slot) {
			t.Errorf("%d bytes: %+v, %d bytes, %v", size, m, len(got), err)
		}
	}
}

func TestNoByteOfABundleCanBeAnother(t *testing.T) {
	public, secret := newKey(t)
	file := make1(t, about, bytes.Repeat([]byte("slot"), 300), secret)
	for n := range file {
		for _, bit := range []byte{1, 0x80} {
			file[n] ^= bit
			if _, _, err := readAll(file, public); err == nil {
				t.Errorf("byte %d of %d, bit %#x: it was taken", n, len(file), bit)
			}
			file[n] ^= bit
		}
	}
	if _, _, err := readAll(file, public); err != nil {
		t.Error(err)
	}
}

func TestACutOrProlongedBundleIsRefused(t *testing.T) {
	public, secret := newKey(t)
	file := make1(t, about, bytes.Repeat([]byte("slot"), 5000), secret)
	for n := 0; n < len(file); n += block {
		if _, _, err := readAll(file[:n], public); !errors.Is(err, ErrShort) {
			t.Errorf("cut after %d of %d bytes: %v, want ErrShort", n, len(file), err)
		}
	}
	for _, more := range [][]byte{{0}, make([]byte, block), []byte("x")} {
		if _, _, err := readAll(append(bytes.Clone(file), more...), public); !errors.Is(err, ErrDamaged) {
			t.Errorf("with %d bytes more: %v, want ErrDamaged", len(more), err)
		}
	}
}

func TestOnlyAKeyThatIsTrustedSigns(t *testing.T) {
	public, secret := newKey(t)
	_, other := newKey(t)
	file := make1(t, about, []byte("slot"), other)
	if _, _, err := readAll(file, public); !errors.Is(err, ErrSignature) || !strings.Contains(err.Error(), fmt.Sprintf("%016X", other.ID())) {
		t.Errorf("another key: %v", err)
	}
	if _, _, err := readAll(file); !errors.Is(err, ErrSignature) {
		t.Errorf("no key at all: %v", err)
	}
	// The signature of another manifest by the right key.
	mine := make1(t, about, []byte("slot"), secret)
	older := about
	older.Version = "v1" // as long, so that all else is the same
	theirs := make1(t, older, []byte("slot"), secret)
	copy(mine[:2*block], theirs[:2*block])
	if bytes.Equal(mine, theirs) {
		t.Fatal("the manifest is longer than a block")
	}
	if _, _, err := readAll(mine, public); !errors.Is(err, ErrSignature) {
		t.Errorf("manifest and signature of two bundles: %v", err)
	}
}

// The whole text of a failure of the reader comes through: a cable that was pulled is not a damaged file.
func TestAReaderThatFailsIsNotADamagedBundle(t *testing.T) {
	public, secret := newKey(t)
	file := make1(t, about, bytes.Repeat([]byte("slot"), 5000), secret)
	pulled := errors.New("pulled")
	for _, after := range []int{100, 600, 3000, len(file) - 100} {
		b, err := Open(io.MultiReader(bytes.NewReader(file[:after]), failing{pulled}), []minisign.PublicKey{public})
		if err == nil {
			err = b.Slot(io.Discard)
		}
		if !errors.Is(err, pulled) || errors.Is(err, ErrDamaged) {
			t.Errorf("after %d bytes: %v", after, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestKeysAreReadFromMinisignsFiles(t *testing.T) {
	public, secret := newKey(t)
	dir := t.TempDir()
	text, err := secret.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := public.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"key": append(text, '\n'), "key.pub": append(pub, '\n'), "junk": []byte("untrusted comment: x\nnothing\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadSecretKey(filepath.Join(dir, "key"), "")
	if err != nil || !got.Equal(secret) {
		t.Errorf("secret key: %v", err)
	}
	line, err := ReadPublicKey(filepath.Join(dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeys([]string{line})
	if err != nil || !keys[0].Equal(public) {
		t.Errorf("public key: %v", err)
	}
	if _, err := ReadSecretKey(filepath.Join(dir, "junk"), ""); err == nil || !strings.Contains(err.Error(), "junk") {
		t.Errorf("no key: %v", err)
	}
	if _, err := ReadPublicKey(filepath.Join(dir, "junk")); err == nil || !strings.Contains(err.Error(), "junk") {
		t.Errorf("no key: %v", err)
	}
	if _, err := ParseKeys([]string{"RW"}); err == nil {
		t.Error("half a key was taken")
	}
}

func TestWhatCannotBeTakenIsNotWritten(t *testing.T) {
	_, secret := newKey(t)
	bad := about
	bad.Floor = bad.Build + 1
	if err := Write(io.Discard, bad, []byte("slot"), secret); err == nil {
		t.Error("a build below its own floor")
	}
	if err := Write(io.Discard, about, make([]byte, layout.SlotBytes+1), secret); err == nil {
		t.Error("a slot that is larger than its partition")
	}
	bad = about
	bad.Version = "two\nlines"
	if err := Write(io.Discard, bad, []byte("slot"), secret); err == nil {
		t.Error("a version of two lines")
	}
}

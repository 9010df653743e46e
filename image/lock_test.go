package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheLockFileHasAllThatEveryBoardNeeds(t *testing.T) {
	text, err := os.ReadFile("packages.lock")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ParseLock("packages.lock", text)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range Boards {
		if _, err := b.Packages(l); err != nil {
			t.Errorf("%s: %v", b.Arch, err)
		}
	}
	if string(l.Format()) != string(text) {
		t.Error("packages.lock is not as mkimage -refresh writes it")
	}
}

func TestWhatIsWrongInALockFileIsNamed(t *testing.T) {
	sum := strings.Repeat("0a", 32)
	for _, row := range []struct{ why, text, want string }{
		{"a word is missing", "grub-common 2.06 amd64\n", "lock:1: 3 words"},
		{"a sum is cut short, behind a comment and an empty line", "# x\n\ngrub-common 2.06 amd64 " + sum[:60] + "\n", `lock:3: "` + sum[:60]},
		{"a package stands twice", "a 1 amd64 " + sum + "\na 2 amd64 " + sum + "\n", "lock:2: a for amd64 is there already"},
		{"the same for another processor is fine", "a 1 amd64 " + sum + "\na 1 arm64 " + sum + "\n", ""},
	} {
		_, err := ParseLock("lock", []byte(row.text))
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.HasPrefix(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.why, err, row.want)
		}
	}
}

func TestBytesThatTheLockDoesNotNameAreNotUsed(t *testing.T) {
	c := &Cache{Dir: t.TempDir(), Mirror: Mirror}
	p := Package{"a", "1:2", "amd64", strings.Repeat("0a", 32)}
	if err := os.WriteFile(filepath.Join(c.Dir, "a_1%3a2_amd64.deb"), []byte("not it"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(context.Background(), []Package{p}); err == nil || !strings.Contains(err.Error(), "the lock file says "+p.SHA256) {
		t.Errorf("a file with other bytes: %v", err)
	}
}

func TestWithoutAMirrorItSaysWhichAreMissingAndHowToGoOn(t *testing.T) {
	c := &Cache{Dir: t.TempDir(), Mirror: "file:///nowhere/debian"}
	err := c.Get(context.Background(), []Package{{"linux-image-9", "9-1", "amd64", strings.Repeat("0a", 32)}})
	if missing, ok := errors.AsType[*MissingError](err); !ok || len(missing.Packages) != 1 {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"linux-image-9 9-1 amd64", "file:///nowhere/debian", "make image-lock", "snapshot.debian.org"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestSecurityUpdatesAreBesideTheMirror(t *testing.T) {
	for mirror, want := range map[string]string{
		"http://deb.debian.org/debian":                                "http://deb.debian.org/debian-security",
		"https://snapshot.debian.org/archive/debian/20261129T000000Z": "https://snapshot.debian.org/archive/debian-security/20261129T000000Z",
		"http://mirror.example/pub/debian":                            "http://mirror.example/pub/debian-security",
	} {
		if got := security(mirror); got != want {
			t.Errorf("%s: %s, want %s", mirror, got, want)
		}
	}
}

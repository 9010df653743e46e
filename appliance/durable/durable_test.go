package durable

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A full disk leaves the old content, and nothing beside it.
func TestAFullDiskLeavesTheOldContent(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("mount a tmpfs (this test needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "state")
	content := func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, text := range []string{"first", "second"} {
		if err := Replace(path, []byte(text)); err != nil || content() != text {
			t.Fatalf("%v, it holds %q", err, content())
		}
	}
	if err := Replace(path, make([]byte, 128<<10)); !errors.Is(err, syscall.ENOSPC) || content() != "second" {
		t.Errorf("%v, it holds %q", err, content())
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// What the operator set for his file stays: who may read it, and that it is a link to somewhere else.
func TestRewriteKeepsWhatTheOperatorSet(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real.yaml"), filepath.Join(dir, "mailweir.yaml")
	if err := errors.Join(os.WriteFile(file, []byte("old"), 0o600), os.Chmod(file, 0o644), os.Chown(file, 65534, 65533), os.Symlink("real.yaml", link)); err != nil {
		t.Fatal(err)
	}
	if err := Rewrite(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if b, _ := os.ReadFile(file); string(b) != "new" || info.Mode().Perm() != 0o644 || st.Uid != 65534 || st.Gid != 65533 {
		t.Errorf("%q, mode %v, owner %d:%d", b, info.Mode(), st.Uid, st.Gid)
	}
	if to, err := os.Readlink(link); err != nil || to != "real.yaml" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if err := Rewrite(filepath.Join(dir, "fresh"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "fresh")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

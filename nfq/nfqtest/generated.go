package nfqtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Generated fails a test of a package with an eBPF program unless what is committed of it is what its source makes.
func Generated(t testing.TB) {
	t.Helper()
	for _, tool := range []string{"clang-14", "llvm-strip-14"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: run make generate once, which installs what it needs", err)
		}
	}
	dir := t.TempDir()
	if out, err := exec.Command("sh", "../../.ci/generate", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"program_bpfel.o", "program_bpfel.go"} {
		committed, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		made, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(committed, made) {
			t.Errorf("%s is not what bpf/ makes: run make generate and commit it", name)
		}
	}
}

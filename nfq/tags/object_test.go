package tags

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
)

func TestTheObjectIsMadeFromTheSource(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"clang-14", "llvm-strip-14"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: run make generate once, which installs what it needs", err)
		}
	}
	dir := t.TempDir()
	if out, err := exec.Command("sh", "../../.ci/generate-tags", dir).CombinedOutput(); err != nil {
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

// Some processors, MIPS among them, cannot read across a word; the verifier takes only what keeps to words when asked.
func TestTheProgramsKeepToWords(t *testing.T) {
	t.Parallel()
	const strictAlignment = 1 // BPF_F_STRICT_ALIGNMENT
	spec, err := loadProgram()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range spec.Programs {
		p.Flags |= strictAlignment
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	coll.Close()
}

package tags

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

func TestTheObjectIsMadeFromTheSource(t *testing.T) {
	t.Parallel()
	nfqtest.Generated(t)
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

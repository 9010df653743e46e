package lane

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

func TestTheObjectIsMadeFromTheSource(t *testing.T) {
	t.Parallel()
	nfqtest.Generated(t)
}

// Some processors, MIPS among them, cannot read across a word. There the verifier takes
// only what keeps to words; here it does so when asked.
func TestTheProgramsKeepToWords(t *testing.T) {
	t.Parallel()
	const strictAlignment = 1 // BPF_F_STRICT_ALIGNMENT
	o, err := options().withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	spec, err := prepared(o, true)
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

func TestTheProbeForExchangesPassesHere(t *testing.T) {
	t.Parallel()
	if err := haveExchange(); err != nil {
		t.Error(err)
	}
}

package memory

import (
	"testing"
	"unsafe"
)

func TestHugeMemoryIsAlignedZeroedAndOnesOwn(t *testing.T) {
	const size = 3 << 20
	a, b := Huge(size), Huge(size)
	if len(a) != size || len(b) != size {
		t.Fatalf("%d and %d bytes", len(a), len(b))
	}
	for i := range a {
		if a[i] != 0 {
			t.Fatalf("byte %d is %d", i, a[i])
		}
		a[i] = 1
	}
	for i := range b {
		if b[i] != 0 {
			t.Fatalf("byte %d of the second is %d after the first was written", i, b[i])
		}
	}
	for _, m := range [][]byte{a, b} {
		if at := uintptr(unsafe.Pointer(&m[0])); at%hugePage != 0 {
			t.Errorf("begins at %#x", at)
		}
	}
}

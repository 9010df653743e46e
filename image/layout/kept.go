package layout

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// The file KeptFile has a text twice, each in a half of its own with a number that grows and a sum. It is as long as the builder made it, and only its bytes are
// overwritten, the older half of the two: a power cut leaves the file system as it was, and one text whole.
const (
	KeptSize = 2 * keptHalf

	keptHalf = 32 << 10
	keptHead = sha256.Size + 8 + 4 // sum of what follows, number, length
	// KeptMost is how long a text may be.
	KeptMost = keptHalf - keptHead
)

// Kept is what a file says: the text that was written last, nil: none was, or neither is whole.
func Kept(file []byte) []byte {
	text, _, _ := keptOf(file)
	return text
}

// keptOf is the newer text of the two, its number, and in which half it is; number 0: there is none.
func keptOf(file []byte) (text []byte, number uint64, half int) {
	for n := 0; len(file) == KeptSize && n < 2; n++ {
		h := file[n*keptHalf : (n+1)*keptHalf]
		long := int(binary.LittleEndian.Uint32(h[sha256.Size+8:]))
		if long > KeptMost {
			continue
		}
		if sum := sha256.Sum256(h[sha256.Size : keptHead+long]); !bytes.Equal(sum[:], h[:sha256.Size]) {
			continue
		}
		if now := binary.LittleEndian.Uint64(h[sha256.Size:]); now > number {
			text, number, half = h[keptHead:keptHead+long], now, n
		}
	}
	return text, number, half
}

// Keep says which bytes of a file have to be overwritten, and from where on, so that it says text.
func Keep(file, text []byte) (b []byte, at int64, err error) {
	if len(file) != KeptSize || len(text) > KeptMost {
		return nil, 0, fmt.Errorf("a text of %d bytes for a file of %d: at most %d fit into one of %d", len(text), len(file), KeptMost, KeptSize)
	}
	_, number, half := keptOf(file)
	if number > 0 {
		half = 1 - half
	}
	b = make([]byte, keptHalf) // all of it: what was there before is gone
	binary.LittleEndian.PutUint64(b[sha256.Size:], number+1)
	binary.LittleEndian.PutUint32(b[sha256.Size+8:], uint32(len(text)))
	copy(b[keptHead:], text)
	sum := sha256.Sum256(b[sha256.Size : keptHead+len(text)])
	copy(b, sum[:])
	return b, int64(half) * keptHalf, nil
}

package clusters

import (
	"math"
	"math/bits"
)

// The sizes of the sketches, in bits.
const (
	whoBits   = 2048    // subscribers of one print
	whereBits = 1024    // networks of one print in one span
	lineBits  = 1 << 16 // subscribers of all prints
	pairBits  = 1 << 21 // subscribers with the networks they sent to
)

// sketch counts distinct things by linear counting: each sets the bit that its hash chooses. It is exact or nearly so for
// a few; up to twice as many as it has bits the standard error is below 6 %. What is in it is known for certain to have
// been there only as far as no other thing has the same bit.
type sketch []uint64

func newSketch(bits int) sketch { return make(sketch, bits/64) }

func (s sketch) has(hash uint64) bool {
	bit := hash % uint64(len(s)*64)
	return s[bit/64]&(1<<(bit%64)) != 0
}

func (s sketch) add(hash uint64) {
	bit := hash % uint64(len(s)*64)
	s[bit/64] |= 1 << (bit % 64)
}

// count estimates how many things are in any of the sketches, which have the same size.
func count(all ...sketch) int {
	set, size := 0, len(all[0])*64
	for i := range all[0] {
		var w uint64
		for _, s := range all {
			w |= s[i]
		}
		set += bits.OnesCount64(w)
	}
	if set == size {
		set-- // then it reads as so many that it hardly matters how many more
	}
	return int(math.Round(-float64(size) * math.Log1p(-float64(set)/float64(size))))
}

// who is a sketch of subscribers in which each has two bits, so that one who is not in it is hardly ever taken for one who is:
// once in 600 times with 40 of them, once in 20 with 250.
type who struct{ Bits sketch }

func newWho() who { return who{newSketch(whoBits)} }

func (w who) has(hash uint64) bool { return w.Bits.has(hash) && w.Bits.has(mix(hash)) }

func (w who) add(hash uint64) {
	w.Bits.add(hash)
	w.Bits.add(mix(hash))
}

// countWho estimates how many are in any of them.
func countWho(all ...who) int {
	bits := make([]sketch, len(all))
	for i, w := range all {
		bits[i] = w.Bits
	}
	return (count(bits...) + 1) / 2
}

// countWhoErrs is by how much countWho errs where there are n, as a rule: one standard deviation of linear counting (Whang, Vander-Zanden and Taylor,
// ACM TODS 15, 1990), rounded up.
func countWhoErrs(n int) int {
	t := 2 * float64(n) / whoBits
	return int(math.Ceil(math.Sqrt(whoBits*(math.Exp(t)-t-1)) / 2))
}

// fill is the share of bits that are set in any of the sketches.
func fill(all ...sketch) float64 {
	set := 0
	for i := range all[0] {
		var w uint64
		for _, s := range all {
			w |= s[i]
		}
		set += bits.OnesCount64(w)
	}
	return float64(set) / float64(len(all[0])*64)
}

// hash is FNV-1a with a key, and its bits mixed: the same over restarts, unlike that of hash/maphash.
func hash(key uint64, text string) uint64 {
	h := key ^ 14695981039346656037
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return mix(h)
}

func hashBytes(key uint64, b []byte) uint64 {
	h := key ^ 14695981039346656037
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return mix(h)
}

// mix is the finalizer of splitmix64.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

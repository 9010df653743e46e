package nfq

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"math/rand/v2"
)

// index finds flows: a hash table of chains, all of it made at once, so that no packet
// waits for it to grow. A Go map costs several times as much here, since thousands of
// flows come and go in a second.
type index struct {
	seed   [2]uint64 // of the hash: nobody outside can make flows meet in a chain
	chains []*flow
	n      int
}

// newIndex is for about so many flows.
func newIndex(flows int) index {
	return index{seed: [2]uint64{rand.Uint64(), rand.Uint64()}, chains: make([]*flow, 1<<bits.Len(uint(flows)))}
}

func (x *index) chain(f *Flow) **flow {
	c, s := f.Client.Addr().As16(), f.Server.Addr().As16()
	ports := uint64(f.Client.Port())<<16 | uint64(f.Server.Port())
	h := mix(binary.LittleEndian.Uint64(c[:])^x.seed[0], binary.LittleEndian.Uint64(c[8:])^x.seed[1])
	h = mix(h^binary.LittleEndian.Uint64(s[:]), binary.LittleEndian.Uint64(s[8:])^x.seed[1])
	h = mix(h^ports, x.seed[0])
	return &x.chains[h&uint64(len(x.chains)-1)]
}

// mix multiplies and folds, as wyhash does.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xbf58476d1ce4e5b9)
	return hi ^ lo
}

// find is nil when f is not known.
func (x *index) find(key Flow) *flow {
	for f := *x.chain(&key); f != nil; f = f.link {
		if f.Flow == key {
			return f
		}
	}
	return nil
}

func (x *index) add(f *flow) {
	c := x.chain(&f.Flow)
	f.link, *c = *c, f
	x.n++
}

func (x *index) remove(f *flow) {
	for c := x.chain(&f.Flow); *c != nil; c = &(*c).link {
		if *c == f {
			*c, f.link = f.link, nil
			x.n--
			return
		}
	}
}

// all gives every flow; none may be added or removed meanwhile.
func (x *index) all() iter.Seq[*flow] {
	return func(yield func(*flow) bool) {
		for _, f := range x.chains {
			for ; f != nil; f = f.link {
				if !yield(f) {
					return
				}
			}
		}
	}
}

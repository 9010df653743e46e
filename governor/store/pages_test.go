package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/metrics"
	"testing"
	"time"
)

// manyPages is a mailweir.db whose shelf is a tree, with another shelf inline and free pages.
func manyPages(t testing.TB) []byte {
	t.Helper()
	s, dir := fresh(t)
	for round := range 3 {
		var changes []Change
		for i := range 400 {
			changes = append(changes, Change{Key: fmt.Appendf(nil, "b%05d", i), Value: make([]byte, 100+round)})
		}
		if err := s.Shelf("directory").Apply(changes); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Shelf("directory").Put([]byte("long"), make([]byte, 3*4096)), s.Shelf("cases").Put([]byte("00001"), []byte("{}")), s.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "mailweir.db"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// boundMemory ends the process before it takes the machine with it: nothing catches what runs out of memory.
func boundMemory(t testing.TB) {
	const most = 1 << 30
	over := make(chan struct{})
	go func() {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for {
			select {
			case <-over:
				return
			case <-time.After(5 * time.Millisecond):
			}
			if metrics.Read(s); s[0].Value.Uint64() > most {
				panic(t.Name() + " eats all memory")
			}
		}
	}()
	t.Cleanup(func() { close(over) })
}

// opens opens data as a mailweir.db, reads it and writes to it, and tells whether it was set aside.
func opens(t testing.TB, data []byte) (aside bool) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mailweir.db"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	path, _ := s.Damaged()
	n := 0
	if err := errors.Join(s.Shelf("directory").Range(func(_, _ []byte) error { n++; return nil }), s.Shelf("directory").Put([]byte("new"), nil), s.Close()); err != nil {
		t.Error(err)
	}
	if n > 401 {
		t.Errorf("%d things on a shelf of 401", n)
	}
	return path != ""
}

// pagesOf gives where the pages of a kind are that are in use.
func pagesOf(data []byte, kind uint16) (at []int) {
	for off := 2 * 4096; off+pageHeader <= len(data); off += 4096 {
		if native.Uint16(data[off+8:]) == kind && native.Uint64(data[off:]) == uint64(off/4096) {
			at = append(at, off)
		}
	}
	return at
}

func TestPagesThatLeadNowhereAreSetAside(t *testing.T) {
	boundMemory(t)
	sound := manyPages(t)
	if opens(t, sound) {
		t.Fatal("a sound file was set aside")
	}
	const first, second = pageHeader, pageHeader + pageElement
	list := uint64(pagesOf(sound, freelistPage)[0] / 4096)
	same := func(n uint64) func([]byte, uint64) uint64 { return func([]byte, uint64) uint64 { return n } }
	for _, c := range []struct {
		why  string
		kind uint16
		at   int // in the page
		word func(page []byte, id uint64) uint64
	}{
		{"a branch that is its own first child", branchPage, first + 8, func(_ []byte, id uint64) uint64 { return id }},
		{"a child met twice", branchPage, first + 8, func(p []byte, _ uint64) uint64 { return native.Uint64(p[second+8:]) }},
		{"a child beyond the file", branchPage, first + 8, same(1 << 40)},
		{"a child that is a meta page", branchPage, first + 8, same(1)},
		{"a child that is a list of free pages", branchPage, first + 8, same(list)},
		{"a key of 2 GiB", branchPage, first, same(32 | 1<<63)},
		{"a child without a key", branchPage, first, same(32)},
		{"more children than a page holds", branchPage, 8, same(branchPage | 0xFFFF<<16)},
		{"a branch without children", branchPage, 8, same(branchPage)},
		{"more of it than there is of the file", leafPage, 8, same(leafPage | 1<<16 | 1<<48)},
		{"a leaf's value of 2 GiB", leafPage, first + 8, same(6 | 1<<63)},
		{"a leaf without a key", leafPage, first + 8, same(0)},
		{"more free pages than the page holds", freelistPage, 8, same(freelistPage | 0xFFFE<<16)},
		{"very many free pages", freelistPage, 8, same(freelistPage | 0xFFFF<<16)},
		{"a free page that is none", freelistPage, first, func(_ []byte, id uint64) uint64 { return id }},
	} {
		pages := pagesOf(sound, c.kind)
		aside := 0
		for _, at := range pages { // some are free, and then it does not matter
			data := bytes.Clone(sound)
			native.PutUint64(data[at+c.at:], c.word(data[at:], uint64(at/4096)))
			if opens(t, data) {
				aside++
			}
		}
		if aside == 0 {
			t.Errorf("%s: none of %d was set aside", c.why, len(pages))
		}
	}
}

// Whatever is written over pages, opening ends, and in bounded memory.
func TestNoDamageToPagesEatsTheMemory(t *testing.T) {
	boundMemory(t)
	sound := manyPages(t)
	rnd := rand.New(rand.NewPCG(3, 1))
	aside := 0
	for range 150 {
		data := bytes.Clone(sound)
		for range 1 + rnd.IntN(3) {
			scribble(data, rnd.Uint32(), uint16(rnd.Uint32()), uint8(rnd.Uint32()))
		}
		if opens(t, data) {
			aside++
		}
	}
	t.Logf("%d of 150 set aside", aside)
	if aside < 30 { // some 50; which pages are in use differs a little from run to run
		t.Error("this test does not damage what it should")
	}
}

// scribble writes over a word of a page where it says what there is: with a number as there might be one.
func scribble(data []byte, page uint32, word uint16, value uint8) {
	pages := len(data)/4096 - 2
	at := (2+int(page)%pages)*4096 + int(word)%40*4
	native.PutUint32(data[at:], uint32(value)%uint32(pages+4))
}

func FuzzDamagedPages(f *testing.F) {
	boundMemory(f)
	sound := manyPages(f)
	f.Add(uint32(3), uint16(6), uint8(5), uint32(1), uint16(2), uint8(0))
	f.Fuzz(func(t *testing.T, page1 uint32, word1 uint16, value1 uint8, page2 uint32, word2 uint16, value2 uint8) {
		data := bytes.Clone(sound)
		scribble(data, page1, word1, value1)
		scribble(data, page2, word2, value2)
		opens(t, data)
	})
}

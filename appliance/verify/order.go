package verify

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// content is what was read of a file, until the files before it were: 64 bytes of each record.
type content struct {
	path  string
	begun bool
	at    time.Time         // of the first record; zero where there is none
	first map[string]uint64 // of each box the first number
	boxes []string
	small []small
	large []Item // what is more than a small holds
}

// small is a record of a log as Item has it, with the line it stands in and what is remembered of the hashes. Where hash is zero, seq is the place in large.
type small struct {
	prev, hash [kept / 2]byte
	seq        uint64
	line       uint64
	box        uint32
	text       Text
	hasPrev    bool
}

func newContent(path string) *content { return &content{path: path, first: map[string]uint64{}} }

func (f *content) add(it Item) {
	if it.First > 0 {
		if !f.begun {
			f.begun, f.at = true, it.at
		}
		if f.first[it.Box] == 0 {
			f.first[it.Box] = it.First
			f.boxes = append(f.boxes, it.Box)
		}
	}
	if s, fits := f.smaller(&it); fits {
		f.small = append(f.small, s)
		return
	}
	f.small = append(f.small, small{seq: uint64(len(f.large))})
	f.large = append(f.large, it)
}

// smaller is an item without what is not needed of it.
func (f *content) smaller(it *Item) (s small, fits bool) {
	box := slices.Index(f.boxes, it.Box)
	if it.First == 0 || it.First != it.Last || it.Anchor || len(it.Lost)+len(it.doubt) > 0 || it.twiceAfter > 0 || box < 0 || uint64(box) > math.MaxUint32 {
		return s, false
	}
	s = small{seq: it.First, box: uint32(box), text: it.Text, hasPrev: it.Prev != ""}
	var err error
	if s.line, err = strconv.ParseUint(strings.TrimPrefix(it.Where, f.path+":"), 10, 64); err != nil {
		return s, false
	}
	return s, half(&s.hash, it.Hash) && s.hash != [kept / 2]byte{} && (!s.hasPrev || half(&s.prev, it.Prev))
}

// half takes what is remembered of a hash; false where it is none.
func half(to *[kept / 2]byte, hash string) bool {
	if len(hash) < kept || strings.ToLower(hash) != hash {
		return false
	}
	_, err := hex.Decode(to[:], []byte(hash[:kept]))
	return err == nil
}

// give gives all that was added, and forgets it.
func (f *content) give(take func(Item)) {
	for _, s := range f.small {
		if s.hash == ([kept / 2]byte{}) {
			take(f.large[s.seq])
			continue
		}
		it := Item{Where: fmt.Sprintf("%s:%d", f.path, s.line), Box: f.boxes[s.box], First: s.seq, Last: s.seq, Hash: hex.EncodeToString(s.hash[:]), Text: s.text}
		if s.hasPrev {
			it.Prev = hex.EncodeToString(s.prev[:])
		}
		take(it)
	}
	f.small, f.large = nil, nil
}

// inOrder sorts files so that the numbers of each box in them ascend. Where several boxes contradict each other, or files have none in common, the time of the first record decides.
func inOrder(files []*content) []*content {
	boxes := map[string]bool{}
	for _, f := range files {
		for box := range f.first {
			boxes[box] = true
		}
	}
	slices.SortStableFunc(files, func(a, b *content) int { return a.at.Compare(b.at) })
	after := make([]map[int]bool, len(files)) // which files come before each
	for i := range files {
		after[i] = map[int]bool{}
	}
	for box := range boxes {
		var with []int
		for i := range files {
			if files[i].first[box] > 0 {
				with = append(with, i)
			}
		}
		slices.SortStableFunc(with, func(a, b int) int { return cmp.Compare(files[a].first[box], files[b].first[box]) })
		for k := 1; k < len(with); k++ {
			if files[with[k-1]].first[box] < files[with[k]].first[box] {
				after[with[k]][with[k-1]] = true
			}
		}
	}
	var order []*content
	left := make([]int, len(files))
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		k := max(slices.IndexFunc(left, func(i int) bool { return len(after[i]) == 0 }), 0)
		next := left[k]
		order = append(order, files[next])
		left = slices.Delete(left, k, k+1)
		for i := range after {
			delete(after[i], next)
		}
	}
	return order
}

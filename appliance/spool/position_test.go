package spool

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/records"
)

// positionOf writes a position's file as a version of mailweir did: the words behind the name, and their checksum where there are any.
func positionOf(seq uint64, behind string) string {
	text := fmt.Sprintf("%s %d ", positionMagic, seq)
	text += fmt.Sprintf("%08x %s", crc32.Checksum([]byte(text), castagnoli), url)
	if behind != "" {
		text += " " + behind + " "
		text += fmt.Sprintf("%08x", crc32.Checksum([]byte(text), castagnoli))
	}
	return text + strings.Repeat(" ", positionSize-1-len(text)) + "\n"
}

// What earlier versions wrote is read as it was meant, and what is damaged or half written is never read as something else: then all there is comes again.
func TestPositionFilesOfEarlierVersions(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{})
	b.say(records.KindAudit, 20)
	if err := b.spool.Close(); err != nil {
		t.Fatal(err)
	}
	dir := b.spool.opt.Dir
	path := positionPath(dir, url)
	first, second, now := positionOf(12, ""), positionOf(12, "arrived 17"), positionOf(12, "taken 9 arrived 17")
	damaged := func(text string, at int) string { return text[:at] + string(text[at]^1) + text[at+1:] }
	for _, row := range []struct {
		why, text           string
		seq, arrived, taken uint64
	}{
		{"the first version's", first, 12, 0, 12},
		{"the second's", second, 12, 17, 12},
		{"this one's", now, 12, 17, 9},
		{"more was taken than the position says", positionOf(12, "taken 15 arrived 17"), 12, 17, 12},
		{"more has arrived than there is", positionOf(12, "taken 9 arrived 21"), 12, 0, 12},
		{"words that no version knows", positionOf(12, "left 9 arrived 17"), 12, 17, 12},
		{"damaged in its number", damaged(now, len(positionMagic)+2), 0, 0, 0},
		{"damaged behind the name", damaged(now, strings.Index(now, "arrived")+9), 12, 0, 12},
		{"damaged in the last checksum", damaged(now, len(strings.TrimSpace(now))-1), 12, 0, 12},
		{"empty", "", 20, 0, 20},
		{"zeroes, as after a power cut", strings.Repeat("\x00", positionSize), 0, 0, 0},
		{"half of it", now[:positionSize/2], 0, 0, 0},
		{"without its end", now[:positionSize-1], 0, 0, 0},
	} {
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		b.open(Options{Dir: dir})
		if seq, arrived, taken := b.reader.Position(), b.reader.Arrived(0), b.reader.Taken(0); seq != row.seq || arrived != row.arrived || taken != row.taken {
			t.Errorf("%s: %d, arrived %d, taken %d; want %d, %d, %d", row.why, seq, arrived, taken, row.seq, row.arrived, row.taken)
		}
	}
	// One that was written over another, to any byte.
	for _, over := range []string{first, second, now} {
		next := positionOf(18, "taken 18 arrived 19")
		for cut := range positionSize {
			text := next[:cut] + over[cut:]
			seq, ok := parsePosition(text)
			if !ok {
				continue
			}
			arrived, taken := parseArrived(text, seq)
			if seq != 12 && seq != 18 || arrived != 0 && !(seq == 12 && arrived == 17) && !(seq == 18 && arrived == 19) || taken != seq && !(seq == 12 && taken == 9) {
				t.Fatalf("cut at %d: %d, arrived %d, taken %d", cut, seq, arrived, taken)
			}
		}
	}
}

// What has arrived at a collector's kernel was sent to it: when it is forgotten, only what is behind that was not; also of one of a life before.
func TestWhatHasArrivedAtAForgottenCollectorIsNotSaidToBeMissing(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{false, true} {
		b := newBox(t, Options{})
		dir := b.spool.opt.Dir
		b.reader.Seek(0)
		b.say(records.KindAudit, 20)
		b.spool.Sync()
		b.reader.Ack(5)
		b.reader.Arrived(12)
		b.reader.Close()
		if before {
			if err := b.spool.Close(); err != nil {
				t.Fatal(err)
			}
			var err error
			if b.spool, err = Open(Options{Dir: dir, OnLoss: func(l Loss) { b.losses = append(b.losses, l) }}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.spool.Only(nil); err != nil {
			t.Fatal(err)
		}
		if len(b.losses) != 1 || b.losses[0].Numbers.String() != "13-20" || b.losses[0].Why != Forgotten || !slices.Equal(b.losses[0].Readers, []string{url}) {
			t.Errorf("of a life before: %v: told %+v", before, b.losses)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, positionPrefix+"*")); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	}
}

// What arrived at a forgotten collector and was not shown to have been read is said to be in doubt, in the next life again where this one died before a record said so.
func TestWhatAForgottenCollectorMayNotHaveReadIsTold(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		ack, arrived, taken uint64
		lost, doubt         string
	}{
		{5, 12, 3, "13-20", "4-12"}, {20, 20, 15, "", "16-20"}, {8, 0, 2, "9-20", "3-8"}, {20, 20, 20, "", ""}, {7, 7, 7, "8-20", ""},
	} {
		for _, before := range []bool{false, true} { // forgotten at once, or while the box was off
			b := newBox(t, Options{})
			dir := b.spool.opt.Dir
			b.reader.Seek(0)
			b.say(records.KindAudit, 20)
			b.spool.Sync()
			b.reader.Ack(row.ack)
			b.reader.Arrived(row.arrived)
			b.reader.Taken(row.taken)
			b.reader.Close()
			if before {
				if err := b.spool.Close(); err != nil {
					t.Fatal(err)
				}
				var err error
				if b.spool, err = Open(Options{Dir: dir, After: b.chain.Seq(), OnLoss: func(l Loss) { b.losses = append(b.losses, l) }}); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.spool.Only(nil); err != nil {
				t.Fatal(err)
			}
			for _, life := range []string{"this life", "the next"} {
				if row.lost+row.doubt == "" {
					if len(b.losses) > 0 {
						t.Errorf("%+v: told %+v", row, b.losses)
					}
				} else if len(b.losses) != 1 || b.losses[0].Numbers.String() != row.lost || b.losses[0].Doubt.String() != row.doubt || !slices.Equal(b.losses[0].Readers, []string{url}) {
					t.Errorf("%s, %+v: told %+v", life, row, b.losses)
				}
				b.losses = nil
				var err error
				if b.spool, err = Open(Options{Dir: dir, After: b.chain.Seq(), OnLoss: func(l Loss) { b.losses = append(b.losses, l) }}); err != nil {
					t.Fatal(err)
				}
			}
			if row.doubt == "" {
				continue
			}
			b.chain.Before(b.spool.Append)
			told := slices.Clone(b.losses)
			for i := range b.losses {
				b.losses[i].Doubt = nil
			}
			for _, said := range []bool{false, true} { // without what is in doubt nothing is said
				b.stateLosses()
				b.spool.settle()
				if left := b.owedFiles(); len(left) > 0 == said {
					t.Errorf("%+v: said %v, and %v is left", row, said, left)
				}
				b.losses = told
			}
		}
	}
}

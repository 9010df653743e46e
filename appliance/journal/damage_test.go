package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// offsets are where the frames of a file begin, and its end.
func offsets(t *testing.T, data []byte) (at []int) {
	t.Helper()
	for n := 0; n < len(data); {
		at = append(at, n)
		n += frameHead + int(binary.LittleEndian.Uint32(data[n:]))
		if string(data[min(n+4, len(data)):]) == trailer {
			return append(at, n)
		}
	}
	return append(at, len(data))
}

// Whatever is damaged in a file, of the one that was written to or of one that is complete, costs what it hit, and no more: the numbers that are
// lost are said, with the place, and nobody speaks of a power cut.
func TestDamageCostsWhatItHits(t *testing.T) {
	t.Parallel()
	bend := func(n int, how func([]byte)) func([]byte, []int) []byte {
		return func(data []byte, at []int) []byte { how(data[at[n]:at[n+1]]); return data }
	}
	for _, row := range []struct {
		why    string
		closed bool
		bend   func(data []byte, at []int) []byte
		rows   int
		says   string // of ten, numbered from 1 on, after the first frame
		torn   bool
	}{
		{"a byte of a row", false, bend(4, func(f []byte) { f[len(f)-1] ^= 1 }), 9, "damaged (a frame's checksum is wrong): the records with the numbers 4 to 4 are lost", false},
		{"a length that leads into a later row", false, bend(4, func(f []byte) { f[0] ^= 1 }), 9, "the records with the numbers 4 to 4 are lost", false},
		{"a length that leads beyond the end", false, bend(4, func(f []byte) { f[2] = 0x20 }), 9, "damaged (a frame's length is not possible): the records with the numbers 4 to 4 are lost", false},
		{"a length that cannot be", false, bend(4, func(f []byte) { f[3] = 0x7f }), 9, "the records with the numbers 4 to 4 are lost", false},
		{"three rows of zeros", false, func(data []byte, at []int) []byte { clear(data[at[4]:at[7]]); return data }, 7, "the records with the numbers 4 to 6 are lost", false},
		{"bytes too many", false, func(data []byte, at []int) []byte {
			return bytes.Join([][]byte{data[:at[4]], []byte("what is this"), data[at[4]:]}, nil)
		}, 10, "damaged (a frame's length is not possible): no record is lost", false},
		{"the first frame", false, bend(0, func(f []byte) { f[10] ^= 1 }), 10, "the records before number 1 are lost", false},
		{"the last row", false, bend(10, func(f []byte) { f[len(f)-1] ^= 1 }), 9, "the records behind number 9 are lost, to the end of the file", false},
		{"zeros behind the end", false, func(data []byte, at []int) []byte { return append(data, make([]byte, 5000)...) }, 10, "5000 bytes from byte", true},
		{"a byte of a complete file and its last one", true, func(data []byte, at []int) []byte {
			data[at[5]-1] ^= 1
			return data[:len(data)-1]
		}, 9, "the records with the numbers 4 to 4 are lost", false},
	} {
		w := open(t, month)
		for i := range 10 {
			w.session("S-1", fmt.Sprintf("100.64.0.%d", i+1), noon.Add(time.Duration(i)*time.Second))
		}
		w.drain()
		path := w.Journal.records[0].path
		end := w.Abandon
		if row.closed {
			end = w.Close
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, row.bend(data, offsets(t, data)), 0o600); err != nil {
			t.Fatal(err)
		}
		said := ""
		for _, d := range w.reopen() {
			said += d.String() + "\n"
			if d.Torn != row.torn || d.File != path || d.Bytes == 0 {
				t.Errorf("%s: %+v", row.why, d)
			}
		}
		if !strings.Contains(said, row.says) || strings.Contains(said, "power cut") != row.torn {
			t.Errorf("%s: said %q, want %q", row.why, said, row.says)
		}
		if rows := len(w.items(Query{})); rows != row.rows {
			t.Errorf("%s: %d records are there, want %d", row.why, rows, row.rows)
		}
		w.session("S-1", "100.64.0.99", noon.Add(time.Minute))
		w.drain()
		if again := w.items(Query{}); len(again) != row.rows+1 {
			t.Errorf("%s: %d records after one more", row.why, len(again))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if again := w.reopen(); again != nil {
			t.Errorf("%s: told again: %v", row.why, again)
		}
		w.Close()
	}
}

// What is damaged in a complete file is found when somebody reads it, and said when it is written anew.
func TestDamageOfACompleteFileIsSaid(t *testing.T) {
	t.Parallel()
	w := open(t, Bounds{Sessions: time.Hour, Records: 2 * time.Hour, Bytes: 64 << 20})
	for i := range 10 {
		w.session("S-1", "203.0.113.77", noon.Add(time.Duration(i)*time.Second))
		w.stage("S-1", "00001", noon.Add(time.Duration(i)*time.Second))
	}
	w.drain()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := w.Journal.records[0].path
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := offsets(t, data)
	data[at[8]+3] = 0x7f // number 8, a STAGE record: nobody knows where the next one begins, but by looking for it
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if found := w.reopen(); found != nil {
		t.Errorf("a complete file is not read at the start: %v", found)
	}
	w.tidy(noon.Add(time.Hour))
	found := w.Damaged()
	if len(found) != 1 || !strings.Contains(found[0].String(), "the records with the numbers 8 to 8 are lost") || w.Damaged() != nil {
		t.Errorf("%v", found)
	}
	if n := len(w.items(Query{Case: "00001"})); n != 9 {
		t.Errorf("%d STAGE records are left of ten, of which one was damaged", n)
	}
}

// Where inputs of the governor are damaged, whoever plays them is told that some are missing.
func TestDamagedInputsAreMissing(t *testing.T) {
	t.Parallel()
	w := open(t, month)
	for i := range 5 {
		in := governor.Input{Op: governor.OpOpen, Now: noon.Add(time.Duration(i) * time.Second), Subscriber: "S-1", Session: uint64(i + 1)}
		w.Record(&in)
		w.drain()
	}
	path := w.Journal.inputs[0].path
	if err := w.Abandon(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[offsets(t, data)[3]+frameHead+2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if found := w.reopen(); len(found) != 1 || !strings.Contains(found[0].String(), "a what-if over that time is an estimate") {
		t.Errorf("%v", found)
	}
	opens, lost := 0, 0
	for _, in := range w.inputs() {
		switch in.Op {
		case governor.OpOpen:
			opens++
		case governor.OpLost:
			lost += in.Cost
		}
	}
	if opens != 4 || lost != 1 {
		t.Errorf("%d inputs, %d said to be missing", opens, lost)
	}
}

// Rows that a wrong clock stamped with a time to come go with those that were written when they were.
func TestRowsOfTheFutureDoNotOutliveTheirTime(t *testing.T) {
	t.Parallel()
	w := open(t, Bounds{Sessions: time.Hour, Records: 2 * time.Hour, Bytes: 64 << 20})
	ahead := noon.Add(20 * 365 * 24 * time.Hour)
	w.session("S-1", "100.64.0.11", noon)
	w.drain()
	w.session("S-1", "203.0.113.77", ahead)
	w.stage("S-1", "00001", ahead)
	in := governor.Input{Op: governor.OpOpen, Now: ahead, Subscriber: "unmapped:203.0.113.77", Session: 1}
	w.Record(&in)
	w.drain()
	w.session("S-2", "198.51.100.9", noon.Add(time.Minute)) // the clock is right again
	in = governor.Input{Op: governor.OpOpen, Now: noon.Add(time.Minute), Subscriber: "S-2", Session: 2}
	w.Record(&in)
	w.drain()
	w.session("S-3", "198.51.100.3", time.Unix(3600, 0)) // and for a moment it was in 1970
	w.session("S-2", "198.51.100.9", noon.Add(50*time.Minute))
	w.drain()
	w.tidy(noon.Add(50 * time.Minute))
	if w.holding("203.0.113.77") == nil || w.holding("100.64.0.11") == nil {
		t.Error("they went before their time")
	}
	w.tidy(noon.Add(61 * time.Minute))
	for _, it := range w.items(Query{}) {
		if it.Record.Kind == "SESSION" && it.Record.Value("src") == "203.0.113.77" {
			t.Error("a session of the future is still there")
		}
	}
	if len(w.items(Query{Case: "00001"})) != 1 {
		t.Error("its STAGE record went with it")
	}
	if n := len(w.inputs()); n != 0 {
		t.Errorf("%d inputs are left", n)
	}
	w.tidy(noon.Add(2*time.Hour + time.Minute))
	if found := w.holding("203.0.113.77"); found != nil || len(w.items(Query{Case: "00001"})) != 0 {
		t.Errorf("after its time it is in %v", found)
	}
	w.whole()
}

// A file that cannot be completed is tried again, and is whole then with what came to it in between.
func TestAFileThatCannotBeCompletedIsTriedAgain(t *testing.T) {
	t.Parallel()
	w, now := open(t, Bounds{Sessions: time.Hour, Records: time.Hour, Bytes: 64 << 20}), time.Now()
	w.stage("S-1", "00001", now)
	w.drain()
	s := w.Journal.records[0]
	written := s.f
	var err error
	if s.f, err = os.Open(s.path); err != nil { // which takes nothing
		t.Fatal(err)
	}
	for range 3 {
		if err := s.seal(); err == nil || s.f == nil {
			t.Fatal("completed without a write:", err)
		}
	}
	s.f.Close()
	s.f = written
	w.stage("S-2", "00002", now.Add(time.Second))
	w.drain()
	for range 2 {
		if rows, stubs := w.whole(); rows != 2 || stubs != 0 {
			t.Errorf("%d rows and %d stubs", rows, stubs)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if found := w.reopen(); len(found) > 0 {
			t.Error(found)
		}
	}
}

// Somebody removes the file that is written to: what is in it is lost, and what comes goes into the next one.
func TestTheFileThatIsWrittenToIsRemoved(t *testing.T) {
	t.Parallel()
	w, now := open(t, Bounds{Sessions: time.Hour, Records: time.Hour, Bytes: 64 << 20}), time.Now()
	w.stage("S-1", "00001", now)
	w.drain()
	if err := os.Remove(w.Journal.records[0].path); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		w.stage("S-2", "00002", now.Add(time.Duration(i)*10*time.Second))
		w.Journal.flush()
	}
	if st := w.Status(); st.Waiting > 0 || st.Lost > 0 || st.Failed > 0 {
		t.Errorf("%+v", st)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	w.reopen()
	if n := len(w.items(Query{})); n < 20 {
		t.Errorf("%d of 30 are there", n)
	}
}

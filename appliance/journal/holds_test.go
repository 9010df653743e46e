package journal

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/records"
)

// damagedHolds is a journal with a held case, of which holds.json was then damaged in some way.
func damagedHolds(t *testing.T, b Bounds, bend func(path string, content []byte) error) *world {
	t.Helper()
	w := open(t, b)
	for i := range 10 {
		w.session("S-1", "203.0.113.77", noon.Add(time.Duration(i)*time.Second))
		w.session("S-2", "198.51.100.9", noon.Add(time.Duration(i)*time.Second))
		w.add(records.Config(records.ConfigFacts{Time: noon, What: "reloaded", File: "mailweir.yaml"}))
	}
	w.stage("S-1", "00007", noon.Add(15*time.Second))
	w.drain()
	if err := w.Hold(Hold{Case: "00007", Subscriber: "S-1", From: noon, To: noon.Add(time.Minute), Reason: "file 12/26", By: "admin", Since: noon}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.opt.Dir, holdsFile)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := bend(path, content); err != nil {
		t.Fatal(err)
	}
	return w
}

var hours = Bounds{Sessions: time.Hour, Records: 2 * time.Hour, Bytes: 64 << 20}

// A holds.json that is damaged costs neither the journal nor what was held: it is set aside, and until somebody says what is held nothing goes of any case, in this life and the next.
func TestWhileItIsNotKnownWhatIsHeldNothingOfACaseGoes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		why  string
		bend func(path string, content []byte) error
		says string
	}{
		{"half of it", func(path string, b []byte) error { return os.WriteFile(path, b[:len(b)/2], 0o600) }, "unexpected end of JSON"},
		{"zeros", func(path string, b []byte) error { return os.WriteFile(path, make([]byte, len(b)), 0o600) }, "invalid character"},
		{"nothing in it", func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) }, "unexpected end of JSON"},
		{"another case's number", func(path string, b []byte) error {
			return os.WriteFile(path, bytes.Replace(b, []byte("00007"), []byte("00003"), 1), 0o600)
		}, "checksum"},
		{"a directory", func(path string, _ []byte) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		}, "is a directory"},
	} {
		t.Run(row.why, func(t *testing.T) {
			t.Parallel()
			w := damagedHolds(t, hours, row.bend)
			for before, life := range []string{"this life", "the next one"} {
				w.reopen()
				if all, unknown := w.Holds(); !strings.Contains(unknown, row.says) || !strings.Contains(unknown, "set aside as ") || len(all) > 0 || w.Status().Unknown != unknown {
					t.Fatalf("%s: %v, %q, status %q", life, all, unknown, w.Status().Unknown)
				}
				if aside, _ := filepath.Glob(filepath.Join(w.opt.Dir, holdsAside+"*")); len(aside) != 1 {
					t.Fatalf("%s: set aside: %v", life, aside)
				}
				w.tidy(noon.Add(3 * time.Hour))
				if rows, _ := w.whole(); rows != 21+before || w.holding("203.0.113.77") == nil || w.holding("198.51.100.9") == nil {
					t.Errorf("%s: %d rows, want what is of subscribers and not the rest", life, rows)
				}
				w.session("S-1", "203.0.113.77", noon.Add(3*time.Hour)) // the journal goes on
				w.drain()
				if n := len(w.items(Query{From: noon.Add(3 * time.Hour)})); n != 1+before {
					t.Errorf("%s: %d new records", life, n)
				}
				w.tidy(noon.Add(10 * time.Hour))
				w.Close()
			}
			w.reopen()
			if err := w.Hold(Hold{Case: "00009", Subscriber: "S-9", From: noon}); err != nil { // which does not mean that it is the only one
				t.Fatal(err)
			}
			w.tidy(noon.Add(10 * time.Hour))
			w.Close()
			w.reopen()
			if all, unknown := w.Holds(); len(all) != 1 || unknown == "" || w.holding("198.51.100.9") == nil {
				t.Fatalf("another hold: %v, %q", all, unknown)
			}
			said := `[{"case": "00007", "subscriber": "S-1", "from": "2026-11-21T12:00:00Z", "to": "2026-11-21T12:01:00Z"}]`
			if err := os.WriteFile(filepath.Join(w.opt.Dir, holdsFile), []byte(said), 0o600); err != nil {
				t.Fatal(err)
			}
			w.tidy(noon.Add(10 * time.Hour))
			all, unknown := w.Holds()
			if unknown != "" || len(all) != 2 || !slices.ContainsFunc(all, func(h Hold) bool { return h.Case == "00009" }) {
				t.Errorf("once it was said: %v, %q", all, unknown)
			}
			if rows, _ := w.whole(); rows != 11 || w.holding("198.51.100.9") != nil || w.Status().Held != 11 {
				t.Errorf("once it was said: %d rows, the neighbour is in %v, %+v", rows, w.holding("198.51.100.9"), w.Status())
			}
			w.Close()
			w.reopen()
			if again, unknown := w.Holds(); len(again) != 2 || unknown != "" {
				t.Errorf("the life after: %v, %q", again, unknown)
			}
		})
	}
}

// What only a hold keeps says that there was one, where the file is gone.
func TestHoldsThatAreGoneAreMissed(t *testing.T) {
	t.Parallel()
	w := damagedHolds(t, hours, func(string, []byte) error { return nil })
	w.reopen()
	w.tidy(noon.Add(3 * time.Hour))
	w.Close()
	if err := os.Remove(filepath.Join(w.opt.Dir, holdsFile)); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	w.tidy(noon.Add(4 * time.Hour))
	if _, unknown := w.Holds(); !strings.Contains(unknown, "there is no ") || w.holding("203.0.113.77") == nil {
		t.Errorf("%q, %v", unknown, w.holding("203.0.113.77"))
	}
}

// So does a mark beside it, before anything is beyond its time; also with an earlier version's list, which had none.
func TestHoldsThatAreGoneBeforeTheirTimeAreMissed(t *testing.T) {
	t.Parallel()
	for _, earlier := range []bool{false, true} {
		w := damagedHolds(t, hours, func(path string, _ []byte) error {
			if earlier {
				return os.Remove(filepath.Join(filepath.Dir(path), holdsMark))
			}
			return os.Remove(path)
		})
		w.reopen()
		if earlier {
			w.Close()
			if err := os.Remove(filepath.Join(w.opt.Dir, holdsFile)); err != nil {
				t.Fatal(err)
			}
			w.reopen()
		}
		_, unknown := w.Holds()
		w.tidy(noon.Add(3 * time.Hour))
		if rows, _ := w.whole(); !strings.Contains(unknown, "there is no ") || !strings.Contains(unknown, holdsFile) || rows != 21 {
			t.Errorf("earlier version %v: %q, %d rows", earlier, unknown, rows)
		}
		if err := os.WriteFile(filepath.Join(w.opt.Dir, holdsFile), []byte("[]"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.tidy(noon.Add(3 * time.Hour))
		if rows, _ := w.whole(); rows != 0 {
			t.Errorf("earlier version %v: once nothing is held: %d rows", earlier, rows)
		}
	}
}

// Where nothing was ever held there is no list, and none is missed.
func TestAJournalThatNeverHeldAnythingMissesNoList(t *testing.T) {
	t.Parallel()
	w := open(t, hours)
	w.session("S-1", "203.0.113.77", noon)
	w.drain()
	w.Close()
	w.reopen()
	if _, unknown := w.Holds(); unknown != "" {
		t.Error(unknown)
	}
}

// A list that a person wrote is refused, with the reason, where it does not say what is held: nothing goes, and what was held by the API meanwhile still is.
func TestAListThatDoesNotSayWhatIsHeldIsRefused(t *testing.T) {
	t.Parallel()
	const whole = `{"case": "00007", "subscriber": "S-1", "from": "2026-11-21T12:00:00Z"}`
	for _, row := range []struct{ list, says string }{
		{`[{}]`, `item 1 (case ""): "case" has to be`},
		{`[null]`, `item 1 (case ""): "case" has to be`},
		{`null`, "unexpected end of JSON"},
		{`["00007"]`, "item 1"},
		{`{"holds": ["00007"]}`, "checksum"},
		{`[{"case": 7}]`, "case of type string"},
		{`[{"cases": "00007", "subscriber": "S-1", "from": "2026-11-21T12:00:00Z"}]`, `unknown field "cases"`},
		{`[{"case": "00007"}]`, `item 1 (case "00007"): "subscriber" is missing`},
		{`[{"case": "00007", "subscriber": "S-1"}]`, `item 1 (case "00007"): "from" is missing`},
		{`[{"case": "7", "subscriber": "S-1", "from": "2026-11-21T12:00:00Z"}]`, `item 1 (case "7"): "case" has to be the number`},
		{`[{"case": "0000a", "subscriber": "S-1", "from": "2026-11-21T12:00:00Z"}]`, `written as "0000A"`},
		{`[{"case": "NUMBER", "subscriber": "S-1", "from": "2026-11-21T12:00:00Z"}]`, `(case "NUMBER")`},
		{`[{"case": "00007", "subscriber": "S-1", "from": "2026-11-21T12:00:00Z", "to": "2026-11-21T11:00:00Z"}]`, `"to" (2026-11-21T11:00:00Z) is before "from"`},
		{`[` + whole + `, ` + whole + `]`, `item 2 (case "00007"): the list has it twice`},
		{`[` + whole + `] 7`, "after top-level value"},
	} {
		t.Run(row.list, func(t *testing.T) {
			t.Parallel()
			w := damagedHolds(t, hours, func(path string, b []byte) error { return os.WriteFile(path, b[:len(b)/2], 0o600) })
			w.reopen()
			if err := w.Hold(Hold{Case: "00009", Subscriber: "S-9", From: noon}); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(w.opt.Dir, holdsFile), []byte(row.list), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, life := range []string{"this life", "the next one"} {
				w.tidy(noon.Add(10 * time.Hour))
				all, unknown := w.Holds()
				if !strings.Contains(unknown, row.says) || !strings.Contains(unknown, holdsFile) || !strings.Contains(unknown, "set aside as ") {
					t.Errorf("%s: %q, want %q", life, unknown, row.says)
				}
				if rows, _ := w.whole(); rows != 21 || len(all) != 1 || all[0].Case != "00009" {
					t.Errorf("%s: %d rows, %v", life, rows, all)
				}
				w.Close()
				w.reopen()
			}
			if err := os.WriteFile(filepath.Join(w.opt.Dir, holdsFile), []byte("["+whole+"]"), 0o600); err != nil {
				t.Fatal(err)
			}
			w.tidy(noon.Add(10 * time.Hour))
			if all, unknown := w.Holds(); unknown != "" || len(all) != 2 || w.holding("203.0.113.77") == nil {
				t.Errorf("once it was said: %v, %q", all, unknown)
			}
		})
	}
}

// Nor is a hold taken that the next life could not read.
func TestAHoldThatSaysTooLittleIsRefused(t *testing.T) {
	t.Parallel()
	w := open(t, hours)
	if err := w.Hold(Hold{Case: "00009", From: noon}); err == nil || !strings.Contains(err.Error(), `"00009"`) || !strings.Contains(err.Error(), "subscriber") {
		t.Error(err)
	}
}

// While it is not known what is held the journal may outgrow its bound, and not the disk: there new records are lost, and counted.
func TestADiskThatIsFullOfWhatMayBeHeld(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatalf("mount a small disk, which needs root: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	w := open(t, Bounds{Sessions: time.Hour, Records: time.Hour, Bytes: 1 << 20})
	w.opt.Dir = filepath.Join(dir, "journal")
	if err := os.MkdirAll(w.opt.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.opt.Dir, holdsFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	for i := range 20_000 {
		w.session("S-1", "100.64.0.11", noon.Add(time.Duration(i)*time.Millisecond))
		if i%500 == 0 {
			w.flush()
		}
	}
	w.flush()
	st := w.Status()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	left := int64(fs.Bavail) * int64(fs.Bsize)
	if st.Err == nil || !strings.Contains(st.Err.Error(), "it is not known what is held") || st.Lost == 0 || st.Bytes < 2<<20 || left < 256<<10 {
		t.Errorf("%+v, %d bytes left on the disk", st, left)
	}
	if rows, _ := w.whole(); rows == 0 || w.items(Query{})[0].Record.Seq != 1 {
		t.Errorf("the oldest of %d records is %d", rows, w.items(Query{})[0].Record.Seq)
	}
	if err := os.WriteFile(filepath.Join(w.opt.Dir, holdsFile), []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.tidy(noon.Add(time.Minute))
	w.drain()
	if st := w.Status(); st.Err != nil || st.Bytes > 1<<20 {
		t.Errorf("once nothing is held: %+v", st)
	}
}

package sheet

import (
	"encoding/csv"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestCell: what a spreadsheet would run gets an apostrophe, all else stays as it is.
func TestCell(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "home": "home", "a=1": "a=1", "=cmd": "'=cmd", "+1": "'+1", "-1": "'-1", "@a": "'@a", "\tx": "'\tx", "|x": "'|x", "%x": "'%x",
		"x;=cmd;y": "x;'=cmd;y", "a,+1": "a,'+1", "a\t=1": "a\t'=1", "a\n=1": "a\n'=1", "a; b": "a; b", "10;-5;x-y": "10;'-5;x-y", ";\"=1": ";\"'=1", "=1;=2": "'=1;'=2", "\"=1": "\"'=1", "é;=1": "é;'=1", "a;": "a;"} {
		if got := Cell(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// Whatever the separator that a spreadsheet takes, and however it takes quotes, no cell begins with what it would run.
func TestNoSeparatorMakesAFormula(t *testing.T) {
	t.Parallel()
	const letters = `=+-@|%;,"'ab` + "\t\r\n"
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		var s strings.Builder
		for range 1 + rng.IntN(8) {
			s.WriteByte(letters[rng.IntN(len(letters))])
		}
		var line strings.Builder
		w := csv.NewWriter(&line)
		if err := w.Write([]string{"x", Cell(s.String()), "y"}); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		for _, cut := range []string{";", ",", "\t", ";,\t"} {
			for _, cell := range strings.FieldsFunc(line.String(), func(r rune) bool { return strings.ContainsRune(cut+"\r\n", r) }) {
				if cell = strings.TrimLeft(cell, `"`); cell != "" && strings.ContainsRune("=+-@|%", rune(cell[0])) {
					t.Fatalf("%q is written %q, and read with %q it has %q", s.String(), line.String(), cut, cell)
				}
			}
		}
	}
}

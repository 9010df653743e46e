package sheet

import "testing"

// TestCell: what a spreadsheet would run gets an apostrophe, all else stays as it is.
func TestCell(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "home": "home", "a=1": "a=1", "=cmd": "'=cmd", "+1": "'+1", "-1": "'-1", "@a": "'@a", "\tx": "'\tx", "|x": "'|x", "%x": "'%x"} {
		if got := Cell(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

package layout

import (
	"bytes"
	"strings"
	"testing"
)

func TestWhatIsKeptOutlivesAPowerCut(t *testing.T) {
	file := make([]byte, KeptSize)
	if got := Kept(file); got != nil {
		t.Errorf("a new file says %q", got)
	}
	write := func(text string) (before []byte) {
		t.Helper()
		before = bytes.Clone(file)
		b, at, err := Keep(file, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		copy(file[at:], b)
		if got := Kept(file); string(got) != text {
			t.Fatalf("%q is read as %q", text, got)
		}
		return before
	}
	for n, text := range []string{"one", "two", strings.Repeat("x", KeptMost), "four", ""} {
		before := write(text)
		if n == 0 {
			continue
		}
		was := Kept(before)
		for cut := 0; cut <= KeptSize; cut += 509 { // so much of the writing came to the disk
			torn := append(bytes.Clone(file[:cut]), before[cut:]...)
			if got := Kept(torn); !bytes.Equal(got, was) && string(got) != text {
				t.Fatalf("text %d cut after %d bytes is read as %.20q", n, cut, got)
			}
		}
	}
	for _, bad := range [][]byte{nil, make([]byte, 10), bytes.Repeat([]byte{0xff}, KeptSize)} {
		if got := Kept(bad); got != nil {
			t.Errorf("%d bytes say %.20q", len(bad), got)
		}
	}
	if _, _, err := Keep(file, make([]byte, KeptMost+1)); err == nil {
		t.Error("a text that is too long was taken")
	}
	if _, _, err := Keep(make([]byte, KeptSize-1), nil); err == nil {
		t.Error("a file of another size was taken")
	}
}

package journal

import (
	"os"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// A hole is told where it is: a damaged frame after the next start, a file that is not there, a frame that this version does not understand, and one of an
// older form; what is behind it is read all the same.
func TestAHoleIsWhereItWas(t *testing.T) {
	t.Parallel()
	anew := func(path string, n int, kind byte, op governor.Op) error { // writes a frame's content anew, with a checksum that is right
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at := offsets(t, data)
		payload := append([]byte(nil), data[at[n]+frameHead:at[n+1]]...)
		if kind != 0 {
			payload[0] = kind
		}
		if op != 0 {
			c := cursor{b: payload[1:]}
			c.varint()
			c.varint()
			c.uvarint()
			payload[len(payload)-len(c.b)] = byte(op)
		}
		copy(data[at[n]:], appendFrame(nil, payload))
		return os.WriteFile(path, data, 0o600)
	}
	for _, row := range []struct {
		why  string
		bend func(first, second string) error
		want string
		says string
	}{
		{"a byte", func(first, _ string) error {
			data, err := os.ReadFile(first)
			if err != nil {
				return err
			}
			data[offsets(t, data)[2]+frameHead+2] ^= 1
			return os.WriteFile(first, data[:len(data)-1], 0o600) // so that the next start reads it
		}, "o.ooooooo", unwritten},
		{"a file", func(_, second string) error { return os.Remove(second) }, "ooo.ooo", gone},
		{"an op to come", func(first, _ string) error { return anew(first, 2, 0, 250) }, "o.ooooooo", foreign},
		{"an older form", func(_, second string) error { return anew(second, 1, rowInputsOlder, 0) }, "ooo.ooooo", older},
	} {
		w := open(t, month)
		for i := range 9 {
			in := governor.Input{Op: governor.OpOpen, Now: noon.Add(time.Duration(i)*time.Second + time.Duration(i/3)*7*time.Hour), Subscriber: "S-1", Session: uint64(i + 1)}
			w.Record(&in)
			w.drain()
		}
		if len(w.Journal.inputs) != 3 {
			t.Fatalf("%d files", len(w.Journal.inputs))
		}
		first, second := w.Journal.inputs[0].path, w.Journal.inputs[1].path
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := row.bend(first, second); err != nil {
			t.Fatal(err)
		}
		w.reopen()
		got := ""
		for _, in := range w.inputs() {
			if in.Op == governor.OpLost {
				got += "."
				if in.Reason != row.says || in.By == "" && row.says != unwritten {
					t.Errorf("%s: it says %q of %q, want %q", row.why, in.Reason, in.By, row.says)
				}
			} else {
				got += "o"
			}
		}
		if got != row.want {
			t.Errorf("%s: read %s, want %s", row.why, got, row.want)
		}
		w.Close()
	}
}

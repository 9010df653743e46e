package subscriber

import (
	"bytes"
	"encoding/csv"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// What a writer of such files writes is read as it was, however it arrives.
func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cell := rapid.StringMatching(`([a-c,"éß:]|\n| x){0,8}`)
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, 2, 4), 1, 8).Draw(t, "rows")
		var file bytes.Buffer
		w := csv.NewWriter(&file)
		w.UseCRLF = rapid.Bool().Draw(t, "CRLF")
		for _, row := range rows {
			row[0] = "k" + row[0]
			for i := range row {
				row[i] = strings.TrimSpace(row[i])
			}
			if err := w.Write(row); err != nil {
				t.Fatal(err)
			}
		}
		w.Flush()
		r := newRecords(iotest.OneByteReader(bytes.NewReader(file.Bytes())), func(line, column int, format string, args ...any) {
			t.Errorf("%d:%d: "+format, append([]any{line, column}, args...)...)
		})
		line := 1
		for _, want := range rows {
			if !r.read() {
				t.Fatalf("the end, instead of %q", want)
			}
			var got []string
			for _, f := range r.fields {
				got = append(got, string(f.value))
			}
			if !slices.Equal(got, want) || r.line != line {
				t.Fatalf("%d: %q, want %d: %q", r.line, got, line, want)
			}
			line += 1 + strings.Count(strings.Join(want, ""), "\n")
		}
		if r.read() || r.err != nil {
			t.Fatalf("more than was written: %q, %v", r.record, r.err)
		}
	})
}

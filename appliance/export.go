package appliance

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/sheet"
)

// ExportedRecord is a line of `mailweir export --format json`.
type ExportedRecord struct {
	Seq    uint64            `json:"seq"`
	At     string            `json:"at"`
	Kind   string            `json:"kind"`
	Text   string            `json:"text"`
	Held   []string          `json:"held,omitempty"` // cases that keep it beyond its time
	Params map[string]string `json:"params"`
}

// ExportJSON writes the records that q wants, the oldest first, an object a line. It gives how many.
func ExportJSON(w io.Writer, r *journal.Reader, q journal.Query) (n int, err error) {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	err = exported(r, q, func(it *journal.Item) error {
		e := ExportedRecord{Seq: it.Record.Seq, At: records.Stamp(it.Record.Time), Kind: string(it.Record.Kind), Text: it.Record.Text, Held: it.Held, Params: map[string]string{}}
		for _, p := range it.Record.Params() {
			e.Params[p.Name] = p.Value
		}
		n++
		return out.Encode(e)
	})
	return n, err
}

// ExportCSV writes them with a line of names first. Where q wants one kind that has columns, each parameter has its own; else
// they are in one, as `name=value` with a blank between. No cell is taken for a formula by a spreadsheet.
func ExportCSV(w io.Writer, r *journal.Reader, q journal.Query) (n int, err error) {
	var columns []string
	if len(q.Kinds) == 1 {
		columns = sheet.Columns(string(q.Kinds[0]))
	}
	names := slices.Concat([]string{"seq", "time", "kind"}, columns)
	if columns == nil {
		names = append(names, "parameters")
	}
	out := csv.NewWriter(w)
	out.UseCRLF = true // RFC 4180
	if err := out.Write(append(names, "text", "held_by_case")); err != nil {
		return 0, err
	}
	row := make([]string, 0, len(names)+2)
	err = exported(r, q, func(it *journal.Item) error {
		row = append(row[:0], strconv.FormatUint(it.Record.Seq, 10), records.Stamp(it.Record.Time), string(it.Record.Kind))
		if columns == nil {
			var all []string
			for _, p := range it.Record.Params() {
				all = append(all, p.Name+"="+strconv.Quote(p.Value))
			}
			row = append(row, strings.Join(all, " "))
		}
		for _, name := range columns {
			row = append(row, sheet.Cell(it.Record.Value(name)))
		}
		n++
		return out.Write(append(row, sheet.Cell(it.Record.Text), strings.Join(it.Held, " ")))
	})
	out.Flush()
	return n, errors.Join(err, out.Error())
}

func exported(r *journal.Reader, q journal.Query, give func(*journal.Item) error) error {
	return r.Each(q, func(it *journal.Item) error {
		if it.Record.Seq == 0 { // a stub, or damage: not what is asked for here
			return nil
		}
		return give(it)
	})
}

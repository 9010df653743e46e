package evidence

import (
	"encoding/csv"
	"io"
	"strconv"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/sheet"
)

// columns of sessions.csv, by the names of the records' parameters.
var columns = []string{"seq", "event", "start", "end", "src", "sport", "dst", "dport", "starttls", "tls", "tls_version", "ja4", "sni", "handshake",
	"messages", "messages_lo", "messages_hi", "recipients", "rejected", "bytes_up", "bytes_down", "end_reason"}

// table is sessions.csv (RFC 4180).
type table struct {
	w   *csv.Writer
	row []string
}

func newTable(to io.Writer) *table {
	t := &table{w: csv.NewWriter(to), row: make([]string, len(columns))}
	t.w.UseCRLF = true
	copy(t.row, columns)
	_ = t.w.Write(t.row) // an error stays with the writer: see flush
	return t
}

// add writes a session.
func (t *table) add(r *records.Record) error {
	t.row[0] = strconv.FormatUint(r.Seq, 10)
	for i, name := range columns[1:] {
		t.row[1+i] = sheet.Cell(r.Value(name))
	}
	return t.w.Write(t.row)
}

func (t *table) flush() error {
	t.w.Flush()
	return t.w.Error()
}

// atLeast is how many messages a session had at least.
func atLeast(r *records.Record) int {
	clear, _ := strconv.Atoi(r.Value("messages"))
	inTLS, _ := strconv.Atoi(r.Value("messages_lo"))
	return max(clear, inTLS, 0)
}

// Package sheet is what exports of records to spreadsheets share, the box's own and the web admin's. It imports nothing of ours.
package sheet

import "strings"

// Cell is s for a CSV that a spreadsheet opens: what a spreadsheet would run, whoever chose it, gets an apostrophe before it (OWASP, CSV Injection). So does what
// would run where the spreadsheet takes another separator than the comma: in much of Europe the semicolon is the usual one, and quotes inside a line do not
// keep it from parting what stands between them.
func Cell(s string) string {
	var b strings.Builder
	begins, kept := true, 0 // a cell begins here, for one spreadsheet or another; so much of s is in b
	for i := range len(s) {
		if begins && strings.IndexByte("=+-@\t\r\n|%", s[i]) >= 0 {
			b.WriteString(s[kept:i])
			b.WriteByte('\'')
			kept = i
		}
		begins = strings.IndexByte(";,\t\r\n", s[i]) >= 0 || begins && s[i] == '"'
	}
	if kept == 0 && b.Len() == 0 {
		return s
	}
	b.WriteString(s[kept:])
	return b.String()
}

// columns are parameters of records, by their kind.
var columns = map[string][]string{
	"SESSION": strings.Fields("subscriber plan binding src sport dst dport start end dur_ms bytes_up bytes_down starttls tls tls_version ja4 ja3 sni " +
		"handshake alert handshake_bytes messages messages_lo messages_hi recipients rejected end_reason mode policy event"),
	"DECISION": strings.Fields("subscriber plan binding src sport dst dport action acted stage reason budget window limit burst value ratio wait_ms until case " +
		"exemption retry answer mode policy event"),
	"STAGE": strings.Fields("subscriber plan from to reason budget window limit burst value ratio until case mode policy event"),
}

// Columns are the parameters that have a column each where only records of this kind are exported; nil: all are in one.
func Columns(kind string) []string { return columns[kind] }

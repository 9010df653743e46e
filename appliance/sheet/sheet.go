// Package sheet is what exports of records to spreadsheets share, the box's own and the web admin's. It imports nothing of ours.
package sheet

import "strings"

// Cell is s for a CSV that a spreadsheet opens: what a spreadsheet would run, whoever chose it, gets an apostrophe before it (OWASP, CSV Injection).
func Cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n|%", rune(s[0])) {
		return "'" + s
	}
	return s
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

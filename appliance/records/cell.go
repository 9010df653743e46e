package records

import "strings"

// Cell is s for a CSV that a spreadsheet opens: what a spreadsheet would run, whoever chose it, gets an apostrophe before it (OWASP, CSV Injection).
func Cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n|%", rune(s[0])) {
		return "'" + s
	}
	return s
}

package responder

import (
	"fmt"
	"strings"
	"time"
)

// Placeholders are the words in braces that a defer text may use.
var Placeholders = []string{"{budget}", "{retry}", "{case}"}

// Fill puts the facts of one deferral into the configured text. budget reads like
// "sessions 21/20 per 1h (105%)"; caseNo may be empty.
func Fill(text, budget string, retry time.Duration, caseNo string) string {
	if caseNo == "" {
		caseNo = "none"
	}
	return strings.NewReplacer("{budget}", budget, "{retry}", Wait(retry), "{case}", caseNo).Replace(text)
}

// Wait says a waiting time the way a person would, always rounded up: whoever
// comes back after it must find room.
func Wait(d time.Duration) string {
	switch {
	case d <= time.Second:
		return "1 second"
	case d <= 90*time.Second:
		return fmt.Sprintf("%d seconds", (d+time.Second-1)/time.Second)
	case d <= 90*time.Minute:
		return fmt.Sprintf("%d minutes", (d+time.Minute-1)/time.Minute)
	default:
		return fmt.Sprintf("%d hours", (d+time.Hour-1)/time.Hour)
	}
}

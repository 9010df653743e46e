package webadmin

import (
	"regexp"
	"strings"
)

// budgetKinds are what budgets count: the configuration's words, which are those of the API and of records too.
var budgetKinds = []string{"sessions", "tls_handshakes", "tls_failures", "concurrent_sessions", "destinations", "messages", "recipients", "rejected"}

// kindWords are what pages call those that are no words of a language.
var kindWords = map[string]string{"tls_handshakes": "TLS handshakes", "tls_failures": "TLS failures", "concurrent_sessions": "concurrent sessions", "rejected": "rejections"}

// kindText is what a page calls what a budget counts.
func kindText(of string) string {
	if words := kindWords[of]; words != "" {
		return words
	}
	return inert(of)
}

// kindsInside finds the kinds in what the box says of budgets: the underscored ones wherever they are, and "rejected", which is a word of the language as well,
// only as a reason has it, before two numbers.
var kindsInside = regexp.MustCompile(`\b(?:tls_handshakes|tls_failures|concurrent_sessions)\b|\brejected (\d+/\d)`)

// figuresInside finds the numbers of a reason that a page separates: a value and its limit, per cent, and how many of what. Those of addresses, dates and names are not among them.
var figuresInside = regexp.MustCompile(`(?:^|[ (])\d+/\d+\b|\b\d{4,}(?:%| (?:per|at once|sessions?|connections?|handshakes?|messages?|recipients?|networks?|lines?|packets?|records?)\b)`)

var longNumber = regexp.MustCompile(`\d{4,}`)

// reasonText is a reason of the box, or another text of it that may have one inside, as a page says it: "TLS handshakes 21/20 per 1h (105%)".
func reasonText(reason string) string {
	worded := kindsInside.ReplaceAllStringFunc(reason, func(found string) string {
		if kind, numbers, more := strings.Cut(found, " "); more {
			return kindWords[kind] + " " + numbers
		}
		return kindWords[found]
	})
	return inert(figuresInside.ReplaceAllStringFunc(worded, func(found string) string {
		return longNumber.ReplaceAllStringFunc(found, separated)
	}))
}

package appliance

import (
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// openLabels have values that the box itself chooses from a list, or the names of its own interfaces. What is new is masked until somebody thinks
// about it, as in the web admin's veil.
var openLabels = map[string]bool{"version": true, "mode": true, "queue_form": true, "reader": true, "action": true, "stage": true, "queue": true, "why": true, "verdict": true, "reason": true,
	"rule": true, "answer": true, "what": true, "result": true, "kept": true, "how": true, "copy": true, "name": true, "looks_like": true, "tls": true}

// maskWords say what a masked value is one of.
var maskWords = map[string]string{"target": "target", "path": "lease file", "server": "time server"}

// labelMask numbers the values of each label that is not open, in the order in which they come: the one of status.
type labelMask map[string][]string

// of are the labels of a metric as a viewer sees them. Different ones stay different.
func (k labelMask) of(d *prometheus.Desc, values []string) []string {
	masked := slices.Clone(values)
	for i, label := range labelled[d] {
		if openLabels[label] || values[i] == "" {
			continue
		}
		at := slices.Index(k[label], values[i])
		if at < 0 {
			at, k[label] = len(k[label]), append(k[label], values[i])
		}
		switch word := maskWords[label]; {
		case label == "url":
			masked[i] = webadmin.CollectorMask(values[i], at)
		case word == "":
			masked[i] = fmt.Sprintf("hidden %d", at+1)
		default:
			masked[i] = fmt.Sprintf("%s %d", word, at+1)
		}
	}
	return masked
}

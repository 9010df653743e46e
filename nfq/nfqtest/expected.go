package nfqtest

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// ZeekLog reads the lines of a zeek log by their column names.
func ZeekLog(t testing.TB, file string) (rows []map[string]string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	for line := range strings.Lines(string(raw)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case fields[0] == "#fields":
			columns = fields[1:]
		case fields[0] == "ts":
			columns = fields
		case !strings.HasPrefix(line, "#") && len(fields) >= len(columns):
			row := map[string]string{}
			for i, c := range columns {
				row[c] = fields[i]
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// SuricataTransactions is how many SMTP transactions a test of suricata's expects in its newest version, -1 if it does not look at them.
func SuricataTransactions(t testing.TB, file string) int {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Checks []struct {
			Filter struct {
				Count    int
				Requires map[string]string
				Match    map[string]any
			}
		}
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	all, byID := -1, map[any]int{}
	for _, c := range doc.Checks {
		f := c.Filter
		if f.Match["event_type"] != "smtp" || f.Requires["lt-version"] != "" {
			continue
		}
		if id, ok := f.Match["tx_id"]; ok {
			byID[id] = max(byID[id], f.Count)
		} else {
			all = max(all, f.Count)
		}
	}
	n := 0
	for _, count := range byID {
		n += count
	}
	if len(byID) == 0 {
		return all
	}
	return max(all, n)
}

package monitoring

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Query is a PromQL expression and where it stands.
type Query struct{ Where, Expr string }

// Queries are all of the dashboard, then all of the rules. The dashboard's variables are filled in as Grafana would
// with every box chosen and a scrape every 15 seconds.
func Queries() ([]Query, error) {
	var board struct {
		Annotations struct{ List []struct{ Name, Expr string } }
		Panels      []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(Dashboard, &board); err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	fill := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*")
	var all []Query
	for _, a := range board.Annotations.List {
		all = append(all, Query{"dashboard, annotation " + a.Name, fill.Replace(a.Expr)})
	}
	for _, p := range board.Panels {
		for _, t := range p.Targets {
			all = append(all, Query{"dashboard, panel " + p.Title, fill.Replace(t.Expr)})
		}
	}
	rules, err := Alerts()
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		all = append(all, Query{"rules, " + r.Alert, r.Expr})
	}
	return all, nil
}

// Alert is a rule.
type Alert struct{ Alert, Expr string }

// Alerts are all rules, in the order of the file.
func Alerts() ([]Alert, error) {
	var file struct{ Groups []struct{ Rules []Alert } }
	if err := yaml.Unmarshal(Rules, &file); err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	var all []Alert
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all, nil
}

var (
	// grouping lists names of labels, which look like metrics.
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring) \([^)]*\)`)
	// selector is a metric's name, which has an underscore but for up, and its labels' matchers. No function that is used has an underscore.
	selector = regexp.MustCompile(`\b(?:up|[a-z]+(?:_[a-z0-9]+)+)\b(?:\{[^}]*\})?`)
)

// Selectors are the metrics that a query reads, each with its labels' matchers.
func (q Query) Selectors() []string {
	return selector.FindAllString(grouping.ReplaceAllString(q.Expr, ""), -1)
}

package monitoring

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	grafana "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/mailweir/mailweir/appliance"
)

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Prometheus takes the rules, and each fires in its story and is silent in the other.
func TestRulesFireWhenTheyShould(t *testing.T) {
	promtool(t, "check", "rules", "mailweir.rules.yml")
	promtool(t, "test", "rules", "mailweir.rules_test.yml")
	stories, err := os.ReadFile("mailweir.rules_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := Alerts()
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) == 0 {
		t.Fatal("there are no rules")
	}
	for _, r := range rules {
		for _, story := range []string{"stays silent", "fires"} {
			if !strings.Contains(string(stories), "name: "+r.Alert+" "+story+"\n") {
				t.Errorf("mailweir.rules_test.yml has no story in which %s %s", r.Alert, story)
			}
		}
	}
}

// A story that is not true is found: promtool does look.
func TestPromtoolFindsAWrongStory(t *testing.T) {
	dir := t.TempDir()
	stories, err := os.ReadFile("mailweir.rules_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	wrong := strings.Replace(string(stories), "1x10 0x20", "1x30", 1)
	for name, text := range map[string]string{"mailweir.rules.yml": string(Rules), "wrong_test.yml": wrong} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("promtool", "test", "rules", dir+"/wrong_test.yml").CombinedOutput(); err == nil || !strings.Contains(string(out), "MailweirDown") {
		t.Errorf("promtool says %v: %s", err, out)
	}
}

// known are all metrics that a box's /metrics may have.
func known(t *testing.T) []string {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := append(appliance.MetricNames(), "up") // which Prometheus itself makes
	for _, f := range families {
		names = append(names, f.GetName())
	}
	return names
}

func TestQueriesNameMetricsThatExist(t *testing.T) {
	names := known(t)
	queries, err := Queries()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, q := range queries {
		selectors := q.Selectors()
		if len(selectors) == 0 {
			t.Errorf("%s reads no metric: %s", q.Where, q.Expr)
		}
		for _, s := range selectors {
			n++
			name, _, _ := strings.Cut(s, "{")
			if !slices.Contains(names, name) {
				t.Errorf("%s: there is no metric %s", q.Where, name)
			}
		}
	}
	t.Logf("%d queries with %d selectors", len(queries), n)
}

// Grafana's own types take the dashboard as it is, strictly: no field that Grafana would ignore.
func TestDashboardIsGrafanas(t *testing.T) {
	kinds := cog.NewRuntime()
	kinds.RegisterPanelcfgVariant(stat.VariantConfig())
	kinds.RegisterPanelcfgVariant(timeseries.VariantConfig())
	kinds.RegisterDataqueryVariant(grafana.VariantConfig())
	//lint:ignore SA1019 dashboardv2 is the form that Grafana 10 and 11 do not import from a file
	var board dashboard.Dashboard
	var faults cog.BuildErrors // which the SDK returns as an error even when there are none
	if err := board.UnmarshalJSONStrict(Dashboard); !errors.As(err, &faults) || len(faults) > 0 {
		t.Fatal(err)
	}
	if err := board.Validate(); err != nil {
		t.Error(err)
	}
	var panels struct {
		Panels []struct {
			ID      int
			GridPos struct{ X, Y, W, H int }
			Title   string
		}
	}
	if err := json.Unmarshal(Dashboard, &panels); err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for i, p := range panels.Panels {
		if seen[p.ID] {
			t.Errorf("panel %q: number %d is taken", p.Title, p.ID)
		}
		seen[p.ID] = true
		for _, o := range panels.Panels[:i] {
			a, b := p.GridPos, o.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panel %q lies over %q", p.Title, o.Title)
			}
		}
	}
}

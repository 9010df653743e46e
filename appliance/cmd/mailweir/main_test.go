package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Exit codes and the stream that is written to are what scripts rely on.
func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	badList := filepath.Join(dir, "bad-list.yaml")
	for path, text := range map[string]string{badList: "identity: {subscribers_file: bad.csv}\n", filepath.Join(dir, "bad.csv"): "subscriber,plan\nS-1,golden\n", good: "mode: enforce\n", bad: "mode: enforce\nqueue:\n  lenght: 5\nadmin:\n  metrics: maybe\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		why            string
		argv           []string
		exit           int
		stdout, stderr string // parts of
	}{
		{"nothing: the usage, as an error", nil, 2, "", "usage: mailweir COMMAND"},
		{"help", []string{"--help"}, 0, "usage: mailweir COMMAND", ""},
		{"help of a command", []string{"status", "--help"}, 0, "usage: mailweir status", ""},
		{"version", []string{"version"}, 0, "mailweir unknown", ""},
		{"an unknown command", []string{"govern"}, 2, "", `no command "govern"`},
		{"an unknown flag", []string{"status", "--date", "x"}, 2, "", "-date"},
		{"a command of a later version", []string{"reset"}, 1, "", "reset is not built yet"},
		{"run without what it needs", []string{"run"}, 2, "", "--config FILE and --data DIR"},
		{"check without a file", []string{"check"}, 2, "", "--config FILE"},
		{"check of a good file", []string{"check", "--config", good}, 0, "mode: enforce", "warning: "},
		{"check of a bad file names file, line and key of each", []string{"check", "--config", bad}, 2, "", "bad.yaml:3: queue.lenght"},
		{"check of a bad file", []string{"check", "--config", bad}, 2, "", "bad.yaml:5: admin.metrics"},
		{"check of no file", []string{"check", "--config", filepath.Join(dir, "none.yaml")}, 2, "", "none.yaml"},
		{"run with a bad file", []string{"run", "--config", bad, "--data", dir}, 2, "", "bad.yaml:3: queue.lenght"},
		{"run with a bad list", []string{"run", "--config", badList, "--data", filepath.Join(dir, "data")}, 2, "", "bad.csv:2: "},
		{"and once more: nothing is held any more", []string{"run", "--config", badList, "--data", filepath.Join(dir, "data")}, 2, "", "bad.csv:2: "},
		{"status of nobody", []string{"status", "--data", dir}, 1, "", "no mailweir runs with data directory"},
		{"release of nobody in particular", []string{"release"}, 2, "", "one subscriber ID"},
		{"users of nobody", []string{"users", "--data", dir}, 1, "", "no mailweir runs"},
		{"a user without a role", []string{"users", "add", "anna"}, 2, "", "--role"},
		{"a role of nobody", []string{"users", "role", "anna"}, 2, "", "takes 2 arguments, not 1"},
		{"users: a word that is none", []string{"users", "promote", "anna"}, 2, "", `no word "promote"`},
		{"flags after arguments", []string{"release", "S-1", "--data", dir}, 1, "", "no mailweir runs"},
	} {
		var stdout, stderr bytes.Buffer
		if exit := Main(t.Context(), row.argv, &stdout, &stderr); exit != row.exit {
			t.Errorf("%s: exit %d, want %d: %s", row.why, exit, row.exit, stderr.String())
		}
		if !strings.Contains(stdout.String(), row.stdout) || row.stdout == "" && stdout.Len() > 0 {
			t.Errorf("%s: stdout %q", row.why, stdout.String())
		}
		if !strings.Contains(stderr.String(), row.stderr) || row.stderr == "" && stderr.Len() > 0 {
			t.Errorf("%s: stderr %q", row.why, stderr.String())
		}
		for line := range strings.Lines(stderr.String()) {
			if row.argv != nil && !strings.HasPrefix(line, "mailweir: ") {
				t.Errorf("%s: a line on stderr does not say who speaks: %q", row.why, line)
			}
		}
	}
}

func TestCheckPrintsJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mailweir.yaml")
	if err := os.WriteFile(path, []byte("mode: enforce\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if exit := Main(t.Context(), []string{"check", "--json", "--config", path}, &stdout, &stderr); exit != 0 {
		t.Fatalf("exit %d: %s", exit, stderr.String())
	}
	var got struct {
		Mode    string `json:"mode"`
		Network struct {
			LimitedPorts []int `json:"limited_ports"`
		} `json:"network"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil || got.Mode != "enforce" || len(got.Network.LimitedPorts) != 1 {
		t.Errorf("%+v, %v in %s", got, err, stdout.String())
	}
}

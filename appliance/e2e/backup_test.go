package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A backup that one command made and locked is looked at and put back by another, at a box that runs: what was changed meanwhile is said by key, and
// then it is as it was, in force and on record.
func TestABackupByTheCommandLine(t *testing.T) {
	l, ctx := startLab(t)
	text := config("enforce", "")
	list := "subscriber,plan,prefixes\nhome,free,100.64.9.9\n"
	b := newBox(t, ctx, l, text, list)
	b.start()
	dir := t.TempDir()
	file, key, other := filepath.Join(dir, "box.age"), filepath.Join(dir, "key"), filepath.Join(dir, "other")
	check(t, os.WriteFile(key, []byte("four words are easier\n"), 0o600))
	check(t, os.WriteFile(other, []byte("four words are harder\n"), 0o600))
	run := func(args ...string) (said string, exit int) {
		t.Helper()
		cmd := exec.CommandContext(ctx, binary, append(args, "--data", b.data)...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if said, exit := run("backup", file, "--passphrase-file", key); exit != 0 {
		t.Fatal(said)
	}

	var o webadmin.ConfigOutcome
	b.json("PUT", "config", map[string]string{"config": strings.Replace(text, "limit: 100000", "limit: 7", 1), "revision": ""}, &o)
	var changed webadmin.ListOutcome
	b.json("PUT", "config/subscribers", map[string]string{"csv": list + "else,free,100.64.9.10\n"}, &changed)
	plan := func() int {
		var c struct {
			Values struct {
				Plans []struct{ Budgets []struct{ Limit int } }
			}
		}
		b.json("GET", "config", struct{}{}, &c)
		return c.Values.Plans[0].Budgets[0].Limit
	}
	if said, exit := run("restore", file, "--passphrase-file", other); exit != 1 || !strings.Contains(said, "not the one that it was locked with") {
		t.Errorf("with another passphrase: exit %d, %q", exit, said)
	}
	said, exit := run("restore", file, "--dry-run", "--passphrase-file", key)
	if exit != 0 || !strings.Contains(said, "plans[0].budgets[0].limit  7  ") || !strings.Contains(said, "nothing was changed") || plan() != 7 {
		t.Errorf("looked at: exit %d, limit %d, %q", exit, plan(), said)
	}
	if said, exit := run("restore", file, "--passphrase-file", key); exit != 0 || !strings.Contains(said, "restored, and in force") || plan() != 100000 {
		t.Errorf("restored: exit %d, limit %d, %q", exit, plan(), said)
	}
	for name, want := range map[string]string{"mailweir.yaml": text, "subscribers.csv": list} {
		if got, err := os.ReadFile(filepath.Join(l.Dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
	for _, what := range []string{"backup", "restore"} {
		said := func() (n int) {
			for _, r := range b.records("kind=AUDIT&limit=100") {
				if param(r.Line, "what") == what {
					n++
				}
			}
			return n
		}
		await(t, 10*time.Second, "the AUDIT record of "+what, func() bool { return said() > 0 })
		if n := said(); n != 1 {
			t.Errorf("%d AUDIT records of %s", n, what)
		}
	}
}

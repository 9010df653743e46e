package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/web-admin/sealed"
)

const restored = `{"made":"2026-11-18T11:00:00.000Z","box":"edge-1","version":"1.4","files":["mailweir.yaml","subscribers.csv"],
	"config":{"revision":"r9","changed":[{"key":"plans[0].budgets[0].limit","before":"20","after":"30"},{"key":"mode","before":"","after":"observe"}],"warnings":[],"waiting_for_restart":["admin.listen"]}}`

// A backup is the running one's file, locked if a passphrase is given by a file or by standard input; restore opens it again and says what it changes.
func TestBackupAndRestore(t *testing.T) {
	const zip, passphrase = "PK\x03\x04 a zip", "four words are easier"
	run := startRunning(t, func(r *http.Request) (int, string) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/backup"):
			return 200, zip
		case r.Header.Get("Content-Type") != "application/zip":
			return 415, "{}"
		}
		return 200, restored
	})
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{"key": passphrase + "\r\nand a remark\n", "other": passphrase + "s\n", "short": "short\n"} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const looked = "backup of box edge-1, made 2026-11-18 11:00:00"
	for _, row := range []struct {
		why    string
		argv   []string
		stdin  string
		exit   int
		asked  string
		stdout string
		stderr string
	}{
		{"open", []string{"backup", in("a.zip")}, "", 0, "POST /api/v1/backup", "a.zip: 10 bytes, it holds the box's secrets, and nothing locks it", ""},
		{"to standard output", []string{"backup", "-"}, "", 0, "POST /api/v1/backup", zip, ""},
		{"locked by a file", []string{"backup", in("b.age"), "--passphrase-file", in("key")}, "", 0, "POST /api/v1/backup", "locked with the passphrase", ""},
		{"locked by standard input", []string{"backup", "--passphrase-file", "-", in("c.age")}, passphrase + "\n", 0, "POST /api/v1/backup", "locked with the passphrase", ""},
		{"with a short passphrase", []string{"backup", in("d.age"), "--passphrase-file", in("short")}, "", 2, "", "", "15 to 256 characters, and this one has 5"},
		{"with a passphrase that others see", []string{"backup", in("d.age"), "--passphrase", passphrase}, "", 2, "", "", "not defined: -passphrase"},
		{"to nowhere", []string{"backup"}, "", 2, "", "", "takes one FILE"},
		{"where there is no directory", []string{"backup", in("x/y")}, "", 1, "POST /api/v1/backup", "", "x/y"},
		{"looked at", []string{"restore", in("a.zip"), "--dry-run"}, "", 0, "POST /api/v1/restore?dry_run=1 " + zip, "nothing was changed", ""},
		{"which keys", []string{"restore", in("a.zip"), "--dry-run"}, "", 0, "POST /api/v1/restore?dry_run=1 " + zip, "plans[0].budgets[0].limit  20      30\n", ""},
		{"whose", []string{"restore", in("a.zip"), "--dry-run"}, "", 0, "POST /api/v1/restore?dry_run=1 " + zip, "would be written: mailweir.yaml, subscribers.csv\n", ""},
		{"put back", []string{"restore", in("a.zip")}, "", 0, "POST /api/v1/restore " + zip, "restored; waiting for a restart: admin.listen\n", ""},
		{"from standard input, as JSON", []string{"restore", "-", "--json"}, zip, 0, "POST /api/v1/restore " + zip, `"waiting_for_restart": [`, ""},
		{"a locked one", []string{"restore", in("b.age"), "--passphrase-file", "-"}, passphrase, 0, "POST /api/v1/restore " + zip, "restored", ""},
		{"a locked one, crosswise", []string{"restore", in("c.age"), "--passphrase-file", in("key")}, "", 0, "POST /api/v1/restore " + zip, "restored", ""},
		{"a locked one without a passphrase", []string{"restore", in("b.age")}, "", 2, "", "", "say --passphrase-file"},
		{"a locked one with another", []string{"restore", in("b.age"), "--passphrase-file", in("other")}, "", 1, "", "", "not the one that it was locked with; nothing was changed"},
		{"an open one with a passphrase", []string{"restore", in("a.zip"), "--passphrase-file", in("key")}, "", 2, "", "", "is not locked"},
		{"both from standard input", []string{"restore", "-", "--passphrase-file", "-"}, "", 2, "", "", "not both"},
		{"what is not there", []string{"restore", in("nothing")}, "", 1, "", "", "no such file"},
	} {
		stdin := os.Stdin
		if row.stdin != "" {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			os.Stdin = r
			if _, err := io.WriteString(w, row.stdin); err != nil || w.Close() != nil {
				t.Fatal(err)
			}
		}
		exit, stdout, stderr := run.mailweir(t, row.argv...)
		os.Stdin = stdin
		if asked := run.took(); exit != row.exit || asked != row.asked || !strings.Contains(stdout, row.stdout) || !strings.Contains(stderr, row.stderr) || (stderr != "") != (row.exit != 0) {
			t.Errorf("%s: exit %d, asked %q, said %q and %q", row.why, exit, asked, stdout, stderr)
		}
		if row.why == "looked at" && !strings.Contains(stdout, looked) {
			t.Errorf("%s: %q lacks %q", row.why, stdout, looked)
		}
	}
	for name, locked := range map[string]bool{"a.zip": false, "b.age": true, "c.age": true} {
		b, err := os.ReadFile(in(name))
		info, err2 := os.Stat(in(name))
		if err != nil || err2 != nil || sealed.Is(b) != locked || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %q, %v, %v", name, b, err, info.Mode())
		}
	}
	if _, err := os.Stat(in("d.age")); err == nil {
		t.Error("what was refused wrote a file")
	}
}

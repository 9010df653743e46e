package appliance

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// withSecret is a configuration that names a secret.
var withSecret = strings.Replace(homePlans, "identity: {unmapped_plan: strangers}\n", "identity:\n  unmapped_plan: strangers\nnotices:\n  webhooks: [{name: desk, url: \"https://desk.example/\", secret_file: secrets/desk}]\n", 1)

// A backup of one box makes another one, that had neither the list nor the secrets, the same.
func TestABackupMakesAnotherBoxTheSame(t *testing.T) {
	t.Parallel()
	old := newDeaf(t, homePlans, homeList)
	secret := "whsec_" + strings.Repeat("B", 40) + "\n"
	if err := os.MkdirAll(filepath.Join(old.dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	old.write("secrets/desk", secret)
	old.write("mailweir.yaml", "# Kept.\n"+withSecret)
	if err := old.reload(); err != nil {
		t.Fatal(err)
	}
	file, err := (&source{a: old.Appliance}).Backup("anna")
	if err != nil {
		t.Fatal(err)
	}

	d := newDeaf(t, "identity: {unmapped_plan: unmapped}\n", "subscriber,plan\n")
	s := &source{a: d.Appliance}
	o, err := s.Restore(file, true, true, "olga")
	if err != nil || len(o.Config.Changed) == 0 || strings.Join(o.Files, " ") != "mailweir.yaml subscribers.csv secrets/desk" {
		t.Fatalf("%+v, %v", o, err)
	}
	if d.read("mailweir.yaml") != "identity: {unmapped_plan: unmapped}\n" || d.who.Table().Len() != 0 {
		t.Error("looking at it changed something")
	}
	var unsure webadmin.NotSure
	if _, err := s.Restore(file, false, false, "olga"); !errors.As(err, &unsure) || d.read("mailweir.yaml") != "identity: {unmapped_plan: unmapped}\n" {
		t.Errorf("of somebody who may not be who they were: %v", err)
	}
	if _, err = s.Restore(file, false, true, "olga"); err != nil {
		t.Fatal(err)
	}
	if d.read("mailweir.yaml") != "# Kept.\n"+withSecret || d.read("subscribers.csv") != homeList || d.read("secrets/desk") != secret {
		t.Error("the files differ")
	}
	if d.planOf("home") != "small" || d.cfg.Load().Mode != "enforce" || len(d.noticeTargets()) != 1 {
		t.Error("it is not in force")
	}
	if left, _ := filepath.Glob(filepath.Join(d.dir, "data", "restore*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	got := d.told(records.KindAudit)
	if last := got[len(got)-1]; !strings.HasPrefix(last, "olga: restore mailweir.yaml | ") || !strings.Contains(last, "backup of 20") || !strings.Contains(last, "other contents in subscribers.csv, secrets/desk") || strings.Contains(last, "whsec") {
		t.Errorf("%q", last)
	}
}

// packed is a zip of some entries.
func packed(t *testing.T, entries map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range entries {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func backupOf(t *testing.T, text string, files map[[2]string]string) []byte {
	t.Helper()
	m := `{"version": 1, "made": "2026-11-18T12:00:00Z", "config_sha256": "` + sum([]byte(text)) + `", "files": [`
	entries := map[string]string{backupConfig: text}
	n := 0
	for at, content := range files {
		if n > 0 {
			m += ","
		}
		entry := "files/" + string(rune('0'+n))
		m += `{"key": "` + at[0] + `", "path": "` + at[1] + `", "sha256": "` + sum([]byte(content)) + `", "entry": "` + entry + `"}`
		entries[entry] = content
		n++
	}
	entries[backupManifest] = m + "]}"
	return packed(t, entries)
}

// What is no backup, is damaged, wants files elsewhere, or could not be started with, changes nothing.
func TestABadBackupChangesNothing(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	good, err := s.Backup("me")
	if err != nil {
		t.Fatal(err)
	}
	away := t.TempDir()
	if err := errors.Join(os.Symlink("data", filepath.Join(d.dir, "link")), os.Symlink(away, filepath.Join(d.dir, "away")), os.Mkdir(filepath.Join(d.dir, "cron.d"), 0o700)); err != nil {
		t.Fatal(err)
	}
	d.write("cron.d/job", "as it was")
	credentials := func(path string) []byte {
		return backupOf(t, homePlans+"fleet: {credentials_file: "+path+"}\n", map[[2]string]string{{"fleet.credentials_file", path}: "mine, and long enough to be one of yours\n"})
	}
	list := [2]string{"identity.subscribers_file", "subscribers.csv"}
	for why, file := range map[string][]byte{
		"nothing":                           {},
		"no zip":                            []byte("PK no"),
		"half":                              good[:len(good)/2],
		"another zip":                       packed(t, map[string]string{"a": "b"}),
		"another version":                   packed(t, map[string]string{backupManifest: `{"version": 2}`}),
		"a changed file":                    packed(t, map[string]string{backupManifest: `{"version": 1, "config_sha256": "00"}`, backupConfig: homePlans}),
		"a missing file":                    packed(t, map[string]string{backupManifest: `{"version": 1, "config_sha256": "` + sum([]byte(homePlans)) + `", "files": [{"key": "identity.subscribers_file", "path": "subscribers.csv", "entry": "files/0"}]}`, backupConfig: homePlans}),
		"a file elsewhere":                  backupOf(t, homePlans, map[[2]string]string{{"identity.subscribers_file", "/etc/cron.d/x"}: homeList}),
		"a way out":                         backupOf(t, homePlans, map[[2]string]string{{"identity.subscribers_file", "../x"}: homeList}),
		"over the config":                   backupOf(t, homePlans, map[[2]string]string{{"identity.subscribers_file", "mailweir.yaml"}: homeList}),
		"over the token":                    backupOf(t, homePlans, map[[2]string]string{{"identity.subscribers_file", "data/admin.token"}: homeList}),
		"over the token, where it is named": backupOf(t, homePlans+"fleet: {credentials_file: data/admin.token}\n", map[[2]string]string{{"fleet.credentials_file", "data/admin.token"}: "mine, and long enough to be one of yours\n"}),
		"over it, by a link":                backupOf(t, homePlans+"fleet: {credentials_file: link/admin.token}\n", map[[2]string]string{{"fleet.credentials_file", "link/admin.token"}: "mine, and long enough to be one of yours\n"}),
		"over the journal":                  backupOf(t, homePlans+"fleet: {credentials_file: data/journal/inputs-00000001.seg}\n", map[[2]string]string{{"fleet.credentials_file", "data/journal/inputs-00000001.seg"}: "gone"}),
		"over a file of somebody else":      credentials("cron.d/job"),
		"out by a link":                     credentials("away/x"),
		"in the place of a directory":       credentials("settings.d"),
		"a file in a file":                  credentials("subscribers.csv/x"),
		"in the place of all":               credentials("."),
		"a bad list by another spelling":    backupOf(t, homePlans+"mode: observe\n", map[[2]string]string{{"identity.subscribers_file", "./subscribers.csv"}: "this is no list\n"}),
		"a file to be read":                 backupOf(t, strings.Replace(homePlans, "strangers}", "strangers, subscribers_file: /etc/passwd}", 1), nil),
		"a bad list":                        backupOf(t, homePlans, map[[2]string]string{list: "subscriber,plan\nhome,golden\n"}),
		"an empty list":                     backupOf(t, homePlans, map[[2]string]string{list: "subscriber,plan\n"}),
		"a missing certificate":             backupOf(t, homePlans+"syslog: {targets: [{url: \"tls://c.example:6514\", ca_file: ca.pem}]}\n", nil),
		"a bad configuration":               backupOf(t, "mode: enforced\n", map[[2]string]string{list: homeList}),
	} {
		_, err := s.Restore(file, false, true, "me")
		var wrong webadmin.WrongConfig
		var refused webadmin.Refused
		if !errors.As(err, &wrong) && !errors.As(err, &refused) {
			t.Errorf("%s: %v", why, err)
		}
		if said := fmt.Sprint(err, []webadmin.ConfigProblem(wrong)); strings.Contains(said, "restore-") {
			t.Errorf("%s: it says where it was looked at: %s", why, said)
		}
		if d.read("mailweir.yaml") != homePlans || d.read("subscribers.csv") != homeList || d.planOf("home") != "small" {
			t.Fatalf("%s changed something", why)
		}
	}
	if left, err := os.ReadDir(away); err != nil || len(left) > 0 || d.read("cron.d/job") != "as it was" {
		t.Errorf("something was written: %v, %v", left, err)
	}
	if left, _ := filepath.Glob(filepath.Join(d.dir, "data", "restore*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A list that the configuration has elsewhere is looked at before it is written, too.
func TestAListElsewhereIsLookedAtFirst(t *testing.T) {
	t.Parallel()
	list := filepath.Join(t.TempDir(), "list.csv")
	if err := os.WriteFile(list, []byte(homeList), 0o600); err != nil {
		t.Fatal(err)
	}
	plans := strings.Replace(homePlans, "strangers}", "strangers, subscribers_file: "+list+"}", 1)
	d := newDeaf(t, plans, "")
	s := &source{a: d.Appliance}
	restore := func(content string) error {
		_, err := s.Restore(backupOf(t, plans, map[[2]string]string{{"identity.subscribers_file", list}: content}), false, true, "me")
		return err
	}
	var wrong webadmin.WrongConfig
	if err := restore("this is no list\n"); !errors.As(err, &wrong) {
		t.Errorf("a bad one: %v", err)
	}
	if is, err := os.ReadFile(list); err != nil || string(is) != homeList {
		t.Errorf("it was written: %q, %v", is, err)
	}
	other := homeList + "third,small,100.64.77.0/24\n"
	if err := restore(other); err != nil {
		t.Fatal(err)
	}
	if is, err := os.ReadFile(list); err != nil || string(is) != other || d.planOf("third") != "small" {
		t.Errorf("a good one was not taken: %q, %v", is, err)
	}
}

// A box that dies while the files of a backup are written has all of them after its next start, or none.
func TestARestoreThatWasCutIsFinished(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	newPlans := strings.ReplaceAll(homePlans, "name: small", "name: tiny")
	newList := strings.ReplaceAll(homeList, "small", "tiny")
	file := backupOf(t, newPlans, map[[2]string]string{{"identity.subscribers_file", "subscribers.csv"}: newList})
	d.write("subscribers.csv", newList) // cut here: this configuration does not know the plan tiny
	if err := durable.Replace(filepath.Join(d.dir, "data", restorePending), file); err != nil {
		t.Fatal(err)
	}
	d.cut()
	if d.start(); d.planOf("home") != "tiny" {
		t.Errorf("home has the plan %q", d.planOf("home"))
	}
	if got := fmt.Sprint(d.told(records.KindAudit)); !strings.Contains(got, "restore mailweir.yaml") || !strings.Contains(got, "revision "+revision([]byte(newPlans))) {
		t.Errorf("told %s", got)
	}
	if _, err := os.Stat(filepath.Join(d.dir, "data", restorePending)); !errors.Is(err, os.ErrNotExist) {
		t.Error("it would be done again")
	}
	// One that was not even written to its end had changed nothing.
	d.write("data/"+restorePending, string(file[:len(file)-9]))
	if r := finishRestore(filepath.Join(d.dir, "mailweir.yaml"), filepath.Join(d.dir, "data")); r != nil || d.read("mailweir.yaml") != newPlans {
		t.Errorf("%+v", r)
	}
}

// A restore that cannot be ended, here since a file is where a directory goes, keeps no box from starting with what is there; that is said,
// and it is done at the next start that can.
func TestARestoreThatCannotBeEndedKeepsNoBoxFromStarting(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	file := backupOf(t, withSecret, map[[2]string]string{{"notices.webhooks[0].secret_file", "secrets/desk"}: "whsec_" + strings.Repeat("B", 40)})
	d.write("secrets", "in the way")
	d.cut()
	pending := filepath.Join(d.dir, "data", restorePending)
	if err := durable.Replace(pending, file); err != nil {
		t.Fatal(err)
	}
	d.start()
	if got := d.healthOf("restore"); d.planOf("home") != "small" || d.read("mailweir.yaml") != homePlans || len(got) != 1 || !strings.Contains(got[0], pending) {
		t.Errorf("the plan %q, told %q", d.planOf("home"), got)
	}
	d.cut()
	if err := os.Remove(filepath.Join(d.dir, "secrets")); err != nil {
		t.Fatal(err)
	}
	d.start()
	if got := fmt.Sprint(d.told(records.KindAudit)); d.read("mailweir.yaml") != withSecret || !strings.Contains(got, "restore mailweir.yaml") {
		t.Errorf("told %s", got)
	}
}

// A restore makes files beside the configuration, but neither where the system or somebody's programs look for them by themselves, nor among the data of the box.
func TestWhereARestoreMayWrite(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ file, path, want string }{
		{"/etc/mailweir/mailweir.yaml", "ca.pem", "/etc/mailweir/ca.pem"},
		{"/etc/mailweir/mailweir.yaml", "tls/ca.pem", "/etc/mailweir/tls/ca.pem"},
		{"/etc/mailweir/mailweir.yaml", ".ssh/authorized_keys", ""},
		{"/etc/mailweir/mailweir.yaml", "tls/.profile", ""},
		{"/etc/mailweir/mailweir.yaml", "../passwd", ""},
		{"/etc/mailweir.yaml", "ld.so.preload", ""},
		{"/etc/mailweir.yaml", "profile.d/x.sh", ""},
		{"/etc/mailweir.yaml", "settings.d/0123.secret", "/etc/settings.d/0123.secret"},
		{"/root/mailweir.yaml", "bin/ls", ""},
		{"/data/mailweir.yaml", "ca.pem", "/data/ca.pem"},
		{"/root/mailweir/mailweir.yaml", "desk.secret", "/root/mailweir/desk.secret"},
		{"/mailweir.yaml", "init", ""},
		{"/var/lib/mailweir/mailweir.yaml", "users.json", ""},
		{"/var/lib/mailweir/mailweir.yaml", "settings.d/0123.secret", "/var/lib/mailweir/settings.d/0123.secret"},
	} {
		if got := where(row.file, "/var/lib/mailweir", row.path, nil); got != row.want {
			t.Errorf("%s beside %s: %q, want %q", row.path, row.file, got, row.want)
		}
	}
	at := where("/etc/mailweir.yaml", "/var/lib/mailweir", "subscribers.csv", map[string]bool{"/etc/subscribers.csv": true})
	if at != "/etc/subscribers.csv" {
		t.Errorf("a file that is named: %q", at)
	}
}

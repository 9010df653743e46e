package appliance

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

func (d *deaf) read(name string) string {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

func key(name, value string) webadmin.ConfigKey {
	k := webadmin.ConfigKey{Key: name}
	if value != "" {
		k.Value = json.RawMessage(value)
	}
	return k
}

// A change is on the disk, in force at once, and on record with what was before.
func TestAChangeIsInForceAndOnRecord(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, "# The north box.\n"+homePlans, homeList)
	s := &source{a: d.Appliance}
	was, err := s.Config()
	if err != nil || !strings.Contains(was.Text, "# The north box.") {
		t.Fatal(was, err)
	}
	for range 2 {
		d.session("home", "small")
	}
	if v := d.session("home", "small"); v.LetThrough() {
		t.Fatal("a third session is let through before")
	}
	o, err := s.SetConfig(webadmin.ConfigChange{Revision: was.Revision, Keys: []webadmin.ConfigKey{key("plans[0].budgets[0].limit", "9")}}, "anna 192.0.2.7")
	if err != nil || len(o.Changed) != 2 || len(o.Waiting) != 0 {
		t.Fatal(o, err)
	}
	if v := d.session("home", "small"); !v.LetThrough() {
		t.Error("not in force")
	}
	if text := d.read("mailweir.yaml"); !strings.HasPrefix(text, "# The north box.\n") || !strings.Contains(text, "{of: sessions, limit: 9, per: 24h}") {
		t.Errorf("%s", text)
	}
	if cfg, _, err := LoadConfig(filepath.Join(d.dir, "mailweir.yaml")); err != nil || cfg.Plans[0].Budgets[0].Limit != 9 {
		t.Errorf("mailweir check would say %v", err)
	}
	got := d.told(records.KindAudit)
	if last := got[len(got)-1]; !strings.HasPrefix(last, "anna 192.0.2.7: config mailweir.yaml | plans[0].budgets[0].limit: 2; plans[0].budgets[0].burst: 2 -> plans[0].budgets[0].limit: 9; plans[0].budgets[0].burst: 9 (revision ") {
		t.Errorf("%q", last)
	}
	if _, err := s.SetConfig(webadmin.ConfigChange{Revision: was.Revision, Keys: []webadmin.ConfigKey{key("mode", `"observe"`)}}, "olga"); !errors.Is(err, webadmin.ErrConfigChanged) {
		t.Errorf("a change of what is not there any more: %v", err)
	}
}

// What is refused changes neither the disk nor what is in force, and leaves no file behind.
func TestWhatIsRefusedChangesNothing(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	d.write("data/admin.token", "mwt_top-secret\n")
	if _, err := s.SetPlan("home", "large", "me"); err != nil {
		t.Fatal(err)
	}
	before := d.cfg.Load()
	for why, c := range map[string]struct {
		change webadmin.ConfigChange
		key    string
	}{
		"a value":                       {webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("mode", `"enforced"`)}}, "mode"},
		"a plan that the list names":    {webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("plans[0]", "")}}, ""},
		"a plan that somebody chose":    {webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("plans[1]", "")}}, "plans"},
		"another program's file":        {webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("identity.subscribers_file", `"/etc/passwd"`)}}, "identity.subscribers_file"},
		"the token":                     {webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("identity.subscribers_file", `"data/admin.token"`)}}, "identity.subscribers_file"},
		"an address of somebody else":   {webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("admin.listen", `"192.0.2.77:9443"`)}}, "admin.listen"},
		"a secret with a wrong webhook": {webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("notices.webhooks[0]", `{"name": "desk", "url": "ftp://x"}`)}, Files: []webadmin.ConfigFile{{Key: "notices.webhooks[0].secret_file", Name: "webhook", Content: []byte("whsec_x")}}}, "notices.webhooks[0].url"},
		"a secret that is none":         {webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("notices.webhooks[0]", `{"name": "desk", "url": "https://desk.example/"}`)}, Files: []webadmin.ConfigFile{{Key: "notices.webhooks[0].secret_file", Name: "webhook", Content: []byte("short")}}}, "notices.webhooks[0].secret_file"},
		"a whole text":                  {webadmin.ConfigChange{Text: []byte("mode: observe\nmodus: x\n")}, "modus"},
	} {
		var wrong webadmin.WrongConfig
		if _, err := s.TryConfig(c.change); !errors.As(err, &wrong) || wrong[0].Key != c.key || strings.Contains(wrong[0].Message, "top-secret") {
			t.Errorf("%s, tried: %+v", why, err)
		}
		if _, err := s.SetConfig(c.change, "me"); !errors.As(err, &wrong) || wrong[0].Key != c.key {
			t.Errorf("%s: %+v", why, err)
		}
	}
	if d.read("mailweir.yaml") != homePlans || d.cfg.Load() != before {
		t.Error("something was changed")
	}
	if left, _ := os.ReadDir(filepath.Join(d.dir, settingsDir)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A secret is a file of its own, for its owner only, and goes when no key names it any more.
func TestASecretComesAndGoesWithItsKey(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	secret := "whsec_" + strings.Repeat("A", 40) + "\n"
	_, err := s.SetConfig(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("notices.webhooks[0]", `{"name": "desk", "url": "https://desk.example/"}`)},
		Files: []webadmin.ConfigFile{{Key: "notices.webhooks[0].secret_file", Name: "webhook", Content: []byte(secret)}}, Sure: true}, "me")
	if err != nil {
		t.Fatal(err)
	}
	path := d.cfg.Load().Resolve(d.cfg.Load().Notices.Webhooks[0].SecretFile)
	info, err := os.Stat(path)
	if b, _ := os.ReadFile(path); err != nil || string(b) != secret || info.Mode().Perm() != 0o600 {
		t.Errorf("%s holds %q, %v", path, b, err)
	}
	if targets := d.noticeTargets(); len(targets) != 1 || targets[0].Name != "desk" {
		t.Errorf("in force: %v", targets)
	}
	if _, err := s.SetConfig(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("notices.webhooks[0]", "")}}, "me"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the secret stays: %v", err)
	}
}

// A whole configuration brings what its files say, too: as the pages do it key by key, the API does it with a text.
func TestAWholeConfigurationBringsItsFiles(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	secret := "whsec_" + strings.Repeat("A", 40) + "\n"
	ca, _, _ := pairFor(t, "authority.isp.example")
	text := homePlans + `
notices:
  webhooks: [{name: desk, url: "https://desk.example/"}]
  mail: {smarthost: "mail.isp.example:587", user: box, from: box@isp.example, to: [desk@isp.example]}
syslog:
  targets: [{url: "tls://collector.isp.example:6514"}]
`
	files := []webadmin.ConfigFile{
		{Key: "notices.webhooks[0].secret_file", Name: "notices_webhooks_0__secret", Content: []byte(secret)},
		{Key: "notices.mail.password_file", Name: "notices_mail_password", Content: []byte("a secret of ours\n")},
		{Key: "syslog.targets[0].ca_file", Name: "syslog_targets_0__ca", Content: ca},
	}
	if _, err := s.SetConfig(webadmin.ConfigChange{Text: []byte(text), Files: files[:1]}, "me"); err == nil || !strings.Contains(fmt.Sprintf("%#v", err), "password_file") {
		t.Errorf("without the password: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(d.dir, settingsDir)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	var unsure webadmin.NotSure
	if _, err := s.SetConfig(webadmin.ConfigChange{Text: []byte(text), Files: files}, "me"); !errors.As(err, &unsure) || strings.Join(unsure, " ") != "syslog.targets[0] notices.webhooks[0] notices.mail" {
		t.Errorf("of somebody of whom it is not sure: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(d.dir, settingsDir)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := s.SetConfig(webadmin.ConfigChange{Text: []byte(text), Files: files, Sure: true}, "me"); err != nil {
		t.Fatalf("%#v", err)
	}
	c := d.cfg.Load()
	for i, path := range []string{c.Notices.Webhooks[0].SecretFile, c.Notices.Mail.PasswordFile, c.Syslog.Targets[0].CAFile} {
		if b, err := os.ReadFile(c.Resolve(path)); err != nil || string(b) != string(files[i].Content) || filepath.Dir(path) != settingsDir {
			t.Errorf("%s holds %q, %v", path, b, err)
		}
	}
	// What was read is taken as it is; what is not there is no file.
	now, err := s.Config()
	if err != nil {
		t.Fatal(err)
	}
	if o, err := s.SetConfig(webadmin.ConfigChange{Text: []byte(now.Text)}, "me"); err != nil || len(o.Changed) != 0 {
		t.Errorf("%+v, %v", o, err)
	}
	wrong := strings.Replace(now.Text, c.Syslog.Targets[0].CAFile, settingsDir+"/ca", 1)
	if _, err := s.SetConfig(webadmin.ConfigChange{Text: []byte(wrong)}, "me"); err == nil || !strings.Contains(fmt.Sprintf("%#v", err), "names a file that is not there") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// What cannot change while running is on the disk and waits; everything else of the same change is in force, and so are later ones.
func TestWhatNeedsARestartWaits(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	o, err := s.SetConfig(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("network.counted_ports", "[465]"), key("admin.listen", `"127.0.0.1:0"`), key("mode", `"observe"`)}}, "me")
	var wrong webadmin.WrongConfig
	if !errors.As(err, &wrong) || wrong[0].Key != "admin.listen" {
		t.Fatalf("port 0: %+v", err)
	}
	o, err = s.SetConfig(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("network.counted_ports", "[465]"), key("network.topology", `"bridge"`), key("mode", `"observe"`)}}, "me")
	if err != nil || strings.Join(o.Waiting, " ") != "network.topology network.counted_ports" {
		t.Fatal(o, err)
	}
	if cfg := d.cfg.Load(); cfg.Mode != config.Observe || cfg.Network.Topology != config.Routed || len(cfg.Network.CountedPorts) != 0 {
		t.Errorf("in force: %+v", cfg.Network)
	}
	if cfg, err := config.Load(filepath.Join(d.dir, "mailweir.yaml")); err != nil || cfg.Network.Topology != config.Bridge {
		t.Error("on the disk:", err)
	}
	if o, err = s.SetConfig(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("defer.text", `"later"`)}}, "me"); err != nil || len(o.Waiting) != 2 || d.cfg.Load().Defer.Text != "later" {
		t.Error("what comes after:", o, err)
	}
	if ps := d.problems(); !strings.Contains(ps[len(ps)-1].What+ps[0].What+ps[1].What, "The box is a router or a bridge (network.topology), Ports that are only counted (network.counted_ports).") {
		t.Errorf("%+v", ps)
	}
	// If the restart fails, the box comes up with everything but that.
	back, err := config.Parse("a", d.fallback())
	if err != nil || back.Defer.Text != "later" || back.Mode != config.Observe || back.Network.Topology != config.Routed || len(back.Network.CountedPorts) != 0 {
		t.Errorf("fallback %s: %v", d.fallback(), err)
	}
	if o, err = s.SetConfig(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("network.topology", `"routed"`), key("network.counted_ports", "[]")}}, "me"); err != nil || len(o.Waiting) != 0 || d.waits() != nil {
		t.Error("taken back:", o, err)
	}
}

// A list with errors is told by line, and the list of before goes on; a good one is in force when SetSubscribers returns.
func TestAListIsLookedAtAndTaken(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	bad := []byte("subscriber,plan,prefixes\nhome,golden,100.64.0.1\nother,small,100.64.0.300\n")
	o, err := s.TrySubscribers(bad)
	if err != nil || len(o.Problems) != 2 || o.Problems[0].Line != 2 || o.Problems[1].Line != 3 || o.Now != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	var wrong webadmin.WrongConfig
	if _, err := s.SetSubscribers(bad, "me"); !errors.As(err, &wrong) || d.read("subscribers.csv") != homeList {
		t.Errorf("%v", err)
	}
	if _, err := s.SetSubscribers([]byte("subscriber,plan,prefixes\n"), "me"); !errors.As(err, &wrong) || d.who.Table().Len() != 2 {
		t.Errorf("an empty one: %v", err)
	}
	good := "subscriber,plan,prefixes\nhome,large,100.64.0.1\nthird,small,100.64.0.3\nother,small,100.64.0.2\n"
	if o, err = s.SetSubscribers([]byte(good), "anna"); err != nil || o.Subscribers != 3 || o.Plans["small"] != 2 || d.read("subscribers.csv") != good || d.planOf("home") != "large" || d.who.Table().Len() != 3 {
		t.Errorf("%+v, %v", o, err)
	}
	read := d.listSeen
	if d.looks(); d.listSeen != read {
		t.Error("it is read a second time")
	}
	got := d.told(records.KindAudit)
	if last := got[len(got)-1]; !strings.HasPrefix(last, "anna: subscribers subscribers.csv | 2 subscribers -> 3 subscribers (revision ") {
		t.Errorf("%q", last)
	}
}

// A secret that a page has made is named where it was made for and nowhere else: the errors of a list would quote it.
func TestASecretIsReadAsNothingElse(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	hook := []webadmin.ConfigKey{{Key: "notices.webhooks", Value: json.RawMessage(`[{"name": "noc", "url": "https://noc.example/"}]`)}}
	if _, err := s.SetConfig(webadmin.ConfigChange{Keys: hook, Files: []webadmin.ConfigFile{{Key: "notices.webhooks[0].secret_file", Name: "secret", Content: []byte(secret)}}, Sure: true}, "me"); err != nil {
		t.Fatal(err)
	}
	path := d.cfg.Load().Notices.Webhooks[0].SecretFile
	for _, key := range []string{"identity.subscribers_file", "notices.customer_template_file", "admin.sentences_file", "fleet.credentials_file"} {
		value, err := json.Marshal(path)
		if err != nil {
			t.Fatal(err)
		}
		for why, try := range map[string]func(webadmin.ConfigChange) (webadmin.ConfigOutcome, error){"checked": s.TryConfig, "set": func(c webadmin.ConfigChange) (webadmin.ConfigOutcome, error) { return s.SetConfig(c, "me") }} {
			_, err := try(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{{Key: key, Value: value}}})
			var wrong webadmin.WrongConfig
			if !errors.As(err, &wrong) || wrong[0].Key != key || strings.Contains(err.Error(), secret[:8]) {
				t.Errorf("%s at %s: %v", why, key, err)
			}
		}
	}
	// In another place of the same list it is what it was.
	two := []webadmin.ConfigKey{{Key: "notices.webhooks", Value: json.RawMessage(`[{"name": "new", "url": "https://new.example/", "secret_file": "` + path + `"}, {"name": "noc", "url": "https://noc.example/", "secret_file": "` + path + `"}]`)}}
	if _, err := s.SetConfig(webadmin.ConfigChange{Keys: two, Sure: true}, "me"); err != nil {
		t.Errorf("at another place of its list: %v", err)
	}
}

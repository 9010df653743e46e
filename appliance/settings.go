package appliance

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/leases"
	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// settingsDir is beside the configuration: files that were made through the web admin, such as the secret of a webhook.
const settingsDir = "settings.d"

// draft is a change of the configuration that has been looked at and is not in force.
type draft struct {
	was, text    []byte
	before, next *config.Config
	table        *subscriber.Table
	seen         string
	made         []string // files that were made for it
}

// Config is the configuration as the file says it.
func (s *source) Config() (webadmin.Configuration, error) {
	s.a.changing.Lock()
	defer s.a.changing.Unlock()
	text, cfg, err := s.a.onDisk()
	if err != nil {
		return webadmin.Configuration{}, s.wrong(err)
	}
	values, err := cfg.EffectiveJSON()
	if err != nil {
		return webadmin.Configuration{}, err
	}
	return webadmin.Configuration{Text: string(text), Revision: revision(text), Values: values, Warnings: s.problems(cfg.Warnings()), Waiting: s.a.waits()}, nil
}

// onDisk is the file, which may have been changed since it was read.
func (a *Appliance) onDisk() (text []byte, cfg *config.Config, err error) {
	if text, err = os.ReadFile(a.opt.ConfigFile); err != nil {
		return nil, nil, err
	}
	cfg, err = config.Parse(a.opt.ConfigFile, text)
	return text, cfg, err
}

func revision(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// waits are the keys that wait for a restart.
func (a *Appliance) waits() []string {
	if keys := a.waiting.Load(); keys != nil {
		return *keys
	}
	return nil
}

// TryConfig says what would become of a change.
func (s *source) TryConfig(ch webadmin.ConfigChange) (webadmin.ConfigOutcome, error) {
	s.a.changing.Lock()
	defer s.a.changing.Unlock()
	d, err := s.draft(ch, s.a.listKnown)
	if d != nil {
		err = errors.Join(err, d.discard())
	}
	if err != nil {
		return webadmin.ConfigOutcome{}, s.wrong(err)
	}
	_, waiting := carried(s.a.cfg.Load(), d.next)
	return s.outcome(d, waiting), nil
}

// SetConfig makes a change: first on the disk, whole or not at all, then in force. What cannot be taken while running waits for a restart.
func (s *source) SetConfig(ch webadmin.ConfigChange, who string) (webadmin.ConfigOutcome, error) {
	a := s.a
	a.changing.Lock()
	defer a.changing.Unlock()
	d, err := s.draft(ch, loadSubscribers)
	if err != nil {
		if d != nil {
			err = errors.Join(err, d.discard())
		}
		return webadmin.ConfigOutcome{}, s.wrong(err)
	}
	if keys := sentAway(d.before, d.next); len(keys) > 0 && !ch.Sure {
		return webadmin.ConfigOutcome{}, errors.Join(webadmin.NotSure(keys), d.discard())
	}
	waiting, err := a.put(d)
	if err != nil {
		return webadmin.ConfigOutcome{}, s.wrong(errors.Join(err, d.discard()))
	}
	o := s.outcome(d, waiting)
	if !bytes.Equal(d.was, d.text) {
		said := saidOf(o.Changed)
		for i, one := range said {
			s.audit(who, "config", filepath.Base(a.opt.ConfigFile), one.before, one.after+" (revision "+o.Revision+part(i, len(said))+")")
		}
	}
	a.tidy(d)
	return o, nil
}

// put has a draft on the disk and in force, or leaves everything as it was.
func (a *Appliance) put(d *draft) (waiting []string, err error) {
	if bytes.Equal(d.was, d.text) {
		return a.waits(), nil
	}
	if err := durable.Rewrite(a.opt.ConfigFile, d.text); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	live, waiting := carried(a.cfg.Load(), d.next)
	if err := a.take(live, waiting, d.table, d.seen); err != nil {
		return nil, errors.Join(err, durable.Rewrite(a.opt.ConfigFile, d.was))
	}
	return waiting, nil
}

// carried is next as far as it can be taken while running, with what cannot as it is now; waiting are those keys.
func carried(old, next *config.Config) (live *config.Config, waiting []string) {
	c := *next
	live = &c
	if n := &c.Network; n.Topology != old.Network.Topology || len(n.Addresses)+len(old.Network.Addresses) > 0 && !n.SameShape(old.Network) {
		*n = old.Network // the interfaces go with it, and with the addresses at them
	} else {
		if !slices.Equal(n.LimitedPorts, old.Network.LimitedPorts) || !slices.Equal(n.CountedPorts, old.Network.CountedPorts) { // the kernel's rules know them apart
			n.LimitedPorts, n.CountedPorts = old.Network.LimitedPorts, old.Network.CountedPorts
		}
		n.OnFailure, n.MarkMask = old.Network.OnFailure, old.Network.MarkMask
	}
	c.Queue, c.Admin = old.Queue, old.Admin
	c.Admin.TLS, c.Admin.Language, c.Admin.SentencesFile = next.Admin.TLS, next.Admin.Language, next.Admin.SentencesFile
	for _, d := range config.Differences(live, next) {
		key, _, _ := strings.Cut(d.Key, "[") // of a list, all waits
		if !slices.Contains(waiting, key) {
			waiting = append(waiting, key)
		}
	}
	return live, waiting
}

// listKnown is the list under a configuration that is only looked at: the one in memory, as long as that is what the file says and each of its plans is
// there. A long list takes a second to read, and somebody may be typing.
func (a *Appliance) listKnown(next *config.Config) (*subscriber.Table, error) {
	path := next.SubscribersPath()
	if state := fileState(path); state != "" && state == a.listSeen && path == a.cfg.Load().SubscribersPath() && a.listRefused.Load() == nil {
		if table := a.who.Table(); hasAll(plansOf(next), table.Plans()) {
			return table, nil
		}
	}
	return loadSubscribers(next) // which says what is wrong, by line
}

// draft looks at a change as `mailweir check` does, with the list that list finds for it. What it gives is to be put or discarded, also beside an error.
func (s *source) draft(ch webadmin.ConfigChange, list func(*config.Config) (*subscriber.Table, error)) (*draft, error) {
	a := s.a
	was, before, err := a.onDisk()
	if err != nil && (ch.Text == nil || was == nil) {
		return nil, err
	}
	if ch.Revision != "" && ch.Revision != revision(was) {
		return nil, webadmin.ErrConfigChanged
	}
	d := &draft{was: was, before: before, text: ch.Text}
	if before == nil { // somebody broke the file; a whole one mends it
		d.before = a.cfg.Load()
	}
	var changes []config.Change
	for _, k := range ch.Keys {
		changes = append(changes, config.Change{Key: k.Key, Value: k.Value})
	}
	for _, f := range ch.Files {
		path, err := a.makeFile(f)
		if err != nil {
			return d, err
		}
		d.made = append(d.made, filepath.Join(filepath.Dir(a.opt.ConfigFile), path))
		value, err := json.Marshal(path)
		if err != nil {
			return d, err
		}
		changes = append(changes, config.Change{Key: f.Key, Value: value})
	}
	edit := config.Complete // a whole text is not good before its files are named
	if ch.Text == nil {
		d.text, edit = was, config.Edit
	}
	if len(changes) > 0 {
		if d.text, err = edit(a.opt.ConfigFile, d.text, changes); err != nil {
			return d, err
		}
	}
	if d.next, err = config.Parse(a.opt.ConfigFile, d.text); err != nil {
		return d, err
	}
	if foreign := a.foreign(d.next, d.before, d.made); len(foreign) > 0 {
		return d, foreign
	}
	if wrong := a.fits(d.before, d.next); len(wrong) > 0 {
		return d, wrong
	}
	if err := a.untried(d.next); err != nil {
		return d, err
	}
	d.seen = fileState(d.next.SubscribersPath())
	if d.table, err = list(d.next); err != nil {
		return d, err
	}
	return d, a.takeable(d.next, d.table)
}

// takeable says whether a configuration could be in force with a list, without putting it there.
func (a *Appliance) takeable(next *config.Config, table *subscriber.Table) error {
	if _, err := NoticesProblems(next); err != nil {
		return err
	}
	if _, _, err := sentencesOf(next); err != nil {
		return err
	}
	if err := canListen(a.cfg.Load().Admin.Listen, next); err != nil {
		return err
	}
	if _, err := a.certificate(next); err != nil {
		return err
	}
	if err := a.stillThere(next, table); err != nil {
		return err
	}
	_, err := a.plansStay(next, table)
	return err
}

// foreign are the files that a candidate may not name: whoever is admin of the web admin need not be root, and whoever finds a browser open must not have secrets read as
// something else. What was sent with it is its own, and where DHCP servers keep their leases everybody knows.
func (a *Appliance) foreign(next, box *config.Config, made []string) config.Problems {
	own, gone := map[string]bool{}, map[string]bool{}
	for _, f := range next.Files() {
		ours := filepath.Dir(f.Path) == filepath.Join(filepath.Dir(a.opt.ConfigFile), settingsDir)
		if _, err := os.Stat(f.Path); ours && errors.Is(err, fs.ErrNotExist) {
			gone[f.Key] = true
			continue
		}
		own[f.Key] = slices.Contains(made, f.Path) || strings.HasPrefix(f.Key, "identity.lease_files[") && usualLeases(f.Path)
	}
	found := slices.DeleteFunc(next.Foreign(box), func(p config.Problem) bool { return own[p.Key] })
	for i := range found {
		if gone[found[i].Key] {
			found[i].Message = "names a file that is not there; what a new one says is sent beside the configuration, and the box names it"
		}
	}
	return found
}

func usualLeases(path string) bool {
	for _, u := range leases.Usual {
		if path == u.Path {
			return true
		}
	}
	return false
}

// canListen tries the address of the web admin, when it is another one. That of now may be in the way of a new one on the same port.
func canListen(now string, next *config.Config) error {
	if next.Admin.Listen == now {
		return nil
	}
	l, err := net.Listen("tcp", next.Admin.Listen)
	if err == nil {
		return l.Close()
	}
	_, oldPort, _ := net.SplitHostPort(now)
	if _, port, _ := net.SplitHostPort(next.Admin.Listen); errors.Is(err, syscall.EADDRINUSE) && port == oldPort {
		return nil
	}
	why := err.Error()
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		why = "the box does not have this address"
	case errors.Is(err, syscall.EADDRINUSE):
		why = "another program has this port"
	}
	return config.Problems{next.ProblemAt("admin.listen", why)}
}

// certificate reads the pair that the web admin is to show by next; show has it shown. Files that somebody replaced under the same names are read again.
func (a *Appliance) certificate(next *config.Config) (show func(), err error) {
	if a.web == nil { // it reads them when it begins
		return func() {}, nil
	}
	pair, err := webadmin.ReadPair(next.Resolve(next.Admin.TLS.CertFile), next.Resolve(next.Admin.TLS.KeyFile))
	if err != nil {
		return nil, config.Problems{next.ProblemAt("admin.tls.cert_file", err.Error())}
	}
	return func() {
		if err := a.web.ShowPair(pair); err != nil {
			a.log.Error("web admin: another certificate is not shown yet", "err", err)
		}
	}, nil
}

// makeFile writes a file that a key is going to name, and gives its path beside the configuration. It is never one that was there.
func (a *Appliance) makeFile(f webadmin.ConfigFile) (path string, err error) {
	dir := filepath.Join(filepath.Dir(a.opt.ConfigFile), settingsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path = filepath.Join(settingsDir, f.Name+"-"+strings.ToLower(rand.Text()[:8]))
	return path, durable.Replace(filepath.Join(filepath.Dir(a.opt.ConfigFile), path), f.Content)
}

// discard removes what was made for a draft that is not taken.
func (d *draft) discard() (err error) {
	for _, path := range d.made {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// tidy removes files of [settingsDir] that the configuration of before named and that of now does not.
func (a *Appliance) tidy(d *draft) {
	still := map[string]bool{}
	for _, f := range d.next.Files() {
		still[f.Path] = true
	}
	for _, f := range d.before.Files() {
		if !still[f.Path] && filepath.Dir(f.Path) == filepath.Join(filepath.Dir(a.opt.ConfigFile), settingsDir) {
			if err := os.Remove(f.Path); err != nil {
				a.log.Warn("a file that no key names any more stays", "err", err)
			}
		}
	}
}

func (s *source) outcome(d *draft, waiting []string) webadmin.ConfigOutcome {
	o := webadmin.ConfigOutcome{Revision: revision(d.text), Changed: []webadmin.ConfigDifference{}, Warnings: s.problems(d.next.Warnings()), Waiting: waiting, Text: string(d.text),
		Elsewhere: sentAway(d.before, d.next)}
	for _, diff := range config.Differences(d.before, d.next) {
		o.Changed = append(o.Changed, webadmin.ConfigDifference{Key: diff.Key, Before: diff.Before, After: diff.After})
	}
	foremost(o.Changed, o.Elsewhere)
	return o
}

// sentAway are the keys of next by which something of the box goes where it did not go before.
func sentAway(before, next *config.Config) (keys []string) {
	for i, t := range next.Syslog.Targets {
		if !slices.Contains(before.Syslog.Targets, t) {
			keys = append(keys, fmt.Sprintf("syslog.targets[%d]", i))
		}
	}
	for i, h := range next.Notices.Webhooks {
		if !slices.ContainsFunc(before.Notices.Webhooks, func(was config.Webhook) bool { return reflect.DeepEqual(was, h) }) {
			keys = append(keys, fmt.Sprintf("notices.webhooks[%d]", i))
		}
	}
	if m := next.Notices.Mail; m.Smarthost != "" && !reflect.DeepEqual(m, before.Notices.Mail) {
		keys = append(keys, "notices.mail")
	}
	if f := next.Fleet; f.NATSURL != "" && f != before.Fleet {
		keys = append(keys, "fleet")
	}
	if next.Admin.MetricsPublic && !before.Admin.MetricsPublic {
		keys = append(keys, "admin.metrics_public")
	}
	for _, d := range config.Differences(before, next) {
		// Another router or name server may say where a collector's name leads, and the key of another certificate may be somebody else's.
		if strings.HasPrefix(d.Key, "management.") || strings.HasPrefix(d.Key, "admin.tls.") {
			keys = append(keys, d.Key)
		}
	}
	return keys
}

// Bounds of what records say of a change.
const (
	saidAtOnce = 700 // bytes of each side in one record
	saidMost   = 200 // records
	saidValue  = 300 // bytes of a value; of a longer one its digest tells the rest
)

// sides are a change, or a part of one, as a record has it.
type sides struct{ before, after string }

// saidOf is a change as records have it, a few hundred bytes of each side in each of them: all keys, in the order that they come in.
func saidOf(changed []webadmin.ConfigDifference) (all []sides) {
	one := func(key, value string) string {
		if len(value) > saidValue {
			value = fmt.Sprintf("%s… (%d bytes, SHA-256 %.16x…)", strings.ToValidUTF8(value[:saidValue], ""), len(value), sha256.Sum256([]byte(value)))
		}
		return key + ": " + cmp.Or(value, "-")
	}
	var now sides
	for i, d := range changed {
		before, after := one(d.Key, d.Before), one(d.Key, d.After)
		switch {
		case now.before == "":
			now = sides{before, after}
			continue
		case max(len(now.before)+len(before), len(now.after)+len(after)) > saidAtOnce:
			if len(all) == saidMost-1 {
				more := fmt.Sprintf("; and %d more keys", len(changed)-i)
				return append(all, sides{now.before + more, now.after + more})
			}
			all, now = append(all, now), sides{before, after}
			continue
		}
		now = sides{now.before + "; " + before, now.after + "; " + after}
	}
	if now.before == "" {
		now = sides{"the same values", "the same values"}
	}
	return append(all, now)
}

// part says which record of a change it is, counted from 0, where there is more than one.
func part(i, of int) string {
	if of == 1 {
		return ""
	}
	return fmt.Sprintf(", part %d of %d", i+1, of)
}

// foremost puts first what sends something of the box elsewhere, then what decides who hears of customers, then the mode and the network: whoever looks through
// a long change, or has only its first record, finds them.
func foremost(changed []webadmin.ConfigDifference, elsewhere []string) {
	rank := func(d webadmin.ConfigDifference) int {
		switch key := d.Key; {
		case slices.ContainsFunc(elsewhere, func(goes string) bool {
			return key == goes || strings.HasPrefix(key, goes+".") || strings.HasPrefix(key, goes+"[")
		}):
			return 0
		case strings.HasPrefix(key, "syslog.") || strings.HasPrefix(key, "notices.") || strings.HasPrefix(key, "admin.") || strings.HasPrefix(key, "management.") || strings.HasPrefix(key, "fleet."):
			return 1
		case key == "mode" || strings.HasPrefix(key, "network."):
			return 2
		}
		return 3
	}
	slices.SortStableFunc(changed, func(a, b webadmin.ConfigDifference) int { return rank(a) - rank(b) })
}

// wrong turns what is wrong with a configuration or a list into what the web admin knows.
func (s *source) wrong(err error) error {
	if ps, ok := errors.AsType[config.Problems](err); ok {
		return webadmin.WrongConfig(s.problems(ps))
	}
	return err
}

func (s *source) problems(ps config.Problems) []webadmin.ConfigProblem {
	all := []webadmin.ConfigProblem{}
	for _, p := range ps {
		message := p.Message
		if p.File != s.a.opt.ConfigFile && p.File != "" && filepath.Base(filepath.Dir(p.File)) != settingsDir { // what is there was sent, and has a name that only the box knows
			message = filepath.Base(p.File) + ": " + message
		}
		all = append(all, webadmin.ConfigProblem{Key: p.Key, Line: p.Line, Message: message})
	}
	return all
}

// TrySubscribers reads a list as it would be taken.
func (s *source) TrySubscribers(csv []byte) (webadmin.ListOutcome, error) {
	o, _ := s.readList(csv)
	return o, nil
}

func (s *source) readList(csv []byte) (webadmin.ListOutcome, *subscriber.Table) {
	cfg := s.a.cfg.Load()
	o := webadmin.ListOutcome{Now: s.a.who.Table().Len(), Plans: map[string]int{}, Problems: []webadmin.ConfigProblem{}, Warnings: []string{}}
	table, err := subscriber.Parse("list", bytes.NewReader(csv), func(plan string) bool { return slices.Contains(cfg.PlanNames(), plan) })
	if err == nil {
		err = s.a.stillThere(cfg, table)
	}
	if err != nil {
		if errs, ok := errors.AsType[*subscriber.Errors](err); ok {
			for _, e := range errs.List {
				o.Problems = append(o.Problems, webadmin.ConfigProblem{Line: e.Line, Message: e.Message})
			}
			o.More = errs.More
		} else if ps, ok := errors.AsType[config.Problems](err); ok {
			o.Problems = s.problems(ps)
		} else {
			o.Problems = append(o.Problems, webadmin.ConfigProblem{Message: err.Error()})
		}
		return o, nil
	}
	for sub := range table.After("") {
		o.Subscribers++
		o.Plans[sub.Plan]++
	}
	o.Warnings = append(o.Warnings, ListWarnings(table)...)
	return o, table
}

// SetSubscribers puts a list in the place of the one there is, at once.
func (s *source) SetSubscribers(csv []byte, who string) (webadmin.ListOutcome, error) {
	a := s.a
	a.changing.Lock()
	defer a.changing.Unlock()
	cfg := a.cfg.Load()
	file := cfg.SubscribersPath()
	if file == "" {
		return webadmin.ListOutcome{}, webadmin.Refused{Field: "subscribers", Message: "the configuration has no list: identity.subscribers_file is empty"}
	}
	o, table := s.readList(csv)
	if table == nil {
		return o, webadmin.WrongConfig(o.Problems)
	}
	if err := durable.Rewrite(file, csv); err != nil {
		return o, fmt.Errorf("write the list: %w", err)
	}
	a.listSeen = fileState(file)
	a.listNext = a.listSeen
	a.assign(cfg, table, a.now())
	s.audit(who, "subscribers", filepath.Base(file), fmt.Sprintf("%d subscribers", o.Now), fmt.Sprintf("%d subscribers (revision %s)", o.Subscribers, revision(csv)))
	o.Now = o.Subscribers
	return o, nil
}

// Platform is what this machine has.
func (s *source) Platform() webadmin.Platform {
	p := webadmin.Platform{Interfaces: interfacesHere()}
	for i := range p.Interfaces {
		slices.SortFunc(p.Interfaces[i].Addresses, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	}
	return p
}

// Clock is how it stands with the time.
func (s *source) Clock() webadmin.Clock { return s.a.clockHere() }

// fallback is the file's text with what waits for a restart as it is in force now; nil when there is no saying.
func (a *Appliance) fallback() []byte {
	text, _, err := a.onDisk()
	if err != nil {
		return nil
	}
	values, err := a.cfg.Load().EffectiveJSON()
	var groups map[string]json.RawMessage
	if err != nil || json.Unmarshal(values, &groups) != nil {
		return nil
	}
	var changes []config.Change
	for _, key := range a.waits() {
		group, _, _ := strings.Cut(key, ".")
		if !slices.ContainsFunc(changes, func(c config.Change) bool { return c.Key == group }) {
			changes = append(changes, config.Change{Key: group, Value: groups[group]})
		}
	}
	if len(changes) == 0 {
		return text
	}
	back, err := config.Edit(a.opt.ConfigFile, text, changes)
	if err != nil {
		return nil
	}
	return back
}

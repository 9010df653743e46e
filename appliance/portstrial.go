package appliance

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/cabling"
	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// portsFile has the shape of the ports that is tried, from before it is in force until it was confirmed, or records say that it was taken back.
const portsFile = "ports.tried"

// portsStart is how long a life may take until its web admin answers; then there is [trialTime] to confirm.
const portsStart = 3 * time.Minute

// portsTried is a shape of the ports that nobody has confirmed yet.
type portsTried struct {
	ID     string     `json:"id"`
	Before portsShape `json:"before"`
	After  portsShape `json:"after"`
	Why    string     `json:"why,omitempty"` // it could not be
}

// portsShape are the keys of the group network that say what the ports are.
type portsShape struct {
	Topology    string           `json:"topology"`
	Subscribers []string         `json:"subscriber_interfaces"`
	Upstream    []string         `json:"upstream_interfaces"`
	Addresses   []config.Address `json:"addresses"`
	Routes      []config.Route   `json:"routes"`
}

func portsOf(n config.Network) portsShape {
	return portsShape{n.Topology, n.SubscriberInterfaces, n.UpstreamInterfaces, n.Addresses, n.Routes}
}

func (p portsShape) network() config.Network {
	return config.Network{Topology: p.Topology, SubscriberInterfaces: p.Subscribers, UpstreamInterfaces: p.Upstream, Addresses: p.Addresses, Routes: p.Routes}
}

// in has a configuration say so, in memory.
func (p portsShape) in(cfg *config.Config) {
	n := &cfg.Network
	n.Topology, n.SubscriberInterfaces, n.UpstreamInterfaces, n.Addresses, n.Routes = p.Topology, p.Subscribers, p.Upstream, p.Addresses, p.Routes
}

// String is how people and records have it.
func (p portsShape) String() string {
	side := func(names []string) string {
		var all []string
		for _, name := range names {
			words := []string{name}
			for _, a := range p.Addresses {
				if a.Interface == name {
					words = append(words, a.Address)
				}
			}
			all = append(all, strings.Join(words, " "))
		}
		return strings.Join(all, ", ")
	}
	text := fmt.Sprintf("%s; subscribers at %s; internet at %s", p.Topology, side(p.Subscribers), side(p.Upstream))
	for i, r := range p.Routes {
		if i == 8 {
			text += fmt.Sprintf("; and %d more routes", len(p.Routes)-i)
			break
		}
		text += strings.TrimRight("; route to "+r.To+" via "+r.Via+" "+r.Interface, " ")
	}
	return text
}

// keys are the differences as changes of the configuration.
func (p portsShape) keys(is portsShape) (changes []config.Change, err error) {
	for _, k := range []struct {
		key      string
		is, want any
	}{
		{"topology", is.Topology, p.Topology}, {"subscriber_interfaces", is.Subscribers, p.Subscribers}, {"upstream_interfaces", is.Upstream, p.Upstream},
		{"addresses", addressKeys(is.Addresses), addressKeys(p.Addresses)}, {"routes", routeKeys(is.Routes), routeKeys(p.Routes)},
	} {
		before, err1 := json.Marshal(k.is)
		value, err2 := json.Marshal(k.want)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if string(before) != string(value) {
			changes = append(changes, config.Change{Key: "network." + k.key, Value: value})
		}
	}
	return changes, nil
}

// addressKeys and routeKeys are as a configuration has them.
func addressKeys(all []config.Address) []map[string]string {
	keys := []map[string]string{}
	for _, a := range all {
		keys = append(keys, map[string]string{"interface": a.Interface, "address": a.Address})
	}
	return keys
}

func routeKeys(all []config.Route) []map[string]string {
	keys := []map[string]string{}
	for _, r := range all {
		one := map[string]string{"to": r.To, "via": r.Via}
		if r.Interface != "" {
			one["interface"] = r.Interface
		}
		keys = append(keys, one)
	}
	return keys
}

func (o Options) portsFile() string { return filepath.Join(o.DataDir, portsFile) }

// triedPorts is what the file says; nil: nothing was tried.
func (o Options) triedPorts() (*portsTried, error) {
	text, err := os.ReadFile(o.portsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t := new(portsTried)
	if err := json.Unmarshal(text, t); err != nil {
		return nil, fmt.Errorf("%s: %w", o.portsFile(), err)
	}
	return t, nil
}

func (o Options) savePorts(t portsTried) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return durable.Replace(o.portsFile(), text)
}

// keptPorts is the shape that was confirmed last; nil: another one is in force at once, as where there is no user yet who could log in and keep it.
func (a *Appliance) keptPorts() *config.Network {
	if a.opt.Image.Kept == nil {
		return nil
	}
	if _, err := os.Stat(filepath.Join(a.opt.DataDir, webadmin.UsersFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	kept, err := a.opt.Image.Kept()
	if err != nil {
		a.log.Error("it is not known which ports were confirmed last, so those of the configuration are in force without being tried", "err", err)
		return nil
	}
	return kept
}

// keepPorts has the next start begin with this shape, unless it is of one that is tried.
func (a *Appliance) keepPorts(n config.Network) {
	if a.opt.Image == nil || a.opt.Image.Keep == nil || a.tried.Load() != nil {
		return
	}
	if err := a.opt.Image.Keep(n); err != nil {
		a.log.Error("should the settings not be readable at the next start, the box will not know its topology and addresses", "err", err)
	}
}

// tryPorts has the ports be of another shape until somebody confirms it, or its time is over. Process 1 holds the clock. Where it cannot be noted what is tried, as on a full
// disk, nothing is, and cfg has the ports that there are.
func (a *Appliance) tryPorts(before config.Network, cfg *config.Config) error {
	after := cfg.Network
	t := portsTried{ID: rand.Text(), Before: portsOf(before), After: portsOf(after)}
	if err := a.opt.savePorts(t); err != nil {
		a.log.Error("the ports stay what they were, and not what the configuration says: what is tried cannot be noted", "err", err)
		t.Before.in(cfg)
		return a.opt.Image.Shape(before)
	}
	dir := a.opt.Image.Ports
	err := dir.Try(t.ID, portsStart)
	if err == nil {
		err = a.opt.Image.Shape(after)
	}
	if err != nil {
		t.Why = "they cannot be: " + err.Error()
		return errors.Join(err, dir.EndTrial(), a.opt.savePorts(t))
	}
	a.tried.Store(&t)
	a.log.Warn("other ports are tried: unless somebody confirms them they are taken back", "tried", t.After, "before", t.Before)
	return nil
}

// countPorts begins the time to confirm: the web admin answers.
func (a *Appliance) countPorts() {
	t := a.tried.Load()
	if t == nil {
		return
	}
	if err := a.opt.Image.Ports.Try(t.ID, trialTime); err != nil {
		a.log.Error("the ports that are tried cannot be given time", "err", err)
	}
	a.writer.Say(records.Audit(records.AuditFacts{Time: a.now(), Who: "mailweir", What: "network_tried", Object: "ports",
		Before: t.Before.String(), After: t.After.String() + fmt.Sprintf("; taken back in %d s unless confirmed", int(trialTime.Seconds()))}))
}

// portsTrial is the one that goes on; nil: none does.
func (a *Appliance) portsTrial() *webadmin.PortsTrial {
	t := a.tried.Load()
	if t == nil {
		return nil
	}
	now, err := a.opt.Image.Ports.Trial()
	if err != nil || now == nil || now.ID != t.ID {
		return nil
	}
	return &webadmin.PortsTrial{Token: t.ID, Before: t.Before.String(), After: t.After.String(), Left: webadmin.Seconds(now.Left())}
}

// confirmPorts keeps what is tried. The caller holds a.changing.
func (a *Appliance) confirmPorts(who string) error {
	t := a.portsTrial()
	if t == nil || t.Left == 0 {
		return webadmin.Refused{Field: "token", Message: "this change is over, and the ports are again what they were; change them once more on the page Network"}
	}
	if err := a.opt.Image.Keep(a.cfg.Load().Network); err != nil {
		return fmt.Errorf("keep the ports for the next start: %w", err)
	}
	a.tried.Store(nil)
	err := errors.Join(os.Remove(a.opt.portsFile()), a.opt.Image.Ports.EndTrial())
	a.writer.Say(records.Audit(records.AuditFacts{Time: a.now(), Who: who, What: "network_confirmed", Object: "ports", Before: t.Before, After: t.After}))
	return err
}

// untried refuses another shape of the ports while one is tried.
func (a *Appliance) untried(next *config.Config) error {
	if a.tried.Load() == nil || next.Network.SamePorts(a.cfg.Load().Network) {
		return nil
	}
	return config.Problems{next.ProblemAt("network.topology", "other ports are tried now, so they cannot change again: first keep them on the page Settings, Network, or wait until they are taken back")}
}

// portsReverted is a trial that ended without anybody's confirmation.
type portsReverted struct {
	portsTried
	said     []sides // of the configuration
	revision string
	err      error // why the configuration could not be put back
}

// revertPorts ends a trial of an earlier life: who began again has not confirmed it, whatever ended it. The ports and the configuration are again what was confirmed last; all
// else of the configuration stays. nil: there was none, or it was confirmed in the last moment of that life.
func revertPorts(opt Options) *portsReverted {
	im := opt.Image
	if im == nil || im.Kept == nil {
		return nil
	}
	t, err := opt.triedPorts()
	if err != nil {
		opt.Log.Error("it is not known whether ports were tried", "err", err)
		return nil
	}
	if t == nil {
		return nil
	}
	kept, err := im.Kept()
	if err == nil && kept != nil && kept.SamePorts(t.After.network()) {
		if err := errors.Join(im.Ports.EndTrial(), os.Remove(opt.portsFile())); err != nil {
			opt.Log.Error("forget that ports were tried", "err", err)
		}
		return nil
	}
	r := &portsReverted{portsTried: *t}
	r.Why = cmp.Or(r.Why, im.Ports.Why(), "the box or its program began again before anybody kept them")
	if err := im.Shape(t.Before.network()); err != nil {
		opt.Log.Error("take back the ports that were tried", "err", err)
	}
	if err := im.Ports.EndTrial(); err != nil {
		opt.Log.Error("end the trial of the ports", "err", err)
	}
	if r.err = r.rewrite(opt.ConfigFile); r.err != nil {
		opt.Log.Error("the ports were taken back, and the configuration cannot be", "err", r.err)
	}
	return r
}

// stays has the ports that came back be those of this life, although the configuration says something else and cannot be put back: it would be tried for ever.
func (r *portsReverted) stays(cfg *config.Config) {
	if r != nil && r.err != nil {
		r.Before.in(cfg)
	}
}

// rewrite puts those keys of the configuration back that are not as they were. One that asks for ports which are neither was changed meanwhile, by a restore or by hand, and
// stays: what it says is tried next.
func (r *portsReverted) rewrite(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	now, err := config.Parse(file, text)
	if err != nil {
		return err
	}
	if !now.Network.SamePorts(r.After.network()) {
		r.revision = revision(text)
		return nil
	}
	changes, err := r.Before.keys(portsOf(now.Network))
	if err != nil || len(changes) == 0 {
		r.revision = revision(text)
		return err
	}
	text, err = config.Edit(file, text, changes)
	if err != nil {
		return err
	}
	next, err := config.Parse(file, text)
	if err != nil {
		return err
	}
	var changed []webadmin.ConfigDifference
	for _, d := range config.Differences(now, next) {
		changed = append(changed, webadmin.ConfigDifference{Key: d.Key, Before: d.Before, After: d.After})
	}
	r.said = saidOf(changed)
	r.revision = revision(text)
	return durable.Rewrite(file, text)
}

// tellReverted says that a trial was taken back; then it is forgotten.
func (a *Appliance) tellReverted(r *portsReverted) {
	if r == nil {
		return
	}
	say := func(what, object, before, after string) {
		a.writer.Say(records.Audit(records.AuditFacts{Time: a.now(), Who: "mailweir", What: what, Object: object, Before: before, After: after}))
	}
	say("network_reverted", "ports", r.After.String(), r.Before.String()+"; "+r.Why)
	for i, one := range r.said {
		say("config", filepath.Base(a.opt.ConfigFile), one.before, one.after+"; the ports that were tried are taken back: "+r.Why+" (revision "+r.revision+part(i, len(r.said))+")")
	}
	if r.err != nil || a.tried.Load() != nil {
		return // this is done again; or it is of the ports that are tried now
	}
	if err := os.Remove(a.opt.portsFile()); err != nil {
		a.log.Error("forget that ports were tried", "err", err)
	}
}

// tellCards says, once in a start of the box, what of its network cards is not as it was.
func (a *Appliance) tellCards() {
	if a.opt.Image == nil || a.opt.Image.Ports == "" {
		return
	}
	dir := a.opt.Image.Ports
	c, err := dir.Cards()
	if err != nil || c == nil || dir.Told() {
		if err != nil {
			a.log.Error("which network cards there are", "err", err)
		}
		return
	}
	for _, text := range c.Text() {
		a.health.tell(records.HealthFacts{What: "ports", Detail: text, Good: text == cabling.UnknownText})
	}
	if err := dir.SetTold(); err != nil {
		a.log.Error("note that it was told which network cards there are", "err", err)
	}
}

// missingPorts are ports of the image without a card, by name, with the hardware address that it had ("": it is not known).
func (a *Appliance) missingPorts() map[string]string {
	missing := map[string]string{}
	if a.opt.Image == nil || a.opt.Image.Ports == "" {
		return missing
	}
	if c, err := a.opt.Image.Ports.Cards(); err == nil && c != nil {
		for _, name := range c.Missing {
			missing[name] = c.MACs[name]
		}
	}
	return missing
}

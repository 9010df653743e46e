package appliance

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/netconf"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

const (
	// trialTime is how long somebody has to confirm other addresses.
	trialTime = time.Minute

	// trialSoon is when they are in force: the answer that says where to confirm them goes out before.
	trialSoon = 2 * time.Second
)

// triedFile has the change that is on trial, so that its end is told also after a restart, which ends it.
const triedFile = "network.tried"

// tried is a change of the management port that nobody has confirmed yet.
type tried struct {
	ID     string `json:"id"`
	Who    string `json:"who"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// Network is the management port; nil where nobody keeps its addresses for us.
func (s *source) Network() *webadmin.Network {
	dir := s.a.opt.Management
	if dir == "" {
		return nil
	}
	state, err := dir.State()
	if err == nil && state == nil {
		return nil
	}
	n := &webadmin.Network{Settings: settingsOf(s.a.cfg.Load().Management), Ports: s.a.portsTrial()}
	if err != nil {
		n.Why = err.Error()
		return n
	}
	n.Why = state.Why
	for _, a := range state.Addresses {
		n.Addresses = append(n.Addresses, a.String())
	}
	if t, err := dir.Trial(); err == nil && t != nil && t.Left() > 0 {
		n.Trial = &webadmin.NetworkTrial{Settings: settingsOf(t.Settings), Left: webadmin.Seconds(t.Left())}
	}
	return n
}

func settingsOf(m config.Management) webadmin.NetworkSettings {
	return webadmin.NetworkSettings{VLAN: int(m.VLAN), IPv4: m.IPv4, IPv4Gateway: m.IPv4Gateway, IPv6: m.IPv6, IPv6Gateway: m.IPv6Gateway, DNS: slices.Clone(m.DNS)}
}

// managementKeys are the keys that differ.
func managementKeys(was, n webadmin.NetworkSettings) (keys []webadmin.ConfigKey, err error) {
	for _, k := range []struct {
		key       string
		was, want any
	}{
		{"vlan", was.VLAN, n.VLAN}, {"ipv4", was.IPv4, n.IPv4}, {"ipv4_gateway", was.IPv4Gateway, n.IPv4Gateway},
		{"ipv6", was.IPv6, n.IPv6}, {"ipv6_gateway", was.IPv6Gateway, n.IPv6Gateway}, {"dns", was.DNS, append([]string{}, n.DNS...)},
	} {
		before, err1 := json.Marshal(k.was)
		value, err2 := json.Marshal(k.want)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if string(before) != string(value) {
			keys = append(keys, webadmin.ConfigKey{Key: "management." + k.key, Value: value})
		}
	}
	return keys, nil
}

// saidOfManagement is how records have it.
func saidOfManagement(m config.Management) string {
	words := []string{"ipv4 " + m.IPv4}
	add := func(name, value string) {
		if value != "" {
			words = append(words, name+" "+value)
		}
	}
	add("gateway", m.IPv4Gateway)
	add("ipv6", m.IPv6)
	add("gateway", m.IPv6Gateway)
	if m.VLAN > 0 {
		add("vlan", strconv.Itoa(int(m.VLAN)))
	}
	add("dns", strings.Join(m.DNS, " "))
	return strings.Join(words, ", ")
}

// TryNetwork begins a trial.
func (s *source) TryNetwork(n webadmin.NetworkSettings, who string) (webadmin.NetworkTrial, error) {
	a := s.a
	a.changing.Lock()
	defer a.changing.Unlock()
	dir := a.opt.Management
	if s.Network() == nil {
		return webadmin.NetworkTrial{}, webadmin.Refused{Field: "management", Message: "the addresses of this machine are not ours to give"}
	}
	if t, err := dir.Trial(); err != nil {
		return webadmin.NetworkTrial{}, err
	} else if t != nil && t.Left() > 0 {
		return webadmin.NetworkTrial{}, webadmin.Refused{Field: "management", Message: fmt.Sprintf("another change is tried now; it is over in %d s at the latest", int(t.Left().Seconds())+1)}
	}
	a.networkEnded()
	keys, err := managementKeys(settingsOf(a.cfg.Load().Management), n)
	if err != nil {
		return webadmin.NetworkTrial{}, err
	}
	if len(keys) == 0 {
		return webadmin.NetworkTrial{}, webadmin.Refused{Field: "management", Message: "this is what the configuration says already"}
	}
	d, err := s.draft(webadmin.ConfigChange{Keys: keys}, a.listKnown)
	if d != nil {
		err = errors.Join(err, d.discard())
	}
	if err != nil {
		return webadmin.NetworkTrial{}, s.wrong(err)
	}
	m := d.next.Management
	if err := stillHeard(a.cfg.Load().Admin.Listen, d.before.Management, m); err != nil {
		return webadmin.NetworkTrial{}, err
	}
	was := tried{ID: rand.Text(), Who: who, Before: saidOfManagement(d.before.Management), After: saidOfManagement(m)}
	text, err := json.Marshal(was)
	if err != nil {
		return webadmin.NetworkTrial{}, err
	}
	if err := durable.Replace(a.triedFile(), text); err != nil {
		return webadmin.NetworkTrial{}, fmt.Errorf("note what is tried: %w", err)
	}
	t, err := dir.Try(was.ID, m, trialSoon, trialTime)
	if err != nil {
		return webadmin.NetworkTrial{}, errors.Join(fmt.Errorf("begin the trial: %w", err), os.Remove(a.triedFile()))
	}
	s.audit(who, "network_tried", "management", was.Before, was.After+fmt.Sprintf("; taken back in %d s unless confirmed", int(t.Left().Seconds())))
	return webadmin.NetworkTrial{Settings: settingsOf(m), Token: was.ID, Left: webadmin.Seconds(t.Left())}, nil
}

// stillHeard refuses addresses at which the web admin would not listen: it cannot change its own while it runs.
func stillHeard(listen string, was, m config.Management) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	at, err := netip.ParseAddr(host)
	if err != nil || at.IsUnspecified() {
		return nil // every address
	}
	of := func(m config.Management) bool {
		p4, _ := m.Static4()
		p6, _ := m.Static6()
		return at == p4.Addr() || at == p6.Addr()
	}
	if of(was) && !of(m) || !of(was) && (was.IPv4 != m.IPv4 || was.IPv6 != m.IPv6 || was.VLAN != m.VLAN) {
		return webadmin.Refused{Field: "admin.listen", Message: fmt.Sprintf("the web admin listens at %v only, and would not be there any more: first let it listen at all addresses (Set-up, management address), and restart mailweir", at)}
	}
	return nil
}

// ConfirmNetwork writes what is tried into the configuration, and ends the trial; of ports that are tried the configuration says so already.
func (s *source) ConfirmNetwork(token string, at netip.Addr, who string) error {
	a := s.a
	a.changing.Lock()
	defer a.changing.Unlock()
	dir := a.opt.Management
	if s.Network() == nil {
		return webadmin.Refused{Field: "token", Message: "the addresses of this machine are not ours to give"}
	}
	if p := a.tried.Load(); p != nil && p.ID == token {
		return a.confirmPorts(who)
	}
	t, err := dir.Trial()
	if err != nil {
		return err
	}
	if t == nil || t.ID != token || t.Left() == 0 {
		return webadmin.Refused{Field: "token", Message: "this change is over, and the settings before it are back; begin anew on the page Network"}
	}
	state, err := dir.State()
	if err != nil {
		return err
	}
	if state == nil || state.Trial != token {
		return webadmin.Refused{Field: "token", Message: "it is not in force yet; try again in a moment"}
	}
	if !slices.ContainsFunc(state.Addresses, func(p netip.Prefix) bool { return p.Addr() == at }) {
		return webadmin.Refused{Field: "token", Message: fmt.Sprintf("the box was reached at %v, which is none of the port's addresses; open this page at one of them", at)}
	}
	keys, err := managementKeys(settingsOf(a.cfg.Load().Management), settingsOf(t.Settings))
	if err != nil {
		return err
	}
	d, err := s.draft(webadmin.ConfigChange{Keys: keys}, loadSubscribers)
	if err == nil {
		_, err = a.put(d)
	}
	if err != nil {
		return s.wrong(err)
	}
	s.audit(who, "network_confirmed", "management", saidOfManagement(d.before.Management), saidOfManagement(t.Settings))
	return errors.Join(os.Remove(a.triedFile()), dir.EndTrial(token))
}

func (a *Appliance) triedFile() string { return filepath.Join(a.opt.DataDir, triedFile) }

// watchNetwork tells when a trial ended without a confirmation. Only tick uses it.
func (a *Appliance) watchNetwork() {
	if a.opt.Management == "" || !a.changing.TryLock() { // somebody is just confirming, perhaps
		return
	}
	defer a.changing.Unlock()
	a.networkEnded()
}

// networkEnded tells of a trial that is over. The caller holds a.changing.
func (a *Appliance) networkEnded() {
	text, err := os.ReadFile(a.triedFile())
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var was tried
	if err == nil {
		err = json.Unmarshal(text, &was)
	}
	var now *netconf.Trial
	if err == nil {
		now, err = a.opt.Management.Trial()
	}
	if err == nil && now != nil && now.ID == was.ID {
		return // it goes on
	}
	if err == nil && was.After != saidOfManagement(a.cfg.Load().Management) { // else it was confirmed, and only that it was tried was not forgotten
		a.writer.Say(records.Audit(records.AuditFacts{Time: a.now(), Who: "mailweir", What: "network_reverted", Object: "management",
			Before: was.After, After: was.Before + "; nobody confirmed what " + was.Who + " tried"}))
	}
	if err := errors.Join(err, os.Remove(a.triedFile())); err != nil {
		a.log.Error("what became of the management port's trial", "err", err)
	}
}

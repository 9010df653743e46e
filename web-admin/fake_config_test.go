package webadmin

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fakeConfig is what the fake box is configured to; the real one is looked at in package appliance.
const fakeConfig = `{"mode": "observe",
 "network": {"topology": "routed", "subscriber_interfaces": ["lan0"], "upstream_interfaces": ["wan0"], "limited_ports": [25], "counted_ports": [465, 587]},
 "identity": {"subscribers_file": "subscribers.csv", "unmapped_plan": "unmapped", "radius": {"listen": "192.0.2.9:1813", "secret_file": "settings.d/radius-secret", "clients": ["192.0.2.1/32"], "require_timestamp": false},
  "lease_files": [{"path": "/var/lib/misc/dnsmasq.leases", "format": "dnsmasq"}]},
 "plans": [{"name": "residential", "preset": "", "highest_stage": "cut", "budgets": [{"of": "sessions", "limit": 20, "per": "1h", "burst": 5}, {"of": "concurrent_sessions", "limit": 3}],
   "ladder": {"warn_at": 50, "pace_at": 80, "pace_max": "60s", "defer_at": 100, "cut_at": 300, "cut_for": "1h", "release_after": "15m"}},
  {"name": "unmapped", "preset": "unmapped", "highest_stage": "defer", "budgets": [], "ladder": {"warn_at": 50, "pace_at": 80, "pace_max": "60s", "defer_at": 100, "cut_at": 300, "cut_for": "1h", "release_after": "15m"}}],
 "ntp": {"servers": []},
 "syslog": {"targets": [{"url": "udp://192.0.2.1:514", "ca_file": ""}, {"url": "tcp://syslog-2.isp.example:6514", "ca_file": ""}]},
 "notices": {"webhooks": [{"name": "desk", "url": "https://desk.isp.example/hook", "of": ["stages", "clusters"]}],
  "mail": {"smarthost": "", "tls": "starttls", "user": "", "password_file": "", "from": "", "to": [], "of": ["stages", "clusters", "health"]}},
 "clusters": {"known_good": []},
 "admin": {"listen": ":8443", "tls": {"cert_file": "", "key_file": ""}, "language": "en", "sentences_file": ""}}`

func (f *fakeBox) text() string {
	if f.config == "" {
		f.config = fakeConfig
	}
	return f.config
}

func (f *fakeBox) Config() (Configuration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing != nil {
		return Configuration{}, f.failing
	}
	return Configuration{Text: f.text(), Revision: fakeRevision(f.text()), Values: json.RawMessage(f.text()), Waiting: f.waiting}, nil
}

func fakeRevision(text string) string { return fmt.Sprintf("r%d", len(text)) }

func (f *fakeBox) TryConfig(c ConfigChange) (ConfigOutcome, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.try(c)
}

func (f *fakeBox) try(c ConfigChange) (o ConfigOutcome, err error) {
	if f.failing != nil {
		return o, f.failing
	}
	if c.Revision != "" && c.Revision != fakeRevision(f.text()) {
		return o, ErrConfigChanged
	}
	if c.Text != nil {
		o.Text = string(c.Text)
		if !json.Valid(c.Text) {
			return o, WrongConfig{{Key: "mode", Line: 3, Message: "is not known"}}
		}
		o.Revision = fakeRevision(o.Text)
		if strings.Contains(o.Text, "elsewhere") {
			o.Elsewhere = []string{"syslog.targets[0]"}
		}
		return o, nil
	}
	var tree any
	if err := json.Unmarshal([]byte(f.text()), &tree); err != nil {
		return o, err
	}
	for _, k := range c.Keys {
		if strings.Contains(string(k.Value), "wrong") {
			return o, WrongConfig{{Key: k.Key, Message: "must not be wrong"}}
		}
		if item := strings.HasSuffix(k.Key, "]"); (strings.HasPrefix(k.Key, "syslog.targets") || strings.HasPrefix(k.Key, "notices.")) && !(item && k.Value == nil) && string(k.Value) != `""` {
			o.Elsewhere = append(o.Elsewhere, k.Key)
		}
		steps := strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(k.Key), ".")
		o.Changed = append(o.Changed, ConfigDifference{k.Key, "", string(k.Value)})
		if tree, err = setIn(tree, steps, k.Value); err != nil {
			return o, err
		}
	}
	b, err := json.Marshal(tree)
	o.Text, o.Revision = string(b), fakeRevision(string(b))
	return o, err
}

func setIn(at any, steps []string, raw json.RawMessage) (any, error) {
	var value any
	if len(steps) == 0 {
		return value, json.Unmarshal(raw, &value)
	}
	switch at := at.(type) {
	case map[string]any:
		if len(steps) == 1 && raw == nil {
			delete(at, steps[0])
			return at, nil
		}
		inner, err := setIn(at[steps[0]], steps[1:], raw)
		at[steps[0]] = inner
		return at, err
	case []any:
		i, err := strconv.Atoi(steps[0])
		if err != nil || i > len(at) {
			return at, fmt.Errorf("no item %s", steps[0])
		}
		if len(steps) == 1 && raw == nil {
			return slices.Delete(at, i, i+1), nil
		}
		if i == len(at) {
			at = append(at, nil)
		}
		inner, err := setIn(at[i], steps[1:], raw)
		at[i] = inner
		return at, err
	}
	return nil, fmt.Errorf("nothing at %v", steps)
}

func (f *fakeBox) SetConfig(c ConfigChange, who string) (ConfigOutcome, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, err := f.try(c)
	if err != nil {
		return o, err
	}
	if len(o.Elsewhere) > 0 && !c.Sure {
		return o, NotSure(o.Elsewhere)
	}
	if c.Text == nil {
		f.config = o.Text
	}
	what := who + " config"
	for _, k := range c.Keys {
		what += " " + k.Key
	}
	for _, file := range c.Files {
		what += " +" + file.Name
	}
	f.by = append(f.by, what)
	return o, nil
}

func (f *fakeBox) TrySubscribers(csv []byte) (ListOutcome, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := ListOutcome{Now: 1206, Plans: map[string]int{}}
	for i, line := range strings.Split(strings.TrimRight(string(csv), "\n"), "\n")[1:] {
		_, plan, ok := strings.Cut(line, ",")
		if plan, _, _ = strings.Cut(plan, ","); !ok || plan == "golden" {
			o.Problems = append(o.Problems, ConfigProblem{Line: i + 2, Message: fmt.Sprintf("there is no plan %q", plan)})
			continue
		}
		o.Subscribers++
		o.Plans[plan]++
	}
	return o, nil
}

func (f *fakeBox) SetSubscribers(csv []byte, who string) (ListOutcome, error) {
	o, err := f.TrySubscribers(csv)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing != nil {
		return o, f.failing
	}
	f.by = append(f.by, fmt.Sprintf("%s list of %d", who, o.Subscribers))
	return o, err
}

func (f *fakeBox) Backup(who string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing != nil {
		return nil, f.failing
	}
	f.by = append(f.by, who+" backup")
	return []byte("PK backup"), nil
}

func (f *fakeBox) Restore(file []byte, dry, sure bool, who string) (RestoreOutcome, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if string(file) != "PK backup" {
		return RestoreOutcome{}, Refused{"file", "this is no backup of a mailweir"}
	}
	if !dry && !sure {
		unsure := NotSure{"file"}
		if f.astray {
			unsure = append(unsure, "syslog.targets[1]")
		}
		return RestoreOutcome{}, unsure
	}
	f.by = append(f.by, fmt.Sprintf("%s restore dry %t", who, dry))
	return RestoreOutcome{Made: ago(0), Box: "edge-1", Version: "0.1.0", Files: []string{"mailweir.yaml", "subscribers.csv"},
		Config: ConfigOutcome{Changed: []ConfigDifference{{"plans[0].budgets[0].limit", "20", "30"}, {"syslog.targets[1].url", "", "relp://collector.isp.example"}},
			Warnings: []ConfigProblem{{Key: "network.upstream_interfaces[0]", Message: "this box has no port port4; it has port2, port3"}}}}, nil
}

func (f *fakeBox) Sources() Sources {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bare {
		return Sources{}
	}
	return Sources{
		List:        ListSource{File: "/etc/mailweir/subscribers.csv", Subscribers: 1206, Refused: "line 7: there is no plan \"golden\""},
		RADIUS:      &RADIUSSource{Last: ago(40 * time.Second), Taken: 48_211, NotWanted: 12, Repeated: 3, Ignored: map[string]int64{"wrong_secret": 7, "old": 41}, Unlisted: 2},
		Leases:      []LeaseSource{{Path: "/var/lib/misc/dnsmasq.leases", Format: "dnsmasq", Read: ago(20 * time.Second), Leases: 311, BadLines: 1, FirstBad: "/var/lib/misc/dnsmasq.leases:12: no address"}},
		Bindings:    BindingCounts{RADIUS: 894, Leases: 311, API: 1, Unknown: 4},
		UsualLeases: []LeaseFile{{"/var/lib/misc/dnsmasq.leases", "dnsmasq"}, {"/var/lib/kea/kea-leases4.csv", "kea-csv"}},
	}
}

func (f *fakeBox) Platform() Platform {
	return Platform{Interfaces: []Interface{
		{Name: "lan0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.0.1/10")}},
		{Name: "wan0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.2/30"), netip.MustParsePrefix("2001:db8:ffff::2/64")}},
		{Name: "eth2", Up: false},
	}}
}

func (f *fakeBox) Clock() Clock {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status.Clock
}

func (f *fakeBox) Restart(who string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.by = append(f.by, who+" restart")
}

func (f *fakeBox) Network() *Network {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.foreign {
		return nil
	}
	n := &Network{Settings: NetworkSettings{IPv4: "dhcp", IPv6: "auto"}, Addresses: []string{"192.0.2.50/24", "2001:db8::50/64"}, Ports: f.ports}
	if f.tried != nil {
		n.Trial = &NetworkTrial{Settings: *f.tried, Left: Seconds(40 * time.Second)}
	}
	return n
}

func (f *fakeBox) TryNetwork(n NetworkSettings, who string) (NetworkTrial, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.failing != nil:
		return NetworkTrial{}, f.failing
	case n.IPv4 == "nonsense":
		return NetworkTrial{}, WrongConfig{{Key: "management.ipv4", Message: `"nonsense" is neither dhcp nor off nor an address`}}
	}
	f.tried = &n
	f.by = append(f.by, fmt.Sprintf("%s tries %+v", who, n))
	return NetworkTrial{Settings: n, Token: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Left: Seconds(time.Minute)}, nil
}

func (f *fakeBox) ConfirmNetwork(token string, at netip.Addr, who string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ports != nil && token == f.ports.Token {
		f.ports = nil
		f.by = append(f.by, who+" keeps the ports")
		return nil
	}
	if f.tried == nil || token != "ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		return Refused{"token", "this change is over"}
	}
	f.tried = nil
	f.by = append(f.by, fmt.Sprintf("%s keeps it, at %v", who, at))
	return nil
}

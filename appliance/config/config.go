// Package config reads mailweir.yaml: typed, with every default stated, and refusing what it does not understand.
//
// A file is read twice. First its YAML nodes are held against the Go types below: this finds unknown and repeated
// keys, nulls, missing units, values out of range, and knows the line of each. Only a file without such problems
// reaches viper, which fills the structs with UnmarshalExact and without weak typing. Then come the rules that
// concern several keys. All problems of a file are reported, not only the first.
//
// The struct tags are the schema: `mapstructure` is the key, `allowed` the words that a value may take,
// `range` the inclusive bounds in the value's own unit; `names:"file"` marks a path that is opened.
package config

import (
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"time"
)

// The words of keys that take one of a few.
const (
	Observe  = "observe"  // mode
	Enforce  = "enforce"  // mode
	Bridge   = "bridge"   // network.topology
	Routed   = "routed"   // network.topology
	Open     = "open"     // network.on_failure
	Closed   = "closed"   // network.on_failure
	Govern   = "govern"   // network.tagged
	Pass     = "pass"     // network.tagged
	Fast     = "fast"     // queue.reader
	Portable = "portable" // queue.reader
	Auto     = "auto"     // queue.fast_lane, management.ipv6
	Off      = "off"      // queue.fast_lane, management.ipv4, management.ipv6
	DHCP     = "dhcp"     // management.ipv4

	DefaultRoute = "default" // network.routes: to
)

// Config is a whole configuration, defaults filled in. It is not changed after Load, so it may be shared.
type Config struct {
	Mode         string       `mapstructure:"mode" allowed:"observe enforce"`
	Network      Network      `mapstructure:"network"`
	Queue        Queue        `mapstructure:"queue"`
	Identity     Identity     `mapstructure:"identity"`
	Plans        []Plan       `mapstructure:"plans"`
	Defer        Defer        `mapstructure:"defer"`
	Clusters     Clusters     `mapstructure:"clusters"`
	Destinations Destinations `mapstructure:"destinations"`
	Share        Share        `mapstructure:"share"`
	Syslog       Syslog       `mapstructure:"syslog"`
	Notices      Notices      `mapstructure:"notices"`
	Evidence     Evidence     `mapstructure:"evidence"`
	Admin        Admin        `mapstructure:"admin"`
	Journal      Journal      `mapstructure:"journal"`
	Retention    Retention    `mapstructure:"retention"`
	Management   Management   `mapstructure:"management"`
	NTP          NTP          `mapstructure:"ntp"`
	Fleet        Fleet        `mapstructure:"fleet"`

	path     string
	warnings Problems
	lines    map[string]int // on which line each key of the file stands
}

// Network says where the subscribers are and which ports are governed.
type Network struct {
	Topology             string   `mapstructure:"topology" allowed:"bridge routed"`
	SubscriberInterfaces []string `mapstructure:"subscriber_interfaces"`
	UpstreamInterfaces   []string `mapstructure:"upstream_interfaces"`
	LimitedPorts         []uint16 `mapstructure:"limited_ports" range:"1..65535"`
	CountedPorts         []uint16 `mapstructure:"counted_ports" range:"1..65535"` // seen and counted, never limited
	OnFailure            string   `mapstructure:"on_failure" allowed:"open closed"`
	Tagged               string   `mapstructure:"tagged" allowed:"govern pass"`
	MarkMask             Mask     `mapstructure:"mark_mask"` // bits of the packet and conntrack mark that are ours

	Addresses []Address `mapstructure:"addresses"` // of the image's ports, where it routes; another Linux has its own way to give addresses
	Routes    []Route   `mapstructure:"routes"`
}

// Address is an address of one of the interfaces, with the length of its network.
type Address struct {
	Interface string `mapstructure:"interface"`
	Address   string `mapstructure:"address"` // ADDRESS/BITS
}

// Prefix is the address with its length; the zero one where it is not written right.
func (a Address) Prefix() netip.Prefix {
	p, _ := netip.ParsePrefix(a.Address)
	return p
}

// Route is where a network is that no interface has an address of.
type Route struct {
	To        string `mapstructure:"to"` // NETWORK/BITS, or default, which is of the family of Via
	Via       string `mapstructure:"via"`
	Interface string `mapstructure:"interface"` // "": the one in whose network Via is; a link-local one needs it
}

// Prefix is the network that the route leads to; the zero one where it is not written right.
func (r Route) Prefix() netip.Prefix {
	if r.To != DefaultRoute {
		p, _ := netip.ParsePrefix(r.To)
		return p
	}
	via := r.Gateway()
	if !via.IsValid() {
		return netip.Prefix{}
	}
	p, _ := via.Prefix(0)
	return p
}

// Gateway is the router; the zero address where it is not written right.
func (r Route) Gateway() netip.Addr {
	a, _ := netip.ParseAddr(r.Via)
	return a
}

// SameShape tells whether both say the same of what the box is: its topology, who is where, addresses and routes.
func (n Network) SameShape(o Network) bool {
	return n.Topology == o.Topology && slices.Equal(n.SubscriberInterfaces, o.SubscriberInterfaces) && slices.Equal(n.UpstreamInterfaces, o.UpstreamInterfaces) &&
		slices.Equal(n.Addresses, o.Addresses) && slices.Equal(n.Routes, o.Routes)
}

// SamePorts tells whether the image's ports are the same by both. Those of bridges are: which of them is the subscribers' is not the ports' matter.
func (n Network) SamePorts(o Network) bool {
	return n.Topology == Bridge && o.Topology == Bridge || n.SameShape(o)
}

// FailOpen reports whether mail passes unjudged while we are dead or overrun.
func (n Network) FailOpen() bool { return n.OnFailure == Open }

// Ports returns the limited and the counted ports, the limited ones first.
func (n Network) Ports() []uint16 {
	return append(append(make([]uint16, 0, len(n.LimitedPorts)+len(n.CountedPorts)), n.LimitedPorts...), n.CountedPorts...)
}

// Queue says how packets come to us: NFQUEUE numbers First .. First+Count-1. Count 0 means one per CPU.
type Queue struct {
	First    uint16 `mapstructure:"first" range:"0..65535"`
	Count    uint16 `mapstructure:"count" range:"0..256"`
	Reader   string `mapstructure:"reader" allowed:"fast portable"`
	FastLane string `mapstructure:"fast_lane" allowed:"auto off"`
	Length   uint32 `mapstructure:"length" range:"64..1048576"` // packets per queue
}

// Identity says whose an address is.
type Identity struct {
	IPv4Prefix            int         `mapstructure:"ipv4_prefix" range:"8..32"`
	IPv6Prefix            int         `mapstructure:"ipv6_prefix" range:"16..128"`
	DestinationIPv4Prefix int         `mapstructure:"destination_ipv4_prefix" range:"8..32"`
	DestinationIPv6Prefix int         `mapstructure:"destination_ipv6_prefix" range:"16..128"`
	SubscribersFile       string      `mapstructure:"subscribers_file" names:"file"` // as written; see Config.SubscribersPath
	UnmappedPlan          string      `mapstructure:"unmapped_plan"`
	RADIUS                RADIUS      `mapstructure:"radius"`
	LeaseFiles            []LeaseFile `mapstructure:"lease_files"`
}

// RADIUS is the accounting listener; off while Listen is empty.
type RADIUS struct {
	Listen           string         `mapstructure:"listen"`
	SecretFile       string         `mapstructure:"secret_file" names:"file"` // as written; see Config.SecretPath
	Clients          []netip.Prefix `mapstructure:"clients"`                  // who is listened to; empty: whoever knows the secret
	RequireTimestamp bool           `mapstructure:"require_timestamp"`        // only what has an Event-Timestamp is taken
}

// LeaseFile is a DHCP server's list of leases.
type LeaseFile struct {
	Path   string `mapstructure:"path" names:"file"` // as written; Config.Resolve makes it absolute
	Format string `mapstructure:"format" allowed:"dnsmasq kea-csv"`
}

// Plan is what a kind of subscriber may do.
type Plan struct {
	Name         string   `mapstructure:"name"`
	Preset       string   `mapstructure:"preset" allowed:"residential office mailserver hosting unmapped" empty:"allowed"` // what the file left out came from it
	HighestStage string   `mapstructure:"highest_stage" allowed:"observe warn pace defer cut"`
	Budgets      []Budget `mapstructure:"budgets"`
	Ladder       Ladder   `mapstructure:"ladder"`
}

// Budget is Limit of something per window, Burst of them at once. Per is zero for concurrent_sessions, which has no window.
type Budget struct {
	Of    string        `mapstructure:"of" allowed:"sessions tls_handshakes tls_failures concurrent_sessions destinations messages recipients rejected"`
	Limit int           `mapstructure:"limit" range:"1..1000000"`
	Per   time.Duration `mapstructure:"per" range:"1s..31d"`
	Burst int           `mapstructure:"burst" range:"1..1000000"` // defaults to Limit
}

// Ladder says at which per cent of a budget which stage begins. A key left out has the value of DefaultLadder.
type Ladder struct {
	WarnAt       int           `mapstructure:"warn_at" range:"1..1000"`
	PaceAt       int           `mapstructure:"pace_at" range:"1..1000"`
	PaceMax      time.Duration `mapstructure:"pace_max" range:"0s..240s"` // the longest a reply is held
	DeferAt      int           `mapstructure:"defer_at" range:"1..1000"`
	CutAt        int           `mapstructure:"cut_at" range:"1..10000"`
	CutFor       time.Duration `mapstructure:"cut_for" range:"1s..31d"`
	ReleaseAfter time.Duration `mapstructure:"release_after" range:"0s..31d"`
}

// Defer is what a deferred client is told, after "421 4.7.0 ".
type Defer struct {
	Text string `mapstructure:"text"`
}

// Clusters is about the same rare TLS client on many subscribers.
type Clusters struct {
	Subscribers int           `mapstructure:"subscribers" range:"3..10000"` // the fewest that can make a card
	Learn       time.Duration `mapstructure:"learn" range:"1s..31d"`        // what is common here, before the first card
	KnownGood   []string      `mapstructure:"known_good"`                   // JA4s
}

// Destinations is about the networks that are contacted most.
type Destinations struct {
	OwnersFile string `mapstructure:"owners_file" names:"file"` // MMDB, as written; see Config.OwnersPath
}

// Share is about the encrypted share of the sessions.
type Share struct {
	AlertPoints   int `mapstructure:"alert_points" range:"1..100"`            // per cent of all sessions, week over week
	AlertSessions int `mapstructure:"alert_sessions" range:"100..1000000000"` // in each of the weeks
}

// Syslog says where records go.
type Syslog struct {
	Targets    []Target `mapstructure:"targets"`
	Facility   string   `mapstructure:"facility" allowed:"kern user mail daemon auth syslog lpr news uucp cron authpriv ftp ntp audit alert clock local0 local1 local2 local3 local4 local5 local6 local7"`
	SpoolBytes Size     `mapstructure:"spool_bytes" range:"1MiB..64GiB"`
}

// Target is one collector: udp://HOST:PORT, tcp://, tls://, relp:// or relps:// (RELP over TLS). Ports default to 514, 514, 6514, 2514 and 2514.
// The files are as written; Config.Resolve makes them absolute.
type Target struct {
	URL      string `mapstructure:"url"`
	CAFile   string `mapstructure:"ca_file" names:"file"`   // who may sign its certificate
	CertFile string `mapstructure:"cert_file" names:"file"` // ours, for a collector that asks for one
	KeyFile  string `mapstructure:"key_file" names:"file"`
}

// Notices says who is told what happened, and how.
type Notices struct {
	Stages               []string      `mapstructure:"stages" allowed:"warn pace defer cut"` // whose beginning is told
	Limit                int           `mapstructure:"limit" range:"1..1000"`                // one by one, of each subject in Per; the others become a digest
	Per                  time.Duration `mapstructure:"per" range:"1m..24h"`
	MaxAge               time.Duration `mapstructure:"max_age" range:"1h..90d"` // what waits longer is given up
	Webhooks             []Webhook     `mapstructure:"webhooks"`
	Mail                 Mail          `mapstructure:"mail"`
	MailTemplateFile     string        `mapstructure:"mail_template_file" names:"file"`     // as written, as all files; Config.Resolve makes it absolute
	CustomerTemplateFile string        `mapstructure:"customer_template_file" names:"file"` // "": the one we bring
}

// Webhook is who gets notices by HTTP, signed as the Standard Webhooks specification says.
type Webhook struct {
	Name       string   `mapstructure:"name"`
	URL        string   `mapstructure:"url"`
	SecretFile string   `mapstructure:"secret_file" names:"file"`
	CAFile     string   `mapstructure:"ca_file" names:"file"`
	Of         []string `mapstructure:"of" allowed:"stages clusters health"`
}

// Mail is the operator's mail server and who gets notices through it; off while Smarthost is empty.
type Mail struct {
	Smarthost    string   `mapstructure:"smarthost"` // HOST:PORT
	TLS          string   `mapstructure:"tls" allowed:"starttls implicit none"`
	CAFile       string   `mapstructure:"ca_file" names:"file"`
	User         string   `mapstructure:"user"`
	PasswordFile string   `mapstructure:"password_file" names:"file"`
	From         string   `mapstructure:"from"`
	To           []string `mapstructure:"to"`
	Of           []string `mapstructure:"of" allowed:"stages clusters health"`
}

// Evidence says who reports what a case's pack of evidence has; without them a pack has no XARF report.
type Evidence struct {
	Organization string `mapstructure:"organization"`
	Contact      string `mapstructure:"contact"` // an e-mail address
}

// Admin is the web admin, its API and /metrics.
type Admin struct {
	Listen        string `mapstructure:"listen"`
	TLS           TLS    `mapstructure:"tls"`
	Metrics       bool   `mapstructure:"metrics"`
	MetricsPublic bool   `mapstructure:"metrics_public"`
	Language      string `mapstructure:"language" allowed:"en de"`    // of what callers are told; see SentencesFile
	SentencesFile string `mapstructure:"sentences_file" names:"file"` // the same in the operator's words, in whatever language; empty: Language's
	Timezone      string `mapstructure:"timezone"`                    // of the times on pages and in sentences for callers; empty: the machine's. See Config.Location
}

// TLS names a certificate and its key; both empty: a self-signed pair is made once and kept.
type TLS struct {
	CertFile string `mapstructure:"cert_file" names:"file"`
	KeyFile  string `mapstructure:"key_file" names:"file"`
}

// Journal is what the box keeps of its records, and of what its governor was told.
type Journal struct {
	Bytes Size `mapstructure:"bytes" range:"1MiB..256GiB"` // of all its files; the oldest go first
}

// Retention says how long kinds of data are kept.
type Retention struct {
	Sessions time.Duration `mapstructure:"sessions" range:"1h..3660d"`
	Records  time.Duration `mapstructure:"records" range:"1h..3660d"`
	Series   time.Duration `mapstructure:"series" range:"1h..3660d"`
}

// Management is the image's management port; another Linux has its own way to give addresses.
type Management struct {
	VLAN        uint16   `mapstructure:"vlan" range:"0..4094"` // 0: untagged
	IPv4        string   `mapstructure:"ipv4"`                 // dhcp, off, or ADDRESS/BITS
	IPv4Gateway string   `mapstructure:"ipv4_gateway"`
	IPv6        string   `mapstructure:"ipv6"` // auto, off, or ADDRESS/BITS
	IPv6Gateway string   `mapstructure:"ipv6_gateway"`
	DNS         []string `mapstructure:"dns"` // none: those that DHCP names
}

// Static4 is the address and the length of its prefix, when there is a static one.
func (m Management) Static4() (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(m.IPv4)
	return p, err == nil
}

// Static6 is Static4 for IPv6.
func (m Management) Static6() (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(m.IPv6)
	return p, err == nil
}

// Equal tells whether both say the same.
func (m Management) Equal(o Management) bool {
	dns := slices.Equal(m.DNS, o.DNS)
	m.DNS, o.DNS = nil, nil
	return dns && reflect.DeepEqual(m, o)
}

// NTP is whom the image asks for the time; on another Linux that is the machine's own business.
type NTP struct {
	Servers []string `mapstructure:"servers"` // HOST or HOST:PORT; none: those that DHCP names
}

// Fleet is how boxes share budgets; off while NATSURL is empty.
type Fleet struct {
	NATSURL         string `mapstructure:"nats_url"`
	CredentialsFile string `mapstructure:"credentials_file" names:"file"`
}

// Path is the file this was loaded from, empty for Default.
func (c *Config) Path() string { return c.path }

// Warnings are things that are valid but do not do yet, or hardly do, what one may expect of them.
func (c *Config) Warnings() Problems { return c.warnings }

// ProblemAt is something wrong with a key that only came to light when what it names was used.
func (c *Config) ProblemAt(key, message string) Problem {
	return Problem{File: c.path, Line: nearestLine(c.lines, key), Key: key, Message: message}
}

// Resolve makes a path of the file absolute: relative ones count from the file's own directory. Empty stays empty.
func (c *Config) Resolve(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(filepath.Dir(c.path), p)
}

// Location is the zone of the times on pages; nil: the machine's.
func (c *Config) Location() *time.Location {
	if c.Admin.Timezone == "" {
		return nil
	}
	l, _ := time.LoadLocation(c.Admin.Timezone) // the rules know no other
	return l
}

// SubscribersPath is where the subscriber list is, empty when there is none.
func (c *Config) SubscribersPath() string { return c.Resolve(c.Identity.SubscribersFile) }

// SecretPath is where the RADIUS secret is, empty when there is none.
func (c *Config) SecretPath() string { return c.Resolve(c.Identity.RADIUS.SecretFile) }

// OwnersPath is where the database of networks' owners is, empty when there is none.
func (c *Config) OwnersPath() string { return c.Resolve(c.Destinations.OwnersFile) }

// PlanNames lists the plans in the file's order.
func (c *Config) PlanNames() []string {
	names := make([]string, len(c.Plans))
	for i, p := range c.Plans {
		names[i] = p.Name
	}
	return names
}

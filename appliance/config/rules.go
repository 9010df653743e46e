package config

import (
	"fmt"
	"math/bits"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the image has no zone files, and a machine may lack them: 450 kB
	"unicode"
)

// rules are what a configuration must obey beyond the types and bounds of single keys.
type rules struct {
	*schema
	c        *Config
	warnings Problems
}

func (r *rules) bad(key, format string, args ...any) {
	r.problem(r.line(key), key, format, args...)
}

func (r *rules) warn(key, format string, args ...any) {
	r.warnings = append(r.warnings, Problem{File: r.file, Line: r.line(key), Key: key, Message: fmt.Sprintf(format, args...)})
}

func (r *rules) check() {
	r.network()
	if q := r.c.Queue; int(q.First)+int(q.Count) > 65536 {
		r.bad("queue.count", "queues %d to %d do not exist; first + count may be at most 65536", q.First, int(q.First)+int(q.Count)-1)
	}
	r.identity()
	r.plans()
	r.deferText()
	r.clusters()
	r.syslog()
	r.notices()
	r.evidence()
	r.admin()
	r.management()
	r.routing()
	r.ntp()
	r.fleet()
}

func (r *rules) network() {
	n := r.c.Network
	if len(n.SubscriberInterfaces) == 0 {
		r.bad("network.subscriber_interfaces", "is empty, so nobody would be governed; name the interfaces where subscribers are")
	}
	seen := make(map[string]string)
	r.interfaces("network.subscriber_interfaces", n.SubscriberInterfaces, seen)
	r.interfaces("network.upstream_interfaces", n.UpstreamInterfaces, seen)

	if len(n.Ports()) == 0 {
		r.bad("network.limited_ports", "is empty and so is counted_ports: there would be nothing to do; write [25]")
	}
	ports := make(map[uint16]string)
	r.ports("network.limited_ports", n.LimitedPorts, ports)
	r.ports("network.counted_ports", n.CountedPorts, ports)

	run := n.MarkMask >> bits.TrailingZeros32(uint32(n.MarkMask))
	if run&(run+1) != 0 || bits.OnesCount32(uint32(n.MarkMask)) < 4 {
		r.bad("network.mark_mask", "%v is not one run of at least 4 set bits; 0x0f000000 is one", n.MarkMask)
	}
	if n.Topology == Bridge && len(n.UpstreamInterfaces) == 0 {
		r.warn("network.upstream_interfaces", "is empty: name the bridge's ports on the internet's side, or there is no fast lane")
	}
}

func (r *rules) interfaces(key string, names []string, seen map[string]string) {
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", key, i)
		if why := interfaceName(name); why != "" {
			r.bad(at, "%q %s", name, why)
		} else if first, twice := seen[name]; twice {
			r.bad(at, "%q is already %s; an interface is listed once", name, first)
		}
		seen[name] = at
	}
}

// interfaceName says what is wrong with a name, as the kernel's dev_valid_name sees it; besides, a star would look
// like a pattern and match nothing.
func interfaceName(name string) string {
	switch {
	case name == "":
		return "is not an interface name; ip link lists them"
	case len(name) > 15:
		return "is longer than the 15 characters that Linux allows"
	case name == "." || name == "..", strings.ContainsFunc(name, func(c rune) bool {
		return c == '/' || c == ':' || unicode.IsSpace(c)
	}):
		return "is not an interface name; no spaces, slashes or colons"
	case strings.ContainsAny(name, "*+"):
		return "looks like a pattern; list every interface by its name"
	}
	return ""
}

func (r *rules) ports(key string, ports []uint16, seen map[uint16]string) {
	for i, p := range ports {
		at := fmt.Sprintf("%s[%d]", key, i)
		if first, twice := seen[p]; twice {
			r.bad(at, "port %d is already %s; a port is either limited or counted, and listed once", p, first)
		}
		seen[p] = at
	}
}

func (r *rules) identity() {
	id := r.c.Identity
	if names := r.c.PlanNames(); !slices.Contains(names, id.UnmappedPlan) {
		r.bad("identity.unmapped_plan", "there is no plan %q; plans of this file: %s", id.UnmappedPlan, strings.Join(names, ", "))
	}
	r.radius()
	r.leaseFiles()
}

const (
	maxClients    = 256 // compared one by one for every packet
	maxLeaseFiles = 16  // every one is looked at twice a second
)

func (r *rules) radius() {
	radius := r.c.Identity.RADIUS
	if n := len(radius.Clients); n > maxClients {
		r.bad("identity.radius.clients", "has %d entries; at most %d: write shorter prefixes", n, maxClients)
	}
	seen := make(map[netip.Prefix]int)
	for i, p := range radius.Clients {
		if first, twice := seen[p]; twice {
			r.bad(fmt.Sprintf("identity.radius.clients[%d]", i), "%v is already clients[%d]; keep one", p, first)
		}
		seen[p] = i
	}
	if radius.Listen == "" {
		if radius.SecretFile != "" || len(radius.Clients) > 0 || radius.RequireTimestamp {
			r.warn("identity.radius", "has no effect while listen is empty")
		}
		return
	}
	r.listen("identity.radius.listen", radius.Listen)
	if radius.SecretFile == "" {
		r.bad("identity.radius.secret_file", "is missing; a RADIUS listener needs the file with the shared secret")
	}
	if len(radius.Clients) == 0 {
		r.warn("identity.radius.clients", "is empty: whoever knows the secret is believed, wherever from; list the NAS")
	}
}

func (r *rules) leaseFiles() {
	files := r.c.Identity.LeaseFiles
	if n := len(files); n > maxLeaseFiles {
		r.bad("identity.lease_files", "has %d files; at most %d", n, maxLeaseFiles)
	}
	seen := make(map[string]int)
	for i, l := range files {
		at := fmt.Sprintf("identity.lease_files[%d]", i)
		if l.Path == "" {
			r.bad(at+".path", "is missing; name the DHCP server's lease file")
		} else if first, twice := seen[r.c.Resolve(l.Path)]; twice {
			r.bad(at+".path", "%q is already lease_files[%d]; a file is read once", l.Path, first)
		}
		seen[r.c.Resolve(l.Path)] = i
		if l.Format == "" {
			r.bad(at+".format", "is missing; allowed: dnsmasq, kea-csv")
		}
	}
}

func (r *rules) deferText() {
	text := r.c.Defer.Text
	if text == "" {
		r.bad("defer.text", "is empty; say why and when to retry, for example: {budget} exceeded; retry in {retry}; case {case}")
	}
	// RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets. Code, line end and what replaces the placeholders take the rest.
	if len(text) > 350 {
		r.bad("defer.text", "has %d characters; at most 350 fit into one reply line", len(text))
	}
	for _, c := range text {
		if c > unicode.MaxASCII {
			r.bad("defer.text", "contains %q; SMTP replies are plain ASCII", c)
			break
		}
	}
	rest := text
	for {
		_, after, ok := strings.Cut(rest, "{")
		if !ok {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed || !slices.Contains([]string{"budget", "retry", "case"}, name) {
			r.bad("defer.text", "has an unknown placeholder {%s; allowed: {budget}, {retry}, {case}", strings.TrimSpace(firstWord(name, closed)))
			break
		}
		rest = after
	}
}

const maxKnownGood = 1000

// ja4 is the form of JA4: protocol, version, whether there is a server name, numbers of ciphers and extensions, ALPN; and two hashes.
var ja4 = regexp.MustCompile(`^[tqd](1[0-3]|s[23]|d[123]|00)[di][0-9]{4}[0-9a-zA-Z]{2}_[0-9a-f]{12}_[0-9a-f]{12}$`)

func (r *rules) clusters() {
	good := r.c.Clusters.KnownGood
	if n := len(good); n > maxKnownGood {
		r.bad("clusters.known_good", "has %d entries; at most %d", n, maxKnownGood)
	}
	for i, print := range good {
		if !ja4.MatchString(print) {
			r.bad(fmt.Sprintf("clusters.known_good[%d]", i), "%q is no JA4; one looks like t13d1516h2_8daaf6152771_e5627efa2ab1, as in SESSION records", print)
		}
	}
}

// firstWord shortens an unclosed placeholder to what was probably meant as its name.
func firstWord(name string, closed bool) string {
	if closed {
		return name + "}"
	}
	first, _, _ := strings.Cut(name, " ")
	return first
}

func (r *rules) syslog() {
	seen := make(map[collector]int)
	if n := len(r.c.Syslog.Targets); n > 16 {
		r.bad("syslog.targets", "has %d targets; at most 16", n)
	}
	for i, t := range r.c.Syslog.Targets {
		at := fmt.Sprintf("syslog.targets[%d].url", i)
		u, why := targetURL(t.URL)
		if why != "" {
			r.bad(at, "%q %s; write udp://192.0.2.1:514 or tcp://collector.example:514", t.URL, why)
			continue
		}
		to := collectorAt(u)
		if first, twice := seen[to]; twice {
			r.bad(at, "%q is already syslog.targets[%d].url, %q; every record would arrive twice", t.URL, first, r.c.Syslog.Targets[first].URL)
		} else {
			seen[to] = i
		}
		secure := u.Scheme == "tls" || u.Scheme == "relps"
		for _, f := range []struct{ key, path string }{{"ca_file", t.CAFile}, {"cert_file", t.CertFile}, {"key_file", t.KeyFile}} {
			if f.path != "" && !secure {
				r.bad(fmt.Sprintf("syslog.targets[%d].%s", i, f.key), "only tls:// and relps:// have certificates; remove it, or use tls://%s", u.Host)
			}
		}
		if secure && (t.CertFile == "") != (t.KeyFile == "") {
			missing, present := "cert_file", "key_file"
			if t.KeyFile == "" {
				missing, present = present, missing
			}
			r.bad(fmt.Sprintf("syslog.targets[%d].%s", i, missing), "is missing although %s is set; set both, or neither", present)
		}
	}
}

// SyslogPorts are the schemes of collectors with the ports that they have where none is said.
var SyslogPorts = map[string]int{"udp": 514, "tcp": 514, "tls": 6514, "relp": 2514, "relps": 2514}

// collector is where records go, however it is written.
type collector struct {
	scheme, host string
	port         int
}

// collectorAt is where a URL leads that targetURL finds nothing wrong with.
func collectorAt(u *url.URL) collector {
	to := collector{u.Scheme, strings.ToLower(u.Hostname()), SyslogPorts[u.Scheme]}
	if addr, err := netip.ParseAddr(to.host); err == nil {
		to.host = addr.Unmap().String()
	}
	if n, err := strconv.Atoi(u.Port()); err == nil {
		to.port = n
	}
	return to
}

// targetURL splits the URL of a syslog target and says what is wrong with it.
func targetURL(s string) (*url.URL, string) {
	if s == "" {
		return nil, "is not a URL"
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, "is not a URL"
	}
	if SyslogPorts[u.Scheme] == 0 {
		return nil, "has none of the schemes udp, tcp, tls, relp, relps"
	}
	if u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || u.ForceQuery {
		return nil, "has more than a scheme, a host and a port"
	}
	if why := hostName(u.Hostname()); why != "" || u.Hostname() == "" {
		return nil, "has no valid host"
	}
	if u.Port() != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.Atoi(u.Port()); err != nil || n < 1 || n > 65535 {
			return nil, "has a port outside 1 to 65535"
		}
	}
	return u, ""
}

func (r *rules) admin() {
	a := r.c.Admin
	r.listen("admin.listen", a.Listen)
	if (a.TLS.CertFile == "") != (a.TLS.KeyFile == "") {
		missing, present := "cert_file", "key_file"
		if a.TLS.KeyFile == "" {
			missing, present = present, missing
		}
		r.bad("admin.tls."+missing, "is missing although %s is set; set both, or neither for a self-signed pair", present)
	}
	if _, err := time.LoadLocation(a.Timezone); err != nil || a.Timezone == "Local" {
		r.bad("admin.timezone", "%q is not a time zone; write one as the tz database names it, such as Europe/Vienna, or nothing for the machine's", a.Timezone)
	}
	if a.MetricsPublic && !a.Metrics {
		r.warn("admin.metrics_public", "has no effect while admin.metrics is false")
	}
}

func (r *rules) fleet() {
	f := r.c.Fleet
	if f.NATSURL == "" {
		return
	}
	u, err := url.Parse(f.NATSURL)
	if err != nil || !slices.Contains([]string{"nats", "tls"}, u.Scheme) || u.Hostname() == "" {
		r.bad("fleet.nats_url", "%q is not the URL of a NATS server; write nats://HOST:4222 or tls://HOST:4222", f.NATSURL)
		return
	}
	r.warn("fleet.nats_url", "the fleet is not active yet: this box decides alone")
}

// listen checks HOST:PORT, the host left out or in brackets where it is IPv6.
func (r *rules) listen(key, s string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		r.bad(key, "%q has no port; write :8443 or 192.0.2.1:8443", s)
		return
	}
	host := s[:i]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	} else if strings.Contains(host, ":") {
		r.bad(key, "%q: an IPv6 address stands in brackets: [2001:db8::1]:8443", s)
		return
	}
	if why := hostName(host); why != "" {
		r.bad(key, "%q %s", s, why)
	}
	if n, err := strconv.Atoi(s[i+1:]); err != nil || n < 1 || n > 65535 || s[i+1] == '+' {
		r.bad(key, "%q is not a port; allowed: 1 to 65535", s[i+1:])
	}
}

// hostName accepts an IP address, a host name or nothing.
func hostName(h string) string {
	if _, err := netip.ParseAddr(h); err == nil || h == "" {
		return ""
	}
	allowed := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
	}
	if len(h) > 253 || strings.ContainsFunc(h, func(c rune) bool { return !allowed(c) }) {
		return "is not an address or a host name"
	}
	if last := h[strings.LastIndexByte(h, '.')+1:]; last != "" && strings.Trim(last, "0123456789") == "" {
		return "is not an IPv4 address" // nor a name: no top-level domain is a number
	}
	return ""
}

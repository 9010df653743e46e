package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestContractMutations changes one thing in the contract's file per row and expects it to be refused by line and key.
func TestContractMutations(t *testing.T) {
	t.Parallel()
	contract := contract(t)
	rows := []struct {
		why, old, new string // the first old in the contract becomes new
		at            string // text on the line that must be named; "" means new's own
		key, message  string
	}{
		{"a word that mode does not know", "mode: observe ", "mode: obsrve ", "", "mode", `"obsrve" is not known (did you mean observe?); allowed: observe, enforce`},
		{"mode in capitals", "mode: observe ", "mode: Observe ", "", "mode", `did you mean observe`},
		{"mode key in capitals, which viper alone would take", "mode: observe ", "Mode: observe ", "", "Mode", "did you mean mode?"},
		{"mode as a boolean", "mode: observe ", "mode: true ", "", "mode", "must be a word or text, not true"},
		{"mode as null", "mode: observe ", "mode: ~ ", "", "mode", "has no value"},
		{"mode with nothing", "mode: observe ", "mode:        ", "", "mode", "has no value"},
		{"a group as null", "fleet:", "fleet: null\nxfleet:", "fleet: null", "fleet", "has no value"},
		{"unknown top-level key", "queue:", "turbo: on\nqueue:", "turbo", "turbo", "is not a key we know; allowed here: mode, network,"},
		{"mistyped key", "limited_ports:", "limitted_ports:", "", "network.limitted_ports", "did you mean limited_ports?"},
		{"unknown key within a budget", "{of: tls_failures,         limit: 10,  per: 1h}", "{of: tls_failures,         limit: 10,  every: 1h}", "", "plans[0].budgets[3].every", "allowed here: of, limit, per, burst"},
		{"key set twice", "  reader: fast ", "  reader: portable\n  reader: fast ", "  reader: fast ", "queue.reader", "is already set on line"},
		{"group set twice", "retention:", "queue: {first: 1}\nretention:", "queue: {first: 1}", "queue", "is already set on line"},
		{"window without a unit", "limit: 100, per: 24h}", "limit: 100, per: 24}", "", "plans[0].budgets[1].per", `"24" has no unit; write a number and a unit: 90s, 15m, 1h, 7d`},
		{"window in words", "limit: 100, per: 24h}", `limit: 100, per: "1 hour"}`, "", "plans[0].budgets[1].per", `"1 hour" has no unit we know; write a number and a unit`},
		{"negative window", "limit: 100, per: 24h}", "limit: 100, per: -1h}", "", "plans[0].budgets[1].per", "does not begin with a number"},
		{"window of nothing", "limit: 100, per: 24h}", "limit: 100, per: 0s}", "", "plans[0].budgets[1].per", "out of range; allowed: 1s to 31d"},
		{"window too long", "limit: 100, per: 24h}", "limit: 100, per: 32d}", "", "plans[0].budgets[1].per", "out of range"},
		{"window beyond counting", "limit: 100, per: 24h}", "limit: 100, per: 99999999999999d}", "", "plans[0].budgets[1].per", "is too large"},
		{"no window", "limit: 100, per: 24h}", "limit: 100}", "", "plans[0].budgets[1].per", "is missing; a limit needs a window"},
		{"a window for what has none", "limit: 3}", "limit: 3, per: 1h}", "", "plans[0].budgets[4].per", "remove per"},
		{"a burst for what has none", "limit: 3}", "limit: 3, burst: 3}", "", "plans[0].budgets[4].burst", "remove it"},
		{"limit as text", "limit: 20, ", `limit: "20", `, "", "plans[0].budgets[0].limit", `must be a whole number, not the text "20"`},
		{"limit with a fraction", "limit: 20, ", "limit: 2.5, ", "", "plans[0].budgets[0].limit", "must be a whole number, not the number 2.5"},
		{"limit zero", "limit: 20, ", "limit: 0, ", "", "plans[0].budgets[0].limit", "0 is out of range; allowed: 1 to 1000000"},
		{"limit negative", "limit: 20, ", "limit: -1, ", "", "plans[0].budgets[0].limit", "out of range"},
		{"limit beyond int64", "limit: 20, ", "limit: 18446744073709551615, ", "", "plans[0].budgets[0].limit", "out of range"},
		{"limit missing", "limit: 20, ", "", "{of: sessions,              per: 1h, burst: 5}", "plans[0].budgets[0].limit", "is missing"},
		{"limit null, which viper alone would read as none", "limit: 20, ", "limit: , ", "", "plans[0].budgets[0].limit", "has no value"},
		{"burst far above the limit", "burst: 5}", "burst: 201}", "", "plans[0].budgets[0].burst", "more than ten times the limit of 20; allowed: 1 to 200"},
		{"burst zero", "burst: 5}", "burst: 0}", "", "plans[0].budgets[0].burst", "out of range"},
		{"unknown kind", "of: tls_failures", "of: tls_failure", "", "plans[0].budgets[3].of", "did you mean tls_failures?"},
		{"kind missing", "of: tls_failures, ", "", "{        limit: 10,  per: 1h}", "plans[0].budgets[3].of", "is missing"},
		{"the same budget twice", "limit: 100, per: 24h}", "limit: 100, per: 60m}", "", "plans[0].budgets[1]", "sessions per 1h is budgets[0] of this plan already"},
		{"unknown stage", "highest_stage: cut ", "highest_stage: block ", "", "plans[0].highest_stage", "allowed: observe, warn, pace, defer, cut"},
		{"stage missing", "    highest_stage: cut ", "    # ", "name: residential", "plans[0].highest_stage", "is missing"},
		{"two plans of one name", "name: office", "name: residential", "name: residential\n    highest_stage: defer", "plans[1].name", "is the name of plans[0] already"},
		{"no name", "name: office", `name: ""`, "", "plans[1].name", "is missing"},
		{"name with a comma", "name: office", `name: "a,b"`, "", "plans[1].name", "is not a plan name"},
		{"name that is a number", "name: office", "name: 7", "", "plans[1].name", "put it in quotes"},
		{"unmapped plan gone", "name: unmapped", "name: others", "unmapped_plan: unmapped", "identity.unmapped_plan", "plans of this file: residential, office, mailserver, others"},
		{"pace before warn", "pace_at: 80", "pace_at: 40", "", "plans[0].ladder.pace_at", "pace_at 40 is below warn_at 50; the order is"},
		{"defer before pace", "defer_at: 100", "defer_at: 79", "", "plans[0].ladder.defer_at", "below pace_at 80"},
		{"cut before defer", "cut_at: 300", "cut_at: 99", "", "plans[0].ladder.cut_at", "below defer_at 100"},
		{"percentage with a sign", "warn_at: 50 ", "warn_at: 50% ", "", "plans[0].ladder.warn_at", "must be a whole number"},
		{"reply held longer than clients wait", "pace_max: 60s", "pace_max: 10m", "", "plans[0].ladder.pace_max", "allowed: 0s to 240s"},
		{"plans as a map", "plans:                             # a list", "plans: {residential: {}}\nxplans: # a list", "plans: {", "plans", "must be a list, not a group of keys"},
		{"budgets as a word", "    budgets:\n", "    budgets: none\n    xbudgets:\n", "budgets: none", "plans[0].budgets", "must be a list"},
		{"port 0", "limited_ports: [25]", "limited_ports: [0]", "", "network.limited_ports[0]", "allowed: 1 to 65535"},
		{"port too large", "limited_ports: [25]", "limited_ports: [25, 65536]", "", "network.limited_ports[1]", "allowed: 1 to 65535"},
		{"one port without brackets", "limited_ports: [25]", "limited_ports: 25", "", "network.limited_ports", "must be a list, not the number 25"},
		{"port limited and counted", "counted_ports: []", "counted_ports: [25]", "", "network.counted_ports[0]", "already network.limited_ports[0]"},
		{"no port at all", "limited_ports: [25]", "limited_ports: []", "", "network.limited_ports", "nothing to do"},
		{"interface name too long", "[lan0]", "[averylonginterface0]", "", "network.subscriber_interfaces[0]", "longer than the 15 characters"},
		{"interface name with a space", "[lan0]", `["lan 0"]`, "", "network.subscriber_interfaces[0]", "is not an interface name"},
		{"interface pattern", "[lan0]", `["ppp*"]`, "", "network.subscriber_interfaces[0]", "looks like a pattern"},
		{"no subscriber interface", "[lan0]", "[]", "", "network.subscriber_interfaces", "nobody would be governed"},
		{"one interface on both sides", "[wan0]", "[lan0]", "upstream_interfaces", "network.upstream_interfaces[0]", "already network.subscriber_interfaces[0]"},
		{"a print that is no JA4", "defer:", "clusters: {known_good: [abc]}\ndefer:", "abc", "clusters.known_good[0]", "is no JA4"},
		{"a JA3", "defer:", "clusters: {known_good: [e7d705a3286e19ea42f587b344ee6865]}\ndefer:", "e7d7", "clusters.known_good[0]", "is no JA4"},
		{"a cluster of one", "defer:", "clusters: {subscribers: 1}\ndefer:", "", "clusters.subscribers", "allowed: 3 to 10000"},
		{"no time to learn", "defer:", "clusters: {learn: 0s}\ndefer:", "", "clusters.learn", "allowed: 1s to 31d"},
		{"a shift of nothing", "defer:", "share: {alert_points: 0}\ndefer:", "", "share.alert_points", "allowed: 1 to 100"},
		{"failure mode unknown", "on_failure: open", "on_failure: pass", "", "network.on_failure", "allowed: open, closed"},
		{"mask with holes", "on_failure: open", "mark_mask: 0x0f0f0000\n  on_failure: open", "mark_mask", "network.mark_mask", "not one run of at least 4 set bits"},
		{"mask too narrow", "on_failure: open", "mark_mask: 7\n  on_failure: open", "mark_mask", "network.mark_mask", "0x00000007 is not one run"},
		{"mask too wide", "on_failure: open", "mark_mask: 0x1f0000000\n  on_failure: open", "mark_mask", "network.mark_mask", "out of range"},
		{"queue beyond the last", "first: 0                         # NFQUEUE numbers first .. first+count-1\n  count: 0", "first: 65535\n  count: 2", "count: 2", "queue.count", "may be at most 65536"},
		{"queue of no length", "length: 16384", "length: 0", "", "queue.length", "allowed: 64 to 1048576"},
		{"IPv4 prefix too long", "  ipv4_prefix: 32", "  ipv4_prefix: 33", "", "identity.ipv4_prefix", "allowed: 8 to 32"},
		{"RADIUS without a secret", `listen: ""                     # ":1813"`, `listen: ":1813"`, `secret_file: ""`, "identity.radius.secret_file", "is missing"},
		{"RADIUS client that is a name", `secret_file: ""`, `clients: [nas.example]`, "", "identity.radius.clients[0]", `"nas.example" is not an address or prefix; write 192.0.2.0/24`},
		{"RADIUS client with bits too many", `secret_file: ""`, `clients: [192.0.2.7/24]`, "", "identity.radius.clients[0]", "write 192.0.2.0/24, or 192.0.2.7 for the one address"},
		{"RADIUS client with a zone", `secret_file: ""`, `clients: ["fe80::1%eth0"]`, "", "identity.radius.clients[0]", "is not an address or prefix"},
		{"RADIUS client that is a number", `secret_file: ""`, `clients: [10]`, "", "identity.radius.clients[0]", "must be an address or prefix such as 192.0.2.0/24, not the number 10"},
		{"RADIUS client that is empty", `secret_file: ""`, `clients: [""]`, "", "identity.radius.clients[0]", "is not an address or prefix"},
		{"RADIUS client twice", `secret_file: ""`, `clients: [192.0.2.7, 192.0.2.7/32]`, "", "identity.radius.clients[1]", "is already clients[0]"},
		{"RADIUS clients without brackets", `secret_file: ""`, `clients: 192.0.2.7`, "", "identity.radius.clients", "write it in brackets: [192.0.2.0/24, 2001:db8::1]"},
		{"RADIUS clients too many", `secret_file: ""`, "clients: [" + manyAddresses(257) + "]", "", "identity.radius.clients", "has 257 entries; at most 256"},
		{"lease path missing", "lease_files: []", "lease_files: [{format: dnsmasq}]", "", "identity.lease_files[0].path", "is missing; name the DHCP server's lease file"},
		{"lease file twice", "lease_files: []", "lease_files: [{path: ./l, format: dnsmasq}, {path: l, format: kea-csv}]", "", "identity.lease_files[1].path", "is already lease_files[0]"},
		{"lease files too many", "lease_files: []", "lease_files: [" + strings.Repeat("{path: /l, format: dnsmasq}, ", 17) + "]", "", "identity.lease_files", "has 17 files; at most 16"},
		{"lease key unknown", "lease_files: []", "lease_files: [{file: /l, format: dnsmasq}]", "", "identity.lease_files[0].file", "allowed here: path, format"},
		{"preset unknown", "    highest_stage: cut ", "    preset: residental\n    highest_stage: cut ", "preset", "plans[0].preset", `"residental" is not known (did you mean residential?)`},
		{"preset of another's name", "    highest_stage: cut ", "    preset: my own\n    highest_stage: cut ", "preset", "plans[0].preset", "allowed: residential, office, mailserver, hosting, unmapped"},
		{"preset as null", "    highest_stage: cut ", "    preset: ~\n    highest_stage: cut ", "preset", "plans[0].preset", "has no value"},
		{"destinations beyond what is remembered", "limit: 5,   per: 1h", "limit: 1001, per: 1h", "", "plans[0].budgets[5].limit", "1001 is out of range for destinations, which are remembered one by one; allowed: 1 to 1000"},
		{"destinations at once beyond what is remembered", "limit: 5,   per: 1h", "limit: 500, per: 1h, burst: 1001", "", "plans[0].budgets[5].burst", "1001 is out of range for destinations"},
		{"lease format unknown", "lease_files: []", "lease_files: [{path: /l, format: isc}]", "", "identity.lease_files[0].format", "allowed: dnsmasq, kea-csv"},
		{"lease format missing", "lease_files: []", "lease_files: [{path: /l}]", "", "identity.lease_files[0].format", "is missing"},
		{"placeholder unknown", "case {case}", "case {number}", "", "defer.text", "unknown placeholder {number}"},
		{"placeholder open", "case {case};", "case {case;", "", "defer.text", "unknown placeholder {case;"},
		{"text not ASCII", "help: ", "Hilfe für Sie: ", "", "defer.text", "contains 'ü'"},
		{"text of two lines", `text: "{budget}`, `text: "two\nlines {budget}`, "", "defer.text", "on one line"},
		{"text too long", "help: ", strings.Repeat("help ", 80), "", "defer.text", "at most 350"},
		{"target without a scheme", "targets: []", `targets: [{url: "192.0.2.1:514"}]`, "", "syslog.targets[0].url", "write udp://192.0.2.1:514"},
		{"target with another scheme", "targets: []", `targets: [{url: "http://192.0.2.1"}]`, "", "syslog.targets[0].url", "has none of the schemes udp, tcp, tls, relp, relps"},
		{"target without a host", "targets: []", `targets: [{url: "udp://:514"}]`, "", "syslog.targets[0].url", "has no valid host"},
		{"target with port 0", "targets: []", `targets: [{url: "udp://c.example:0"}]`, "", "syslog.targets[0].url", "has a port outside 1 to 65535"},
		{"target with a path", "targets: []", `targets: [{url: "udp://c.example/x"}]`, "", "syslog.targets[0].url", "more than a scheme, a host and a port"},
		{"target twice", "targets: []", `targets: [{url: "udp://c.example"}, {url: "udp://c.example"}]`, "", "syslog.targets[1].url", "is already syslog.targets[0]"},
		{"target twice, once with the port that it has anyway", "targets: []", `targets: [{url: "tcp://192.0.2.99"}, {url: "tcp://192.0.2.99:514"}]`, "", "syslog.targets[1].url", `"tcp://192.0.2.99:514" is already syslog.targets[0].url, "tcp://192.0.2.99"`},
		{"target twice behind one on another port", "targets: []", `targets: [{url: "udp://c.example"}, {url: "udp://c.example:515"}, {url: "udp://c.example:515/"}]`, "", "syslog.targets[2].url", "is already syslog.targets[1].url"},
		{"target twice in other letters", "targets: []", `targets: [{url: "relp://c.example"}, {url: "relps://c.example"}, {url: "RELP://C.Example:02514/"}]`, "", "syslog.targets[2].url", "is already syslog.targets[0].url"},
		{"target twice, an address written otherwise", "targets: []", `targets: [{url: "udp://[2001:db8::7]"}, {url: "udp://[2001:DB8:0:0::7]:514"}]`, "", "syslog.targets[1].url", "is already syslog.targets[0].url"},
		{"target twice, an address of IPv4 within IPv6", "targets: []", `targets: [{url: "tls://192.0.2.7:6514"}, {url: "tls://[::ffff:192.0.2.7]"}]`, "", "syslog.targets[1].url", "is already syslog.targets[0].url"},
		{"CA for plain TCP", "targets: []", `targets: [{url: "tcp://c.example", ca_file: ca.pem}]`, "", "syslog.targets[0].ca_file", "only tls:// and relps:// have certificates"},
		{"certificate for RELP in clear", "targets: []", `targets: [{url: "relp://c.example", cert_file: c.pem, key_file: k.pem}]`, "", "syslog.targets[0].key_file", "only tls:// and relps:// have certificates"},
		{"certificate without its key", "targets: []", `targets: [{url: "relps://c.example", cert_file: c.pem}]`, "", "syslog.targets[0].key_file", "is missing although cert_file is set"},
		{"target as a word", "targets: []", "targets: [udp://c.example]", "", "syslog.targets[0]", "must be a group of keys (url, ca_file, cert_file, key_file)"},
		{"webhook without a name", "defer:", "notices: {webhooks: [{url: 'https://d.example', secret_file: s}]}\ndefer:", "", "notices.webhooks[0].name", "is not a name"},
		{"webhook twice", "defer:", "notices: {webhooks: [{name: d, url: 'https://d.example', secret_file: s}, {name: d, url: 'https://e.example', secret_file: s}]}\ndefer:", "", "notices.webhooks[1].name", "is already webhooks[0]"},
		{"webhook of the smarthost's name", "defer:", "notices: {webhooks: [{name: mail, url: 'https://d.example', secret_file: s}]}\ndefer:", "", "notices.webhooks[0].name", "smarthost's"},
		{"webhook that is unsigned", "defer:", "notices: {webhooks: [{name: d, url: 'https://d.example'}]}\ndefer:", "", "notices.webhooks[0].secret_file", "is missing"},
		{"webhook over mail", "defer:", "notices: {webhooks: [{name: d, url: 'mailto:a@b.example', secret_file: s}]}\ndefer:", "", "notices.webhooks[0].url", "is not a URL"},
		{"webhook over ftp", "defer:", "notices: {webhooks: [{name: d, url: 'ftp://d.example', secret_file: s}]}\ndefer:", "", "notices.webhooks[0].url", "neither https:// nor http://"},
		{"webhook with a password", "defer:", "notices: {webhooks: [{name: d, url: 'https://u:p@d.example', secret_file: s}]}\ndefer:", "", "notices.webhooks[0].url", "has a user or a password"},
		{"webhook of something else", "defer:", "notices: {webhooks: [{name: d, url: 'https://d.example', secret_file: s, of: [weather]}]}\ndefer:", "", "notices.webhooks[0].of[0]", "allowed: stages, clusters, health"},
		{"smarthost without a port", "defer:", "notices: {mail: {smarthost: m.example, from: a@b.example, to: [c@d.example]}}\ndefer:", "", "notices.mail.smarthost", "is not HOST:PORT"},
		{"mail to nobody", "defer:", "notices: {mail: {smarthost: 'm.example:25', from: a@b.example}}\ndefer:", "", "notices.mail.to", "is empty"},
		{"mail from nobody", "defer:", "notices: {mail: {smarthost: 'm.example:25', to: [c@d.example]}}\ndefer:", "", "notices.mail.from", "is not an address"},
		{"mail to somebody with a name", "defer:", "notices: {mail: {smarthost: 'm.example:25', from: a@b.example, to: ['C <c@d.example>']}}\ndefer:", "", "notices.mail.to[0]", "is not an address"},
		{"a password in clear", "defer:", "notices: {mail: {smarthost: 'm.example:25', tls: none, user: u, password_file: p, from: a@b.example, to: [c@d.example]}}\ndefer:", "", "notices.mail.tls", "password in clear"},
		{"notices of a stage that is none", "defer:", "notices: {stages: [observe]}\ndefer:", "", "notices.stages[0]", "allowed: warn, pace, defer, cut"},
		{"no notices at all", "defer:", "notices: {limit: 0}\ndefer:", "", "notices.limit", "allowed: 1 to 1000"},
		{"evidence of nobody", "defer:", "evidence: {contact: abuse@isp.example}\ndefer:", "", "evidence.organization", "is missing although contact is set"},
		{"evidence without an address", "defer:", "evidence: {organization: Example ISP}\ndefer:", "", "evidence.contact", "is not an address"},
		{"evidence with an address at no domain", "defer:", "evidence: {organization: Example ISP, contact: \"abuse@[192.0.2.1]\"}\ndefer:", "", "evidence.contact", "not an address at a domain"},
		{"evidence with a name that is no host's", "defer:", "evidence: {organization: Example ISP, contact: abuse@our_isp.example}\ndefer:", "", "evidence.contact", "not an address at a domain"},
		{"facility unknown", "facility: local4", "facility: local8", "", "syslog.facility", "did you mean"},
		{"size without a unit", "spool_bytes: 64MiB", "spool_bytes: 67108864", "", "syslog.spool_bytes", "has no unit; write a number and a unit: 512KiB"},
		{"size with a bad unit", "spool_bytes: 64MiB", "spool_bytes: 64M", "", "syslog.spool_bytes", "has no unit we know"},
		{"size out of range", "spool_bytes: 64MiB", "spool_bytes: 1KiB", "", "syslog.spool_bytes", "allowed: 1MiB to 64GiB"},
		{"listen without a port", `listen: ":8443"`, `listen: "8443"`, "", "admin.listen", "has no port"},
		{"a time zone that is none", `listen: ":8443"`, "listen: \":8443\"\n  timezone: Europe/Wien", "timezone", "admin.timezone", "is not a time zone"},
		{"a time zone that depends on the machine", `listen: ":8443"`, "listen: \":8443\"\n  timezone: Local", "timezone", "admin.timezone", "or nothing for the machine's"},
		{"listen on port 70000", `listen: ":8443"`, `listen: ":70000"`, "", "admin.listen", "allowed: 1 to 65535"},
		{"listen on bare IPv6", `listen: ":8443"`, `listen: "2001:db8::1:8443"`, "", "admin.listen", "stands in brackets"},
		{"listen on half an address", `listen: ":8443"`, `listen: "192.0.2:8443"`, "", "admin.listen", "is not an IPv4 address"},
		{"certificate without a key", `cert_file: ""`, `cert_file: c.pem`, "", "admin.tls.key_file", "is missing although cert_file is set"},
		{"boolean as a number, which viper alone would take", "metrics: true", "metrics: 1", "", "admin.metrics", "must be true or false, not the number 1"},
		{"boolean as yes", "metrics: true", "metrics: yes", "", "admin.metrics", `not the text "yes"`},
		{"retention in weeks", "sessions: 30d", "sessions: 4w", "", "retention.sessions", "has no unit we know"},
		{"retention as a list", "sessions: 30d", "sessions: [30d]", "", "retention.sessions", "must be a duration such as 15m, not a list"},
		{"management without an address", "fleet:", "management: {ipv4: off, ipv6: off}\nfleet:", "management:", "management.ipv4", "nobody could log in"},
		{"management with a name", "fleet:", "management: {ipv4: box.example}\nfleet:", "management:", "management.ipv4", "is neither dhcp nor off nor an address"},
		{"management without a length", "fleet:", "management: {ipv4: 192.0.2.10}\nfleet:", "management:", "management.ipv4", "such as 192.0.2.10/24"},
		{"management with IPv6 for IPv4", "fleet:", "management: {ipv4: '2001:db8::1/64'}\nfleet:", "management:", "management.ipv4", "is neither dhcp"},
		{"management at loopback", "fleet:", "management: {ipv4: 127.0.0.1/8}\nfleet:", "management:", "management.ipv4", "no address that a port can have"},
		{"management at the network's name", "fleet:", "management: {ipv4: 192.0.2.0/24}\nfleet:", "management:", "management.ipv4", "is the name of the network"},
		{"management at the broadcast address", "fleet:", "management: {ipv4: 192.0.2.127/25}\nfleet:", "management:", "management.ipv4", "broadcast address"},
		{"management's gateway elsewhere", "fleet:", "management: {ipv4: 192.0.2.10/25, ipv4_gateway: 192.0.2.200}\nfleet:", "management:", "management.ipv4_gateway", "is not in the network 192.0.2.0/25"},
		{"management's gateway is itself", "fleet:", "management: {ipv4: 192.0.2.10/25, ipv4_gateway: 192.0.2.10}\nfleet:", "management:", "management.ipv4_gateway", "is the box itself"},
		{"management's gateway beside DHCP", "fleet:", "management: {ipv4_gateway: 192.0.2.1}\nfleet:", "management:", "management.ipv4_gateway", "goes with a static address"},
		{"management's gateway beside SLAAC", "fleet:", "management: {ipv6_gateway: 'fe80::1'}\nfleet:", "management:", "management.ipv6_gateway", "goes with a static address"},
		{"management's IPv6 link-local", "fleet:", "management: {ipv6: 'fe80::1/64'}\nfleet:", "management:", "management.ipv6", "no address that a port can have"},
		{"management's IPv6 gateway elsewhere", "fleet:", "management: {ipv6: '2001:db8::2/64', ipv6_gateway: '2001:db9::1'}\nfleet:", "management:", "management.ipv6_gateway", "is not in the network"},
		{"management in a VLAN that cannot be", "fleet:", "management: {vlan: 4095}\nfleet:", "management:", "management.vlan", "allowed: 0 to 4094"},
		{"management's name server by name", "fleet:", "management: {dns: [ns.example]}\nfleet:", "management:", "management.dns[0]", "is not the address of a server"},
		{"management's name servers too many", "fleet:", "management: {dns: [" + manyAddresses(4) + "]}\nfleet:", "management:", "management.dns", "has 4 servers; at most 3"},
		{"an address at an interface that is on no side", "on_failure: open", "addresses: [{interface: eth7, address: 10.1.0.1/16}]\n  on_failure: open", "addresses: [{interface: eth7, address: 10.1.0.1/16}]", "network.addresses[0].interface", `"eth7" is neither in subscriber_interfaces nor in upstream_interfaces: lan0, wan0`},
		{"an address at nobody", "on_failure: open", "addresses: [{address: 10.1.0.1/16}]\n  on_failure: open", "addresses: [{address: 10.1.0.1/16}]", "network.addresses[0].interface", "is missing"},
		{"an interface without its address", "on_failure: open", "addresses: [{interface: lan0}]\n  on_failure: open", "addresses: [{interface: lan0}]", "network.addresses[0].address", "is missing"},
		{"an address without its length", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1}]\n  on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1}]", "network.addresses[0].address", "is not an address with the length of its network"},
		{"an address of IPv4 within IPv6", "on_failure: open", "addresses: [{interface: lan0, address: '::ffff:10.1.0.1/112'}]\n  on_failure: open", "addresses: [{interface: lan0, address: '::ffff:10.1.0.1/112'}]", "network.addresses[0].address", "is not an address with the length"},
		{"an address that is the network's name", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.0/16}]\n  on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.0/16}]", "network.addresses[0].address", "is the name of the network"},
		{"an address that is the broadcast address", "on_failure: open", "addresses: [{interface: lan0, address: 192.0.2.7/29}]\n  on_failure: open", "addresses: [{interface: lan0, address: 192.0.2.7/29}]", "network.addresses[0].address", "broadcast address"},
		{"an address at loopback", "on_failure: open", "addresses: [{interface: lan0, address: 127.0.0.1/8}]\n  on_failure: open", "addresses: [{interface: lan0, address: 127.0.0.1/8}]", "network.addresses[0].address", "no address that a port can have"},
		{"an address that is link-local", "on_failure: open", "addresses: [{interface: lan0, address: 'fe80::1/64'}]\n  on_failure: open", "addresses: [{interface: lan0, address: 'fe80::1/64'}]", "network.addresses[0].address", "no address that a port can have"},
		{"an address twice", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: lan0, address: 10.1.0.1/24}]\n  on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: lan0, address: 10.1.0.1/24}]", "network.addresses[1].address", "is already addresses[0]"},
		{"networks of two ports that overlap", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 10.1.7.1/24}]\n  on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 10.1.7.1/24}]", "network.addresses[1].address", "overlaps 10.1.0.0/16 on lan0 (addresses[0])"},
		{"an address where the management port falls back to", "on_failure: open", "addresses: [{interface: lan0, address: 192.168.77.9/24}]\n  on_failure: open", "addresses: [{interface: lan0, address: 192.168.77.9/24}]", "network.addresses[0].address", "that of the management port while nobody answers by DHCP"},
		{"a key of an address that there is not", "on_failure: open", "addresses: [{interface: lan0, adress: 10.1.0.1/16}]\n  on_failure: open", "addresses: [{interface: lan0, adress: 10.1.0.1/16}]", "network.addresses[0].adress", "did you mean address?"},
		{"a route to nowhere", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{via: 192.0.2.1}]\n  on_failure: open", "routes: [{via: 192.0.2.1}]", "network.routes[0].to", "is missing; write default"},
		{"a route to a word", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: internet, via: 192.0.2.1}]\n  on_failure: open", "routes: [{to: internet, via: 192.0.2.1}]", "network.routes[0].to", "is neither default nor a network"},
		{"a route to 0.0.0.0/0", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: 0.0.0.0/0, via: 192.0.2.1}]\n  on_failure: open", "routes: [{to: 0.0.0.0/0, via: 192.0.2.1}]", "network.routes[0].to", "write default"},
		{"a route to an address with a length", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: 198.51.100.7/24, via: 192.0.2.1}]\n  on_failure: open", "routes: [{to: 198.51.100.7/24, via: 192.0.2.1}]", "network.routes[0].to", "write 198.51.100.0/24, or 198.51.100.7/32"},
		{"a route to a port's own network", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: 10.1.0.0/16, via: 192.0.2.1}]\n  on_failure: open", "routes: [{to: 10.1.0.0/16, via: 192.0.2.1}]", "network.routes[0].to", "is the network of lan0 already (10.1.0.1/16)"},
		{"a route to the management port's network", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: 192.168.77.0/25, via: 192.0.2.1}]\n  on_failure: open", "routes: [{to: 192.168.77.0/25, via: 192.0.2.1}]", "network.routes[0].to", "the network of the management port"},
		{"a route to multicast", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: 224.0.0.0/4, via: 192.0.2.1}]\n  on_failure: open", "routes: [{to: 224.0.0.0/4, via: 192.0.2.1}]", "network.routes[0].to", "is no network that can be routed"},
		{"a route without a router", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: default}]\n  on_failure: open", "routes: [{to: default}]", "network.routes[0].via", "is missing"},
		{"a router by name", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: default, via: gw.example}]\n  on_failure: open", "routes: [{to: default, via: gw.example}]", "network.routes[0].via", "is not the address of a router"},
		{"a router in no network", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: default, via: 198.51.100.1}]\n  on_failure: open", "routes: [{to: default, via: 198.51.100.1}]", "network.routes[0].via", "198.51.100.1 is in no network of lan0, wan0"},
		{"a router in the network of another interface", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: default, via: 192.0.2.1, interface: lan0}]\n  on_failure: open", "routes: [{to: default, via: 192.0.2.1, interface: lan0}]", "network.routes[0].via", "is in no network of lan0,"},
		{"a router that is the box", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: default, via: 192.0.2.2}]\n  on_failure: open", "routes: [{to: default, via: 192.0.2.2}]", "network.routes[0].via", "is the box itself (wan0)"},
		{"a router at the broadcast address", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: default, via: 192.0.2.7}]\n  on_failure: open", "routes: [{to: default, via: 192.0.2.7}]", "network.routes[0].via", "the broadcast address of the network 192.0.2.0/29"},
		{"a router that is link-local, anywhere", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: default, via: 'fe80::1'}]\n  on_failure: open", "routes: [{to: default, via: 'fe80::1'}]", "network.routes[0].interface", "is link-local and may be at any of lan0, wan0; name the interface"},
		{"a router at an interface that is on no side", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: default, via: 'fe80::1', interface: eth7}]\n  on_failure: open", "routes: [{to: default, via: 'fe80::1', interface: eth7}]", "network.routes[0].interface", `"eth7" is neither`},
		{"a router of the other family", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: '2001:db8:9::/48', via: 192.0.2.1}]\n  on_failure: open", "routes: [{to: '2001:db8:9::/48', via: 192.0.2.1}]", "network.routes[0].via", "one is IPv4, the other IPv6"},
		{"two defaults", "on_failure: open", "addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: wan0, address: 192.0.2.2/29}, {interface: lan0, address: '2001:db8:1::1/64'}, {interface: wan0, address: '2001:db8:2::2/64'}]\n  routes: [{to: default, via: 192.0.2.1}, {to: default, via: 192.0.2.3}]\n  on_failure: open", "routes: [{to: default, via: 192.0.2.1}, {to: default, via: 192.0.2.3}]", "network.routes[1].to", "default is already routes[0]"},
		{"time from a URL", "fleet:", "ntp: {servers: ['ntp://t.example']}\nfleet:", "ntp:", "ntp.servers[0]", "is not an address or a host name"},
		{"time from port 0", "fleet:", "ntp: {servers: ['t.example:0']}\nfleet:", "ntp:", "ntp.servers[0]", "has a port outside 1 to 65535"},
		{"time from nobody", "fleet:", "ntp: {servers: ['']}\nfleet:", "ntp:", "ntp.servers[0]", "is not a host"},
		{"time from one server twice", "fleet:", "ntp: {servers: [t.example, t.example]}\nfleet:", "ntp:", "ntp.servers[1]", "is already servers[0]"},
		{"time from too many", "fleet:", "ntp: {servers: [" + manyAddresses(9) + "]}\nfleet:", "ntp:", "ntp.servers", "has 9 servers; at most 8"},
		{"fleet over http", `nats_url: ""`, `nats_url: "http://n.example"`, "", "fleet.nats_url", "is not the URL of a NATS server"},
		{"a tab", "  first: 0 ", "\tfirst: 0 ", "", "", "begins with a tab"},
		{"an alias to nothing", "ladder: *ladder", "ladder: *lader", "", "", "unknown anchor 'lader'"},
		{"a bracket left open", "limited_ports: [25]", "limited_ports: [25", "", "", "is not valid YAML"},
		{"a second document", "fleet:", "---\nfleet:", "", "", "second document"},
		{"not UTF-8", "name: office", "name: b\xfcro", "", "", "is not UTF-8"},
		{"a control character", "name: office", "name: \"\x1b[31m\"", "", "", "control character U+001B"},
		{"a tag of one's own", "mode: observe ", "mode: !!binary b2JzZXJ2ZQ== ", "", "mode", "a value tagged !!binary"},
	}
	for _, row := range rows {
		t.Run(row.why, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(contract, row.old) {
				t.Fatalf("the contract has no %q", row.old)
			}
			file := strings.Replace(contract, row.old, row.new, 1)
			at := row.at
			if at == "" {
				at = row.new
			}
			before, _, ok := strings.Cut(file, at)
			if !ok {
				t.Fatalf("no %q in the changed file", at)
			}
			line := strings.Count(before, "\n") + 1
			_, err := Parse("mailweir.yaml", []byte(file))
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("accepted, or another error: %v", err)
			}
			prefix := fmt.Sprintf("mailweir.yaml:%d: ", line)
			if row.key != "" {
				prefix += row.key + ": "
			}
			for _, p := range ps {
				if s := p.Error(); strings.HasPrefix(s, prefix) && strings.Contains(s, row.message) && !strings.Contains(s, "\n") {
					return
				}
			}
			t.Errorf("want %s...%s\ngot  %v", prefix, row.message, err)
		})
	}
	t.Logf("%d mutations", len(rows))
}

// manyAddresses is a list of n different ones.
func manyAddresses(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("10.0.%d.%d", i>>8, i&255))
	}
	return strings.Join(list, ", ")
}

// TestLadderOfAPresetIsHeldToTheOrder: the key that the file wrote is named, not the one that came with the preset.
func TestLadderOfAPresetIsHeldToTheOrder(t *testing.T) {
	t.Parallel()
	_, err := Parse("f", []byte("plans:\n- name: unmapped\n  preset: hosting\n  ladder: {warn_at: 90}\n"))
	if want := "f:4: plans[0].ladder.warn_at: pace_at 80 is below warn_at 90"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("want %s\ngot  %v", want, err)
	}
}

// TestAddressesAndRoutesBesideOtherKeys has what one change in the contract does not show.
func TestAddressesAndRoutesBesideOtherKeys(t *testing.T) {
	t.Parallel()
	const one = "{interface: lan0, address: 10.1.0.1/16}, "
	for _, row := range []struct{ why, file, want string }{
		{"addresses of a bridge", "network:\n  topology: bridge\n  addresses: [{interface: lan0, address: 10.1.0.1/16}]\n", "f:3: network.addresses: goes with topology: routed"},
		{"routes of a bridge", "network:\n  topology: bridge\n  routes: [{to: default, via: 10.1.0.2}]\n", "f:3: network.routes: goes with topology: routed"},
		{"in the management port's network", "network:\n  addresses: [{interface: lan0, address: 10.1.0.1/16}]\nmanagement: {ipv4: 10.1.2.3/24}\n", "f:2: network.addresses[0].address: 10.1.0.1/16 is of the network 10.1.0.0/16, which overlaps 10.1.2.0/24, that of the management port; they have to be apart"},
		{"in the management port's network, IPv6", "network:\n  addresses: [{interface: lan0, address: '2001:db8::1/48'}]\nmanagement: {ipv6: '2001:db8:0:7::1/64'}\n", "f:2: network.addresses[0].address: 2001:db8::1/48 is of the network 2001:db8::/48, which overlaps 2001:db8:0:7::/64"},
		{"too many addresses", "network:\n  addresses: [" + strings.Repeat(one, 33) + "]\n", "f:2: network.addresses: has 33 addresses; at most 32"},
		{"too many routes", "network:\n  routes: [" + strings.Repeat("{to: default, via: 10.1.0.2}, ", 129) + "]\n", "f:2: network.routes: has 129 routes; at most 128"},
	} {
		if _, err := Parse("f", []byte(row.file)); err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("%s:\nwant %s...\ngot  %v", row.why, row.want, err)
		}
	}
}

// TestARoutersNetworkIsTaken: addresses and routes of both families are read, and what is hardly meant so is told.
func TestARoutersNetworkIsTaken(t *testing.T) {
	t.Parallel()
	const head = "network:\n  addresses: [{interface: lan0, address: 10.1.0.1/16}, {interface: lan0, address: 10.2.0.1/16}, {interface: wan0, address: 192.0.2.2/31}, {interface: wan0, address: '2001:db8:2::2/64'}]\n"
	for _, row := range []struct {
		why, routes string
		warnings    []string
	}{
		{"all that there can be", "[{to: default, via: 192.0.2.3}, {to: 10.9.0.0/16, via: 10.2.0.9, interface: lan0}, {to: '2001:db8:8::/48', via: 'fe80::1', interface: lan0}]",
			[]string{"f:3: network.routes: has no default for IPv6: only networks that are named here are reached"}},
		{"IPv6 without an address for subscribers", "[{to: default, via: 192.0.2.3}, {to: default, via: 'fe80::1', interface: wan0}]",
			[]string{"f:2: network.addresses: no interface of subscribers has an address of IPv6, so who is deferred over it is not answered"}},
		{"no route at all", "[]", []string{"f:3: network.routes: has no default for IPv4: only networks that are named here are reached", "f:3: network.routes: has no default for IPv6: only networks that are named here are reached"}},
	} {
		c, err := Parse("f", []byte(head+"  routes: "+row.routes+"\n"))
		if err != nil {
			t.Errorf("%s: %v", row.why, err)
			continue
		}
		var got []string
		for _, w := range c.Warnings() {
			got = append(got, w.Error())
		}
		if !slices.Equal(got, row.warnings) {
			t.Errorf("%s: %q, want %q", row.why, got, row.warnings)
		}
		text, err := c.Effective()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Parse("f", text); err != nil || !again.Network.SameShape(c.Network) {
			t.Errorf("%s: printed and read again: %v\n%s", row.why, err, text)
		}
		if row.why == "all that there can be" {
			n := c.Network
			if len(n.Addresses) != 4 || n.Addresses[3].Prefix() != netip.MustParsePrefix("2001:db8:2::2/64") || n.Routes[0].Prefix() != netip.MustParsePrefix("0.0.0.0/0") || n.Routes[2].Gateway() != netip.MustParseAddr("fe80::1") {
				t.Errorf("%+v", n)
			}
		}
	}
}

func TestAllProblemsAreReportedInOrder(t *testing.T) {
	t.Parallel()
	_, err := Parse("f.yaml", []byte("queue: {length: 1}\nmode: x\nadmin: {metrics: 2, speed: 3}\n"))
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != 4 {
		t.Fatalf("%v", err)
	}
	for i, key := range []string{"queue.length", "mode", "admin.metrics", "admin.speed"} {
		if ps[i].Key != key {
			t.Errorf("problem %d is %v, want %s", i, ps[i], key)
		}
	}
	if want := "f.yaml:1: queue.length: 1 is out of range; allowed: 64 to 1048576 (and 3 more)"; ps.First() != want {
		t.Errorf("First: %s", ps.First())
	}
}

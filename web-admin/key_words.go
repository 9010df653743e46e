package webadmin

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// difference is a key of the configuration that says something else, for people: in the words of the pages, with the key for who edits the file.
type difference struct{ What, Key, Before, After string }

// keyWords are what the pages call the keys of the configuration, without their places in lists. A test of package appliance holds them against the keys that there are.
var keyWords = map[string]string{
	"mode": "Mode",

	"network.topology":              "The box is a router or a bridge",
	"network.subscriber_interfaces": "Interfaces of subscribers",
	"network.upstream_interfaces":   "Interfaces to the internet",
	"network.limited_ports":         "Governed ports",
	"network.counted_ports":         "Ports that are only counted",
	"network.on_failure":            "Mail while nothing is judged",
	"network.tagged":                "Mail with VLAN tags or in PPPoE, on a bridge",
	"network.mark_mask":             "Bits of the packet mark",
	"network.addresses":             "Addresses of a router",
	"network.addresses[].interface": "interface",
	"network.addresses[].address":   "address",
	"network.routes":                "Routes",
	"network.routes[].to":           "to",
	"network.routes[].via":          "via",
	"network.routes[].interface":    "at the interface",

	"queue.first":     "First queue",
	"queue.count":     "Number of queues",
	"queue.reader":    "Reader of the queues",
	"queue.fast_lane": "Fast lane",
	"queue.length":    "Packets in a queue, at most",

	"identity.ipv4_prefix":              "Length of an unmapped source’s prefix, IPv4",
	"identity.ipv6_prefix":              "Length of a line’s prefix, IPv6",
	"identity.destination_ipv4_prefix":  "Length of a destination’s prefix, IPv4",
	"identity.destination_ipv6_prefix":  "Length of a destination’s prefix, IPv6",
	"identity.subscribers_file":         "List of subscribers",
	"identity.unmapped_plan":            "Plan of who is in no list",
	"identity.radius.listen":            "RADIUS: address",
	"identity.radius.secret_file":       "RADIUS: secret",
	"identity.radius.clients":           "RADIUS: access servers",
	"identity.radius.require_timestamp": "RADIUS: only what has a time",
	"identity.lease_files":              "Lease files",
	"identity.lease_files[].path":       "file",
	"identity.lease_files[].format":     "format",

	"plans":                        "Plans",
	"plans[].name":                 "name",
	"plans[].preset":               "begins as",
	"plans[].highest_stage":        "never more than",
	"plans[].budgets":              "budgets",
	"plans[].budgets[].of":         "what is counted",
	"plans[].budgets[].limit":      "limit",
	"plans[].budgets[].per":        "per",
	"plans[].budgets[].burst":      "of which at once",
	"plans[].ladder.warn_at":       "warn at (%)",
	"plans[].ladder.pace_at":       "pace at (%)",
	"plans[].ladder.pace_max":      "hold a reply at most",
	"plans[].ladder.defer_at":      "defer at (%)",
	"plans[].ladder.cut_at":        "cut at (%)",
	"plans[].ladder.cut_for":       "cut for",
	"plans[].ladder.release_after": "release after",

	"defer.text": "What a deferred mail server is told",

	"clusters.subscribers": "Subscribers of a cluster, at least",
	"clusters.learn":       "Time to learn what is common, before the first cluster",
	"clusters.known_good":  "TLS clients known as good",

	"destinations.owners_file": "Database of networks’ owners",

	"share.alert_points":   "Shift of the encrypted share that is told (%)",
	"share.alert_sessions": "Sessions a week for that, at least",

	"syslog.targets":             "Collectors",
	"syslog.targets[].url":       "address",
	"syslog.targets[].ca_file":   "certificate of its authority",
	"syslog.targets[].cert_file": "certificate of the box",
	"syslog.targets[].key_file":  "key of the box",
	"syslog.facility":            "Facility of records",
	"syslog.spool_bytes":         "Room for records that wait",

	"notices.stages":                 "Stages whose beginning is told",
	"notices.limit":                  "Notices one by one, at most",
	"notices.per":                    "in this time",
	"notices.max_age":                "Notices wait at most",
	"notices.webhooks":               "Webhooks",
	"notices.webhooks[].name":        "name",
	"notices.webhooks[].url":         "address",
	"notices.webhooks[].secret_file": "secret",
	"notices.webhooks[].ca_file":     "certificate of its authority",
	"notices.webhooks[].of":          "what is told",
	"notices.mail.smarthost":         "E-mail: mail server",
	"notices.mail.tls":               "E-mail: TLS",
	"notices.mail.ca_file":           "E-mail: certificate of the server’s authority",
	"notices.mail.user":              "E-mail: user",
	"notices.mail.password_file":     "E-mail: password",
	"notices.mail.from":              "E-mail: from",
	"notices.mail.to":                "E-mail: to",
	"notices.mail.of":                "E-mail: what is told",
	"notices.mail_template_file":     "Template of e-mails",
	"notices.customer_template_file": "Template of mail to customers",

	"evidence.organization": "Organization that reports",
	"evidence.contact":      "Its contact",

	"admin.listen":         "Address of the web admin",
	"admin.tls.cert_file":  "Certificate of the web admin",
	"admin.tls.key_file":   "Key of the web admin",
	"admin.metrics":        "Metrics",
	"admin.metrics_public": "Metrics without a login",
	"admin.timezone":       "Zone of the times on pages",
	"admin.language":       "Language in which a caller is told",
	"admin.sentences_file": "File of what a caller is told",

	"journal.bytes": "Room for the journal",

	"retention.sessions": "Sessions are kept for",
	"retention.records":  "Records are kept for",
	"retention.series":   "Series are kept for",

	"management.vlan":         "Management: VLAN",
	"management.ipv4":         "Management: IPv4",
	"management.ipv4_gateway": "Management: IPv4 router",
	"management.ipv6":         "Management: IPv6",
	"management.ipv6_gateway": "Management: IPv6 router",
	"management.dns":          "Management: name servers",

	"ntp.servers": "Time servers",

	"fleet.nats_url":         "Fleet: address",
	"fleet.credentials_file": "Fleet: credentials",
}

// keyLists are what one item of a list is called.
var keyLists = map[string]string{"plans[]": "Plan", "plans[].budgets[]": "budget", "syslog.targets[]": "Collector", "notices.webhooks[]": "Webhook", "identity.lease_files[]": "Lease file",
	"network.addresses[]": "Address", "network.routes[]": "Route"}

var keyPlace = regexp.MustCompile(`\[(\d+)\]`)

// KeyText is what pages call a key of the configuration: "Governed ports", "Plan residential, budget 1: limit". plans are the names of the plans by their places; of
// those beyond, the place is said. A key that it does not know is itself.
func KeyText(key string, plans []string) string {
	words, known := keyWords[keyPlace.ReplaceAllString(key, "[]")]
	if !known {
		return inert(key)
	}
	var items []string
	for _, at := range keyPlace.FindAllStringSubmatchIndex(key, -1) {
		n, _ := strconv.Atoi(key[at[2]:at[3]]) // digits; one that is too large has no name
		list := keyPlace.ReplaceAllString(key[:at[1]], "[]")
		item := fmt.Sprintf("%s %d", keyLists[list], n+1)
		if list == "plans[]" && n < len(plans) && plans[n] != "" {
			item = keyLists[list] + " " + inert(plans[n])
		}
		items = append(items, item)
	}
	if len(items) == 0 {
		return words
	}
	return strings.Join(items, ", ") + ": " + words
}

const shownDifferences = 60

// differences are the first of many changes of the configuration in force, for people; more says how many there are beyond.
func (s *Server) differences(all []ConfigDifference) (some []difference, more string) {
	plans := map[int]string{}
	if s.opt.Source != nil { // else nothing is governed, and the changes themselves are all that is known
		for i, p := range s.opt.Source.Plans() {
			plans[i] = p.Name
		}
	}
	most := len(plans)
	for _, d := range all {
		if n := 0; strings.HasSuffix(d.Key, "].name") {
			if _, err := fmt.Sscanf(d.Key, "plans[%d].name", &n); err == nil && plans[n] == "" && n < maxPlaces {
				plans[n], most = d.After, max(most, n+1)
			}
		}
	}
	names := make([]string, most)
	for i, name := range plans {
		names[i] = name
	}
	for i, d := range all {
		if i == shownDifferences {
			return some, count(len(all)-i, "more key", "more keys")
		}
		some = append(some, difference{KeyText(d.Key, names), inert(d.Key), valueText(d.Key, d.Before), valueText(d.Key, d.After)})
	}
	return some, ""
}

// maxPlaces is how many plans are looked at for their names.
const maxPlaces = 1000

// valueText is a value of a key as a page says it.
func valueText(key, value string) string {
	switch {
	case value == `""`:
		return "empty"
	case value == "[]":
		return "none"
	case strings.HasSuffix(key, "].of") && strings.HasPrefix(key, "plans["):
		return kindText(value)
	}
	return inert(value)
}

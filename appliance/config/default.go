package config

import (
	"net/netip"
	"time"
)

// Default is the configuration of an empty file. Every call gives a copy of its own.
func Default() *Config {
	return &Config{
		Mode: Observe,
		Network: Network{
			Topology:             Routed,
			SubscriberInterfaces: []string{"lan0"},
			UpstreamInterfaces:   []string{"wan0"},
			LimitedPorts:         []uint16{25},
			CountedPorts:         []uint16{},
			OnFailure:            Open,
			Tagged:               Govern,
			MarkMask:             0x0f000000,
			Addresses:            []Address{},
			Routes:               []Route{},
		},
		Queue: Queue{First: 0, Count: 0, Reader: Fast, FastLane: Auto, Length: 16384},
		Identity: Identity{
			IPv4Prefix:            32,
			IPv6Prefix:            56,
			DestinationIPv4Prefix: 24,
			DestinationIPv6Prefix: 48,
			SubscribersFile:       "subscribers.csv",
			UnmappedPlan:          "unmapped",
			RADIUS:                RADIUS{Clients: []netip.Prefix{}},
			LeaseFiles:            []LeaseFile{},
		},
		Plans:    defaultPlans(),
		Defer:    Defer{Text: "{budget} exceeded; retry in {retry}; case {case}; help: https://isp.example/mail"},
		Clusters: Clusters{Subscribers: 10, Learn: 7 * day, KnownGood: []string{}},
		Share:    Share{AlertPoints: 5, AlertSessions: 1000},
		Syslog:   Syslog{Targets: []Target{}, Facility: "local4", SpoolBytes: 64 << 20},
		Notices: Notices{Stages: []string{"defer", "cut"}, Limit: 20, Per: time.Hour, MaxAge: 7 * day, Webhooks: []Webhook{},
			Mail: Mail{TLS: "starttls", To: []string{}, Of: noticeSubjects()}},
		Admin:      Admin{Listen: ":8443", Metrics: true, Language: "en"},
		Journal:    Journal{Bytes: 256 << 20},
		Retention:  Retention{Sessions: 30 * day, Records: 180 * day, Series: 400 * day},
		Management: Management{IPv4: DHCP, IPv6: Auto, DNS: []string{}},
		NTP:        NTP{Servers: []string{}},
	}
}

// defaultPlans are the presets that the smallest ISP needs, in the order that the reference has them.
func defaultPlans() []Plan {
	var plans []Plan
	for _, name := range []string{"residential", "office", "mailserver", "unmapped"} {
		p, _ := preset(name)
		plans = append(plans, p)
	}
	return plans
}

// DefaultLadder is the ladder of a plan that has none, and the source of the keys that a plan's ladder leaves out.
func DefaultLadder() Ladder {
	return Ladder{
		WarnAt: 50, PaceAt: 80, DeferAt: 100, CutAt: 300,
		PaceMax: 60 * time.Second, CutFor: 60 * time.Minute, ReleaseAfter: 15 * time.Minute,
	}
}

// noticeSubjects are all that a notice can be about.
func noticeSubjects() []string { return []string{"stages", "clusters", "health"} }

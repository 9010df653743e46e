package config

import "time"

// Default is the configuration of an empty file. Every call gives a copy of its own.
func Default() *Config {
	window := func(of string, limit int, per time.Duration) Budget {
		return Budget{Of: of, Limit: limit, Per: per, Burst: limit}
	}
	burst := func(of string, limit int, per time.Duration, burst int) Budget {
		return Budget{Of: of, Limit: limit, Per: per, Burst: burst}
	}
	atOnce := func(limit int) Budget {
		return Budget{Of: "concurrent_sessions", Limit: limit, Burst: limit}
	}
	return &Config{
		Mode: Observe,
		Network: Network{
			Topology:             Routed,
			SubscriberInterfaces: []string{"lan0"},
			UpstreamInterfaces:   []string{"wan0"},
			LimitedPorts:         []uint16{25},
			CountedPorts:         []uint16{},
			OnFailure:            Open,
			MarkMask:             0x0f000000,
		},
		Queue: Queue{First: 0, Count: 0, Reader: Fast, FastLane: Auto, Length: 16384},
		Identity: Identity{
			IPv4Prefix:            32,
			IPv6Prefix:            56,
			DestinationIPv4Prefix: 24,
			DestinationIPv6Prefix: 48,
			SubscribersFile:       "subscribers.csv",
			UnmappedPlan:          "unmapped",
			LeaseFiles:            []LeaseFile{},
		},
		Plans: []Plan{
			{Name: "residential", HighestStage: "cut", Ladder: DefaultLadder(), Budgets: []Budget{
				burst("sessions", 20, time.Hour, 5),
				window("sessions", 100, day),
				burst("tls_handshakes", 20, time.Hour, 5),
				window("tls_failures", 10, time.Hour),
				atOnce(3),
				window("destinations", 5, time.Hour),
				window("messages", 60, time.Hour),
			}},
			{Name: "office", HighestStage: "defer", Ladder: DefaultLadder(), Budgets: []Budget{
				burst("sessions", 100, time.Hour, 25),
				burst("tls_handshakes", 100, time.Hour, 25),
				atOnce(7),
				window("destinations", 30, time.Hour),
			}},
			{Name: "mailserver", HighestStage: "pace", Ladder: DefaultLadder(), Budgets: []Budget{
				burst("sessions", 1500, time.Hour, 120),
				atOnce(60),
			}},
			{Name: "unmapped", HighestStage: "defer", Ladder: DefaultLadder(), Budgets: []Budget{
				burst("sessions", 20, time.Hour, 3),
				burst("tls_handshakes", 10, time.Hour, 3),
				window("destinations", 3, time.Hour),
			}},
		},
		Defer:     Defer{Text: "{budget} exceeded; retry in {retry}; case {case}; help: https://isp.example/mail"},
		Syslog:    Syslog{Targets: []Target{}, Facility: "local4", SpoolBytes: 64 << 20},
		Admin:     Admin{Listen: ":8443", Metrics: true},
		Retention: Retention{Sessions: 30 * day, Records: 180 * day, Series: 400 * day},
	}
}

// DefaultLadder is the ladder of a plan that has none, and the source of the keys that a plan's ladder leaves out.
func DefaultLadder() Ladder {
	return Ladder{
		WarnAt: 50, PaceAt: 80, DeferAt: 100, CutAt: 300,
		PaceMax: 60 * time.Second, CutFor: 60 * time.Minute, ReleaseAfter: 15 * time.Minute,
	}
}

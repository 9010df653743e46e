package config

import (
	"slices"
	"time"
)

// Preset is a ready-made plan: a plan that names it takes from it what it does not say itself.
type Preset struct {
	Name string // what `preset:` takes
	For  string // whom it is for, one sentence
	Plan Plan   // its name is the preset's
}

// Presets lists the ready-made plans, from the home line to the stranger. Every call gives copies of its own.
//
// The figures lie between what bots do and what operators allow. A bot sends thousands of sessions an hour; those that
// hide send one a minute, which 20 per 1h stops, or a few an hour to many networks, which destinations stops. A home's
// mail goes to its provider's one or two servers. Operators publish 50 to 100 messages an hour and 5 to 10 sessions at
// once for consumers. A registered mail server is never deferred: it is slowed at most, and staff decides the rest.
func Presets() []Preset {
	all := []Preset{
		{"residential", "A home line: a mail program or two that hand mail to the provider's servers.",
			Plan{HighestStage: "cut", Budgets: []Budget{
				burst("sessions", 20, time.Hour, 5),
				window("sessions", 100, day),
				burst("tls_handshakes", 20, time.Hour, 5),
				window("tls_failures", 10, time.Hour),
				atOnce(3),
				window("destinations", 5, time.Hour),
				window("messages", 60, time.Hour),
			}}},
		{"office", "A small office: a mail server of its own that few rely on, or many mail programs.",
			Plan{HighestStage: "defer", Budgets: []Budget{
				burst("sessions", 100, time.Hour, 25),
				burst("tls_handshakes", 100, time.Hour, 25),
				atOnce(7),
				window("destinations", 30, time.Hour),
			}}},
		{"mailserver", "A registered mail server: slowed at most, never deferred, whatever the number of destinations.",
			Plan{HighestStage: "pace", Budgets: []Budget{
				burst("sessions", 1500, time.Hour, 120),
				atOnce(60),
			}}},
		{"hosting", "Rented servers with web sites whose forms send mail: a lot of it, from programs that get broken into.",
			Plan{HighestStage: "cut", Budgets: []Budget{
				burst("sessions", 300, time.Hour, 60),
				window("sessions", 3000, day),
				window("tls_failures", 60, time.Hour),
				atOnce(20),
				window("destinations", 150, time.Hour),
				burst("recipients", 1000, time.Hour, 500),
				window("rejected", 50, time.Hour),
			}}},
		{"unmapped", "Who is on no list: few sessions to few destinations, deferred at most, since the line is not known.",
			Plan{HighestStage: "defer", Budgets: []Budget{
				burst("sessions", 20, time.Hour, 3),
				burst("tls_handshakes", 10, time.Hour, 3),
				window("destinations", 3, time.Hour),
			}}},
	}
	for i := range all {
		all[i].Plan.Name, all[i].Plan.Ladder = all[i].Name, DefaultLadder()
	}
	return all
}

// preset is the plan of a preset.
func preset(name string) (Plan, bool) {
	all := Presets()
	i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Plan{}, false
	}
	return all[i].Plan, true
}

func window(of string, limit int, per time.Duration) Budget {
	return burst(of, limit, per, limit)
}

func burst(of string, limit int, per time.Duration, burst int) Budget {
	return Budget{Of: of, Limit: limit, Per: per, Burst: burst}
}

func atOnce(limit int) Budget {
	return Budget{Of: "concurrent_sessions", Limit: limit, Burst: limit}
}

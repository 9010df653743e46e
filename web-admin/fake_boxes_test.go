package webadmin

import (
	"fmt"
	"slices"
	"time"
)

func ago(d time.Duration) Time { return At(noon.Add(-d)) }

// busyBox is a box in enforce mode with subscribers in every stage, a collector that is down, and an hour of traffic.
func busyBox() *fakeBox {
	f := &fakeBox{status: Status{
		Version: "0.1.0-12-g9a75f80", Box: "edge-1", Mode: "enforce", Since: ago(76 * time.Hour), Ready: true, Uptime: Seconds(76*time.Hour + 12*time.Minute), Ports: []int{25},
		Lanes:    Lanes{Fast: FastLane{On: true, How: "tcx", Subscribers: 1134, Addresses: 1398, Allowed: 38_204, Sessions: 176_021, Packets: 2_940_221, Copies: 1_204_113}, Queue: QueueLane{Depth: 3, Held: 12, Packets: 48_201_338, Form: "nftables, xt NFQUEUE", Reader: "fast"}},
		Sessions: Sessions{Open: 41, Total: 182_314},
		Actions:  Actions{Passed: 181_020, Paced: 920, Deferred: 361, Cut: 13, FailedOpen: 0},
		Acted:    1_294, WouldHaveActed: 0,
		Stages: Stages{Observe: 1181, Warn: 9, Pace: 12, Defer: 3, Cut: 1},
		Syslog: []Syslog{
			{URL: "udp://192.0.2.1:514", Up: true, Since: ago(76 * time.Hour)},
			{URL: "tcp://syslog-2.isp.example:6514", Since: ago(4*time.Minute + 12*time.Second), Behind: 1204, LastError: "dial tcp 198.51.100.9:6514: connect: connection refused"},
		},
		Clock: Clock{Known: true, Synced: true}, Store: Store{OK: true, WrittenToday: 12_400_000, WrittenSince: At(noon.Truncate(24 * time.Hour)), WrittenYesterday: 31_000_000},
	}}
	f.traffic.Step = Seconds(time.Minute)
	for i := range 60 {
		n := 42 + (i*i*7+i*13)%23 + i/3
		if i > 47 {
			n += 20 + (i*29)%31
		}
		t := noon.Truncate(time.Minute).Add(time.Duration(i-59) * time.Minute)
		if i == 59 {
			n = n * 40 / 60
		}
		f.traffic.Points = append(f.traffic.Points, TrafficPoint{Start: At(t), Started: n, Handshakes: n * 7 / 10, Clear: n / 4, StartTLS: n * 2 / 3, Implicit: n / 30, Other: n / 40})
	}
	budgets := func(value, handshakes int) []Budget {
		over := func(v, n int) float64 { return float64(v) / float64(n) }
		return []Budget{
			{Of: "sessions", Window: Seconds(time.Hour), Limit: 20, Burst: 5, Value: value, Ratio: over(value, 5), RefillsAt: At(noon.Add(51 * time.Minute))},
			{Of: "sessions", Window: Seconds(24 * time.Hour), Limit: 100, Burst: 100, Value: value + 31, Ratio: over(value+31, 100), RefillsAt: At(noon.Add(14 * time.Hour))},
			{Of: "tls_handshakes", Window: Seconds(time.Hour), Limit: 20, Burst: 20, Value: handshakes, Ratio: over(handshakes, 20), RefillsAt: At(noon.Add(51 * time.Minute))},
			{Of: "concurrent_sessions", Limit: 3, Burst: 3, Value: 1, Ratio: over(1, 3)},
			{Of: "messages", Window: Seconds(time.Hour), Limit: 60, Burst: 60, Value: 12, Ratio: 0.2, RefillsAt: At(noon.Add(12 * time.Minute))},
		}
	}
	add := func(id, name, plan, stage, cs string, since time.Duration, value, handshakes int, prefixes ...string) {
		s := Subscriber{ID: id, Name: name, Plan: plan, Stage: stage, Case: cs, Prefixes: prefixes, Budgets: budgets(value, handshakes), Open: len(stage) % 3}
		if since > 0 {
			s.Since, s.Until = ago(since), At(noon.Add(51*time.Minute))
		}
		top := fullest(s.Budgets)
		s.Reason = fmt.Sprintf("%s %s (%d%%)", top.Of, limitText(*top), int(top.Ratio*100))
		f.subs = append(f.subs, s)
	}
	add("S-1044", "Elm Street 12", "residential", "cut", "K7Q2X", 9*time.Hour+48*time.Minute, 4, 412, "100.64.3.7/32", "2001:db8:34::/56")
	add("S-1102", "Mill Lane 3, 2nd floor", "residential", "defer", "K7Q4M", 31*time.Minute, 9, 12, "100.64.3.9/32")
	add("S-0871", "Bakery Novak & Sons", "office", "defer", "K7Q6A", 2*time.Hour, 6, 3, "100.64.9.0/29", "2001:db8:91::/56")
	add("100.64.77.15/32", "", "unmapped", "defer", "K7Q9D", 8*time.Minute, 7, 7, "100.64.77.15/32")
	f.subs[3].Unmapped = true
	for i := range 12 {
		add(fmt.Sprintf("S-12%02d", i), fmt.Sprintf("Station Road %d", 4+i*3), "residential", "pace", fmt.Sprintf("K7R%dB", i%10), time.Duration(40+i*37)*time.Minute, 4, 17+i%3, fmt.Sprintf("100.64.12.%d/32", i))
	}
	for i := range 9 {
		add(fmt.Sprintf("S-13%02d", i), fmt.Sprintf("Harbour Street %d", 2+i), "residential", "warn", "", time.Duration(10+i*7)*time.Minute, 3, 11, fmt.Sprintf("100.64.13.%d/32", i))
	}
	for i := range 60 {
		add(fmt.Sprintf("S-20%02d", i), fmt.Sprintf("Orchard Park %d", 1+i), "residential", "observe", "", 0, i%3, i%5, fmt.Sprintf("100.64.20.%d/32", i), fmt.Sprintf("2001:db8:20%02d::/56", i))
	}
	for i, d := range []Decision{
		{Action: "cut", Acted: true, Before: "defer", Stage: "cut", Of: "tls_handshakes", Wait: Seconds(time.Hour)},
		{Action: "defer", Acted: true, Before: "defer", Stage: "defer", Of: "tls_handshakes", Wait: Seconds(3 * time.Minute)},
		{Action: "defer", Acted: true, Before: "pace", Stage: "defer", Of: "tls_handshakes", Wait: Seconds(170 * time.Second)},
		{Action: "pace", Acted: true, Before: "warn", Stage: "pace", Of: "tls_handshakes", Wait: Seconds(2100 * time.Millisecond)},
		{Action: "warn", Before: "observe", Stage: "warn", Of: "tls_handshakes"},
	} {
		d.At, d.Case = ago(9*time.Hour+time.Duration(48+i)*time.Minute), "K7Q2X"
		d.Reason = fmt.Sprintf("tls_handshakes %d/20 per 1h (%d%%)", 61-i*13, (61-i*13)*5)
		f.subs[0].Decisions = append(f.subs[0].Decisions, d)
	}
	for i := range f.subs {
		sub := &f.subs[i]
		sub.PlanSource, sub.ListPlan = "list", sub.Plan
		if sub.Unmapped {
			sub.PlanSource, sub.ListPlan = "unmapped", ""
			continue
		}
		for _, p := range sub.Prefixes {
			sub.Bindings = append(sub.Bindings, Binding{Prefix: p, Subscriber: sub.ID, Source: "csv"})
		}
	}
	for i := range f.subs {
		sub := &f.subs[i]
		switch {
		case stageRank(sub.Stage) >= stageRank("pace"):
			sub.Lane = Lane{Waits: true, Reason: "stage", Why: "watched: stage " + sub.Stage + ", " + sub.Reason, Addresses: []string{}}
			if len(f.status.Lanes.Fast.Waiting) < 10 {
				f.status.Lanes.Fast.Waiting = append(f.status.Lanes.Fast.Waiting, Waiting{sub.ID, "stage", sub.Lane.Why})
			}
		case i%9 == 0:
			sub.Lane = Lane{Waits: true, Reason: "asks_first", Why: "not known to the fast lane yet: the first session asks", Addresses: []string{}}
		default:
			sub.Lane = Lane{Reason: "lease", Why: fmt.Sprintf("%d sessions may begin so", 20+i%40), Sessions: 20 + i%40, Addresses: []string{"100.64.3.7"}}
		}
	}
	f.status.Lanes.Fast.Next = map[string]int64{"lease": 1134, "stage": 16, "budget": 7, "used_up": 1, "asks_first": 48}
	f.subs[0].Bindings[0].Source, f.subs[0].Bindings[0].From = "radius", ago(7*24*time.Hour)
	f.subs[0].Budgets[0].Pressure = 31
	// The bakery is exempt, and the second home has been under the office plan since somebody called.
	f.subs[2].Exemption = &Exemption{Since: ago(26 * time.Hour), Until: At(noon.Add(5*24*time.Hour + 12*time.Hour)), Reason: "Christmas newsletter, asked by phone", By: "admin 192.0.2.7"}
	f.subs[2].Decisions = []Decision{{At: ago(9 * time.Minute), Action: "defer", Before: "defer", Stage: "defer", Of: "sessions", Reason: "sessions 30/25 at once, 100 per 1h (120%)", Exemption: "Christmas newsletter, asked by phone", Case: "K7Q6A"}}
	f.subs[1].Plan, f.subs[1].PlanSource = "office", "operator"
	f.subs[1].Decisions = []Decision{{At: ago(2 * time.Minute), Action: "defer", Acted: true, Before: "defer", Stage: "defer", Of: "sessions", Reason: "sessions 9/5 at once, 20 per 1h (180%)", Wait: Seconds(3 * time.Minute), Retry: true, Case: "K7Q4M"}}
	f.status.Exempt = 1
	f.bound = []Binding{{Prefix: "100.64.30.0/29", Subscriber: "S-2007", Source: "api", From: ago(3 * time.Hour)}}
	for i := range 5 {
		f.sources = append(f.sources, Unmapped{Address: fmt.Sprintf("100.64.77.%d", 15+i), Subscriber: fmt.Sprintf("100.64.77.%d/32", 15+i), Stage: "observe", First: ago(40 * time.Hour), Last: ago(time.Duration(i*17) * time.Minute),
			Sessions: int64(412 / (i + 1)), Denied: int64(37 / (i + 1) / (i + 1)), Messages: int64(12 * i), Destinations: 41 / (i + 1), Clients: 1 + i%2})
	}
	f.sources[0].Stage = "defer"
	f.sources[1].Clients, f.sources[1].Crowd = 9, "9 TLS fingerprints, 5 of them more than once within the last hour"
	f.sources = append(f.sources, Unmapped{Address: "2001:db8:77:1::/64", Subscriber: "2001:db8:77::/56", Stage: "observe", First: ago(9 * time.Minute), Last: ago(9 * time.Minute), Sessions: 1, Destinations: 1})
	f.addSeen()
	f.addRecords()
	return f
}

// fakeHash is the hash of a record of the fake box.
func fakeHash(seq uint64) string { return fmt.Sprintf("%064x", seq*2654435761) }

// addSeen adds what all sessions together tell.
func (f *fakeBox) addSeen() {
	f.status.Clusters = Clusters{Botnets: 1, Learnt: Seconds(20 * 24 * time.Hour), Prints: 412}
	botnet := Cluster{ID: "K7", JA4: "t13d121000_4d4a3b5e6f70_0123456789ab", JA3: []string{"e7d705a3286e19ea42f587b344ee6865"}, LooksLike: "botnet", Began: ago(26 * time.Hour), Last: ago(2 * time.Minute),
		Count: 25, Sessions: 1_412, MessagesLo: 9_120, Networks: 380, Bits: 31.4, Why: "Probably one botnet: 23 subscribers came to the same TLS client within 6h, and 2 of 1,181 others use it; to 380 networks.",
		Weights:    []ClusterWeight{{"rarity", 18.6, "2 of 1,181 other subscribers use it"}, {"coincidence", 9.2, "they came to it within 6 hours"}, {"spread", 4.9, "to 380 networks, hardly two to the same"}, {"familiar", -1.3, "9 % of the networks are known from before"}},
		MayBeWrong: []string{"A print tells of a TLS library and how it is set up, not of a program: different programs may have the same.", "If it is a program you know, put its JA4 into clusters.known_good."}}
	for i := range 23 {
		sub := f.subs[i]
		botnet.Members = append(botnet.Members, ClusterMember{Subscriber: sub.ID, Name: sub.Name, First: ago(time.Duration(26*60-i*13) * time.Minute), Last: ago(time.Duration(2+i*3) * time.Minute), Sessions: 40 + i*3, MessagesLo: 200 + i, Networks: 12 + i, Former: i%4 == 0})
	}
	update := Cluster{ID: "K2", JA4: "t13d311200_e8f1e7e78f70_d41ae481755e", LooksLike: "software_update", Began: ago(9 * 24 * time.Hour), Last: ago(8 * 24 * time.Hour), Ended: ago(8 * 24 * time.Hour), EndReason: "known_good",
		Count: 31, Sessions: 88, Bits: 14.2, Why: "Probably the update of a program: 31 subscribers came to the same TLS client within 24h.", Members: slices.Clone(botnet.Members[:3])}
	f.cluster = []Cluster{botnet, update}
	f.dests = Destinations{Sessions: 7_231, Error: 14, Owners: ago(15 * 24 * time.Hour)}
	for i, owner := range []string{"Example Mail International", "Cloud Mail Protection GmbH & Co. KG", "Hosting Lindgren AB", "", "Universitätsrechenzentrum", "Postal Savings Online"} {
		n := uint64(2_412 / (i + 1))
		d := Destination{Network: fmt.Sprintf("203.0.%d.0/24", 113+i), Owner: owner, AS: uint64(64496+i) * uint64(btoi(owner != "")), Sessions: n, Bytes: n * 18_211}
		if i > 2 {
			d.Error = uint64(2 * i)
		}
		f.dests.Items = append(f.dests.Items, d)
	}
	f.dests.Items = append(f.dests.Items, Destination{Network: "2001:db8:ffff::/48", Sessions: 212, Error: 14, Bytes: 1_212_004})
	f.gone = []OfferGone{{Server: "203.0.114.25:25", Network: "203.0.114.0/24", AS: 64497, Owner: "Cloud Mail Protection GmbH & Co. KG", Since: ago(3 * time.Hour)}, {Server: "[2001:db8:ffff::19]:25", Network: "2001:db8:ffff::/48", Since: ago(30 * time.Hour)}}
	for i := range 8 {
		sub := &f.subs[i]
		sub.Budgets = append(sub.Budgets, Budget{Of: "destinations", Window: Seconds(time.Hour), Limit: 5, Burst: 5, Value: 41 - i*5, Ratio: float64(41-i*5) / 50, RefillsAt: At(noon.Add(time.Hour))})
	}
}

func (f *fakeBox) addRecords() {
	seq := uint64(182_400)
	record := func(kind, sub string, since time.Duration, params ...string) {
		r := Record{Seq: seq, At: ago(since), Kind: kind, Severity: map[string]string{"SESSION": "info", "HEALTH": "warning"}[kind], Subscriber: sub, Hash: fakeHash(seq)}
		if r.Severity == "" {
			r.Severity = "notice"
		}
		event := fmt.Sprintf("01930000-0000-7000-8000-%012x", seq)
		line := fmt.Sprintf(`<165>1 %s edge-1 mailweir 812 %s [mailweir@32473 seq="%d" prev="%s" box="edge-1" event="%s"`, r.At.UTC().Format("2006-01-02T15:04:05.000Z"), kind, seq, fakeHash(seq-1), event)
		r.Params = append(r.Params, Param{"seq", fmt.Sprint(seq)}, Param{"prev", fakeHash(seq - 1)}, Param{"box", "edge-1"}, Param{"event", event}, Param{"mode", "enforce"})
		for i := 0; i < len(params); i += 2 {
			r.Params = append(r.Params, Param{params[i], params[i+1]})
			line += fmt.Sprintf(` %s="%s"`, params[i], params[i+1])
		}
		r.Line = line + "]"
		if kind == "HEALTH" {
			r.Text = "collector_down tcp://syslog-2.isp.example:6514: connection refused"
		} else if kind == "AUDIT" {
			r.Text = "admin 192.0.2.7: login"
		}
		f.records = append(f.records, r)
		seq--
	}
	record("SESSION", "S-0871", 9*time.Second, "subscriber", "S-0871", "src", "100.64.9.2", "dst", "203.0.113.25", "dport", "25", "dur_ms", "4210", "bytes_up", "18211", "bytes_down", "5120",
		"starttls", "accepted", "tls", "starttls", "tls_version", "TLS1.3", "ja4", "t13d1516h2_8daaf6152771_02713d6af862", "sni", "mx.example.net", "handshake", "complete", "handshake_bytes", "4096", "end_reason", "fin")
	record("DECISION", "S-1102", 14*time.Second, "subscriber", "S-1102", "action", "defer", "acted", "1", "stage", "defer", "reason", "sessions 9/5 at once, 20 per 1h (180%)", "wait_ms", "182000", "case", "K7Q4M")
	record("SESSION", "S-2004", 21*time.Second, "subscriber", "S-2004", "src", "2001:db8:2004::25", "dst", "2001:db8:ffff::19", "dport", "25", "dur_ms", "812", "bytes_up", "2311", "bytes_down", "1022", "tls", "none", "messages", "1", "recipients", "2", "end_reason", "fin")
	record("STAGE", "S-1102", 40*time.Second, "subscriber", "S-1102", "from", "pace", "to", "defer", "reason", "sessions 6/5 at once, 20 per 1h (120%)", "case", "K7Q4M")
	record("HEALTH", "", 252*time.Second, "what", "collector_down", "target", "tcp://syslog-2.isp.example:6514", "detail", "connection refused")
	record("AUDIT", "", 20*time.Minute, "who", "admin 192.0.2.7", "what", "login")
	for i := range 70 {
		record("SESSION", fmt.Sprintf("S-20%02d", i%60), time.Duration(21+i)*time.Minute, "src", fmt.Sprintf("100.64.20.%d", i%60), "dst", "203.0.113.25", "dur_ms", "900", "bytes_up", "2000", "bytes_down", "900", "tls", "none", "messages", "1", "end_reason", "fin")
	}
	record("SESSION", "S-1044", 10*time.Hour, "subscriber", "S-1044", "src", "100.64.3.7", "dst", "203.0.113.77", "dur_ms", "1311", "bytes_up", "3100", "bytes_down", "4100", "tls", "starttls", "tls_version", "TLS1.2", "handshake", "failed", "alert", "unknown_ca", "end_reason", "rst")
}

// largest is a line of largeBox whose every word and number is long.
const largest = "customer-0000000042/vdsl/olt-17:3/44"

// largeBox is busyBox with a hundred thousand lines more, and numbers to match.
func largeBox() *fakeBox {
	f := busyBox()
	long := f.subs[0]
	long.ID, long.Name = largest, "Wohnungsgenossenschaft Donaudampfschifffahrtsstrasse, Stiege 4, Tuer 112"
	long.Prefixes, long.Bindings = nil, nil
	for i := range 40 {
		p := fmt.Sprintf("2001:db8:%x:%x00::/56", 0xff00+i, 0xa0+i)
		long.Prefixes = append(long.Prefixes, p)
		long.Bindings = append(long.Bindings, Binding{Prefix: p, Subscriber: largest, Source: "radius", From: ago(time.Duration(i) * time.Hour)})
	}
	long.Budgets = slices.Clone(long.Budgets)
	long.Budgets[0] = Budget{Of: "sessions", Window: Seconds(time.Hour), Limit: 1_000_000, Burst: 250_000, Value: 12_345_678, Ratio: 49.4, Pressure: 9_876_543, RefillsAt: At(noon.Add(49 * time.Hour))}
	long.Reason = "sessions 12345678/250000 at once, 1000000 per 1h (4938%)"
	f.subs = append(f.subs, long)
	little := []Budget{{Of: "sessions", Window: Seconds(time.Hour), Limit: 20, Burst: 5, Value: 1, Ratio: 0.2, RefillsAt: At(noon.Add(3 * time.Minute))}}
	for i := range 100_000 {
		f.subs = append(f.subs, Subscriber{ID: fmt.Sprintf("L-%06d", i), Name: fmt.Sprintf("Long Road %d", i), Plan: "residential", PlanSource: "list", ListPlan: "residential", Stage: "observe",
			Prefixes: []string{fmt.Sprintf("10.%d.%d.%d/32", i>>16, i>>8&255, i&255)}, Budgets: little})
	}
	f.status.Stages = Stages{Observe: 87_655, Warn: 9_201, Pace: 1_212, Defer: 1_303, Cut: 701}
	f.status.Sessions = Sessions{Open: 20_481, Total: 1_182_314_992}
	f.status.Actions = Actions{Passed: 1_081_020_769, Paced: 60_920_113, Deferred: 39_361_902, Cut: 1_012_208, FailedOpen: 123_456}
	f.status.Acted, f.status.Exempt = 101_294_223, 1_204
	f.status.Lanes.Queue = QueueLane{Depth: 16_384, Held: 4_096, Packets: 48_201_338_112, Dropped: 1_204_221, Form: "nftables, xt NFQUEUE", Reader: "fast"}
	for i := range f.traffic.Points {
		p := &f.traffic.Points[i]
		p.Started, p.Handshakes, p.Clear, p.StartTLS, p.Implicit, p.Other = p.Started*9973, p.Handshakes*9973, p.Clear*9973, p.StartTLS*9973, p.Implicit*9973, p.Other*9973
	}
	return f
}

// troubledBox is busyBox when everything that can be wrong with a box is.
func troubledBox() *fakeBox {
	f := busyBox()
	f.status.Ready = false
	f.fault = "read records-00000412.seg: input/output error, and 3 more"
	f.status.Problems = []Problem{{What: "Cluster K7: one rare TLS client on 25 subscribers.", Meaning: "Probably one botnet. Nothing is done because of it.", Do: "Its page has who they are.", Since: ago(26 * time.Hour), Link: "/clusters/K7", Lines: true}}
	f.status.Clock.Synced = false
	f.status.Store = Store{Why: "write budgets-0003.log: no space left on device"}
	f.status.Syslog[0].Up, f.status.Syslog[0].Since, f.status.Syslog[0].LastError = false, ago(40*time.Second), "network is unreachable"
	f.status.Syslog[1].Dropped = 18_204
	f.status.Lanes.Fast = FastLane{Why: "the kernel has no BPF ring buffer"}
	f.status.Problems = append(f.status.Problems, []Problem{{What: "There is no interface enp3s0f1np1.", Meaning: "Mail that comes another way passes unjudged.", Do: "Put the right names into network.subscriber_interfaces and upstream_interfaces, or wait for it to come up."},
		{What: "The configuration waits for a restart: Ports that are only counted (network.counted_ports), Address of the web admin (admin.listen).", Meaning: "Until then these are as they were; everything else is in force.", Do: "Restart mailweir; under Settings, Set-up there is a button."}}...)
	return f
}

// quietBox is a box in observe mode that has just started.
func quietBox() *fakeBox {
	return &fakeBox{bare: true, status: Status{Version: "0.1.0", Box: "edge-1", Mode: "observe", Since: ago(40 * time.Second), Ready: true, Uptime: Seconds(40 * time.Second),
		Ports: []int{25}, Store: Store{OK: true}, Clusters: Clusters{Learning: true, Learnt: Seconds(40 * time.Second)}}}
}

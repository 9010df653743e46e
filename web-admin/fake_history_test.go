package webadmin

import (
	"context"
	"fmt"
	"time"
)

// History is what was put into f.histories, or, for a line that has decisions, two weeks that end as its stage says; of others there are
// only the last hours, and they were quiet. A box with a fault cannot read further back.
func (f *fakeBox) History(ctx context.Context, id string, step time.Duration) (h History, ok bool, err error) {
	sub, ok := f.Subscriber(id)
	if !ok {
		return h, false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	h, made := f.histories[id]
	h.Subscriber, h.Step, h.From, h.To = id, Seconds(step), At(noon.Add(step-HistoryReach[step]).Truncate(step)), At(noon)
	if made {
		return h, true, ctx.Err()
	}
	h.Since, h.More, h.Fault = ago(15*time.Hour), f.fault != "", f.fault
	if len(sub.Decisions) == 0 {
		return h, true, ctx.Err()
	}
	h.Since = ago(13 * 24 * time.Hour)
	for i, from := 0, h.From.Time; from.Before(noon); i, from = i+1, from.Add(step) {
		p := HistoryPoint{Start: At(from), Sessions: (i*i*7 + i*3) % 5}
		if since := noon.Sub(from); since < 11*time.Hour {
			p.Sessions, p.Held = 20+(i*29)%23, (i*13)%7
		}
		p.Handshakes, p.MessagesLo = p.Sessions-p.Sessions/4, p.Sessions*2
		if p.Sessions > 0 && !from.Before(h.Since.Time) {
			h.Points = append(h.Points, p)
		}
	}
	h.Stages = []Change{{At: sub.Since, From: "pace", To: sub.Stage, Reason: sub.Reason}, {At: At(sub.Since.Add(-9 * time.Minute)), From: "observe", To: "pace", Reason: "sessions 6/5 at once, 20 per 1h (120%)"}}
	for i := range 20 {
		s := LineSession{Seq: uint64(182_400 - i*3), Start: ago(time.Duration(i*i*40+12) * time.Second), Took: Seconds(4210 * time.Millisecond), Server: fmt.Sprintf("203.0.%d.25", 113+i%7), Port: 25,
			StartTLS: "accepted", TLS: "starttls", TLSVersion: "TLS1.3", Handshake: "complete", MessagesLo: i % 3, MessagesHi: i%3 + i%4, Bytes: 23_331, EndReason: "fin"}
		switch i % 6 {
		case 1:
			s.Action, s.Acted, s.EndReason = "defer", true, "fin"
			s.TLS, s.Handshake, s.TLSVersion, s.StartTLS = "none", "none", "", "none"
		case 2:
			s.Handshake, s.Alert, s.TLSVersion, s.MessagesHi, s.EndReason = "failed", "unknown_ca", "TLS1.2", -1, "rst"
		case 3:
			s.Server, s.Port, s.TLS, s.Rejected = "2001:db8:ffff::19", 465, "implicit", 2
		}
		h.Sessions = append(h.Sessions, s)
	}
	for i, owner := range []string{"Example Mail International", "Cloud Mail Protection GmbH & Co. KG", "", "Universitätsrechenzentrum"} {
		h.Networks = append(h.Networks, LineNetwork{Network: fmt.Sprintf("203.0.%d.0/24", 113+i), Owner: owner, AS: uint64(64496+i) * uint64(btoi(owner != "")), Sessions: 412 / (i + 1), Last: ago(time.Duration(i*7) * time.Minute)})
	}
	h.Networks = append(h.Networks, LineNetwork{Network: "2001:db8:ffff::/48", Sessions: 3, Last: ago(26 * time.Hour)})
	h.OtherNetworks = 37
	h.Prints = []LinePrint{{JA4: f.cluster[0].JA4, JA3: f.cluster[0].JA3[0], Sessions: 398, Last: ago(12 * time.Second), Users: 25, Of: 1181, Cluster: f.cluster[0].ID},
		{JA4: "t13d1516h2_8daaf6152771_02713d6af862", JA3: "cd08e31494f9531f560d64c695473da9", Sessions: 9, Last: ago(31 * time.Hour), Users: 714, Of: 1181},
		{JA4: "t12d190800_d83cc789557e_7af1ed941c26", Sessions: 1, Last: ago(50 * time.Hour)}}
	return h, true, ctx.Err()
}

package appliance

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/capture"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/session"
)

const rehearsalPlans = `mode: %s
identity: {unmapped_plan: strangers}
plans:
  - name: small
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 6, per: 10m}
      - {of: messages, limit: 20, per: 1h}
      - {of: recipients, limit: 40, per: 1h}
      - {of: rejected, limit: 10, per: 1h}
      - {of: concurrent_sessions, limit: 4}
    ladder: {release_after: 1m}
  - name: strangers
    highest_stage: defer
    budgets: [{of: sessions, limit: 4, per: 10m}, {of: destinations, limit: 2, per: 10m}]
`

// TestARehearsalDecidesAsTheBox: random sessions of five lines and some strangers, told to the judge of a whole box as its
// queues tell them, and to a rehearsal: every session is answered alike, and stages change at the same moments.
func TestARehearsalDecidesAsTheBox(t *testing.T) {
	list := "subscriber,plan,prefixes\n"
	for i := range 5 {
		list += fmt.Sprintf("home-%d,small,100.64.0.%d\n", i, i+1)
	}
	for _, mode := range []string{"enforce", "observe"} {
		denied, sessions, changes := 0, 0, 0
		for seed := range uint64(8) {
			rng := rand.New(rand.NewPCG(seed, 11))
			d := newDeaf(t, fmt.Sprintf(rehearsalPlans, mode), list)
			cfg, table, err := LoadConfig(filepath.Join(d.dir, "mailweir.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			r, err := rehearse(cfg, table, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			r.packet(&capture.Packet{Time: d.time(), IP: nfqtest.TCP{Src: netip.MustParseAddrPort("192.0.2.1:1"), Dst: netip.MustParseAddrPort("192.0.2.2:80"), Flags: packet.ACK}.Packet()})
			var box, mine []governor.StageChange
			d.judge.noted = changesInto(&box)
			r.judge.noted = &andInto{r, &mine}
			type running struct {
				flow   nfq.Flow
				handle any
				played any
			}
			var open []running
			for i := range 400 {
				for range rng.IntN(20) { // the box looks every second
					d.pass(time.Second)
					d.settled(d.gov.Tick(d.time()))
				}
				now := d.time()
				r.advance(now)
				if len(open) > 0 && rng.IntN(2) == 0 {
					k := rng.IntN(len(open))
					s := open[k]
					e := session.Event{Kind: session.Message, Code: 250, Recipients: 1 + rng.IntN(3)}
					switch rng.IntN(4) {
					case 0:
						e = session.Event{Kind: session.Rejected, Code: 550}
					case 1:
						sum := nfq.Summary{Facts: session.Facts{Start: now, End: now, BytesUp: int64(rng.IntN(2)), EndReason: session.EndTimeout}}
						d.judge.Close(s.flow, s.handle, sum)
						r.Close(s.flow, s.played, sum)
						open = append(open[:k], open[k+1:]...)
						continue
					}
					d.judge.Event(s.flow, s.handle, e, now)
					r.Event(s.flow, s.played, e, now)
					continue
				}
				f := nfq.Flow{Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 64, 0, byte(1 + rng.IntN(8))}), uint16(1024+i)),
					Server: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(rng.IntN(6)), 1}), 25)}
				d.judge.answers = noAnswers{}
				o, p := d.judge.Open(f, now), r.Open(f, now)
				sessions++
				played := p.Handle.(*played)
				if deny := o.Action == nfq.Defer || o.Action == nfq.Reset; deny != played.denied || p.Action != nfq.Pass {
					t.Fatalf("%s, seed %d, session %d: the box says %v, the rehearsal %v (%s)", mode, seed, i, o.Action, played.action, played.reason)
				} else if deny {
					denied++
					d.judge.Close(f, o.Handle, nfq.Summary{})
					r.Close(f, p.Handle, nfq.Summary{})
					continue
				}
				open = append(open, running{f, o.Handle, p.Handle})
			}
			if fmt.Sprint(box) != fmt.Sprint(mine) {
				t.Errorf("%s, seed %d: stages change differently:\nbox       %v\nrehearsal %v", mode, seed, box, mine)
			}
			changes += len(box)
		}
		t.Logf("mode %s: %d sessions, %d of them denied, %d changes of stage", mode, sessions, denied, changes)
		if changes == 0 || (denied > 0) != (mode == "enforce") {
			t.Error("too little happened")
		}
	}
}

type noAnswers struct{}

func (noAnswers) Expect(netip.AddrPort, string) {}

// changesIn notes changes of stage.
type changesIn struct{ into *[]governor.StageChange }

func changesInto(into *[]governor.StageChange) notes { return &changesIn{into} }

func (*changesIn) decision(governor.Decision)        {}
func (c *changesIn) change(one governor.StageChange) { *c.into = append(*c.into, one) }

// andInto notes them beside a rehearsal.
type andInto struct {
	*rehearsal
	into *[]governor.StageChange
}

func (a *andInto) change(one governor.StageChange) {
	a.rehearsal.change(one)
	*a.into = append(*a.into, one)
}

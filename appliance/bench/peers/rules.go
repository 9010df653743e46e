package peers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/lab"
)

// trackOnly makes the kernel keep its table of connections, and nothing more.
const trackOnly = `table ip peer {
	chain forward { type filter hook forward priority 0; ct state invalid drop; }
}
`

// meterOnly is what an operator can paste today: so many connections a second and source, in the kernel alone.
const meterOnly = `table ip peer {
	set sources { type ipv4_addr; flags dynamic; timeout 60s; size 65536; }
	chain forward {
		type filter hook forward priority 0;
		ct state established accept
		tcp dport 25 tcp flags & (syn|ack) == syn update @sources { ip saddr limit rate over 1000/second burst 1000 packets } drop
	}
}
`

// keepMark marks a connection when a packet of it was marked, so that queueAll lets go of it.
const keepMark = `table ip release {
	chain late { type filter hook postrouting priority mangle; meta mark & 1 == 1 ct mark set ct mark | 1; }
}
`

// released accepts what keepMark has marked.
func released() []expr.Any {
	one := binaryutil.NativeEndian.PutUint32(1)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: one, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: one},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}

// nft loads rules in a namespace.
func nft(ctx context.Context, ns *lab.Namespace, rules string) error {
	if err := command(ctx, ns, rules, "nft", "-f", "-"); err != nil {
		return fmt.Errorf("rules (they take nftables): %w", err)
	}
	return nil
}

func flush(ctx context.Context, ns *lab.Namespace) error { return nft(ctx, ns, "flush ruleset\n") }

// queueAll sends both directions of port 25 to queue 0. Without a reader nothing passes: what is measured went through it.
// With release, marked connections go past it.
func queueAll(ns *lab.Namespace, release bool) error {
	// struct xt_NFQ_info_v3 (linux/netfilter/xt_NFQUEUE.h): number, how many, flags
	info := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(info[2:], 1)
	var errs []error
	// A kernel has the one, the other, or both.
	for _, how := range []expr.Any{&expr.Queue{Num: 0, Total: 1}, &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}} {
		err := ns.Do(func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			t := c.AddTable(&nftables.Table{Name: "queue", Family: nftables.TableFamilyIPv4})
			chain := c.AddChain(&nftables.Chain{Name: "forward", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
			if release {
				c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: released()})
			}
			for _, offset := range []uint32{0, 2} { // source port, destination port
				c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
					&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
					&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
					&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
					&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(25)},
					how,
				}})
			}
			return c.Flush()
		})
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("the kernel has no packet queue (CONFIG_NFT_QUEUE, or CONFIG_NFT_COMPAT with CONFIG_NETFILTER_XT_TARGET_NFQUEUE): %w", errors.Join(errs...))
}

// guardServer counts what comes to the server from bots, and drops it there, before anything is done with it.
func guardServer(ctx context.Context, r *rig) (end, error) {
	err := nft(ctx, r.inet, "table netdev guard {\n\tchain bots { type filter hook ingress device \"eth0\" priority 0; ip saddr "+bots.String()+" tcp dport 25 counter drop; }\n}\n")
	return func() error { return flush(context.WithoutCancel(ctx), r.inet) }, err
}

var counted = regexp.MustCompile(`counter packets (\d+)`)

// fromBots is what guardServer has counted so far.
func (r *rig) fromBots(ctx context.Context) (float64, error) {
	text, err := output(ctx, r.inet, "", "nft", "list", "table", "netdev", "guard")
	if err != nil {
		return 0, err
	}
	found := counted.FindStringSubmatch(text)
	if found == nil {
		return 0, errors.New("the counter at the server is gone")
	}
	return strconv.ParseFloat(found[1], 64)
}
